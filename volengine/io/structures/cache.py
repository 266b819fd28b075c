"""Entries of the Protein Data Bank, found by their id and downloaded once.

>>> pdb_id("7p6z"), pdb_id("actin.pdb")
('7P6Z', None)

:func:`fetch_structure` looks into a folder first. So without a network a file can be put there by hand.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from volengine.core.atomic import replacing
from volengine.core.errors import FormatError, InputError, MissingError

ADDRESS = "https://files.rcsb.org/download/{id}.cif.gz"
TIMEOUT_S = 60.0
MAX_RATIO = 100
"""Largest ratio of unpacked to packed bytes; structures reach about ten."""

ENDINGS = (".cif.gz", ".cif", ".pdb.gz", ".pdb", ".ent.gz", ".ent")


def pdb_id(text: str) -> str | None:
    """Return a PDB id in capitals, or ``None`` if the text is none: ``7p6z``, ``PDB:7P6Z``, ``pdb_00007p6z``.

    An id is a digit from 1 to 9 and three letters or digits with at least one letter, or ``pdb_`` and eight letters or
    digits.
    """
    word = re.sub(r"^pdb:", "", text.strip(), flags=re.IGNORECASE)
    if re.fullmatch(r"pdb_[0-9a-z]{8}", word, flags=re.IGNORECASE):
        short = word[8:] if word[4:8] == "0000" else ""
        return pdb_id(short) or word.upper()
    return word.upper() if re.fullmatch(r"[1-9](?=.*[A-Za-z])[A-Za-z0-9]{3}", word) else None


def cache_folder() -> Path:
    """Return the folder of downloads: ``volengine/structures`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "volengine" / "structures"


def fetch_structure(name: str, cache_dir: str | os.PathLike[str] | None = None, *, address: str = ADDRESS) -> Path:
    """Return the file of a PDB entry; it is downloaded if the folder does not contain it.

    Parameters
    ----------
    name
        A PDB id (:func:`pdb_id`).
    cache_dir
        Folder of downloads; default: :func:`cache_folder`. It is created if it does not exist.
    address
        URL of an entry; ``{id}`` stands for the id.

    Returns
    -------
    Path of the file, which is complete: it is written under a temporary name and then renamed.

    Raises
    ------
    InputError
        The name is no PDB id, or the folder cannot be created.
    MissingError
        The entry does not exist, or the server cannot be reached.
    FormatError
        The downloaded file is no complete, compressed mmCIF file.
    """
    entry = pdb_id(name)
    if entry is None:
        raise InputError(f"{name!r} is not a PDB id (such as 7P6Z) and there is no such file.")
    folder = Path(cache_dir) if cache_dir is not None else cache_folder()
    for stem in (entry, entry.lower()):
        for ending in ENDINGS:
            if (kept := folder / (stem + ending)).is_file():
                return kept
    url = address.format(id=entry)
    target = folder / f"{entry}.cif.gz"
    data = _download(url, entry, target)
    _check(data, url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: the folder for structures cannot be made ({error.strerror}).") from error
    with replacing(target) as file:
        file.write(data)
    return target


def _download(url: str, entry: str, target: Path) -> bytes:
    by_hand = f"Put the file there by hand: {target}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            data: bytes = answer.read()
            return data
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                raise MissingError(
                    f"The Protein Data Bank has no entry {entry} (asked: {url}). Is the id right? {by_hand}"
                ) from error
            raise MissingError(f"{url} answered {error.code} ({error.reason}). Try again, or: {by_hand}") from error
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise MissingError(f"The structure {entry} could not be downloaded from {url} ({reason}). {by_hand}") from error


def unpacked(data: bytes, where: str) -> bytes:
    """Unpack the bytes of a gzip file.

    Raises
    ------
    FormatError
        They are damaged or cut off, or unpack to more than :data:`MAX_RATIO` times their number.
    """
    most = MAX_RATIO * len(data)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{where}: is not a complete gzip file: truncated or damaged ({error}).") from error
    if len(text) > most:
        raise FormatError(f"{where}: unpacks from {len(data)} to more than {most} bytes; it is no structure.")
    return text


def _check(data: bytes, url: str) -> None:
    """Refuse a truncated file, or one that is no mmCIF file (a proxy's error page), before it is stored."""
    text = unpacked(data, url)
    if b"data_" not in text[:4096] or b"_atom_site." not in text:
        raise FormatError(f"{url}: the downloaded file is not an mmCIF file with atoms.")
