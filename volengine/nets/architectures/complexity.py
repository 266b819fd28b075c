"""Multiply-adds of a network, counted from the shapes of its layers without computing anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from volengine.nets.architectures.receptive import dimensions, hollow, inputs_of, stride_of

if TYPE_CHECKING:
    from torch import nn


def macs_per_voxel(module: nn.Module) -> float:
    """Multiply-adds of convolutions and matrix products per voxel of input (2D networks: per pixel of a slice).

    The number does not depend on the patch, because layers change the size only by the stride. ``module`` may be on the
    ``meta`` device.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    volumetric = dimensions(module) == 3
    steps = stride_of(module, volumetric)
    sides = [2 * s for s in (steps if volumetric else steps[1:])]
    clear = hollow(module)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        clear(torch.empty((1, inputs_of(module), *sides), device="meta"))
    flops: int = counter.get_total_flops()
    return flops / 2 / math.prod(sides)
