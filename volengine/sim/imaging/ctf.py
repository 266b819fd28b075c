"""The contrast transfer function (CTF), for untilted and tilted images.

A thin specimen with the projected potential v (V A) has the image I = 1 - 2 s (v * h): s is the interaction constant,
* the convolution, and h the kernel whose spectrum is sin(chi + a), with chi = pi lambda D k^2 - pi/2 Cs lambda^3 k^4 +
(phase plate), the underfocus D and a = arcsin(amplitude contrast). At frequencies where the CTF is positive, potential
is dark. (Reimer and Kohl, Transmission Electron Microscopy, chapter 6; Rohou and Grigorieff 2015, J. Struct. Biol. 192,
216, equations 2 to 5.)

In an image that is tilted about y, the underfocus changes along x: D(x) = D + (x - centre) tan(tilt), with x as a
length. The sign means that larger z is nearer to the electron source. :func:`apply_ctf` spreads every point of the
specimen with the kernel of its own underfocus. :func:`phase_flip` corrects the signs with the underfocus of every pixel
of the result. Both blend a few images, each filtered with one underfocus, by weights that are continuous along x. Other
programs use overlapping strips instead; blending leaves no seams and works for every width.

>>> import numpy as np
>>> from volengine.sim.imaging.optics import Optics
>>> optics = Optics(defocus_um=3, cs_mm=0, amplitude_contrast=0)
>>> zero = 1 / np.sqrt(wavelength_a(300) * 30_000)  # at the first zero, lambda D k^2 = 1
>>> round(float(1 / zero), 1)  # angstrom
24.3
>>> bool(np.abs(ctf(zero, optics)) < 1e-9)
True
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from volengine.core.errors import InputError
from volengine.sim.imaging.fourier import Floats, Image, Plane, checked_image, checked_voxel
from volengine.sim.imaging.optics import Optics

REST_EV = 510998.95
"""Rest energy of the electron, eV."""
HC_EV_A = 12398.419843
"""Planck's constant times the speed of light, eV A."""
MAX_TILT_DEG = 89.9
"""Larger tilts are refused, because the defocus along x grows with the tangent of the tilt."""
BLEND_ERROR = 1e-3
"""Largest error of the blended CTF (range -1 to 1), over all frequencies and positions in the image."""
FLIP_STEP = 0.25
"""Phase step, radians at the image's highest frequency, between the underfocuses that :func:`phase_flip` blends."""


def wavelength_a(voltage_kv: float) -> float:
    """Relativistic electron wavelength, angstrom: h c / sqrt(E (2 m c^2 + E)).

    >>> round(wavelength_a(300), 6)
    0.019687
    """
    energy = 1e3 * voltage_kv
    return HC_EV_A / math.sqrt(energy * (2 * REST_EV + energy))


def interaction_constant(voltage_kv: float) -> float:
    """Phase shift, radians, per V A of projected potential: 2 pi (m c^2 + E) / (lambda E (2 m c^2 + E)).

    >>> round(interaction_constant(300), 8)
    0.00065262
    """
    energy = 1e3 * voltage_kv
    return 2 * math.pi * (REST_EV + energy) / (wavelength_a(voltage_kv) * energy * (2 * REST_EV + energy))


def phase(k2: ArrayLike, optics: Optics, defocus_um: float | None = None) -> Floats:
    """The argument chi + a of the CTF's sine.

    Parameters
    ----------
    k2
        Squared frequencies, 1/A^2, of any shape.
    optics
        The lens.
    defocus_um
        Underfocus, micrometre; default: that of ``optics``.

    Returns
    -------
    float64, radians, of the shape of ``k2``.
    """
    squared = np.asarray(k2, float)
    quadratic, quartic, constant = _coefficients(optics, defocus_um)
    angle: Floats = constant + squared * (quadratic - quartic * squared)
    return angle


def _coefficients(optics: Optics, defocus_um: float | None) -> tuple[float, float, float]:
    """Coefficients of k^2, of -k^4, and the constant, in the phase."""
    defocus_a = 1e4 * (optics.defocus_um if defocus_um is None else defocus_um)
    wave = wavelength_a(optics.voltage_kv)
    constant = math.radians(optics.phase_shift_deg) + math.asin(optics.amplitude_contrast)
    return math.pi * wave * defocus_a, math.pi / 2 * optics.cs_mm * 1e7 * wave**3, constant


