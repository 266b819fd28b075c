"""Identities of what is read: snapshots of files and Zarr arrays, and the check that they are still the same.

>>> import mrcfile, numpy, pathlib, tempfile
>>> from volengine.io.open import open_volume
>>> with tempfile.TemporaryDirectory() as folder:
...     mrcfile.write(f"{folder}/TS_01.mrc", numpy.zeros((4, 8, 8), "float32"), voxel_size=10)
...     volume = open_volume(f"{folder}/TS_01.mrc")
...     check_unchanged(volume)                     # nothing happens
...     pathlib.Path(folder, "TS_01.mrc").unlink()
...     check_unchanged(volume)                     # doctest: +ELLIPSIS
Traceback (most recent call last):
volengine.core.errors.ChangedError: ...TS_01.mrc is gone; ...

Opening a volume takes a *snapshot*, which it keeps in ``volume.snapshot``, and makes its ``identity`` of it.

``quick``
    Of a file (also of a zip archive of a store): size, time of the last change in ns, inode, and 16 blocks of 4 KiB
    that are spread over it, the first and the last one among them. Of a Zarr array: its metadata, those of its image,
    and a listing of its objects (name, size, time and inode, or ETag). So bytes that are changed in place are not
    noticed if the time of the file is set back and no sampled block is touched.
``content``
    All bytes are read once; the identity depends on nothing else, so a copy of a file has the identity of the file. The
    digest is remembered (:mod:`volengine.io.hashing`).
``metadata``
    Of a Zarr array: its metadata only, for looking at a volume. There is no snapshot, and nothing is checked later.

Stores that cannot be listed (``https://``, buckets that refuse it) are known by their metadata only.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from volengine.core.digest import DIGITS, digest_of
from volengine.core.errors import ChangedError, InputError, MissingError
from volengine.core.volume import Volume
from volengine.io.hashing import (
    FileState,
    content_of_file,
    content_of_objects,
    file_state,
    remembered_content,
    sample_of_file,
)
from volengine.io.listing import ARRAY_FILES, Listing, listing_of, metadata_of, node_object, time_ns, voxel_objects
from volengine.io.names import FILE_SUFFIXES, is_remote, is_zipped, suffix_of
from volengine.io.stores import local_path

How = Literal["quick", "content", "metadata"]
Snapshot = dict[str, Any]

SHARE = 0.02
"""Largest share of a worker's time that listing the inputs may take (``full=False``)."""

REMEMBERED = 4
"""Number of listings that a process remembers, so that the check can name the chunks that changed."""

REMEMBERED_OBJECTS = 20_000
"""Objects of the largest listing that is remembered."""

AGAIN = "Run the same command again: it makes everything anew that was made from it."

_lock = threading.Lock()
_listings: OrderedDict[str, Listing] = OrderedDict()
_checked: dict[tuple[str, str], tuple[float, float]] = {}
"""For each Zarr array that is read: when this process checked it last, and how long that took, seconds."""


def identified(volume: Volume, how: How = "quick") -> Volume:
    """Return the volume with its snapshot and its identity; the source is read.

    Parameters
    ----------
    volume
        A volume of a file or of a Zarr array.
    how
        ``quick``, ``content`` or ``metadata``.

    Raises
    ------
    MissingError
        The source does not exist, or cannot be reached.
    InputError
        ``content`` of a store that cannot be listed.
    """
    if how == "metadata" and not _is_file(volume.url):
        return volume.with_(identity=digest_of(["metadata", _place(volume), metadata_of(volume.url, volume.path)]))
    snapshot = _file_snapshot(volume.url, how) if _is_file(volume.url) else _zarr_snapshot(volume.url, volume.path, how)
    # another channel of the same array has other voxels
    facts = [volume.axes, volume.facts.get("select", {})]
    if is_zipped(volume.url) or (volume.path and not volume.stored):  # one file holds many arrays
        facts.append(volume.path)
    if how == "content":
        identity = digest_of(["content", facts, snapshot["content"], snapshot.get("meaning")])
    else:
        identity = digest_of(["quick", _place(volume), facts, snapshot])
    return volume.with_(identity=identity, snapshot=snapshot)


def identity_of(volume: Volume, how: How = "quick") -> str:
    """Return a digest that says what the voxels of a volume are; arguments and errors are those of :func:`identified`.

    Volumes with the same identity have the same voxels.
    """
    return identified(volume, how).identity


