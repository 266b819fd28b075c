"""easymode's 3D U-Net, as in Ais's library.

Input ``(batch, 1, z, y, x)``, answer ``(batch, channels, z, y, x)`` as logits: the whole slab is answered. Slabs are
thin, so that z is pooled less than y and x: sides must be multiples of 4 along z and of 16 along y and x. The layout is
the one that its description, its count and its multiply-adds per voxel (195 k) give together; its order of axes is
y, x, z, here as everywhere z, y, x.

The wide variant of the library (30,981,761 parameters) is not here: what is known of it does not determine a layout.
"""

from __future__ import annotations

from volengine.nets.encdec import ConvUNet, UNetLayout


def easymode_3d(channels: int = 1) -> ConvUNet:
    """32 to 512 channels, two 3x3x3 convolutions a level down, one up; 19,579,265 parameters.

    Pooling by 2 along all axes twice, then along y and x alone twice. Dropout is 0: none is described.
    """
    widths = (32, 64, 128, 256, 512)
    layout = UNetLayout(
        encoder=tuple((w, w) for w in widths),
        decoder=tuple((w,) for w in reversed(widths[:-1])),
        ndim=3,
        pools=((2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)),
    )
    return ConvUNet(layout, 1, channels)
