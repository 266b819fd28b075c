"""The contrast transfer function, in flat and in tilted images.

A thin specimen of projected potential v (V A) makes the image I = 1 - 2 s (v * h), where s is the interaction constant
and h the kernel whose spectrum is sin(chi + a): chi = pi lambda D k^2 - pi/2 Cs lambda^3 k^4 + (phase plate), D the
underfocus, a = arcsin(amplitude contrast). Potential is dark where the function is positive. (Reimer and Kohl,
Transmission Electron Microscopy, chapter 6; Rohou and Grigorieff 2015, J. Struct. Biol. 192, 216, equations 2 to 5.)

In an image tilted about y, the underfocus goes along x: D(x) = D + (x - centre) tan(tilt), a length; that is, larger z
lies nearer to the electron source. :func:`apply_ctf` spreads every point of the specimen with the kernel of its own
underfocus; :func:`phase_flip` undoes the signs with the underfocus of every pixel of the result. Both blend a few
plainly filtered images whose weights are smooth along x, so there are no strips, hence no seams, and any width will do.
They take the place of the overlapping strips of other programs; there is no preset for those.

>>> import numpy as np
>>> from volengine.sim.imaging.optics import Optics
>>> optics = Optics(defocus_um=3, cs_mm=0, amplitude_contrast=0)
>>> zero = 1 / np.sqrt(wavelength_a(300) * 30_000)  # the first zero lies where lambda D k^2 = 1
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
"""Larger tilts are refused: the tangent of 90 degrees is no defocus."""
BLEND_ERROR = 1e-3
"""Largest error of the blended CTF at any frequency of the image and any place, where the CTF's range is -1 to 1."""
FLIP_STEP = 0.25
"""Radians at the highest frequency of the image between two underfocuses that :func:`phase_flip` blends."""


def wavelength_a(voltage_kv: float) -> float:
    """Relativistic electron wavelength, angstrom: h c / sqrt(E (2 m c^2 + E)).

    >>> round(wavelength_a(300), 6)
    0.019687
    """
    energy = 1e3 * voltage_kv
    return HC_EV_A / math.sqrt(energy * (2 * REST_EV + energy))


def interaction_constant(voltage_kv: float) -> float:
    """Radians of phase per V A of projected potential: 2 pi (m c^2 + E) / (lambda E (2 m c^2 + E)).

    >>> round(interaction_constant(300), 8)
    0.00065262
    """
    energy = 1e3 * voltage_kv
    return 2 * math.pi * (REST_EV + energy) / (wavelength_a(voltage_kv) * energy * (2 * REST_EV + energy))


def phase(k2: ArrayLike, optics: Optics, defocus_um: float | None = None) -> Floats:
    """The argument chi + a of the sine, radians, for squared frequencies (any shape) in 1/A^2."""
    squared = np.asarray(k2, float)
    quadratic, quartic, constant = _coefficients(optics, defocus_um)
    angle: Floats = constant + squared * (quadratic - quartic * squared)
    return angle


def _coefficients(optics: Optics, defocus_um: float | None) -> tuple[float, float, float]:
    """Those of k^2, -k^4 and 1 in the phase."""
    defocus_a = 1e4 * (optics.defocus_um if defocus_um is None else defocus_um)
    wave = wavelength_a(optics.voltage_kv)
    constant = math.radians(optics.phase_shift_deg) + math.asin(optics.amplitude_contrast)
    return math.pi * wave * defocus_a, math.pi / 2 * optics.cs_mm * 1e7 * wave**3, constant


def ctf(k: ArrayLike, optics: Optics, defocus_um: float | None = None) -> Floats:
    """The contrast transfer function without envelope, -1 to 1: positive where potential is dark.

    Parameters
    ----------
    k
        Frequency, 1/A, any shape.
    optics
        The lens.
    defocus_um
        Instead of the one in ``optics``.
    """
    values: Floats = np.sin(phase(np.square(np.asarray(k, float)), optics, defocus_um))
    return values


def envelope(k: ArrayLike, optics: Optics, voxel_a: float) -> Floats:
    """The envelopes of ``optics`` multiplied, 0 to 1, at frequencies k (1/A, any shape)."""
    return _envelope(np.square(np.asarray(k, float)), optics, voxel_a)


def _envelope(k2: Floats, optics: Optics, voxel_a: float) -> Floats:
    rate = optics.b_factor_a2 / 4
    if optics.envelope:
        rate += (2 * voxel_a / optics.envelope) ** 2
    values: Floats = np.exp(-rate * k2)
    return values


