"""copick picks: one JSON file per tomogram, object and tool.

Each of the ``points`` has ``location`` (x, y, z in angstrom), ``transformation_`` (4×4, from the object into the
tomogram), ``instance_id`` and ``score``. The file also has ``pickable_object_name``, ``user_id``, ``session_id``,
``run_name``, ``voxel_spacing``, ``unit`` and ``trust_orientation`` (copick's data model, ``CopickPicksFile``).

copick's tomograms have no origin: a location is index × voxel size, and 0 is the centre of the first voxel. The
translation of a transformation is added to its location. ``instance_id`` is the label, ``score`` the weight. If all
labels are 0, or all rotations are the identity, which are copick's defaults, the picks have no labels or no
orientations.

volengine adds a key ``volengine`` with the facts of the tomogram, which copick ignores. Volumes, sizes, normals (they
are written as rotations) and extra columns are lost. Locations are products, so positions are restored to about one
part in 10¹⁵.
"""

from __future__ import annotations

import json
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

KEPT = ("weight", "label", "euler")
TOLERANCE = 1e-2
"""How far a transformation may be from a rotation; programs write few digits."""


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a copick file.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no JSON, no file of picks, or has a damaged point; the message names the point.
    """
    data = parse_json(r.read_text(path), str(path))
    if not isinstance(data, dict) or not isinstance(data.get("points", 0), (list, type(None))):
        raise r.foreign(path, "it has no list 'points' as JSON by copick has")
    if data.get("unit", "angstrom") != "angstrom":
        raise FormatError(f"{path}: the unit of the locations is {shown(data['unit'])}; copick's is angstrom.")
    points = data["points"] or []
    if not points and "pickable_object_name" not in data:
        raise r.foreign(path, "its 'points' are empty, and it has no 'pickable_object_name' as JSON by copick has")
    location = np.array([_location(p, i, path) for i, p in enumerate(points)], float).reshape(-1, 3)
    turns = np.array([_matrix(p, i, path) for i, p in enumerate(points)], float).reshape(-1, 4, 4)
    facts = _facts(data, path)
    name = facts.pop("tomogram")
    name = run_of(path) if name is None else name
    rows = r.Rows(path, coordinate=(location + turns[:, :3, 3])[:, ::-1], angstrom=True)
    rows.tomogram = None if name is None else [name] * len(points)
    rows.facts = {path.stem if name is None else name: facts}
    rows.columns["weight"] = np.array([_number(p, "score", 1.0, i, path) for i, p in enumerate(points)], float)
    label = np.array([_whole(p, "instance_id", 0, i, path) for i, p in enumerate(points)], np.int64)
    own = "columns" in facts
    if own or label.any():
        rows.columns["label"] = label
    if own or (data.get("trust_orientation", True) and (turns[:, :3, :3] != np.eye(3)).any()):
        wrong = no_rotations(turns[:, :3, :3], TOLERANCE)
        if len(wrong):
            raise FormatError(
                f"{path}: point {wrong[0]} (counted from 0) has a transformation_ that is no rotation: it stretches, "
                "shears or mirrors. If it means no orientation, set trust_orientation to false."
            )
        rows.columns["euler"] = matrix_to_euler(turns[:, :3, :3])
    bad = np.flatnonzero(~np.isfinite(rows.coordinate).all(axis=1))
    if len(bad):
        raise FormatError(f"{path}: point {bad[0]} (counted from 0) is at {shown(points[bad[0]]['location'])}.")
    return rows


def run_of(path: Path) -> str | None:
    """The run of a file in a project, ``ExperimentRuns/RUN/Picks/FILE.json``; ``None`` for a file elsewhere."""
    folders = path.absolute().parts[-4:-1]
    return folders[1] if len(folders) == 3 and folders[::2] == ("ExperimentRuns", "Picks") else None


def _facts(data: dict[str, Any], path: Path) -> r.Facts:
    facts: r.Facts = {"feature": data.get("pickable_object_name") or ""}
    if data.get("run_name") is not None:
        facts["tomogram"] = data["run_name"]
    if data.get("voxel_spacing"):
        facts["voxel_size"] = [data["voxel_spacing"]] * 3
    own = data.get("volengine")
    if isinstance(own, dict):
        facts |= {k: own[k] for k in ("voxel_size", "origin", "shape", "feature", "columns") if k in own}
    return {"tomogram": None, **r.checked_facts(facts, str(path))}


def _location(point: Any, number: int, path: Path) -> tuple[float, float, float]:
    try:
        at = point["location"]
        x, y, z = at["x"], at["y"], at["z"]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (x, y, z)):
            raise TypeError
        return float(x), float(y), float(z)
    except (KeyError, TypeError, OverflowError):
        raise FormatError(f"{path}: point {number} (counted from 0) has no location x, y, z.") from None


def _matrix(point: dict[str, Any], number: int, path: Path) -> r.Floats:
    matrix = point.get("transformation_")
    try:
        array = np.eye(4) if matrix is None else np.array(matrix, float)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape != (4, 4) or not np.isfinite(array).all() or not np.array_equal(array[3], [0, 0, 0, 1]):
        raise FormatError(f"{path}: point {number} (counted from 0) has no 4x4 transformation_ ending in 0 0 0 1.")
    return array


def _number(point: dict[str, Any], key: str, default: float, number: int, path: Path) -> float:
    value = point.get(key, default)
    if value is None:
        return default
    try:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, OverflowError):
        raise FormatError(f"{path}: {key} of point {number} (counted from 0) is {shown(value)}, no number.") from None


def _whole(point: dict[str, Any], key: str, default: int, number: int, path: Path) -> int:
    value = point.get(key, default)
    if value is None:
        return default
    kind = isinstance(value, int | float) and not isinstance(value, bool)
    if not kind or not -LIMIT <= value < LIMIT or value != int(value):
        raise FormatError(
            f"{path}: {key} of point {number} (counted from 0) is {shown(value)}; it must be a whole number from "
            "-2**63 to 2**63 - 1."
        )
    return int(value)


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a copick file of the picks of one tomogram; in a project user, session and object are those of its name."""
    parts = path.stem.split("_", 2)
    inside = run_of(path) is not None and len(parts) == 3 and all(parts)
    user, session, name = parts if inside else ("volengine", "0", tables[0].feature or "object")
    return [(path, _text(tables[0], user, session, name).encode())]


