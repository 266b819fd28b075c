"""Lists of tiles: volumes that are parts of a larger one, and where each of them lies (YAML).

.. code-block:: yaml

    unit: voxels            # or nm, angstrom; of the positions
    tiles:
      - {path: left.mrc, position: [0, 0, 0]}       # z, y, x of the centre of its first voxel
      - {path: right.ome.zarr, position: [0, 0, 800]}
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.digest import digest_of
from volengine.core.errors import FormatError, InputError
from volengine.core.volume import Vector3, Volume
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.io.mrc.rules import MAX_LENGTH_VOX
from volengine.io.open import open_volume
from volengine.tasks.convert.mosaic import Mosaic, Tile
from volengine.tasks.convert.recipe import ConvertRecipe

ENDINGS = (".yaml", ".yml")
UNITS = {"voxels": 0.0, "angstrom": 1.0, "nm": 10.0}
SAME_SIZE = 1e-3
"""Relative difference of voxel sizes that counts as none."""


def is_list_of_tiles(source: str) -> bool:
    """Whether a source is a list of tiles, by its ending."""
    return source.lower().endswith(ENDINGS)


def read_tiles(path: str) -> tuple[list[tuple[str, tuple[float, float, float]]], str]:
    """Read a list of tiles.

    Returns
    -------
    list, str
        Path and position (z, y, x) of each tile, and the unit of the positions. Paths are relative to the list.

    Raises
    ------
    MissingError, FormatError
        The file does not exist, is no YAML, or a value is missing, unknown, or none that it may be.
    """
    return tiles_in(read_yaml(path, "list of tiles"), path)


def tiles_in(data: Mapping[str, Any], path: str) -> tuple[list[tuple[str, tuple[float, float, float]]], str]:
    """Return what the values of a list of tiles say; errors and values are those of :func:`read_tiles`."""
    _known(path, "", data, ("tiles", "unit"))
    unit = data.get("unit", "voxels")
    if not isinstance(unit, str) or unit not in UNITS:
        raise FormatError(f"{path}: unit is {str(unit)[:40]!r}; it must be one of {', '.join(UNITS)}.")
    entries = data.get("tiles")
    if not isinstance(entries, list) or not entries:
        raise FormatError(f"{path}: 'tiles' must be a list of tiles, each with path and position.")
    found: list[tuple[str, tuple[float, float, float]]] = []
    for n, entry in enumerate(entries):
        where = f"tiles[{n}]"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str) or not entry["path"]:
            raise FormatError(f"{path}: {where} must have a path and a position.")
        _known(path, f"{where}.", entry, ("path", "position"))
        at = entry.get("position")
        if not isinstance(at, list) or len(at) != 3 or not all(map(_is_place, at)):
            raise FormatError(f"{path}: {where}.position is {str(at)[:40]}; three numbers z, y, x were expected.")
        place = entry["path"]
        if "://" not in place and not os.path.isabs(place):  # noqa: PTH117
            place = str(Path(path).parent / place)
        if place in [earlier for earlier, _ in found]:
            raise FormatError(f"{path}: {where}.path is {entry['path'][:200]}, which an earlier tile is, too.")
        found.append((place, (float(at[0]), float(at[1]), float(at[2]))))
    return found, unit


def _is_place(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12  # not NaN


def _known(path: str, where: str, data: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in data:
        if name not in names:
            raise FormatError(f"{path}: there is no {where}{str(name)[:40]}; known are {', '.join(names)}.")


def mosaic_of_tiles(path: str, recipe: ConvertRecipe, options: RunOptions) -> Mosaic:
    """Open the volumes of a list of tiles (metadata only).

    Positions are rounded to whole voxels. Origins of the volumes do not count. With the recipe's voxel size a note says
    if the tiles state different ones.

    Raises
    ------
    MissingError, FormatError
        As for :func:`read_tiles`; or a volume does not exist, or is damaged.
    InputError
        The volumes differ in voxel size, type or kind, are labels, are compressed as a whole, or one of them begins
        where another does, or lies wholly within it.
    """
    listed, unit = read_tiles(path)
    if recipe.montage_shifts != "none" or recipe.pieces or recipe.montage_section is not None:
        raise InputError(
            f"{path}: tiles lie where the list says; --pieces, --montage-section and shifts are not for it."
        )
    volumes = [open_volume(place, voxel_size=recipe.voxel_size, identity=options.identity) for place, _ in listed]
    _check_alike(path, volumes)
    first = volumes[0]
    starts, off = _starts(path, [at for _, at in listed], unit, first)
    low = starts.min(axis=0)
    boxes = [Box.of_shape(v.shape).shift((s - low).tolist()) for v, s in zip(volumes, starts, strict=True)]
    shape = index3(max(box.stop[a] for box in boxes) for a in range(3))
    _check_places(path, boxes, shape)
    z, y, x = (float(n * v) for n, v in zip(low, first.voxel_size, strict=True))
    source = Volume(
        os.path.abspath(path), shape, first.dtype, first.voxel_size, kind=first.kind,  # noqa: PTH100
        identity=digest_of([v.identity for v in volumes]),
    )  # fmt: skip
    kept = [[v.url.rsplit("/", 1)[-1], *s] for v, s in zip(volumes, starts.tolist(), strict=True)]
    notes = [f"{len(volumes)} tiles in {shape[0]} x {shape[1]} x {shape[2]} voxels"]
    if recipe.voxel_size is not None and (stated := _stated([place for place, _ in listed])):
        notes.append(f"the tiles state voxel sizes of {stated} angstrom; --voxel-size counts for all of them")
    if off > 1e-3:
        notes.append(f"positions were rounded to whole voxels, by up to {off:.2f}")
    return Mosaic(
        source=source,
        name=recipe.name or Path(path).stem,
        what=path,
        tiles=tuple(Tile(v, (0, 0, 0), box) for v, box in zip(volumes, boxes, strict=True)),
        shape=shape,
        origin=(z, y, x),
        fill=recipe.montage_fill,
        facts={"montage": {"tiles": kept}},
        notes=tuple(notes),
    )


def _stated(places: Sequence[str]) -> str:
    """The voxel sizes that tiles state, if these differ, as text; those that state none do not count."""
    found: list[Vector3] = []
    for place in places:
        with suppress(InputError):  # it states none
            size = open_volume(place, identity="metadata").voxel_size
            if not any(np.allclose(size, other, rtol=SAME_SIZE, atol=0) for other in found):
                found.append(size)
    return " and ".join(" x ".join(f"{n:g}" for n in size) for size in found) if len(found) > 1 else ""


def _check_alike(path: str, volumes: Sequence[Volume]) -> None:
    first = volumes[0]
    for volume in volumes:
        if volume.kind == "labels":
            raise InputError(f"{path}: {volume.where} holds labels, which cannot be blended.")
        if volume.url.lower().endswith((".gz", ".bz2")):
            raise InputError(f"{path}: {volume.where} is compressed as a whole; unpack it first.")
        if (volume.dtype, volume.kind) != (first.dtype, first.kind):
            raise InputError(
                f"{path}: {volume.where} is {volume.dtype} {volume.kind}, but {first.where} is {first.dtype} "
                f"{first.kind}; tiles must be of one type."
            )
        if not np.allclose(volume.voxel_size, first.voxel_size, rtol=SAME_SIZE, atol=0):
            raise InputError(
                f"{path}: {volume.where} has voxels of {volume.voxel_size} angstrom, but {first.where} of "
                f"{first.voxel_size}; tiles must have one voxel size. Give the true one with --voxel-size, or resample."
            )


def _starts(
    path: str, positions: list[tuple[float, float, float]], unit: str, first: Volume
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], float]:
    """First voxels of the tiles, and how far the positions are from whole voxels."""
    scale = UNITS[unit]
    exact = np.array(positions) if not scale else np.array(positions) * scale / np.array(first.voxel_size)
    whole = np.rint(exact)
    off = float(np.abs(exact - whole).max())
    if unit == "voxels" and off > 1e-6:
        raise FormatError(f"{path}: positions in voxels must be whole numbers; one is off by {off:.3g}.")
    if np.abs(whole).max() > MAX_LENGTH_VOX:
        raise FormatError(f"{path}: a position is {np.abs(whole).max():.3g} voxels away; at most {MAX_LENGTH_VOX} are.")
    return whole.astype(np.int64), off


def _triple(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _check_places(path: str, boxes: list[Box], shape: Index3) -> None:
    for (m, one), (n, other) in combinations(enumerate(boxes), 2):
        sizes = f"{_triple(one.shape)} and {_triple(other.shape)} voxels"
        if one.start == other.start:
            raise InputError(
                f"{path}: tiles {m} and {n} have the same place, {one.start} (z, y, x, voxels), with {sizes}. Parts of "
                "a volume begin at places of their own; mend the list, or leave one of them out."
            )
        if one.contains(other) or other.contains(one):
            within = (n, m) if one.contains(other) else (m, n)
            raise InputError(
                f"{path}: tile {within[0]} lies wholly within tile {within[1]} ({sizes}, at {one.start} and "
                f"{other.start}, z, y, x): it is no part of a larger volume, and would be mixed into the other. Leave "
                "it out, or mend its position."
            )
    covered = sum(box.size for box in boxes)
    if max(shape) > MAX_LENGTH_VOX or covered < 1e-3 * math.prod(shape):
        raise InputError(
            f"{path}: the tiles lie in {shape[0]} x {shape[1]} x {shape[2]} voxels, almost all of them empty. Are the "
            "positions in the unit that the list says (unit: voxels, nm or angstrom), and z, y, x?"
        )
