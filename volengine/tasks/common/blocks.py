"""Kernels that several verbs share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.volume import Volume
from volengine.ops.stored import is_mask, span


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
    """Kernel: the smallest and the largest value of a block of integers; the table has ``span`` (1, 2) int64."""
    return Result(table={"span": np.array([span(block.arrays["values"])], np.int64)})


def span_of_block_bytes() -> int:
    """Bytes that :func:`span_of_block` needs."""
    return 2**20


def span_of_cell(block: Block) -> Result:
    """Kernel: the smallest and the largest value of a cell of blocks, from their tables; the table is such a one."""
    spans = np.concatenate([table["span"] for table in block.tables["spans"].values()])
    return Result(table={"span": np.array([[spans[:, 0].min(), spans[:, 1].max()]])})


def span_of_cell_bytes(blocks: int) -> int:
    """Bytes that :func:`span_of_cell` needs for the tables of that many blocks."""
    return 2000 * blocks


def mask_or_not(block: Block, where: str, labels: bool) -> Result:
    """Reduce kernel: decide whether a volume of integers is a mask, see :func:`volengine.ops.stored.is_mask`.

    Returns
    -------
    Result
        The table has ``mask`` (1,) bool, and ``span`` (1, 2) int64 of the whole volume.
    """
    spans = np.concatenate([table["span"] for table in block.tables["spans"].values()])
    low, high = int(spans[:, 0].min()), int(spans[:, 1].max())
    return Result(table={"mask": np.array([is_mask(low, high, where, labels=labels)]), "span": np.array([[low, high]])})


def mask_or_not_bytes(blocks: int) -> int:
    """Bytes that :func:`mask_or_not` needs for the tables of that many blocks."""
    return 2000 * blocks