def _text(picks: Picks, user: str, session: str, name: str) -> str:
    n = len(picks)
    weight = np.ones(n) if picks.weight is None else picks.weight
    label = np.zeros(n, int) if picks.label is None else picks.label
    turns = np.tile(np.eye(4), (n, 1, 1))
    if picks.orientation is not None:
        turns[:, :3, :3] = euler_to_matrix(picks.orientation)
    location = picks.position_vox * np.asarray(picks.voxel_size)
    points = [
        {
            "location": {"x": x, "y": y, "z": z},
            "transformation_": turn,
            "instance_id": instance,
            "score": score,
        }
        for (z, y, x), turn, instance, score in zip(
            location.tolist(), turns.tolist(), label.tolist(), weight.tolist(), strict=True
        )
    ]
    facts = {k: v for k, v in picks.facts().items() if v is not None}
    facts["columns"] = {k: v.dtype.kind for k, v in picks.columns.items() if k in KEPT}
    if picks.orientation is not None:
        facts["columns"]["euler"] = "f"
    data = {
        "pickable_object_name": name,
        "user_id": user,
        "session_id": session,
        "run_name": picks.tomogram,
        "voxel_spacing": picks.voxel_size[2],
        "unit": "angstrom",
        "points": points,
        "trust_orientation": picks.orientation is not None,
        "volengine": facts,
    }
    return json.dumps(data, indent=1) + "\n"
