"""STOPGAP motive lists (``.star``, block ``stopgap_motivelist``), 16 columns.

volengine reads and writes tomo_num, orig_x y z + x_shift y z, score, phi psi the, and as extra columns object, class,
subtomo_num and halfset; conventions in :mod:`volengine.io.picks.motive`. The list states no pixel size. Scores and
angles count as missing if they contain only zeros. Columns that the picks lack are written as STOPGAP's converters
write them: score 0, halfset A, object and class 1, numbers 1, 2, 3.

The file begins with volengine's comment lines of facts, which are above the block and ignored by STOPGAP, with the
number of each tomogram. Labels, volumes, sizes, normals (they are written as angles) and other extra columns are lost.

A list with several entries for one particle (STOPGAP's "multientry" lists have one for each class) is refused: its rows
are not particles.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_object
from volengine.core.picks import Picks
from volengine.io.picks import motive
from volengine.io.picks import rows as r
from volengine.io.picks.dynamo import map_names
from volengine.io.picks.star import Table, read_star

BLOCK = "stopgap_motivelist"
ORIGIN = ("orig_x", "orig_y", "orig_z")
SHIFT = ("x_shift", "y_shift", "z_shift")
ANGLES = ("phi", "the", "psi")
COLUMNS = (
    *("motl_idx", "tomo_num", "object", "subtomo_num", "halfset"),
    *(*ORIGIN, "score", *SHIFT),
    *("phi", "psi", "the", "class"),
)
"""All columns, in STOPGAP's order (``sg_get_motl_fields``)."""

