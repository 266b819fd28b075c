"""Folders of models that are shared: an index says what is in them, and models are named ``NAME@PLACE``.

The place is a folder, or its URL on a web server or an object store. ``index.json`` in it lists the models::

    {"format": "volengine models", "version": 1, "models": {"ribosome": {"file": "ribosome-1f0c....safetensors",
     "sha256": "1f0c...", "size": 812345, "features": ["ribosome"], "voxel_size": [10, 10, 10], "network": "unet",
     "written_by": "0.1.0", "card": "ribosome.md", "picture": "ribosome.png"}}}

What is read is compared with the checksum of the index, always. A model behind a URL is downloaded once, into
``volengine/models`` in ``$XDG_CACHE_HOME`` (or else ``~/.cache``), by its checksum; without a network, the index that
was read last and the models that are there are used, and that is noted.

>>> split("ribosome@/data/models"), split("ribosome@https://example.org/models"), split("a/b.safetensors")
(('ribosome', '/data/models'), ('ribosome', 'https://example.org/models'), None)
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from volengine.core.aside import os_message
from volengine.core.atomic import replacing, write_atomic
from volengine.core.errors import FormatError, InputError, MissingError, UnreachedError
from volengine.core.json_text import parse_object, shown
from volengine.io.names import is_remote
from volengine.io.stores import opened_file

INDEX = "index.json"
FORMAT, VERSION = "volengine models", 1
ENDINGS = (".safetensors", ".onnx", ".scnm", ".ckpt")
"""Of model files that say all of their facts, so that they can be shared."""

LARGEST_INDEX = 10_000_000
LARGEST_MODEL = 16 * 2**30
"""Bytes that are read at most."""

AGAIN = "Tell who shares it, who can make the folder anew with volengine models share --overwrite."
PIECE = 2**22
FRESH_S = 300.0
"""Seconds in which an index behind a URL is not read again: a run asks for it once for each tomogram."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SharedModel:
    """A model of a folder, as its index says.

    Parameters
    ----------
    file
        Name of the file in the folder.
    sha256, size
        Checksum and number of bytes of the file.
    features, voxel_size, network
        What it finds, at which voxel size (angstrom, z, y, x), and the name of its architecture.
    written_by
        The version of volengine that wrote the model; empty: another program did.
    card, picture
        Names of the files of its description; empty: none.
    """

    file: str
    sha256: str
    size: int
    features: tuple[str, ...] = ()
    voxel_size: tuple[float, ...] = ()
    network: str = ""
    written_by: str = ""
    card: str = ""
    picture: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {**vars(self), "features": list(self.features), "voxel_size": list(self.voxel_size)}


@dataclass(frozen=True)
class Found:
    """A model that is here: its file, and what is to be noted (empty: nothing)."""

    path: str
    note: str = ""


def split(text: str) -> tuple[str, str] | None:
    """Name and place of ``NAME@PLACE``; ``None`` if the text is something else, or the name of a file that exists."""
    name, at, place = text.partition("@")
    if not at or not place.strip() or not NAME.fullmatch(name) or os.path.lexists(text):
        return None
    return name, place


def model_path(text: str) -> str:
    """The file of a model that is named by its path, or as ``NAME@PLACE``; other texts are returned as they are.

    Raises
    ------
    MissingError, UnreachedError, FormatError, InputError
        As :func:`found_model`.
    """
    return found_model(text).path


def found_model(text: str) -> Found:
    """The file of a model, and what is to be noted of how it was found.

    Parameters
    ----------
    text
        ``NAME@FOLDER`` or ``NAME@URL``; anything else is returned as it is.

    Raises
    ------
    MissingError
        There is no such folder, no index in it, or no model of this name.
    UnreachedError
        The server does not answer, and the model is not in the cache.
    FormatError
        The index is damaged or of a later version, names a file outside of its folder, or the file has not the
        checksum that the index says.
    """
    parts = split(text)
    if parts is None:
        return Found(text)
    name, place = parts
    index, note = read_index(place)
    one = index.get(name)
    if one is None:
        near = get_close_matches(name, index, n=1)
        hint = f" Did you mean {near[0]}@{place}?" if near else ""
        raise MissingError(f"{text}: there is no model {name!r} in {place}; there are {_listed(index)}.{hint}")
    if not is_remote(place):
        path = Path(place.removeprefix("file://")) / one.file
        _check_file(path, one, f"{text}: {path}", "Share it again (volengine models share), or get it anew.")
        return Found(str(path), note)
    return Found(str(_downloaded(name, place, one)), note)


