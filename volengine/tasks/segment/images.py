"""The image that a block of ``segment`` reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block
from volengine.core.errors import InputError


def image_of(block: Block, unsigned: bool) -> NDArray[np.generic]:
    """The voxels of a block's image; with ``unsigned``, its signed bytes as unsigned ones: -1 becomes 255, no copy."""
    image = block.arrays["image"]
    return image.view(np.uint8) if unsigned else image


def check_finite(block: Block, name: str) -> None:
    """Refuse an array that holds NaN or infinity, because a network would spread them over whole patches."""
    image = block.arrays[name]
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError(
            f"The block at {block.box.start} holds voxels that are not finite (NaN or infinity); replace them first."
        )
