"""Kernels of ``surface`` that finish meshes: a unit for some of the surfaces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.block import Block, Result, Table
from volengine.core.errors import DamagedError
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM
from volengine.ops.surfaces.finish import Wanted, finished
from volengine.ops.surfaces.merge import merge_pieces
from volengine.ops.surfaces.normals import vertex_normals
from volengine.ops.surfaces.topology import shape_of
from volengine.tasks.common.cell_tables import check_affords
from volengine.tasks.surface.description import MEASURED, VERTEX_BYTES, Finish, mesh_name, share_of

AREA, VOLUME = NM_TO_ANGSTROM**2, NM_TO_ANGSTROM**3


def mesh_surfaces(
    block: Block, finish: dict[str, Any], pieces: str, folder: str, shares: int, memory_bytes: float = math.inf
) -> Result:
    """Kernel: join the pieces of some surfaces, smooth, remesh and measure them, and write each to a file.

    Parameters
    ----------
    finish
        :class:`~volengine.tasks.surface.description.Finish` as JSON.
    pieces, folder
        The folders of the pieces, and of the meshes (PLY), in the scratch folder.
    shares
        Number of units; this one has every so many-th surface.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        A row for each surface with a face, see :data:`~volengine.tasks.surface.description.MEASURED`.

    Raises
    ------
    MemoryRefusedError
        A surface needs more.
    """
    from volengine.io.surfaces import SurfaceFacts, write_surface

    how = Finish.from_json(finish)
    facts = SurfaceFacts(voxel_size=how.voxel_size, origin=how.origin)
    chosen = block.tables["number"][0]
    mine = share_of(np.arange(len(chosen["number"])), shares) == block.number
    where = _Pieces(block, Path(pieces), chosen["number"][mine])
    sheets = how.side, how.towards, how.max_thickness
    wanted = Wanted(how.smooth, how.vertex_area, *sheets, how.split, how.touch, how.terraces)
    label = block.tables["towards"][0]["places"] if "towards" in block.tables else None
    rows: list[list[float]] = []
    files: list[Path] = []
    for number, voxels in zip(chosen["number"][mine].tolist(), chosen["voxels"][mine].tolist(), strict=True):
        vertices = where.vertices(number)
        what = f"surface {number} ({vertices} vertices)"
        advice = "raise --threshold, or crop the volume or bin it"
        check_affords(how.bytes_for(vertices), memory_bytes, block, what, advice)
        places, faces = merge_pieces(where.read(number))
        made = finished(places * np.array(how.voxel), faces, wanted, label)
        for part, (at, corners) in enumerate(made):
            found = shape_of(at, corners)
            file = Path(folder) / mesh_name(number, part)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_surface(file, Surface(at, corners, vertex_normals(at, corners), number=number), facts)
            files.append(file)
            size = (found["area"] / AREA, found["volume"] / VOLUME)
            rows.append([number, part, len(at), len(corners), *size, *(found[n] for n in MEASURED[6:-1]), voxels])
    table = dict(zip(MEASURED, np.array(rows, np.float64).reshape(-1, len(MEASURED)).T, strict=True))
    return Result(table=table, files=tuple(files), counts={"surfaces": len(rows)})


def mesh_surfaces_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`mesh_surfaces` needs for a volume of ``voxels`` voxels, and at most ``memory_bytes``."""
    return min(memory_bytes, VERTEX_BYTES * voxels + 2**27)


class _Pieces:
    """The files of pieces, of which those of some surfaces are read."""

    def __init__(self, block: Block, folder: Path, numbers: Any):
        self.folder = folder
        self.places: dict[int, list[tuple[int, Table, int]]] = {int(n): [] for n in numbers}
        for part, table in block.tables["pieces"].items():
            for row in np.flatnonzero(np.isin(table["number"], numbers)).tolist():
                self.places[int(table["number"][row])].append((part, {**table}, row))

    def vertices(self, number: int) -> int:
        """Number of vertices of a surface in all pieces."""
        return sum(int(table["vertices"][row]) for _, table, row in self.places[number])

    def read(self, number: int) -> list[Table]:
        """The pieces of a surface.

        Raises
        ------
        DamagedError
            A file does not hold what its block says.
        """
        found = []
        for part, table, row in self.places[number]:
            held, faces = table["held"][0].tolist()
            a, n, b, m = (int(table[name][row]) for name in ("vertex", "vertices", "face", "faces"))
            file = self.folder / f"{part:08d}.pieces"
            if not file.is_file() or file.stat().st_size != 32 * held + 12 * faces:
                raise DamagedError(f"{file} does not hold the {held} vertices that its block has made; run it again.")
            keys = np.fromfile(file, "<i8", n, offset=8 * a)
            places = np.fromfile(file, "<f8", 3 * n, offset=8 * held + 24 * a).reshape(-1, 3)
            corners = np.fromfile(file, "<i4", 3 * m, offset=32 * held + 12 * b).reshape(-1, 3)
            found.append({"keys": keys, "places": places, "faces": corners})
        return found
