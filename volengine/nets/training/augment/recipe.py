"""Augmentation: change training samples at random, so that a network learns to ignore these changes.

A sample is an image (slices or z, y, x) and its labels (features, z, y, x), as arrays or as tensors on a CPU or GPU.
Geometric changes apply to image and labels, changes of grey values to the image only.

>>> Augmentation(flips=True, greys=Greys(blur_probability=0.5, blur_vox=(0.3, 1.5))).turns
True

All random numbers, including noise, come from the given generator, so a sample depends only on its seed and not on the
device. Rotation and zoom are one resampling about the patch's centre: the image is interpolated linearly and mirrored
at the border, labels take the nearest voxel, and voxels from outside of the patch are ignored (label 2). Labels of type
float32 are targets of a regression: they are interpolated, and NaN if they come from outside.

2D and 2.5D samples (labels of one slice) are changed only in their plane; an even number of context slices has no
middle slice and is not flipped along z.

These defects of membrain-seg's released augmentations are not reproduced: the brightness gradient and the local gamma
always had their centre at one corner and did not vary along the first axis; rotation and zoom resampled one after the
other; the wedge (on a branch) had one fixed direction; the Fourier augmentations of the paper (Lamm et al., bioRxiv
2024.01.05.574336, section 2.3) were missing, and rotations reached only 30 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

Pair = tuple[float, float]


@dataclass(frozen=True)
class Geometry(Recipe):
    """Geometric changes beyond flips and quarter turns in the plane.

    Parameters
    ----------
    shuffles
        Exchange axes of equal length at random (3D); together with flips this gives all right-angle turns.
    rotation_probability, rotation_deg
        Rotate by up to this angle about each axis (3D), or in the plane (2D); 180: any direction.
    zoom_probability, zoom
        Magnify by a factor between these two, drawn evenly in its logarithm; along z only in 3D.
    """

    shuffles: bool = False
    rotation_probability: float = 0.0
    rotation_deg: float = 180.0
    zoom_probability: float = 0.0
    zoom: Pair = (0.7, 1.4)

    def check(self) -> None:
        _probabilities(self)
        _ranges(self, ("zoom",), 0.1)
        if not 0 <= self.rotation_deg <= 180:
            raise InputError(f"rotation_deg must be between 0 and 180, not {self.rotation_deg}.")


@dataclass(frozen=True)
class Greys(Recipe):
    """Changes of grey values. Each effect has a probability (0: never); values are drawn evenly from ranges.

    Parameters
    ----------
    blur_probability, blur_vox
        Gaussian blur; its standard deviation is drawn for each axis.
    median_probability, median_vox
        Median over a cube (2D: square) whose odd side is between these two.
    low_resolution_probability, low_resolution
        Sample down to this share of the sides (nearest voxel) and up again (linearly).
    contrast_probability, contrast
        Multiply the distance from the mean by a factor (drawn evenly in its logarithm); half of the cases are clipped
        to the old range.
    brightness_probability, brightness_std
        Add a normally distributed number.
    gamma_probability, gamma
        Power law on the range of the patch (in half of the cases on its negative); mean and standard deviation are
        kept.
    gradient_probability, gradient
        Add a broad Gaussian hill with its centre in or near the patch; range of its height, up or down.
    local_gamma_probability, local_gamma_low, local_gamma_high
        Power law with full strength in the middle of such a hill, which fades with it; the power is from one of two
        ranges.
    sharpen_probability, sharpen
        Unsharp mask: add this times the difference to a blur of 1 voxel.
    noise_probability, noise_std
        Add Gaussian noise with a standard deviation up to this.
    erase_probability, erase_boxes, erase_share
        Fill up to this many boxes with the mean; their sides are between these shares of the patch's.
    """

    blur_probability: float = 0.0
    blur_vox: Pair = (0.3, 1.5)
    median_probability: float = 0.0
    median_vox: tuple[int, int] = (3, 5)
    low_resolution_probability: float = 0.0
    low_resolution: Pair = (0.25, 1.0)
    contrast_probability: float = 0.0
    contrast: Pair = (0.5, 2.0)
    brightness_probability: float = 0.0
    brightness_std: float = 0.5
    gamma_probability: float = 0.0
    gamma: Pair = (0.7, 1.5)
    gradient_probability: float = 0.0
    gradient: Pair = (1.0, 5.0)
    local_gamma_probability: float = 0.0
    local_gamma_low: Pair = (0.01, 0.8)
    local_gamma_high: Pair = (1.5, 4.0)
    sharpen_probability: float = 0.0
    sharpen: Pair = (0.1, 1.0)
    noise_probability: float = 0.0
    noise_std: float = 0.7
    erase_probability: float = 0.0
    erase_boxes: int = 5
    erase_share: Pair = (0.1, 0.33)

    def check(self) -> None:
        _probabilities(self)
        _ranges(self, ("low_resolution", "contrast", "gamma", "local_gamma_low", "local_gamma_high"), 1e-3)
        _ranges(self, ("blur_vox", "gradient", "sharpen", "erase_share"), 0.0)
        if self.low_resolution[1] > 1 or self.erase_share[1] > 1:
            raise InputError(
                f"Shares of a side are at most 1: low_resolution {self.low_resolution}, erase_share {self.erase_share}."
            )
        low, high = self.median_vox
        if low < 1 or high < low or low % 2 == 0 or high % 2 == 0:
            raise InputError(f"median_vox needs two odd sides, the smaller one first, not {self.median_vox}.")
        if min(self.brightness_std, self.noise_std, self.erase_boxes) < 0:
            raise InputError("brightness_std, noise_std and erase_boxes must be 0 or more.")


@dataclass(frozen=True)
class Fourier(Recipe):
    """Changes of the spectrum (MemBrain v2, sections 2.3.2 and 2.3.3); mean and standard deviation are kept.

    Parameters
    ----------
    amplitude_probability, amplitude_sigma
        Multiply the spectrum by a gain that depends on the spatial frequency: a random walk from 1 with this step,
        ``x <- |x + N(0, sigma^2)|``, of half of the longest side as length. Phases do not change.
    wedge_probability, wedge_deg
        Remove a missing wedge of random direction; the largest tilt is an angle between these two.
    """

    amplitude_probability: float = 0.0
    amplitude_sigma: float = 0.2
    wedge_probability: float = 0.0
    wedge_deg: Pair = (45.0, 65.0)

    def check(self) -> None:
        _probabilities(self)
        _ranges(self, ("wedge_deg",), 0.0)
        if self.amplitude_sigma < 0:
            raise InputError(f"amplitude_sigma must be 0 or more, not {self.amplitude_sigma}.")
        if self.wedge_deg[1] > 90:
            raise InputError(f"wedge_deg: tilts reach 90 degrees at most, not {self.wedge_deg[1]}.")


@dataclass(frozen=True)
class Augmentation(Recipe):
    """How strongly samples are changed; ``Augmentation(flips=False, turns=False)`` changes nothing.

    Parameters
    ----------
    flips
        Flip each axis with probability 1/2 (including z: a network need not know the handedness of a tomogram).
    turns
        Turn by a random multiple of 90 degrees in the plane (180 degrees if the patch is not square).
    noise
        Largest standard deviation of added Gaussian noise, in units of the normalised image.
    contrast, brightness
        Largest relative and absolute change of the grey values.
    geometry, greys, fourier
        Further changes, each with a probability.
    """

    flips: bool = True
    turns: bool = True
    noise: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    geometry: Geometry = field(default_factory=Geometry)
    greys: Greys = field(default_factory=Greys)
    fourier: Fourier = field(default_factory=Fourier)

    def check(self) -> None:
        for name in ("noise", "contrast", "brightness"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}.")


def _probabilities(recipe: Recipe) -> None:
    for name, value in recipe.to_json().items():
        if name.endswith("_probability") and not 0 <= value <= 1:
            raise InputError(f"{name} must be between 0 and 1, not {value}.")


def _ranges(recipe: Recipe, names: tuple[str, ...], least: float) -> None:
    for name in names:
        low, high = getattr(recipe, name)
        if not least <= low <= high:
            raise InputError(f"{name} is {low} to {high}; it needs {least:g} or more, the smaller number first.")


_AIS = Greys(
    blur_probability=0.1, blur_vox=(0.1, 1.1), contrast_probability=0.1, contrast=(0.9, 1.1),
    brightness_probability=0.1, brightness_std=0.1, noise_probability=0.1, noise_std=0.2,
)  # fmt: skip
_MEMBRAIN = Greys(
    blur_probability=0.3, median_probability=0.1, low_resolution_probability=0.35, contrast_probability=0.3,
    brightness_probability=0.3, gamma_probability=0.25, gradient_probability=0.3, local_gamma_probability=0.3,
    sharpen_probability=0.2, noise_probability=0.4, erase_probability=0.4,
)  # fmt: skip

PRESETS: dict[str, Augmentation] = {
    "none": Augmentation(flips=False, turns=False),
    "flips": Augmentation(),
    "light": Augmentation(noise=0.2, contrast=0.1, brightness=0.1),
    "ais": Augmentation(greys=_AIS),
    "membrain": Augmentation(
        geometry=Geometry(shuffles=True, rotation_probability=0.75, zoom_probability=0.3),
        greys=_MEMBRAIN,
        fourier=Fourier(amplitude_probability=0.5, wedge_probability=0.5),
    ),
}
"""``none``; ``flips``: flips and quarter turns; ``light``: these, and noise 0.2, contrast and brightness 10 %; ``ais``:
flips, quarter turns, and the effects of Ais 1.2, each in one of ten samples; ``membrain``: the effects of the MemBrain
v2 paper, with the probabilities of its code (a lower one for the median, which is slow)."""


def preset(name: str) -> Augmentation:
    """The augmentation of a preset.

    Raises
    ------
    InputError
        The preset does not exist.
    """
    if name not in PRESETS:
        raise InputError(f"There is no augmentation {name!r}; known are {', '.join(PRESETS)}.")
    return PRESETS[name]