def read_index(place: str) -> tuple[dict[str, SharedModel], str]:
    """The models of a folder by their names, and what is to be noted.

    Parameters
    ----------
    place
        The folder, or its URL.

    Raises
    ------
    MissingError, UnreachedError, FormatError
        As :func:`found_model`.
    """
    if not is_remote(place):
        place = place.removeprefix("file://")
        where = str(Path(place) / INDEX)
        try:
            with Path(where).open("rb") as file:
                data = file.read(LARGEST_INDEX + 1)
        except (FileNotFoundError, NotADirectoryError):
            said = "has no index" if Path(place).is_dir() else "is no folder"
            raise MissingError(
                f"{place} {said} of shared models ({INDEX}); volengine models share {place} MODEL makes one."
            ) from None
        except (OSError, ValueError) as error:  # a name that no file can have
            said = os_message(error) if isinstance(error, OSError) else str(error)
            raise MissingError(f"{where} cannot be read: {said}") from error
        return parsed(data, where), ""
    where = f"{place.rstrip('/')}/{INDEX}"
    read_s, recent = _recent.get(where, (0.0, None))
    if recent is not None and time.monotonic() - read_s < FRESH_S:
        return recent
    found = _read_remote(place, where)
    _recent[where] = (time.monotonic(), found)
    return found


_recent: dict[str, tuple[float, tuple[dict[str, SharedModel], str] | None]] = {}


def _read_remote(place: str, where: str) -> tuple[dict[str, SharedModel], str]:
    """The index behind a URL, or where the server does not answer the one that was read last."""
    kept = cache_folder() / "indexes" / f"{hashlib.sha256(where.encode()).hexdigest()}.json"
    try:
        with opened_file(where) as file:
            data = file.read(LARGEST_INDEX + 1)
    except UnreachedError as error:
        if not kept.is_file():
            raise
        found = parsed(kept.read_bytes(), str(kept))
        return found, f"{place} does not answer, so its index is the one that was read last. ({error})"
    found = parsed(data, where)
    _keep(kept, data)
    return found, ""


def parsed(data: bytes, where: str) -> dict[str, SharedModel]:
    """The models of an index.

    Raises
    ------
    FormatError
        It is damaged, of a later version, or names a file outside of its folder.
    """
    if len(data) > LARGEST_INDEX:
        raise FormatError(f"{where} has more than {LARGEST_INDEX} bytes; it is no index of models.")
    value = parse_object(data, where)
    if value.get("format") != FORMAT:
        raise FormatError(f"{where} is no index of shared models: its format is {shown(value.get('format'))}.")
    version = value.get("version")
    if type(version) is not int or version < 1:
        raise FormatError(f"{where} is damaged: its version is {shown(version)}.")
    if version > VERSION:
        raise FormatError(
            f"{where} is of version {version}; this volengine reads versions up to {VERSION}. Update volengine."
        )
    models = value.get("models")
    if not isinstance(models, dict):
        raise FormatError(f"{where} is damaged: its models are {shown(models)}.")
    return {name: _model(name, told, where) for name, told in models.items()}


