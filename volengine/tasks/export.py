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
from volengine.core.roi import check_roi
from volengine.core.volume import Volume
from volengine.io.identity import check_unchanged
from volengine.io.names import MRC_SUFFIXES, TIFF_SUFFIXES, Source, is_packed, suffix_of
from volengine.io.open import OpenVolume, open_source, open_volume
from volengine.tasks.common.roi import box_of, facts_of, seen_of, size_of

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
    roi
        Only this part of the level is written: ``z0:z1,y0:y1,x0:x1`` in its voxels, or in nm (``100nm:400nm,:,:50nm``,
        or one unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume. The
        origin of an MRC file says where it begins.

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
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)


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
    part = box_of(volume, recipe.roi)
    if tiff:
        from volengine.io.tiff_write import write_tiff

        slabs = _slabs(volume, open_source(volume), progress, part)
        write_tiff(out, slabs, size_of(volume.shape, part), volume.dtype, volume.voxel_size, volume.name)
        return open_volume(out)
    kept = facts_of(volume.facts, part).get("mrc") if volume.kind == "intensity" and recipe.level == 0 else None
    write_volume(volume, out, mode=recipe.mode, header=kept, progress=progress, part=part)
    return open_volume(out)


def write_volume(
    volume: Volume,
    out: str,
    *,
    mode: int | None = None,
    header: dict[str, Any] | None = None,
    progress: bool = True,
    part: Box | None = None,
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
    part
        The part of the volume to write; ``None``: all of it.
    """
    from volengine.io.mrc.header import MrcHeader
    from volengine.io.mrc.write import ExtHeader, write_mrc

    data, seen = open_source(volume), seen_of(volume, part)
    known = MrcHeader.from_json(header) if header else None
    write_mrc(
        out,
        _slabs(volume, data, progress, part),
        seen.shape,
        seen.dtype,
        seen.voxel_size,
        seen.origin,
        labels=[*known.labels, f"volengine export of {volume.name}"][-10:] if known else [volume.name],
        mode=mode,
        ext_header=ExtHeader.of(known) if known else None,
        value_range=_value_range(volume, data, part),
    )


def _boxes(volume: Volume, part: Box | None = None) -> Iterator[Box]:
    """Slabs of the volume, or of its part, from the first slice on."""
    whole = Box.of_shape(volume.shape) if part is None else part
    _, ny, nx = whole.shape
    step = max(1, SLAB_BYTES // max(1, ny * nx * np.dtype(volume.dtype).itemsize))
    if volume.chunks is not None:  # whole chunks, so that no chunk is read twice
        step = max(volume.chunks[0], step // volume.chunks[0] * volume.chunks[0])
    first, last = whole.start[0], whole.stop[0]
    for z in range(first // step * step, last, step):
        yield Box((max(z, first), *whole.start[1:]), (min(z + step, last), *whole.stop[1:]))


def _slabs(volume: Volume, data: Source, progress: bool, part: Box | None) -> Iterator[NDArray[Any]]:
    total = seen_of(volume, part).nbytes
    with tqdm(total=total, unit="B", unit_scale=True, desc="export", disable=None if progress else True) as bar:
        for box in _boxes(volume, part):
            slab = data.read(box)
            yield slab
            bar.update(slab.nbytes)
    check_unchanged(volume)  # the file appears only if all slabs are of one state of the source


def _value_range(volume: Volume, data: Source, part: Box | None) -> tuple[float, float] | None:
    """Smallest and largest value, for integers whose MRC mode depends on them."""
    if volume.dtype not in ("uint8", "uint32", "int32", "uint64", "int64"):
        return None
    extremes = [(int(slab.min()), int(slab.max())) for slab in map(data.read, _boxes(volume, part))]
    return float(min(e[0] for e in extremes)), float(max(e[1] for e in extremes))
