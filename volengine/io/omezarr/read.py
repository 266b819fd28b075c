"""Opening OME-Zarr images: making the handle of a volume from the metadata of a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.image import Level
from volengine.core.text import counted
from volengine.core.tiling import AXES
from volengine.core.volume import Kind, Vector3, Volume
from volengine.io.identity import How, identified
from volengine.io.names import FILE_SUFFIXES, VOLUME_SUFFIXES, suffix_of
from volengine.io.omezarr.chunk_keys import with_separator
from volengine.io.omezarr.ngff import Multiscale, angstrom_geometry, check_direction, parse_multiscale
from volengine.io.omezarr.nodes import Node, read_array_text, read_json, read_node
from volengine.io.stores import exists, local_path, open_store, store_name

DEFAULT_AXES = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}

DEEPEST = 12
"""Depth of groups in groups below which no images are looked for: links may lead round in a circle."""


@dataclass(frozen=True)
class GroupInfo:
    """Facts of one image of a store, as ``volengine info`` prints them.

    Parameters
    ----------
    group
        Path of the image in the store, for :func:`open_image`; ``""`` for the root image.
    kind, name
        Kind and name of the volume.
    ngff
        Version of the metadata; ``"none"`` for a bare array.
    axes
        Order of the axes in the store.
    dtype
        Numpy dtype of the voxels.
    levels
        The resolution levels, in the order z, y, x.
    voxel_size
        Angstrom, z, y, x; ``None`` if the metadata state none.
    channels
        Length of the channel axis.
    complete
        Whether the image is complete.
    times
        Length of the time axis.
    channel_names
        Labels of the channels, if the metadata state them.
    sizes, origins
        Voxel size and origin of each level, angstrom, z, y, x; empty if the metadata state none.
    """

    group: str
    kind: Kind
    name: str
    ngff: str
    axes: str
    dtype: str
    levels: tuple[Level, ...]
    voxel_size: Vector3 | None
    channels: int = 1
    complete: bool = True
    times: int = 1
    channel_names: tuple[str, ...] = ()
    sizes: tuple[Vector3, ...] = ()
    origins: tuple[Vector3, ...] = ()

    def handle(self, url: str, level: int, select: dict[str, int]) -> Volume:
        """Return a handle for reading the voxels of a level; its voxel size is not that of the image.

        Parameters
        ----------
        url
            The store.
        level
            Number of the level.
        select
            Index on each axis but z, y, x; default 0.
        """
        at = self.levels[level]
        return Volume(
            url,
            at.shape,
            "uint8" if self.dtype == "bool" else self.dtype,
            (1.0, 1.0, 1.0),
            path=_join(self.group, at.path),
            kind=self.kind,
            chunks=at.chunks,
            shards=at.shards,
            axes=self.axes,
            facts={"select": select},
        )


def open_image(
    url: str,
    *,
    level: int = 0,
    group: str = "",
    channel: int | None = None,
    voxel_size: float | Vector3 | None = None,
    identity: How = "quick",
) -> Volume:
    """Open one level of an image and return its handle. Metadata are read, and the chunks are listed.

    Parameters
    ----------
    url
        Path or URL of an OME-Zarr store, or of a group or a bare array inside of one.
    level
        Resolution level; 0 is the finest.
    group
        Path of the image inside of the store, for example ``"labels/core"``, or only the name of a label image.
    channel
        Index on the channel axis; needed if there are several channels.
    voxel_size
        Voxel size of level 0, angstrom, one number or z, y, x; overrides the metadata. It is needed if they state none.
    identity
        How the array is identified (:mod:`volengine.io.identity`); ``metadata`` lists no chunks.

    Returns
    -------
    A volume in the order z, y, x, for any order in the store, with lengths in angstrom. A bool array is read as uint8;
    an image without z axis has one slice.

    Raises
    ------
    MissingError
        The store or the image does not exist.
    FormatError
        It is no Zarr store, its metadata cannot be understood, or its chunks lie where these do not say.
    InputError
        The image is not complete, the level does not exist, or the voxel size, the channel or the group must be given.
    """
    where, node, path = _find(url, group)
    if node.kind == "array":
        image = _bare(node, where)
    else:
        found = parse_multiscale(node.attributes, where)
        if found is None:
            only = _only_image(url, path)
            return open_image(url, level=level, group=only, channel=channel, voxel_size=voxel_size, identity=identity)
        image = found
        if not image.ours.get("complete", True):
            raise InputError(f"{where} is not finished; run the same command again to finish it, then open it.")
    if not 0 <= level < len(image.datasets):
        raise InputError(f"{where} has levels 0 to {len(image.datasets) - 1}; there is no level {level}.")
    arrays = [_array_node(url, path, image, number, where) for number in sorted({0, level})]
    inner = _join(path, image.datasets[level].path)
    with_separator(url, inner, read_array_text(url, inner) or b"")
    volume = _handle(url, path, image, arrays[0], arrays[-1], _Choice(level, channel, voxel_size), where)
    return identified(volume, identity)


@dataclass(frozen=True)
class _Choice:
    level: int
    channel: int | None
    voxel_size: float | Vector3 | None


def _find(url: str, group: str) -> tuple[str, Node, str]:
    """Return name (for messages), node and path of a group; label images are also found by their name alone."""
    group = group.strip("/")
    for path in (group, f"labels/{group}") if group else ("",):
        node = read_node(url, path)
        if node is not None:
            return (f"{url}/{path}" if path else url), node, path
    if not exists(url):
        raise MissingError(f"{url}: there is no such file or store.")
    if group:
        known = ", ".join(repr(info.group) for info in list_groups(url)) or "none"
        raise MissingError(f"{url}: there is no image {group!r}. Images in this store: {known}.")
    raise _no_store(url)


def _no_store(url: str) -> FormatError:
    path = local_path(url)
    if path is not None and path.is_file():
        known = ", ".join(FILE_SUFFIXES)
        return FormatError(f"{url} is a file of a kind that is not read; volumes are {known} and Zarr stores.")
    said = f"{url} is no Zarr store: neither zarr.json nor .zgroup nor .zarray is there."
    if path is not None and path.is_dir():
        inside = sorted(one.name for one in path.glob("[!.]*") if suffix_of(one.name) in VOLUME_SUFFIXES)
        if inside:
            what = counted(len(inside), "volume")
            return FormatError(
                f"{url} is a folder with {what}, and no Zarr store itself. Name the one that is meant, for example "
                f"{url}/{inside[0]}."
            )
    return FormatError(said)


def _only_image(url: str, path: str) -> str:
    """Return the path of the only image inside of a group that is no image itself."""
    known = [info.group for info in list_groups(url) if not path or info.group.startswith(f"{path}/")]
    if len(known) == 1:
        return known[0]
    if not known:
        raise FormatError(f"{url}/{path}: no OME-Zarr image is there, only a group without 'multiscales'.")
    raise InputError(f"{url} holds {len(known)} images: {', '.join(known)}. Choose one with --group.")


def _bare(node: Node, where: str) -> Multiscale:
    """Describe a bare array as an image of one level without scale."""
    names = "".join(n[:1].lower() for n in node.dimension_names)
    axes = names if len(names) == len(node.shape) else DEFAULT_AXES.get(len(node.shape), "")
    try:
        image = parse_multiscale({"multiscales": [{"axes": list(axes), "datasets": [{"path": ""}]}]}, where)
    except FormatError:
        image = None
    if image is None or not axes:
        raise FormatError(f"{where}: an array of shape {node.shape} has no axes z, y, x; 2 to 5 axes can be read.")
    return replace(image, version="none", is_label=False)


def _array_node(url: str, path: str, image: Multiscale, number: int, where: str) -> Node:
    inner = _join(path, image.datasets[number].path)
    node = read_node(url, inner)
    if node is None or node.kind != "array":
        raise FormatError(f"{where}: the metadata name a level {inner!r}, but there is no such array.")
    if len(node.shape) != len(image.axes):
        raise FormatError(f"{where}: level {inner!r} has shape {node.shape}, but the axes are {image.axes}.")
    if np.dtype(node.dtype).kind not in "biuf":
        raise FormatError(f"{where}: voxels of type {node.dtype} cannot be read.")
    return node


def _join(*parts: str) -> str:
    return "/".join(p.strip("/") for p in parts if p.strip("/"))


def _handle(url: str, path: str, image: Multiscale, finest: Node, node: Node, choice: _Choice, where: str) -> Volume:
    axes = image.axes
    select = _select(node, image, choice.channel, where)
    size, origin = _geometry(image, finest, node, choice, where)
    facts: dict[str, Any] = {**image.ours.get("facts", {}), "ngff": image.version}
    if select:
        facts["select"] = select
    inner = _join(path, image.datasets[choice.level].path)
    return Volume(
        url=url,
        path=inner,
        shape=_zyx(node.shape, axes),
        dtype="uint8" if node.dtype == "bool" else node.dtype,
        voxel_size=size,
        origin=origin,
        kind=_kind(image, path),
        name=str(image.ours.get("name") or store_name(url)),
        chunks=_zyx(node.chunks, axes),
        shards=None if node.shards is None else _zyx(node.shards, axes),
        axes=axes,
        facts=facts,
    )


def _zyx(values: tuple[int, ...], axes: str) -> Index3:
    return index3(values[axes.index(a)] if a in axes else 1 for a in AXES)


def _kind(image: Multiscale, path: str) -> Kind:
    kind = image.ours.get("kind")
    if kind in ("intensity", "probability", "labels"):
        return kind  # type: ignore[no-any-return]
    return "labels" if image.is_label or path.startswith("labels/") else "intensity"


def _select(node: Node, image: Multiscale, channel: int | None, where: str) -> dict[str, int]:
    """Return the index on every axis but z, y, x."""
    select = {}
    for at, axis in enumerate(image.axes):
        if axis in AXES:
            continue
        count = node.shape[at]
        index = channel if axis == "c" and channel is not None else 0
        if axis == "t" and count > 1:
            raise InputError(f"{where} is a series of {count} time points; extract one of them first.")
        if axis == "c" and count > 1 and channel is None:
            names = f" ({', '.join(image.channels)})" if len(image.channels) == count else ""
            raise InputError(f"{where} has {count} channels{names}; choose one with --channel 0 to {count - 1}.")
        if not 0 <= index < count:
            raise InputError(f"{where} has {count} channels; there is no channel {index}.")
        select[axis] = index
    if channel and "c" not in image.axes:
        raise InputError(f"{where} has no channels (axes {image.axes}); leave --channel {channel} out.")
    return select


def _geometry(image: Multiscale, finest: Node, node: Node, choice: _Choice, where: str) -> tuple[Vector3, Vector3]:
    """Return voxel size and origin of the chosen level, angstrom, z, y, x."""
    if choice.voxel_size is None:
        return angstrom_geometry(image, choice.level, where)
    check_direction(image, choice.level, where)
    given = choice.voxel_size
    base: Vector3 = given if isinstance(given, tuple) else (given, given, given)
    first, here = image.datasets[0], image.datasets[choice.level]
    sizes, origins = [], []
    for axis, size in zip(AXES, base, strict=True):
        at = image.axes.find(axis)
        factor, offset = 1.0, 0.0
        if at >= 0 and first.scale is not None and here.scale is not None and first.scale[at] > 0:
            factor = here.scale[at] / first.scale[at]
            offset = here.translation[at] / first.scale[at]
        elif at >= 0:
            factor = float(round(finest.shape[at] / node.shape[at]))
            offset = (factor - 1) / 2
        sizes.append(size * factor)
        origins.append(size * offset)
    return (sizes[0], sizes[1], sizes[2]), (origins[0], origins[1], origins[2])


def list_groups(url: str) -> list[GroupInfo]:
    """List the images of a store by path: the root image, label images, and images in other groups.

    Raises
    ------
    MissingError
        The store does not exist.
    FormatError
        It is no Zarr store, or its metadata cannot be understood.
    """
    node = read_node(url)
    if node is None:
        if not exists(url):
            raise MissingError(f"{url}: there is no such file or store.")
        raise _no_store(url)
    return list(_walk(url, "", node))


def _walk(url: str, path: str, node: Node) -> Iterator[GroupInfo]:
    where = f"{url}/{path}" if path else url
    image = _bare(node, where) if node.kind == "array" else parse_multiscale(node.attributes, where)
    if image is not None:
        yield _info(url, path, image, where)
    if node.kind == "array" or path.count("/") >= DEEPEST:
        return
    levels = {dataset.path for dataset in image.datasets} if image is not None else set()
    for name in children(url, path):
        if name not in levels:
            child = _child(url, _join(path, name))
            if child is not None and (child.kind == "group" or image is None):
                yield from _walk(url, _join(path, name), child)


def _child(url: str, path: str) -> Node | None:
    """Return the node at a path; ``None`` if there is none, or an array that is no image (a table, a list of names)."""
    try:
        node = read_node(url, path)
        if node is not None and node.kind == "array":
            _array_node(url, path, _bare(node, path), 0, path)
    except FormatError:
        v3 = read_json(url, path, "zarr.json")
        array = v3.get("node_type") == "array" if v3 is not None else read_json(url, path, ".zarray") is not None
        if array:
            return None
        raise
    return node


def _info(url: str, path: str, image: Multiscale, where: str) -> GroupInfo:
    nodes = [_array_node(url, path, image, number, where) for number in range(len(image.datasets))]
    try:
        placed = [angstrom_geometry(image, number, where) for number in range(len(nodes))]
    except InputError:
        placed = []
    return GroupInfo(
        group=path,
        kind=_kind(image, path),
        name=str(image.ours.get("name") or image.name or store_name(url)),
        ngff=image.version,
        axes=image.axes,
        dtype=nodes[0].dtype,
        levels=tuple(
            _level(dataset.path, node, nodes[0], image.axes)
            for dataset, node in zip(image.datasets, nodes, strict=True)
        ),
        voxel_size=placed[0][0] if placed else None,
        channels=nodes[0].shape[image.axes.index("c")] if "c" in image.axes else 1,
        complete=bool(image.ours.get("complete", True)),
        times=nodes[0].shape[image.axes.index("t")] if "t" in image.axes else 1,
        channel_names=image.channels,
        sizes=tuple(size for size, _ in placed),
        origins=tuple(origin for _, origin in placed),
    )


def _level(path: str, node: Node, finest: Node, axes: str) -> Level:
    """Describe a stored level; its factor is the rounded ratio of the shapes."""
    shape, fine = _zyx(node.shape, axes), _zyx(finest.shape, axes)
    return Level(
        path,
        shape,
        index3(max(1, round(f / n)) for f, n in zip(fine, shape, strict=True)),
        _zyx(node.chunks, axes),
        None if node.shards is None else _zyx(node.shards, axes),
    )


def children(url: str, path: str) -> list[str]:
    """Return the names of the folders directly below a group, sorted."""
    folder = local_path(url)
    if folder is not None:
        return sorted(entry.name for entry in (folder / path).iterdir() if entry.is_dir())
    from zarr.core.sync import sync

    async def names() -> list[str]:
        return [name async for name in open_store(url, read_only=True).list_dir(path)]

    return sorted(sync(names()))
