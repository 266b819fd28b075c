"""How a verb reads a prediction: what its values mean, from its metadata where these are sure, else from all of them.

Predictions that ``segment`` or ``interact`` has written say what they are. What other programs have written is looked
at: floating-point numbers are checked where they are read, because they mean the same in every block. Integers may be a
mask or a prediction, which only the whole volume tells, so two stages go before those of the verb: the span of each
block, and the decision (:mod:`volengine.ops.stored`). Of more than 4096 blocks the spans are joined cell by cell first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.ops.stored import mask_in, prediction_dtype
from volengine.tasks.common.named import stored_name

PREDICTS = ("segment", "interact")
"""Verbs whose outputs are predictions."""

CELL_PARTS = 16
"""Parts along an axis of a cell whose spans one unit joins."""

COPIES = ("convert", "crop")
"""Verbs that copy voxels, all of them or a part."""

BESIDE: Index3 = (0, 0, 1)
"""Voxels along x that are looked at beside a block, to tell labels from probabilities."""

LARGEST_BLOCK = 2**24
UNCHUNKED = (64, 64, 64)

_SPAN = "volengine.tasks.common.blocks:span_of_block"
_JOIN = "volengine.tasks.common.blocks:span_of_cell"
_DECIDE = "volengine.tasks.common.blocks:mask_or_not"


@dataclass(frozen=True)
class Reading:
    """How the voxels of one volume become a prediction.

    Parameters
    ----------
    volume
        The volume.
    dtype
        Type of the prediction that a kernel makes of its voxels.
    scale
        The number by which they are divided, or ``None``.
    stages
        The stages that find out whether it is a mask; empty if there is nothing to find out.
    """

    volume: Volume
    dtype: str
    scale: float | None
    stages: tuple[Stage, ...]

    @property
    def seen(self) -> Volume:
        """The volume as a kernel sees it after the conversion."""
        return self.volume.with_(dtype=self.dtype)

    @property
    def decision(self) -> str:
        """Name of the stage that decides; empty if there is none."""
        return self.stages[-1].name if self.stages else ""

    def tables(self, name: str = "kind") -> dict[str, TableInput]:
        """The decision as an input of the verb's stage, for ``as_prediction`` in its kernel."""
        return {name: TableInput(self.decision, "all")} if self.stages else {}

    @property
    def copies(self) -> bool:
        """Whether a kernel makes a copy of the voxels."""
        return bool(self.stages) or self.dtype != self.volume.dtype or self.scale is not None


def reading_of(volume: Volume, scale: float | None, prefix: str, options: RunOptions, *, what: str) -> Reading:
    """Decide from metadata how a volume is read, and plan the stages that find out the rest.

    Parameters
    ----------
    volume
        The volume.
    scale
        The user's word that its values are probabilities times this number; ``None``: nothing is said.
    prefix
        Beginning of the names of the stages.
    options
        How to run.
    what
        The verb, for messages.

    Raises
    ------
    InputError
        The volume is no prediction.
    """
    where, dtype = stored_name(volume), np.dtype(volume.dtype)
    if dtype.kind not in "uifb":
        raise InputError(f"{where} holds {dtype.name}; {what} reads floating numbers up to 1, or integers up to 255.")
    if scale is None and volume.kind == "intensity" and "history" in volume.facts:
        raise InputError(
            f"{where} is a tomogram by its own words (kind intensity); {what} reads predictions. Segment it first. If "
            "it does hold probabilities from 0 to 1 (integers: to 255), convert it with --kind probability, or say so "
            f"with --scale {1 if dtype.kind == 'f' else 255}; a mask or labels: convert it with --kind labels."
        )
    made = prediction_dtype(dtype, scale)
    if scale is not None or dtype.kind == "f" or (dtype == np.uint8 and is_ours(volume)):
        return Reading(volume, made, scale, ())
    return Reading(volume, made, None, _stages(volume, where, prefix, options, what))


def is_ours(volume: Volume) -> bool:
    """Whether a volume is a prediction that volengine has made: then 1 is 1 / 255 even where there is no more."""
    steps = [step.get("verb") for step in volume.facts.get("history") or []]
    made = [verb for verb in steps if verb not in COPIES]  # a part of a prediction that holds 0 alone is no mask
    return volume.kind == "probability" and bool(made) and made[-1] in PREDICTS


def _stages(volume: Volume, where: str, prefix: str, options: RunOptions, what: str) -> tuple[Stage, ...]:
    def build(core: Index3) -> Stage:
        return Stage(
            f"{prefix}-spans",
            _SPAN,
            Tiling(volume.shape, core),
            arrays={"values": ArrayInput(volume, BESIDE, BESIDE)},
            emits=True,
            kernel_bytes=kernel_bytes(_SPAN),
            version=2,
        )

    stages = [build(options.core_for(volume.shape, volume.chunks or UNCHUNKED, build, largest=LARGEST_BLOCK))]
    while len(stages[-1].tiling) > CELL_PARTS**3:
        stages.append(_cells(stages[-1], f"{prefix}-spans-{len(stages) + 1}"))
    spans = stages[-1]
    decide = Stage(
        f"{prefix}-kind",
        _DECIDE,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={
            "where": where,
            "labels": volume.kind == "labels",
            "what": what,
            "sure": volume.kind == "probability",
        },
        tables={"spans": TableInput(spans.name, "all")},
        emits=True,
        kernel_bytes=kernel_bytes(_DECIDE, blocks=len(spans.tiling)),
        version=2,
    )
    return (*stages, decide)


def _cells(spans: Stage, name: str) -> Stage:
    """The stage that joins the spans of blocks to those of larger ones, so that no unit reads those of all blocks."""
    core = index3(CELL_PARTS * c for c in spans.tiling.core)
    return Stage(
        name,
        _JOIN,
        Tiling(spans.tiling.shape, core),
        tables={"spans": TableInput(spans.name, "within", spans.tiling.core)},
        emits=True,
        kernel_bytes=kernel_bytes(_JOIN, blocks=CELL_PARTS**3),
        version=2,
    )


def reading_line(feature: str, volume: Volume, tables: Any, decision: str) -> list[str]:
    """A line for the user how integers were read, where programs differ: as a mask, or as probabilities times 255.

    Bytes, and what says that it holds probabilities, need none. ``tables(name)`` returns the tables of a stage,
    ``decision`` is :attr:`Reading.decision`.
    """
    if not decision:
        return []
    found = tables(decision)
    if mask_in({"kind": found}):
        return [f"{feature}: {stored_name(volume)} holds only 0 and 1 ({volume.dtype}) and was taken for a mask"]
    if np.dtype(volume.dtype).itemsize == 1 or volume.kind == "probability":
        return []
    ((low, high),) = next(iter(found.values()))["span"].tolist()
    return [
        f"{feature}: {stored_name(volume)} holds integers from {low} to {high} ({volume.dtype}), which were read as "
        "probabilities times 255; if they are labels, volengine stats counts their objects"
    ]
