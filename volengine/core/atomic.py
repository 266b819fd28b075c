"""Files that appear only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from volengine.core.errors import InputError, MissingError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name in the same folder; rename it at the end.

    On an error nothing is left behind, and an older file of that name stays as it was.

    Raises
    ------
    MissingError
        The folder does not exist.
    InputError
        The folder cannot be written to, or ``path`` is a folder.
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise MissingError(f"{final}: the folder {final.parent} does not exist; create it first.")
    if final.is_dir():
        raise InputError(f"{final}: is a folder; give the name of a file.")
    part = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        try:
            file = part.open("wb")
        except OSError as error:
            raise InputError(f"{final}: cannot be written ({error.strerror}).") from error
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)
