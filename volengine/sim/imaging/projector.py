"""Projection along tilted beams, and its adjoint: one sparse matrix for all slices across the tilt axis.

The tilt axis is y, so every slice (z, x) across it is the same two-dimensional problem. A voxel at (z, x) from the
volume's centre lands at ``x cos(theta) + z sin(theta)`` from the detector's. It is a square, and the detector's pixels
are strips: each takes the share of the square that lies in it (the strip kernel: area of a square within a strip, the
exact line integral of a volume of square voxels, averaged over the pixel). Shares of a voxel sum to 1, so mass is
conserved, and a uniform slab projects to a uniform image at every angle. (The linear split of a voxel's centre between
two pixels leaves stripes of 9 % at 45 degrees.) The centroid of one single voxel's image is its place within 0.05
pixel, that of anything smooth within 0.001.

>>> import numpy as np
>>> volume = np.zeros((4, 2, 9), np.float32)
>>> volume[:, 1, 3:6] = 2.0  # volt
>>> projector = Projector((4, 9), [0.0, 90.0], voxel_size=10.0)
>>> projector.project(volume)[0, 1].round(3).tolist()  # volt angstrom: 4 voxels of 10 angstrom at 2 volt
[0.0, 0.0, 0.0, 80.0, 80.0, 80.0, 0.0, 0.0, 0.0]

Slices are worked on in groups of :data:`SLICES`, the last one filled up with zeros: the bytes of a slice do not depend
on the slices beside it. Shifts along x are part of the geometry. Shifts along y would mix slices: make them with
:func:`volengine.sim.imaging.tilts.shift_along_y`, on whole images. One core is used (scipy's product holds Python's
lock): more cores take other blocks along y, in processes of their own.

Memory: a block and its copy in groups, as much again for the images, and :attr:`Projector.matrix_bytes` for the
matrices, up to :attr:`Projector.cache_bytes`; matrices beyond it are made again at each call. They are made when first
needed: keep a projector for all blocks of a volume.
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
"""Slices in a group."""
TILTS = 8
"""Tilts in one matrix."""
LEAST_SHARE = 1e-7
"""Shares below float32's resolution of 1 are left out."""


class Projector:
    """The geometry of a tilt series over one plane across the tilt axis.

    Parameters
    ----------
    shape_zx
        Voxels of the plane, z and x.
    angle_deg
        (n,) tilt angles.
    voxel_size
        Angstrom; of the volume, on each axis, and of the detector.
    width
        Pixels of the detector; the plane's ``x`` where not given. Centres of volume and detector coincide. What falls
        beside the detector is lost.
    shift_x
        (n,) angstrom: what would land at x lands at x + shift.
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
        """Tilts."""
        return self.angle_deg.size

    def _forget(self) -> None:
        self._made: dict[int, Any] = {}
        self._held = 0

    def sampled(self, fine: int) -> Self:
        """The same geometry for lines with ``fine`` samples to a pixel, the first and last on its first and last pixel.

        A voxel's centre takes the linear interpolation between two samples, in place of a square's share in pixels.
        """
        if fine not in self._sampled:
            other = copy.copy(self)
            other.width, other._fine, other._sampled = fine * (self.width - 1) + 1, fine, {}
            other._forget()
            self._sampled[fine] = other
        return self._sampled[fine]

    @property
    def matrix_bytes(self) -> int:
        """About what all matrices take, bytes; no more than ``cache_bytes`` of it is held, and one matrix beside it."""
        angle = np.radians(self.angle_deg)
        share = np.full(len(self), 2.0) if self._fine else np.abs(np.sin(angle)) + np.abs(np.cos(angle)) + 1
        voxels = self.shape_zx[0] * self.shape_zx[1]
        return int(voxels * (8 * share.sum() + 4 * math.ceil(len(self) / TILTS)))

    def project(self, block: NDArray[Any]) -> Images:
        """(tilts, y, width) float32: line integrals of a block (z, y, x), its values times angstrom."""
        given = self._checked(block, (self.shape_zx[0], -1, self.shape_zx[1]), "a block (z, y, x)")
        lines = _grouped(given)
        found = np.empty((len(lines), len(self), self.width, SLICES), np.float32)
        for first, matrix in self._matrices():
            for part, images in zip(lines, found[:, first : first + TILTS], strict=True):
                images[:] = (matrix.T @ part.reshape(-1, SLICES)).reshape(images.shape)
        return _ungrouped(found, given.shape[1])

    def back(self, projected: NDArray[Any]) -> Images:
        """(z, y, x) float32: the exact adjoint of :meth:`project`, applied to (tilts, y, width)."""
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
        """First tilt and matrix (z * x, tilts * width), :data:`TILTS` tilts each; kept as far as the cache reaches."""
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
        """Shares of voxels in pixels of some tilts, times the voxel size: scipy's CSR, one row per voxel."""
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
    """(z * x,) where voxels land at an angle (radian), pixels from the detector's centre."""
    nz, nx = shape_zx
    z, x = np.arange(nz) - (nz - 1) / 2, np.arange(nx) - (nx - 1) / 2
    return (z[:, None] * math.sin(angle) + x * math.cos(angle)).ravel()


def _neighbours(place: NDArray[np.float64], share: NDArray[np.float32]) -> NDArray[np.int32]:
    """First of the two samples beside each place; ``share`` (places, 2) is filled with their linear weights."""
    first = np.floor(place)
    share[:, 1] = place - first
    share[:, 0] = 1 - share[:, 1]
    return first.astype(np.int32)


def _shares(place: NDArray[np.float64], angle: float, share: NDArray[np.float32]) -> NDArray[np.int32]:
    """First pixel each voxel reaches, that lies at ``place`` (pixels); ``share`` (places, 3) is filled.

    Of a square of side 1 turned by an angle, the share left of a line t from its centre is the integral of a trapezoid:
    boxes of widths ``|cos|`` and ``|sin|`` convolved.
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
    """(groups, a, x, SLICES) of (a, y, x), so that a matrix meets slices side by side; zeros behind the last."""
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
    """The same with PyTorch's sparse products, for a GPU: equal to :class:`Projector` within 1e-5 of the largest value.

    Arrays in and out are numpy's; matrices stay on the device, twice (for either direction), as far as ``cache_bytes``
    reaches. Bytes may differ between devices, and there between versions of their libraries.
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
    """A matrix and its transpose as PyTorch's sparse tensors; sizes under the names that scipy's have."""

    def __init__(self, matrix: Any, device: Any) -> None:
        self.up, self.down = _to_torch(matrix, device), _to_torch(matrix.T, device)
        self.data, self.indices, self.indptr = self.up.values(), self.up.indices(), self.down.indices()


def _to_torch(matrix: Any, device: Any) -> Any:
    import torch

    found = matrix.tocsr().tocoo()
    index = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
    made = torch.sparse_coo_tensor(index, torch.from_numpy(found.data), found.shape, check_invariants=False)
    return made.to(device).coalesce()
