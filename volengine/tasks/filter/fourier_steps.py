"""The steps of ``filter`` that act on frequencies, and the change of voxel size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from volengine.core.errors import InputError
from volengine.ops.filters.ctf import Mode, Parametrisation
from volengine.ops.filters.wedge import TiltAxis
from volengine.tasks.filter.step import Step

Tilts = tuple[float, float]


def _check_tilts(name: str, tilts: Tilts | None) -> None:
    if tilts is not None and not -90 <= tilts[0] < tilts[1] <= 90:
        raise InputError(
            f"{name}: tilts are {tilts[0]:g} to {tilts[1]:g} degrees; give the lowest and the highest one, from -90 to "
            "90, for example -60,60."
        )


@dataclass(frozen=True)
class MatchVoxelSize(Step):
    """Resample to another voxel size; places stay as they are.

    Parameters
    ----------
    to
        Wanted voxel size, angstrom, one number or z, y, x. An axis gets the nearest whole number of voxels; the size is
        reached to within half a voxel over the axis and, with ``fourier``, what is added to it, mostly much closer.
    method
        ``fourier`` (the spectrum is cut or extended), ``linear`` or ``area`` (means of neighbours).
    taper
        Of ``fourier``: the highest frequencies of the coarser grid, as a share, over which the spectrum falls to 0; 0:
        no taper.
    """

    name: ClassVar[str] = "match_voxel_size"
    shown: ClassVar[tuple[str, ...]] = ("10", "to=10,method=area")
    to: float | tuple[float, float, float]
    method: Literal["fourier", "linear", "area"] = "fourier"
    taper: float = 0.1

    def check(self) -> None:
        for size in self.sizes:
            self.positive(to=size)
        self.share(taper=self.taper)

    @property
    def sizes(self) -> tuple[float, float, float]:
        """The wanted voxel size, z, y, x."""
        return self.to if isinstance(self.to, tuple) else (self.to,) * 3


@dataclass(frozen=True)
class Deconvolve(Step):
    """Correct the contrast transfer function (CTF): a Wiener filter with an assumed signal-to-noise ratio.

    Parameters
    ----------
    defocus_um
        Underfocus, micrometre (positive), one number, or one for each tilt, whose mean CTF is taken. Default: those of
        the tilt series that the store keeps (``convert --tilts``).
    width_um
        Width of the range of defocus around each number; the mean CTF over it is taken.
    parametrisation
        ``warp`` or ``membrain``: how strength, falloff and highpass are meant.
    strength
        10^(3 strength) is the signal-to-noise ratio at low frequencies.
    falloff
        How fast it falls towards high frequencies.
    highpass
        Where it rises from 0: of ``warp`` a share of the Nyquist frequency, of ``membrain`` cycles per voxel.
    lowpass
        Of ``membrain``: it falls to 0 at the first zero of the CTF.
    mode
        ``wiener``; or ``flip``: only the signs are corrected; or ``multiply`` by the CTF.
    flipped
        The images of the tilt series were phase-flipped before the reconstruction.
    phase_shift_deg
        Phase shift of a phase plate, degrees.
    voltage_kv
        Acceleration voltage, kV.
    cs_mm
        Spherical aberration, millimetre.
    amplitude_contrast
        Amplitude contrast, as a share.
    """

    name: ClassVar[str] = "deconvolve"
    shown: ClassVar[tuple[str, ...]] = ("5", "defocus_um=5,strength=0.8")
    defocus_um: tuple[float, ...] = ()
    width_um: float = 0.0
    parametrisation: Parametrisation = "warp"
    strength: float = 1.0
    falloff: float = 1.0
    highpass: float = 0.02
    lowpass: bool = True
    mode: Mode = "wiener"
    flipped: bool = False
    phase_shift_deg: float = 0.0
    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.07

    def check(self) -> None:
        for defocus in self.defocus_um:
            if not (math.isfinite(defocus) and abs(defocus) < 100):
                raise InputError(
                    f"deconvolve: defocus_um is {defocus:g}; it is in micrometre, positive for underfocus (50000 "
                    "angstrom are 5)."
                )
        self.positive(voltage_kv=self.voltage_kv)
        if self.voltage_kv > 2000:
            raise InputError(f"deconvolve: voltage_kv is {self.voltage_kv:g}; it is in kV, for example 300.")
        for key in ("width_um", "strength", "falloff", "highpass", "cs_mm"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"deconvolve: {key} must be 0 or more, not {value:g}.")
        if self.strength > 5:
            raise InputError(
                f"deconvolve: strength is {self.strength:g}; 10^(3 strength) is the signal-to-noise ratio."
            )
        if not 0 <= self.amplitude_contrast < 1:
            raise InputError(f"deconvolve: amplitude_contrast is a share below 1, not {self.amplitude_contrast:g}.")
        if not math.isfinite(self.phase_shift_deg):
            raise InputError(f"deconvolve: phase_shift_deg must be a finite number, not {self.phase_shift_deg}.")
        if self.flipped and self.mode != "wiener":
            raise InputError("deconvolve: the images are flipped already; mode flip or multiply would do it again.")


@dataclass(frozen=True)
class MissingWedge(Step):
    """Set the frequencies to 0 that a tilt series has not measured.

    Parameters
    ----------
    tilts
        Lowest and highest tilt, degrees. Default: those of the tilt series that the store keeps.
    axis
        Direction of the tilt axis in the volume.
    edge_deg
        Width of the soft edge beyond both tilts, degrees.
    """

    name: ClassVar[str] = "missing_wedge"
    shown: ClassVar[tuple[str, ...]] = ("-60,60", "tilts=-60,60,axis=x")
    tilts: Tilts | None = None
    axis: TiltAxis = "y"
    edge_deg: float = 0.0

    def check(self) -> None:
        _check_tilts(self.name, self.tilts)
        if not 0 <= self.edge_deg <= 90:
            raise InputError(f"missing_wedge: edge_deg must be from 0 to 90, not {self.edge_deg:g}.")


@dataclass(frozen=True)
class MatchSpectrum(Step):
    """Give the volume the amplitude spectrum of another one; phases and the mean are kept.

    Parameters
    ----------
    target
        Table of the spectrum: what ``filter --spectrum`` writes, or MemBrain's ``extract_spectrum`` (of a cube).
    target_voxel_size
        Voxel size of the volume of a table by MemBrain, which counts frequencies in voxels; angstrom.
    most
        Gains above so many times the median gain are lowered to it.
    tilts
        Lowest and highest tilt, degrees: the volume's own spectrum is that of the measured frequencies only. Default:
        all frequencies count.
    axis
        Direction of the tilt axis in the volume.
    sectors
        Measure the volume's own spectrum in so many ranges of the tilt, each with gains of its own.
    """

    name: ClassVar[str] = "match_spectrum"
    shown: ClassVar[tuple[str, ...]] = ("best.tsv", "target=best.tsv,most=20")
    target: str
    target_voxel_size: float | None = None
    most: float = 50.0
    tilts: Tilts | None = None
    axis: TiltAxis = "y"
    sectors: int = 1

    def check(self) -> None:
        if not self.target:
            raise InputError("match_spectrum: target is empty; give the table of a spectrum (.tsv).")
        self.positive(target_voxel_size=self.target_voxel_size, most=self.most)
        _check_tilts(self.name, self.tilts)
        if not 1 <= self.sectors <= 90:
            raise InputError(f"match_spectrum: sectors must be from 1 to 90, not {self.sectors}.")


@dataclass(frozen=True)
class LowPass(Step):
    """Remove detail finer than a resolution.

    Parameters
    ----------
    resolution_a
        The gain is 1/2 at the frequency 1 / resolution; angstrom.
    edge
        Width of the edge (raised cosine), as a share of this frequency; 0: sharp.
    """

    name: ClassVar[str] = "low_pass"
    shown: ClassVar[tuple[str, ...]] = ("40", "resolution_a=40,edge=0.5")
    resolution_a: float
    edge: float = 0.2

    def check(self) -> None:
        self.positive(resolution_a=self.resolution_a)
        self.share(edge=self.edge)


@dataclass(frozen=True)
class HighPass(Step):
    """Remove what varies more slowly than a resolution, and the mean.

    Parameters
    ----------
    resolution_a
        The gain is 1/2 at the frequency 1 / resolution; angstrom.
    edge
        Width of the edge (raised cosine), as a share of this frequency; 0: sharp.
    """

    name: ClassVar[str] = "high_pass"
    shown: ClassVar[tuple[str, ...]] = ("500", "resolution_a=500,edge=0.5")
    resolution_a: float
    edge: float = 0.2

    def check(self) -> None:
        self.positive(resolution_a=self.resolution_a)
        self.share(edge=self.edge)


@dataclass(frozen=True)
class BandPass(Step):
    """Keep what lies between two resolutions.

    Parameters
    ----------
    coarse_a, fine_a
        The two resolutions, angstrom.
    edge
        Width of both edges, as a share of their frequencies; 0: sharp.
    """

    name: ClassVar[str] = "band_pass"
    shown: ClassVar[tuple[str, ...]] = ("coarse_a=500,fine_a=40",)
    coarse_a: float
    fine_a: float
    edge: float = 0.2

    def check(self) -> None:
        self.positive(coarse_a=self.coarse_a, fine_a=self.fine_a)
        self.share(edge=self.edge)
        if self.coarse_a <= self.fine_a:
            raise InputError(
                f"band_pass: coarse_a is {self.coarse_a:g} and fine_a {self.fine_a:g} angstrom; the coarse resolution "
                "is the larger number."
            )
