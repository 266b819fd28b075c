"""The one atomic write: files that appear only when they are complete.

Data goes into a file beside the final one, which then takes its place by a rename; a reader sees the former file or the
new one, and nothing in between.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from volengine.core.errors import InputError, MissingError


@contextmanager
def replacing(path: str | os.PathLike[str], *, parents: bool = False, durable: bool = True) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name in the same folder; rename it at the end.

    On an error nothing is left behind, and an older file of that name stays as it was.

    Parameters
    ----------
    path
        The file.
    parents
        Make the folder if it is missing.
    durable
        Wait until the data is on the disk.

    Raises
    ------
    MissingError
        The folder does not exist.
    InputError
        The folder cannot be written to, or ``path`` is a folder.
    """
    final = Path(path)
    if parents:
        final.parent.mkdir(parents=True, exist_ok=True)
    if not final.parent.is_dir():
        raise MissingError(f"{final}: the folder {final.parent} does not exist; create it first.")
    if final.is_dir():
        raise InputError(f"{final}: is a folder; give the name of a file.")
    part = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            file = part.open("wb")
        except OSError as error:
            raise InputError(f"{final}: cannot be written ({error.strerror}).") from error
        with file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike[str], data: bytes | str, *, durable: bool = False) -> None:
    """Write a small file, text as UTF-8, as :func:`replacing` does; its folder is made if it is missing."""
    with replacing(path, parents=True, durable=durable) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as JSON, as :func:`write_atomic` does."""
    write_atomic(path, json.dumps(value, indent=1, default=str))
