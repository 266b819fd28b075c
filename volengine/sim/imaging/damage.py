"""Radiation damage: the effect of the accumulated dose on the image of the specimen.

The dose is summed in the order of acquisition, for any order of the tilts. The physical models reduce the high
frequencies of the projected potential: after the dose D the amplitude exp(-r(k) D) is left. An image is the mean of
what the electrons see from its first to its last, so its filter is the mean of that share over the exposure. The models
named after CryoTomoSim blur the image and add noise; they imitate data sets made by that program.

>>> import numpy as np
>>> from volengine.sim.imaging.optics import Damage
>>> point = np.zeros((9, 9), np.float32); point[4, 4] = 100
>>> first = damaged(point, 2.0, Damage(), doses=(0.0, 2.0))
>>> last = damaged(point, 2.0, Damage(), doses=(98.0, 2.0))
>>> round(float(first.max()), 1), round(float(last.max()), 1)
(93.2, 2.8)
"""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike

from volengine.core.errors import InputError
from volengine.sim.imaging.fourier import Floats, Image, Plane, checked_image, checked_voxel
from volengine.sim.imaging.optics import Damage

WEIGHT_V_A3 = (2.5088 + 1.3 * 0.5288) * 47.878 / 7.3
"""Integrated potential, V A^3, of one unit of CryoTomoSim's weights (atomic number plus bound hydrogens). It is derived
from carbon: Peng's amplitudes of a carbon and its 1.3 hydrogens, for a weight of 7.3."""


VOLTAGES_KV, VOLTAGE_FACTORS = (100.0, 200.0, 300.0), (0.532, 0.8, 1.0)
"""Critical doses at these voltages, relative to that at 300 kV: 0.8 after Grant and Grigorieff ("about 25 %" faster at
200 kV), 0.532 as cisTEM has it."""


def critical_dose(k: ArrayLike, voltage_kv: float = 300.0) -> Floats:
    """The critical dose, at which the amplitude has fallen to exp(-1/2): 0.245 k^-1.665 + 2.81.

    Measured by Grant and Grigorieff 2015, eLife 4, e06980, at 300 kV, from 22 to 3.8 A; coarser details are
    extrapolated. It is scaled by :data:`VOLTAGE_FACTORS`, linearly between the voltages; beyond them in proportion to
    the square of the electrons' speed.

    Parameters
    ----------
    k
        Frequencies, 1/A, of any shape.
    voltage_kv
        Acceleration voltage, kilovolt.

    Returns
    -------
    float64, e/A^2, of the shape of ``k``; infinite at frequency 0.

    Examples
    --------
    >>> float(critical_dose(1 / 20).round(1)), float(critical_dose(1 / 20, 200).round(1))
    (38.7, 31.0)
    """
    frequency = np.asarray(k, float)
    with np.errstate(divide="ignore"):
        at_300: Floats = 0.245 * frequency**-1.665 + 2.81
    return at_300 * voltage_factor(voltage_kv)


def voltage_factor(voltage_kv: float) -> float:
    """Critical dose at a voltage (kilovolt), relative to that at 300 kV."""
    near = min(max(voltage_kv, VOLTAGES_KV[0]), VOLTAGES_KV[-1])
    return float(np.interp(near, VOLTAGES_KV, VOLTAGE_FACTORS)) * _speed2(voltage_kv) / _speed2(near)


def _speed2(voltage_kv: float) -> float:
    """Squared speed of the electrons, relative to that of light."""
    return 1 - (1 + voltage_kv / 510.99895) ** -2


def fading(k2: ArrayLike, damage: Damage, voltage_kv: float = 300.0) -> Floats:
    """The rate r(k) of the decay exp(-r(k) dose) of amplitudes, A^2 per electron.

    ``critical-dose``: 1 / (2 critical dose). ``b-factor``: B k^2 / 4, with B per dose
    (:attr:`~volengine.sim.imaging.optics.Damage.b_a2_per_dose`). Other models: 0. The parameters are those of
    :func:`damage_filter`.

    Returns
    -------
    float64, of the shape of ``k2``; 0 at frequency 0.
    """
    squared = np.asarray(k2, float)
    rate: Floats = np.zeros_like(squared)
    if damage.model == "b-factor":
        rate = damage.b_a2_per_dose / 4 * squared
    elif damage.model == "critical-dose":
        rate = 1 / (2 * critical_dose(np.sqrt(squared), voltage_kv))
    return damage.strength * rate


def damage_filter(k2: ArrayLike, damage: Damage, dose_e_per_a2: float, voltage_kv: float = 300.0) -> Floats:
    """The share of the amplitude that is left after a dose.

    ``critical-dose``: exp(-dose / (2 critical dose)). ``b-factor``: exp(-B k^2 / 4). Other models: 1.

    Parameters
    ----------
    k2
        Squared frequencies, 1/A^2, of any shape.
    damage
        The model; its ``strength`` multiplies the dose.
    dose_e_per_a2
        Accumulated dose, e/A^2.
    voltage_kv
        Acceleration voltage, kilovolt; used by ``critical-dose``.

    Returns
    -------
    float64, 0 to 1, of the shape of ``k2``; 1 at frequency 0.

    Examples
    --------
    >>> from volengine.sim.imaging.optics import Damage
    >>> float(damage_filter(1 / 20**2, Damage(), 118).round(2))
    0.22
    """
    left: Floats = np.exp(-dose_e_per_a2 * fading(k2, damage, voltage_kv))
    return left


