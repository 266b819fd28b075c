"""Archives of strangers: small uncompressed tar files (Ais's ``.scnm``, ``.scnmgroup``), read without unpacking.

Nothing is written to disk and nothing is run. Refused: paths that leave the archive, absolute ones, links, devices,
compressed tars, members or archives that are too large or too many, names that come twice, files that are cut off.
"""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path, PurePosixPath

from volengine.core.errors import FormatError, MissingError

MAX_MEMBERS = 200
MAX_BYTES = 4 * 2**30


def read_archive(source: str | Path | bytes, where: str = "") -> dict[str, bytes]:
    """The plain files of an uncompressed tar archive, by name.

    Parameters
    ----------
    source
        A path, or the archive itself (one inside another); then ``where`` names it in messages.

    Raises
    ------
    MissingError, FormatError
        No such file; not an archive of this kind, or one that must not be trusted; the message says why.
    """
    where = where or str(source)
    if not isinstance(source, bytes):
        path = Path(source)
        if not path.is_file():
            raise MissingError(f"{where}: no such model file.")
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"{where} has {path.stat().st_size} bytes; archives of models have at most {MAX_BYTES}.")
    stream = BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
    found: dict[str, bytes] = {}
    with stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for number, member in enumerate(archive):
                    _check(member, number, found, where)
                    file = archive.extractfile(member) if member.isreg() else None
                    if file is not None:
                        found[member.name] = _read(file.read(), member, where)
        except tarfile.TarError as error:
            raise FormatError(f"{where} is no uncompressed tar archive, or it is cut off ({error}).") from error
    if not found:
        raise FormatError(f"{where} holds no files.")
    return found


def _check(member: tarfile.TarInfo, number: int, found: dict[str, bytes], where: str) -> None:
    path = PurePosixPath(member.name)
    if number >= MAX_MEMBERS:
        raise FormatError(f"{where} holds more than {MAX_MEMBERS} files; archives of models hold a few.")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise FormatError(f"{where}: the name {member.name!r} leaves the archive; it is not read.")
    if not (member.isreg() or member.isdir()):
        raise FormatError(f"{where}: {member.name!r} is a link or a device; it is not read.")
    if member.name in found:
        raise FormatError(f"{where}: {member.name!r} comes twice.")
    if member.size < 0 or member.size + sum(map(len, found.values())) > MAX_BYTES:
        raise FormatError(
            f"{where}: {member.name!r} claims {member.size} bytes; together at most {MAX_BYTES} are read."
        )


def _read(content: bytes, member: tarfile.TarInfo, where: str) -> bytes:
    if len(content) != member.size:
        raise FormatError(f"{where} is cut off: {member.name!r} has {len(content)} of {member.size} bytes.")
    return content
