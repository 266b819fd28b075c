"""What a Fourier transform sees beyond the faces of a volume: added voxels, between its end and its beginning.

A transform takes the volume to be periodic, so a filter carries what lies at one face over to the opposite one. Voxels
that are added behind the last one keep the two apart. They are cut off from the result; voxel 0 stays voxel 0.

- ``taper``: half of the added voxels fade from the last voxel, the other half to the first one, with a raised cosine:
  along y and x to the mean of the slice's border (as IMOD's ``taperoutpad`` does it for images), along z the
  structures of the slices fade to nothing and the means of the slices go over into each other.
- ``mirror``: the volume mirrored without repeating the border voxel; what is mirrored at the end goes over into what
  is mirrored at the beginning with a raised cosine. No more than n - 2 voxels are added: there both are the same, and
  the volume is that which mirrors surround.
- ``periodic``: none.

Which is nearer to the truth was measured on a part cut out of a large volume with a spectrum like 1/f
(``benchmarks/faces.py``): within four voxels of a face the error of a deconvolution is 0.44 of the result's standard
deviation with ``periodic``, 0.33 with ``mirror`` and 0.24 with ``taper`` over 32 voxels. Mirrors repeat noise, which a
filter then adds up; the best guess of what lies outside of a random field falls from the border voxel to the mean.

>>> line = np.array([[4.0, 0, 0, 2]], np.float32)
>>> extended(line, (1, 7), "mirror").tolist()  # [0, 0, 2] is too many: at most n - 2 are added
Traceback (most recent call last):
ValueError: 3 voxels cannot be mirrored behind 4; at most 2 can.
>>> extended(line, (1, 6), "mirror").tolist()
[[4.0, 0.0, 0.0, 2.0, 0.0, 0.0]]
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

FaceRule = Literal["taper", "mirror", "periodic"]
LARGEST_FACTOR = 7
"""Lengths without larger prime factors are transformed fast."""
MORE = 8
"""The number of voxels that are added may be this share (1 / 8) of the axis larger, for a fitting length."""

Number = TypeVar("Number", np.float32, np.complex64)


def is_fast(n: int) -> bool:
    """Whether a length has no prime factor above :data:`LARGEST_FACTOR`.

    >>> [n for n in range(40, 50) if is_fast(n)]
    [40, 42, 45, 48, 49]
    """
    for factor in (2, 3, 5, 7):
        while n % factor == 0:
            n //= factor
    return n == 1


def padded_side(n: int, pad: int, faces: FaceRule) -> int:
    """Number of voxels of an axis with those that are added: at least ``pad`` where the rule allows, a fast length.

    >>> padded_side(400, 32, "taper"), padded_side(20, 32, "mirror"), padded_side(400, 32, "periodic")
    (432, 38, 400)
    """
    most = _most(n, pad, faces)
    least = min(n + pad, most)
    return next((side for side in range(least, most + 1) if is_fast(side)), most)


def padded_sides(n: int, m: int, ratio: float, pad: int, faces: FaceRule) -> tuple[int, int]:
    """Numbers of voxels of an axis, with those that are added, on two grids.

    Parameters
    ----------
    n, m
        Voxels of the axis on both grids.
    ratio
        Wanted voxel size / voxel size: of the lengths that are possible the one is taken at which it is met best.
    pad, faces
        Voxels that are added at least, where the rule allows it; and the rule.

    >>> padded_sides(101, 151, 0.6689, 32, "taper"), padded_sides(101, 151, 0.6689, 32, "periodic")
    ((133, 199), (101, 151))
    """
    if n == m:
        side = padded_side(n, pad, faces)
        return side, side
    most = _most(n, pad, faces)
    least = min(n + pad, most)
    if most == n:
        return n, m
    off = {side: abs(ratio * max(m, round(side / ratio)) / side - 1) for side in range(least, most + 1)}
    side = min(off, key=lambda s: (round(off[s] * 1e6), not (is_fast(s) and is_fast(round(s / ratio))), s))
    return side, max(m, round(side / ratio))


def _most(n: int, pad: int, faces: FaceRule) -> int:
    if faces == "periodic" or n == 1 or pad == 0:
        return n
    most = n + pad + max(8, n // MORE)
    return min(most, max(n, 2 * n - 2)) if faces == "mirror" else most


def fades(pad: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Weights of ``pad`` added voxels, float32: of the end that fades, of the beginning that appears (both of
    ``taper``), and of the beginning where one goes over into the other.

    >>> [[f"{weight:.2f}" for weight in part] for part in fades(3)]
    [['0.50', '0.00', '0.00'], ['0.00', '0.00', '0.50'], ['0.15', '0.50', '0.85']]
    """
    at = np.arange(1, pad + 1)
    end = 0.5 + 0.5 * np.cos(np.pi * np.minimum(2 * at / (pad + 1), 1))
    over = 0.5 - 0.5 * np.cos(np.pi * at / (pad + 1))
    return end.astype(np.float32), end[::-1].astype(np.float32), over.astype(np.float32)


def extended(plane: NDArray[np.float32], sides: tuple[int, int], faces: FaceRule) -> NDArray[np.float32]:
    """Add voxels behind the last ones of a slice.

    Parameters
    ----------
    plane
        float32 (y, x).
    sides
        Wanted numbers of voxels.
    faces
        What they are.

    Returns
    -------
    float32 of the shape ``sides``; the slice itself if nothing is to be added.
    """
    if plane.shape == sides:
        return plane
    middle = np.float32(0)
    if faces == "taper":
        border = (plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1])
        middle = np.float32(np.concatenate(border).mean(dtype=np.float64))
    return _longer(_longer(plane, sides[0], faces, middle).T, sides[1], faces, middle).T


def extended_columns(
    columns: NDArray[np.complex64], side: int, faces: FaceRule, has_mean: bool
) -> NDArray[np.complex64]:
    """Add voxels behind the last ones of columns along z, whose slices are transformed.

    Parameters
    ----------
    columns
        complex64 (z, columns).
    side
        Wanted number of voxels along z.
    faces
        What they are.
    has_mean
        The first column has the means of the slices.

    Returns
    -------
    complex64 (side, columns), a copy
    """
    if len(columns) == side:
        return columns.copy()
    out = _longer(columns, side, faces, np.complex64(0))
    if faces == "taper" and has_mean:
        n = len(columns)
        over = fades(side - n)[2]
        out[n:, 0] = columns[-1, 0] + (columns[0, 0] - columns[-1, 0]) * over
    return out


def _longer(values: NDArray[Number], side: int, faces: FaceRule, middle: Any) -> NDArray[Number]:
    """Rows with more rows behind them."""
    n = len(values)
    pad = side - n
    if not pad:
        return values
    out = np.empty((side, *values.shape[1:]), values.dtype)
    out[:n] = values
    end, start, over = (part[:, None] for part in fades(pad))
    if faces == "mirror":
        if pad > n - 2:
            raise ValueError(f"{pad} voxels cannot be mirrored behind {n}; at most {max(0, n - 2)} can.")
        ahead = values[n - 1 - pad : n - 1][::-1]
        out[n:] = ahead + (values[1 : pad + 1][::-1] - ahead) * over
    else:
        out[n:] = middle + (values[-1] - middle) * end + (values[0] - middle) * start
    return out
