"""Paths as people give them: text or :class:`pathlib.Path`, one or several.

Every argument of the public face that names a file, a folder, a store or a list of them is annotated with one of the
types below, and the function turns it into text in its first line:

>>> from pathlib import Path
>>> path_text(Path("tomograms") / "TS_01.mrc"), path_text("s3://bucket/TS_01.ome.zarr")
('tomograms/TS_01.mrc', 's3://bucket/TS_01.ome.zarr')
>>> path_texts("tomograms/*.mrc")
['tomograms/*.mrc']

Behind the face a path is always a text, because handles, recipes and plans are JSON. A recipe does the same with its
fields (:mod:`volengine.core.recipe`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from volengine.core.errors import InputError

PathLike = str | os.PathLike[str]
"""One file, folder or store: a path, or a URL as text."""

PathsLike = PathLike | Iterable[PathLike]
"""One path or several; where a verb takes many inputs also folders, globs and ``.txt`` lists."""

PathsByFeature = PathLike | Mapping[str, PathLike]
"""One path, or a path for each feature."""

_BROKEN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")


def path_text(path: PathLike) -> str:
    """A path as text.

    Raises
    ------
    InputError
        For anything that is no path, and for a URL that was made into a :class:`pathlib.Path` (it loses a slash).
    """
    return _text(path)


def path_text_or_none(path: PathLike | None) -> str | None:
    """The same for an argument that may be left out."""
    return None if path is None else _text(path)


def _text(path: object) -> str:
    if isinstance(path, str):
        return path
    text: object = os.fspath(path) if isinstance(path, os.PathLike) else None
    if not isinstance(text, str):
        hint = "give its url" if hasattr(path, "url") else "give text or a pathlib.Path"
        raise InputError(f"{path!r} is no path; {hint}.")
    if _BROKEN_URL.match(text):
        raise InputError(f"{text!r}: pathlib.Path breaks URLs; give the URL as text.")
    return text


def path_texts(paths: PathsLike) -> list[str]:
    """One path or several as a list of texts; errors as of :func:`path_text`."""
    if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable):
        return [path_text(paths)]
    return [path_text(path) for path in paths]


def paths_by_feature(paths: PathsByFeature) -> str | dict[str, str]:
    """One path as text, or the text of each feature's path; errors as of :func:`path_text`."""
    if isinstance(paths, Mapping):
        return {feature: path_text(path) for feature, path in paths.items()}
    return path_text(paths)
