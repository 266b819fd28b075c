"""What all formats of picks share: the rows of a file, and their conversion to ``Picks``.

A format module parses its file into :class:`Rows`: coordinates in the file's own unit, other columns, and what the file
states about the tomograms. :func:`gather` converts them to :class:`~volengine.core.picks.Picks`; only there are units
and origins converted. Files that volengine writes have a line of *facts* per tomogram (JSON in a comment), so that they
can be read back completely; other programs ignore it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_object, shown
from volengine.core.picks import EXTRA, Picks
from volengine.io.names import same_tomogram, tomogram_name
from volengine.io.picks.checks import check_stated, has_poses
from volengine.io.picks.known import Known as Known
from volengine.io.picks.texts import Floats as Floats
from volengine.io.picks.texts import column_kind as column_kind
from volengine.io.picks.texts import foreign as foreign
from volengine.io.picks.texts import is_file as is_file
from volengine.io.picks.texts import numbers as numbers
from volengine.io.picks.texts import numbers_hint as numbers_hint
from volengine.io.picks.texts import read_bytes as read_bytes
from volengine.io.picks.texts import read_text as read_text
from volengine.io.picks.texts import texts as texts
from volengine.io.picks.texts import typed as typed
from volengine.io.picks.texts import write_bytes as write_bytes

Facts = dict[str, Any]

MARK = "# volengine "
"""Start of a comment line of facts."""


@dataclass
class Rows:
    """The picks of a file, before any conversion.

    Parameters
    ----------
    coordinate
        (n, 3), z, y, x, in pixels or angstrom. 0 is the centre of the first voxel, to which the format module converts,
        or the centre of the tomogram if ``centred``.
    angstrom
        Whether the coordinates are in angstrom; otherwise in pixels.
    centred
        Whether the coordinates are relative to the centre of the tomogram, half its shape.
    framed
        Why the coordinates, in angstrom, count from the origin of each tomogram; a message for a format that cannot be
        read without it. ``""``: they do where an origin is known, else from the first voxel. ``None``: they never do.
    pixel_size
        (n,) pixel size of each row, angstrom; NaN, or ``None`` for all, if the file does not state it. If the voxels of
        the tomogram have another size, the coordinates are rescaled.
    tomogram
        Name of the tomogram of each row; ``None`` if the file does not state it.
    named
        Whether the file has names of tomograms. If it has only numbers, and one tomogram, the caller's name is used.
    columns
        Other columns, with the names of ``Picks.to_table``.
    shift_a
        (n, 3) shifts that are added to the positions, angstrom, z, y, x.
    stated_a
        (n, 3) positions that the file states once more, angstrom, z, y, x, with the origin or without; NaN where it
        does not. They must be those of the coordinates.
    facts
        What the file states about each tomogram, by name.
    """

    path: Path
    coordinate: Floats
    angstrom: bool = False
    centred: bool = False
    framed: str | None = None
    pixel_size: Floats | None = None
    tomogram: list[str] | None = None
    named: bool = True
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    shift_a: Floats | None = None
    stated_a: Floats | None = None
    facts: dict[str, Facts] = field(default_factory=dict)


def gather(rows: Rows, known: Known) -> dict[str, Picks]:
    """Convert rows to the picks of each tomogram, in the order in which the file names them.

    Parameters
    ----------
    rows
        The rows of a file.
    known
        What the caller states; with a tomogram's name, only its picks are returned.

    Raises
    ------
    InputError
        File and caller together do not determine the picks (the message names the missing argument), or there is no
        tomogram of the caller's name.
    FormatError
        The rows of a tomogram have different pixel sizes, or positions in two units that contradict each other.
    """
    groups, facts = groups_of(rows, known.tomogram)
    chosen = None if known.tomogram is None else same_tomogram(known.tomogram, groups)
    wanted = groups if known.tomogram is None else {k: v for k, v in groups.items() if k == chosen}
    if not wanted:
        raise InputError(
            f"{rows.path}: there is no tomogram {known.tomogram!r}; there are {listing(groups)}. Set tomogram."
            f"{'' if rows.named else numbers_hint(rows.path, groups)}"
        )
    return {name: picks_at(rows, name, at, facts.get(name, {}), known) for name, at in wanted.items()}


def groups_of(rows: Rows, tomogram: str | None = None) -> tuple[dict[str, list[int]], dict[str, Facts]]:
    """Return the rows of each tomogram by its name, and the facts that the file states about it.

    Parameters
    ----------
    rows
        The rows of a file.
    tomogram
        The caller's name, for a file that states none.
    """
    names = rows.tomogram
    if names is None:
        stated = list(rows.facts) if len(rows.facts) == 1 else [rows.path.stem]
        names = [stated[0] if tomogram is None else tomogram] * len(rows.coordinate)
        facts = {names[0] if names else tomogram or stated[0]: rows.facts.get(stated[0], {})}
    else:
        facts = rows.facts
    groups: dict[str, list[int]] = {name: [] for name in facts}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    if not rows.named and len(groups) == 1 and tomogram is not None:
        groups = {tomogram: next(iter(groups.values()))}
    return groups or {tomogram or rows.path.stem: []}, facts


def tomogram_names(texts: Sequence[str], facts: Mapping[str, Facts], path: Path) -> list[str]:
    """Return the name of the tomogram of each row, from a column that names it, in whatever way programs do so.

    Parameters
    ----------
    texts
        What the column says: names, files or paths.
    facts
        What volengine states in the file, by tomogram; these names are exact.
    path
        The file, for messages.

    Raises
    ------
    FormatError
        Two different texts give the same name, for example halves of a tomogram, or files in different folders.
    """
    own = {f"{name}{ending}": name for name in facts for ending in (".tomostar", "")}
    names: dict[str, str] = {}
    texts_of: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        name = names[text] = own[text] if text in own else tomogram_name(text)
        other = texts_of.setdefault(name, text)
        if other != text:
            raise FormatError(
                f"{path}: {shown(other)} and {shown(text)} both mean tomogram {shown(name)}. If they are the same, "
                "give them one name; if they are not, rename one of them, or split the file."
            )
    return [names[text] for text in texts]


def listing(names: Iterable[str], most: int = 8) -> str:
    """Format names for a message; after ``most`` of them only the number of the others is given."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def picks_at(rows: Rows, name: str, at: Sequence[int] | NDArray[np.int64], facts: Facts, known: Known) -> Picks:
    """Convert the rows of one tomogram, which are number ``at`` of a file; errors are those of :func:`gather`."""
    at = np.asarray(at, int)
    pixel = _pixel(rows, name, at, facts)
    stated = facts.get("voxel_size")
    voxel_size = _first(known.voxel_size, stated, pixel)
    if voxel_size is None:
        raise InputError(f"{rows.path} does not say the voxel size of tomogram {name!r}: set voxel_size (angstrom).")
    size = np.asarray(voxel_size, float)
    shape = known.shape
    if shape is None and facts.get("shape") is not None and _same(stated, size):
        shape = facts["shape"]
    coordinate = rows.coordinate[at]
    if rows.angstrom:
        coordinate = coordinate / size
    elif pixel is not None and not _same(pixel, size):
        coordinate = coordinate * pixel / size
    if rows.centred:
        coordinate = coordinate + _centre_vox(rows, name, size, shape, facts, known)
    if rows.shift_a is not None:
        coordinate = coordinate + rows.shift_a[at] / size
    if rows.framed is not None:
        coordinate = coordinate - _frame(rows, facts, known) / size
    origin = _first(known.origin, _stated(facts), known.volume_origin, (0.0, 0.0, 0.0))
    if rows.stated_a is not None:
        origins = [facts.get("origin") or (0.0, 0.0, 0.0), *([] if "columns" in facts else [origin])]
        check_stated(f"{rows.path}: tomogram {name!r}", rows.stated_a[at], coordinate * size, size, origins)
    columns = {k: v[at] for k, v in rows.columns.items()}
    if "columns" in facts:  # our own file: columns that are not listed were written for other programs only
        columns = {k: v for k, v in columns.items() if k in facts["columns"] or k.startswith(EXTRA)}
    return Picks.from_table(
        {"position_vox": coordinate, **columns},
        {
            "voxel_size": tuple(size.tolist()),
            "origin": origin,
            "shape": shape,
            "tomogram": name,
            "feature": facts.get("feature", ""),
        },
    )


