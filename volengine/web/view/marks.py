"""Picks and surfaces in the formats of a browser's viewer: precomputed annotations, and precomputed meshes.

Places are those of the tomogram in nm, x, y, z, with half a voxel added: the viewer's voxels begin at whole numbers,
and ours have their centres there. The formats are those of Neuroglancer ("neuroglancer_annotations_v1" and
"neuroglancer_legacy_mesh" in its documentation of the precomputed format); files of them are made in memory when they
are asked for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import MissingError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3
from volengine.io.surfaces import SurfaceSet

Floats = NDArray[np.float64]
AXIS_COLOURS = ((213, 94, 0), (0, 158, 115), (86, 180, 233))
"""Of the x, y and z axis of a particle; people with colour blindness can tell them apart."""
AXIS_LENGTH = 1.5
"""Length of the lines of a particle's axes, in its diameters."""


def radii_nm(picks: Picks, default_nm: float) -> Floats:
    """The radius of each pick, (n,) nm: of the ball that has its volume, or the default."""
    if picks.volume_a3 is None:
        return np.full(len(picks), float(default_nm))
    radii = np.cbrt(3 * np.asarray(picks.volume_a3) / (4 * np.pi)) / NM_TO_ANGSTROM
    return np.where(np.isfinite(radii) & (radii > 0), radii, default_nm)


def axes_of(picks: Picks) -> tuple[NDArray[np.float64], ...] | None:
    """Unit vectors x, y, z of the axes of each particle, each (n, 3) in the order x, y, z; ``None`` without any.

    Of particles with a normal alone the z axis is known.
    """
    if picks.euler is not None:
        turned = euler_to_matrix(picks.euler)
        return tuple(turned[:, :, k] for k in range(3))
    if picks.normal is not None:
        return (np.asarray(picks.normal)[:, ::-1],)
    return None