_KEPT = ("weight", "euler", *map(motive.extra, ("class", "object", "subtomo_num", "halfset")))


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a motive list.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no motive list of STOPGAP, or a line is damaged, or it has several entries for one particle.
    """
    blocks, text = read_star(path)
    if BLOCK not in blocks:
        raise r.foreign(path, f"it has no block data_{BLOCK} as STOPGAP's motive lists have")
    table = blocks[BLOCK]
    missing = [name for name in ("tomo_num", *ORIGIN) if name not in table.columns]
    if any(name in table.columns for name in ANGLES):
        missing += [name for name in ANGLES if name not in table.columns]
    if missing:
        raise FormatError(f"{path}: the motive list has no column _{missing[0]}.")
    value = {k: r.numbers(table.columns[k], k, path, table.lines) for k in COLUMNS if _is_number(k, table)}
    at = np.stack([value[k] for k in ORIGIN[::-1]], axis=-1)
    for axis, name in enumerate(SHIFT[::-1]):
        at[:, axis] += value.get(name, 0.0)
    tomogram = motive.whole(value["tomo_num"], "tomo_num", path, table.lines)
    _refuse_several_entries(value, table, path)
    facts = r.read_facts(text, path)
    names = _numbers_of_facts(text, path) or map_names(path)
    rows = r.Rows(path, coordinate=at - 1, named=bool(names), facts=facts)
    rows.tomogram = [names.get(n, str(n)) for n in tomogram.tolist()]
    if not facts and not len(at):
        rows.facts = {name: {} for name in names.values()}
    if "score" in value and (facts or value["score"].any()):
        rows.columns["weight"] = value["score"]
    if all(k in value for k in ANGLES) and (facts or any(value[k].any() for k in ANGLES)):
        rows.columns["euler"] = motive.to_euler(*(value[k] for k in ANGLES))
    mine = r.kinds(facts)  # in a file by volengine, columns that the picks lack were written for STOPGAP only
    for name in motive.NUMBERS:
        if name in value and (not facts or motive.extra(name) in mine):
            rows.columns[motive.extra(name)] = motive.whole(value[name], name, path, table.lines)
    if "halfset" in table.columns and (not facts or motive.extra("halfset") in mine):
        rows.columns[motive.extra("halfset")] = np.array(table.columns["halfset"], str)
    return r.finite(rows, table.lines)


def _is_number(name: str, table: Table) -> bool:
    return name in table.columns and name != "halfset"


def _refuse_several_entries(value: dict[str, r.Floats], table: Table, path: Path) -> None:
    """Raise an error if one particle has several rows."""
    if "motl_idx" not in value:
        return
    keys = np.stack([value[k] for k in ("motl_idx", "tomo_num", *ORIGIN)], axis=-1)
    first: dict[tuple[float, ...], int] = {}
    for line, key in zip(table.lines, map(tuple, keys.tolist()), strict=True):
        if first.setdefault(key, line) != line:
            raise FormatError(
                f"{path}, line {line}: motl_idx {key[0]:g} is the particle of line {first[key]} once more. A list with "
                "several entries for each particle (one for each class) is no list of picks: convert it with STOPGAP's "
                "sg_motl_multientry_to_singlentry."
            )


def _numbers_of_facts(text: str, path: Path) -> dict[int, str]:
    """Return the names of tomograms by number, from volengine's comment lines."""
    names = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(r.MARK + "{"):
            facts = parse_object(line.removeprefix(r.MARK), f"{path}, line {number}")
            at = facts.get("tomo_num")
            if not isinstance(at, int) or at in names:
                raise FormatError(f"{path}, line {number}: volengine's own facts are damaged; remove the line.")
            names[at] = str(facts.get("tomogram"))
    return names


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a motive list and its map of names.

    Raises
    ------
    InputError
        A tomogram has no name, or an extra column cannot be written.
    """
    numbers = motive.tomogram_numbers(tables, path)
    comments, lines, first = [], [], 1
    for number, one in zip(numbers, tables, strict=True):
        facts: dict[str, Any] = json.loads(r.facts_line(one).removeprefix(r.MARK))
        facts["columns"] = {k: v for k, v in facts["columns"].items() if k in (*_KEPT, "normal")}
        if "normal" in facts["columns"]:
            del facts["columns"]["normal"]
            facts["columns"]["euler"] = "f"
        comments.append(r.MARK + json.dumps({**facts, "tomo_num": number}))
        lines += _lines(one, number, first, path)
        first += len(one)
    head = [*comments, "", f"data_{BLOCK}", "", "loop_", *(f"_{name}" for name in COLUMNS)]
    body = "\n".join([*head, *lines]) + "\n"
    return [(path.with_suffix(".doc"), motive.map_text(tables, numbers)), (path, body.encode())]


def _lines(picks: Picks, number: int, first: int, path: Path) -> list[str]:
    n = len(picks)
    ones, count = np.ones(n, np.int64), np.arange(first, first + n)
    pixel, shift = motive.split(picks.position_vox)
    phi, the, psi = motive.from_euler(np.zeros((n, 3)) if picks.orientation is None else picks.orientation)
    if picks.orientation is None:
        phi, psi = np.zeros(n), np.zeros(n)
    half = picks.extra.get("halfset", np.full(n, "A"))
    if half.dtype.kind != "U" or any(not v or v.split() != [v] or v[0] in "_#'\"" for v in half.tolist()):
        raise InputError(f"{path}: the column 'halfset' holds words like A and B, not {r.texts(half)[:3]}; rename it.")
    column = {
        "motl_idx": count,
        "tomo_num": ones * number,
        "object": motive.number_column(picks, "object", ones, path),
        "subtomo_num": motive.number_column(picks, "subtomo_num", count, path),
        "halfset": half,
        **dict(zip(ORIGIN, pixel.T[::-1].astype(np.int64), strict=True)),
        "score": np.zeros(n) if picks.weight is None else picks.weight,
        **dict(zip(SHIFT, shift.T[::-1], strict=True)),
        "phi": phi,
        "psi": psi,
        "the": the,
        "class": motive.number_column(picks, "class", ones, path),
    }
    return ["\t".join(row) for row in zip(*(r.texts(column[name]) for name in COLUMNS), strict=True)]
