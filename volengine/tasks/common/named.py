"""Which tomogram and which feature a volume is of: what it says itself, else its file name ``TOMOGRAM__FEATURE``.

>>> volume = Volume("p/TS_01__membrane.mrc", (8, 8, 8), "uint8", (10.0, 10.0, 10.0), name="TS_01__membrane")
>>> feature, of = named(volume)
>>> feature, of.name
('membrane', 'TS_01')
"""

from __future__ import annotations

from typing import TypeVar

from volengine.core.errors import InputError
from volengine.core.volume import Vector3, Volume
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.layout import feature_named, file_name

V = TypeVar("V", bound=Volume)

SIZE_TOLERANCE = 0.01
"""Voxel sizes of volumes on one grid may differ by this share: headers are rounded."""


def open_sized(path: str, voxel_size: float | Vector3 | None = None) -> OpenVolume:
    """Open a volume from its metadata.

    Parameters
    ----------
    path
        A file, store or URL; ``store.ome.zarr#labels/core`` is the group ``labels/core`` inside of a store.
    voxel_size
        Angstrom, for a file that does not say it. What a file says is never overridden.

    Raises
    ------
    InputError
        The file cannot be read, or neither it nor ``voxel_size`` says how large its voxels are.
    """
    url, _, group = path.partition("#")
    try:
        return open_volume(url, group=group)
    except InputError as error:
        if voxel_size is None or type(error) is not InputError:
            raise
        return open_volume(url, group=group, voxel_size=voxel_size)


def feature_in(name: str) -> str:
    """The feature in a file's name ``TOMOGRAM__FEATURE`` (without its suffix); empty if the name has none."""
    return feature_named(name.rpartition("__")[2]) if "__" in name else ""


def tomogram_in(name: str, feature: str) -> str:
    """The tomogram in a file's name: what stands before ``__FEATURE``; all of it if the name does not end so."""
    tomogram = name.removesuffix(f"__{feature}")
    return tomogram.removesuffix(f"__{file_name(feature)}") if feature else tomogram


def feature_of(volume: Volume) -> str:
    """The feature that a volume is of; empty if neither the volume nor its file name says it."""
    return str(volume.facts.get("feature", "")) or feature_in(volume.name)


def of_tomogram(volume: V, feature: str) -> V:
    """The volume under its tomogram's name: without the feature that follows it in a file name."""
    return volume.with_(name=tomogram_in(volume.name, feature))


def named(volume: V) -> tuple[str, V]:
    """The feature that a prediction is of, and the prediction under its tomogram's name.

    Raises
    ------
    InputError
        Neither the volume nor its file name says the feature.
    """
    feature = feature_of(volume)
    if not feature:
        raise InputError(f"{volume.url} does not say which feature it predicts, nor does its name (TOMOGRAM__FEATURE).")
    return feature, of_tomogram(volume, feature)


def stored_name(volume: Volume) -> str:
    """The name of a volume's file without its folder, and behind ``#`` the array in it: for tables and messages."""
    return "#".join([volume.url.rstrip("/").rsplit("/", 1)[-1], *([volume.path] if volume.path else [])])
