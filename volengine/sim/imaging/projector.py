"""Projection of a volume along tilted beams, and its adjoint: one sparse matrix for all slices across the tilt axis.

The tilt axis is y, so every slice (z, x) perpendicular to it is the same two-dimensional problem. A voxel at (z, x)
from the volume's centre is projected to ``x cos(theta) + z sin(theta)`` from the detector's centre. A voxel is a square
and a detector pixel is a strip along the beam; the weight is the share of the square's area that lies in the strip
(strip kernel). This is the exact line integral of a volume of square voxels, averaged over the pixel. The shares of a
voxel sum to 1, so mass is conserved, and a uniform slab projects to a uniform image at every angle. (If each voxel's
centre were interpolated linearly between two pixels, the image would have stripes of 9 % at 45 degrees.) The centroid
of the image of a single voxel is right to 0.05 pixel, that of a smooth object to 0.001 pixel.

>>> import numpy as np
>>> volume = np.zeros((4, 2, 9), np.float32)
>>> volume[:, 1, 3:6] = 2.0  # volt
>>> projector = Projector((4, 9), [0.0, 90.0], voxel_size=10.0)
>>> projector.project(volume)[0, 1].round(3).tolist()  # volt angstrom: 4 voxels of 10 angstrom at 2 volt
[0.0, 0.0, 0.0, 80.0, 80.0, 80.0, 0.0, 0.0, 0.0]

Slices are processed in groups of :data:`SLICES`; the last group is padded with zeros. The bytes of a slice therefore do
not depend on its neighbours. Shifts of images along x are part of the geometry. Shifts along y would mix slices: apply
them to whole images, with :func:`volengine.sim.imaging.tilts.shift_along_y`. A projection uses one core (scipy's sparse
product holds Python's global lock); to use more cores, project other blocks along y in other processes.

Memory: a block and its copy in groups, the same for the images, and :attr:`Projector.matrix_bytes` for the matrices, up
to :attr:`Projector.cache_bytes`; matrices beyond this limit are computed again in each call. Matrices are computed when
they are first needed, so use one projector for all blocks of a volume.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError

Images = NDArray[np.float32]
SLICES = 32
"""Number of slices in a group."""
TILTS = 8
"""Number of tilts in one matrix."""
LEAST_SHARE = 1e-7
"""Smaller shares are left out of the matrix: they are below the resolution of float32 at 1."""


class Projector:
    """The geometry of a tilt series in one plane perpendicular to the tilt axis.

    Parameters
    ----------
    shape_zx
        Size of the plane in voxels, z and x.
    angle_deg
        (n,): tilt angles, degrees.
    voxel_size
        Voxel size of the volume on every axis, and pixel size of the detector, angstrom.
    width
        Width of the detector in pixels; default: the plane's size along x. The centres of volume and detector
        coincide. What is projected beyond the detector is lost.
    shift_x
        (n,): shift of each image along x, angstrom; default: none.

    Raises
    ------
    InputError
        A size is below 1, there are no angles, the voxel size is not positive, there is not one shift for each angle,
        or a value is not finite.
    """

    cache_bytes = 512 << 20

    def __init__(
        self,
        shape_zx: tuple[int, int],
        angle_deg: ArrayLike,
        voxel_size: float = 1.0,
        *,
        width: int | None = None,
        shift_x: ArrayLike | None = None,
    ) -> None:
        self.angle_deg = np.array(angle_deg, float)
        self.shape_zx = (int(shape_zx[0]), int(shape_zx[1]))
        self.voxel_size = float(voxel_size)
        self.width = self.shape_zx[1] if width is None else int(width)
        self.shift_x = np.zeros(len(self)) if shift_x is None else np.array(shift_x, float)
        if min(*self.shape_zx, self.width) < 1:
            raise InputError(f"Projector: a plane of {self.shape_zx} voxels, {self.width} pixels: both at least 1.")
        if self.angle_deg.ndim != 1 or not self.angle_deg.size or not np.isfinite(self.angle_deg).all():
            raise InputError(f"Projector: angles are {self.angle_deg.tolist()}; give one or more, degrees.")
        if not 0 < self.voxel_size < np.inf:
            raise InputError(f"Projector: a voxel size of {voxel_size}; it must be above 0 angstrom.")
        if self.shift_x.shape != self.angle_deg.shape or not np.isfinite(self.shift_x).all():
            raise InputError(f"Projector: shifts along x {self.shift_x.tolist()} for {len(self)} tilts.")
        self._fine = 0
        self._sampled: dict[int, Self] = {}
        self._forget()

    def __len__(self) -> int:
        """Number of tilts."""
        return self.angle_deg.size

    def _forget(self) -> None:
        self._made: dict[int, Any] = {}
        self._held = 0

    def sampled(self, fine: int) -> Self:
        """The same geometry for lines with ``fine`` samples per pixel, ``fine * (width - 1) + 1`` samples in all.

        The first and the last sample are at the centres of the first and the last pixel. The weights are those of the
        linear interpolation between the two samples next to a voxel's centre, instead of the strip kernel.
        """
        if fine not in self._sampled:
            other = copy.copy(self)
            other.width, other._fine, other._sampled = fine * (self.width - 1) + 1, fine, {}
            other._forget()
            self._sampled[fine] = other
        return self._sampled[fine]

    @property
    def matrix_bytes(self) -> int:
        """Estimated size of all matrices, bytes; at most ``cache_bytes`` of it, and one more matrix, are kept."""
        angle = np.radians(self.angle_deg)
        share = np.full(len(self), 2.0) if self._fine else np.abs(np.sin(angle)) + np.abs(np.cos(angle)) + 1
        voxels = self.shape_zx[0] * self.shape_zx[1]
        return int(voxels * (8 * share.sum() + 4 * math.ceil(len(self) / TILTS)))

    def project(self, block: NDArray[Any]) -> Images:
        """Project a block.

        Parameters
        ----------
        block
            (z, y, x), real, any number of slices along y: a potential in volt, for example.

        Returns
        -------
        (tilts, y, width) float32: line integrals, the unit of the block times angstrom.

        Raises
        ------
        InputError
            The array is not real, or its shape does not fit the geometry.
        """
        given = self._checked(block, (self.shape_zx[0], -1, self.shape_zx[1]), "a block (z, y, x)")
        lines = _grouped(given)
        found = np.empty((len(lines), len(self), self.width, SLICES), np.float32)
        for first, matrix in self._matrices():
            for part, images in zip(lines, found[:, first : first + TILTS], strict=True):
                images[:] = (matrix.T @ part.reshape(-1, SLICES)).reshape(images.shape)
        return _ungrouped(found, given.shape[1])

    def back(self, projected: NDArray[Any]) -> Images:
        """Apply the exact adjoint (transpose) of :meth:`project`.

        Parameters
        ----------
        projected
            (tilts, y, width), real: images.

        Returns
        -------
        (z, y, x) float32: the unit of the images times angstrom.

        Raises
        ------
        InputError
            The array is not real, or its shape does not fit the geometry.
        """
        given = self._checked(projected, (len(self), -1, self.width), "images (tilts, y, width)")
        lines = _grouped(given)
        found = np.zeros((len(lines), *self.shape_zx, SLICES), np.float32)
        for first, matrix in self._matrices():
            for part, volume in zip(lines[:, first : first + TILTS], found, strict=True):
                volume += (matrix @ part.reshape(-1, SLICES)).reshape(volume.shape)
        return _ungrouped(found, given.shape[1])

    def _checked(self, array: NDArray[Any], shape: tuple[int, int, int], what: str) -> Images:
        given = np.asarray(array)
        fits = given.ndim == 3 and (given.shape[0], -1, given.shape[2]) == shape and given.shape[1]
        if not fits or not np.issubdtype(given.dtype, np.number) or np.iscomplexobj(given):
            wanted = str(shape).replace("-1", "any")
            raise InputError(f"Projector: {what} of shape {given.shape}, {given.dtype}; it must be {wanted}, real.")
        return given.astype(np.float32, copy=False)

    def _matrices(self) -> Iterator[tuple[int, Any]]:
        """Yield the first tilt and the matrix (z * x, tilts * width) of each group of :data:`TILTS` tilts.

        Matrices are kept for later calls as long as they fit into the cache.
        """
        for first in range(0, len(self), TILTS):
            matrix = self._made.get(first)
            if matrix is None:
                matrix = self._matrix(slice(first, first + TILTS))
                size = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
                if self._held + size <= self.cache_bytes:
                    self._made[first] = matrix
                    self._held += size
            yield first, matrix

    def _matrix(self, tilts: slice) -> Any:
        """Shares of voxels in pixels of some tilts, times the voxel size: a CSR array of scipy, one row per voxel."""
        from scipy import sparse

        angles, shifts = np.radians(self.angle_deg[tilts]), self.shift_x[tilts] / self.voxel_size
        voxels = self.shape_zx[0] * self.shape_zx[1]
        taps = 2 if self._fine else 3
        share = np.empty((voxels, len(angles), taps), np.float32)
        pixel = np.empty(share.shape, np.int32)
        for k, (angle, shift) in enumerate(zip(angles.tolist(), shifts.tolist(), strict=True)):
            place = _places(self.shape_zx, angle) + shift
            if self._fine:
                first = _neighbours(place * self._fine + (self.width - 1) / 2, share[:, k])
            else:
                first = _shares(place + (self.width - 1) / 2, angle, share[:, k])
            for tap in range(taps):
                pixel[:, k, tap] = first + tap
        share[(pixel < 0) | (pixel >= self.width) | (share < LEAST_SHARE)] = 0
        pixel += (self.width * np.arange(len(angles), dtype=np.int32))[:, None]
        kept = share != 0
        ends = np.zeros(voxels + 1, np.int32 if kept.size < 2**31 else np.int64)
        np.cumsum(np.count_nonzero(kept, axis=(1, 2)), out=ends[1:])
        data, column = share[kept] * np.float32(self.voxel_size), pixel[kept].astype(ends.dtype, copy=False)
        return sparse.csr_array((data, column, ends), shape=(voxels, len(angles) * self.width))


def _places(shape_zx: tuple[int, int], angle: float) -> NDArray[np.float64]:
    """(z * x,): positions of the projected voxel centres at an angle (radian), pixels from the detector's centre."""
    nz, nx = shape_zx
    z, x = np.arange(nz) - (nz - 1) / 2, np.arange(nx) - (nx - 1) / 2
    return (z[:, None] * math.sin(angle) + x * math.cos(angle)).ravel()


