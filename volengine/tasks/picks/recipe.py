"""Recipes of ``picks``: what the files of picks do not state, and what to do with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volengine.core.boxes import Index3
from volengine.core.conditions import check_condition
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.volume import Vector3
from volengine.ops.stored import check_scale


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
    mask_grid
        How a volume, or a table of picks, with other voxels lies on the tomogram. faces: both begin at the same face,
        as after binning by averaging; centres: at the centre of the same first voxel, as after Fourier cropping, or if
        positions were multiplied; auto: as their origins say, else faces, and centres for tables without a shape.
    """

    any_origin: bool = False
    mask_grid: Literal["auto", "faces", "centres"] = "auto"


@dataclass(frozen=True)
class PicksMeasureRecipe(PicksMergeRecipe):
    """What is measured around picks; how they are read and written is a :class:`PicksMergeRecipe`.

    What is named is a path, a folder, a glob or a list, of volumes or surfaces of one tomogram or of many; which is of
    which tomogram is said by the names. ``NAME=PATH`` gives the columns a name: ``membrane=TS_01.surfaces``.

    Parameters
    ----------
    results
        Folder of results of volengine run (its out): the picks of a manifest's tomograms, and what is named by its
        feature alone: for probability and value the prediction, after the rules; for labels the labels of its picks.
    surface
        Sets of surfaces (folders .surfaces) or meshes: distance, side, number of the nearest, inside of closed ones.
    labels
        Label volumes: distance, depth, inside, the label. Every label but 0 counts, or those that are given:
        membrane:2+3=atlas.mrc. A volume that states classes is measured for each of them.
    probability
        Predictions: the same where they are above the threshold, and their value.
    threshold
        The probability above which voxels belong to the feature.
    scale
        The values of predictions are divided by it: 255 for probabilities that are stored as 0 to 255 by a program that
        does not say so, 100 for percent. It also says that they are predictions, if their metadata say otherwise.
    value
        Volumes whose values at the picks are written.
    reach_nm
        Largest distance to labels and predictions that is looked for; farther is written as inf.
    lamella
        Depth below the faces of the slab of material. Tomograms, in which the faces are found by the variance along z;
        masks (labels, predictions) of the slab; or its surfaces.
    lamella_cell_nm
        Side of the columns in which the faces are looked for.
    neighbours_nm
        Radius in which the other picks of the table are counted.
    neighbour
        The distance to the neighbour of this rank is written, if neighbours_nm is given; 1: the nearest.
    """

    results: str | None = None
    surface: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    probability: tuple[str, ...] = ()
    threshold: float = 0.5
    scale: float | None = None
    value: tuple[str, ...] = ()
    reach_nm: float = 50.0
    lamella: tuple[str, ...] = ()
    lamella_cell_nm: float = 40.0
    neighbours_nm: float | None = None
    neighbour: int = 1

    def check(self) -> None:
        """Refuse a call that measures nothing, and distances that make no sense."""
        super().check()
        for name in ("reach_nm", "lamella_cell_nm", "neighbours_nm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; it must be a positive number of nanometres.")
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold is {self.threshold}; it must be a probability from 0 to below 1.")
        check_scale(self.scale)
        if self.scale is not None and not self.probability:
            raise InputError("scale is about predictions; give probability, too.")
        if self.neighbour < 1:
            raise InputError(f"neighbour is {self.neighbour}; 1 is the nearest one.")
        if self.neighbour != 1 and self.neighbours_nm is None:
            raise InputError("neighbour says which neighbour's distance is written; give neighbours_nm, too.")
        given = (self.surface, self.labels, self.probability, self.value, self.lamella, self.neighbours_nm)
        if not any(given):
            raise InputError(
                "There is nothing to measure: give --surface, --labels, --probability, --value, --lamella or "
                "--neighbours-nm."
            )


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
    where
        A condition on the columns, such as "membrane.distance_nm < 15 and inside == 'mitochondrion'".
    number
        Number of picks to keep of each tomogram, drawn at random from those that fulfil the conditions.
    seed
        Seed of the drawing.
    """

    min_weight: float | None = None
    max_weight: float | None = None
    region: tuple[int, int, int, int, int, int] | None = None
    mask: str | None = None
    threshold: float = 0.0
    labels: tuple[int, ...] = ()
    outside: bool = False
    near: str | None = None
    near_nm: float | None = None
    far_nm: float | None = None
    where: str | None = None
    number: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuse conditions that lack a part, or that nothing fulfils."""
        super().check()
        if self.mask is None and (self.labels or self.outside or self.threshold != 0):
            raise InputError("threshold, labels and outside are about a mask; give mask.")
        if self.mask is None and self.near is None and self.mask_grid != "auto":
            raise InputError("mask_grid is about a mask, or about other picks; give mask or near.")
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
        if self.where is not None:
            check_condition(self.where)
        given = (self.min_weight, self.max_weight, self.region, self.mask, self.near, self.where, self.number)
        if not self.spacing_nm and all(value is None for value in given):
            raise InputError(
                "There is no condition, so all picks would be kept: give --min-weight, --max-weight, --region, --mask, "
                "--near, --where, --spacing-nm or --number; picks convert writes all of them."
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
