"""The Fourier transform of a real volume in three steps, none of which needs the whole volume in memory.

1. *Slices*: the transform along y and x of some slices z (:func:`forward_slices`).
2. *Columns*: the transform along z of some columns, a gain, and the inverse transform along z (:func:`filter_columns`).
3. *Slices*: the inverse transform along y and x (:func:`inverse_slices`).

Only frequencies 0 and above are kept along x, because the transform of real numbers has the symmetry F(-k) = conj F(k).
Each step computes the one-dimensional transforms of whole rows or whole columns, in single precision (complex64). A
transform does not depend on how many others are computed with it, so the result does not depend on how the volume is
cut; it differs from that in double precision by about 1e-6 of the volume's largest value.

A transform takes the volume to be periodic: what a filter carries over one face comes back at the opposite one. So
voxels are added behind its end before, and cut off after (:mod:`volengine.ops.filters.faces`). This happens in the
steps, so that what lies between them has the slices of the volume alone.

*Another voxel size.* If the number of voxels of an axis changes from n to m (same length n v = m w), the frequencies
that both grids have are kept. Of an even number of voxels there is a highest frequency, n / 2, of which one value
stands for both signs: where it goes to a finer grid it is divided between them, and where a coarser grid ends there,
both are added (as ``scipy.signal.resample`` does), so that the way to a finer grid and back changes nothing. Grey
values are kept. Voxel 0 stays where it is: voxel i of the new grid lies at i n / m voxels of the old one, so a place
(index times voxel size) is the same on both.

>>> import numpy as np
>>> wave = np.cos(2 * np.pi * np.arange(8) / 8).astype(np.float32) * np.ones((1, 1, 8), np.float32)
>>> finer = filter_whole(wave, (1, 1, 16))
>>> finer.shape, np.allclose(finer[0, 0, ::2], wave, atol=1e-6)
((1, 1, 16), True)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3, index3
from volengine.ops.filters.faces import FaceRule, extended, extended_columns, padded_sides

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

PART = 2**18
"""Complex numbers of columns that are transformed at a time; each takes some 120 bytes while it is."""


@dataclass(frozen=True)
class SpectralGrid:
    """The grids of a transform.

    Parameters
    ----------
    shape, out_shape
        Voxels z, y, x that are transformed, and transformed back.
    voxel_size
        Voxel size of the volume that is read, angstrom, z, y, x. That of the one that is written follows.
    inner, out_inner
        Voxels of the volume that is read, and of the one that is written: those of ``shape`` and ``out_shape`` without
        the ones that are added behind their ends; default: none are.
    faces
        What is added (:mod:`volengine.ops.filters.faces`).
    """

    shape: Index3
    out_shape: Index3
    voxel_size: tuple[float, float, float]
    inner: Index3 | None = None
    out_inner: Index3 | None = None
    faces: FaceRule = "periodic"

    @property
    def read(self) -> Index3:
        """Shape of the volume that is read."""
        return self.inner or self.shape

    @property
    def written(self) -> Index3:
        """Shape of the volume that is written."""
        return self.out_inner or self.out_shape

    @property
    def kept(self) -> tuple[int, int]:
        """Number of frequencies along y, and of those from 0 on along x, that both grids have."""
        (_, ny, nx), (_, my, mx) = self.shape, self.out_shape
        return min(ny, my), min(nx, mx) // 2 + 1

    @property
    def before(self) -> Index3:
        """Shape of the first spectrum as numbers of float32: slices z, frequencies y, real and imaginary parts x."""
        y, x = self.kept
        return self.read[0], y, 2 * x

    @property
    def after(self) -> Index3:
        """Shape of the filtered spectrum as numbers of float32, in the same order."""
        y, x = self.kept
        return self.written[0], y, 2 * x

    @property
    def out_voxel_size(self) -> tuple[float, float, float]:
        """Voxel size of the volume that is written: the length of each axis that is transformed is kept."""
        z, y, x = (n * v / m for n, v, m in zip(self.shape, self.voxel_size, self.out_shape, strict=True))
        return z, y, x

    @property
    def scale(self) -> float:
        """Factor that keeps grey values: voxels that are written / voxels that are read."""
        return prod(self.out_shape) / prod(self.shape)

    def whole(self) -> Columns:
        """All columns."""
        y, x = self.kept
        return self.columns(0, y, 0, x)

    def columns(self, y0: int, y1: int, x0: int, x1: int) -> Columns:
        """The columns with these indices of frequencies along y and x."""
        lengths = [n * v for n, v in zip(self.shape, self.voxel_size, strict=True)]
        ky = signed(self.kept[0])[y0:y1]
        kx = np.arange(x0, x1)
        kz = signed(self.out_shape[0])
        return Columns(self, kz, ky, kx, kz / lengths[0], ky / lengths[1], kx / lengths[2])


def padded_grid(
    shape: Index3,
    out_shape: Index3,
    voxel_size: Sequence[float],
    wanted: Sequence[float],
    faces: tuple[FaceRule, int],
) -> SpectralGrid:
    """Choose the grids of a transform with added voxels.

    Parameters
    ----------
    shape, out_shape
        Voxels of the volume that is read, and of the one that is written.
    voxel_size, wanted
        Voxel sizes of both, angstrom, z, y, x: the second one is met as well as the added voxels allow.
    faces
        What is added, and how many voxels at least.
    """
    rule, pad = faces
    ends = zip(shape, out_shape, voxel_size, wanted, strict=True)
    sides = [padded_sides(n, m, w / v, pad, rule) for n, m, v, w in ends]
    z, y, x = (float(v) for v in voxel_size)
    whole, out = index3(n for n, _ in sides), index3(m for _, m in sides)
    return SpectralGrid(whole, out, (z, y, x), shape, out_shape, rule)


@dataclass(frozen=True)
class Columns:
    """Columns of a spectrum: whole numbers of waves k and frequencies f = k / (n v) (1/angstrom) along each axis."""

    grid: SpectralGrid
    kz: NDArray[np.int64]
    ky: NDArray[np.int64]
    kx: NDArray[np.int64]
    fz: NDArray[np.float64]
    fy: NDArray[np.float64]
    fx: NDArray[np.float64]

    def part(self, row: int, x0: int, x1: int) -> Columns:
        """One row of columns, from x0 to x1."""
        at, by = slice(row, row + 1), slice(x0, x1)
        return Columns(self.grid, self.kz, self.ky[at], self.kx[by], self.fz, self.fy[at], self.fx[by])


Gain = Callable[[Columns], NDArray[np.float32]]
"""The factor of each frequency of one row of columns, float32 (z, x)."""


def signed(n: int) -> NDArray[np.int64]:
    """Numbers of waves in the order of a transform of n voxels: 0, 1 ..., then the negative ones.

    >>> signed(4).tolist(), signed(5).tolist()
    ([0, 1, -2, -1], [0, 1, 2, -2, -1])
    """
    k = np.arange(n)
    return np.where(k < (n + 1) // 2, k, k - n)


def refit(spectrum: Complex, m: int, axis: int) -> Complex:
    """Cut or extend a spectrum along an axis of both signs to m frequencies; see the notes of the module."""
    n = spectrum.shape[axis]
    if n == m:
        return spectrum
    ahead = (slice(None),) * axis
    shape = list(spectrum.shape)
    shape[axis] = m
    out = np.zeros(shape, np.complex64)
    both = min(n, m)
    low, high = (both + 1) // 2, both // 2 if both % 2 else both // 2 - 1  # 0 ..., and -1 ... without n / 2
    out[(*ahead, slice(0, low))] = spectrum[(*ahead, slice(0, low))]
    if high:
        out[(*ahead, slice(m - high, m))] = spectrum[(*ahead, slice(n - high, n))]
    if both % 2 == 0:
        half = both // 2
        if m < n:
            out[(*ahead, half)] = spectrum[(*ahead, half)] + spectrum[(*ahead, n - half)]
        else:
            out[(*ahead, half)] = out[(*ahead, m - half)] = spectrum[(*ahead, half)] / np.float32(2)
    return out


def forward_slices(values: NDArray[Any], grid: SpectralGrid) -> NDArray[np.float32]:
    """Transform whole slices along y and x.

    Parameters
    ----------
    values
        Voxels (z, y, x) of whole slices, any real dtype.
    grid
        The grids.

    Returns
    -------
    float32 (z, frequencies y, 2 x frequencies x): the frequencies that both grids have, real and imaginary parts by
    turns.
    """
    import scipy.fft as fft

    sy, sx = grid.kept
    out = np.empty((len(values), sy, sx), np.complex64)
    for z, plane in enumerate(values):
        wide = extended(plane.astype(np.float32, copy=False), grid.shape[1:], grid.faces)
        spectrum = fft.rfft2(wide)
        out[z] = refit(np.ascontiguousarray(spectrum[:, :sx]), sy, 0)
    nx, mx = grid.shape[2], grid.out_shape[2]
    if mx < nx and mx % 2 == 0:
        out[..., mx // 2] *= np.float32(2)
    return out.view(np.float32)


def filter_columns(
    spectrum: NDArray[np.float32], grid: SpectralGrid, y0: int, x0: int, gain: Gain | None
) -> NDArray[np.float32]:
    """Transform columns along z, multiply them by a gain, and transform them back.

    Parameters
    ----------
    spectrum
        Whole columns as :func:`forward_slices` makes them: float32 (z, y, 2 x).
    grid
        The grids.
    y0, x0
        Index of the first frequency along y, and of that along x.
    gain
        Its factors; ``None``: 1.

    Returns
    -------
    float32 (z of the volume that is written, y, 2 x)
    """
    import scipy.fft as fft

    given = spectrum.view(np.complex64)
    _, ny, nx = given.shape
    mz = grid.written[0]
    out = np.empty((mz, ny, nx), np.complex64)
    scale = np.float32(grid.scale)
    for (row, a, b), wave in transformed_columns(spectrum, grid, y0, x0):
        if gain is not None:
            wave *= gain(grid.columns(y0 + row, y0 + row + 1, x0 + a, x0 + b))
        wave *= scale
        out[:, row, a:b] = fft.ifft(wave, axis=0, overwrite_x=True)[:mz]
    return out.view(np.float32)


def transformed_columns(spectrum: NDArray[np.float32], grid: SpectralGrid, y0: int = 0, x0: int = 0) -> Any:
    """Yield (row y, first x, last x) and the transform along z of these columns on the grid that is written.

    Parameters are those of :func:`filter_columns`; rows and x count from the first column.
    """
    import scipy.fft as fft

    given = spectrum.view(np.complex64)
    _, ny, nx = given.shape
    step = columns_at_once(max(grid.shape[0], grid.out_shape[0]))
    for row in range(ny):
        for a in range(0, nx, step):
            b = min(a + step, nx)
            has_mean = y0 + row == x0 + a == 0
            columns = extended_columns(given[:, row, a:b], grid.shape[0], grid.faces, has_mean)
            wave = fft.fft(columns, axis=0, overwrite_x=True)
            yield (row, a, b), refit(wave, grid.out_shape[0], 0)


def columns_at_once(length: int) -> int:
    """Number of columns of this many voxels that are transformed together."""
    return max(8, PART // max(1, length))


def inverse_slices(spectrum: NDArray[np.float32], grid: SpectralGrid) -> NDArray[np.float32]:
    """Transform whole slices back along y and x.

    Parameters
    ----------
    spectrum
        float32 (z, frequencies y, 2 x frequencies x), as :func:`filter_columns` makes them.
    grid
        The grids.

    Returns
    -------
    float32 (z, y, x) of the volume that is written
    """
    import scipy.fft as fft

    given = spectrum.view(np.complex64)
    _, my, mx = grid.out_shape
    nx = grid.shape[2]
    _, ky, kx = grid.written
    out = np.empty((len(given), ky, kx), np.float32)
    for z, plane in enumerate(given):
        wide = np.zeros((my, mx // 2 + 1), np.complex64)
        wide[:, : plane.shape[1]] = refit(plane, my, 0)
        if mx > nx and nx % 2 == 0:
            wide[:, nx // 2] /= np.float32(2)
        out[z] = fft.irfft2(wide, s=(my, mx), overwrite_x=True)[:ky, :kx]
    return out


def filter_whole(
    values: NDArray[Any],
    out_shape: Sequence[int] | None = None,
    gain: Gain | None = None,
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
    faces: tuple[FaceRule, int] = ("periodic", 0),
) -> NDArray[np.float32]:
    """Filter a whole array in memory with the three steps: what the engine computes in parts.

    Parameters
    ----------
    values
        Voxels (z, y, x), any real dtype.
    out_shape
        Shape of the result; default: that of ``values``.
    gain
        The factor of each frequency; ``None``: 1.
    voxel_size
        Angstrom, z, y, x: the unit of the frequencies that ``gain`` gets.
    faces
        What is added behind the volume's end, and how many voxels at least.

    Returns
    -------
    float32 of ``out_shape``
    """
    shape = index3(values.shape)
    out = index3(out_shape or shape)
    wanted = [v * n / m for v, n, m in zip(voxel_size, shape, out, strict=True)]
    grid = padded_grid(shape, out, voxel_size, wanted, faces)
    return inverse_slices(filter_columns(forward_slices(values, grid), grid, 0, 0, gain), grid)
