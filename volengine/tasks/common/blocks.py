"""Kernels that several verbs share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.block import Block, Result, Table
from volengine.core.volume import Volume
from volengine.ops.stored import ONE, is_mask, span
from volengine.ops.stored_labels import VALUES, check_no_labels, runs_and_ramps, values_there


def unpack_file(block: Block, source: str, target: str, identity: str, snapshot: Mapping[str, Any]) -> Result:
    """Kernel: decompress a ``.gz`` or ``.bz2`` file into the run's scratch folder, or download a file to there.

    The kernel takes paths instead of arrays, because a compressed file can only be read from its beginning.
    ``identity`` is the digest of the file: if the file changes, the unit is computed again. ``snapshot`` is its state
    when the run was planned.

    Raises
    ------
    ChangedError
        The file is not what it was.
    """
    from volengine.io.identity import check_unchanged
    from volengine.io.open import unpack

    Path(target).parent.mkdir(parents=True, exist_ok=True)
    unpack(source, target)
    packed = Volume(source, (1, 1, 1), "uint8", (1.0, 1.0, 1.0), identity=identity, snapshot=dict(snapshot))
    check_unchanged(packed)  # after reading: only what was opened has been unpacked
    return Result(table={"bytes": np.array([Path(target).stat().st_size])}, files=(Path(target),))


def span_of_block(block: Block) -> Result:
    """Kernel: the smallest and the largest value of a block of integers, and what tells labels from probabilities.

    Returns
    -------
    Result
        The table has ``span`` (1, 2) int64; if all values lie between 0 and 255 and one is more than 1, ``there``
        (1, 256) bool, the values that occur, and ``runs`` (1, 2) int64 (:func:`~.stored_labels.runs_and_ramps`).
    """
    values = block.arrays["values"]
    core = block.core_of("values")
    low, high = span(core)
    there, runs = np.zeros((1, VALUES), bool), np.zeros((1, 2), np.int64)
    if low >= 0 and 1 < high <= ONE:
        first = block.box.start[2] - block.boxes["values"].start[2]
        there[0] = values_there(core)
        runs[0] = runs_and_ramps(values, first, first + core.shape[2])
    elif low >= 0 and high <= 1:
        there[0, [low, high]] = True
        first = block.box.start[2] - block.boxes["values"].start[2]
        runs[0] = runs_and_ramps(values, first, first + core.shape[2]) if high else 0
    return Result(table={"span": np.array([[low, high]], np.int64), "there": there, "runs": runs})


def span_of_block_bytes() -> int:
    """Bytes that :func:`span_of_block` needs: it looks at some rows at a time."""
    return 32 * 2**20


def span_of_cell(block: Block) -> Result:
    """Kernel: the smallest and the largest value of a cell of blocks, from their tables; the table is such a one."""
    return Result(table=_joined(block))


def span_of_cell_bytes(blocks: int) -> int:
    """Bytes that :func:`span_of_cell` needs for the tables of that many blocks."""
    return 2000 * blocks


def _joined(block: Block) -> Table:
    spans, there, runs = (
        np.concatenate([table[name] for table in block.tables["spans"].values()]) for name in ("span", "there", "runs")
    )
    span = np.array([[spans[:, 0].min(), spans[:, 1].max()]])
    return {"span": span, "there": np.array([there.any(axis=0)]), "runs": np.array([runs.sum(axis=0)])}


def mask_or_not(block: Block, where: str, labels: bool, what: str = "", sure: bool = True) -> Result:
    """Reduce kernel: decide whether a volume of integers is a mask, see :func:`volengine.ops.stored.is_mask`.

    Parameters
    ----------
    where, labels
        As for ``is_mask``.
    what
        The verb, for messages.
    sure
        Whether the volume says that it holds probabilities; else those that look like labels are refused.

    Returns
    -------
    Result
        The table has ``mask`` (1,) bool, and ``span`` (1, 2) int64 of the whole volume.
    """
    found = _joined(block)
    low, high = found["span"][0].tolist()
    mask = is_mask(low, high, where, labels=labels)
    if not (mask or sure):
        runs, ramps = found["runs"][0].tolist()
        check_no_labels(found["there"][0], runs, ramps, where, what)
    return Result(table={"mask": np.array([mask]), "span": found["span"]})


def mask_or_not_bytes(blocks: int) -> int:
    """Bytes that :func:`mask_or_not` needs for the tables of that many blocks."""
    return 2000 * blocks
