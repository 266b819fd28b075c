"""IMOD models (``.mod``) as points, and lists of points by ``model2point``.

*Position.* In x and y a model counts from the edge of the image, in z from the centre of the first section: the centre
of voxel i, j, k is at (i + 0.5, j + 0.5, k) (imodmodel's ``z_coordinate_system_note.md``, IMOD's ``imodmop.c``). If the
model was drawn on a part of an image, MINX says where it lies in the whole image, and ``(otrans - ctrans) / cscale`` is
added (IMOD's ``binspec.html``). A model that was saved while Y and Z were exchanged is refused, because it cannot be
known which of its axes has the half.

*Pixel size.* ``pixelsize`` in ``units``, or the spacing of the image in MINX; 1.0, which both have if nobody set them,
is none. If they differ, ``voxel_size`` is needed, and coordinates count voxels of that size; so they do if the given
size is within 1 % of the stated one, as headers have few digits. ``zscale`` is for display.

*What is a pick.* Each point of each contour. ``object`` and ``contour`` are extra columns, counted from 1 as in 3dmod;
the points of a contour are in order, so a filament is an open contour. The name of the object is the feature; of
several objects, ``object_name`` is an extra column. The format ``imod-mesh`` reads the vertices of meshes, with their
normals (the finest meshes only); ``imod`` refuses a model that has only meshes.

*Writing.* Picks with a column ``contour``, or else ``filament`` (of ``volengine pick --filament``), are written as open
contours, in order, else as scattered points; with a column ``object`` as several objects. Without it, each name of a
column ``object_name`` or ``feature`` becomes an object, if the rows of a name follow each other. Points are float32: up
to 2048 voxels they are exact within 6e-5 of a voxel, up to 8192 within 2.5e-4. volengine's own facts are in a chunk
``VOLE``, which IMOD skips and loses. Orientations, normals, weights, labels and other extra columns are lost: IMOD has
no place for them.

*imod-text.* Text by ``model2point``: x y z, or contour x y z, or object contour x y z; the same coordinates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json
from volengine.core.picks import Picks
from volengine.io.picks import carried, imod_file, motive
from volengine.io.picks import rows as r
from volengine.io.picks.checks import check_cubes

HALF = np.array([0.5, 0.5, 0.0])
"""Coordinate x, y, z of the centre of the first voxel."""

KEPT = (motive.extra("object"), motive.extra("contour"))
NAMES = motive.extra("object_name")
FARTHEST = 2.0**24
MOST = 10**6
"""Objects, or contours of an object, that are written; numbers that no pick has become empty ones."""

_SAME = 0.01
"""By how much two pixel sizes may differ and be the same, as a share; headers have few digits."""


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the points of a model.

    Parameters
    ----------
    path
        The file.
    known
        What the caller states.
    format
        ``imod``: points of contours; ``imod-mesh``: vertices of meshes; ``imod-text``: text by model2point.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no model, or damaged, or Y and Z are exchanged, or it has only meshes (contours).
    InputError
        It states two pixel sizes, and the caller none.
    """
    if format == "imod-text":
        return _read_text(path)
    model = imod_file.read_model(path)
    if model.flags & (imod_file.FLIPPED | imod_file.ROTATED):
        raise FormatError(
            f"{path} was saved while the image was flipped or rotated (Y and Z exchanged): open it in 3dmod, turn the "
            "image back (Edit, Image, Flip), and save it again."
        )
    rows = _vertices(model, path) if format == "imod-mesh" else _points(model, path)
    own = carried.taken(None if model.own is None else parse_json(model.own, f"{path}, chunk VOLE"), str(path))
    if own:
        rows.facts = {own["tomogram"]: own}
        rows.columns = {k: v for k, v in rows.columns.items() if k in own["columns"]}
        if NAMES in own["columns"] and NAMES not in rows.columns:  # of one object, or of none
            name = model.objects[0].name if model.objects else ""
            rows.columns[NAMES] = np.full(len(rows.coordinate), name)
    elif (pixel := _pixel_size(model, path, known)) is not None:
        rows.pixel_size = np.full(len(rows.coordinate), pixel)
        next(iter(rows.facts.values()))["voxel_size"] = [pixel] * 3
    bad = np.flatnonzero(~np.isfinite(rows.coordinate).all(axis=1))
    if len(bad):
        raise FormatError(f"{path}: point {bad[0]} (counted from 0) is at {rows.coordinate[bad[0]]} (z, y, x).")
    return rows


def _points(model: imod_file.Model, path: Path) -> r.Rows:
    """Make rows of the points of all contours."""
    parts = [
        (o, c, contour.points) for o, one in enumerate(model.objects, 1) for c, contour in enumerate(one.contours, 1)
    ]
    if not any(len(points) for _, _, points in parts) and any(one.meshes for one in model.objects):
        raise FormatError(
            f"{path} has meshes and no points in contours: read the vertices of its meshes with the format imod-mesh."
        )
    counts = [len(points) for _, _, points in parts]
    points = np.concatenate([np.zeros((0, 3)), *(points for _, _, points in parts)])
    columns = {
        motive.extra("object"): np.repeat(np.array([o for o, _, _ in parts], np.int64), counts),
        motive.extra("contour"): np.repeat(np.array([c for _, c, _ in parts], np.int64), counts),
    }
    return _rows(model, path, points, columns)


