"""Markers of ChimeraX and Chimera (``.cmm``): XML with ``marker_set`` and ``marker id x y z``.

Coordinates are angstrom in the scene (``markers/src/cmmfiles.py``: ``scene_coord``), where ChimeraX has the centre of
voxel i of a map at origin + i × voxel size, with the origin of its header. So the origin of the tomogram is needed,
from volengine's own comment, from the ``origin`` argument (0, 0, 0 for a map without one), or from its volume.

The set's name is the feature; of several sets, ``set_name`` is an extra column. ``weight`` and ``label`` are written as
attributes of the markers, which ChimeraX keeps. Links and colours are not read. ChimeraX saves five digits of each
number. Orientations, sizes and other extra columns are lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json, shown
from volengine.core.picks import Picks
from volengine.io.picks import carried, motive
from volengine.io.picks import rows as r

KEPT = ("weight", "label")
MARK = " volengine "
_SETS = ("marker_sets", "marker_set")


class _Markers:
    """What the parser has found: markers with their line and set, names of sets, volengine's comment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sets: list[str] = []
        self.markers: list[dict[str, str]] = []
        self.lines: list[int] = []
        self.set_of: list[int] = []
        self.own: str | None = None
        self.open: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = lambda _name: self.open.pop()
        self.parser.CommentHandler = self.comment
        self.parser.StartDoctypeDeclHandler = self.refuse

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self.open and name not in _SETS:
            raise r.foreign(self.path, f"it is XML of {shown(name)}, not of marker_set as ChimeraX's markers are")
        self.open.append(name)
        if name == "marker_set":
            self.sets.append(attributes.get("name", ""))
        elif name == "marker":
            if "marker_set" not in self.open:
                raise FormatError(f"{self.path}, line {self.parser.CurrentLineNumber}: a marker is in no marker_set.")
            self.markers.append(dict(attributes))
            self.lines.append(self.parser.CurrentLineNumber)
            self.set_of.append(len(self.sets) - 1)

    def comment(self, text: str) -> None:
        if text.startswith(MARK):
            self.own = text.removeprefix(MARK)

    def refuse(self, *_: object) -> None:
        raise FormatError(f"{self.path}: markers have no document type; volengine does not read entities.")


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the markers of a file.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no XML of markers, or a marker is damaged; the message names the line.
    InputError
        The origin of the tomogram is not known (:func:`volengine.io.picks.rows.picks_at` says so).
    """
    found = _Markers(path)
    try:
        found.parser.Parse(r.read_bytes(path), True)
    except expat.ExpatError as error:
        what = f"no XML ({expat.ErrorString(error.code)})"
        raise FormatError(f"{path}, line {error.lineno}: the markers are damaged: {what}.") from None
    except (UnicodeError, LookupError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise FormatError(f"{path} is damaged: its text cannot be decoded.") from None
    own = carried.taken(None if found.own is None else parse_json(found.own, str(path)), str(path))
    at = np.stack([_values(found, axis) for axis in "zyx"], axis=-1)
    rows = r.Rows(path, coordinate=at, angstrom=True, framed="has places in the scene of ChimeraX")
    feature = found.sets[0] if len(found.sets) == 1 else ""
    rows.facts = {own["tomogram"]: own} if own else {path.stem: {"feature": _tidy(feature)}}
    for key in KEPT:
        if found.markers and all(key in marker for marker in found.markers):
            value = _values(found, key)
            rows.columns[key] = motive.whole(value, key, path, found.lines) if key == "label" else value
    if len(found.sets) > 1:
        names = [_tidy(found.sets[i]) for i in found.set_of]
        rows.columns[motive.extra("set_name")] = np.array(names, str)
    return r.finite(rows, found.lines)


def _tidy(name: str) -> str:
    """Return a name without the characters that names of picks cannot have."""
    return "".join(c for c in name if c.isprintable() and c != '"').strip()


def _values(found: _Markers, key: str) -> r.Floats:
    texts = [marker.get(key, "") for marker in found.markers]
    return r.numbers(texts, f"{key} of a marker", found.path, found.lines)


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a file of the markers of one tomogram."""
    picks = tables[0]
    own = json.dumps(carried.carried(picks, KEPT)).replace("--", "-\\u002d")  # which a comment cannot hold
    radius = 2 * max(picks.voxel_size)
    lines = [f"<marker_set name={quoteattr(picks.feature or 'picks')}>", f"<!--{MARK}{own}-->"]
    extra: dict[str, Any] = {k: r.texts(v) for k in KEPT if (v := getattr(picks, k)) is not None}
    for i, (z, y, x) in enumerate(picks.position.tolist()):
        more = "".join(f' {key}="{value[i]}"' for key, value in extra.items())
        place = f'id="{i + 1}" x="{x!r}" y="{y!r}" z="{z!r}"'
        lines.append(f'<marker {place} r="1" g="1" b="0" radius="{radius!r}"{more}/>')
    return [(path, ("\n".join([*lines, "</marker_set>"]) + "\n").encode())]