def _neighbours(place: NDArray[np.float64], share: NDArray[np.float32]) -> NDArray[np.int32]:
    """The lower of the two samples next to each position; writes their linear weights into ``share`` (positions, 2)."""
    first = np.floor(place)
    share[:, 1] = place - first
    share[:, 0] = 1 - share[:, 1]
    return first.astype(np.int32)


def _shares(place: NDArray[np.float64], angle: float, share: NDArray[np.float32]) -> NDArray[np.int32]:
    """The first pixel that each voxel, projected to ``place`` (pixels), overlaps.

    Writes the shares of this pixel and the next two into ``share`` (positions, 3). The projection of a square of side 1
    that is rotated by an angle is a trapezoid, the convolution of boxes of widths ``|cos|`` and ``|sin|``; the share on
    one side of a line is the integral of this trapezoid.
    """
    long, short = sorted((abs(math.cos(angle)), abs(math.sin(angle))), reverse=True)
    half, top = (long + short) / 2, (long - short) / 2
    first = np.floor(place - half + 0.5)

    def left_of(t: NDArray[np.float64]) -> NDArray[np.float64]:
        if short < 1e-6:
            return np.clip(t / long + 0.5, 0, 1)
        total = np.zeros_like(t)
        for edge, sign in ((half, 1), (top, -1), (-top, -1), (-half, 1)):
            part = np.maximum(t + edge, 0)
            total += sign * part * part
        return np.clip(total / (2 * long * short), 0, 1)

    lower, upper = left_of(first + 0.5 - place), left_of(first + 1.5 - place)
    share[:, 0], share[:, 1], share[:, 2] = lower, upper - lower, 1 - upper
    return first.astype(np.int32)


