"""Deconvolution of the contrast transfer function (CTF) by a Wiener filter with an assumed signal-to-noise ratio.

With the spatial frequency f in 1/angstrom, the underfocus D and the electron wavelength L, both in angstrom:

- CTF: C(f) = sin(pi L f² (D - L² f² Cs / 2) + phase shift + arcsin A), positive at f = 0, so that the contrast is not
  inverted (Mindell and Grigorieff 2003, with the sign of Warp and MemBrain). Of several defoci the mean is taken; for
  a range of them, in closed form: C(f) sin(w) / w, w = pi L f² width / 2.
- Wiener filter: C / (C² + 1 / SNR); where SNR is 0 it is 0, so the mean of the result is 0, if there is a high-pass.
  Flipping leaves the mean, and multiplying multiplies it by C(0), as in membrain-seg.
- SNR of *Warp* (``tom_deconv.m``; Tegunov and Cramer 2019), with u = 2 f voxel, the share of the Nyquist frequency, at
  most 1: (1 - cos(pi min(1, u / highpass))) 10^(3 strength) exp(-100 falloff u / voxel).
- SNR of *MemBrain* (``AdhocSSNR`` of membrain-seg): |1 - cos(pi/2 min(1, f voxel / highpass))| 10^(3 strength)
  exp(-100 falloff f) |cos(pi/2 min(1, f / f0))|, f0 the first zero of the CTF; without ``lowpass`` the last factor is
  left out.

The two are not the same at equal numbers: MemBrain's SNR falls half as steeply, its ``highpass`` counts cycles per
voxel, and nothing beyond the first zero is kept. MemBrain itself takes the radius in units of the mean side, so in
volumes that are not cubes its frequencies are wrong; here f is that of the wave.

>>> lens = Lens((5.0,))
>>> float(ctf_mean(np.zeros(1), lens)[0]).__round__(3), round(1 / first_zero(lens), 1)
(0.07, 31.7)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Parametrisation = Literal["warp", "membrain"]
Mode = Literal["wiener", "flip", "multiply"]

REST_EV = 510998.95
HC_EV_A = 12398.419843
SAMPLES = 16
"""Number of defoci that stand for a range, where the mean has no closed form."""


@dataclass(frozen=True)
class Lens:
    """The lens of an electron microscope.

    Parameters
    ----------
    defocus_um
        Underfocus, micrometre; of several the mean CTF is taken.
    width_um
        Width of the range of underfocus around each of them, micrometre.
    voltage_kv, cs_mm, amplitude_contrast, phase_shift_deg
        Voltage, spherical aberration, amplitude contrast (share), phase shift of a phase plate.
    flipped
        The images are phase-flipped already, so the transfer is that of |CTF|.
    """

    defocus_um: tuple[float, ...]
    width_um: float = 0.0
    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.07
    phase_shift_deg: float = 0.0
    flipped: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Lens:
        """Make a lens of JSON values."""
        return cls(**{**data, "defocus_um": tuple(data["defocus_um"])})

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @property
    def wavelength(self) -> float:
        """Relativistic wavelength of the electrons, angstrom."""
        energy = 1e3 * self.voltage_kv
        return HC_EV_A / math.sqrt(energy * (2 * REST_EV + energy))

    @property
    def constant(self) -> float:
        """Phase at frequency 0, radians."""
        return math.radians(self.phase_shift_deg) + math.asin(self.amplitude_contrast)


def ctf_mean(f: Floats, lens: Lens) -> Floats:
    """The mean CTF over the defoci of a lens.

    Parameters
    ----------
    f
        Frequencies, 1/angstrom, of any shape.
    lens
        The lens; if ``flipped``, the mean of |CTF|.

    Returns
    -------
    float64, -1 to 1, of the shape of ``f``
    """
    wave, f2 = lens.wavelength, np.square(f)
    quartic = math.pi / 2 * lens.cs_mm * 1e7 * wave**3 * f2 * f2
    defoci: Sequence[float] = lens.defocus_um
    if lens.flipped and lens.width_um:
        steps = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
        defoci = [d + lens.width_um * float(s) for d in defoci for s in steps]
    total = np.zeros_like(f2)
    for defocus in defoci:
        one = np.sin(math.pi * wave * 1e4 * defocus * f2 - quartic + lens.constant)
        total += np.abs(one) if lens.flipped else one
    total /= len(defoci)
    if lens.width_um and not lens.flipped:
        total *= np.sinc(wave * 1e4 * lens.width_um / 2 * f2)
    return total


def first_zero(lens: Lens) -> float:
    """Frequency of the first zero of the CTF at the mean defocus, 1/angstrom.

    Raises
    ------
    InputError
        The CTF has none, because the mean underfocus is not positive or the phase never reaches pi.
    """
    defocus = 1e4 * sum(lens.defocus_um) / len(lens.defocus_um)
    wave = lens.wavelength
    a, b = math.pi * wave * defocus, math.pi / 2 * lens.cs_mm * 1e7 * wave**3
    rest = (math.pi - lens.constant) % math.pi or math.pi
    below = a * a - 4 * b * rest
    if a <= 0 or below < 0:
        raise InputError(
            f"The CTF at an underfocus of {defocus / 1e4:g} micrometre has no first zero, at which MemBrain's filter "
            "ends; give the underfocus (positive), or lowpass=false, or Warp's parametrisation."
        )
    return math.sqrt(2 * rest / (a + math.sqrt(below)))


@dataclass(frozen=True)
class Ratio:
    """The assumed signal-to-noise ratio.

    Parameters
    ----------
    how
        ``warp`` or ``membrain``, see the module.
    strength, falloff
        Exponent and decay.
    highpass
        Of ``warp``: share of the Nyquist frequency; of ``membrain``: cycles per voxel.
    lowpass
        Of ``membrain``: it falls to 0 at the first zero of the CTF.
    """

    how: Parametrisation = "warp"
    strength: float = 1.0
    falloff: float = 1.0
    highpass: float = 0.02
    lowpass: bool = True

    def at(self, f: Floats, voxel_a: float, lens: Lens) -> Floats:
        """Compute the ratio at frequencies f (1/angstrom) for voxels of ``voxel_a`` angstrom."""
        if self.how == "warp":
            u = np.minimum(1.0, 2 * f * voxel_a)
            rise = 1 - np.cos(math.pi * np.minimum(1.0, u / self.highpass)) if self.highpass else 2.0
            return np.asarray(rise * 10 ** (3 * self.strength) * np.exp(-100 * self.falloff * u / voxel_a))
        rise = 1 - np.cos(math.pi / 2 * np.minimum(1.0, f * voxel_a / self.highpass)) if self.highpass else 1.0
        found = np.asarray(rise * 10 ** (3 * self.strength) * np.exp(-100 * self.falloff * f))
        if self.lowpass:
            found = found * np.abs(np.cos(math.pi / 2 * np.minimum(1.0, f / first_zero(lens))))
        return found


def wiener_gain(f: Floats, voxel_a: float, lens: Lens, ratio: Ratio) -> Floats:
    """The gain of the Wiener filter, C / (C² + 1 / SNR), written so that an SNR of 0 gives 0.

    Parameters
    ----------
    f
        Frequencies, 1/angstrom, of any shape.
    voxel_a
        Voxel size, angstrom.
    lens, ratio
        The lens, and the assumed signal-to-noise ratio.

    Returns
    -------
    float64 of the shape of ``f``
    """
    transfer, snr = ctf_mean(f, lens), ratio.at(f, voxel_a, lens)
    gain: Floats = transfer * snr / (transfer * transfer * snr + 1)
    return gain


def transfer_gain(f: Floats, lens: Lens, mode: Mode) -> Floats:
    """The gain of the simpler corrections: ``flip`` the sign of the CTF (0 counts as positive), ``multiply`` by it."""
    transfer = ctf_mean(f, lens)
    return np.where(transfer < 0, -1.0, 1.0) if mode == "flip" else transfer