def ctf(k: ArrayLike, optics: Optics, defocus_um: float | None = None) -> Floats:
    """The contrast transfer function without envelope.

    Parameters
    ----------
    k
        Frequencies, 1/A, of any shape.
    optics
        The lens.
    defocus_um
        Underfocus, micrometre; default: that of ``optics``.

    Returns
    -------
    float64, -1 to 1, of the shape of ``k``; positive at frequencies where potential is dark.
    """
    values: Floats = np.sin(phase(np.square(np.asarray(k, float)), optics, defocus_um))
    return values


def envelope(k: ArrayLike, optics: Optics, voxel_a: float) -> Floats:
    """The product of the envelopes of ``optics``, 0 to 1, at frequencies k (1/A, any shape); pixel size in angstrom."""
    return _envelope(np.square(np.asarray(k, float)), optics, voxel_a)


def _envelope(k2: Floats, optics: Optics, voxel_a: float) -> Floats:
    rate = optics.b_factor_a2 / 4
    if optics.envelope:
        rate += (2 * voxel_a / optics.envelope) ** 2
    values: Floats = np.exp(-rate * k2)
    return values


# -- tilted images -----------------------------------------------------------------------------------------


def checked_tilt(tilt_deg: float) -> float:
    """Return a tilt (degrees) as float; raise :class:`InputError` beyond ``MAX_TILT_DEG``."""
    if not (math.isfinite(tilt_deg) and abs(tilt_deg) <= MAX_TILT_DEG):
        raise InputError(f"The tilt is {tilt_deg:g} degrees; images are made from -{MAX_TILT_DEG} to {MAX_TILT_DEG}.")
    return float(tilt_deg)


def defocus_along_x(width: int, voxel_a: float, defocus_um: float, tilt_deg: float) -> Floats:
    """The underfocus of every column of an image that is tilted about y.

    Parameters
    ----------
    width
        Number of columns; the tilt axis is at (width - 1) / 2.
    voxel_a
        Pixel size, angstrom.
    defocus_um
        Underfocus at the tilt axis, micrometre.
    tilt_deg
        Tilt, from -89.9 to 89.9 degrees.

    Returns
    -------
    (width,) float64, micrometre.
    """
    offset: Floats = (np.arange(width, dtype=np.float64) - (width - 1) / 2) * (voxel_a * 1e-4)
    columns: Floats = defocus_um + offset * math.tan(math.radians(checked_tilt(tilt_deg)))
    return columns


def _swing(plane: Plane, optics: Optics, columns: Floats) -> float:
    """Difference of the phase, radians, between the two sides of the image, at the highest frequency of the plane."""
    k2_max = 2 * (0.5 / plane.voxel_a) ** 2
    return math.pi * wavelength_a(optics.voltage_kv) * 1e4 * float(np.ptp(columns)) * k2_max


def _plane(image: Image, voxel_a: float, optics: Optics, columns: Floats) -> Plane:
    """A plane whose padding holds the kernels: the lens displaces frequency k by lambda D k - Cs lambda^3 k^3.

    The padding is twice the displacement at the highest frequency, plus 32 pixels, because a kernel that is cut off at
    Nyquist falls only with the square of the distance. The image of white noise of variance 1 differed from a sum over
    points with much more padding by at most 0.003 with the default envelope, and by 0.014 without envelope.
    """
    wave, nyquist = wavelength_a(optics.voltage_kv), 0.5 / voxel_a
    spread = 1e4 * float(np.abs(columns).max()) + optics.cs_mm * 1e7 * wave**2 * 2 * nyquist**2
    reach = wave * nyquist * spread / voxel_a
    shape = (image.shape[0], image.shape[1])
    return Plane(shape, voxel_a, pad_vox=math.ceil(2 * reach) + 32)


