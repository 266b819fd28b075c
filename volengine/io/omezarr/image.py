"""OME-Zarr images: creating, finishing, opening, listing and deleting them.

An image is written in three steps, so that a store never looks finished before it is complete:

>>> import numpy as np
>>> from volengine.core.boxes import Box
>>> url, shape = "memory://example.ome.zarr", (8, 64, 64)
>>> spec = ImageSpec(url, "example", "float32", "intensity", (10.0, 10.0, 10.0), plan_levels(shape))
>>> create_image(spec, token="3f2a")  # one process creates metadata and empty arrays
>>> _ = ZarrSink(spec.volume()).write(Box((0, 0, 0), shape), np.ones(shape, np.float32))  # by any process
>>> finish_image(spec)  # from now on open_image accepts the image
>>> open_image(url).voxel_size
(10.0, 10.0, 10.0)

Images of other programs can be read, too: NGFF 0.1 to 0.6 in Zarr v2 and v3, sharded or not, with any order of axes
and any unit of length, and bare Zarr arrays if a voxel size is given. ``open_image(url, level=1)`` opens a coarser
level, and ``open_image(url, group="core")`` the label image ``labels/core``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from volengine import __version__
from volengine.core.aside import is_private
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.image import ImageSpec, Level
from volengine.core.tiling import AXES
from volengine.io.names import is_zipped
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.display import DisplayRange, display_range
from volengine.io.omezarr.label_list import is_listed, list_label, unlist_label
from volengine.io.omezarr.levels import block_unit, plan_levels
from volengine.io.omezarr.manifest_file import objects_of, remove_manifest, write_manifest
from volengine.io.omezarr.ngff import image_attributes, ngff_for, ome_part, omero, wrap_ome
from volengine.io.omezarr.node_files import array_files, group_files, put_node, remove_node, update_attributes
from volengine.io.omezarr.nodes import Node, read_json, read_node
from volengine.io.omezarr.objects import Stored
from volengine.io.omezarr.read import GroupInfo, children, list_groups, open_image
from volengine.io.stores import exists, local_path, open_store, remove_litter, remove_store, stored_objects


def create_image(
    spec: ImageSpec, *, token: str, run: str = "", overwrite: bool = False, known: bool = False, durable: bool = False
) -> None:
    """Create the groups, metadata and empty arrays of an image, before anything is written into it.

    One process of a run calls this. If others call it as well, they change nothing.

    Parameters
    ----------
    spec
        The image. A ``scratch`` image becomes arrays without NGFF metadata.
    token
        Name of the run that owns the image. An existing image with the same token is kept with all its voxels, and
        missing parts are added, so that a run can be resumed.
    run
        Folder of the run. The image says it until it is complete, so that others can see whether somebody still writes.
    overwrite
        Delete an existing image of another token first. For the root image this deletes all label images in its store.
    known
        The caller knows that it has made what is stored there, although its metadata are lost (:func:`drop_damaged`).
    durable
        Wait until the metadata are on the disk.

    Raises
    ------
    InputError
        Something else is stored there, the existing image of this token has other levels, or the description is not
        possible in this version of NGFF.
    """
    if is_zipped(spec.url):
        open_store(spec.url)  # which refuses to write there, and says what to do
    _check_spec(spec)
    node = read_node(spec.url, spec.group)
    if node is None and not spec.group and not known and exists(spec.url) and not _is_begun(spec.url, token):
        if not overwrite:
            raise InputError(f"{spec.url} exists and is no Zarr store. Give another name.")
        remove_store(spec.url)  # an empty folder; anything else is refused
    if node is not None and node.ours.get("token") != token and not (spec.scratch and node.kind == "group"):
        if not overwrite:
            raise InputError(f"{spec.where} exists. {spec.otherwise}")
        remove(spec.url, spec.group)
        node = None
    _create_parents(spec, durable)
    if node is None:
        _create_own_group(spec, token, run, durable)
    for number, level in enumerate(spec.levels):
        _create_array(spec, number, level, token, durable)
    list_label(spec, durable)


def finish_image(
    spec: ImageSpec,
    objects: Sequence[Mapping[str, Stored]] | None = None,
    found: Mapping[str, Any] | None = None,
    *,
    durable: bool = False,
) -> None:
    """Mark an image as complete, after its last unit was written, and delete files that killed writers have left.

    For intensities this also stores the range of values that viewers show (:mod:`volengine.io.omezarr.display`).
    Predictions get theirs when they are created; labels need none.

    Parameters
    ----------
    spec
        The image.
    objects
        For each level, size and crc32c of its objects by key, for its manifest
        (:mod:`volengine.io.omezarr.manifest`). ``None``: the manifests were written already, or there are none.
    found
        Facts that were not known when the image was created; they are read with the others.
    durable
        Wait until manifests and metadata are on the disk.

    Raises
    ------
    MissingError
        The image was deleted meanwhile.
    """
    remove_litter(spec.url, spec.group if not spec.scratch else spec.array_path())
    list_label(spec, durable)
    for number, listed in enumerate(objects or ()):
        write_manifest(spec.url, spec.array_path(number), listed, durable=durable)
    changes: dict[str, Any] = {"complete": True, "finished": time.time_ns(), "run": None}
    if objects is not None:
        changes["manifests"] = len(objects)
    if found:
        changes["found"] = dict(found)
    shown = display_range(spec.volume()) if spec.kind == "intensity" and not spec.scratch else None
    _update(spec, changes, shown, durable)


def reopen_image(spec: ImageSpec, *, run: str = "", durable: bool = False) -> None:
    """Mark a finished image as not complete, and remove its manifests, before any of its voxels are written again.

    ``run`` is the folder of the run that writes, as for :func:`create_image`.
    """
    _update(spec, {"complete": False, "run": run or None, "manifests": None, "found": None}, None, durable)
    for number in range(len(spec.levels)):
        remove_manifest(spec.url, spec.array_path(number))


def drop_damaged(spec: ImageSpec, token: str, lost: Collection[str] = ()) -> bool:
    """Delete those metadata of an image of this run that are damaged, so that :func:`create_image` makes them anew.

    Voxels are not touched. What belongs to another run, or to another program, stays as it is.

    Parameters
    ----------
    spec, token
        The image as it was created, and the token of its run. The caller knows that it was.
    lost
        Paths of arrays whose metadata are known to be other ones than were written.

    Returns
    -------
    bool
        Whether objects of the image are there, but its own metadata are not (any more).
    """
    if spec.group.startswith("labels/"):
        try:
            read_node(spec.url, "labels")
        except FormatError:
            remove_node(spec.url, "labels")
    if wrong_root(spec) == "damaged" and _holds_labels_alone(spec.url):
        remove_node(spec.url, "")
    try:
        node = read_node(spec.url, spec.group)
        ours = node is None or node.ours.get("token") == token
        wrong = node is not None and ours and _other_than_created(node, spec, token)
    except FormatError:
        node, ours, wrong = None, True, True
    if not ours:
        return False
    if wrong:
        remove_node(spec.url, spec.group)
        node = None
    for number, level in enumerate(spec.levels):
        path = spec.array_path(number)
        try:
            array = read_node(spec.url, path)
            damaged = array is not None and not _fits(array, spec, level)
        except FormatError:
            damaged = True
        if damaged or path in lost:
            remove_node(spec.url, path)
    return node is None and _holds_objects(spec)


def _holds_objects(spec: ImageSpec) -> bool:
    return any(objects_of(spec.url, spec.array_path(n)) for n in range(len(spec.levels)))


def wrong_root(spec: ImageSpec) -> Literal["", "missing", "damaged"]:
    """Return what is wrong with the metadata of the store in which an image is a group; empty if they can be read."""
    if not spec.group:
        return ""
    try:
        return "" if read_node(spec.url) is not None else "missing"
    except FormatError:
        return "damaged"


def _holds_labels_alone(url: str) -> bool:
    """Whether the root of a store is nothing but a group around label images: such a root can be made again."""
    return set(children(url, "")) <= {"labels"}


def wrong_metadata(spec: ImageSpec, token: str) -> Literal["", "missing", "damaged", "changed"]:
    """Return what is wrong with the metadata of an image of this run; empty if they are as they were created.

    Only what volengine has to say counts: others may set colours and the display window, or add attributes.
    """
    try:
        node = read_node(spec.url, spec.group)
    except FormatError:
        return "damaged"
    if node is None:
        return "missing"
    return "changed" if _other_than_created(node, spec, token) else ""


def _other_than_created(node: Node, spec: ImageSpec, token: str) -> bool:
    if spec.scratch or node.ours.get("version") != __version__:  # another version may have written other things
        return False
    made = image_attributes(spec, token)
    return _said(node.attributes) != _said(json.loads(json.dumps(made)))


def _said(attributes: Mapping[str, Any]) -> str:
    """What the attributes of an image say of its voxels and of their origin, as text (in which NaN equals NaN)."""
    ours = attributes.get("volengine")
    left_out = ("complete", "finished", "version", "run", "manifests", "found")
    said = {k: v for k, v in ours.items() if k not in left_out} if isinstance(ours, Mapping) else ours
    return json.dumps([ome_part(attributes).get("multiscales"), said], sort_keys=True)


def is_complete(url: str, group: str = "") -> bool:
    """Return whether an image exists and is complete. Images of other programs count as complete."""
    node = read_node(url, group)
    return node is not None and bool(node.ours.get("complete", True))


def is_begun(spec: ImageSpec) -> bool:
    """Return whether an image was complete at some time, or holds voxels that are not zero."""
    node = read_node(spec.url, spec.group)
    return node is not None and (bool(node.ours.get("finished")) or _holds_objects(spec))


def found_facts(spec: ImageSpec) -> Mapping[str, Any]:
    """Return the facts of an image that were found while it was made."""
    node = read_node(spec.url, spec.group)
    found = None if node is None else node.ours.get("found")
    return found if isinstance(found, Mapping) else {}


def store_token(url: str, group: str = "") -> str:
    """Return the token with which an image was created; ``""`` if there is no image, or another program made it."""
    node = read_node(url, group)
    return "" if node is None else str(node.ours.get("token", ""))


def remove(url: str, group: str = "") -> None:
    """Delete a store, or one group of it; a label image is also removed from the store's list of labels.

    If nothing is stored there, nothing happens.

    Raises
    ------
    InputError
        The local folder is no Zarr group or array; it is not deleted.
    """
    remove_store(url, group)
    unlist_label(url, group)


def strangers(spec: ImageSpec) -> list[str]:
    """Return the groups in an image's store that no run of volengine has made, for example labels drawn by hand.

    They would be lost if the store were deleted. Arrays of the image itself are not looked at.
    """
    node = read_node(spec.url)
    if spec.group or node is None or node.kind == "array":
        return []
    levels = {spec.array_path(number).partition("/")[0] for number in range(len(spec.levels))}
    paths = [name for name in children(spec.url, "") if name not in levels]
    if "labels" in paths:
        paths.remove("labels")
        paths += [f"labels/{name}" for name in children(spec.url, "labels")]
    nodes = {path: read_node(spec.url, path) for path in paths}
    return [path for path, node in nodes.items() if node is not None and not node.ours.get("token")]


def _check_spec(spec: ImageSpec) -> None:
    if spec.ngff == "0.4" and any(level.shards for level in spec.levels):
        raise InputError(f"{spec.where}: NGFF 0.4 (Zarr v2) knows no shards; plan the levels with ngff='0.4'.")
    if spec.kind == "labels" and spec.dtype.startswith("float"):
        raise InputError(f"{spec.where}: label images hold integers, not {spec.dtype}.")
    parent = read_node(spec.url) if spec.group else None
    if parent is None:
        return
    said = "" if parent.zarr_format == 2 else str(ome_part(parent.attributes).get("version", ""))
    wanted = ngff_for(parent.zarr_format, parent.attributes)
    if parent.zarr_format != _zarr_format(spec) or (said and wanted != spec.ngff):
        what = f"NGFF {said}" if said else f"Zarr v{parent.zarr_format}"
        raise InputError(f"{spec.url} is {what}; NGFF {spec.ngff} cannot be added. Use --ngff {wanted}.")


def _zarr_format(spec: ImageSpec) -> Any:
    return 2 if spec.ngff == "0.4" else 3


def _create_parents(spec: ImageSpec, durable: bool) -> None:
    """Create the groups above an image that are not there."""
    parts = spec.group.split("/") if spec.group else []
    for depth in range(len(parts)):
        path = "/".join(parts[:depth])
        if read_node(spec.url, path) is None:
            if not path and exists(spec.url) and not _holds_labels_alone(spec.url):
                raise FormatError(
                    f"{spec.url} has no metadata, but arrays or groups beside its labels: those of an image that was "
                    "deleted in part. Make that image again, or give another name."
                )
            _create_group(spec, path, wrap_ome(spec, {"labels": []}) if path == "labels" else {}, durable)


def _create_group(spec: ImageSpec, path: str, attributes: dict[str, Any], durable: bool) -> None:
    put_node(spec.url, path, group_files(_zarr_format(spec), attributes), durable=durable)


def _is_begun(url: str, token: str) -> bool:
    """Whether nothing is there but attributes of this run, which was killed before it wrote the rest of the node."""
    ours = (read_json(url, "", ".zattrs") or {}).get("volengine")
    names = {name for name in stored_objects(url) if not is_private(name)}
    return isinstance(ours, dict) and ours.get("token") == token and names == {".zattrs"}


def _create_own_group(spec: ImageSpec, token: str, run: str, durable: bool) -> None:
    """Create the group of an image with its metadata. Other processes may do the same."""
    if spec.scratch and not spec.levels[0].path:
        return  # the array itself is the node
    attributes = {"volengine": _scratch_facts(token)} if spec.scratch else image_attributes(spec, token)
    if run:
        attributes["volengine"]["run"] = run
    _create_group(spec, spec.group, attributes, durable)
    if store_token(spec.url, spec.group) != token:
        raise InputError(f"{spec.where} is being written by another run. Give another name, or wait for it.")


def _scratch_facts(token: str) -> dict[str, Any]:
    return {"token": token, "scratch": True, "complete": False}


def _create_array(spec: ImageSpec, number: int, level: Level, token: str, durable: bool) -> None:
    """Create the array of a level, unless it exists already. Other processes of the run may create the same array."""
    path = spec.array_path(number)
    if (node := read_node(spec.url, path)) is not None:
        if _fits(node, spec, level) and (not spec.scratch or node.ours.get("token") == token):
            return
        if not spec.scratch:
            raise InputError(
                f"{spec.url}: level {path!r} was planned differently (shape {node.shape}, {node.dtype}) from now "
                f"({level.shape}, {spec.dtype}). Use --overwrite to start again."
            )
        remove_store(spec.url, path)
    zarr_format = _zarr_format(spec)
    described = {
        "shape": tuple(level.shape),
        "dtype": spec.dtype,
        "chunks": tuple(level.chunks),
        "shards": None if level.shards is None else tuple(level.shards),
        "fill_value": 0,
        "zarr_format": zarr_format,
        "dimension_names": tuple(AXES) if zarr_format == 3 else None,
    }
    codec = {
        "name": spec.codec,
        "dtype": spec.dtype,
        "kind": spec.kind,
        "zarr_format": zarr_format,
        "scratch": spec.scratch,
    }
    attributes = {"volengine": _scratch_facts(token)} if spec.scratch else {}
    files = array_files(tuple(described.items()), tuple(codec.items()), attributes)
    put_node(spec.url, path, files, durable=durable)


def _fits(node: Node, spec: ImageSpec, level: Level) -> bool:
    return (node.shape, node.dtype, node.chunks, node.shards) == (level.shape, spec.dtype, level.chunks, level.shards)


def _update(spec: ImageSpec, changes: Mapping[str, Any], shown: DisplayRange | None, durable: bool) -> None:
    """Change the ``volengine`` attributes of an image (``None``: remove), and its display range if ``shown`` is given.

    The attributes belong to the image's group; those of a scratch image without group belong to its array.
    """

    def changed(node: Node) -> dict[str, Any]:
        ours = {key: value for key, value in {**node.ours, **changes}.items() if value is not None}
        attributes: dict[str, Any] = {"volengine": ours}
        if shown is not None:
            ome = {**ome_part(node.attributes), "omero": omero(spec, *shown)}
            attributes |= {"omero": ome["omero"]} if spec.ngff == "0.4" else {"ome": ome}
        return attributes

    if not update_attributes(spec.url, spec.group, changed, durable=durable):
        raise MissingError(f"{spec.where} is not there; it was deleted while it was being written.")


__all__ = [
    "GroupInfo",
    "ZarrSink",
    "ZarrSource",
    "block_unit",
    "create_image",
    "drop_damaged",
    "finish_image",
    "found_facts",
    "is_begun",
    "is_complete",
    "is_listed",
    "list_groups",
    "local_path",
    "open_image",
    "plan_levels",
    "remove",
    "reopen_image",
    "store_token",
    "wrong_metadata",
    "wrong_root",
]
