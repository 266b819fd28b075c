"""The scores: one row per feature and the confusion of features, as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volengine.core.atomic import write_atomic
from volengine.core.csv_cells import guarded_row
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_object
from volengine.core.paths import PathLike, path_text
from volengine.core.text import table
from volengine.tasks.common.own_files import KEYS, OwnFiles

BACKGROUND = "background"
NOTHING = "nothing"

Row = dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """Scores of one prediction.

    Parameters
    ----------
    kind
        ``volume`` or ``picks``: what was scored.
    rows
        One row per feature, with names and values; a score that is not defined is NaN.
    names, confusion
        ``confusion[i][j]`` is the number of voxels (or picks) that were predicted as ``names[i]`` and are ``names[j]``.
        The first name is the background (for picks: nothing).
    facts
        What was compared, and the recipe.
    """

    kind: str
    rows: tuple[Row, ...]
    names: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, feature: str) -> Row:
        """The row of a feature."""
        return next(row for row in self.rows if row["feature"] == feature)

    def text(self) -> str:
        """The tables as plain text, and what there is to say about them."""
        head = list(self.rows[0])
        parts = [table(head, [[_shown(row[key]) for key in head] for row in self.rows])]
        if len(self.names) > 2:
            unit = "voxels" if self.kind == "volume" else "picks"
            lines = [[name, *counts] for name, counts in zip(self.names, self.confusion, strict=True)]
            parts.append(table([f"{unit}: predicted, true", *self.names], lines))
        if self.facts.get("notes"):
            parts.append("\n".join(self.facts["notes"]))
        return "\n\n".join(parts)

    def csv(self) -> str:
        """The rows as CSV; a score that is not defined is an empty cell."""
        head = list(self.rows[0])
        lines = [["" if _none(row[k]) is None else row[k] for k in head] for row in self.rows]
        return _csv([head, *lines])

    def confusion_csv(self) -> str:
        """The confusion as CSV: one row per predicted name, one column per true name."""
        head = ["predicted", *self.names]
        return _csv([head, *([n, *counts] for n, counts in zip(self.names, self.confusion, strict=True))])

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN is ``null``."""
        return {
            "kind": self.kind,
            "rows": [{k: _none(v) for k, v in row.items()} for row in self.rows],
            "confusion": {"names": list(self.names), "counts": [list(c) for c in self.confusion]},
            **self.facts,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scores:
        """Scores from the values of :meth:`to_json`."""
        rows = [{k: math.nan if v is None else v for k, v in row.items()} for row in data["rows"]]
        counts = tuple(tuple(row) for row in data["confusion"]["counts"])
        facts = {k: v for k, v in data.items() if k not in ("kind", "rows", "confusion", *KEYS)}
        return cls(data["kind"], tuple(rows), tuple(data["confusion"]["names"]), counts, facts)

    def write(self, out: PathLike) -> list[str]:
        """Write the rows to ``out`` (.csv); beside it all scores as ``.json``, the confusion as ``.confusion.csv``.

        Returns the paths of the files.
        """
        files = files_of(out)
        for place, text in zip(files, self.texts(), strict=True):
            write_atomic(place, text, durable=True)
        return [str(place) for place in files]

    def texts(self) -> tuple[str, str, str]:
        """The contents of the files of :func:`files_of`."""
        return self.csv(), self.confusion_csv(), json.dumps(self.to_json(), indent=1)


def write_own(scores: Scores, out: str, *, overwrite: bool) -> None:
    """As :meth:`Scores.write`, without a run folder: the ``.json`` lists the files, so that no others are replaced.

    Raises
    ------
    InputError
        A file is there that is not as an earlier call has written it.
    """
    own, names = own_files(out, overwrite), [path.name for path in files_of(out)[:-1]]
    own.begin(names)
    for name, text in zip(names, scores.texts(), strict=False):
        own.write(name, text)
    own.finish(scores.to_json())  # the names are the same in every call, so none are left of an earlier one


def own_files(out: str, overwrite: bool) -> OwnFiles:
    """The files of a table of scores (.csv) without a run folder."""
    path = Path(out)
    return OwnFiles(path.parent, path.with_suffix(".json").name, "score", overwrite)


def files_of(out: PathLike) -> tuple[Path, Path, Path]:
    """Return the files of a table of scores (.csv): itself, and beside it ``.confusion.csv`` and ``.json``.

    >>> [path.name for path in files_of("scores.csv")]
    ['scores.csv', 'scores.confusion.csv', 'scores.json']
    """
    path = Path(path_text(out))
    return path, path.with_suffix(".confusion.csv"), path.with_suffix(".json")


def checked_table(out: str) -> str:
    """Return the path of a table of scores; raises :class:`InputError` unless it ends with ``.csv``."""
    if not out.lower().endswith(".csv"):
        raise InputError(f"--out {out}: the table of scores ends with .csv.")
    return out


def read_scores(out: PathLike) -> Scores:
    """Read the scores that :meth:`Scores.write` wrote to ``out``.

    Raises
    ------
    FormatError
        The ``.json`` file beside ``out`` is missing or damaged.
    """
    path = Path(path_text(out)).with_suffix(".json")
    try:
        return Scores.from_json(parse_object(path.read_bytes(), str(path)))
    except FormatError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} holds no scores ({error}).") from error


def _none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "-" if not math.isfinite(value) else f"{value:.4f}"
    return str(value)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(map(guarded_row, rows))
    return text.getvalue()
