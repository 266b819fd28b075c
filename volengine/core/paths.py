"""Paths in the arguments of public functions: text or :class:`pathlib.Path`, one or several.

Every argument of a public function that names a file, a folder, a store or several of them is annotated with one of the
types below. The function converts it to text first, in which a leading ``~`` or ``~user`` is the home folder:

>>> from pathlib import Path
>>> path_text(Path("tomograms") / "TS_01.mrc"), path_text("s3://bucket/TS_01.ome.zarr")
('tomograms/TS_01.mrc', 's3://bucket/TS_01.ome.zarr')
>>> path_texts("tomograms/*.mrc")
['tomograms/*.mrc']

Inside of the package a path is always a text, because handles, recipes and plans are JSON. A recipe converts its fields
in the same way (:mod:`volengine.core.recipe`).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from volengine.core.errors import InputError

PathLike = str | os.PathLike[str]
"""One file, folder or store: a path, or a URL as text."""

PathsLike = PathLike | Iterable[PathLike]
"""One path or several; for verbs that take many inputs also folders, globs and ``.txt`` lists."""

PathsByFeature = PathLike | Mapping[str, PathLike]
"""One path, or a path for each feature."""

_BROKEN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+-]+:/(?!/)")
"""A URL that has lost a slash; ``a.h5:/name`` is none: what stands before the colon has a dot, unlike all schemes."""

_MISTYPED_URL = re.compile(rf"{_BROKEN_URL.pattern}|(?:s3|gs|gcs|az|abfss?|https?|ftp|file):(?!//)", re.IGNORECASE)
"""A URL without one or both of its slashes; as a path it would be a local folder of this name."""


def path_text(path: PathLike) -> str:
    """Convert a path to text; a leading ``~`` or ``~user`` becomes the user's home folder.

    Raises
    ------
    InputError
        The value is no path, or a URL that has lost a slash: mistyped, or made into a :class:`pathlib.Path`.
    """
    return _text(path)


def path_text_or_none(path: PathLike | None) -> str | None:
    """Convert a path to text as :func:`path_text` does; ``None`` stays ``None``."""
    return None if path is None else _text(path)


def _text(path: object) -> str:
    if isinstance(path, str):
        if found := _MISTYPED_URL.match(path):
            whole = path[: found.end()].rstrip("/") + "//" + path[found.end() :].lstrip("/")
            raise InputError(f"{path}: a URL has two slashes: {whole}. A local path of this name begins with ./")
        return os.path.expanduser(path)  # noqa: PTH111  # pathlib would drop slashes of URLs
    text: object = os.fspath(path) if isinstance(path, os.PathLike) else None
    if not isinstance(text, str):
        hint = "give its url" if hasattr(path, "url") else "give text or a pathlib.Path"
        raise InputError(f"{path!r} is no path; {hint}.")
    if _BROKEN_URL.match(text):
        raise InputError(f"{text!r}: pathlib.Path breaks URLs; give the URL as text.")
    return os.path.expanduser(text)  # noqa: PTH111


def path_texts(paths: PathsLike) -> list[str]:
    """Convert one path or several to a list of texts; errors are those of :func:`path_text`."""
    if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable) or hasattr(paths, "url"):
        return [_text(paths)]
    return [path_text(path) for path in paths]


def paths_by_feature(paths: PathsByFeature) -> str | dict[str, str]:
    """Convert one path, or the path of each feature, to text; errors are those of :func:`path_text`."""
    if isinstance(paths, Mapping):
        return {feature: path_text(path) for feature, path in paths.items()}
    return path_text(paths)


def place_key(place: str, *, case: bool = False) -> str:
    """What file systems may take for the same name: texts that differ by how Unicode is composed have one key.

    Parameters
    ----------
    place
        A name, path or URL.
    case
        Texts that differ only by capital letters have different keys.

    >>> place_key("Caf\u00e9") == place_key("CAFE\u0301"), place_key("A", case=True) == place_key("a", case=True)
    (True, False)
    """
    text = unicodedata.normalize("NFC", place)
    return text if case else unicodedata.normalize("NFC", text.casefold())


def ignores_case(folder: Path) -> bool:
    """Whether the file system of an existing folder takes names that differ only by capital letters for the same."""
    other = folder.with_name(folder.name.swapcase())
    return other != folder and other.exists() and folder.exists() and other.samefile(folder)
