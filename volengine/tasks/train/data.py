"""What a training has read: the identity of every volume, label file, points file and training set of its samples.

Also what is to be noted about them: a truth that states another origin or voxel size than its tomogram, and points
outside of it, which do not count.

They are part of the history of the model. So a training whose labels were corrected under the same name is not taken
for the same training, and a file that is replaced while it is read ends the training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volengine.core.errors import InputError
from volengine.core.volume import Vector3, Volume
from volengine.io.copick.choice import files_of
from volengine.io.hashing import FileIdentity
from volengine.io.identity import check_unchanged
from volengine.io.names import split_group
from volengine.io.open import open_volume
from volengine.io.shared_models import model_path
from volengine.tasks.common.named import open_sized
from volengine.tasks.common.origins import SIZE_TOLERANCE, origins_note
from volengine.tasks.train.labels import picks_of, points_of
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample

HASHED_BYTES = 16 * 2**30
"""Volumes up to this size are known by all bytes, larger ones by size, time and some blocks, or a listing of chunks."""


@dataclass(frozen=True)
class TrainingData:
    """The data of a training as they were when it began.

    Parameters
    ----------
    volumes
        Tomograms, label volumes and targets, by their names in the recipe.
    files
        Points, boxes, training sets, and the model to start from, by their names in the recipe.
    notes
        Lines for the user about a truth that may not be that of its tomogram.
    """

    volumes: dict[str, Volume]
    files: dict[str, FileIdentity]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: TrainRecipe) -> TrainingData:
        """Open and identify all data of a recipe.

        Raises
        ------
        MissingError, FormatError, InputError
            A volume or a file cannot be opened.
        """
        volumes: dict[str, Volume] = {}
        files: dict[str, FileIdentity] = {}
        notes: list[str] = []
        for sample in recipe.samples:
            if sample.is_set:
                files |= {path: FileIdentity.of(path) for path in _set_files(sample)}
                continue
            volume = _identified(sample.volume, sample.voxel_size)
            volumes[sample.volume] = volume
            volumes |= {path: _identified(path, volume.voxel_size) for path in (*sample.labels, *sample.targets)}
            boxes = (sample.boxes,) if sample.boxes not in ("", "auto") else ()
            picks = [file for path in (*sample.points, *boxes) for file in files_of(path)]
            files |= {path: FileIdentity.of(path) for path in picks}
            notes += filter(None, _notes(sample, volume))
        if recipe.start:
            from volengine.nets.shipped import model_file

            files[recipe.start] = FileIdentity.of(model_file(model_path(recipe.start)))
        return cls(volumes, files, tuple(dict.fromkeys(notes)))

    def to_json(self) -> dict[str, str]:
        """Return the identity of each volume and file, by its name in the recipe."""
        return {
            **{name: volume.identity for name, volume in self.volumes.items()},
            **{name: file.digest for name, file in self.files.items()},
        }

    def check(self) -> None:
        """Refuse data that are not what they were; call this before what was learned from them is written.

        Raises
        ------
        ChangedError
            A volume or a file has changed, or is gone.
        """
        for volume in self.volumes.values():
            check_unchanged(volume, full=False)
        for file in self.files.values():
            file.check()


def _notes(sample: TrainSample, volume: Volume) -> Iterator[str]:
    """What there is to say about the truth of a sample: voxel sizes, origins, points outside of the tomogram."""
    tomogram = (sample.volume, volume.origin, volume.voxel_size)
    for path in (*sample.labels, *sample.targets):
        truth = open_sized(path, volume.voxel_size)
        if not np.allclose(truth.voxel_size, volume.voxel_size, rtol=SIZE_TOLERANCE, atol=0):
            yield (
                f"{path} has voxels of {truth.voxel_size} angstrom, {sample.volume} of {volume.voxel_size}; they are "
                "compared voxel by voxel."
            )
        yield origins_note(tomogram, (path, truth.origin, truth.voxel_size), accept=True)
    for path in sample.points:
        stated = picks_of(path, volume, None).origin
        if any(stated):  # most formats hold none
            yield origins_note(tomogram, (path, stated, volume.voxel_size), accept=True)
        picks, said = points_of(path, volume, volume.origin)
        if "all" not in said.split() or "(there" in said:
            yield said
        inside = ((picks.position_vox > -1) & (picks.position_vox < volume.shape)).all(axis=1)
        if not inside.all():
            yield (
                f"{np.count_nonzero(~inside)} of {len(picks)} points of {path} are outside of {sample.volume}: is its "
                "voxel size, or that of the points, another one?"
            )


def _identified(path: str, voxel_size: float | Vector3 | None) -> Volume:
    """Open a volume, or ``STORE#group``, as the sample sources do."""
    url, group = split_group(path)
    size = None if group else voxel_size
    found = open_volume(url, group=group, voxel_size=size, identity="quick")
    if found.nbytes > HASHED_BYTES or found.snapshot.get("listing", "") is None:
        return found
    return open_volume(url, group=group, voxel_size=size, identity="content")


def _set_files(sample: TrainSample) -> Iterator[str]:
    """The files of a training set."""
    if Path(sample.volume).is_dir():
        from volengine.io.training.nifti import find_pairs

        for pair in find_pairs(sample.volume):
            yield from (pair.image, pair.labels)
    elif Path(sample.volume).is_file():
        yield sample.volume
    else:
        raise InputError(f"{sample.volume}: there is no such training set.")