def _pixel(rows: Rows, name: str, at: NDArray[np.int64], facts: Facts) -> Floats | None:
    """Return the size of one pixel of the coordinates, angstrom, z, y, x; ``None`` if it is not known."""
    stated = _first(facts.get("pixel_size"), facts.get("voxel_size"))
    if "columns" in facts and stated is not None:  # our own file: the facts are exact, the file's field may be rounded
        return np.asarray(stated, float)
    if rows.pixel_size is None and "pixel_size" in facts:
        return np.asarray(facts["pixel_size"], float)
    if rows.pixel_size is None or not len(at):
        return None
    sizes = np.unique(rows.pixel_size[at])
    if len(sizes) > 1:
        raise FormatError(
            f"{rows.path}: tomogram {name!r} has picks with different pixel sizes: {sizes.tolist()} angstrom"
            f"{' (nan: not stated)' if np.isnan(sizes).any() else ''}. Give all of them one size, or divide the file."
        )
    return None if np.isnan(sizes[0]) else np.repeat(sizes, 3)


def _centre_vox(rows: Rows, name: str, size: Floats, shape: Any, facts: Facts, known: Known) -> Floats:
    """Return RELION 5's centre of a tomogram, voxels: half its unbinned shape, for even and odd shapes.

    What the file states is more exact than the shape of a binned volume, from which it differs by some unbinned pixels:
    it is taken unless the caller's shape is that of another volume.
    """
    stated = facts.get("centre_a")
    if stated is None and facts.get("shape") is not None and facts.get("voxel_size") is not None:
        stated = np.asarray(facts["shape"], float) / 2 * np.asarray(facts["voxel_size"], float)
    if stated is not None:
        centre: Floats = np.asarray(stated, float) / size
        if known.shape is None or (np.abs(np.asarray(known.shape, float) / 2 - centre) <= 1).all():
            return centre
    if shape is None:
        raise InputError(
            f"{rows.path} counts from the centre of tomogram {name!r} and does not say its shape: set shape (z, y, x), "
            "or read RELION's optimisation_set.star, which leads to the tomograms."
        )
    return np.asarray(shape, float) / 2


