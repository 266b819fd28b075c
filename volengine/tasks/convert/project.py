"""Segmentations of a copick project as targets of ``convert``: which store, and what may be in it.

copick has masks of one object (0 and 1, ``SIZE_USER_SESSION_OBJECT.zarr``) and labels of several
(``...-multilabel.zarr``), in which the value of a voxel is the ``label`` of an object of the configuration. Both lie on
the grid of a tomogram of the run (``CopickRun.new_segmentation`` and ``from_numpy`` of copick 1.31).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.volume import Vector3, Volume
from volengine.io.copick.config import clean_name
from volengine.io.copick.contents import MULTILABEL, Item, items_of
from volengine.io.copick.target import Target, check_own_store, is_cube
from volengine.io.open import open_volume
from volengine.tasks.common.layout import file_name
from volengine.tasks.common.named import feature_of, stored_name, tomogram_in
from volengine.tasks.common.origins import origins_note
from volengine.tasks.convert.recipe import ConvertRecipe

LARGEST_LABEL = 2**32 - 1
SAME_SIZE = 5e-4
"""Difference of voxel sizes, angstrom, that copick's names do not show."""


@dataclass(frozen=True)
class Segmentation:
    """A store of a project.

    Parameters
    ----------
    store
        Its path.
    run, name
        The run, and the object or the name of labels of several objects.
    voxel_size, origin
        Those of the run's tomogram, angstrom, z, y, x.
    labels
        Of labels of several objects: the value that each value of the source becomes. ``None``: a mask.
    """

    store: str
    run: str
    name: str
    voxel_size: Vector3
    origin: Vector3
    labels: tuple[tuple[int, int], ...] | None = None


def segmentation_of(volume: Volume, out: str, recipe: ConvertRecipe) -> tuple[str, Segmentation]:
    """Find the place of a volume in a project, and refuse what copick would not understand.

    Parameters
    ----------
    volume
        A mask, labels, or a prediction.
    out
        The address of the project, ``config.json#seg=NAME,user=USER,session=SESSION,run=RUN``; all are optional.
    recipe
        How it is converted.

    Returns
    -------
    str, Segmentation
        The name of the plan, and the place.

    Raises
    ------
    MissingError, FormatError
        The project does not exist, or is damaged.
    InputError
        There is no such run or object; the run has no tomogram of this voxel size and shape; a threshold is missing or
        makes no sense; or the place is taken by a file of another program.
    """
    target = Target.of(out, "seg")
    feature = feature_of(volume)
    tomogram = tomogram_in(volume.name, feature)
    _check_meaning(volume, target, recipe)
    run = target.run_of(tomogram)
    like = _tomogram_of(volume, target, run)
    size = like.voxel_size
    path = target.segmentation_store(tomogram, feature, size[0])
    check_own_store(path)
    labels = _labels_of(volume, target) if target.multilabel else None
    name = target.name.removesuffix(MULTILABEL) if target.multilabel else target.object_of(feature)
    made = Segmentation(str(path), run, name, size, like.origin, labels)
    return f"{run}__{file_name(path.stem)}", made


def _check_meaning(volume: Volume, target: Target, recipe: ConvertRecipe) -> None:
    """Refuse probabilities without a threshold, and labels with one."""
    where = stored_name(volume)
    if recipe.ngff == "0.6":
        raise InputError(f"{target.address}: copick reads OME-Zarr 0.4, which is written into a project, not 0.6.")
    probability = "probability" in (volume.kind, recipe.kind)
    if target.multilabel and (probability or recipe.threshold is not None):
        raise InputError(
            f"{where}: probabilities have no labels of objects, so they cannot become {target.name!r}; write the mask "
            "of one object (seg=NAME of the object, and --threshold 0.5)."
        )
    if probability and recipe.threshold is None:
        raise InputError(
            f"{where} holds probabilities, and a segmentation of copick 0 and 1: say with --threshold (0.5, for "
            "example) above which probability a voxel belongs to the object."
        )


def _tomogram_of(volume: Volume, target: Target, run: str) -> Volume:
    """The tomogram of the run on whose grid the volume is."""
    where = stored_name(volume)
    size = is_cube(volume.voxel_size, f"{target.address}: {where}")
    there = [i for i in items_of(target.project, run) if i.kind == "tomogram" and i.run == run and i.spacing]
    near = [item for item in there if abs((item.spacing or 0) - size) <= SAME_SIZE]
    if not near:
        sizes = ", ".join(f"{v:.3f}" for v in sorted({item.spacing or 0 for item in there})) or "none"
        raise InputError(
            f"{where} has voxels of {size:g} angstrom, and the run {run!r} of {target.address} has tomograms of "
            f"{sizes}. If it is on the grid of one of these, give its size with --voxel-size; else resample it, or add "
            "the tomogram (copick add tomogram)."
        )
    found = [_opened(item) for item in near]
    fitting = [one for one in found if one.shape == volume.shape]
    if not fitting:
        shapes = " and ".join(dict.fromkeys(_shape(one) for one in found))
        raise InputError(
            f"{where} has {_shape(volume)} voxels (z, y, x), and the tomogram of the run {run!r} at {size:.3f} "
            f"angstrom {shapes}; a segmentation has the voxels of its tomogram. Is it of another run, binning or part?"
        )
    like = fitting[0]
    if any(like.origin) and any(volume.origin):
        _check_origins(where, volume, like, run)
    return like


def _check_origins(where: str, volume: Volume, like: Volume, run: str) -> None:
    ours, theirs = (where, volume.origin, volume.voxel_size), (f"the tomogram of {run!r}", like.origin, like.voxel_size)
    if said := origins_note(ours, theirs, accept=True).partition("; they are")[0]:
        raise InputError(
            f"{said}: they are different boxes of the specimen, and a segmentation has no origin of its own."
        )


def _opened(item: Item) -> Volume:
    found = open_volume(item.path, identity="metadata")
    size = item.spacing or found.voxel_size[0]  # that of the name, by which copick finds it
    return found.with_(voxel_size=(size,) * 3)


def _shape(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))


def _labels_of(volume: Volume, target: Target) -> tuple[tuple[int, int], ...]:
    """The label in the project of each value of a label volume; by the names of classes, if the volume states these."""
    objects = target.project.objects
    counts = Counter(one.label for one in objects)
    usable = {one.name: one.label for one in objects if one.label is not None and _usable(one.label, counts)}
    stated = volume.facts.get("classes")
    if not isinstance(stated, dict) or not stated:
        return tuple(sorted((label, label) for label in usable.values()))
    found = {}
    for name, value in stated.items():
        if int(value) == 0:
            continue
        if (clean := clean_name(str(name))) not in usable:
            raise InputError(
                f"{stored_name(volume)} has the class {name!r}, and {target.address} no object {clean!r} with a "
                f"label of its own; there are {_listed(list(usable))}. Add it to pickable_objects (copick add object)."
            )
        found[int(value)] = usable[clean]
    return tuple(sorted(found.items()))


def _usable(label: int, counts: Counter[int | None]) -> bool:
    return 0 < label <= LARGEST_LABEL and counts[label] == 1


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"
