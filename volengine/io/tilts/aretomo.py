"""Alignments of AreTomo, AreTomo2 and AreTomo3 (``.aln``).

Rows are SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT, one for each image that was kept; images that were dark have a
line ``# DarkFrame = frame SEC tilt`` instead. SEC counts from 0 in AreTomo2 (``CLoadStack.cpp``) and from 1 in AreTomo3
(``CTiltSeries.cpp``). Both kinds of lines together name every section of the raw stack (``# RawSize``) once, so the
smallest of them says from where it counts; a file in which they do not is refused. TILT contains ``# AlphaOffset`` in
AreTomo3.
"""

from __future__ import annotations

import re

from volengine.core.errors import FormatError
from volengine.io.tilts.series import TiltSeries, file_name, lines_of, number, stated_once

_HEAD = re.compile(r"#\s*(\w+)\s*=\s*(.*)")
COLUMNS = 10
READ = ("RawSize", "Thickness", "AlphaOffset", "BetaOffset")
"""Values of the head that are read."""


def read_aln(path: str) -> TiltSeries:
    """Read an alignment; local alignments are left out.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no alignment of AreTomo, a line is damaged, or its sections are not those of the raw stack.
    """
    lines = lines_of(path, "an alignment of AreTomo")
    if not lines[0].lstrip().lower().startswith("# aretomo alignment"):
        raise FormatError(f"{path}: begins with {lines[0][:40]!r}; '# AreTomo Alignment' was expected.")
    head: dict[str, tuple[str, int]] = {}
    dark: list[int] = []
    rows: list[list[float]] = []
    for at, line in enumerate(lines, 1):
        words = line.split()
        if line.lstrip().lower().startswith("# local alignment"):
            break
        if not words:
            continue
        if words[0].startswith("#"):
            found = _HEAD.match(line.strip())
            if found and found[1] == "DarkFrame":
                numbers = [number(w, path, at, "DarkFrame") for w in found[2].split()]
                if len(numbers) != 3:
                    raise FormatError(f"{path}, line {at}: DarkFrame has {len(numbers)} numbers, not 3.")
                dark.append(_whole(numbers[1], path, at))
            elif found and found[1] in READ:
                stated_once(head, found[1], found[2], at, path)
            continue
        if len(words) != COLUMNS:
            raise FormatError(f"{path}, line {at}: {len(words)} values, not {COLUMNS}.")
        rows.append([number(w, path, at, "a value") for w in words])
        _whole(rows[-1][0], path, at)
    first = _first_section(path, head, [int(r[0]) for r in rows], dark)
    thickness = head.get("Thickness")
    notes = [f"SEC counts from {first}; sections here count from 0."]
    for name in ("AlphaOffset", "BetaOffset"):
        text, at = head.get(name, ("", 0))
        words = text.split()
        value = number(words[0], path, at, name) if words else 0.0
        notes += [f"{name} is {value:g} degrees."] if value else []
    return TiltSeries(
        source=file_name(path),
        format="aln",
        angles=tuple(r[9] for r in rows),
        sections=tuple(int(r[0]) - first for r in rows),
        axis_angle=tuple(r[1] for r in rows),
        thickness_px=_positive(path, thickness),
        dark=tuple(sorted(d - first for d in dark)),
        notes=tuple(notes),
    ).check(path)


def _whole(value: float, path: str, at: int) -> int:
    if value != int(value) or value < 0:
        raise FormatError(f"{path}, line {at}: {value:g} is no number of a section.")
    return int(value)


def _positive(path: str, entry: tuple[str, int] | None) -> float | None:
    if entry is None or not entry[0].split():
        return None
    value = number(entry[0].split()[0], path, entry[1], "Thickness")
    return value if value > 0 else None


def _first_section(path: str, head: dict[str, tuple[str, int]], rows: list[int], dark: list[int]) -> int:
    """Whether sections count from 0 or from 1."""
    if not rows:
        raise FormatError(f"{path}: has no row: no image was aligned, or the file is cut off.")
    named = sorted([*rows, *dark])
    text, at = head.get("RawSize", ("", 0))
    words = text.split()
    count = _whole(number(words[2], path, at, "RawSize"), path, at) if len(words) == 3 else None
    first = named[0]
    if first not in (0, 1) or named != list(range(first, first + len(named))) or count not in (None, len(named)):
        size = "no RawSize" if count is None else f"RawSize of {count} sections"
        raise FormatError(
            f"{path}: its rows and DarkFrames name {len(named)} sections from {first} to {named[-1]}, with {size}; all "
            "sections from 0 (AreTomo2) or from 1 (AreTomo3) were expected once. It is cut off or was edited."
        )
    return first