def _frame(rows: Rows, facts: Facts, known: Known) -> Floats:
    """Return the origin that is in the coordinates, angstrom.

    volengine's own files state with which one they were written, so that another volume does not move their picks.
    """
    origin = _first(facts.get("origin"), known.origin, known.volume_origin)
    if origin is None and rows.framed:
        raise InputError(
            f"{rows.path} {rows.framed}, which are origin + index * voxel size: give the volume, or set origin "
            "(angstrom, z, y, x) to that of the tomogram; (0, 0, 0) if its header has none."
        )
    return np.asarray((0.0, 0.0, 0.0) if origin is None else origin, float)


def _stated(facts: Facts) -> Any:
    """Return the origin that a file states; one of 0 is none, but in our own files, which say all that is known."""
    origin = facts.get("origin")
    return origin if origin is not None and (any(origin) or "columns" in facts) else None


def _same(a: Any, b: Floats) -> bool:
    return a is not None and bool(np.array_equal(np.asarray(a, float), b))


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)


# Facts -------------------------------------------------------------------------------------------------------------


def facts_line(picks: Picks, pixel_size: Sequence[float] | None = None, centre_a: Sequence[float] | None = None) -> str:
    """Make the comment line from which volengine reads its own file back completely (without line end).

    Parameters
    ----------
    picks
        The picks of one tomogram.
    pixel_size
        Size of the pixels that the file's coordinates count, if it is not the voxel size; angstrom, z, y, x.
    centre_a
        Place of the centre from which the coordinates count, if it is not half the shape; angstrom, z, y, x.
    """
    facts: Facts = {k: v for k, v in picks.facts().items() if v is not None}
    facts["columns"] = {k: v.dtype.kind for k, v in picks.columns.items() if k != "position_vox"}
    if pixel_size is not None:
        facts["pixel_size"] = list(pixel_size)
    if centre_a is not None:
        facts["centre_a"] = list(centre_a)
    return MARK + json.dumps(facts).replace("data_", "data\\u005f")  # RELION begins a block there, also in comments