@dataclass(frozen=True)
class Marks:
    """Annotations of one kind.

    Parameters
    ----------
    kind
        ``ellipsoid``: centre and radii; ``line``: both ends.
    geometry
        (n, 6) nm, x, y, z.
    values
        (n,) of each property, by its name: float32, or (n, 3) uint8 for a colour.
    """

    kind: Literal["ellipsoid", "line"]
    geometry: Floats
    values: dict[str, NDArray[Any]]

    @classmethod
    def balls(cls, picks: Picks, offset: Vector3, half: Vector3, default_nm: float) -> Marks:
        """Picks as balls of their size, with their weights.

        Parameters
        ----------
        picks
            The picks.
        offset, half
            What is added to their places, angstrom, z, y, x.
        default_nm
            Radius where the table does not say the volume.
        """
        centres = _centres(picks, offset, half)
        radii = np.repeat(radii_nm(picks, default_nm)[:, None], 3, axis=1)
        weight = np.zeros(len(picks)) if picks.weight is None else picks.weight
        values = {"weight": np.nan_to_num(weight, nan=0.0)}
        if picks.label is not None:
            values["label"] = np.asarray(picks.label, np.float64)
        return cls("ellipsoid", np.concatenate([centres, radii], axis=1), values)

    @classmethod
    def axes(cls, picks: Picks, offset: Vector3, half: Vector3, default_nm: float) -> Marks | None:
        """The axes of particles as lines in three colours; ``None`` if the table has no orientations."""
        found = axes_of(picks)
        if found is None:
            return None
        centres, length = _centres(picks, offset, half), 2 * AXIS_LENGTH * radii_nm(picks, default_nm)[:, None]
        lines = [np.concatenate([centres, centres + length * axis], axis=1) for axis in found]
        colours = [np.tile(np.array(c, np.uint8), (len(picks), 1)) for c in AXIS_COLOURS[-len(found) :]]
        geometry = np.stack(lines, axis=1).reshape(-1, 6)
        known = np.isfinite(geometry).all(axis=1)
        return cls("line", geometry[known], {"axis": np.stack(colours, axis=1).reshape(-1, 3)[known]})

    @cached_property
    def _rows(self) -> list[bytes]:
        columns = [self.geometry.astype("<f4")]
        floats = [v for v in self.values.values() if v.ndim == 1]
        packed = np.concatenate([*columns, *(v.astype("<f4")[:, None] for v in floats)], axis=1).astype("<f4")
        colours = [v for v in self.values.values() if v.ndim == 2]
        rows = [row.tobytes() for row in packed]
        for colour in colours:  # the numbers of four bytes come first; rows are filled up to four
            rows = [row + bytes(rgb.tolist()) + b"\0" for row, rgb in zip(rows, colour, strict=True)]
        return rows

    def info(self) -> dict[str, Any]:
        """The description of the annotations."""
        ends = self.geometry.reshape(-1, 2, 3)
        if self.kind == "ellipsoid":
            ends = np.stack([ends[:, 0] - ends[:, 1], ends[:, 0] + ends[:, 1]], axis=1)
        ends = ends.reshape(-1, 3) if len(ends) else np.zeros((1, 3))
        low, high = np.floor(ends.min(axis=0)) - 1, np.ceil(ends.max(axis=0)) + 1
        spatial = {"key": "spatial", "grid_shape": [1, 1, 1], "chunk_size": (high - low).tolist()}
        return {
            "@type": "neuroglancer_annotations_v1",
            "dimensions": {axis: [1e-9, "m"] for axis in "xyz"},
            "lower_bound": low.tolist(),
            "upper_bound": high.tolist(),
            "annotation_type": self.kind,
            "properties": [
                {"id": name, "type": "float32" if values.ndim == 1 else "rgb"} for name, values in self.values.items()
            ],
            "relationships": [],
            "by_id": {"key": "by_id"},
            "spatial": [{**spatial, "limit": max(1, len(self.geometry))}],
        }

    def file(self, path: str) -> bytes | dict[str, Any]:
        """A file of the format by its path.

        Raises
        ------
        MissingError
            There is none.
        """
        if path == "info":
            return self.info()
        rows = self._rows
        if path == "spatial/0_0_0":
            numbers = np.arange(len(rows), dtype="<u8").tobytes()
            return struct.pack("<Q", len(rows)) + b"".join(rows) + numbers
        folder, _, name = path.partition("/")
        if folder == "by_id" and name.isascii() and name.isdigit() and len(name) < 12 and int(name) < len(rows):
            return rows[int(name)]
        raise MissingError(f"There is no {path[:80]!r} among these annotations.")

    def __len__(self) -> int:
        return len(self.geometry)


def _centres(picks: Picks, offset: Vector3, half: Vector3) -> Floats:
    places = np.asarray(picks.place) + np.asarray(offset) + np.asarray(half)
    found: Floats = places[:, ::-1] / NM_TO_ANGSTROM
    return found


def mesh_file(surfaces: SurfaceSet, offset: Vector3, half: Vector3, path: str) -> bytes | dict[str, Any]:
    """A file of the meshes of a set of surfaces by its path: ``info``, ``NUMBER:0``, ``NUMBER.mesh``.

    Parameters
    ----------
    surfaces
        The set.
    offset, half
        What is added to places, angstrom, z, y, x.
    path
        The path.

    Raises
    ------
    MissingError
        There is no such file or surface.
    """
    if path == "info":
        return {"@type": "neuroglancer_legacy_mesh"}
    name, dot, ending = path.partition(".") if path.endswith(".mesh") else path.partition(":")
    if not (name.isascii() and name.isdigit() and len(name) < 10) or (dot, ending) not in ((":", "0"), (".", "mesh")):
        raise MissingError(f"There is no {path[:80]!r} among these surfaces.")
    if dot == ":":
        return {"fragments": [f"{int(name)}.mesh"]}
    surface = surfaces.read(int(name))
    at = (surface.vertices + np.asarray(offset) + np.asarray(half))[:, ::-1] / NM_TO_ANGSTROM
    packed: bytes = struct.pack("<I", len(at)) + at.astype("<f4").tobytes() + surface.faces.astype("<u4").tobytes()
    return packed
