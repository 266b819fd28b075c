"""EMAN2: boxes of a tomogram (``info/NAME_info.json``), and stacks of particles (``.hdf``, read only).

*Boxes.* Each of ``boxes_3d`` is a list: x, y, z, method, score, class, further values. ``class_list`` has the name and
the box size of each class. If the file has ``apix_unbin``, x, y, z are offsets from the volume's centre in pixels of
that size, else 0-based voxels of the volume in which they were picked (``e2spt_boxer.py``).

*Centre.* It differs by tool, by half a voxel where the volume has an odd size: ``e2spt_boxer`` counts from n // 2;
``e2spt_tempmatch`` (method ``tm``), ``e2spt_extractfromseg`` (``tomoseg``) and ``e2spt_boxer_convnet`` (``tomobox``)
from n / 2. The method of each box decides. So shape and voxel size of the tomogram are needed. The boxer rounds all
boxes to whole voxels when it opens a file, and cannot tell methods apart: after it has saved boxes of the others, they
may be half a voxel off. Boxes of ``e2tomo_annotate`` are refused in such files.

*Particles.* ``ptcl_source_coord`` of a 3D particle is the offset of its centre from that of the tomogram, in pixels of
the particle (``apix_x``), from n // 2 (``e2spt_extract.py``, ``e2spt_mapptclstotomo.py``). A stack whose particles have
none, or two numbers only (boxes of micrographs), is refused. Orientations (``xform.align3d``) are not read.

The class is the extra column ``class``; the name of the only class is the feature, of several, ``class_name`` is an
extra column. NAME is the tomogram. volengine adds a key ``volengine`` with its facts, which EMAN2 keeps but does not
use. Orientations, labels, volumes, sizes and other extra columns are lost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json, shown
from volengine.core.picks import Picks
from volengine.io.picks import carried, motive
from volengine.io.picks import rows as r
from volengine.io.picks.checks import check_cubes

HALVES = ("tm", "tomoseg", "tomobox")
"""Methods that count from n / 2."""

CORNER = "e2tomo_annotate_stat"
"""Method whose boxes count voxels from the corner, also in files where all others count from the centre."""

BOX = 64
"""Box size of a class that states none, as EMAN2 has it."""

KEPT = ("weight", motive.extra("class"), motive.extra("class_name"))


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the boxes of a file.

    Parameters
    ----------
    path
        The file.
    known
        What the caller states; shape and voxel size are needed if the file has ``apix_unbin``.
    format
        ``eman2``.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It has no boxes, or a damaged one; the message names its number.
    InputError
        Shape or voxel size are needed.
    """
    data = parse_json(r.read_text(path), str(path))
    if not isinstance(data, dict) or not isinstance(data.get("boxes_3d"), list):
        raise r.foreign(path, "it has no list 'boxes_3d' as info files of EMAN2 with boxes of a tomogram have")
    boxes = [_box(value, number, path) for number, value in enumerate(data["boxes_3d"])]
    at = np.array([box[:3] for box in boxes], float).reshape(-1, 3)[:, ::-1]
    own = carried.taken(data.get("volengine"), str(path))
    name = path.stem.removesuffix("_info").split("__")[0]
    facts: r.Facts = dict(own) if own else {"feature": ""}
    rows = r.Rows(path, coordinate=at, facts={own.get("tomogram", name): facts})
    unit = data.get("apix_unbin")
    if unit is not None:
        _from_centre(rows, unit, [box[3] for box in boxes], facts, known)
    score = np.array([box[4] for box in boxes], float)
    if own or score.any():
        rows.columns["weight"] = score
    classes = np.array([box[5] for box in boxes], np.int64)
    rows.columns[motive.extra("class")] = classes
    names = {number: _class_name(data.get("class_list"), number, path) for number in set(classes.tolist())}
    if len(names) > 1 or own:
        rows.columns[motive.extra("class_name")] = np.array([names[n] for n in classes.tolist()], str)
    elif names and not own:
        facts["feature"] = next(iter(names.values()))
    if own:
        rows.columns = {k: v for k, v in rows.columns.items() if k in own["columns"]}
    return rows


