"""The configuration of a copick project (``config.json``): its folders, its objects, and who works on it.

Source of the rules: copick 1.31 (MIT), ``models.py`` (``CopickConfig``, ``PickableObject``), ``ops/open.py`` and
``impl/filesystem.py`` (``CopickConfigFSSpec``). A root is a path or a URL of fsspec; a relative one counts from the
current folder, not from that of the configuration. Only roots on this machine's file systems are read here.

>>> from volengine.io.copick.config import clean_name
>>> clean_name("my_ribosome 80S")
'my-ribosome-80S'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_json, shown
from volengine.core.paths import PathLike, path_text
from volengine.io.files import first_bytes

LARGEST_BYTES = 2**24
"""A configuration is smaller than this; reading one needs some ten times its size."""

RUNS = "ExperimentRuns"
"""Folder of a root that has a folder for each run."""


@dataclass(frozen=True)
class PickableObject:
    """An object that a project knows.

    Parameters
    ----------
    name
        Its name, without ``_``, blanks and signs that files cannot have.
    is_particle
        Whether it is represented by points; else by segmentations.
    label
        Its value in segmentations of several objects; ``None`` if it has none.
    radius
        Angstrom; ``None`` if it is not stated.
    """

    name: str
    is_particle: bool
    label: int | None
    radius: float | None


@dataclass(frozen=True)
class Project:
    """A copick project on this machine.

    Parameters
    ----------
    path
        The configuration.
    name
        The project's name.
    overlay
        The folder into which results are written.
    static
        The folder that is only read; ``None`` if there is no other one than the overlay.
    objects
        The objects, in the configuration's order.
    user, session
        Who works on it, if the configuration says that.
    """

    path: str
    name: str
    overlay: Path
    static: Path | None
    objects: tuple[PickableObject, ...]
    user: str
    session: str

    @property
    def roots(self) -> tuple[tuple[Path, bool], ...]:
        """The folders in which runs are, and whether each is the static one."""
        return (*([(self.static, True)] if self.static is not None else []), (self.overlay, False))


def clean_name(text: str) -> str:
    """A name as copick has them in names of files: ``_``, blanks and signs that files cannot have become ``-``.

    Raises
    ------
    InputError
        Nothing would be left.
    """
    clean = re.sub(r'[<>:"/\\|?*\x00-\x1F\x7F\s_]', "-", text).strip("-")
    if not clean:
        raise InputError(f"The name {text!r} has no letter that copick can use in the name of a file.")
    return clean


def is_project(path: PathLike) -> bool:
    """Whether a file is the configuration of a copick project: JSON with a list of pickable objects and a root."""
    place = Path(path_text(path))
    if place.suffix.lower() != ".json" or not place.is_file():
        return False
    try:
        data = _parsed(str(place))
    except InputError:
        return False
    return isinstance(data, dict) and "pickable_objects" in data


def read_project(path: PathLike) -> Project:
    """Read the configuration of a project.

    Memory: some ten times the file's size, which is limited.

    Raises
    ------
    MissingError
        The file, or both folders that it names, do not exist.
    FormatError
        It is no configuration, or is damaged; the message names the entry.
    InputError
        The project is not in folders of this machine.
    """
    where = path_text(path)
    data = _parsed(where)
    if not isinstance(data, dict) or "pickable_objects" not in data:
        raise FormatError(f"{where}: is no configuration of copick: it has no list 'pickable_objects'.")
    kind = data.get("config_type", "filesystem")
    if kind != "filesystem":
        raise InputError(
            f"{where}: the project is of the type {shown(kind)}; volengine reads those of folders ('filesystem'). "
            "Copy what you need with 'copick sync' or 'copick download', and use the configuration of that copy."
        )
    objects = data["pickable_objects"]
    if not isinstance(objects, list):
        raise FormatError(f"{where}: pickable_objects is {shown(objects)}, no list.")
    known = tuple(_object(one, number, where) for number, one in enumerate(objects))
    names = [one.name for one in known]
    if twice := next((n for i, n in enumerate(names) if n in names[:i]), ""):
        raise FormatError(f"{where}: the object {twice!r} comes twice in pickable_objects.")
    overlay = _root(data.get("overlay_root"), "overlay_root", where)
    static = None if data.get("static_root") is None else _root(data["static_root"], "static_root", where)
    if static == overlay:
        static = None
    if not any(root.is_dir() for root in (overlay, static) if root is not None):
        said = " and ".join(repr(str(root)) for root in (overlay, static) if root is not None)
        raise MissingError(
            f"{where}: there is no folder {said}. Mend overlay_root or static_root; copick counts a relative one from "
            "the current folder."
        )
    return Project(
        where,
        _text(data, "name", where) or "copick",
        overlay,
        static,
        known,
        _text(data, "user_id", where),
        _text(data, "session_id", where),
    )


def _parsed(where: str) -> Any:
    content, size = first_bytes(where, LARGEST_BYTES + 1, "a configuration of copick")
    if size > LARGEST_BYTES:
        raise FormatError(f"{where}: has {size} bytes; a configuration of copick has at most {LARGEST_BYTES}.")
    return parse_json(content, where)


def _text(data: dict[str, Any], key: str, where: str) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or "\x00" in value:
        raise FormatError(f"{where}: {key} is {shown(value)}, no text.")
    return value


def _object(value: Any, number: int, where: str) -> PickableObject:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        raise FormatError(f"{where}: object {number} (counted from 0) of pickable_objects has no name.")
    name = value["name"]
    label, radius = value.get("label", 1), value.get("radius")
    if label is not None and (not isinstance(label, int) or isinstance(label, bool) or label == 0):
        raise FormatError(f"{where}: the label of {shown(name)} is {shown(label)}; it must be a whole number, not 0.")
    if radius is not None and (not isinstance(radius, int | float) or isinstance(radius, bool)):
        raise FormatError(f"{where}: the radius of {shown(name)} is {shown(radius)}, no number.")
    try:
        return PickableObject(name, bool(value.get("is_particle")), label, None if radius is None else float(radius))
    except OverflowError:
        raise FormatError(f"{where}: the radius of {shown(name)} is {shown(radius)}; it is damaged.") from None


def _root(value: Any, key: str, where: str) -> Path:
    if not isinstance(value, str) or not value or "\x00" in value:
        raise FormatError(f"{where}: {key} is {shown(value)}; it must be the path of a folder.")
    text = re.sub(r"^(local|file)://", "", value)
    if "://" in text or "::" in text:
        raise InputError(
            f"{where}: {key} is {shown(value)}, which is no folder of this machine. Mount it, or copy the project "
            "('copick sync'), and name that folder in the configuration."
        )
    try:
        root = Path(path_text(text)).expanduser().absolute()
        root.is_dir()
    except RuntimeError:  # ~NAME of nobody
        raise InputError(f"{where}: {key} is {shown(value)}; there is no such user.") from None
    except OSError as error:  # a name longer than file systems allow, or a folder that may not be searched
        raise InputError(f"{where}: {key} is {shown(value)}, which cannot be looked up: {error.strerror}.") from None
    return root
