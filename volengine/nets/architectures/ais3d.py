"""easymode's 3D U-Nets, as in Ais's library.

The input is ``(batch, 1, z, y, x)``, the output ``(batch, channels, z, y, x)`` logits for all voxels. Patches are thin,
so z is pooled less than y and x: sides must be multiples of 4 along z and of 16 along y and x. The layouts are those
that model files of the two networks describe layer by layer; the files order axes y, x, z, this package z, y, x.
"""

from __future__ import annotations

from volengine.nets.architectures.encdec import ConvUNet, Kernel, UNetLayout

POOLS: tuple[Kernel, ...] = ((2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
"""Pooling by 2 along all axes twice, then along y and x twice."""

PLANE, ALONG = (1, 3, 3), (3, 1, 1)
"""Kernels within a slice and across slices, which replace a 3x3x3 kernel."""


def easymode_3d(channels: int = 1) -> ConvUNet:
    """32 to 512 channels; two 3x3x3 convolutions per level (decoder: one); 19,579,265 parameters.

    There is no dropout, because none is described.
    """
    widths = (32, 64, 128, 256, 512)
    layout = UNetLayout(
        encoder=tuple((w, w) for w in widths),
        decoder=tuple((w,) for w in reversed(widths[:-1])),
        ndim=3,
        pools=POOLS,
    )
    return ConvUNet(layout, 1, channels)


def easymode_3d_wide(channels: int = 1) -> ConvUNet:
    """64, 128, 256, 512, 512 channels; 30,981,761 parameters, 996 k multiply-adds per voxel.

    The two finest levels have three 3x3x3 convolutions in the encoder and two in the decoder. The coarser levels have
    four and three: one in the plane, one along z, and the rest in the plane.
    """
    widths = (64, 128, 256, 512, 512)
    fine: tuple[Kernel, ...] = (3, 3, 3)
    coarse: tuple[Kernel, ...] = (PLANE, ALONG, PLANE, PLANE)
    kernels = (fine, fine, coarse, coarse, coarse)
    upper = (coarse[:-1], coarse[:-1], fine[:-1], fine[:-1])
    layout = UNetLayout(
        encoder=tuple((w,) * len(k) for w, k in zip(widths, kernels, strict=True)),
        decoder=tuple((w,) * len(k) for w, k in zip(reversed(widths[:-1]), upper, strict=True)),
        ndim=3,
        pools=POOLS,
        kernels=kernels,
        decoder_kernels=upper,
    )
    return ConvUNet(layout, 1, channels)
