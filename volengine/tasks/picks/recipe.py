"""Recipes of ``picks``: what the files of picks do not state, and what to do with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.volume import Vector3


@dataclass(frozen=True)
class PicksRecipe(Recipe):
    """How to read a table of picks.

    Parameters
    ----------
    read_as
        Format of the file, if its ending and its content do not say it, for example dynamo0.
    tomogram
        Name of the tomogram to read, if the file has several; or its name, if the file states none.
    volume
        The volume that the picks belong to: its voxel size, shape, origin and name are taken.
    voxel_size
        Voxel size of the tomogram, angstrom: one number, or z, y, x. If the file states the size of its own pixels,
        coordinates are rescaled.
    shape
        Shape of the tomogram in voxels, z, y, x; RELION 5 counts from the middle of it.
    origin
        Position of the centre of the tomogram's first voxel, angstrom, z, y, x, from which markers of ChimeraX and
        tables in angstrom count (0,0,0 for a tomogram without one); default: that of the volume, or of the file.
    """

    read_as: str | None = None
    tomogram: str | None = None
    volume: str | None = None
    voxel_size: float | Vector3 | None = None
    shape: Index3 | None = None
    origin: Vector3 | None = None

    def check(self) -> None:
        """Refuse a grid that is stated twice, and sizes that are not positive."""
        if self.volume is not None and self.shape is not None:
            raise InputError("The shape is that of the volume; give volume or shape.")
        size = self.voxel_size
        if size is not None and min(size if isinstance(size, tuple) else (size,)) <= 0:
            raise InputError(f"voxel_size is {size}; it must be positive.")
        if self.shape is not None and min(self.shape) <= 0:
            raise InputError(f"shape is {self.shape}; it must be positive.")


@dataclass(frozen=True)
class PicksConvertRecipe(PicksRecipe):
    """How to write picks in another format; how they are read is a :class:`PicksRecipe`.

    Parameters
    ----------
    to
        Format to write, for example relion5; default: by the ending of the output.
    pixel_size
        Pixel size that the coordinates count in the file that is written, angstrom, for example the unbinned one of the
        tilt series, which RELION counts. If nothing states the voxel size, it is that, too.
    spacing_nm
        Of two picks that are closer than this, the one of lower weight is dropped; 0: all are kept.
    overwrite
        Replace files that exist.
    """

    to: str | None = None
    pixel_size: float | None = None
    spacing_nm: float = 0.0
    overwrite: bool = False

    def check(self) -> None:
        """Refuse sizes and distances that make no sense."""
        super().check()
        if self.pixel_size is not None and self.pixel_size <= 0:
            raise InputError(f"pixel_size is {self.pixel_size} angstrom; it must be positive.")
        if self.spacing_nm < 0:
            raise InputError(f"spacing_nm is {self.spacing_nm}; it must not be negative.")


@dataclass(frozen=True)
class PicksMergeRecipe(PicksConvertRecipe):
    """How to join picks; how they are read and written is a :class:`PicksConvertRecipe`.

    Parameters
    ----------
    any_origin
        Take things to begin at the same first voxel although they state different origins.
    """

    any_origin: bool = False


@dataclass(frozen=True)
class PicksFilterRecipe(PicksMergeRecipe):
    """Which picks are kept: those that fulfil every condition that is given, at least one.

    How they are read and written is a :class:`PicksMergeRecipe`.

    Parameters
    ----------
    min_weight
        Smallest weight.
    max_weight
        Largest weight.
    region
        Box in voxels: z, y, x of its first voxel, then z, y, x behind its last one; -1 behind: to the end.
    mask
        A volume on the grid of the tomogram, or with the same extent: picks where it is above the threshold.
    mask_grid
        How a mask with other voxels lies on the tomogram. faces: both begin at the same face, as after binning by
        averaging; centres: at the centre of the same first voxel, as after Fourier cropping; auto: as their origins
        say, else faces.
    threshold
        The value of the mask above which picks are kept; of a prediction a probability, 0 to 1.
    labels
        Values of the mask, a label volume, at which picks are kept; instead of the threshold.
    outside
        Keep the picks outside of the mask instead of those inside.
    near
        Another file of picks of the same tomograms; with near_nm, far_nm or both. Of the same file, each pick's own
        place does not count.
    near_nm
        Largest distance to the nearest of these other picks.
    far_nm
        Smallest distance to the nearest of these other picks.
    number
        Number of picks to keep of each tomogram, drawn at random from those that fulfil the conditions.
    seed
        Seed of the drawing.
    """

    min_weight: float | None = None
    max_weight: float | None = None
    region: tuple[int, int, int, int, int, int] | None = None
    mask: str | None = None
    mask_grid: Literal["auto", "faces", "centres"] = "auto"
    threshold: float = 0.0
    labels: tuple[int, ...] = ()
    outside: bool = False
    near: str | None = None
    near_nm: float | None = None
    far_nm: float | None = None
    number: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuse conditions that lack a part, or that nothing fulfils."""
        super().check()
        about_mask = self.labels or self.outside or self.threshold != 0 or self.mask_grid != "auto"
        if self.mask is None and about_mask:
            raise InputError("threshold, labels, outside and mask_grid are about a mask; give mask.")
        if (self.near is None) != (self.near_nm is None and self.far_nm is None):
            raise InputError("A distance needs a file and a number: give near, and near_nm or far_nm or both.")
        if self.near_nm is not None and self.far_nm is not None and self.far_nm > self.near_nm:
            raise InputError(f"No pick is at most {self.near_nm} nm and at least {self.far_nm} nm from others.")
        if self.region is not None and any(
            a >= b and b != -1 for a, b in zip(self.region[:3], self.region[3:], strict=True)
        ):
            raise InputError(
                f"The region {self.region} holds no voxel: it is z, y, x of the first, then behind the last (-1: the "
                "end)."
            )
        if None not in (self.min_weight, self.max_weight) and self.min_weight > self.max_weight:  # type: ignore[operator]
            raise InputError(f"No weight is at least {self.min_weight} and at most {self.max_weight}.")
        if self.number is not None and self.number < 0:
            raise InputError(f"number is {self.number}; it must not be negative.")
        given = (self.min_weight, self.max_weight, self.region, self.mask, self.near, self.number)
        if not self.spacing_nm and all(value is None for value in given):
            raise InputError(
                "There is no condition, so all picks would be kept: give --min-weight, --max-weight, --region, --mask, "
                "--near, --spacing-nm or --number; picks convert writes all of them."
            )


@dataclass(frozen=True)
class PicksExtractRecipe(Recipe):
    """Which subvolumes are cut out.

    Parameters
    ----------
    read_as
        Format of the file of picks, if its ending and its content do not say it.
    tomogram
        Name of the tomogram whose picks are read; default: that of the volume.
    voxel_size
        Voxel size of the volume, angstrom: one number, or z, y, x; if it does not state it.
    box
        Side of a subvolume in voxels. The voxel nearest to the pick is number box // 2 along each axis, from 0.
    overwrite
        Replace files that exist.
    """

    read_as: str | None = None
    tomogram: str | None = None
    voxel_size: float | Vector3 | None = None
    box: int = 64
    overwrite: bool = False

    def check(self) -> None:
        """Refuse a box without voxels."""
        if self.box < 1:
            raise InputError(f"box is {self.box}; it must be at least 1 voxel.")