def _model(name: str, told: Any, where: str) -> SharedModel:
    if not NAME.fullmatch(name):
        raise FormatError(f"{where}: {name!r:.80} is no name of a model.")
    if not isinstance(told, Mapping):
        raise FormatError(f"{where}: the model {name} is {shown(told)}.")
    for key in ("file", "card", "picture"):
        given = told.get(key, "")
        if (given or key == "file") and not (isinstance(given, str) and _FILE.fullmatch(given)):
            raise FormatError(
                f"{where}: {key} of {name} is {given!r:.80}, which is no plain name of a file in the same folder; "
                "nothing outside of it is read."
            )
    if Path(told["file"]).suffix not in ENDINGS:
        raise FormatError(f"{where}: the file of {name} is {told['file']}; model files end with {', '.join(ENDINGS)}.")
    sha256, size = told.get("sha256"), told.get("size")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise FormatError(f"{where}: the sha256 of {name} is {shown(sha256)}; a model without checksum is not read.")
    if type(size) is not int or not 0 < size <= LARGEST_MODEL:
        raise FormatError(f"{where}: {name} has {shown(size)} bytes; at most {LARGEST_MODEL} are read.")
    features, sides = told.get("features", []), told.get("voxel_size", [])
    if not isinstance(features, list) or not all(isinstance(one, str) for one in features):
        raise FormatError(f"{where}: the features of {name} are {shown(features)}.")
    if not isinstance(sides, list) or not all(type(one) in (int, float) for one in sides):
        raise FormatError(f"{where}: the voxel size of {name} is {shown(sides)}.")
    texts = {key: told.get(key, "") for key in ("network", "written_by", "card", "picture")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise FormatError(f"{where}: the facts of {name} are damaged: {shown(texts)}.")
    return SharedModel(told["file"], sha256, size, tuple(features), tuple(map(float, sides)), **texts)


def cache_folder() -> Path:
    """The folder of downloads: ``volengine/models`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "volengine" / "models"


def _downloaded(name: str, place: str, one: SharedModel) -> Path:
    """The file of a model behind a URL, in the cache."""
    target = cache_folder() / one.sha256 / f"{name}{Path(one.file).suffix}"
    url = f"{place.rstrip('/')}/{one.file}"
    if target.is_file() and digest_of_file(target) == one.sha256:
        _check_facts(target, one, url, AGAIN)
        return target
    try:
        with opened_file(url) as source, replacing(target, parents=True) as out:
            _copy(source, out, one, url)
    except OSError as error:
        if isinstance(error, (MissingError, UnreachedError)):
            raise
        raise InputError(f"{target}: the model cannot be kept there: {os_message(error)}") from error
    _check_facts(target, one, url, AGAIN)
    return target


def _copy(source: IO[bytes], out: IO[bytes], one: SharedModel, url: str) -> None:
    """Copy a model, and refuse it if it is not what the index says; the copy then disappears."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(PIECE):
        size += len(data)
        if size > one.size:
            break
        digest.update(data)
        out.write(data)
    if size != one.size or digest.hexdigest() != one.sha256:
        raise FormatError(f"{url} is not the file of the index: {_more(size, one)}. It is not used. {AGAIN}")


def _more(size: int, one: SharedModel) -> str:
    if size != one.size:
        return f"{'more than ' if size > one.size else ''}{min(size, one.size)} bytes, and not {one.size}"
    return f"another checksum than {one.sha256[:12]}..."


_known: dict[str, tuple[tuple[int, int, int], str]] = {}
"""Digests of files whose size, time and inode are what they were; each tomogram's plan asks for them."""


def digest_of_file(path: Path) -> str:
    """The checksum of a file; it is kept while size, time and inode of the file are what they were."""
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        state = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
        known = _known.get(str(path))
        if known is None or known[0] != state:
            known = _known[str(path)] = (state, hashlib.file_digest(file, "sha256").hexdigest())
    return known[1]


def _check_file(path: Path, one: SharedModel, where: str, advice: str) -> None:
    try:
        digest = digest_of_file(path)
    except FileNotFoundError:
        raise MissingError(f"{where}: the file is gone, which the index names. {advice}") from None
    except OSError as error:
        raise MissingError(f"{where} cannot be read: {os_message(error)}") from error
    if digest != one.sha256:
        raise FormatError(
            f"{where} is not the file of the index: its checksum is {digest[:12]}..., and not {one.sha256[:12]}.... It "
            f"is not used. {advice}"
        )
    _check_facts(path, one, where, advice)


def _check_facts(path: Path, one: SharedModel, where: str, advice: str) -> None:
    """Refuse a file of the right checksum of which the index says something else than the file itself.

    The header of native files says their facts; of files of other programs only the size is compared.
    """
    own: dict[str, Any] = {"size": path.stat().st_size}
    if path.suffix == ".safetensors":
        own |= _own_facts(path)
    told = {"size": one.size, "features": list(one.features), "voxel_size": list(one.voxel_size)}
    told |= {"network": one.network}
    differ = [name for name, value in told.items() if value and name in own and own[name] != value]
    if differ:
        said = "; ".join(f"{name} {shown(own[name])}, there {shown(told[name])}" for name in differ)
        raise FormatError(f"{where} differs from the index: {said}. It is not used. {advice}")


def _own_facts(path: Path) -> dict[str, Any]:
    """What the header of a native file says of it; nothing if it is none, which its reader refuses."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        raw = file.read(size) if size <= LARGEST_INDEX else b""
    try:
        facts = parse_object(parse_object(raw, str(path))["__metadata__"]["volengine"], str(path))
        sides = [float(side) for side in facts["voxel_size"]]
        return {"features": list(facts["features"]), "voxel_size": sides, "network": facts["network"]}
    except (FormatError, KeyError, TypeError, ValueError):
        return {}


def check_shared(folder: str, name: str, one: SharedModel) -> None:
    """Compare the file of a model in a local folder with the index; errors as of :func:`found_model`."""
    path = Path(folder) / one.file
    _check_file(path, one, f"{name}@{folder}: {path}", "Share it again with --overwrite.")


def _keep(kept: Path, data: bytes) -> None:
    """Keep an index for when there is no network; a cache that cannot be written to is no reason to stop."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.is_file() or kept.read_bytes() != data:
            write_atomic(kept, data)
    except OSError:
        return


def _listed(index: Mapping[str, SharedModel]) -> str:
    names = sorted(index)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"
