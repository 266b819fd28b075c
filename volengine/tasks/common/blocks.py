"""Kernels that several verbs share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volengine.core.block import Block, Result


def unpack_file(block: Block, source: str, target: str, identity: str) -> Result:
    """Kernel: decompress a ``.gz`` or ``.bz2`` file into the run's scratch folder.

    The kernel takes paths instead of arrays, because a compressed file can only be read from its beginning.
    ``identity`` is the digest of the file: if the file changes, the unit is computed again.
    """
    from volengine.io.mrc.open import decompress

    Path(target).parent.mkdir(parents=True, exist_ok=True)
    decompress(source, target)
    return Result(table={"bytes": np.array([Path(target).stat().st_size])}, files=(Path(target),))
