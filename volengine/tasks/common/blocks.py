"""Kernels that several verbs share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.volume import Volume


def unpack_file(block: Block, source: str, target: str, identity: str, snapshot: Mapping[str, Any]) -> Result:
    """Kernel: decompress a ``.gz`` or ``.bz2`` file into the run's scratch folder.

    The kernel takes paths instead of arrays, because a compressed file can only be read from its beginning.
    ``identity`` is the digest of the file: if the file changes, the unit is computed again. ``snapshot`` is its state
    when the run was planned.

    Raises
    ------
    ChangedError
        The file is not what it was.
    """
    from volengine.io.identity import check_unchanged
    from volengine.io.mrc.open import decompress

    Path(target).parent.mkdir(parents=True, exist_ok=True)
    decompress(source, target)
    packed = Volume(source, (1, 1, 1), "uint8", (1.0, 1.0, 1.0), identity=identity, snapshot=dict(snapshot))
    check_unchanged(packed)  # after reading: only what was opened has been unpacked
    return Result(table={"bytes": np.array([Path(target).stat().st_size])}, files=(Path(target),))
