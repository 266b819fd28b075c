"""Which tomogram and which feature a volume is of: what it says itself, else its file name ``TOMOGRAM__FEATURE``."""

from __future__ import annotations

from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.tasks.common.layout import feature_named, file_name


def feature_of(volume: Volume) -> str:
    """The feature that a volume is of; empty if neither the volume nor its file name says it."""
    known = str(volume.facts.get("feature", ""))
    return known or (feature_named(volume.name.rpartition("__")[2]) if "__" in volume.name else "")


def of_tomogram(volume: Volume, feature: str) -> Volume:
    """The volume under its tomogram's name: without the feature that follows it in a file name."""
    return volume.with_(name=volume.name.removesuffix(f"__{feature}").removesuffix(f"__{file_name(feature)}"))


def named(volume: Volume) -> tuple[str, Volume]:
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
