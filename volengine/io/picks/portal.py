"""Points of the CryoET Data Portal (``.ndjson``): one JSON object per line.

``type`` is ``point``, ``orientedPoint`` or ``instancePoint``; ``location`` is x, y, z in voxels of a tomogram, 0-based;
``xyz_rotation_matrix`` (3x3) turns the object into the tomogram; ``instance_id`` is the number of an object (the
portal's ``point_converter.py``; copick multiplies locations by the voxel spacing and adds no origin).

The file states neither the voxel spacing nor the tomogram, but the portal's folders do:
``RUN/Reconstructions/VoxelSpacing10.012/Annotations/ID/OBJECT-1.0_orientedpoint.ndjson``. Where a file lies in such
folders, they are read; else ``voxel_size`` is needed.

``instance_id`` is the label, of oriented points that have one, too. Picks with orientations (or normals) are written as
``orientedPoint``, those with labels only as ``instancePoint``: each type holds one of them. Everything else is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import FormatError
from volengine.core.flat import LIMIT
from volengine.core.json_text import parse_json, shown
from volengine.core.orientation import euler_to_matrix, matrix_to_euler, no_rotations
from volengine.core.picks import Picks
from volengine.io.picks import rows as r
from volengine.io.picks.imod import near

TYPES = ("point", "orientedPoint", "instancePoint")
_SPACING = re.compile(r"VoxelSpacing([0-9]{1,6}(?:\.[0-9]{1,6})?)")
_NAME = re.compile(r"(.+)-[0-9]+\.[0-9]+_[a-z]*point", re.IGNORECASE)
TOLERANCE = 1e-3
"""How far the product of a matrix with its transpose may be from the identity; published ones have few digits."""


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the points of a file.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        A line is no point, or the lines are of different types; the message names the line.
    """
    points, lines = [], []
    for number, line in enumerate(r.read_text(path).splitlines(), 1):
        if line.strip():
            points.append(_point(line, number, path))
            lines.append(number)
    kinds = [point["type"] for point in points]
    other = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise FormatError(
            f"{path}, line {lines[other]}: the type is {kinds[other]}, but {kinds[0]} in line {lines[0]}. A file holds "
            "points of one type: divide it."
        )
    at = np.array([point["at"] for point in points], float).reshape(-1, 3)
    rows = r.Rows(path, coordinate=at[:, ::-1])
    if points and kinds[0] == "orientedPoint":
        turns = np.array([point["turn"] for point in points], float)
        bad = no_rotations(turns, TOLERANCE)
        if len(bad):
            raise _no_turn(points[bad[0]]["turn"], f"{path}, line {lines[bad[0]]}")
        rows.columns["euler"] = matrix_to_euler(turns)
    if points and all("id" in point for point in points):
        rows.columns["label"] = np.array([point["id"] for point in points], np.int64)
    name, facts, spacing = _of_folders(path)
    rows.facts = {name: facts}
    if spacing is not None and not near(spacing, known):
        rows.pixel_size = np.full(len(points), spacing)
        facts["voxel_size"] = [spacing] * 3
    return r.finite(rows, lines)


def _point(line: str, number: int, path: Path) -> dict[str, Any]:
    where = f"{path}, line {number}"
    point = parse_json(line, where)
    if not isinstance(point, dict) or point.get("type") not in TYPES:
        what = shown(point.get("type")) if isinstance(point, dict) else shown(point)
        raise r.foreign(path, f"line {number} is no point ({what}); points have a type: {', '.join(TYPES)}")
    location = point.get("location")
    if not isinstance(location, dict) or not all(_is_number(location.get(axis)) for axis in "xyz"):
        raise FormatError(f"{where}: the location is {shown(location)}; it must have the numbers x, y and z.")
    found = {"type": point["type"], "at": [float(location[axis]) for axis in "xyz"]}
    if point["type"] == "orientedPoint":
        found["turn"] = _turn(point.get("xyz_rotation_matrix"), where)
    if point["type"] == "instancePoint" or "instance_id" in point:
        instance = point.get("instance_id")
        if not isinstance(instance, int) or isinstance(instance, bool) or not -LIMIT <= instance < LIMIT:
            raise FormatError(f"{where}: instance_id is {shown(instance)}; it must be a whole number.")
        found["id"] = instance
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _turn(matrix: Any, where: str) -> list[list[float]]:
    """Return the matrix that a point has, if it is one of 3 x 3 numbers of a rotation's size; else raise an error."""
    rows = matrix if isinstance(matrix, list) else []
    threes = len(rows) == 3 and all(isinstance(row, list) and len(row) == 3 for row in rows)
    if threes and all(_is_number(v) and -2 < v < 2 for row in rows for v in row):
        return rows
    raise _no_turn(matrix, where)


def _no_turn(matrix: Any, where: str) -> FormatError:
    return FormatError(f"{where}: xyz_rotation_matrix is {shown(matrix)}; it must be a rotation, three rows of three.")


def _of_folders(path: Path) -> tuple[str, r.Facts, float | None]:
    """Return what the portal's folders say: the run, the object as a fact, and the voxel spacing."""
    folders = list(path.absolute().parents)
    for at, folder in enumerate(folders[:-2]):
        found = _SPACING.fullmatch(folder.name)
        if found and float(found[1]) > 0 and folders[at + 1].name in ("Reconstructions", "Tomograms"):
            name = _NAME.fullmatch(path.stem)
            facts: r.Facts = {"feature": name[1]} if name else {}
            return folders[at + 2].name, facts, float(found[1])
    return path.stem, {}, None


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a file of the points of one tomogram."""
    picks = tables[0]
    kind = TYPES[0] if picks.label is None else TYPES[2]
    points: list[dict[str, Any]] = [
        {"type": kind, "location": {"x": x, "y": y, "z": z}} for z, y, x in picks.position_vox.tolist()
    ]
    if picks.orientation is not None:
        for point, turn in zip(points, euler_to_matrix(picks.orientation).tolist(), strict=True):
            point |= {"type": TYPES[1], "xyz_rotation_matrix": turn}
    elif picks.label is not None:
        for point, label in zip(points, picks.label.tolist(), strict=True):
            point["instance_id"] = label
    return [(path, "".join(json.dumps(point) + "\n" for point in points).encode())]