def _smooth_blend(columns: Floats, swing: float) -> Iterator[tuple[float, Floats]]:
    """Yield underfocuses at Chebyshev points, and their weights (width,): Lagrange's polynomials.

    The interpolation of sin(c + A t), t from -1 to 1, from n points has an error of at most A^n / (2^(n - 1) n!).
    """
    middle, half = float(columns[0] + columns[-1]) / 2, float(columns[-1] - columns[0]) / 2
    count, bound = 1, swing / 2
    while bound > BLEND_ERROR:
        count += 1
        bound *= swing / (4 * count)
    if count == 1:
        yield middle, np.ones(len(columns))
        return
    angle = (np.arange(count) + 0.5) * math.pi / count
    nodes, barycentric = np.cos(angle), np.sin(angle) * (1 - 2 * (np.arange(count) % 2))
    away: Floats = (columns - middle)[:, None] / half - nodes
    exact = away == 0
    share = barycentric / np.where(exact, 1.0, away)
    share = np.where(exact.any(1, keepdims=True), exact, share / share.sum(1, keepdims=True))
    for i, node in enumerate(nodes):
        yield middle + half * float(node), share[:, i]


def _straight_blend(columns: Floats, swing: float) -> Iterator[tuple[float, Floats]]:
    """Yield evenly spaced underfocuses, and their weights (width,): hat functions, because signs have jumps."""
    count = 1 + math.ceil(swing / FLIP_STEP)
    if count == 1:
        yield float(columns[0]), np.ones(len(columns))
        return
    at = np.linspace(0, count - 1, len(columns))
    for i, node in enumerate(np.linspace(columns[0], columns[-1], count)):
        yield float(node), np.clip(1 - np.abs(at - i), 0, 1)


def apply_ctf(image: ArrayLike, voxel_a: float, optics: Optics, tilt_deg: float = 0.0) -> Image:
    """Convolve an object with the kernel of the lens; every column has its own underfocus.

    Parameters
    ----------
    image
        (y, x), real, any unit: the object; it is taken to be 0 beyond the image.
    voxel_a
        Pixel size, angstrom.
    optics
        The lens. Its envelopes are applied as well.
    tilt_deg
        Tilt about y, from -89.9 to 89.9 degrees.

    Returns
    -------
    array
        (y, x) float32, the unit of the image. At every frequency the applied CTF differs from that of the exact
        underfocus by at most ``BLEND_ERROR`` times the envelope.

    Raises
    ------
    InputError
        The image has values that are not finite, or is not (y, x); the voxel size is not positive; the tilt is beyond
        89.9 degrees.
    """
    array = checked_image(image)
    columns = defocus_along_x(array.shape[1], checked_voxel(voxel_a), optics.defocus_um, tilt_deg)
    plane = _plane(array, voxel_a, optics, columns)
    waves = None
    for defocus, weight in _smooth_blend(columns, _swing(plane, optics, columns)):
        part = plane.forward(array * weight.astype(np.float32))
        part *= plane.whole(np.sin(phase(plane.k2, optics, defocus)) * _envelope(plane.k2, optics, voxel_a))
        waves = part if waves is None else waves + part
    assert waves is not None  # there is always one underfocus
    return plane.inverse(waves)


def phase_flip(image: ArrayLike, voxel_a: float, optics: Optics, tilt_deg: float = 0.0) -> Image:
    """Correct the signs of an image's CTF (phase flipping); every column has its own underfocus.

    Parameters
    ----------
    image
        (y, x), real; beyond the image its mean is assumed.
    voxel_a, optics, tilt_deg
        As in :func:`apply_ctf`; the result is not divided by the envelopes.

    Returns
    -------
    array
        (y, x) float32. Potential is dark at all frequencies. Without a phase plate the mean is kept; with one, its sign
        is changed if the CTF is negative at frequency 0. Frequencies whose phase is within about ``FLIP_STEP`` of a
        zero of the CTF may be attenuated instead of flipped.

    Raises
    ------
    InputError
        As in :func:`apply_ctf`.
    """
    array = checked_image(image)
    columns = defocus_along_x(array.shape[1], checked_voxel(voxel_a), optics.defocus_um, tilt_deg)
    plane = _plane(array, voxel_a, optics, columns)
    mean = np.float32(array.mean(dtype=float))
    waves = plane.forward(array - mean)
    flipped = np.zeros_like(array)
    for defocus, weight in _straight_blend(columns, _swing(plane, optics, columns)):
        sign = np.where(np.sin(phase(plane.k2, optics, defocus)) < 0, -1.0, 1.0)
        flipped += weight.astype(np.float32) * plane.inverse(waves * plane.whole(sign))
    return flipped + mean * np.float32(-1 if ctf(0.0, optics) < 0 else 1)
