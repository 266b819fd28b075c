"""info: describe files, stores, models and tables of picks by names and values."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.core.paths import PathLike, path_text
from volengine.io.copick.config import is_project
from volengine.io.hdf5.open import is_model
from volengine.io.names import (
    HDF5_SUFFIXES,
    MRC_SUFFIXES,
    TIFF_SUFFIXES,
    file_and_dataset,
    project_and_choice,
    split_group,
    suffix_of,
)
from volengine.io.shared_models import split
from volengine.tasks.info.models import MODEL_SUFFIXES, model_facts
from volengine.tasks.info.others import refuse_others
from volengine.tasks.info.picks import PICKS_SUFFIXES, picks_facts
from volengine.tasks.info.projects import project_facts
from volengine.tasks.info.training import training_facts
from volengine.tasks.info.volumes import volume_facts

Many = list[Any] | tuple[Any, ...]
"""Several paths, as text or ``pathlib.Path``."""


def info(path: PathLike | Many, *, full: bool = False, progress: bool = False) -> Any:
    """Describe a file or store, or several; what is described depends on the ending of the name.

    Parameters
    ----------
    path
        An MRC file, a TIFF file, an OME-Zarr store (also zipped, or ``STORE#labels/core``), a model or a table of
        picks; or a list of them.
    full
        Statistics of all voxels of level 0. If not, of the coarsest level, whose voxels are means; of a level of more
        than 16.8 million voxels parts are read that are spread evenly.
    progress
        Show a bar while all voxels are read.

    Returns
    -------
    dict, or list of dict
        Plain names to JSON values; for a list of paths a list of such. ``path`` and ``type`` (``volume``, ``picks``,
        ``model``, ``models``, ``training set``) are always there. Of a volume: ``format``, ``name``, ``kind``,
        ``shape`` (z, y, x), ``dtype``, ``voxel_size`` and ``origin`` (angstrom, z, y, x; ``None`` if not stated),
        ``extent_nm``, ``bytes`` (uncompressed), ``axes``, ``channels``, ``times``, ``levels`` (a list: ``path``,
        ``shape``, ``factor``, ``chunk``, ``shard``, ``voxel_size``, ``bytes``), of a store also ``ngff``, ``complete``
        and ``images`` (all images in it), and ``values``: ``level``, ``full``, ``voxels`` (number read),
        ``share_read``, ``min``, ``max``, ``mean``, ``std``, ``share_nan``, ``share_infinite``, ``share_zero``;
        ``None``, with ``values_error``, if the voxels cannot be read.

    Raises
    ------
    MissingError, FormatError, InputError
        A path does not exist, is damaged, or is of a kind that volengine does not read.

    Examples
    --------
    >>> import volengine
    >>> facts = volengine.info("TS_01.mrc")
    >>> facts["shape"], facts["voxel_size"], facts["values"]["share_nan"]
    ([16, 32, 32], [10.0, 10.0, 10.0], 0.0)
    """
    if isinstance(path, list | tuple):
        return [_one(path_text(one), full, progress) for one in path]
    return _one(path_text(path), full, progress)


def _one(path: str, full: bool, progress: bool) -> dict[str, Any]:
    if split(path) is not None:
        return model_facts(path)
    suffix = suffix_of(path)
    if project_and_choice(path)[1] and suffix == ".zarr":
        from volengine.io.copick.choice import chosen_volume

        path = chosen_volume(path)
    elif suffix == ".json" and not project_and_choice(path)[1] and is_project(path):
        return project_facts(path)
    refuse_others(path)
    readers: list[Callable[[], dict[str, Any]]] = [lambda: volume_facts(path, full=full, progress=progress)]
    if is_model(file_and_dataset(path)[0]) if suffix in HDF5_SUFFIXES else suffix in MODEL_SUFFIXES:
        readers = [lambda: model_facts(path)]
    elif suffix in PICKS_SUFFIXES and not split_group(path)[1]:
        readers = [lambda: picks_facts(path)]
    elif suffix == ".scnt":
        readers = [lambda: training_facts(path)]
    elif suffix not in ("", ".zarr", *MRC_SUFFIXES, *TIFF_SUFFIXES) and "://" not in path:
        readers.append(lambda: picks_facts(path))
    first: VolengineError | None = None
    for read in readers:
        try:
            return read()
        except VolengineError as error:
            # The first says that the file is no volume; that of a table of picks may say what it lacks.
            lacks = suffix in (*PICKS_SUFFIXES, ".am") and not isinstance(error, FormatError | MissingError)
            first = error if first is None or lacks else first
    assert first is not None
    if "--read-as" in str(first):  # an option of the verb picks
        raise type(first)(f"{first} In this case: volengine picks info {shlex.quote(path)} --read-as NAME.") from first
    raise first


def check(path: str) -> dict[str, list[str]]:
    """Check every image in an OME-Zarr store: metadata, geometry of all levels, and some voxels of each level.

    Voxels are read at the beginning, in the middle and at the end of the volume; damage elsewhere is not found.

    Parameters
    ----------
    path
        A store (path or URL), written by this package or by another program.

    Returns
    -------
    dict
        For each image, by its place in the store (``image`` for the one at the root), what is wrong: one sentence per
        finding, an empty list for a correct image. :func:`volengine.io.omezarr.check.check_image` lists the checks.

    Raises
    ------
    MissingError, FormatError, InputError
        The store does not exist, or the path names another kind of file.
    """
    from volengine.io.omezarr.check import check_store

    if suffix_of(path) not in ("", ".zarr"):
        raise InputError(f"{path}: OME-Zarr stores alone are checked, not files of the kind {suffix_of(path)!r}.")
    return {group or "image": findings for group, findings in check_store(path).items()}
