"""Recipes of picking on surfaces: points at a spacing, profiles along normals, maxima of a score, networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.text import counted

Contrast = Literal["dark", "bright"]
MaskGrid = Literal["auto", "faces", "centres"]


@dataclass(frozen=True)
class SurfacesSampleRecipe(Recipe):
    """Where points are put on surfaces.

    Parameters
    ----------
    spacing_nm
        Smallest distance of two points of one surface. No further point fits.
    distance
        space: distances are straight lines. surface: they are the shortest ways on the surface (geodesic); then every
        place is nearer than 1.002 times the spacing to a point.
    offset_nm
        The points are moved along their normals by this, negative: to the inner side.
    edge_exclusion_nm
        Points keep this distance, along the surface, from the borders of open surfaces. Closed ones have none.
    tomogram
        The tomogram, whose grid the picks are on; needed for files of meshes, which state no voxel size.
    in_plane
        Angle about the normal: zero, or random, so that the missing wedge is averaged out.
    feature
        Name of the feature; default: that of the surfaces.
    seed
        Seed of the random numbers; each surface has its own, by its number.
    to
        Format to write, for example relion5; default: by the ending of the output.
    mask_grid
        How a tomogram with other voxels lies on that of the surfaces. faces: both begin at the same face, as after
        binning by averaging; centres: at the centre of the same first voxel, as after Fourier cropping; auto: as their
        origins say, else faces.
    any_origin
        Take surfaces and tomogram to begin at the same first voxel although they state different origins.
    overwrite
        Replace files that exist.
    """

    spacing_nm: float = 5.0
    distance: Literal["space", "surface"] = "space"
    offset_nm: float = 0.0
    edge_exclusion_nm: float = 0.0
    tomogram: str | None = None
    in_plane: Literal["zero", "random"] = "zero"
    feature: str | None = None
    seed: int = 0
    to: str | None = None
    mask_grid: MaskGrid = "auto"
    any_origin: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Refuse distances that make no sense."""
        _positive(spacing_nm=self.spacing_nm)
        _not_negative(edge_exclusion_nm=self.edge_exclusion_nm, seed=self.seed)
        _finite(offset_nm=self.offset_nm)


