"""The tilt series of a tomogram that is converted: read, and refused if it is that of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.names import another_of_series, suffix_of
from volengine.io.tilts import TiltSeries, read_tilts, series_name, tilts_of

STACKS = (".st", ".ali")
"""Endings of files whose sections are the tilt images themselves."""


def tilts_for(source: Volume, tilts: str) -> dict[str, Any]:
    """Return what is known of a tomogram's tilt series, for the store's attributes; nothing without a file.

    Parameters
    ----------
    source
        The tomogram.
    tilts
        The file, or a folder in which one has the tomogram's name; may be empty.

    Raises
    ------
    MissingError, FormatError
        There is no such file, or it is damaged.
    InputError
        Its name is that of another tomogram of the series, or it has another number of images than the stack.
    """
    if not tilts:
        return {}
    path = tilts_of(tilts, source.name)
    name = series_name(path)
    if another_of_series(name, source.name):
        raise InputError(
            f"--tilts {path} is named as the tilt series of {name!r}, and the tomogram is {source.name!r}. Give its "
            "own file, or a folder with the files of all; if they do belong together, rename the file."
        )
    series = read_tilts(path)
    _check_number(series, path, source)
    return {"tilt_series": series.to_json()}


def _check_number(series: TiltSeries, path: str, source: Volume) -> None:
    """Refuse a file that names another number of images than a stack of tilt images has."""
    if suffix_of(source.url) not in STACKS:
        return  # the sections of a tomogram are no images
    raw = max((len(series.angles) + len(series.dark), *(section + 1 for section in series.sections or ())))
    fit = {raw, len(series.angles), len(series.angles) if series.used is None else sum(series.used)}
    if source.shape[0] not in fit:
        raise InputError(
            f"--tilts {path} has {' or '.join(map(str, sorted(fit)))} images, but {Path(source.url).name} has "
            f"{source.shape[0]} sections; it is of another tilt series."
        )
