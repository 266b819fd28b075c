"""Checking OME-Zarr stores: whether another reader reads them in the same way, and whether the levels match.

>>> for image, findings in check_store("tomo.zarr").items():                                         # doctest: +SKIP
...     print(image or "image", findings)

Validators accept images whose scales are in the wrong order, or whose coarse levels are flipped, shifted or dark at the
edge, and many converters make one of these mistakes. So three things are compared: the metadata, as this package and as
``ome-zarr`` (the reference reader) interpret them; the geometry of every level with that of the finer one; and some
voxels of every level, those of three small boxes (at the first corner of the volume, in its middle and at the last
corner), with those of the finer one. Other voxels are not read, so damage between these boxes is not found.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError, InputError
from volengine.core.volume import Kind, Volume
from volengine.io.names import is_zipped, scheme
from volengine.io.omezarr.arrays import ZarrSource
from volengine.io.omezarr.ngff import ANGSTROM, ome_part, parse_multiscale
from volengine.io.omezarr.nodes import read_node
from volengine.io.omezarr.read import GroupInfo, children, list_groups, open_image
from volengine.io.stores import local_path
from volengine.ops.pyramid import downsample

PROBE = 16
"""Side of the boxes of coarse voxels that are compared, voxels."""

TOLERANCE = 0.02
"""Allowed difference of a level of means, as a share of the standard deviation of the compared voxels."""


def check_store(url: str) -> dict[str, list[str]]:
    """Check all images of a store.

    Parameters
    ----------
    url
        Path or URL of an OME-Zarr store (Zarr v2 or v3), by this package or another program.

    Returns
    -------
    The findings of :func:`check_image` by the image's group; ``""`` is the root image. Metadata that cannot be
    understood are a finding, too.

    Raises
    ------
    MissingError
        The store does not exist.
    FormatError
        It is no Zarr store, or a group without images.
    """
    try:
        groups = list_groups(url)
    except FormatError as error:
        if _is_no_store(url):
            raise
        return {"": [str(error)]}
    if not groups:
        raise FormatError(f"{url}: no OME-Zarr image is there, only a group without 'multiscales'.")
    found = {info.group: _group_findings(url, info) for info in groups}
    for name in _listed_labels(url):
        if f"labels/{name}" not in found:
            found[f"labels/{name}"] = ["it is listed in 'labels', but there is no such image."]
    return found


def _is_no_store(url: str) -> bool:
    try:
        return read_node(url) is None
    except FormatError:
        return False


def _group_findings(url: str, info: GroupInfo) -> list[str]:
    findings = []
    folder, _, name = info.group.rpartition("/")
    if folder == "labels" and name not in _listed_labels(url):
        findings.append("the store's 'labels' do not list it; other programs will not find it.")
    if info.kind == "labels" and np.dtype(info.dtype).kind not in "biu":
        findings.append(f"labels are whole numbers, but its voxels are {info.dtype}.")
    findings += _metadata_findings(url, info)
    size = None if info.voxel_size else 1.0  # a unit is no duty; how levels lie on each other does not depend on it
    for channel in range(info.channels):
        try:
            found = check_image(url, info.group, channel=channel if info.channels > 1 else None, voxel_size=size)
        except (FormatError, InputError) as error:
            found = [str(error)]
        findings += [finding for finding in found if finding not in findings]
    return findings


def _metadata_findings(url: str, info: GroupInfo) -> list[str]:
    """Return what the metadata leave out or name in a way that is not understood, and arrays that they do not list."""
    node = read_node(url, info.group)
    image = parse_multiscale(node.attributes, url) if node is not None and node.kind == "group" else None
    if node is None or image is None:
        return []
    findings, ome = [], ome_part(node.attributes)
    if node.zarr_format == 3 and not ome.get("version"):  # 0.5 demands it, 0.4 recommends it
        findings.append("its metadata state no version of NGFF.")
    units = {unit: None for axis, unit in zip(image.axes, image.units, strict=True) if unit and axis in "zyx"}
    findings += [
        f"{unit!r} is no unit of length that volengine reads." for unit in units if unit.strip().lower() not in ANGSTROM
    ]
    levels = {dataset.path.partition("/")[0] for dataset in image.datasets}
    for name in children(url, info.group):
        other = read_node(url, f"{info.group}/{name}".strip("/")) if name not in levels else None
        if other is not None and other.kind == "array" and len(other.shape) == len(image.axes):
            findings.append(f"there is an array {name!r} that its metadata do not list as a level.")
    return findings


def _listed_labels(url: str) -> list[str]:
    """Return the names of the label images that the group ``labels`` lists."""
    node = read_node(url, "labels")
    listed = ome_part(node.attributes).get("labels") if node is not None else None
    return [str(name) for name in listed] if isinstance(listed, list) else []


def check_image(url: str, group: str = "", *, channel: int | None = None, voxel_size: float | None = None) -> list[str]:
    """Check an image; return one sentence per finding, or nothing if no error was found.

    Parameters
    ----------
    url, group, channel, voxel_size
        As for :func:`volengine.io.omezarr.read.open_image`.

    Raises
    ------
    MissingError, FormatError, InputError
        The image cannot be opened.
    """
    levels: list[Volume] = []
    while True:
        try:
            levels.append(open_image(url, group=group, channel=channel, level=len(levels), voxel_size=voxel_size))
        except InputError as error:
            if levels and "there is no level" in str(error):
                break
            raise
    try:
        findings = _second_reader(levels)
    except Exception as error:  # the reference reader raises whatever broken metadata make it run into
        findings = [f"ome-zarr cannot read it ({type(error).__name__}: {error})."]
    if len(levels) == 1:
        findings += [finding for _, box in _probes(levels[0]) for finding in _read(levels[0], box)[1]]
    for fine, coarse in pairwise(levels):
        if coarse.dtype != fine.dtype:
            findings.append(f"level {coarse.path}: its voxels are {coarse.dtype}, those of {fine.path} {fine.dtype}.")
        findings += _fits(fine, coarse)
    return findings


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Context in which a library logs errors only."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@_quiet("ome_zarr")
def _second_reader(levels: list[Volume]) -> list[str]:
    """Compare with what ``ome_zarr`` reads; it reads no NGFF 0.6, and no store in memory or in a zip archive."""
    first = levels[0]
    if scheme(first.url) == "memory" or is_zipped(first.url) or str(first.facts.get("ngff", "")).startswith("0.6"):
        return []
    from ome_zarr.axes import Axes
    from ome_zarr.format import format_from_version
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    group = first.path.rpartition("/")[0]
    root = local_path(first.url)
    where = "/".join(part for part in (str(root) if root is not None else first.url, group) if part)
    location = parse_url(where)
    # the nodes of a label image may begin with the image that it belongs to
    nodes = [node for node in Reader(location)() if node.zarr == location] if location is not None else []
    if not nodes or not nodes[0].data:
        return ["ome-zarr finds no image here."]
    node, findings = nodes[0], []
    version = format_from_version(str(first.facts.get("ngff", "0.4")))
    try:
        Axes(node.metadata["axes"], fmt=version)
    except ValueError as error:
        findings.append(f"ome-zarr refuses the axes: {error}.")
    try:
        transforms = node.metadata.get("coordinateTransformations")
        version.validate_coordinate_transformations(len(first.axes), len(node.data), transforms)
    except (ValueError, AssertionError) as error:
        findings.append(f"ome-zarr refuses the coordinate transformations: {error}.")
    axes = "".join(axis if isinstance(axis, str) else axis["name"] for axis in node.metadata["axes"])
    for number, (level, data) in enumerate(zip(levels, node.data, strict=False)):
        shape = index3(data.shape[axes.index(a)] if a in axes else 1 for a in "zyx")
        if shape != level.shape:
            findings.append(f"level {number}: ome-zarr sees the shape {shape}, volengine {level.shape}.")
    if len(node.data) != len(levels):
        findings.append(f"ome-zarr sees {len(node.data)} levels, volengine {len(levels)}.")
    return findings


def _factor(fine: Volume, coarse: Volume) -> Index3:
    return index3(max(1, round(a / b)) for a, b in zip(fine.shape, coarse.shape, strict=True))


def _fits(fine: Volume, coarse: Volume) -> list[str]:
    """Compare a level with the finer one: geometry, then voxels."""
    factor, findings = _factor(fine, coarse), []
    for axis, f, n, m in zip("zyx", factor, fine.shape, coarse.shape, strict=True):
        if m not in (n // f, -(-n // f)):
            findings.append(f"level {coarse.path}, axis {axis}: {m} voxels for {n} finer ones is no whole factor.")
    for at, axis in enumerate("zyx"):
        ratio = coarse.voxel_size[at] / fine.voxel_size[at]
        if abs(ratio - factor[at]) > 0.05 * factor[at]:
            findings.append(
                f"level {coarse.path}, axis {axis}: the scale grows {ratio:.4g} times, but one voxel stands for "
                f"{factor[at]} finer ones."
            )
        wanted = fine.origin[at] + fine.voxel_size[at] * (factor[at] - 1) / 2
        if abs(coarse.origin[at] - wanted) > 0.05 * fine.voxel_size[at]:
            findings.append(
                f"level {coarse.path}, axis {axis}: its first voxel lies at {coarse.origin[at]:.6g} angstrom; the "
                f"voxels it covers have their centre at {wanted:.6g} (half-voxel shift)."
            )
    return findings if findings and "whole factor" in findings[0] else [*findings, *_voxels(fine, coarse, factor)]


def _voxels(fine: Volume, coarse: Volume, factor: Index3) -> list[str]:
    """Compare voxels at the beginning, in the middle and at the end."""
    findings = []
    whole = index3(n // f for n, f in zip(fine.shape, factor, strict=True))
    for name, box in _probes(coarse):
        if name != "end":
            box = box.clip(whole)  # only the end shows what happens to an incomplete last voxel
        covered = Box(
            index3(a * f for a, f in zip(box.start, factor, strict=True)),
            index3(b * f for b, f in zip(box.stop, factor, strict=True)),
        ).clip(fine.shape)
        if not box.empty:
            (stored, unread), (voxels, finer_unread) = _read(coarse, box), _read(fine, covered)
            findings += unread + finer_unread
            text = _compare(stored, voxels, factor, fine.kind) if stored is not None and voxels is not None else ""
            findings += [f"level {coarse.path}, {name} of the volume: {text}"] if text else []
    return findings


def _probes(volume: Volume) -> list[tuple[str, Box]]:
    """Return the boxes whose voxels are looked at, with the names of their places."""
    size = index3(min(PROBE, n) for n in volume.shape)
    boxes = []
    for name, share in (("beginning", 0.0), ("middle", 0.5), ("end", 1.0)):
        start = index3(int((n - s) * share) for n, s in zip(volume.shape, size, strict=True))
        boxes.append((name, Box(start, index3(a + s for a, s in zip(start, size, strict=True)))))
    return boxes


def _read(volume: Volume, box: Box) -> tuple[NDArray[Any] | None, list[str]]:
    """Read a box, or return a finding where its chunks cannot be decoded."""
    try:
        return ZarrSource(volume).read(box), []
    except Exception as error:  # every codec has errors of its own for damaged chunks
        text = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")
        return None, [f"level {volume.path}: voxels {box.start} to {box.stop} (z, y, x) cannot be read ({text})."]


def _compare(stored: NDArray[Any], voxels: NDArray[Any], factor: Index3, kind: Kind) -> str:
    """Compare coarse voxels with the finer ones that they cover; return a finding, or an empty text."""
    if kind == "labels":
        strange = np.setdiff1d(stored, voxels)
        return f"it holds labels that the finer level has not, as {strange[0]}." if strange.size else ""
    expected = downsample(voxels.astype(np.float32), factor)
    spread = float(voxels.std(dtype=np.float64))
    rounding = 0.0 if stored.dtype.kind == "f" else 1.0
    allowed = TOLERANCE * spread + rounding + 1e-6 * float(np.abs(voxels.astype(np.float64)).max(initial=0.0))
    difference = np.abs(stored.astype(np.float32) - expected)
    if float(difference.max(initial=0.0)) <= allowed:
        return ""
    nearest = voxels[:: factor[0], :: factor[1], :: factor[2]]
    if nearest.shape == stored.shape and (nearest == stored).all():
        return "it holds single voxels of the finer level, not means (noise is aliased)."
    worst = np.unravel_index(int(difference.argmax()), difference.shape)
    return (
        f"it is not the mean of the finer level: {stored[worst]:.4g} instead of {expected[worst]:.4g} at voxel "
        f"{tuple(int(i) for i in worst)} of the part looked at (standard deviation {spread:.4g})."
    )
