"""The recipe of ``stats``: what an object is, what a cluster is, and which objects are right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.io.names import is_multilabel
from volengine.ops.stats_labels import ClassRules
from volengine.tasks.common.named import feature_of

Labels = Literal["atlas", "instances"]


@dataclass(frozen=True)
class StatsRecipe(Recipe):
    """What is counted, and how.

    Parameters
    ----------
    classes
        Classes to count; default: all classes. With ids they name those of the label volumes; all picks count as well.
    ids
        Class k is where the label volumes hold ids[k]; default: the ids and names that a store keeps with its labels,
        else class_1, class_2 ...
    kind
        What label volumes hold: atlas (class ids; an object is a connected component), instances (a number for each
        object), or auto: as the store states; files of 8 bits are atlases.
    truth_kind
        What the label volumes of a truth hold.
    split
        Classes of an atlas whose touching particles are separated, by the watershed of the pick verb.
    connectivity
        Neighbours that join voxels to one component: 6, 18 or 26.
    min_voxels
        Objects of label volumes with fewer voxels are islands: they are counted as islands, and nothing else is
        computed from them.
    min_volume_nm3
        The same limit as a volume.
    seed_distance_nm
        With split: a local maximum of the distance this close to a higher one of the same component starts no particle
        of its own; default: 3 voxels.
    max_distance_vox
        With split: distances to the background count up to this; a block never reads further.
    eps_nm
        Clusters (DBSCAN): particles at most this far apart are neighbours.
    min_points
        Clusters: a particle is the core of a cluster if at least this many particles, itself included, lie within eps.
    radius_nm
        With a truth: an object is right if it lies within this distance of a true one that no other object is paired
        with.
    roi
        Only this part of tomograms is counted: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or
        one unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume. An
        object that reaches out of it is cut off; picks count if their position lies in it.
    voxel_size
        Voxel size in angstrom, for files that do not state it.
    any_origin
        Count and compare although two sources of a tomogram both state an origin, and these differ.
    mask_grid
        How sources with other voxels lie on the first one of their tomogram. faces: both begin at the same face, as
        after binning by averaging; centres: at the centre of the same first voxel, as after Fourier cropping, or if
        positions were multiplied; auto: as their origins say, else faces, and centres for tables without a shape.
    plots
        Draw the figures counts, nearest and clusters beside the tables, each as SVG and PNG.

    Examples
    --------
    >>> recipe = StatsRecipe(classes=("ribosome", "TRiC"), ids=(3, 4), split=("TRiC",), min_voxels=50)
    >>> recipe.eps_nm, recipe.min_points
    (50.0, 3)
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
    any_origin: bool = False
    mask_grid: Literal["auto", "faces", "centres"] = "auto"
    plots: bool = True
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)
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
                f"--ids has {counted(len(self.ids), 'value')} for {len(self.classes)} --classes; give one name "
                "for each id."
            )
        if min(self.ids, default=1) < 1:
            raise InputError(f"--ids {', '.join(map(str, self.ids))}: 0 is where nothing is; ids are 1 or more.")

    def labels_of(self, volume: Volume) -> Labels:
        """Whether a label volume holds class ids (``atlas``) or numbered objects (``instances``).

        Raises
        ------
        InputError
            The volume is a prediction or a tomogram, or neither it nor the recipe says what it holds.
        """
        where = volume.where
        if volume.kind == "probability":
            raise InputError(f"{where} is a prediction. Count its particles: volengine pick, then stats on the picks.")
        if self.kind != "auto":
            return self.kind
        if volume.kind == "intensity" and "history" in volume.facts:
            raise InputError(
                f"{where} is a tomogram by its own words (kind intensity). Segment and pick it first; if it does hold "
                "labels, convert it with --kind labels, or say what they are: --kind atlas or --kind instances."
            )
        if "classes" in volume.facts or is_multilabel(volume.url):
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
        """The names of class ids, as far as the recipe and the volume's metadata give them.

        Raises
        ------
        InputError
            ``classes`` are given without ``ids``, and the volume does not state their ids.
        """
        if self.ids:
            return dict(zip(self.ids, self.classes, strict=True))
        stated = volume.facts.get("classes")
        names = {int(v): str(k) for k, v in stated.items()} if isinstance(stated, dict) else {}
        if not names and feature_of(volume) and not is_multilabel(volume.url):
            names = {1: feature_of(volume)}
        if not names and self.classes:
            raise InputError(
                f"{volume.url} does not say which number {self.classes[0]!r} is; give --ids, one for each of --classes."
            )
        return names

    def rules_of(self, volume: Volume) -> ClassRules:
        """The rules for the objects of an atlas, in voxels; distances are in units of a voxel's shortest side."""
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
        """Ids of the classes in ``split`` that have no name, for example 3 for ``class_3``."""
        spelled = {name: name.removeprefix(UNNAMED) for name in self.split if name.startswith(UNNAMED)}
        return tuple(int(k) for k in spelled.values() if k.isdecimal() and int(k) not in names)

    def of_truth(self) -> StatsRecipe:
        """The recipe for the truth, whose objects are not split, and none of which is an island."""
        return self.with_(kind=self.truth_kind, split=(), min_voxels=0, min_volume_nm3=0.0)

    def least_voxels(self, volume_nm3: float) -> int:
        """Least number of voxels of an object that is not an island, for voxels of this volume (cubic nanometres)."""
        return max(self.min_voxels, math.ceil(round(self.min_volume_nm3 / volume_nm3, 9)))


UNNAMED = "class_"
"""Prefix of the name of a class of which only the id is known."""