def _grouped(array: Images) -> Images:
    """Reorder (a, y, x) to (groups, a, x, SLICES), contiguous along slices; the last group is padded with zeros."""
    depth, rows, columns = array.shape
    groups = -(-rows // SLICES)
    found = np.empty((groups, depth, columns, SLICES), np.float32)
    for group, lines in enumerate(found):
        part = array[:, group * SLICES : (group + 1) * SLICES]
        lines[..., : part.shape[1]] = part.transpose(0, 2, 1)
        lines[..., part.shape[1] :] = 0
    return found


def _ungrouped(lines: Images, rows: int) -> Images:
    """The inverse of :func:`_grouped`."""
    _, depth, columns, _ = lines.shape
    found = np.empty((depth, rows, columns), np.float32)
    for group, part in enumerate(lines):
        first = group * SLICES
        found[:, first : first + SLICES] = part[..., : rows - first].transpose(0, 2, 1)
    return found


class TorchProjector(Projector):
    """A projector that uses PyTorch's sparse products, for a GPU.

    Its results equal those of :class:`Projector` within 1e-5 of the largest value; they may differ between devices, and
    between versions of the libraries of a device. Input and output are numpy arrays. Each matrix is kept on the device
    together with its transpose, up to ``cache_bytes`` in all.

    Parameters
    ----------
    *args, **kwargs
        As for :class:`Projector`.
    device
        Name of a device of PyTorch: ``cuda``, ``cuda:1``, ``cpu``.

    Raises
    ------
    InputError
        There is no CUDA device, or as for :class:`Projector`.
    """

    def __init__(self, *args: Any, device: str = "cuda", **kwargs: Any) -> None:
        import torch

        super().__init__(*args, **kwargs)
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise InputError(f"TorchProjector: no device {device!r} is here; use device='cpu', or Projector.")

    def _matrix(self, tilts: slice) -> Any:
        return _Pair(super()._matrix(tilts), self.device)

    def project(self, block: NDArray[Any]) -> Images:
        import torch

        given = self._checked(block, (self.shape_zx[0], -1, self.shape_zx[1]), "a block (z, y, x)")
        lines = torch.from_numpy(given).to(self.device).permute(0, 2, 1).reshape(-1, given.shape[1])
        parts = [torch.sparse.mm(pair.down, lines) for _, pair in self._matrices()]
        found = torch.cat(parts).reshape(len(self), self.width, -1).permute(0, 2, 1)
        images: Images = found.contiguous().cpu().numpy()
        return images

    def back(self, projected: NDArray[Any]) -> Images:
        import torch

        given = self._checked(projected, (len(self), -1, self.width), "images (tilts, y, width)")
        lines = torch.from_numpy(given).to(self.device).permute(0, 2, 1)
        found = torch.zeros((self.shape_zx[0] * self.shape_zx[1], given.shape[1]), device=self.device)
        for first, pair in self._matrices():
            found += torch.sparse.mm(pair.up, lines[first : first + TILTS].reshape(-1, given.shape[1]))
        volume: Images = found.reshape(*self.shape_zx, -1).permute(0, 2, 1).contiguous().cpu().numpy()
        return volume


class _Pair:
    """A matrix and its transpose as sparse tensors of PyTorch; ``data``, ``indices``, ``indptr`` give their sizes."""

    def __init__(self, matrix: Any, device: Any) -> None:
        self.up, self.down = _to_torch(matrix, device), _to_torch(matrix.T, device)
        self.data, self.indices, self.indptr = self.up.values(), self.up.indices(), self.down.indices()


def _to_torch(matrix: Any, device: Any) -> Any:
    import torch

    found = matrix.tocsr().tocoo()
    index = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    made = torch.sparse_coo_tensor(index, torch.from_numpy(found.data), found.shape, check_invariants=False)
    return made.to(device).coalesce()