def read_facts(text: str, path: Path) -> dict[str, Facts]:
    """Read the facts in the comment lines of a file, by tomogram."""
    found: dict[str, Facts] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(MARK + "{"):
            where = f"{path}, line {number}: the facts that volengine wrote"
            try:
                facts = checked_facts(parse_object(line.removeprefix(MARK), where), where)
                if "tomogram" not in facts:
                    raise FormatError(f"{where}: there is no tomogram.")
            except FormatError as error:
                raise FormatError(f"{error} They are damaged; remove the line.") from None
            found[facts["tomogram"]] = facts
    return found


def checked_facts(facts: Facts, where: str) -> Facts:
    """Return facts about a tomogram that a file states, if each is of its kind.

    Raises
    ------
    FormatError
        A size is no three positive finite numbers, a name is no text, the columns are no names and kinds.
    """
    checked: Facts = {}
    for key, value in facts.items():
        if value is None and key in ("shape", "origin"):
            continue
        if key in _VECTORS:
            fits = _is_vector(value, positive=key not in ("origin", "centre_a"), whole=key == "shape")
        elif key in ("tomogram", "feature"):
            fits = isinstance(value, str)
        elif key == "columns":
            fits = isinstance(value, dict) and all(kind in _KINDS for kind in value.values())
        else:  # of a later version, or of nobody: not used
            continue
        if not fits:
            raise FormatError(f"{where}: {key} is {shown(value)}; it must be {_MUST[key]}.")
        checked[key] = value
    return checked


_VECTORS = ("voxel_size", "origin", "shape", "pixel_size", "centre_a")
_KINDS = ("f", "i", "b", "U")
_MUST = dict.fromkeys(_VECTORS, "three finite numbers z, y, x; sizes are positive") | {
    "shape": "three whole numbers z, y, x, at least 1",
    "tomogram": "text",
    "feature": "text",
    "columns": f"names of columns with their kinds ({', '.join(_KINDS)})",
}


def _is_vector(value: Any, *, positive: bool, whole: bool) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    if not all(isinstance(v, int if whole else int | float) and not isinstance(v, bool) for v in value):
        return False
    return all(abs(v) < 1e300 and (v > 0 or not positive) for v in value)  # NaN is less than nothing


def kinds(facts: Mapping[str, Facts]) -> dict[str, str]:
    """Return the type (numpy kind) of each column that the facts list."""
    return {k: v for f in facts.values() for k, v in f.get("columns", {}).items()}


def finite(rows: Rows, lines: Sequence[int]) -> Rows:
    """Return the rows if all coordinates, angles and normals are finite; else raise :class:`FormatError` with the line.

    If no row has angles (all are NaN, as programs write what they do not know), the rows have no poses.
    """
    bad = np.flatnonzero(~np.isfinite(rows.coordinate).all(axis=1))
    if len(bad):
        raise FormatError(
            f"{rows.path}, line {lines[bad[0]]}: the position is {rows.coordinate[bad[0]].tolist()} (z, y, x)."
        )
    for key in ("euler", "normal"):
        value = rows.columns.get(key)
        if value is not None and not has_poses(value, key, rows.path, lines):
            del rows.columns[key]
    return rows
