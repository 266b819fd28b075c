"""Folds: the same training several times, each with another part kept for validation, and a table over them.

With as many tomograms as folds or more, each fold keeps some whole tomograms; with fewer, it keeps a slab of each
volume (:mod:`volengine.tasks.train.parts`). Every part is kept once. Which part it is depends on samples, seed and the
number of folds alone, and not on the order in which folds are trained. So each fold can be a job of its own; whoever
ends last finds the table complete.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import statistics
from pathlib import Path
from typing import Any

from volengine.core.atomic import write_atomic
from volengine.core.csv_cells import guarded_row
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json
from volengine.core.paths import PathLike, path_text
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.verb import check_name, train

SCORES = ("loss", "validation_loss", "validation_dice")
COLUMNS = ("fold", "model", "held_out", "epoch", "epochs", *SCORES, "seconds")
Row = dict[str, Any]


def fold_file(out: str, fold: int) -> str:
    """The model file of a fold.

    >>> fold_file("models/membrane.safetensors", 2)
    'models/membrane_fold2.safetensors'
    """
    return f"{out.removesuffix('.safetensors')}_fold{fold}.safetensors"


def table_file(out: str, ending: str) -> Path:
    """The table over the folds: ``csv`` or ``json``.

    >>> table_file("membrane.safetensors", "csv").name
    'membrane_folds.csv'
    """
    return Path(f"{out.removesuffix('.safetensors')}_folds.{ending}")


def train_folds(recipe: TrainRecipe, out: PathLike, *, progress: bool = True) -> list[Row]:
    """Train all folds of a recipe one after the other, or the one that it names, and write the table over them.

    The model of fold 2 of ``m.safetensors`` is ``m_fold2.safetensors``; each fold is a training that can be stopped and
    goes on when it is called again (:func:`volengine.train`). ``m_folds.csv`` and ``m_folds.json`` have a row for each
    fold that is finished, by whichever call, and the mean and standard deviation over them.

    Parameters
    ----------
    recipe
        A recipe with ``folds``; with ``fold`` only this one is trained.
    out
        The name from which those of the models and of the table are made (``.safetensors``).
    progress
        As for :func:`volengine.train`.

    Returns
    -------
    list of dict
        One row per finished fold: ``fold``, ``model``, ``held_out`` (what was kept for validation), the ``epoch`` of
        the model and how many ``epochs`` there were, its ``loss``, ``validation_loss``, ``validation_dice``, and the
        seconds of all epochs.

    Raises
    ------
    InputError
        The recipe has no folds, the samples cannot be divided into them, or the finished folds are of other recipes or
        data. And what :func:`volengine.train` refuses.

    Examples
    --------
    >>> import volengine
    >>> sample = volengine.TrainSample(volume="TS_01.mrc", labels=("TS_01_ribosome.mrc",))
    >>> recipe = volengine.TrainRecipe(
    ...     samples=(sample,), features=("ribosome",), network="unet3d", arguments={"width": 2, "levels": 2},
    ...     patch=(8, 8, 8), epochs=1, steps=2, batch=2, device="cpu", folds=2,
    ... )
    >>> rows = volengine.train_folds(recipe, "both.safetensors", progress=False)
    >>> [row["model"] for row in rows]
    ['both_fold1.safetensors', 'both_fold2.safetensors']
    """
    from volengine.nets.training.place import folder_of

    out, recipe = path_text(out), TrainRecipe.of(recipe)
    check_name(out)
    if not recipe.folds:
        raise InputError("train_folds needs a recipe with folds, 2 or more.")
    for fold in [recipe.fold] if recipe.fold else range(1, recipe.folds + 1):
        file = fold_file(out, fold)
        marker = folder_of(Path(file)) / "fold.json"
        if progress:
            from volengine.nets.training.fit.progress import say

            say(f"fold {fold} of {recipe.folds}: {file}")
        history = train(recipe.with_(fold=fold), file, progress=progress)
        write_atomic(marker, json.dumps(_row(fold, file, history), indent=1).encode())
    rows = finished(out, recipe.folds)
    _write_table(out, rows, recipe.folds)
    return [{k: v for k, v in row.items() if k in COLUMNS} for row in rows]


def _row(fold: int, file: str, history: list[dict[str, float]]) -> Row:
    """The row of a fold that is finished, with the recipe and the data that it must share with the others."""
    from volengine.nets.checkpoint import load_facts

    told = load_facts(file).history[-1]
    best = history[int(told["epoch"]) - 1]
    scores = {name: best[name] if math.isfinite(best[name]) else None for name in SCORES}
    return {
        "fold": fold,
        "model": Path(file).name,
        "held_out": told["held_out"],
        "epoch": int(told["epoch"]),
        "epochs": len(history),
        **scores,
        "seconds": round(sum(row["seconds"] for row in history), 2),
        "recipe": {k: v for k, v in told["recipe"].items() if k != "fold"},
        "data": told["data"],
    }


def finished(out: str, folds: int) -> list[Row]:
    """The rows of the folds that are finished.

    Raises
    ------
    FormatError
        A row is damaged.
    InputError
        The folds do not share recipe and data: their models are not folds of one training.
    """
    from volengine.nets.training.place import folder_of

    rows: list[Row] = []
    for fold in range(1, folds + 1):
        path = folder_of(Path(fold_file(out, fold))) / "fold.json"
        if not path.exists():
            continue
        row = parse_json(path.read_text(), str(path))
        if not isinstance(row, dict) or not {*COLUMNS, "recipe", "data"} <= row.keys():
            raise FormatError(f"{path} is damaged; remove it, and train fold {fold} again.")
        rows.append(row)
    for row in rows[1:]:
        for what in ("recipe", "data"):
            if row[what] != rows[0][what]:
                raise InputError(
                    f"Fold {rows[0]['fold']} and fold {row['fold']} of {out} were trained with other {what}; remove "
                    "the models and folders of those that are out of date, and train them again."
                )
    return rows


def summary(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation (divided by n - 1) over the folds, of each score that is known.

    >>> summary([{"loss": 1.0}, {"loss": 3.0}])["loss"]
    {'mean': 2.0, 'std': 1.4142135623730951}
    """
    found: dict[str, dict[str, float | None]] = {}
    for name in SCORES:
        known = [row[name] for row in rows if row.get(name) is not None]
        found[name] = {
            "mean": statistics.fmean(known) if known else None,
            "std": statistics.stdev(known) if len(known) > 1 else None,
        }
    return found