def _box(value: Any, number: int, path: Path) -> tuple[float, float, float, str, float, int]:
    """Return x, y, z, method, score and class of a box."""
    where = f"{path}, box {number} (counted from 0)"
    items = value if isinstance(value, list) else []
    if len(items) < 3 or not all(_is_number(v) and math.isfinite(v) for v in items[:3]):
        raise FormatError(f"{where} is {shown(value)}; it must begin with x, y and z.")
    x, y, z, method, score, kind = [*items[:6], *("manual", 0.0, 0)[max(0, len(items) - 3) :]][:6]
    if not isinstance(method, str) or not _is_number(score):
        raise FormatError(f"{where}: after x, y, z stand the method and a score, not {shown([method, score])}.")
    if not _is_number(kind) or not 0 <= kind < 2**31 or kind != int(kind):
        raise FormatError(f"{where}: the class is {shown(kind)}; it must be a whole number.")
    return float(x), float(y), float(z), method, float(score), int(kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > 1e300


def _class_name(classes: Any, number: int, path: Path) -> str:
    """Return the name of a class; EMAN2's own for one that is not in the list."""
    one = classes.get(str(number)) if isinstance(classes, dict) else None
    name = one.get("name") if isinstance(one, dict) else one
    if name is None:
        return f"particles_{number:02d}"
    if not isinstance(name, str | int | float):
        raise FormatError(f"{path}: the name of class {number} is {shown(name)}.")
    return str(name)


def _from_centre(rows: r.Rows, unit: Any, methods: Sequence[str], facts: r.Facts, known: r.Known) -> None:
    """Convert offsets from the centre, in pixels of a size, to voxels of the tomogram."""
    path = rows.path
    if not _is_number(unit) or not unit > 0:
        raise FormatError(f"{path}: apix_unbin is {shown(unit)}; it must be a positive number.")
    size = facts.get("voxel_size") if known.voxel_size is None else known.voxel_size
    shape = known.shape
    if shape is None and size is not None and list(size) == facts.get("voxel_size"):
        shape = facts.get("shape")
    if shape is None or size is None:
        raise needed(path, float(unit), size is None)
    if CORNER in methods:
        raise FormatError(
            f"{path}, box {methods.index(CORNER)} (counted from 0) is by e2tomo_annotate, which counts from the corner "
            "where others count from the centre, until e2spt_boxer has saved it: which it is cannot be known. Remove "
            "these boxes, or correct them and change their method."
        )
    n = np.asarray(shape)
    half = np.array([method in HALVES for method in methods], bool).reshape(-1, 1)
    rows.coordinate = rows.coordinate * float(unit) / np.asarray(size, float) + np.where(half, n / 2, n // 2)
    facts |= {"voxel_size": list(size), "shape": [int(v) for v in n]}


def needed(path: Path, unit: float, sized: bool) -> InputError:
    """Make the error for coordinates from a centre that is not known; ``sized``: the voxel size is needed, too."""
    what = "set voxel_size (angstrom) and shape (z, y, x)" if sized else "set shape (z, y, x)"
    return InputError(
        f"{path} counts pixels of {unit:g} angstrom from the centre of the tomogram: {what} of that in which they were "
        "picked."
    )


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make an info file with the boxes of one tomogram.

    Raises
    ------
    InputError
        The shape is not known, the voxels are no cubes, or the column ``class`` holds no whole numbers.
    """
    picks = tables[0]
    size = np.asarray(picks.voxel_size)
    if picks.shape is None:
        raise InputError(f"{path}: EMAN2 counts from the centre of {picks.tomogram!r}: set picks.with_(shape=...).")
    check_cubes(picks, "EMAN2 knows")
    unit = float(size[2]) if pixel_size is None else pixel_size
    at = (picks.position_vox - np.asarray(picks.shape) // 2) * (size / unit)
    classes, named = _classes(picks, path)
    weight = np.zeros(len(picks)) if picks.weight is None else picks.weight
    kinds = {str(k): {"name": named.get(k) or picks.feature or f"particles_{k:02d}", "boxsize": BOX} for k in classes}
    data = {
        "apix_unbin": unit,
        "boxes_3d": [
            [x, y, z, "volengine", score, kind]
            for (z, y, x), score, kind in zip(at.tolist(), weight.tolist(), classes, strict=True)
        ],
        "class_list": kinds,
        "volengine": carried.carried(picks, KEPT),
    }
    return [(path, (json.dumps(data, indent=1) + "\n").encode())]


def _classes(picks: Picks, path: Path) -> tuple[list[int], dict[int, str]]:
    """Return the class of each pick, and the names of those that have one."""
    texts = picks.extra.get("class_name")
    names = [] if texts is None else r.texts(texts)
    by_name = np.array([sorted(set(names)).index(name) for name in names] or [0] * len(picks), np.int64)
    classes = motive.number_column(picks, "class", by_name, path).tolist()
    named = dict(zip(classes, names, strict=False))
    if any(named[k] != name for k, name in zip(classes, names, strict=False)):
        raise InputError(f"{path}: one number of 'class' has several names in 'class_name'; number the classes anew.")
    return classes, named
