"""Amplitude spectra: the mean amplitude in shells of equal frequency, and the gain that turns one into another.

The amplitude of a frequency is |F(k)| / sqrt(number of voxels), F the discrete Fourier transform: so white noise of the
standard deviation s has the amplitude 0.886 s in volumes of any size, and spectra of different volumes can be compared.
Shell i holds the frequencies from (i - 1/2) to (i + 1/2) times the step 1 / (longest side, angstrom); the mean alone is
shell 0. Shells go on to the corner of the spectrum, and are spheres for any shape and voxel size.

Sums are sums of whole numbers: an amplitude is first rounded to a multiple of a *quantum*, a power of two that follows
from the volume's mean square. So they do not depend on the order in which parts of a spectrum are added.

With *sectors* the own spectrum is measured apart for ranges of the tilt at which a frequency was measured, because
noise and transfer depend on it (high tilts are thicker); the gain is then anisotropic. With a range of tilts only what
was measured counts, so that the empty wedge does not lower the mean.

>>> target = Curve.of([0.01, 0.02, 0.03], [4.0, 2.0, 1.0])
>>> own = Curve.of([0.01, 0.02, 0.03], [2.0, 2.0, 2.0])
>>> matching_gain(np.array([0.0, 0.01, 0.025, 0.03]), np.zeros(4), own, target, 50.0).round(3).tolist()
[1.0, 2.0, 0.75, 0.5]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.ops.filters.transforms import Columns, SpectralGrid
from volengine.ops.filters.wedge import TiltAxis, tilt_of, wedge_mask

Floats = NDArray[np.float64]

BITS = 24
"""Amplitudes of the size of the volume's root mean square are rounded to this many bits."""
EMPTY = 1e-6
"""A shell whose amplitude is below this share of the largest one (without the mean) is taken to be empty."""
ROLL_OFF = 0.1
"""Where the target ends below the volume's highest frequency, the gain falls to 0 over this share of its end."""


@dataclass(frozen=True)
class Curve:
    """An amplitude spectrum.

    Parameters
    ----------
    frequency
        (n,) 1/angstrom, rising, without 0.
    amplitude
        (n,), or (n, sectors).
    span
        With sectors: they divide the tilts from 0 to this angle, degrees.
    """

    frequency: Floats
    amplitude: Floats
    span: float = 90.0

    @classmethod
    def of(cls, frequency: Sequence[float], amplitude: Sequence[float]) -> Self:
        """Make a curve of two columns.

        Raises
        ------
        InputError
            There are fewer than two frequencies, they do not rise, or a value is negative or not finite.
        """
        f, a = np.asarray(frequency, np.float64), np.asarray(amplitude, np.float64)
        if f.shape != a.shape or f.ndim != 1 or len(f) < 2:
            raise InputError(f"A spectrum has two columns of at least two rows; found are {f.shape} and {a.shape}.")
        if not (np.isfinite(f).all() and np.isfinite(a).all() and f[0] > 0 and (np.diff(f) > 0).all()):
            raise InputError("The frequencies of a spectrum are above 0 and rise, and all of its values are finite.")
        if (a < 0).any() or not a.any():
            raise InputError("The amplitudes of a spectrum are not negative, and not all of them are 0.")
        return cls(f, a)

    @classmethod
    def from_table(cls, table: Mapping[str, NDArray[Any]]) -> Self:
        """Make a curve of the table that :func:`finished` makes."""
        return cls(table["frequency"], table["amplitude"], float(table["span"][0]))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make a curve of JSON values."""
        return cls.of(data["frequency"], data["amplitude"])

    def to_json(self) -> dict[str, Any]:
        """Return the two columns as JSON values."""
        return {"frequency": self.frequency.tolist(), "amplitude": self.amplitude.tolist()}


@dataclass(frozen=True)
class Shells:
    """The shells of a spectrum, and its sectors.

    Parameters
    ----------
    grid
        The grids of the transform; shells are those of the one that is written.
    sectors, span
        Number of sectors, and the tilt up to which they reach, degrees.
    tilts
        Lowest and highest tilt that was measured; ``None``: everything counts.
    axis
        Direction of the tilt axis.
    """

    grid: SpectralGrid
    sectors: int = 1
    span: float = 90.0
    tilts: tuple[float, float] | None = None
    axis: TiltAxis = "y"

    @property
    def step(self) -> float:
        """Width of a shell, 1/angstrom."""
        return 1 / max(n * v for n, v in zip(self.grid.shape, self.grid.voxel_size, strict=True))

    @property
    def count(self) -> int:
        """Number of shells with the mean's own."""
        sides = [n * v for n, v in zip(self.grid.shape, self.grid.voxel_size, strict=True)]
        highest = [
            min(n, m) // 2 / side for n, m, side in zip(self.grid.shape, self.grid.out_shape, sides, strict=True)
        ]
        return math.floor(math.sqrt(sum(f * f for f in highest)) / self.step + 0.5) + 1

    def add(self, sums: NDArray[np.int64], counts: NDArray[np.int64], columns: Columns, wave: Any, unit: float) -> None:
        """Add the amplitudes of one row of columns.

        Parameters
        ----------
        sums, counts
            (shells, sectors) int64, changed in place: sums of amplitudes in quanta, and numbers of frequencies.
        columns
            Columns with one frequency along y.
        wave
            Their transform, complex64 (z, x).
        unit
            The amplitude of one quantum, in the units of ``wave``.
        """
        fz, fy, fx = columns.fz[:, None], np.full((1, 1), columns.fy[0]), columns.fx[None, :]
        shell = np.floor(np.sqrt(fz * fz + fy * fy + fx * fx) / self.step + 0.5).astype(np.int64)
        last = self.grid.out_shape[2] // 2 if self.grid.out_shape[2] % 2 == 0 else -1
        weight = np.where((columns.kx == 0) | (columns.kx == last), 1, 2)  # both signs along x
        weight = np.broadcast_to(weight, shell.shape)
        amplitude = np.rint(np.abs(wave).astype(np.float64) / unit)
        if self.sectors > 1:
            tilt = tilt_of(fz, fy, fx, self.axis)
            sector = np.minimum(np.floor(tilt / self.span * self.sectors), self.sectors - 1).astype(np.int64)
            shell = shell * self.sectors + np.broadcast_to(sector, shell.shape)
        at, size = shell.ravel(), sums.size
        if self.tilts is not None:
            seen = np.broadcast_to(wedge_mask(fz, fy, fx, self.tilts, self.axis, 0.0) > 0, shell.shape).ravel()
            at, weight, amplitude = at[seen], weight.ravel()[seen], amplitude.ravel()[seen]
        weights = weight.ravel()
        found = np.bincount(at, amplitude.ravel() * weights, size)
        if found.max(initial=0) > 2.0**52:
            raise InputError("The spectrum has amplitudes far above the volume's own; lower the strength before it.")
        sums += found.astype(np.int64).reshape(sums.shape)
        counts += np.bincount(at, weights, size).astype(np.int64).reshape(counts.shape)


