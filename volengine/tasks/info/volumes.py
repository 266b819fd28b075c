"""What a file or a store of voxels says of itself, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from volengine.core.boxes import Index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.volume import Vector3, Volume
from volengine.io.names import MRC_SUFFIXES, TIFF_SUFFIXES, is_zipped, split_group, suffix_of
from volengine.io.omezarr.chunk_keys import with_separator
from volengine.io.omezarr.nodes import read_array_text, read_node
from volengine.io.omezarr.read import GroupInfo, list_groups
from volengine.io.open import open_volume
from volengine.io.stores import store_name
from volengine.io.tilts import TiltSeries
from volengine.tasks.info.values import try_values

Facts = dict[str, Any]


def volume_facts(path: str, *, full: bool, progress: bool) -> Facts:
    """Describe a file or store of voxels of any format that :func:`volengine.io.open.open_volume` opens.

    Parameters
    ----------
    path
        The file, the store, or ``STORE#group``.
    full
        Statistics of all voxels of level 0.
    progress
        Show a bar while these are read.

    Raises
    ------
    MissingError, FormatError, InputError
        It does not exist, is damaged, or is of a kind that is not read.
    """
    place, _ = split_group(path)
    if suffix_of(place) in ("", ".zarr") or Path(place).is_dir():
        return _store(path, full, progress)
    return _file(path, full, progress)


# -- files -------------------------------------------------------------------------------------------------------


def _file(path: str, full: bool, progress: bool) -> Facts:
    suffix = suffix_of(path)
    more: Facts = {}
    size: Vector3 | None
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc.header import read_header

        header = read_header(path, volumes=True)
        if header.volumes > 1:
            return _stack(path, header)
        size, more = header.voxel_size, {**_mrc(header), **_montage(path, header)}
    elif suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import read_facts

        found = read_facts(path)
        size, more = found.voxel_size, {"compression": found.compression}
    else:
        size = _stated_size(path)
    volume = _opened(path, None if size is not None else 1.0)
    facts: Facts = {
        "path": path,
        "type": "volume",
        "format": {".tiff": "tiff", ".tif": "tiff"}.get(suffix, "mrc" if suffix in MRC_SUFFIXES else suffix[1:]),
        "name": volume.name,
        "kind": volume.kind,
        **_sizes(volume.shape, volume.dtype, size, None if size is None else volume.origin),
        "axes": "zyx",
        "channels": 1,
        "times": 1,
        "levels": [_level("", volume.shape, (1, 1, 1), volume.chunks, None, size, volume.dtype)],
        **more,
    }
    return _with_values(facts, [volume], 0, full=full, progress=progress)


def _stack(path: str, header: Any) -> Facts:
    """Describe a stack of volumes, as ``picks extract`` writes it: the shape of each, and how many there are.

    Its voxels are not read; the header states the range of their values.
    """
    shape = (header.file_shape[0] // header.volumes, *header.shape[1:])
    said = [f"{name} {value:.6g}" for name, value in _header_values(header) if value is not None]
    return {
        "path": path,
        "type": "volume",
        "format": "mrc",
        "name": Path(path).stem,
        "kind": "intensity",
        **_sizes(shape, header.dtype, header.voxel_size, header.origin, header.volumes),
        "axes": "czyx",
        "channels": header.volumes,
        "times": 1,
        "volumes": header.volumes,
        "levels": [_level("", shape, (1, 1, 1), None, None, header.voxel_size, header.dtype, header.volumes)],
        **_mrc(header),
        "values": None,
        "values_error": f"a stack of volumes; its header says {', '.join(said) or 'nothing of them'}",
    }


def _header_values(header: Any) -> list[tuple[str, float | None]]:
    return [("min", header.minimum), ("max", header.maximum), ("mean", header.mean), ("std", header.rms)]


def _opened(path: str, voxel_size: float | None) -> Volume:
    """Open a file; a montage, which verbs do not read as a volume, too."""
    if suffix_of(path) not in MRC_SUFFIXES:
        return open_volume(path, voxel_size=voxel_size, identity="metadata")
    from volengine.io.mrc.open import open_mrc

    return open_mrc(path, voxel_size=voxel_size, identity="metadata")


def _montage(path: str, header: Any) -> Facts:
    """What is known of the pieces of a montage; nothing of other files."""
    from volengine.io.montage.find import find_montage

    try:
        found = find_montage(path, header)
    except FormatError as error:
        return {"montage": {"error": str(error)}}
    if found is None:
        return {}
    _, height, width = found.frame().shape
    return {
        "montage": {
            "pieces": len(found.pieces),
            "piece_shape": list(found.size),
            "sections": len(found.sections),
            "section_shape": [height, width],
            "coordinates": found.source,
            "aligned": found.aligned is not None,
            "said": found.said(),
        }
    }


def _stated_size(path: str) -> Vector3 | None:
    """Return the voxel size that a file states; ``None`` if it must be given."""
    try:
        return open_volume(path, identity="metadata").voxel_size
    except (FormatError, MissingError):
        raise
    except InputError as error:
        if "voxel" not in str(error):
            raise
        return None


def _mrc(header: Any) -> Facts:
    return {
        "mode": header.mode,
        "compression": header.compression or "none",
        "extended_header": {"type": header.ext_type, "bytes": len(header.ext_header)} if header.ext_type else None,
        "labels": list(header.labels),
        "warnings": list(header.warnings),
    }


# -- stores ------------------------------------------------------------------------------------------------------


def _store(path: str, full: bool, progress: bool) -> Facts:
    url, wanted = split_group(path)
    groups = list_groups(url)
    main = _main(url, groups, wanted.strip("/"))
    facts: Facts = {
        "path": path,
        "type": "volume",
        "format": "zarr" if main.ngff == "none" else "ome-zarr",
        **_image(main, url),
        "images": [_image(group, url) for group in groups],
    }
    level = 0 if full else len(main.levels) - 1
    for frame in (main.handle(url, number, {}) for number in sorted({0, level})):
        with_separator(
            url, frame.path, read_array_text(url, frame.path) or b""
        )  # a store that does not open is an error
    frames = [
        main.handle(url, level, {"c": channel, "t": time})
        for channel in range(main.channels)
        for time in range(main.times)
    ]
    if not main.complete:
        if full:
            raise InputError(f"{path} is not finished; run the same command again to finish it.")
        return {**facts, "values": None, "values_error": "it is not finished"}
    return _with_values(facts, frames, level, full=full, progress=progress)


def _main(url: str, groups: Sequence[GroupInfo], wanted: str) -> GroupInfo:
    """Return the image that is described in detail: the one at the root, or the one that is named."""
    known = {group.group: group for group in groups}
    for name in (wanted, f"labels/{wanted}") if wanted else (groups[0].group if groups else "",):
        if name in known:
            return known[name]
    if not groups:
        raise FormatError(f"{url}: no OME-Zarr image is there, only a group without 'multiscales'.")
    raise MissingError(f"{url}: there is no image {wanted!r}. Images in this store: {', '.join(map(repr, known))}.")


def _image(info: GroupInfo, url: str) -> Facts:
    frames = info.channels * info.times
    sizes: Sequence[Vector3 | None] = info.sizes or (None,) * len(info.levels)
    levels = [
        _level(level.path, level.shape, level.factor, level.chunks, level.shards, size, info.dtype, frames)
        for level, size in zip(info.levels, sizes, strict=True)
    ]
    node = read_node(url, info.group)
    facts: Facts = {
        "group": info.group,
        "name": str((node and node.ours.get("name")) or store_name(url)),  # as the verbs name it
        "kind": info.kind,
        **_sizes(info.levels[0].shape, info.dtype, info.voxel_size, info.origins[0] if info.origins else None, frames),
        "axes": info.axes,
        "channels": info.channels,
        "times": info.times,
        "ngff": info.ngff,
        "complete": info.complete,
        "levels": levels,
    }
    series = (node.ours.get("facts") or {}).get("tilt_series") if node is not None else None
    if isinstance(series, dict):
        facts["tilt_series"] = TiltSeries.from_json(series).summary()
    facts |= _placed(node.ours if node is not None else {})
    if info.channel_names:
        facts["channel_names"] = list(info.channel_names)
    if is_zipped(url):
        facts["zipped"] = True
    return facts


def _placed(ours: Mapping[str, Any]) -> Facts:
    """What a store that was put together from pieces says of them: where they lay, and how far they were moved."""
    facts, found = ours.get("facts"), ours.get("found")
    montage = facts.get("montage") if isinstance(facts, dict) else None
    if not isinstance(montage, dict) or not isinstance(montage.get("pieces", montage.get("tiles")), list):
        return {}
    moved = found.get("montage_shifts") if isinstance(found, dict) else None
    return {"placed": {**montage, **({"moved": moved} if _is_moved(moved) else {})}}


def _is_moved(moved: Any) -> bool:
    """Whether a value has the form of solved shifts; somebody may have written another one."""
    if not isinstance(moved, dict) or not isinstance(moved.get("pieces"), list):
        return False
    numbers = [moved.get(name) for name in ("overlaps", "overlaps_used", "median_residual_vox")]
    return all(isinstance(row, list) and len(row) == 3 for row in moved["pieces"]) and all(
        number is None or isinstance(number, int | float) for number in numbers
    )


def _sizes(shape: Index3, dtype: str, size: Vector3 | None, origin: Vector3 | None, frames: int = 1) -> Facts:
    extent = None if size is None else [round(n * v / 10, 9) for n, v in zip(shape, size, strict=True)]
    return {
        "shape": list(shape),
        "dtype": dtype,
        "voxel_size": None if size is None else list(size),
        "origin": None if origin is None else list(origin),
        "extent_nm": extent,
        "bytes": shape[0] * shape[1] * shape[2] * np.dtype(dtype).itemsize * frames,
    }


def _level(
    path: str,
    shape: Index3,
    factor: Index3,
    chunk: Index3 | None,
    shard: Index3 | None,
    size: Vector3 | None,
    dtype: str,
    frames: int = 1,
) -> Facts:
    return {
        "path": path,
        "shape": list(shape),
        "factor": list(factor),
        "chunk": None if chunk is None else list(chunk),
        "shard": None if shard is None else list(shard),
        "voxel_size": None if size is None else list(size),
        "bytes": shape[0] * shape[1] * shape[2] * np.dtype(dtype).itemsize * frames,
    }


# -- values ------------------------------------------------------------------------------------------------------


def _with_values(facts: Facts, frames: Sequence[Volume], level: int, *, full: bool, progress: bool) -> Facts:
    """Add the statistics of the voxels of a level: of all, and of each channel if there are several."""
    total = sum(frame.size for frame in frames)
    show = full and progress
    with tqdm(total=total, unit="voxel", unit_scale=True, desc="values", disable=None if show else True) as bar:
        found = try_values(frames, facts, full=full, read=bar.update)
    facts["values"] = None
    if found is None:
        return facts
    each, together = found
    facts["values"] = {"level": level, "full": full, **together}
    if facts["channels"] > 1 and facts["times"] == 1:
        facts["channel_values"] = [{"level": level, "full": full, **one} for one in each]
    return facts