def _vertices(model: imod_file.Model, path: Path) -> r.Rows:
    """Make rows of the vertices of the finest meshes, each once, with their normals."""
    found, objects = [np.zeros((0, 6))], []
    for number, one in enumerate(model.objects, 1):
        for mesh in one.meshes:
            if not mesh.flags >> 20 & 15:  # the others are coarser meshes of the same surface
                found.append(_corners(mesh, path))
                objects += [number] * len(found[-1])
    table = np.concatenate(found)
    if not len(table):
        raise FormatError(f"{path} has no meshes: read the points of its contours with the format imod.")
    length = np.linalg.norm(table[:, 3:], axis=1, keepdims=True)
    columns: dict[str, NDArray[Any]] = {motive.extra("object"): np.array(objects, np.int64)}
    if (length > 0).all() and np.isfinite(length).all():
        columns["normal"] = (table[:, 3:] / length)[:, ::-1]
    return _rows(model, path, table[:, :3], columns)


def _corners(mesh: imod_file.Mesh, path: Path) -> r.Floats:
    """Return the vertices of a mesh with their normals, (n, 6) x, y, z, in the order of their first use."""
    used: dict[int, int] = {}
    kind, normal = 0, -1
    for command in mesh.commands.tolist():
        if command in (-21, -23, -25):
            kind, normal = command, -1
        elif command in (-22, -1):
            kind = 0
        elif command < 0 or kind == 0:
            raise FormatError(f"{path} has a mesh with the command {command}, which volengine does not read.")
        elif kind == -23 and normal < 0:
            normal = command
        else:
            used.setdefault(command, {-21: -1, -23: normal, -25: command + 1}[kind])
            normal = -1
    index, normals = np.array(list(used), np.int64), np.array(list(used.values()), np.int64)
    if len(index) and max(index.max(), normals.max()) >= len(mesh.vertices):
        raise FormatError(f"{path} is damaged: a mesh of {len(mesh.vertices)} vertices has the index {index.max()}.")
    table = np.zeros((len(index), 6))
    table[:, :3] = mesh.vertices[index]
    table[normals >= 0, 3:] = mesh.vertices[normals[normals >= 0]]
    return table


def _rows(model: imod_file.Model, path: Path, points: r.Floats, columns: Mapping[str, NDArray[Any]]) -> r.Rows:
    """Make rows of points in IMOD's coordinates x, y, z."""
    rows = r.Rows(path, coordinate=(points + np.array(model.image_shift) - HALF)[:, ::-1], columns={**columns})
    names = [one.name.strip() for one in model.objects]
    feature = names[0] if len(names) == 1 and names[0].isprintable() and '"' not in names[0] else ""
    rows.facts = {path.stem: {"feature": feature}}
    if len(names) > 1 and any(names) and len(points):
        tidy = ["".join(c for c in name if c.isprintable() and c != '"') for name in names]
        objects = columns[motive.extra("object")]
        rows.columns[NAMES] = np.array(tidy)[objects.astype(np.int64) - 1]
    return rows


def _pixel_size(model: imod_file.Model, path: Path, known: r.Known) -> float | None:
    """Return the pixel size of a model, angstrom, or ``None`` if it states none.

    Raises
    ------
    InputError
        It states two, and the caller none.
    """
    scale = model.image_scale
    if scale is not None and all(s == 1 for s in scale):
        scale = None
    image = None if scale is None else float(np.median(scale))
    uneven = scale is not None and max(scale) > min(scale) * (1 + _SAME)
    size = model.pixel_size if model.pixel_size is not None else image
    if not uneven and size is not None and near(size, known):
        return None  # coordinates count these voxels
    if uneven or (image is not None and model.pixel_size is not None and abs(image / model.pixel_size - 1) > _SAME):
        if known.voxel_size is None:
            raise InputError(
                f"{path} states the pixel size {model.pixel_size} angstrom, and its image has {scale} (x, y, z): "
                "set voxel_size to that of the tomogram on which it was drawn."
            )
        return None
    return size


def near(size: float, known: r.Known) -> bool:
    """Return whether a pixel size is that of the caller's voxels, up to the digits that headers have."""
    return known.voxel_size is not None and bool(np.abs(np.asarray(known.voxel_size) / size - 1).max() < _SAME)


def _read_text(path: Path) -> r.Rows:
    """Read the lines of model2point."""
    words: list[list[str]] = []
    lines: list[int] = []
    for number, line in enumerate(r.read_text(path).splitlines(), 1):
        row = line.split()
        if row:
            width = len(words[0]) if words else len(row)
            if not 3 <= len(row) <= 5 or len(row) != width:
                raise FormatError(
                    f"{path}, line {number}: {len(row)} values; lists by model2point have x y z, before them the "
                    "contour, and before it the object, on all lines."
                )
            words.append(row)
            lines.append(number)
    width = len(words[0]) if words else 3
    column = [r.numbers([w[i] for w in words], f"value {i + 1}", path, lines) for i in range(width)]
    points = np.stack(column[-3:], axis=-1) - HALF
    rows = r.Rows(path, coordinate=points[:, ::-1])
    for name, values in zip(("contour", "object"), column[-4::-1], strict=False):
        rows.columns[motive.extra(name)] = motive.whole(values, name, path, lines)
    return r.finite(rows, lines)