# -- tilted images -----------------------------------------------------------------------------------------


def checked_tilt(tilt_deg: float) -> float:
    """The tilt, or :class:`InputError` beyond ``MAX_TILT_DEG``."""
    if not (math.isfinite(tilt_deg) and abs(tilt_deg) <= MAX_TILT_DEG):
        raise InputError(f"The tilt is {tilt_deg:g} degrees; images are made from -{MAX_TILT_DEG} to {MAX_TILT_DEG}.")
    return float(tilt_deg)


def defocus_along_x(width: int, voxel_a: float, defocus_um: float, tilt_deg: float) -> Floats:
    """Underfocus of every column of an image tilted about y, um: (width,). The centre is (width - 1) / 2."""
    offset: Floats = (np.arange(width, dtype=np.float64) - (width - 1) / 2) * (voxel_a * 1e-4)
    columns: Floats = defocus_um + offset * math.tan(math.radians(checked_tilt(tilt_deg)))
    return columns


def _swing(plane: Plane, optics: Optics, columns: Floats) -> float:
    """Radians by which the phase at the plane's highest frequency changes from one side of the image to the other."""
    k2_max = 2 * (0.5 / plane.voxel_a) ** 2
    return math.pi * wavelength_a(optics.voltage_kv) * 1e4 * float(np.ptp(columns)) * k2_max


def _plane(image: Image, voxel_a: float, optics: Optics, columns: Floats) -> Plane:
    """A plane with room for the kernels: a frequency k lands lambda D k - Cs lambda^3 k^3 from where it came.

    Twice the room of the highest frequency, and 32 pixels: cut off at Nyquist, a kernel fades with the square of the
    distance. Against a sum over points with far more room, white noise of 1 differed by 0.003 at most with the
    default envelope, and by 0.014 without any.
    """
    wave, nyquist = wavelength_a(optics.voltage_kv), 0.5 / voxel_a
    spread = 1e4 * float(np.abs(columns).max()) + optics.cs_mm * 1e7 * wave**2 * 2 * nyquist**2
    reach = wave * nyquist * spread / voxel_a
    shape = (image.shape[0], image.shape[1])
    return Plane(shape, voxel_a, pad_vox=math.ceil(2 * reach) + 32)


def _smooth_blend(columns: Floats, swing: float) -> Iterator[tuple[float, Floats]]:
    """Underfocuses at Chebyshev points and their weights (width,): Lagrange's polynomials.

    sin(c + A t), t from -1 to 1, is reproduced from n points to within A^n / (2^(n - 1) n!).
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
    """Evenly spaced underfocuses and their weights (width,): hats, as what is blended has jumps."""
    count = 1 + math.ceil(swing / FLIP_STEP)
    if count == 1:
        yield float(columns[0]), np.ones(len(columns))
        return
    at = np.linspace(0, count - 1, len(columns))
    for i, node in enumerate(np.linspace(columns[0], columns[-1], count)):
        yield float(node), np.clip(1 - np.abs(at - i), 0, 1)


def apply_ctf(image: ArrayLike, voxel_a: float, optics: Optics, tilt_deg: float = 0.0) -> Image:
    """An object imaged by the lens: (object * kernel), every column with the underfocus it has.

    Parameters
    ----------
    image
        (y, x) real, any unit: the object, 0 beyond the image.
    voxel_a
        Pixel size, angstrom.
    optics
        The lens. Its envelopes are applied too.
    tilt_deg
        About y; within 89.9 degrees.

    Returns
    -------
    array
        (y, x) float32, the unit of the image. The CTF used differs from that of the exact underfocus by at most
        ``BLEND_ERROR`` (times the envelope) at any frequency.

    Raises
    ------
    InputError
        Values that are not finite, other axes, a tilt beyond 89.9 degrees.
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
    """An image with the signs of its CTF undone, every column with its own underfocus.

    Parameters
    ----------
    image
        (y, x) real; its mean is taken to go on beyond it.
    voxel_a, optics, tilt_deg
        As in :func:`apply_ctf`; the envelopes are not divided out.

    Returns
    -------
    array
        (y, x) float32. Contrast stays as it is at low frequency: potential is dark, and with no phase plate the mean
        is kept. Frequencies whose CTF is within about ``FLIP_STEP`` of zero may be damped rather than flipped.
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
