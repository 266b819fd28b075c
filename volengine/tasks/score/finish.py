"""The last call of a plan of ``score``: compute scores from the counts of all blocks, and write the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volengine.engine.plan import Made, Plan
from volengine.ops.score_masks import COUNTS, scores
from volengine.ops.stored import mask_in
from volengine.tasks.score.table import BACKGROUND, Scores


def write_scores(
    plan: Plan,
    tables: Any,
    stage: str,
    names: list[str],
    masks: list[int],
    decisions: Mapping[str, str],
    out: str,
    facts: Mapping[str, Any],
) -> Made:
    """Add the counts of all blocks and write the scores; the engine calls this when all stages are done.

    Returns the paths of the tables.

    Parameters
    ----------
    plan
        The plan; its stage's parameters say whether skeletons were counted.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage that counted, see :func:`volengine.tasks.score.blocks.score_block`.
    names
        Names of the features, in the order of the counts.
    masks
        Indices of features whose prediction is a mask; their cross-entropy is not defined.
    decisions
        For each feature whose prediction may have turned out to be a mask the stage that decided.
    out
        The ``.csv`` file; ``.json`` and ``.confusion.csv`` are written beside it.
    facts
        What was compared, and the recipe; kept in the ``.json`` file.

    Returns
    -------
    Made
        The files, and what is in them.
    """
    turned = [name for name, decision in decisions.items() if mask_in({"kind": tables(decision)})]
    masks = [k for k, name in enumerate(names) if k in masks or name in turned]
    notes = [f"The prediction of {name} holds only 0 and 1 and was taken for a mask." for name in turned]
    blocks = list(tables(stage).values())
    total = sum(table["counts"][0] for table in blocks)
    matrix = sum(table["confusion"][0] for table in blocks)
    skeleton = plan.stage(stage).params["skeleton"] != "none"
    kept = COUNTS if skeleton else COUNTS[:5]
    rows = []
    for k, name in enumerate(names):
        counts = {key: int(v) for key, v in zip(COUNTS, total[k], strict=True) if key in kept}
        rows.append({"feature": name, **scores(counts, entropy=k not in masks), **_plain(counts)})
    notes += [
        _why_nothing(name, tables(decisions[name]) if name in decisions else None)
        for k, (name, row) in enumerate(zip(names, rows, strict=True))
        if row["truth"] and not row["found"] and k not in masks
    ]
    notes += _ignored(rows, plan.stage(stage).params["region"])
    if notes:
        facts = {**facts, "notes": [*facts.get("notes", []), *notes]}
    Path(out).absolute().parent.mkdir(parents=True, exist_ok=True)
    confused = tuple(tuple(int(v) for v in row) for row in matrix)
    files = Scores("volume", tuple(rows), (BACKGROUND, *names), confused, facts).write(out)
    said = (f"{row['feature']}: {row['found']} voxels found, {row['truth']} true" for row in rows)
    return Made(tuple(files), tuple(said))


def _ignored(rows: Sequence[Mapping[str, Any]], region: Sequence[int]) -> list[str]:
    """Say how many voxels do not count, because the truth ignores them."""
    every = math.prod(stop - start for start, stop in zip(region[:3], region[3:], strict=True))
    left = {row["feature"]: every - row["voxels"] for row in rows if row["voxels"] < every}
    return [
        f"{feature}: {number / every:.1%} of the voxels ({number} of {every}) do not count: the truth ignores them."
        for feature, number in left.items()
    ]


def _why_nothing(name: str, decision: Any) -> str:
    """Say that no voxel of a feature was found; ``decision`` holds the span of its integers, if they were looked at."""
    said = f"No voxel that counts of the prediction of {name} is above the threshold"
    if decision is None:
        return f"{said}."
    low, high = decision[0]["span"][0].tolist()
    return (
        f"{said}: it holds integers from {low} to {high}, and 255 is 1.0. If they are probabilities times another "
        "number, give --scale; class ids, --prediction-ids; numbered objects, --prediction-kind labels."
    )


def _plain(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts for the table: the number of voxels that were scored, that were found, and that are true."""
    return {key: counts[key] for key in ("voxels", "found", "truth")}