def exposure_filter(k2: ArrayLike, damage: Damage, doses: tuple[float, float], voltage_kv: float = 300.0) -> Floats:
    """The share of the amplitude that an image holds: the mean of :func:`damage_filter` over its exposure.

    The mean of exp(-r D) for doses D from ``before`` to ``before + own`` is exp(-r before) (1 - exp(-r own)) / (r own).

    Parameters
    ----------
    k2, damage, voltage_kv
        As for :func:`damage_filter`.
    doses
        Dose that the specimen received before the image, and dose of the image, e/A^2.

    Returns
    -------
    float64, 0 to 1, of the shape of ``k2``; 1 at frequency 0.
    """
    before, own = doses
    rate = fading(k2, damage, voltage_kv)
    during = rate * own
    mean = np.ones_like(during)
    np.divide(-np.expm1(-during), during, out=mean, where=during > 1e-12)
    share: Floats = np.exp(-rate * before) * mean
    return share


def damaged(
    projected: ArrayLike,
    voxel_a: float,
    damage: Damage,
    doses: tuple[float, float],
    rng: np.random.Generator | None = None,
    voltage_kv: float = 300.0,
) -> Image:
    """Apply radiation damage to the projected potential of one image.

    ``critical-dose`` and ``b-factor`` use the mean over the exposure (:func:`exposure_filter`); ``cts`` and ``cts2023``
    use the dose up to its end.

    Parameters
    ----------
    projected
        (y, x), V A, in excess of ice; it is taken to be 0 beyond the image.
    voxel_a
        Pixel size, angstrom.
    damage
        The model.
    doses
        Dose that the specimen received before this image, and dose of this image, e/A^2.
    rng
        Random generator for the noise of ``cts`` and ``cts2023``; other models draw no random numbers.
    voltage_kv
        Acceleration voltage, kilovolt; used by ``critical-dose``.

    Returns
    -------
    array
        (y, x) float32, V A. ``critical-dose`` and ``b-factor`` keep the sum, except for what is spread beyond the
        image.

    Raises
    ------
    InputError
        The image has values that are not finite, or is not (y, x); a dose is negative; the voxel size is not positive;
        a model with noise has no ``rng``.
    """
    image = checked_image(projected, "The projection")
    checked_voxel(voxel_a)
    for dose in doses:
        if not (math.isfinite(dose) and dose >= 0):
            raise InputError(f"A dose is {dose:g} e/A^2; it must be 0 or more.")
    before, own = doses
    if damage.model == "none" or damage.strength * (before + own) == 0:
        return image
    if damage.model in ("b-factor", "critical-dose"):
        plane = Plane((image.shape[0], image.shape[1]), voxel_a, pad_vox=32)
        return plane.filtered(image, exposure_filter(plane.k2, damage, doses, voltage_kv))
    if rng is None:
        raise InputError(f"Damage {damage.model!r} adds noise; it needs a random generator.")
    after = before + own
    return (
        _cts(image, voxel_a, damage, after, rng)
        if damage.model == "cts"
        else _cts2023(image, damage, after, rng, voxel_a)
    )


def dose_weighted(image: ArrayLike, voxel_a: float, doses: tuple[float, float], voltage_kv: float = 300.0) -> Image:
    """Weight the frequencies of an image by what is left of them: :func:`exposure_filter` of the critical dose.

    Grant and Grigorieff 2015 weight the frames of a movie so; programs that reconstruct tomograms weight the images of
    a tilt series. The weights are not divided by their mean over the series, so fine details, of which all images keep
    little, fade, and noise with them.

    Parameters
    ----------
    image
        (y, x), contrast; it is taken to be 0 beyond its sides.
    voxel_a
        Pixel size, angstrom.
    doses, voltage_kv
        As for :func:`exposure_filter`.

    Returns
    -------
    (y, x) float32; its mean is kept, except for what is spread beyond its sides.
    """
    given = checked_image(image)
    plane = Plane((given.shape[0], given.shape[1]), checked_voxel(voxel_a), pad_vox=32)
    return plane.filtered(given, exposure_filter(plane.k2, Damage(), doses, voltage_kv))


def _cts(image: Image, voxel_a: float, damage: Damage, dose: float, rng: np.random.Generator) -> Image:
    """An imitation of CryoTomoSim 0.7: with q = 0.02 strength dose, a blur of q / 10 pixels, a loss of up to half of
    the amplitude, and noise of 5 q units per angstrom of pixel size. The dose is that up to the end of the image."""
    q = 0.02 * damage.strength * dose
    blurred = scipy.ndimage.gaussian_filter(image, q / 10, mode="constant")
    faded = blurred * np.float32(1 - (1 - math.exp(-dose * voxel_a / 800)) / 2)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(5 * voxel_a * q * WEIGHT_V_A3 / voxel_a**2)
    made: Image = faded + noise
    return made


def _cts2023(image: Image, damage: Damage, dose: float, rng: np.random.Generator, voxel_a: float) -> Image:
    """An imitation of CryoTomoSim in 2023: a blur of sqrt(0.001 strength dose) pixels within 3 x 3 pixels, and noise of
    0.01 strength dose units, which grows to 1 + sqrt(pixel size) times that where there is most mass."""
    share = 0.01 * damage.strength * dose
    blurred = scipy.ndimage.gaussian_filter(image, math.sqrt(share * 0.1), mode="constant", radius=1)
    low, high = float(blurred.min()), float(blurred.max())
    mass = (blurred - np.float32(low)) * np.float32(math.sqrt(voxel_a) / (high - low) if high > low else 0)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(share * WEIGHT_V_A3 / voxel_a**2)
    made: Image = blurred + noise * (1 + mass)
    return made
