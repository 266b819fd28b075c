"""The recipe of ``stats``: what is an object, what is a cluster, what is a right one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.ops.stats_labels import ClassRules
from volengine.tasks.common.named import feature_of

Labels = Literal["atlas", "instances"]


@dataclass(frozen=True)
class StatsRecipe(Recipe):
    """What is counted, and how.

    Parameters
    ----------
    classes
        Classes to count; default: all there are. With ids the names of those, beside which all picks count.
    ids
        Class k is where the label volumes hold ids[k]; default: the names that a store keeps with its labels, else
        class_1, class_2 ...
    kind
        What label volumes hold: atlas (class ids; an object is a connected component), instances (a number for each
        object), or auto: as the store says; files of 8 bits are atlases.
    truth_kind
        What the label volumes of a truth hold.
    split
        Classes of an atlas whose touching particles are cut apart, by the watershed of the pick verb.
    connectivity
        Neighbours that make voxels one component: 6, 18 or 26.
    min_voxels
        Objects of label volumes with fewer voxels are islands: counted as such, and left out of everything else.
    min_volume_nm3
        The same as a volume.
    seed_distance_nm
        With split: a thickest place this close to a thicker one of the same component starts no particle of its own;
        default: 3 voxels.
    max_distance_vox
        With split: distances to the background count up to this; a block never reads further.
    eps_nm
        Clusters (DBSCAN): particles at most this far apart are neighbours.
    min_points
        Clusters: particles that must lie within eps of a particle, itself included, to make it the core of one.
    radius_nm
        With a truth: an object is right if it lies this close to a true one that no other object claims.
    voxel_size
        Angstrom, for files that do not say it.
    plots
        Draw the figures counts, nearest and clusters beside the tables, each as SVG and PNG.
    """

    classes: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    kind: Literal["auto", "atlas", "instances"] = "auto"
    truth_kind: Literal["auto", "atlas", "instances"] = "auto"
    split: tuple[str, ...] = ()
    connectivity: Literal[6, 18, 26] = 26
    min_voxels: int = 0
    min_volume_nm3: float = 0.0
    seed_distance_nm: float | None = None
    max_distance_vox: int = 64
    eps_nm: float = 50.0
    min_points: int = 3
    radius_nm: float = 10.0
    voxel_size: float | None = None
    plots: bool = True

    def check(self) -> None:
        for name in ("eps_nm", "radius_nm", "voxel_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be positive, not {value}.")
        for name in ("min_voxels", "min_volume_nm3", "seed_distance_nm"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be 0 or more, not {value}.")
        if self.min_points < 1:
            raise InputError(f"--min-points must be 1 or more, not {self.min_points}.")
        if not 1 <= self.max_distance_vox <= 4095:
            raise InputError(f"--max-distance-vox must be from 1 to 4095, not {self.max_distance_vox}.")
        for name in ("classes", "ids", "split"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name} names one twice: {', '.join(map(str, values))}.")
        if self.ids and len(self.ids) != len(self.classes):
            raise InputError(
                f"--ids has {len(self.ids)} values for {len(self.classes)} --classes; give one name for each id."
            )
        if min(self.ids, default=1) < 1:
            raise InputError(f"--ids {', '.join(map(str, self.ids))}: 0 is where nothing is; ids are 1 or more.")

    def labels_of(self, volume: Volume) -> Labels:
        """What a label volume holds.

        Raises
        ------
        InputError
            A prediction, or a volume that does not say it.
        """
        where = f"{volume.url}{'#' + volume.path if volume.path else ''}"
        if volume.kind == "probability":
            raise InputError(f"{where} is a prediction. Count its particles: volengine pick, then stats on the picks.")
        if self.kind != "auto":
            return self.kind
        if "classes" in volume.facts:
            return "atlas"
        if volume.facts.get("feature"):
            return "instances"
        if self.ids or volume.dtype in ("uint8", "int8", "bool"):
            return "atlas"
        raise InputError(
            f"{where} holds {volume.dtype} and does not say what the numbers are: class ids (--kind atlas) or a number "
            "for each object (--kind instances)? Of a truth: --truth-kind."
        )

    def names_of(self, volume: Volume) -> dict[int, str]:
        """Names of the class ids that are known before a voxel is read.

        Raises
        ------
        InputError
            ``classes`` that the volume does not know.
        """
        if self.ids:
            return dict(zip(self.ids, self.classes, strict=True))
        stated = volume.facts.get("classes")
        names = {int(v): str(k) for k, v in stated.items()} if isinstance(stated, dict) else {}
        if not names and feature_of(volume):
            names = {1: feature_of(volume)}
        if not names and self.classes:
            raise InputError(
                f"{volume.url} does not say which number {self.classes[0]!r} is; give --ids, one for each of --classes."
            )
        return names

    def rules_of(self, volume: Volume) -> ClassRules:
        """How the objects of an atlas are found, in its voxels; a voxel's shortest side is the unit of distances."""
        names = self.names_of(volume)
        wanted = self.ids or tuple(sorted(k for k, name in names.items() if name in self.classes))
        side = min(volume.voxel_size)
        seed = 3.0 if self.seed_distance_nm is None else self.seed_distance_nm * NM_TO_ANGSTROM / side
        z, y, x = (v / side for v in volume.voxel_size)
        return ClassRules(
            ids=wanted,
            split=tuple(sorted(k for k, name in names.items() if name in self.split)) + self._unnamed(names),
            connectivity=self.connectivity,
            max_distance_vox=self.max_distance_vox,
            seed_distance_vox=round(seed, 9),
            scale=(z, y, x),
        )

    def _unnamed(self, names: dict[int, str]) -> tuple[int, ...]:
        """Ids of ``split`` that are given as class_3."""
        spelled = {name: name.removeprefix(UNNAMED) for name in self.split if name.startswith(UNNAMED)}
        return tuple(int(k) for k in spelled.values() if k.isdecimal() and int(k) not in names)

    def of_truth(self) -> StatsRecipe:
        """The recipe for the truth: taken as it is, without islands and without a watershed."""
        return self.with_(kind=self.truth_kind, split=(), min_voxels=0, min_volume_nm3=0.0)

    def least_voxels(self, volume_nm3: float) -> int:
        """Voxels of the smallest object that is no island, for voxels of this volume."""
        return max(self.min_voxels, math.ceil(round(self.min_volume_nm3 / volume_nm3, 9)))


UNNAMED = "class_"
"""Begins the name of a class whose id is all that is known."""
