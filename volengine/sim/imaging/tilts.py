"""Tilt series: the angles, the order of acquisition, the errors of stage and alignment, and the dose of each image.

A :class:`TiltScheme` holds the user's choices; :func:`tilt_series` turns it into a :class:`TiltSeries`, whose rows are
in stack order (rising angle). The order of acquisition is a separate column, because radiation damage depends on the
dose before an image, and not on its place in the stack:

>>> series = tilt_series(TiltScheme(min_deg=-6, max_deg=6, step_deg=3, order="dose-symmetric"))
>>> series.nominal_deg.tolist(), series.nominal_deg[series.sequence].tolist()
([-6.0, -3.0, 0.0, 3.0, 6.0], [0.0, 3.0, -3.0, -6.0, 6.0])
>>> dose = doses(series, total=100)
>>> dose.tolist(), before(series, dose).tolist()
([20.0, 20.0, 20.0, 20.0, 20.0], [60.0, 40.0, 0.0, 20.0, 80.0])

The specimen is projected at ``true_deg``, with images moved by ``shift``; it is reconstructed at ``nominal_deg``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.block import Table
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TiltScheme(Recipe):
    """Tilt angles, and the order in which they are acquired.

    Parameters
    ----------
    min_deg, max_deg, step_deg
        Angles from ``min_deg`` to ``max_deg`` in steps of ``step_deg``.
    angles_deg
        A list of angles instead, in any order, without duplicates.
    order
        ``linear``: rising. ``bidirectional``: from ``start_deg`` up to the highest angle, then from below it down to
        the lowest. ``dose-symmetric``: from ``start_deg`` alternately to both sides (Hagen, Wan & Briggs, J. Struct.
        Biol. 197:191, 2017).
    start_deg
        Bidirectional and dose-symmetric series begin at the angle nearest to this.
    group
        For dose-symmetric series: number of images on one side before the stage crosses to the other. 0 is Hagen's own
        scheme: 0, 3, -3, -6, 6, 9, -9; with 1: 0, 3, -3, 6, -6; with 2: 0, 3, 6, -3, -6, 9, 12.
    angle_error_deg
        Standard deviation of the difference between true and nominal angles.
    shift_a
        Standard deviation of each image's shift along y and along x, angstrom.
    """

    min_deg: float = -60.0
    max_deg: float = 60.0
    step_deg: float = 2.0
    angles_deg: tuple[float, ...] | None = None
    order: Literal["linear", "bidirectional", "dose-symmetric"] = "bidirectional"
    start_deg: float = 0.0
    group: int = 0
    angle_error_deg: float = 0.0
    shift_a: float = 0.0

    def check(self) -> None:
        if self.angles_deg is None:
            if not (np.isfinite([self.min_deg, self.max_deg, self.step_deg]).all() and self.step_deg > 0):
                raise InputError(f"TiltScheme: from {self.min_deg} to {self.max_deg} by {self.step_deg} degrees.")
            if self.max_deg < self.min_deg:
                raise InputError(f"TiltScheme: max_deg {self.max_deg:g} is below min_deg {self.min_deg:g}.")
        for name in ("group", "angle_error_deg", "shift_a"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"TiltScheme.{name} is {getattr(self, name)}; it must be 0 or more.")
        angles = self.nominal_deg()
        if not (np.isfinite(angles).all() and len(angles) and np.abs(angles).max() <= 90):
            raise InputError(f"TiltScheme: tilt angles are {angles.tolist()}; use at least one, all from -90 to 90.")
        if len(np.unique(angles)) != len(angles):
            raise InputError(f"TiltScheme.angles_deg: an angle is there twice in {angles.tolist()}.")

    def nominal_deg(self) -> Floats:
        """The angles, rising."""
        if self.angles_deg is not None:
            return np.sort(np.asarray(self.angles_deg, float))
        count = int(np.floor((self.max_deg - self.min_deg) / self.step_deg + 1e-6)) + 1
        return np.asarray(self.min_deg + self.step_deg * np.arange(count), float)


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """One row per image, in stack order: by rising nominal angle.

    Parameters
    ----------
    nominal_deg
        (n,) float64: angles that the microscope reports; the reconstruction uses them.
    true_deg
        (n,) float64: actual angles of the specimen; the projection uses them.
    rank
        (n,) int32, from 0: place of the image in the order of acquisition.
    shift
        (n, 2) float64, angstrom, y, x: a feature at p in an aligned image is at p + shift in this one.
    """

    nominal_deg: Floats
    true_deg: Floats
    rank: NDArray[np.int32]
    shift: Floats

    def __len__(self) -> int:
        return len(self.nominal_deg)

    @property
    def sequence(self) -> NDArray[np.int64]:
        """(n,) rows in the order in which they were taken."""
        return np.argsort(self.rank)

    def to_table(self) -> Table:
        """Columns by name."""
        y, x = self.shift.T
        columns: Table = {"nominal_deg": self.nominal_deg, "true_deg": self.true_deg, "rank": self.rank}
        return columns | {"shift_y": np.ascontiguousarray(y), "shift_x": np.ascontiguousarray(x)}

    @classmethod
    def from_table(cls, table: Table) -> TiltSeries:
        """The inverse of :meth:`to_table`."""
        shift = np.stack([table["shift_y"], table["shift_x"]], axis=1)
        return cls(table["nominal_deg"], table["true_deg"], table["rank"], shift)


def tilt_series(scheme: TiltScheme, rng: np.random.Generator | None = None) -> TiltSeries:
    """The images of a scheme; ``rng`` is needed where the scheme has errors of angle or shift.

    Errors are normally distributed. As many numbers are drawn whatever their size, so that the shifts of a series stay
    when its angles gain an error.
    """
    nominal = scheme.nominal_deg()
    count = len(nominal)
    rank = np.empty(count, np.int32)
    rank[_sequence(nominal, scheme)] = np.arange(count)
    if rng is None:
        if scheme.angle_error_deg or scheme.shift_a:
            raise InputError("tilt_series: errors of angle or shift are drawn from a generator; pass rng.")
        return TiltSeries(nominal, nominal, rank, np.zeros((count, 2)))
    true = nominal + scheme.angle_error_deg * rng.standard_normal(count)
    return TiltSeries(nominal, true, rank, scheme.shift_a * rng.standard_normal((count, 2)))


def _sequence(nominal: Floats, scheme: TiltScheme) -> list[int]:
    """Rows in the order in which they are taken."""
    rows = list(range(len(nominal)))
    if scheme.order == "linear":
        return rows
    start = int(np.argmin(np.abs(nominal - scheme.start_deg)))
    up, down = rows[start + 1 :], rows[:start][::-1]
    if scheme.order == "bidirectional":
        return [start, *up, *down]
    taken, side = [start], 0
    turn = scheme.group or 1
    branches = [up, down]
    while up or down:
        here = branches[side]
        taken += here[:turn]
        del here[:turn]
        turn = scheme.group or 2  # Hagen's: one image above the start, from then on two before each crossing
        side = 1 - side
    return taken


def doses(
    series: TiltSeries, total: float, share: Literal["constant", "1/cos"] | tuple[float, ...] = "constant"
) -> Floats:
    """Dose of each image, e/A^2 on the plane across the beam, (n,) float64, in stack order.

    Parameters
    ----------
    series
        The images.
    total
        Of the whole series, e/A^2.
    share
        ``constant``; ``1/cos``: by the way through a slab at the nominal angle, for equal counts behind it; or one
        weight per image, in stack order.
    """
    if not (np.isfinite(total) and total >= 0):
        raise InputError(f"doses: a total of {total} e/A^2; it must be 0 or more.")
    if isinstance(share, str) and share == "1/cos":
        if np.abs(series.nominal_deg).max() > 89.5:
            raise InputError("doses: shares by 1/cos have no bound at 90 degrees; tilt to 89 at most, or use constant.")
        weight = 1 / np.cos(np.radians(series.nominal_deg))
    elif isinstance(share, str):
        if share != "constant":
            raise InputError(f"doses: share is {share!r}; it is constant, 1/cos, or one weight per image.")
        weight = np.ones(len(series))
    else:
        weight = np.asarray(share, float)
        if weight.shape != (len(series),):
            raise InputError(f"doses: {weight.size} weights for {len(series)} images.")
        if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.sum() > 0):
            raise InputError("doses: weights must be 0 or more, and not all 0.")
    dose: Floats = total * weight / weight.sum()
    return dose


def before(series: TiltSeries, dose: ArrayLike) -> Floats:
    """Dose accumulated before each image, (n,) float64, in stack order, in the unit of ``dose`` (n,)."""
    given = np.asarray(dose, float)
    if given.shape != (len(series),):
        raise InputError(f"before: {given.size} doses for {len(series)} images.")
    borne = np.empty_like(given)
    sequence = series.sequence
    borne[sequence] = np.cumsum(given[sequence]) - given[sequence]
    return borne


def shift_along_y(images: NDArray[np.float32], shift_vox: ArrayLike) -> NDArray[np.float32]:
    """Shift whole images along the tilt axis, which a projector of single slices cannot do.

    The phases of the Fourier transform along y are changed; beyond its edges an image is mirrored.

    Parameters
    ----------
    images
        (n, y, x) float32.
    shift_vox
        (n,) pixels: a feature at y moves to y + shift.

    Returns
    -------
    ndarray
        (n, y, x) float32.
    """
    from scipy import fft

    moves = np.asarray(shift_vox, float)
    if images.ndim != 3 or moves.shape != (len(images),):
        raise InputError(f"shift_along_y: images of shape {images.shape} and {moves.size} shifts; one per image.")
    moved = np.array(images, np.float32)
    rows = images.shape[1]
    frequency = np.fft.rfftfreq(2 * rows)
    for image, move in zip(moved, moves, strict=True):
        if move:
            spectrum = fft.rfft(np.concatenate([image, image[::-1]]), axis=0)
            phase = np.exp(-2j * np.pi * frequency * move)
            phase[-1] = phase[-1].real  # the highest frequency of a real signal is real
            spectrum *= phase.astype(np.complex64)[:, None]
            image[:] = fft.irfft(spectrum, 2 * rows, axis=0)[:rows]
    return moved
