"""Where the contrast transfer function is zero, without evaluating it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from volengine.sim.imaging.ctf import wavelength_a
from volengine.sim.imaging.optics import Optics


def ctf_zeros(optics: Optics, k_max: float) -> NDArray[np.float64]:
    """Frequencies in (0, k_max], 1/A, ascending, where the CTF is zero, from the roots of a quadratic in k^2.

    The phase is c + b k^2 - q k^4; a zero is where it is a multiple of pi.
    """
    wave = wavelength_a(optics.voltage_kv)
    b, q = math.pi * wave * 1e4 * optics.defocus_um, math.pi / 2 * optics.cs_mm * 1e7 * wave**3
    c = math.radians(optics.phase_shift_deg) + math.asin(optics.amplitude_contrast)
    top = k_max**2
    turns = [0.0, top, *([b / (2 * q)] if q and 0 < b / (2 * q) < top else [])]
    ends = [(c + u * (b - q * u)) / math.pi for u in turns]
    found: set[float] = set()
    for n in range(math.floor(min(ends)), math.ceil(max(ends)) + 1):
        found.update(_roots(b, q, n * math.pi - c))
    zeros: NDArray[np.float64] = np.sqrt(np.array(sorted(u for u in found if 0 < u <= top), float))
    return zeros


def _roots(b: float, q: float, value: float) -> list[float]:
    """Real u with b u - q u^2 = value, without cancellation."""
    if q == 0:
        return [value / b] if b else []
    inside = b * b - 4 * q * value
    if inside < 0:
        return []
    half = (b + math.copysign(math.sqrt(inside), b)) / 2
    return [half / q, *([value / half] if half else [])]