def _write_table(out: str, rows: list[Row], folds: int) -> None:
    shown = [{name: row[name] for name in COLUMNS} for row in rows]
    told = {
        "folds": folds,
        "finished": [row["fold"] for row in rows],
        "rows": shown,
        "summary": summary(rows),
        "recipe": rows[0]["recipe"],
        "data": rows[0]["data"],
    }
    write_atomic(table_file(out, "json"), json.dumps(told, indent=1).encode())
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    for row in shown:
        writer.writerow(guarded_row(_cell(row[name]) for name in COLUMNS))
    for kind in ("mean", "std"):
        means = summary(rows)
        writer.writerow([kind, *(_cell(means[n][kind]) if n in SCORES else "" for n in COLUMNS[1:])])
    write_atomic(table_file(out, "csv"), table.getvalue().encode())


def _cell(value: Any) -> Any:
    """A value as a cell of a table."""
    if isinstance(value, list):
        return "; ".join(_part(part) for part in value)
    return "" if value is None else value


def _part(part: Row) -> str:
    box = part.get("box")
    return f"{part['tomogram']}{f' {box[:3]} to {box[3:]}' if box else ''}"


def lines(rows: list[Row], out: str, folds: int) -> list[str]:
    """The table as lines for a terminal, and how the models are applied together."""
    told = [
        f"fold {row['fold']}: the model is epoch {row['epoch']} of {row['epochs']}, validation loss "
        f"{_shown(row['validation_loss'])}, Dice {_shown(row['validation_dice'])}; kept apart: {_cell(row['held_out'])}"
        for row in rows
    ]
    means = summary(rows)
    spread = ", ".join(
        f"{text} {_shown(means[name]['mean'])} ± {_shown(means[name]['std'])}"
        for name, text in (("validation_loss", "validation loss"), ("validation_dice", "Dice"))
    )
    told.append(f"{len(rows)} of {folds} folds: {spread} (mean ± standard deviation); {table_file(out, 'csv')}")
    if len(rows) == folds:
        models = ",".join(fold_file(out, row["fold"]).replace(",", "\\,") for row in rows)
        command = f"volengine segment TOMOGRAM --models {shlex.quote(models)} --ensemble --out FOLDER"
        told.append(f"To apply them together: {command}")
    return told


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
