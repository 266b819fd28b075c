"""The recipe of ``pick``: what a particle is, in physical units; and the same rules in voxels of a prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.ops.axes import Orient, OrientSign
from volengine.ops.basin_graph import RegionRules
from volengine.ops.basins import weight_unit
from volengine.ops.heights import BasinRules
from volengine.ops.stored import check_scale
from volengine.tasks.common.named import feature_of

_DEFAULTS: dict[str, tuple[float, float, float, Index3]] = {
    "": (0.5, 10.0, 0.0, (0, 0, 0)),
    "ais": (128 / 255, 1.0, 0.001, (16, 16, 16)),
}
"""Threshold, spacing (nm), least volume (nm³) and margin; Ais's are 128, 10 angstrom, 1 cubic angstrom, 16 pixels."""


@dataclass(frozen=True)
class PickRecipe(Recipe):
    """What a particle is.

    Parameters
    ----------
    feature
        Name of the particles and of their label image; default: the prediction's feature; of a file TOMOGRAM__FEATURE
        the second part of its name; else the whole name.
    threshold
        A voxel is foreground if its probability exceeds this, from 0 to below 1; default: 0.5 (compat ais: 128 / 255).
    scale
        Values are divided by it: 255 for probabilities that are stored as 0 to 255 in floating-point numbers, 100 for
        percent. It also says that the volume is a prediction, if its metadata say otherwise.
    spacing_nm
        Of two particles closer than this, the one of lower weight is dropped; 0 keeps all. Default: 10 (compat ais: 1).
    min_volume_nm3
        Smaller regions are dropped; default: 0 (compat ais: 0.001).
    seed_distance_nm
        A local maximum of the distance this close to a higher one of the same component starts no region of its own;
        default: the spacing, but at least 3 voxels.
    position
        centroid of the region, or maximum: its voxel of highest prediction; of several equal ones the middle one.
    orient
        Give each pick a direction, as Euler angles and a unit vector: long-axis: along rods; normal: across sheets (the
        axis of the largest and smallest variance of the region); none.
    orient_sign
        An axis has no head: let it point up (z), away from the volume's centre (out), or towards it (in).
    connectivity
        Neighbours that join voxels to one component: 6, 18 or 26; with mode 2d those in the slice (4, 8, 8).
    margin_vox
        Particles closer than this to the volume's faces are dropped, voxels z, y, x; default: 0 (compat ais: 16).
    mode
        3d; or 2d: distances, regions and spacing are computed in each z slice separately.
    split
        Separate touching particles; otherwise a connected component is one particle.
    max_distance_vox
        Distances to the background count up to this; a block never reads further. A larger value is slower.
    filament
        Points along the centrelines of filaments, every spacing, with the tangent as direction, instead of one pick for
        each region. Filaments are cut where three or more meet; the table numbers them (filament), and has the length
        from the begin to the point (along_nm), that of the filament up to its ends (length_nm) and the radius of
        curvature (curvature_radius_nm).
    min_length_nm
        Filaments, and branches with a free end, that are shorter are dropped.
    twist_deg
        Filaments: turn about the tangent (rot) from point to point.
    min_picks
        Of a tomogram with fewer picks none is kept.
    compat
        ais: the picks of Ais's own command without options (version 1.2.40), at the same voxels: every local maximum of
        the distance to the background, and the distance as weight.
    labels
        Write the label volume (0, or the label of the particle; compat ais: of its component): labels/FEATURE in the
        store of the prediction, or beside the table if the prediction is a file.
    format
        Format of the table of picks, for example relion5; default: by the ending of the output.
    roi
        Only this part of the volume is picked: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or
        one unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume. The
        table counts the voxels of the whole volume; labels are a volume of the part, beside the table. Voxels outside
        are background: objects that lie inside are picked as in the whole volume, of others the part that lies inside.

    Examples
    --------
    >>> recipe = PickRecipe(feature="ribosome", threshold=0.5, spacing_nm=20, min_volume_nm3=1000)
    >>> recipe.position, recipe.connectivity
    ('centroid', 26)
    """

    feature: str = ""
    threshold: float | None = None
    scale: float | None = None
    spacing_nm: float | None = None
    min_volume_nm3: float | None = None
    seed_distance_nm: float | None = None
    position: Literal["centroid", "maximum"] = "centroid"
    orient: Orient = "none"
    orient_sign: OrientSign = "z"
    connectivity: Literal[6, 18, 26] = 26
    margin_vox: tuple[int, int, int] | None = None
    mode: Literal["3d", "2d"] = "3d"
    split: bool = True
    max_distance_vox: int = 64
    filament: bool = False
    min_length_nm: float = 50.0
    twist_deg: float = 0.0
    min_picks: int = 0
    compat: Literal["", "ais"] = ""
    labels: bool = True
    format: str | None = None
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)
        if self.roi and self.compat:
            raise InputError(
                f"--roi {self.roi}: compat {self.compat} is the whole command of Ais, which knows no parts of volumes; "
                "leave out one of them, or pick a volume that volengine crop has written."
            )
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is a probability from 0 to below 1, not {self.threshold}.")
        check_scale(self.scale)
        lengths = {
            "spacing-nm": self.spacing_nm or 0.0,
            "min-volume-nm3": self.min_volume_nm3 or 0.0,
            "seed-distance-nm": self.seed_distance_nm or 0.0,
            "margin-vox": min(self.margin_vox or (0,)),
            "min-length-nm": self.min_length_nm,
        }
        for name, value in lengths.items():
            if not 0 <= value < math.inf:
                raise InputError(f"--{name} must be 0 or more, not {value}.")
        if self.min_picks < 0:
            raise InputError(f"--min-picks must be 0 or more, not {self.min_picks}.")
        self._check_filament()
        self._check_compat()
        if not 1 <= self.max_distance_vox <= 4095:
            raise InputError(f"--max-distance-vox must be from 1 to 4095, not {self.max_distance_vox}.")

    def _check_filament(self) -> None:
        if not -math.inf < self.twist_deg < math.inf:
            raise InputError(f"--twist-deg must be a number of degrees, not {self.twist_deg}.")
        if not self.filament:
            if self.twist_deg:
                raise InputError(f"--twist-deg {self.twist_deg:g} is for points along filaments; add --filament.")
            return
        if self.spacing_nm is not None and not self.spacing_nm > 0:
            raise InputError(
                f"--filament sets a point every --spacing-nm, which must be above 0, not {self.spacing_nm}."
            )
        for name, value, only in (("mode", self.mode, "3d"), ("position", self.position, "centroid")):
            if value != only:
                raise InputError(f"--filament follows centrelines in 3D; leave out --{name} {value}.")
        if self.orient != "none":
            raise InputError(f"--filament gives tangents; leave out --orient {self.orient}.")

    def _check_compat(self) -> None:
        if not self.compat:
            return
        others = {
            "filament": self.filament,
            "mode": self.mode != "3d",
            "position": self.position != "centroid",
            "orient": self.orient != "none",
            "seed-distance-nm": self.seed_distance_nm is not None,
            "no-split": not self.split,
            "connectivity": self.connectivity != 26,
        }
        if given := [f"--{name}" for name, is_given in others.items() if is_given]:
            raise InputError(
                f"--compat ais picks as Ais does without options, which has no {given[0]}; leave out one of them. "
                "(Ais's -centroid is --no-split --connectivity 6 without --compat.)"
            )

    def resolved(self) -> PickRecipe:
        """The same recipe with every value that it leaves open filled in."""
        threshold, spacing, volume, margin = _DEFAULTS[self.compat]
        return self.with_(
            threshold=threshold if self.threshold is None else self.threshold,
            spacing_nm=spacing if self.spacing_nm is None else self.spacing_nm,
            min_volume_nm3=volume if self.min_volume_nm3 is None else self.min_volume_nm3,
            margin_vox=margin if self.margin_vox is None else self.margin_vox,
        )

    @property
    def level(self) -> float:
        """The threshold, from 0 to below 1."""
        return _DEFAULTS[self.compat][0] if self.threshold is None else self.threshold

    @property
    def spacing(self) -> float:
        """The spacing, angstrom."""
        return NM_TO_ANGSTROM * (_DEFAULTS[self.compat][1] if self.spacing_nm is None else self.spacing_nm)

    @property
    def least_nm3(self) -> float:
        """The least volume of a region, nm³."""
        return _DEFAULTS[self.compat][2] if self.min_volume_nm3 is None else self.min_volume_nm3

    @property
    def margin(self) -> Index3:
        """The margin, voxels z, y, x."""
        return _DEFAULTS[self.compat][3] if self.margin_vox is None else self.margin_vox

    def ais_reach(self, volume: Volume) -> int:
        """The least distance of two picks with compat ais, whole voxels: in float32 of the size along x, as there."""
        return max(3, int(np.float32(self.spacing / NM_TO_ANGSTROM) / _ais_pixel_nm(volume)))

    def feature_of(self, volume: Volume) -> str:
        """Name of the feature: the recipe's, else that of the prediction or of its file, else the prediction's name."""
        return self.feature or feature_of(volume) or volume.name

    def basin_rules(self, volume: Volume) -> BasinRules:
        """The rules for local regions, with the threshold in values of the prediction and lengths in voxels.

        ``volume`` has the dtype of the prediction that is made of its voxels: uint8 or floating-point.
        """
        dtype = np.dtype(volume.dtype)
        # Rounded, so that a threshold of n / 255 becomes exactly n.
        level = self.level if dtype.kind == "f" else math.floor(round(self.level * 255, 9))
        if self.compat:
            return BasinRules(level, 6, False, self.max_distance_vox)
        products = self.orient != "none"
        return BasinRules(level, self.connectivity, self.mode == "2d", self.max_distance_vox, products)

    def filament_rules(self, volume: Volume) -> dict[str, Any]:
        """The parameters of :func:`volengine.tasks.pick.blocks.trace_filaments`; lengths are in the shortest side."""
        side = min(volume.voxel_size)
        return {
            "scale": [v / side for v in volume.voxel_size],
            "side_nm": side / NM_TO_ANGSTROM,
            "spacing": self.spacing / side,
            "least": self.min_length_nm * NM_TO_ANGSTROM / side,
            "twist_deg": self.twist_deg,
            "margin_vox": list(self.margin),
            "min_picks": self.min_picks,
        }

    def region_rules(self, volume: Volume) -> RegionRules:
        """The rules by which regions become picks, in voxels; distances are in units of a voxel's shortest side."""
        side = min(volume.voxel_size)
        z, y, x = (v / side for v in volume.voxel_size)
        spacing = self.spacing / side
        seeds = max(3.0, spacing) if self.seed_distance_nm is None else self.seed_distance_nm * NM_TO_ANGSTROM / side
        voxel_nm3 = math.prod(v / NM_TO_ANGSTROM for v in volume.voxel_size)
        if self.compat:
            least = math.ceil(float(np.float32(self.least_nm3) / _ais_pixel_nm(volume) ** 3))
            return RegionRules(unit=weight_unit(volume.dtype), split=False, min_voxels=least)
        if self.filament:  # its components are wanted, whole and all of them
            return RegionRules(
                unit=weight_unit(volume.dtype),
                split=False,
                min_voxels=math.ceil(round(self.least_nm3 / voxel_nm3, 9)),
                scale=(z, y, x),
            )
        return RegionRules(
            unit=weight_unit(volume.dtype),
            split=self.split,
            seed_distance_vox=round(seeds, 9),
            min_voxels=math.ceil(round(self.least_nm3 / voxel_nm3, 9)),
            margin_vox=self.margin,
            spacing_vox=round(spacing, 9),
            scale=(z, y, x),
            position=self.position,
            planar=self.mode == "2d",
            orient=self.orient,
            orient_sign=self.orient_sign,
            min_picks=self.min_picks,
        )


def _ais_pixel_nm(volume: Volume) -> np.float32:
    """The size of a pixel along x as Ais computes with it: float32, as in the header of an MRC file."""
    return np.float32(np.float32(volume.voxel_size[2]) / np.float32(NM_TO_ANGSTROM))