@dataclass(frozen=True)
class SurfacesProfileRecipe(Recipe):
    """Along which ways the tomogram is read, and how it is unrolled.

    Parameters
    ----------
    tomogram
        The tomogram. It may have other voxels than the one of the surfaces, if it has the same extent.
    from_nm
        First distance along the normal; negative: on the inner side.
    to_nm
        Last distance.
    step_nm
        Step between them; the way must be a whole number of steps.
    order
        Interpolation: cubic (cubic convolution over 4 x 4 x 4 voxels) or linear.
    picture
        Folder for pictures of the unrolled surfaces: for each surface a PNG file, and the values as NPY.
    pixel_nm
        Side of a pixel of these pictures.
    shown_nm
        Distances that the PNG file shows; those of the NPY file are all. Default: five, equally far apart.
    unroll
        How a surface is unrolled. sphere: closed ones by the direction from their middle, in an equal-area projection
        (of a sphere); polar: by geodesic distance and direction from a point in the middle; auto: sphere where it
        fits, else the one that distorts areas less.
    mask_grid
        How a tomogram with other voxels lies on that of the surfaces. faces: both begin at the same face, as after
        binning by averaging; centres: at the centre of the same first voxel, as after Fourier cropping; auto: as their
        origins say, else faces.
    any_origin
        Take surfaces and tomogram to begin at the same first voxel although they state different origins.
    overwrite
        Replace files that exist.
    """

    tomogram: str | None = None
    from_nm: float = -2.5
    to_nm: float = 2.25
    step_nm: float = 0.25
    order: Literal["cubic", "linear"] = "cubic"
    picture: str | None = None
    pixel_nm: float = 1.0
    shown_nm: tuple[float, ...] = ()
    unroll: Literal["auto", "sphere", "conformal", "polar"] = "auto"
    mask_grid: MaskGrid = "auto"
    any_origin: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Refuse ways that are no whole number of steps, and options of pictures that nobody asked for."""
        from volengine.ops.surfaces.profile_sampling import steps

        if self.tomogram is None:
            raise InputError("Profiles are read from a tomogram; give tomogram.")
        steps(self.from_nm, self.to_nm, self.step_nm)
        _positive(pixel_nm=self.pixel_nm)
        if self.picture is None and self.shown_nm:
            raise InputError("shown_nm is about pictures; give picture.")


@dataclass(frozen=True)
class SurfacesPickRecipe(Recipe):
    """What is a particle on a surface.

    The score of a vertex is one of: the mean density in a range of distances (the default), the correlation with a
    template, the answer of a network, or a column of the surfaces.

    Parameters
    ----------
    tomogram
        The tomogram; not needed for a column of the surfaces.
    from_nm
        Where the range of distances along the normal begins whose mean density is the score.
    to_nm
        Where this range ends.
    disc_nm
        The density is the mean over a disc of this radius across the normal.
    contrast
        Whether particles are dark or bright in the tomogram.
    template
        A density map of the particle, with the contrast of the tomogram. Its z axis is the normal; the middle voxel
        (number n // 2) is its middle. Beside model or column, it says the place and the angle of the picks only.
    template_height_nm
        Height of the middle of the template above the surface.
    template_radius_nm
        Radius of the part of the template that is compared; default: to the nearest face of its box.
    symmetric
        Compare with the mean of the template over all rotations about the normal; no angle about the normal is found.
    angle_step_deg
        Step of the angle about the normal, a whole part of 360, at the vertices. For picks it is refined.
    model
        A network of surfaces train.
    column
        A column of the surfaces that is the score.
    method
        maxima: local maxima at a smallest distance. mean-shift: centres of the vertices above min_score, by mean shift.
    spacing_nm
        maxima: smallest distance along the surface. mean-shift: the bandwidth.
    edge_nm
        Edges are divided until none is longer, because vertices are the places that are compared; default: a quarter of
        the spacing.
    min_score
        Smallest score; default: of densities and correlations the median plus twice the deviation (1.48 x the median of
        the distances from the median) of all vertices, of networks the threshold of the model.
    offset_nm
        The picks are moved along their normals by this, negative: to the inner side; default: to the middle of the
        template, or of the particles that a network was trained on; else 0.
    edge_exclusion_nm
        Picks keep this distance, along the surface, from the borders of open surfaces.
    feature
        Name of the feature; default: that of the model, else that of the surfaces.
    scored
        Write the surfaces with their scores as a column to this set, too.
    to
        Format to write, for example relion5; default: by the ending of the output.
    mask_grid
        How a tomogram with other voxels lies on that of the surfaces. faces: both begin at the same face, as after
        binning by averaging; centres: at the centre of the same first voxel, as after Fourier cropping; auto: as their
        origins say, else faces.
    any_origin
        Take surfaces and tomogram to begin at the same first voxel although they state different origins.
    overwrite
        Replace files that exist.
    """

    tomogram: str | None = None
    from_nm: float = 2.0
    to_nm: float = 8.0
    disc_nm: float = 1.0
    contrast: Contrast = "dark"
    template: str | None = None
    template_height_nm: float = 0.0
    template_radius_nm: float | None = None
    symmetric: bool = False
    angle_step_deg: float = 15.0
    model: str | None = None
    column: str | None = None
    method: Literal["maxima", "mean-shift"] = "maxima"
    spacing_nm: float = 10.0
    edge_nm: float | None = None
    min_score: float | None = None
    offset_nm: float | None = None
    edge_exclusion_nm: float = 0.0
    feature: str | None = None
    scored: str | None = None
    to: str | None = None
    mask_grid: MaskGrid = "auto"
    any_origin: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Refuse two scores, or one without a tomogram."""
        given = [name for name in ("model", "column") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are two scores; give one.")
        if self.tomogram is None and (self.column is None or self.template is not None):
            raise InputError("A score of densities is read from a tomogram: give tomogram, or column.")
        _positive(spacing_nm=self.spacing_nm, edge_nm=self.edge_nm, template_radius_nm=self.template_radius_nm)
        _not_negative(disc_nm=self.disc_nm, edge_exclusion_nm=self.edge_exclusion_nm)
        _finite(offset_nm=self.offset_nm, min_score=self.min_score, template_height_nm=self.template_height_nm)
        if not self.from_nm <= self.to_nm:
            raise InputError(f"from_nm is {self.from_nm} and to_nm {self.to_nm}; the first is the smaller one.")
        turns = 360 / self.angle_step_deg if self.angle_step_deg > 0 else 0
        if turns < 1 or abs(turns - round(turns)) > 1e-6:
            raise InputError(f"angle_step_deg is {self.angle_step_deg}; 360 must be a multiple of it.")


@dataclass(frozen=True)
class SurfacesTrainRecipe(Recipe):
    """How a network learns to see particles on surfaces.

    Parameters
    ----------
    tomograms
        The tomogram of each set of surfaces, in their order.
    picks
        The known particles of each, in the same order.
    feature
        Name of the particle; default: that of the picks.
    from_nm
        Where the range of distances along the normal begins that the network sees.
    to_nm
        Where the range that the network sees ends.
    radius_nm
        Radius of the disc that it sees.
    step_nm
        Distance of the values that it sees, along the normal and across.
    near_nm
        Vertices count as on the particle, by a weight that falls from 1 at the particle to 0.6 at this distance.
    reach_nm
        Known particles farther than this from every surface do not count.
    epochs
        Passes over the vertices.
    learning_rate
        Of Adam, at its highest.
    seed
        Seed of weights, order and augmentation.
    mask_grid
        How a tomogram with other voxels lies on that of the surfaces. faces: both begin at the same face, as after
        binning by averaging; centres: at the centre of the same first voxel, as after Fourier cropping; auto: as their
        origins say, else faces.
    any_origin
        Take surfaces and tomograms to begin at the same first voxels although they state different origins.
    overwrite
        Replace a file that exists.
    """

    tomograms: tuple[str, ...] = ()
    picks: tuple[str, ...] = ()
    feature: str | None = None
    from_nm: float = -6.0
    to_nm: float = 13.5
    radius_nm: float = 7.5
    step_nm: float = 1.5
    near_nm: float = 3.0
    reach_nm: float = 10.0
    epochs: int = 12
    learning_rate: float = 3e-3
    seed: int = 0
    mask_grid: MaskGrid = "auto"
    any_origin: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Refuse lists of different lengths, and sizes that make no sense."""
        if not self.tomograms or len(self.tomograms) != len(self.picks):
            raise InputError(
                "Each set of surfaces needs its tomogram and its picks; given are "
                f"{counted(len(self.tomograms), 'tomogram')} and {counted(len(self.picks), 'file')} of picks."
            )
        _positive(
            radius_nm=self.radius_nm,
            step_nm=self.step_nm,
            near_nm=self.near_nm,
            reach_nm=self.reach_nm,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
        )
        if not self.from_nm < self.to_nm:
            raise InputError(f"from_nm is {self.from_nm} and to_nm {self.to_nm}; the first is the smaller one.")


def _positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; it must be positive.")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise InputError(f"{name} is {value}; it must not be negative.")


def _finite(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise InputError(f"{name} is {value}; it must be a number.")
