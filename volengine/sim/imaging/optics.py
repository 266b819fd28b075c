"""Recipes of a microscope: optics, detector, radiation damage, and the exposure that combines them.

They hold plain values, so that the command line can read them without loading an array library. The computations are in
:mod:`volengine.sim.imaging.ctf`, :mod:`volengine.sim.imaging.damage` and :mod:`volengine.sim.imaging.exposure`.

>>> Exposure.from_json({"optics": {"defocus_um": 4}, "damage": {"model": "none"}}).optics.defocus_um
4.0
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

DEFAULT_B_A2 = 4.0
"""B per dose of the damage model ``b-factor``, square angstrom per e/A^2: that of Warp."""


def _within(where: str, value: float, low: float, high: float, hint: str = "") -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{where} is {value:g}; it must be from {low:g} to {high:g}.{hint}")


@dataclass(frozen=True)
class Optics(Recipe):
    """The lens.

    Parameters
    ----------
    voltage_kv
        Acceleration voltage, kilovolt.
    cs_mm
        Spherical aberration, millimetre.
    amplitude_contrast
        Share of amplitude contrast, from 0 to 1.
    defocus_um
        Defocus at the tilt axis, micrometre; underfocus is positive. Elsewhere in a tilted image it follows from the
        tilt.
    phase_shift_deg
        Phase shift of a phase plate; 90 for Zernike's.
    envelope
        Width s of the envelope exp(-(k / (s k_Nyquist))^2), as in the papers of CryoTomoSim; 0 for none. It depends on
        the pixel size and stands for all effects that blur a binned image.
    b_factor_a2
        B of the physical envelope exp(-B k^2 / 4), which does not depend on the pixel size; 0 for none.
    """

    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.07
    defocus_um: float = 5.0
    phase_shift_deg: float = 0.0
    envelope: float = 0.9
    b_factor_a2: float = 0.0

    def check(self) -> None:
        """Refuse values that no microscope has."""
        _within("voltage_kv", self.voltage_kv, 10, 3000, " It is in kilovolt.")
        _within("cs_mm", self.cs_mm, 0, 20, " It is in millimetre.")
        _within("amplitude_contrast", self.amplitude_contrast, 0, 1)
        _within("defocus_um", self.defocus_um, -100, 100, " It is in micrometre; underfocus is positive.")
        _within("phase_shift_deg", self.phase_shift_deg, -180, 180)
        _within("envelope", self.envelope, 0, 100, " It is a share of Nyquist.")
        _within("b_factor_a2", self.b_factor_a2, 0, 1e6)


@dataclass(frozen=True)
class Detector(Recipe):
    """The detector.

    Parameters
    ----------
    dqe
        Detective quantum efficiency: the share of the arriving electrons that is counted.
    mtf
        Modulation transfer function at equal steps from frequency 0, where it is 1, to Nyquist; linear between them,
        and constant beyond Nyquist. Empty for a perfect detector.
    mtf_noise
        ``white``: each electron is counted at a slightly wrong place, so the noise stays white and the DQE falls with
        the square of the MTF (counting cameras). ``filtered``: each electron leaves a spot, so the MTF filters the
        noise as well (integrating cameras), and counts are not whole numbers.
    """

    dqe: float = 0.84
    mtf: tuple[float, ...] = ()
    mtf_noise: Literal["white", "filtered"] = "white"

    def check(self) -> None:
        """Refuse an MTF that does not begin at 1."""
        _within("dqe", self.dqe, 1e-6, 1)
        for value in self.mtf:
            _within("mtf", value, 0, 1)
        if self.mtf and (len(self.mtf) < 2 or self.mtf[0] != 1):
            raise InputError(f"mtf is {self.mtf}; it needs two values or more, the first of them 1.")


@dataclass(frozen=True)
class Damage(Recipe):
    """Radiation damage by the accumulated dose, in the order of acquisition.

    Parameters
    ----------
    model
        ``critical-dose``: the decay that Grant and Grigorieff measured (eLife 4, e06980, 2015). ``b-factor``:
        exp(-B k^2 / 4) with a B that grows with the dose. ``cts`` and ``cts2023``: blur and noise like those of
        CryoTomoSim. ``none``: no damage.
    b_factor_a2
        B per dose, square angstrom per e/A^2, for ``b-factor``: default 4, as in Warp; 2 to 8 are in use.
    sensitivity_a2
        Parakeet's S, a mean square displacement per dose, instead of B: B = 8 pi^2 S (0.022: B is 1.74; up to 0.08).
    strength
        Factor on the dose; 0 switches damage off.
    """

    model: Literal["critical-dose", "b-factor", "cts", "cts2023", "none"] = "critical-dose"
    b_factor_a2: float | None = None
    sensitivity_a2: float | None = None
    strength: float = 1.0

    def check(self) -> None:
        """Refuse negative values, and those that another model than the given one uses."""
        given = {n: v for n in ("b_factor_a2", "sensitivity_a2") if (v := getattr(self, n)) is not None}
        for name, value in given.items():
            _within(f"damage: {name}", value, 0, 100, " It is in square angstrom per e/A^2.")
            if self.model != "b-factor":
                raise InputError(
                    f"damage: {name} is {value:g}, but the model is {self.model}, which does not use it. Write "
                    f"model: b-factor beside it (the default is critical-dose), or leave {name} out."
                )
        if len(given) > 1:
            raise InputError(
                f"damage: both b_factor_a2 ({self.b_factor_a2:g}) and sensitivity_a2 ({self.sensitivity_a2:g}) are "
                "given; B is one or the other (8 pi^2 times the sensitivity)."
            )
        _within("damage: strength", self.strength, 0, 1000)

    @property
    def b_a2_per_dose(self) -> float:
        """B per dose of ``b-factor``, square angstrom per e/A^2."""
        if self.sensitivity_a2 is not None:
            return 8 * math.pi**2 * self.sensitivity_a2
        return DEFAULT_B_A2 if self.b_factor_a2 is None else self.b_factor_a2


@dataclass(frozen=True)
class Exposure(Recipe):
    """How images are taken.

    Parameters
    ----------
    optics, detector, damage
        The lens, the detector and the radiation damage.
    order
        ``ctf-first``: optics, then counting, as in a microscope. ``counts-first``: counting, then optics, as in
        CryoTomoSim's papers; the CTF then filters the noise, too.
    imfp_a
        Inelastic mean free path of electrons in vitreous ice, angstrom.
    scatter
        Factor on the ratio of path and mean free path; 0: the ice absorbs no electrons.
    max_path_imfp
        Longest path through the ice, in mean free paths, so that images near 90 degrees are not black.
    """

    optics: Optics = field(default_factory=Optics)
    detector: Detector = field(default_factory=Detector)
    damage: Damage = field(default_factory=Damage)
    order: Literal["ctf-first", "counts-first"] = "ctf-first"
    imfp_a: float = 3800.0
    scatter: float = 1.0
    max_path_imfp: float = 4.0

    def check(self) -> None:
        """Refuse lengths that are none."""
        _within("imfp_a", self.imfp_a, 1, 1e9, " It is in angstrom (380 nm are 3800).")
        _within("scatter", self.scatter, 0, 1000)
        _within("max_path_imfp", self.max_path_imfp, 0, 1000)
