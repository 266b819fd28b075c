"""The recipe of ``surface``: what an object is, which are kept, and how their meshes are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.io.names import is_multilabel
from volengine.ops.stored import check_scale
from volengine.ops.surfaces.components import Seen
from volengine.ops.surfaces.sides import Side
from volengine.tasks.common.named import OF_SEVERAL_OBJECTS, feature_of

SMOOTH_VOX = 8.0
"""Default of ``smooth_nm``, in voxels: the steps of masks go, spheres of 6 voxels radius stay within 1.5 %."""

UNNAMED = "class_"
"""Prefix of the name of a class of which only the id is known."""


@dataclass(frozen=True)
class SurfaceRecipe(Recipe):
    """What an object is, which are kept, and how their meshes are made.

    Parameters
    ----------
    feature
        Name of the feature; default: that of the source. Of an atlas of class ids: the class whose surfaces are made.
    threshold
        Predictions: voxels above this probability belong to an object; the surface lies where the prediction has it.
    scale
        Values of the prediction are probabilities times this number, for example 100 for percent.
    ids
        Label volumes of class ids: the ids of the feature; default: as the store names them.
    instances
        The numbers of a label volume are objects: each has a surface of its own, also where it touches another, and the
        surface has its number. Otherwise the objects are connected components (26 neighbours), numbered by volume.
    min_volume_nm3
        Objects with a smaller volume of voxels are dropped.
    min_area_nm2
        Surfaces with a smaller area are dropped.
    largest
        Only so many objects are kept, the largest by volume; 0: all.
    close_at_faces
        Close objects that the volume's faces cut; otherwise their surfaces end there.
    smooth_nm
        Waves of the surface that are shorter than this are smoothed, without shrinking; 0: none; default: 8 voxels.
    vertex_area_nm2
        Make meshes of nearly equal triangles, of which each vertex has about this area; default: as fine as the voxels.
    split
        Divide membranes that touch, which are one component: along the groove around each spot; and vesicles that
        still hang together, each enclosed space with the part of the outer surface that is nearest to it.
    touch_nm
        With split: membranes that touch over a wider place are not divided there.
    side
        Which surface of a thick membrane: both (the whole surface of the object), its outer or inner face, or middle
        (the mid-surface). Outer is the side of a place or a label, if one is given; else the convex one.
    towards_nm
        With a side: normals point to the side of this place, nm from the first voxel, z, y, x; default: outwards, away
        from what a closed surface encloses.
    towards
        With a side: normals point to the side of a label, by its number or name in the source (2, cytosol); of another
        volume of the same voxels 2+3=atlas.mrc, cytosol=atlas.ome.zarr, or cytosol.mrc: all of its labels.
    max_thickness_nm
        With a side, or split: the faces of a membrane are at most so far apart.
    voxel_size
        Voxel size in angstrom, for files that do not state it.
    roi
        Only this part of the volume: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or one unit
        for all numbers, at the end). The stop is not included, and an empty end is that of the volume. Voxels outside
        are background; at the part's faces surfaces end, or are closed, as at the volume's. Places are those of the
        whole volume.

    Examples
    --------
    >>> recipe = SurfaceRecipe(feature="membrane", min_area_nm2=500, vertex_area_nm2=4)
    >>> recipe.side, recipe.threshold
    ('both', 0.5)
    """

    feature: str = ""
    threshold: float = 0.5
    scale: float | None = None
    ids: tuple[int, ...] = ()
    instances: bool = False
    min_volume_nm3: float = 0.0
    min_area_nm2: float = 0.0
    largest: int = 0
    close_at_faces: bool = False
    smooth_nm: float | None = None
    vertex_area_nm2: float | None = None
    split: bool = False
    touch_nm: float = 50.0
    side: Side = "both"
    towards_nm: tuple[float, float, float] | None = None
    towards: str = ""
    max_thickness_nm: float = 15.0
    voxel_size: float | None = None
    roi: str = ""

    def check(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is a probability from 0 to below 1, not {self.threshold}.")
        check_scale(self.scale)
        check_roi(self.roi)
        for name in ("vertex_area_nm2", "max_thickness_nm", "touch_nm", "voxel_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be positive, not {value}.")
        for name in ("min_volume_nm3", "min_area_nm2", "smooth_nm", "largest"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be 0 or more, not {value}.")
        if min(self.ids, default=1) < 1 or len(set(self.ids)) < len(self.ids):
            raise InputError(f"--ids {', '.join(map(str, self.ids))}: ids are 1 or more, and each is given once.")
        if self.ids and self.instances:
            raise InputError(
                "--ids name classes, and --instances says that numbers are objects; leave out one of them."
            )
        if self.split and self.instances:
            raise InputError(
                "--split divides components, and --instances says that numbers are objects; leave out one."
            )
        if self.towards_nm is not None and self.towards:
            raise InputError("--towards-nm is a place and --towards a label; leave out one of them.")
        if (self.towards_nm is not None or self.towards) and self.side == "both":
            raise InputError(
                f"--towards{'' if self.towards else '-nm'} says which face of a membrane is the outer one; give --side "
                "outer, inner or middle, too. With both, normals point out of the object."
            )
        if self.towards_nm is not None and not all(map(math.isfinite, self.towards_nm)):
            raise InputError(f"--towards-nm must be three numbers, not {self.towards_nm}.")

    def seen_as(self, volume: Volume) -> Seen:
        """What the volume is taken for: a prediction or mask, labels whose ids mean classes, or numbered objects."""
        if self.instances:
            return "instances"
        labels = volume.kind == "labels" or "classes" in volume.facts or is_multilabel(volume.url)
        return "labels" if labels or self.ids else "prediction"

    def feature_of(self, volume: Volume) -> str:
        """Name of the feature: the recipe's, else that of the source or of its file, else the source's name."""
        return self.feature or feature_of(volume) or volume.name

    def ids_of(self, volume: Volume) -> tuple[int, ...]:
        """The ids that are the feature in a label volume; none: its only number, whatever that is.

        Raises
        ------
        InputError
            The volume names several classes, and the recipe none of them.
        """
        if self.ids or self.instances:
            return self.ids
        stated = volume.facts.get("classes")
        names = {str(k): int(v) for k, v in stated.items()} if isinstance(stated, dict) else {}
        if is_multilabel(volume.url) and not self.feature:
            raise InputError(f"{volume.where} {OF_SEVERAL_OBJECTS}: give --ids.")
        if self.feature in names:
            return (names[self.feature],)
        spelled = self.feature.removeprefix(UNNAMED)
        if spelled != self.feature and spelled.isdecimal() and int(spelled) > 0:
            return (int(spelled),)
        if len(names) > 1 or (names and self.feature):
            raise InputError(
                f"{volume.where} is an atlas of the classes {', '.join(names)}; give one of them as --feature"
                + (f", not {self.feature!r}." if self.feature else ".")
            )
        return tuple(names.values())

    def smooth_of(self, volume: Volume) -> float:
        """Waves shorter than this are smoothed, angstrom."""
        if self.smooth_nm is not None:
            return self.smooth_nm * NM_TO_ANGSTROM
        return SMOOTH_VOX * math.prod(volume.voxel_size) ** (1 / 3)

    def least_voxels(self, volume: Volume) -> int:
        """Least number of voxels of an object that is kept."""
        voxel_nm3 = math.prod(v / NM_TO_ANGSTROM for v in volume.voxel_size)
        return math.ceil(round(self.min_volume_nm3 / voxel_nm3, 9))