def check_unchanged(volume: Volume, *, full: bool = True) -> None:
    """Refuse a volume whose source is not what it was when the volume was opened.

    Parameters
    ----------
    volume
        The volume. One that a plan makes itself has no snapshot and is not checked.
    full
        Whether the sampled blocks of a file are read again and the objects of a store are listed in any case. If not,
        a file is checked by its size, time and inode, and an array by those of its metadata file; its objects are
        listed so seldom that it takes at most 2 % of the time of this process. Workers call this after each read.

    Raises
    ------
    ChangedError
        The source has changed, or is gone.
    MissingError
        An object store cannot be reached.
    """
    if not volume.identity or not volume.snapshot:
        return
    if volume.snapshot["kind"] == "file":
        _check_file(volume, full)
        return
    place = (volume.url, volume.path)
    began = time.monotonic()
    if not full:
        with _lock:
            last, cost = _checked.get(place, (0.0, 0.0))
            stamp = _node_stamp(*place, volume.snapshot)
            if place in _checked and began - last < cost / SHARE and stamp == volume.snapshot["node"]:
                return
            _checked[place] = (began, cost)  # the other threads of this process need not list it, too
    _check_zarr(volume)
    with _lock:
        now = time.monotonic()
        _checked[place] = (now, now - began)


def glance(url: str, path: str, snapshot: Mapping[str, Any]) -> str:
    """Say how a source on a disk differs from a snapshot, as far as one look at its file tells; nothing is read.

    Of a Zarr array the file of its metadata is looked at; of what lies behind a URL nothing.

    Parameters
    ----------
    url, path
        Where the source is, as of a volume.
    snapshot
        Its snapshot, as of a volume.

    Returns
    -------
    str
        What differs; empty if nothing does.

    Raises
    ------
    MissingError
        It is gone.
    InputError
        It cannot be reached.
    """
    if not snapshot or is_remote(url):
        return ""
    by_content = snapshot["how"] == "content"
    if snapshot["kind"] == "file":
        state = file_state(url)
        differences = _differences(snapshot, state)
        if by_content and differences and state.size == snapshot["size"]:
            content = remembered_content(url)
            if content is None:
                return f"{'; '.join(differences)}; the next run compares all bytes"
            differences = [] if content == snapshot["content"] else ["other bytes"]
        return "; ".join(differences)
    stamp = _node_stamp(url, path, snapshot)
    if stamp == "":
        raise MissingError(f"{url}: there is no such array.")
    if stamp == snapshot.get("node"):
        return ""
    return "its array was written again" + ("; the next run compares all bytes" if by_content else "")


# -- files ---------------------------------------------------------------------------------------------------


def _is_file(url: str) -> bool:
    return is_zipped(url) or suffix_of(url) in FILE_SUFFIXES


def _place(volume: Volume) -> list[str]:
    return [volume.url, volume.path]


def _file_snapshot(url: str, how: How) -> Snapshot:
    state, sample = sample_of_file(url)
    snapshot = {"kind": "file", "how": how, **state.to_json(), "sample": sample}
    if how == "content":
        snapshot["content"] = content_of_file(url)
    return snapshot


def _check_file(volume: Volume, full: bool) -> None:
    before = volume.snapshot
    try:
        state = file_state(volume.url)
        same = state == FileState.from_json(before)
        if same and not full:
            return
        if before["how"] == "content":
            # touched, or copied over, or changed with its time set back: only the bytes count
            if content_of_file(volume.url) != before["content"]:
                raise _changed(volume, [*_differences(before, state), "other bytes"])
            return
        state, sample = sample_of_file(volume.url)
    except MissingError:
        raise _changed(volume, None) from None
    differences = _differences(before, state)
    if sample != before["sample"]:
        differences.append("other bytes in it")
    if differences:
        raise _changed(volume, differences)


def _differences(before: Mapping[str, Any], now: FileState) -> list[str]:
    old = FileState.from_json(before)
    found = []
    if old.size != now.size:
        found.append(f"size {old.size} → {now.size} bytes")
    if old.time_ns != now.time_ns:
        found.append(f"time {_time(old.time_ns)} → {_time(now.time_ns)}")
    if old.inode != now.inode:
        found.append("another file is in its place")
    return found


