"""What the driver says when the pieces of a montage have been moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from volengine.core.block import Table
from volengine.engine.plan import Made, Plan

SHOWN = 5


def say_shifts(plan: Plan, tables: Callable[[str], Mapping[int, Table]], pairs: int) -> Made:
    """Call: say how far pieces were moved, and which overlaps did not count; the store keeps the shifts as facts.

    Parameters
    ----------
    pairs
        Number of overlaps.
    """
    solved = tables("solve")[0]
    shift, kept, residual = solved["shift"], solved["kept"], solved["residual"]
    lines = [
        f"pieces were moved by up to {np.abs(shift[:, 0]).max()} voxels along y and {np.abs(shift[:, 1]).max()} along "
        f"x; overlaps agree within {float(np.median(residual[kept])) if kept.any() else 0:.2g} voxels (median)"
    ]
    doubtful = solved["doubtful"]
    if (unclear := pairs - len(kept) - len(doubtful)) > 0:
        lines.append(f"{unclear} of {pairs} overlaps have no clear correlation and do not count")
    for (first, second), far in list(zip(solved["pair"][~kept], residual[~kept], strict=True))[:SHOWN]:
        lines.append(f"the overlap of pieces {first} and {second} was left out: {far:.1f} voxels from the others")
    if len(doubtful):
        lines.append(
            f"{len(doubtful)} of {pairs} overlaps fit in several ways, because what they show repeats, and do not count"
        )
    ways = zip(doubtful, np.rint(solved["doubtful_move"]), np.rint(solved["doubtful_rival"]), strict=True)
    for (first, second), one, other in list(ways)[:SHOWN]:
        lines.append(
            f"the overlap of pieces {first} and {second} was left out: it fits moved by ({one[0]:.0f}, {one[1]:.0f}) "
            f"voxels (y, x) and about as well by ({other[0]:.0f}, {other[1]:.0f})"
        )
    sizes = np.bincount(solved["group"])
    if alone := int((sizes == 1).sum()):
        lines.append(f"{alone} pieces lie at their coordinates, because no overlap says more")
    if (several := int((sizes > 1).sum())) > 1:
        lines.append(f"the others are {several} groups that no overlap connects; how these lie is not corrected")
    return Made(said=tuple(lines), found={"montage_shifts": _shifts(plan, solved, pairs)})


def _shifts(plan: Plan, solved: Table, pairs: int) -> dict[str, Any]:
    """The solved shifts as facts of the store: by how much each piece was moved, and how well the overlaps agree."""
    kept, residual = solved["kept"], solved["residual"]
    listed = plan.images[0].facts["montage"]["pieces"]
    moved = [[int(piece[0]), int(y), int(x)] for piece, (y, x) in zip(listed, solved["shift"], strict=True)]
    return {
        "unit": "voxel",
        "pieces": moved,  # number in the stack, y, x
        "groups": [int(n) for n in solved["group"]],
        "overlaps": pairs,
        "overlaps_used": int(kept.sum()),
        "overlaps_ambiguous": len(solved["doubtful"]),
        "median_residual_vox": round(float(np.median(residual[kept])), 3) if kept.any() else None,
    }
