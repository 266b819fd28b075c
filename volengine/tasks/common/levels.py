"""What a kernel writes on the levels of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from volengine.core.boxes import index3
from volengine.core.volume import Kind


def levels_of(
    array: NDArray[Any], factors: Sequence[Sequence[int]], kind: Kind, name: str = ""
) -> dict[str, NDArray[Any]]:
    """A block of level 0 and what it becomes on the coarser levels, named ``name@level``.

    The block's core must begin at a multiple of every factor.
    """
    from volengine.ops.pyramid import pyramid

    coarser = pyramid(array, [index3(f) for f in factors], kind)
    return {f"{name}@{number}": level for number, level in enumerate(coarser)}