def _time(ns: int) -> str:
    """A time with as many digits as are needed to tell two changes apart."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}.{ns % 10**9:09d} UTC"


def _changed(volume: Volume, differences: list[str] | None) -> ChangedError:
    if differences is None:
        return ChangedError(
            f"{volume.where} is gone; it was there when this run was planned. Put it back, and run the same command "
            "again."
        )
    return ChangedError(f"{volume.where} has changed since this run was planned: {'; '.join(differences)}. {AGAIN}")


# -- Zarr arrays ---------------------------------------------------------------------------------------------


def _zarr_snapshot(url: str, path: str, how: How) -> Snapshot:
    listing = listing_of(url, path)
    full, meaning = metadata_of(url, path)
    snapshot: Snapshot = {"kind": "zarr", "how": how, "metadata": full, **_summary(listing)}
    # another store that is put in this place, or an array that is created anew, is seen without a listing
    snapshot["node"] = None if listing is None or local_path(url) is None else node_object(listing).stamp
    if how == "content":
        if listing is None:
            raise InputError(
                f"{url}: its objects cannot be listed, so their contents have no identity; copy the store, or use "
                "--identity quick, which takes its metadata."
            )
        snapshot["meaning"] = meaning
        snapshot["content"] = content_of_objects(url, path, voxel_objects(listing), snapshot["listing"])
    return snapshot


def _summary(listing: Listing | None) -> Snapshot:
    """What a snapshot keeps of a listing, some numbers for any number of objects."""
    if listing is None:
        return {"objects": None, "bytes": None, "newest_ns": None, "listing": None}
    rows = sorted((key, item.size, item.stamp) for key, item in listing.items())
    # not digest_of(rows), which takes a second for 10⁵ objects; no key contains the zero byte
    text = "".join(f"{key}\0{size}\0{stamp}\0" for key, size, stamp in rows)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]
    if len(rows) <= REMEMBERED_OBJECTS:
        with _lock:
            _listings[digest] = listing
            _listings.move_to_end(digest)
            while len(_listings) > REMEMBERED:
                _listings.popitem(last=False)
    newest = max((time_ns(item) or 0 for item in listing.values()), default=0)
    return {
        "objects": len(rows),
        "bytes": sum(size for _, size, _ in rows),
        "newest_ns": newest or None,
        "listing": digest,
    }


def _node_stamp(url: str, path: str, snapshot: Mapping[str, Any]) -> str | None:
    """The stamp of the array's metadata file in a local store, empty if it is gone; ``None`` in other stores."""
    folder = local_path(url)
    if folder is None or snapshot["listing"] is None:
        return None
    for name in ARRAY_FILES:
        with suppress(OSError):
            stat = (folder / path / name).stat()
            return f"{stat.st_mtime_ns}-{stat.st_ino}"
    return ""


def _check_zarr(volume: Volume) -> None:
    before = volume.snapshot
    try:
        listing = None if before["listing"] is None else listing_of(volume.url, volume.path)
        metadata, meaning = metadata_of(volume.url, volume.path)
    except MissingError as error:
        if error.__cause__ is not None and local_path(volume.url) is None:
            raise  # not reached
        raise _changed(volume, None) from None
    now = _summary(listing)
    same = now["listing"] == before["listing"]
    if before["how"] == "content" and listing is not None:
        content = content_of_objects(volume.url, volume.path, voxel_objects(listing), now["listing"])
        if content == before["content"] and meaning == before["meaning"]:
            return
    elif same and metadata == before["metadata"]:
        return
    differences = [] if same else _listed_differences(before, now, listing or {})
    if metadata != before["metadata"]:
        differences.append("other metadata")
    raise _changed(volume, differences)


def _listed_differences(before: Snapshot, now: Snapshot, listing: Listing) -> list[str]:
    """Say which chunks changed: by the listing that this process remembers, or else by their times."""
    found = []
    if before["objects"] != now["objects"]:
        found.append(f"{before['objects']} → {now['objects']} chunks and other objects")
    if before["bytes"] != now["bytes"]:
        found.append(f"size {before['bytes']} → {now['bytes']} bytes")
    with _lock:
        old = _listings.get(before["listing"])
    if old is not None:
        found += [
            f"{what} {_some(keys)}"
            for what, keys in (
                ("deleted:", sorted(set(old) - set(listing))),
                ("new:", sorted(set(listing) - set(old))),
                ("written again:", sorted(key for key in set(old) & set(listing) if old[key] != listing[key])),
            )
            if keys
        ]
    else:
        later = sorted(key for key, item in listing.items() if (time_ns(item) or 0) > (before["newest_ns"] or 0))
        if later and before["newest_ns"]:
            found.append(f"written since then: {_some(later)}")
    return found or ["objects were written again"]


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
