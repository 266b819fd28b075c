"""What files of voxels have in common: whether they are there, their identity, their voxel size, boxes out of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from volengine.core.boxes import Box, Index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.volume import Vector3, Volume


def first_bytes(path: str, count: int, what: str) -> tuple[bytes, int]:
    """The first bytes of a file, fewer where it is shorter, and its size in bytes.

    Parameters
    ----------
    what
        What was expected, for messages: ``"an MRC file"``.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        It is a folder, or may not be read.
    FormatError
        It is empty.
    """
    if not Path(path).exists():
        raise MissingError(f"{path}: there is no such file.")
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder; {what} was expected.")
    try:
        with Path(path).open("rb") as file:
            head = file.read(count)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if size == 0:
        raise FormatError(f"{path}: is empty (0 bytes); {what} was expected. Copy or download it again.")
    return head, size


def file_identity(path: str, head: bytes) -> str:
    """A digest of path, size, time of change and first bytes."""
    stat = Path(path).stat()
    digest = hashlib.sha256(f"{path}|{stat.st_size}|{stat.st_mtime_ns}|".encode())
    digest.update(head)
    return digest.hexdigest()[:20]


def chosen_voxel_size(path: str, given: float | Sequence[float] | None, found: Vector3 | None, why_not: str) -> Vector3:
    """The voxel size in angstrom, z, y, x: the one given, else the one found in the file.

    Parameters
    ----------
    given
        One number or three, z, y, x.
    why_not
        Why none was found, for the message.

    Raises
    ------
    InputError
        There is none, or the one given is not positive.
    """
    size = parse_voxel_size(given) or found
    if size is None:
        raise InputError(
            f"{path}: {why_not}. Give the true voxel size, in angstrom: --voxel-size 10.5 (or three numbers z y x)."
        )
    return size


def parse_voxel_size(value: float | Sequence[float] | None) -> Vector3 | None:
    """One number or three (z, y, x), in angstrom, as three; ``None`` stays ``None``."""
    if value is None:
        return None
    numbers = [value] * 3 if isinstance(value, (int, float)) else list(value)
    if len(numbers) != 3 or not all(np.isfinite(v) and v > 0 for v in numbers):
        raise InputError(f"The voxel size must be one or three positive numbers in angstrom, not {value!r}.")
    z, y, x = (float(v) for v in numbers)
    return z, y, x


class FileSource:
    """Boxes of voxels from a file: cheap to make and to pickle, holds no open file.

    Parameters
    ----------
    volume
        The handle, as the file was when it was opened.
    """

    def __init__(self, volume: Volume):
        self.volume = volume

    def __reduce__(self) -> tuple[type[Self], tuple[Volume]]:
        return type(self), (self.volume,)

    @property
    def shape(self) -> Index3:
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.volume.dtype)

    def _check_file(self, shape: Index3, dtype: str, also: Sequence[str] = ()) -> None:
        """Refuse a file that is not as it was; ``also``: dtypes that its voxels may be read as instead."""
        if self.volume.shape != shape or self.volume.dtype not in (dtype, *also):
            raise FormatError(
                f"{self.volume.url}: was {self.volume.shape} {self.volume.dtype} when it was opened and is {shape} "
                f"{dtype} now; it has been changed since. Open it again."
            )

    def _check_box(self, box: Box) -> None:
        if not Box.of_shape(self.shape).contains(box):
            raise InputError(
                f"{self.volume.url}: box {box.start} to {box.stop} is not inside of the volume {self.shape}."
            )
