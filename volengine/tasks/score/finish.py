"""The end of a plan of ``score``: the counts of all blocks become tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volengine.engine.plan import Plan
from volengine.ops.score_masks import COUNTS, scores
from volengine.tasks.score.table import BACKGROUND, Scores


def write_scores(
    plan: Plan, tables: Any, stage: str, names: list[str], masks: list[int], out: str, facts: Mapping[str, Any]
) -> None:
    """Call at the end of a plan: add up, and write the tables."""
    blocks = list(tables(stage).values())
    total = sum(table["counts"][0] for table in blocks)
    matrix = sum(table["confusion"][0] for table in blocks)
    skeleton = plan.stage(stage).params["skeleton"] != "none"
    kept = COUNTS if skeleton else COUNTS[:5]
    rows = []
    for k, name in enumerate(names):
        counts = {key: int(v) for key, v in zip(COUNTS, total[k], strict=True) if key in kept}
        rows.append({"feature": name, **scores(counts, entropy=k not in masks), **_plain(counts)})
    Path(out).absolute().parent.mkdir(parents=True, exist_ok=True)
    confused = tuple(tuple(int(v) for v in row) for row in matrix)
    Scores("volume", tuple(rows), (BACKGROUND, *names), confused, facts).write(out)


def _plain(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts that people read: voxels that counted, were found, and are true."""
    return {key: counts[key] for key in ("voxels", "found", "truth")}
