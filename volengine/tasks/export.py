"""export: write a volume as MRC or OME-TIFF, slab by slab, without loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.recipe import Recipe
from volengine.core.volume import Volume
from volengine.io.identity import check_unchanged
from volengine.io.names import MRC_SUFFIXES, TIFF_SUFFIXES, Source, is_packed, suffix_of
from volengine.io.open import OpenVolume, open_source, open_volume

SLAB_BYTES = 64_000_000


@dataclass(frozen=True)
class ExportRecipe(Recipe):
    """What to write.

    Parameters
    ----------
    level
        Resolution level of an OME-Zarr image.
    group
        Labels to export instead of the image, for example labels/core.
    channel
        Index on a channel or time axis longer than one.
    voxel_size
        Voxel size in angstrom; overrides the store's.
    mode
        MRC mode (0, 1, 2, 6, 12); default: the smallest that holds every value. TIFF keeps the store's type.
    overwrite
        Replace a file that exists.
    anonymous
        Read s3:// and other object stores without credentials, for public buckets.

    Examples
    --------
    >>> ExportRecipe(level=1, mode=2).overwrite
    False
    """

    level: int = 0
    group: str = ""
    channel: int | None = None
    voxel_size: float | tuple[float, float, float] | None = None
    mode: int | None = None
    overwrite: bool = False
    anonymous: bool = False


def export(source: PathLike, out: PathLike, recipe: ExportRecipe | None = None, *, progress: bool = True) -> OpenVolume:
    """Write a volume as MRC or OME-TIFF.

    An MRC file keeps the voxel size, the origin, and the labels and extended header of the MRC file that the volume was
    converted from; an OME-TIFF file keeps the voxel size.

    Parameters
    ----------
    source
        An OME-Zarr store, or any file that ``volengine.open_volume`` reads.
    out
        The MRC file (``.mrc``, ``.rec``, ``.map``, ``.ccp4``, ``.st``, ``.ali``) or OME-TIFF file (``.tif``, ``.tiff``,
        ``.ome.tif``) to write. It appears when it is complete.
    recipe
        What to write.
    progress
        Show a progress bar.

    Returns
    -------
    OpenVolume
        The handle of the file.

    Raises
    ------
    InputError
        ``out`` exists (without ``overwrite``) or has another suffix, or no MRC mode or OME-TIFF type holds the values.
    ChangedError
        The source is replaced while it is read.

    Examples
    --------
    >>> import volengine
    >>> volume = volengine.export("TS_01.ome.zarr", "exported.mrc", progress=False)
    >>> volume.shape, volume.voxel_size
    ((16, 32, 32), (10.0, 10.0, 10.0))
    """
    from pathlib import Path

    source, out, recipe = path_text(source), path_text(out), ExportRecipe.of(recipe)
    tiff = suffix_of(out) in TIFF_SUFFIXES
    if not (tiff or suffix_of(out) in MRC_SUFFIXES) or is_packed(out):
        known = ", ".join((*MRC_SUFFIXES, *TIFF_SUFFIXES))
        raise InputError(f"{out}: export writes MRC and OME-TIFF; the suffix must be one of {known}.")
    if tiff and recipe.mode is not None:
        raise InputError(f"{out}: --mode is for MRC; OME-TIFF is written in the type of the voxels.")
    if Path(out).exists() and not recipe.overwrite:
        raise InputError(f"{out} exists; give another name or --overwrite.")
    if recipe.anonymous:
        from volengine.io.anonymous import use_anonymous

        use_anonymous()
    volume = open_volume(
        source, level=recipe.level, group=recipe.group, channel=recipe.channel, voxel_size=recipe.voxel_size
    )
    if tiff:
        from volengine.io.tiff_write import write_tiff

        slabs = _slabs(volume, open_source(volume), progress)
        write_tiff(out, slabs, volume.shape, volume.dtype, volume.voxel_size, volume.name)
        return open_volume(out)
    kept = volume.facts.get("mrc") if volume.kind == "intensity" and recipe.level == 0 else None
    write_volume(volume, out, mode=recipe.mode, header=kept, progress=progress)
    return open_volume(out)


def write_volume(
    volume: Volume,
    out: str,
    *,
    mode: int | None = None,
    header: dict[str, Any] | None = None,
    progress: bool = True,
) -> None:
    """Write an open volume as MRC, as :func:`export` does.

    The volume's store need not be finished: ``simulate`` writes MRC files before its plan ends.

    Parameters
    ----------
    volume
        The volume to write.
    out
        The MRC file. A file of that name is replaced when the new one is complete.
    mode
        MRC mode; default: the smallest that holds every value.
    header
        Header of the MRC file that the volume was converted from, as its facts keep it (``facts["mrc"]``).
    progress
        Show a progress bar.
    """
    from volengine.io.mrc.header import MrcHeader
    from volengine.io.mrc.write import ExtHeader, write_mrc

    data = open_source(volume)
    known = MrcHeader.from_json(header) if header else None
    write_mrc(
        out,
        _slabs(volume, data, progress),
        volume.shape,
        volume.dtype,
        volume.voxel_size,
        volume.origin,
        labels=[*known.labels, f"volengine export of {volume.name}"][-10:] if known else [volume.name],
        mode=mode,
        ext_header=ExtHeader.of(known) if known else None,
        value_range=_value_range(volume, data),
    )


def _boxes(volume: Volume) -> Iterator[Box]:
    nz, ny, nx = volume.shape
    step = max(1, SLAB_BYTES // max(1, ny * nx * np.dtype(volume.dtype).itemsize))
    if volume.chunks is not None:  # whole chunks, so that no chunk is read twice
        step = max(volume.chunks[0], step // volume.chunks[0] * volume.chunks[0])
    for z in range(0, nz, step):
        yield Box((z, 0, 0), (min(z + step, nz), ny, nx))


def _slabs(volume: Volume, data: Source, progress: bool) -> Iterator[NDArray[Any]]:
    with tqdm(total=volume.nbytes, unit="B", unit_scale=True, desc="export", disable=None if progress else True) as bar:
        for box in _boxes(volume):
            slab = data.read(box)
            yield slab
            bar.update(slab.nbytes)
    check_unchanged(volume)  # the file appears only if all slabs are of one state of the source


def _value_range(volume: Volume, data: Source) -> tuple[float, float] | None:
    """Smallest and largest value, for integers whose MRC mode depends on them."""
    if volume.dtype not in ("uint8", "uint32", "int32", "uint64", "int64"):
        return None
    extremes = [(int(slab.min()), int(slab.max())) for slab in map(data.read, _boxes(volume))]
    return float(min(e[0] for e in extremes)), float(max(e[1] for e in extremes))
