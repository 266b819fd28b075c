"""Which tomogram a volume is of, and which feature it shows.

A volume says it itself where volengine has written it (``facts["feature"]``); of any other file the name does, if it is
``TOMOGRAM__FEATURE``.

>>> volume = Volume("p/TS_01__membrane.mrc", (8, 8, 8), "uint8", (10.0, 10.0, 10.0), name="TS_01__membrane")
>>> feature, of = named(volume)
>>> feature, of.name
('membrane', 'TS_01')
"""

from __future__ import annotations

from volengine.core.errors import InputError
from volengine.core.volume import Vector3, Volume
from volengine.io.open import open_volume

SIZE_TOLERANCE = 0.01
"""Voxel sizes of volumes on one grid may differ by this share: headers are rounded."""


def open_sized(path: str, voxel_size: float | Vector3 | None = None) -> Volume:
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


def feature_of(volume: Volume) -> str:
    """The feature that a volume shows; ``""`` if neither its facts nor its name (``TOMOGRAM__FEATURE``) say it."""
    return str(volume.facts.get("feature", "")) or (volume.name.rpartition("__")[2] if "__" in volume.name else "")


def tomogram_of(volume: Volume, feature: str | None = None) -> str:
    """The name of the tomogram that a volume is of: its own name without ``__FEATURE``.

    ``feature`` is by default what :func:`feature_of` finds.
    """
    return volume.name.removesuffix(f"__{feature_of(volume) if feature is None else feature}")


def of_tomogram(volume: Volume, feature: str) -> Volume:
    """The volume of a feature under the name of its tomogram."""
    return volume.with_(name=tomogram_of(volume, feature))


def named(volume: Volume) -> tuple[str, Volume]:
    """The feature that a prediction is of, and the prediction under the name of its tomogram.

    Raises
    ------
    InputError
        Neither the volume's facts nor its name say both.
    """
    feature = feature_of(volume)
    if not feature or feature == volume.name:
        raise InputError(f"{volume.url} does not say which feature it predicts, nor does its name (TOMOGRAM__FEATURE).")
    return feature, of_tomogram(volume, feature)


def stored_name(volume: Volume) -> str:
    """The name of a volume's file without its folder, and behind ``#`` the array in it: for tables and messages."""
    return "#".join([volume.url.rstrip("/").rsplit("/", 1)[-1], *([volume.path] if volume.path else [])])