def quantum(mean_square: float) -> float:
    """The amplitude to whose multiples amplitudes are rounded, for voxels of this mean square.

    >>> quantum(1.0) == 2.0**-24, quantum(0.0)
    (True, 1.0)
    """
    if not mean_square > 0:
        return 1.0
    return 2.0 ** (math.floor(math.log2(mean_square) / 2) - BITS)


def finished(sums: Any, counts: Any, shells: Shells, unit: float) -> dict[str, NDArray[Any]]:
    """Turn sums into the table of a spectrum, without the shell of the mean.

    Parameters
    ----------
    sums, counts
        (shells, sectors) whole numbers.
    shells
        The shells.
    unit
        Amplitude of a quantum, per sqrt(number of voxels).

    Returns
    -------
    dict
        ``frequency`` (n,), ``amplitude`` (n, sectors), ``count`` (n, sectors) and ``span`` (1,). A sector without
        frequency has the mean of its shell; shells without any are left out.
    """
    whole = np.asarray(counts)[1:].sum(axis=1)
    kept = whole > 0
    total, number = np.asarray(sums, np.float64)[1:][kept], np.asarray(counts)[1:][kept]
    mean = total.sum(axis=1, keepdims=True) / number.sum(axis=1, keepdims=True)
    amplitude = np.where(number > 0, total / np.maximum(number, 1), mean) * unit
    frequency = (np.flatnonzero(kept) + 1) * shells.step
    return {"frequency": frequency, "amplitude": amplitude, "count": number, "span": np.array([shells.span])}


def matching_gain(f: Floats, tilt: Floats, own: Curve, target: Curve, most: float) -> Floats:
    """The gain target / own.

    Both are interpolated linearly between frequencies, and the own one between the middles of sectors; below the first
    and beyond the last frequency they are constant. Where the target ends below the own spectrum, nothing is known, so
    the gain falls to 0 over the last :data:`ROLL_OFF` of it. Empty shells (:data:`EMPTY`) stay empty.

    Parameters
    ----------
    f, tilt
        Frequencies, 1/angstrom, and the tilts at which they were measured, degrees, of one shape.
    own, target
        The spectra.
    most
        Gains above so many times the median over the own shells are lowered to it.

    Returns
    -------
    float64 of the shape of ``f``; 1 at frequency 0, so the mean is kept.
    """
    own_at = own.amplitude.reshape(len(own.frequency), -1)
    wanted = np.interp(own.frequency, target.frequency, target.amplitude)[:, None]
    empty = own_at <= EMPTY * own_at.max()
    ratio = np.where(empty, 0.0, wanted / np.where(empty, 1.0, own_at))
    full = ratio[~empty & (own.frequency <= target.frequency[-1])[:, None]]
    limit = most * float(np.median(full)) if full.size else math.inf
    present = np.interp(f, own.frequency, own_at[:, 0]) if own_at.shape[1] == 1 else _sectors(f, tilt, own, own_at)
    hole = present <= EMPTY * own_at.max()
    gain = np.interp(f, target.frequency, target.amplitude) / np.where(hole, 1.0, present)
    gain = np.where(hole, 0.0, np.minimum(gain, limit))
    end = target.frequency[-1]
    if end < own.frequency[-1] * (1 - 1e-9):
        gain = gain * (0.5 + 0.5 * np.cos(math.pi * np.clip((f / end - 1) / ROLL_OFF + 1, 0.0, 1.0)))
    return np.where(f == 0, 1.0, gain)


def _sectors(f: Floats, tilt: Floats, own: Curve, amplitude: Floats) -> Floats:
    """The own amplitude, interpolated along the frequency and between sectors."""
    n = amplitude.shape[1]
    place = np.clip(np.broadcast_to(tilt, f.shape) / own.span * n - 0.5, 0, n - 1)
    low = np.minimum(np.floor(place).astype(np.int64), n - 2)
    share = place - low
    each = np.stack([np.interp(f, own.frequency, amplitude[:, k]) for k in range(n)])
    first = np.take_along_axis(each, low[None], axis=0)[0]
    second = np.take_along_axis(each, low[None] + 1, axis=0)[0]
    found: Floats = first * (1 - share) + second * share
    return found