# Writing -----------------------------------------------------------------------------------------------------------


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a model, or a text for ``point2model``, of the picks of one tomogram.

    Raises
    ------
    InputError
        Voxels are no cubes, positions are beyond what float32 can hold, or the columns ``object`` and ``contour`` hold
        something else than whole numbers from 1.
    """
    picks = _with_objects(_with_contours(tables[0]))
    n = len(picks)
    points = picks.position_vox[:, ::-1] + HALF
    objects = motive.number_column(picks, "object", np.ones(n, np.int64), path)
    contours = motive.number_column(picks, "contour", np.ones(n, np.int64), path)
    if n and not 1 <= min(objects.min(), contours.min()) <= max(objects.max(), contours.max()) <= MOST:
        raise InputError(
            f"{path}: IMOD numbers objects and contours without gaps from 1, but those of the picks run from "
            f"{min(objects.min(), contours.min())} to {max(objects.max(), contours.max())}: number them anew."
        )
    if format == "imod-text":
        numbers = [v for name, v in (("object", objects), ("contour", contours)) if {"object", name} & {*picks.extra}]
        text = zip(*(r.texts(v) for v in (*numbers, *points.T)), strict=True)
        return [(path, "".join(" ".join(row) + "\n" for row in text).encode())]
    size = np.asarray(picks.voxel_size)
    check_cubes(picks, "a model of IMOD has")
    if n and np.abs(points).max() > FARTHEST:
        raise InputError(f"{path}: positions beyond {FARTHEST:g} voxels cannot be held by IMOD's float32.")
    shape = (0, 0, 0) if picks.shape is None else picks.shape[::-1]
    made = _objects(picks, points, objects, contours)
    kept = carried.carried(picks, (*KEPT, NAMES) if _names_kept(picks, objects, made) else KEPT)
    data = imod_file.model_bytes(picks.tomogram, shape, float(size[2]), made, json.dumps(kept).encode())
    return [(path, data)]


def _with_contours(picks: Picks) -> Picks:
    """Picks whose contours are their filaments, if they have numbers of filaments from 1 and no contours."""
    filament = picks.extra.get("filament")
    if "contour" in picks.extra or filament is None or filament.dtype.kind != "i" or not len(filament):
        return picks
    if not 1 <= filament.min() <= filament.max() <= MOST:
        return picks
    return picks.with_(extra={**picks.extra, "contour": filament})


def _with_objects(picks: Picks) -> Picks:
    """Picks with an object for each of their names: of the column ``object_name``, or else ``feature``.

    They must have no numbers of objects, and the rows of each name follow each other, because a model is ordered by
    its objects.
    """
    names = picks.extra.get("object_name", picks.extra.get("feature"))
    if "object" in picks.extra or names is None or names.dtype.kind != "U" or not len(names):
        return picks
    number = np.concatenate([[1], 1 + np.cumsum(names[1:] != names[:-1])])
    if number[-1] != len(set(names.tolist())):
        return picks
    return picks.with_(extra={**picks.extra, "object": number.astype(np.int64), "object_name": names})


def _objects(
    picks: Picks, points: r.Floats, objects: NDArray[np.int64], contours: NDArray[np.int64]
) -> list[imod_file.Object]:
    """Divide points into objects and contours; numbers that no pick has become empty ones, so that all keep theirs."""
    flags = imod_file.OPEN if "contour" in picks.extra else imod_file.OPEN | imod_file.SCATTERED
    names = picks.extra.get("object_name")
    made = []
    for here in _groups(objects, np.arange(len(objects))):
        called = [picks.feature] if names is None or not len(here) else list(set(names[here].tolist()))
        name = str(called[0]) if len(called) == 1 else ""  # the name of some is not that of all
        parts = _groups(contours[here], here)
        made.append(imod_file.Object(name, flags, [imod_file.Contour(points[part]) for part in parts]))
    return made


def _names_kept(picks: Picks, objects: NDArray[np.int64], made: list[imod_file.Object]) -> bool:
    """Whether the names of objects come back: each object has one, which the format holds as it is."""
    names = picks.extra.get("object_name")
    if names is None or not len(names):
        return False
    held = [imod_file.held_name(one.name) for one in made]
    tidy = all(one == one.strip() and one.isprintable() and '"' not in one for one in held)
    return tidy and names.tolist() == [held[number - 1] for number in objects.tolist()]


def _groups(numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each number from 1 to the largest, in their order."""
    order = np.argsort(numbers, kind="stable")
    ends = np.searchsorted(numbers[order], np.arange(1, int(numbers.max(initial=1)) + 1), "right")
    return np.split(rows[order], ends)[:-1]
