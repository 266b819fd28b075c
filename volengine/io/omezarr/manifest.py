"""The manifest of an array: which objects it consists of, with their sizes and checksums.

A missing chunk reads as zeros in Zarr, so a store cannot tell a lost shard from an empty one. A finished image of ours
says it: each array has a file ``manifest.json`` in its folder, where Zarr does not look. It holds no times and no
paths, so it is right in any copy of the store.

>>> url = "memory://manifest"
>>> write_manifest(url, "0", {"c/0/0/0": (12, 345)})
>>> compare(url, "0").missing
('c/0/0/0',)

:func:`compare` needs a listing only, :func:`deep_check` reads every object. Reading through
:class:`~volengine.io.omezarr.arrays.ZarrSource` refuses an object that is lost, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from volengine.core.errors import MissingError
from volengine.io.omezarr.manifest_file import (
    NAME,
    Manifest,
    objects_of,
    read_manifest,
    remove_manifest,
    write_manifest,
)
from volengine.io.omezarr.objects import Stored
from volengine.io.omezarr.reading import ArrayReader

Progress = Callable[[int, int], None]
"""Called with the number of objects that were read, and of all."""


@dataclass(frozen=True)
class Differences:
    """How the stored objects of an array differ from its manifest; keys relative to the array, sorted.

    Parameters
    ----------
    missing
        Listed, but not there.
    damaged
        There with another size.
    foreign
        There, but not listed.
    """

    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.damaged or self.foreign)


@dataclass(frozen=True)
class DeepFindings:
    """What reading every object of an array has shown.

    Parameters
    ----------
    objects, bytes
        How many objects were read, and their bytes.
    missing, foreign
        As in :class:`Differences`; without a manifest nothing is known to be missing, and foreign are keys that are
        none of the array's.
    damaged
        What is wrong, by key.
    listed
        Whether the array has a manifest.
    """

    objects: int
    bytes: int
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    listed: bool = False

    def __bool__(self) -> bool:
        return bool(self.missing or self.damaged or self.foreign)


def compare(url: str, array_path: str) -> Differences:
    """Compare the stored objects of an array with its manifest, by a listing; no object is read.

    Raises
    ------
    MissingError
        The array has no manifest.
    """
    manifest = read_manifest(url, array_path)
    if manifest is None:
        raise MissingError(f"{url}: the array {array_path!r} has no list of its objects ({NAME}).")
    return _differences(manifest, objects_of(url, array_path))


def _differences(manifest: Manifest, there: Mapping[str, int]) -> Differences:
    return Differences(
        missing=tuple(sorted(key for key in manifest.objects if key not in there)),
        damaged=tuple(sorted(k for k, (size, _) in manifest.objects.items() if there.get(k, size) != size)),
        foreign=tuple(sorted(key for key in there if key not in manifest.objects)),
    )


def deep_check(url: str, array_path: str, progress: Progress | None = None) -> DeepFindings:
    """Read every object of an array and look for damage.

    An object that the manifest lists must have its size and checksum. Without a manifest, each object is decoded, which
    finds what its codecs can tell: with a checksum everything, without one what cannot be decompressed.

    Parameters
    ----------
    url, array_path
        The store, and the path of the array in it.
    progress
        Called after each object.

    Raises
    ------
    MissingError
        There is no such array, or it cannot be read.
    FormatError
        Its metadata or its manifest cannot be understood.
    """
    reader = ArrayReader(url, array_path)
    manifest, there = read_manifest(url, array_path), objects_of(url, array_path)
    differences = _differences(manifest, there) if manifest is not None else Differences()
    cells = {key: reader.cell(key) for key in there}
    foreign = differences.foreign or tuple(sorted(key for key, cell in cells.items() if cell is None))
    read = sorted(key for key in there if key not in foreign)
    damaged = {}
    for number, key in enumerate(read, 1):
        cell = cells[key]
        if manifest is not None:
            wrong = reader.verify(key, manifest.objects[key])
        else:
            wrong = reader.examine(cell) if cell is not None else ""
        if wrong:
            damaged[key] = wrong
        if progress is not None:
            progress(number, len(read))
    return DeepFindings(
        len(read), sum(there[key] for key in read), differences.missing, foreign, damaged, manifest is not None
    )


__all__ = [
    "NAME",
    "DeepFindings",
    "Differences",
    "Manifest",
    "Stored",
    "compare",
    "deep_check",
    "read_manifest",
    "remove_manifest",
    "write_manifest",
]
