"""The tomogram and the feature of a volume, from its metadata, or else from its file name ``TOMOGRAM__FEATURE``.

>>> volume = Volume("p/TS_01__membrane.mrc", (8, 8, 8), "uint8", (10.0, 10.0, 10.0), name="TS_01__membrane")
>>> feature, of = named(volume)
>>> feature, of.name
('membrane', 'TS_01')
"""

from __future__ import annotations

import re
from typing import TypeVar

from volengine.core.errors import InputError
from volengine.core.volume import Vector3, Volume
from volengine.io.identity import How
from volengine.io.names import name_in_copick, split_group
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.layout import feature_named, file_name

Handle = TypeVar("Handle", bound=Volume)
"""A volume; an open one stays open."""

NO_FEATURES = ("atlas", "instances", "known", "labels", "mask", "masks", "objects", "truth")
"""What a file of a truth is called that is not named by its feature."""

OF_SEVERAL_OBJECTS = (
    "is a copick segmentation of several objects (multilabel): its values are their labels in the project's "
    "configuration, and 2 does not mean that a voxel does not count. Say which are meant"
)
"""Message about labels 0, 1, 2 that are class ids."""


def open_sized(path: str, voxel_size: float | Vector3 | None = None, identity: How = "quick") -> OpenVolume:
    """Open a volume from its metadata.

    Parameters
    ----------
    path
        A file, store or URL; ``store.ome.zarr#labels/core`` is the group ``labels/core`` inside of a store.
    voxel_size
        Voxel size in angstrom, for a file that does not state it; it does not override the file's.
    identity
        How the volume is identified (:mod:`volengine.io.identity`).

    Raises
    ------
    InputError
        The file cannot be read, or neither the file nor ``voxel_size`` gives the voxel size.
    """
    url, group = split_group(path)
    try:
        return open_volume(url, group=group, identity=identity)
    except InputError as error:
        if voxel_size is None or type(error) is not InputError:
            raise
        return open_volume(url, group=group, voxel_size=voxel_size, identity=identity)


def feature_in(name: str) -> str:
    """The feature in a file name ``TOMOGRAM__FEATURE`` (without its suffix); empty if the name has none."""
    tomogram, _, feature = name.rpartition("__")
    return feature_named(feature) if tomogram else ""


def tomogram_in(name: str, feature: str) -> str:
    """The tomogram in a file name: the text before ``__FEATURE``, or the whole name if it does not end so."""
    tomogram = name.removesuffix(f"__{feature}")
    return tomogram.removesuffix(f"__{file_name(feature)}") if feature else tomogram


def feature_of(volume: Volume) -> str:
    """The feature of a volume; empty if neither its metadata nor its file name gives one."""
    return str(volume.facts.get("feature", "")) or feature_in(volume.name)


def feature_note(mine: str, other: str) -> str:
    """What is said if what was found and what is known are stated to be of two features; empty if they may be one.

    >>> feature_note("receptor", "ribosome")
    "'receptor' was found and 'ribosome' is known: are they one feature?"
    >>> feature_note("membrane", "membrane_labels"), feature_note("", "ribosome"), feature_note("core", "atlas")
    ('', '', '')
    """
    a, b = (re.sub("[^0-9a-z]", "", name.lower()) for name in (mine, other))
    if a in b or b in a or b in NO_FEATURES:
        return ""
    return f"{mine!r} was found and {other!r} is known: are they one feature?"


def of_tomogram(volume: Handle, feature: str) -> Handle:
    """Rename a volume to its tomogram: the name without ``__FEATURE``."""
    return volume.with_(name=tomogram_in(volume.name, feature))


def named(volume: Handle) -> tuple[str, Handle]:
    """The feature of a prediction, and the prediction renamed to its tomogram.

    Raises
    ------
    InputError
        Neither the metadata nor the file name gives the feature.
    """
    feature = feature_of(volume)
    if not feature:
        raise InputError(f"{volume.url} does not say which feature it predicts, nor does its name (TOMOGRAM__FEATURE).")
    return feature, of_tomogram(volume, feature)


def stored_name(volume: Volume) -> str:
    """The file name of a volume without its folder, with ``#`` and the array in the store, for tables and messages.

    Stores of a copick project have the same names in all runs, so the folders from that of the run on are kept.
    """
    return _short(volume).where


def stored_place(volume: Volume) -> str:
    """As :func:`stored_name`, with the image in the store instead of the array of its level."""
    return _short(volume).place


def _short(volume: Volume) -> Volume:
    parts = 3 if name_in_copick(volume.url) else 1
    return volume.with_(url="/".join(volume.url.rstrip("/").split("/")[-parts:]))
