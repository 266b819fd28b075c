"""What the settings of a sweep have found: numbers of picks, and scores where the truth is known."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.boxes import Box
from volengine.core.csv_cells import guarded_row
from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.core.text import counted, table
from volengine.io.names import PICKS_SUFFIXES
from volengine.io.picks.of_volumes import read_of
from volengine.io.picks.rows import Known
from volengine.tasks.common.roi import box_of
from volengine.tasks.score.picks import score_picks
from volengine.tasks.sweep.answers import Answer, Predictions

SCORES = ("precision", "recall", "f1", "error_nm", "truth", "paired")

Grids = Mapping[str, Known]
"""Voxel size, shape and origin of each tomogram, by its name."""

Found = dict[str, Any]
"""What an answer has found: ``picks``, the number of each tomogram, and with a truth the :data:`SCORES`."""


@dataclass(frozen=True)
class Swept:
    """What a sweep has found.

    Parameters
    ----------
    names
        The varied fields.
    rows
        A row for each setting and feature: ``setting`` (from 1), the fields' values, ``feature``, ``picks``, with a
        truth the scores, and ``tables``, the folder of the picks.
    tomograms
        The number of picks of each setting, feature and tomogram.
    best
        The setting of the highest mean F1 over the features, of equal ones that of the smallest mean localisation
        error, then the first; ``None`` without a truth, or if no F1 is defined.
    notes
        Sentences for the user.
    """

    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    tomograms: tuple[dict[str, Any], ...]
    best: int | None = None
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """The rows as a table, with what there is to say about them."""
        head = [name for name in self.rows[0] if name != "tables"]
        lines = [[_shown(row[name]) for name in head] for row in self.rows]
        said = [f"Setting {self.best}{self._equal()} has the highest F1."] if self.best is not None else []
        return "\n\n".join(filter(None, (table(head, lines), "\n".join([*self.notes, *said]))))

    def _equal(self) -> str:
        """How many others are as good, by the F1 of all features."""
        f1: dict[int, list[float]] = {}
        for row in self.rows:
            f1.setdefault(row["setting"], []).append(row["f1"])
        others = sum(values == f1[self.best or 0] for values in f1.values()) - 1
        return f", like {counted(others, 'other')}," if others else ""

    def csv(self) -> str:
        """The rows as CSV; a score that is not defined is an empty cell."""
        return csv_text(self.rows)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same names as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(rows[0])
    writer.writerows(guarded_row(["" if _undefined(v) else v for v in row.values()]) for row in rows)
    return text.getvalue()


def found_by(answer: Answer, out: str, grids: Grids, truth: str, radius_nm: float, notes: list[str]) -> Found:
    """Read the tables of an answer, and score them if there is a truth.

    Parameters
    ----------
    answer, out
        The answer, and the folder of the sweep.
    grids
        The grids of the tomograms.
    truth, radius_nm
        Known positions (empty: there are none), and the largest distance of a pair.
    notes
        Sentences for the user are added.
    """
    found: Found = {"picks": {}}
    for name, grid in grids.items():
        tables, _ = read_of(answer.table(out, name), {name: grid}, answer.pick.format, required=False)
        found["picks"][name] = sum(map(len, tables.values()))
    if truth:
        scores = score_picks(answer.folder(out), truth, [answer.pick.feature], radius_nm, volumes=grids)
        row = scores[answer.pick.feature]
        if row["found"] != sum(found["picks"].values()):
            raise InputError(
                f"{truth}: {row['found']} of {sum(found['picks'].values())} picks were compared with it; the truth and "
                "the picks must be of the same tomograms."
            )
        found |= {name: row[name] for name in SCORES}
        ours = tuple(Path(answer.table(out, name)).name for name in grids)
        notes += (note for note in scores.facts.get("notes", ()) if not note.startswith(ours))
    return found


def compare(
    settings: Sequence[tuple[Mapping[str, Any], Sequence[Answer]]], found: Mapping[Answer, Found], out: str
) -> Swept:
    """Put together what the answers of each setting have found.

    Parameters
    ----------
    settings
        The values of the varied fields, and the answers, of each setting.
    found
        What each answer has found.
    out
        The folder of the sweep.
    """
    rows, tomograms, means, errors = [], [], [], []
    for number, (values, answers) in enumerate(settings, 1):
        scores = [found[one].get("f1", math.nan) for one in answers]
        means.append(sum(scores) / len(scores))
        errors.append(sum(found[one].get("error_nm", math.nan) for one in answers))
        for one in answers:
            what = found[one]
            first = {"setting": number, **values, "feature": one.pick.feature}
            rows.append(
                {
                    **first,
                    "picks": sum(what["picks"].values()),
                    **{name: what[name] for name in SCORES if name in what},
                    "tables": str(Path(one.folder(out)).relative_to(out)),
                }
            )
            tomograms += [{**first, "tomogram": name, "picks": n} for name, n in what["picks"].items()]
    known = [k for k, mean in enumerate(means) if math.isfinite(mean)]
    # Rounded, so that the order of a sum does not decide between equal ones.
    best = 1 + min(known, key=lambda k: (-round(means[k], 12), errors[k], k)) if known else None
    return Swept(tuple(settings[0][0]), tuple(rows), tuple(tomograms), best)


def check_truth(truth: str, answers: Sequence[Answer], tomograms: Mapping[str, Predictions], grids: Grids) -> None:
    """Refuse a truth that cannot be compared, before anything is computed.

    Raises
    ------
    MissingError, FormatError
        A table does not exist, or is damaged.
    InputError
        A tomogram is in no table. Or positions lie outside of the part that is picked and would count as missed; the
        message says how to leave them out.
    """
    path = Path(truth)
    files = [p for p in sorted(path.iterdir()) if p.suffix.lower() in PICKS_SUFFIXES] if path.is_dir() else [path]
    known = {file: read_of(file, grids, required=not path.is_dir())[0] for file in files}
    if missing := set(grids).difference(*known.values()):
        raise MissingError(f"{truth}: there are no known positions of {', '.join(sorted(missing))}.")
    for one in answers:
        for name, given in tomograms.items():
            box = box_of(given[one.pick.feature], one.pick.roi)
            for file in files:
                if box is not None and name in known[file]:
                    _check_inside(file, known[file][name], box, one)


def _check_inside(file: Path, known: Picks, box: Box, answer: Answer) -> None:
    start, stop = np.array(box.start) - 0.5, np.array(box.stop) - 0.5
    inside = ((known.position_vox >= start) & (known.position_vox < stop)).all(axis=1)
    if not inside.all():
        region = ",".join(map(str, (*box.start, *box.stop)))
        raise InputError(
            f"{file}: {counted(int((~inside).sum()), 'known position', 'lies', 'lie')} outside of the part of "
            f"{known.tomogram} that is picked ({answer.pick.roi}), and would count as missed. Leave them out first: "
            f"volengine picks filter {shlex.quote(str(file))} --region {region} --out PART{file.suffix}"
        )


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "-" if _undefined(value) else f"{value:.4g}"
    return str(value)
