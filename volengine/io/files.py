"""Functions that all file formats of volumes share: existence, voxel size, and the base of their sources."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from volengine.core.boxes import Box, Index3
from volengine.core.errors import ChangedError, FormatError, InputError, MissingError
from volengine.core.volume import Vector3, Volume
from volengine.io.names import is_remote
from volengine.io.stores import opened_file


def first_bytes(path: str, count: int, what: str) -> tuple[bytes, int]:
    """Read the first bytes of a file, and its size.

    Parameters
    ----------
    path
        The file.
    count
        Number of bytes.
    what
        What was expected, for messages: ``"an MRC file"``.

    Returns
    -------
    The bytes (fewer if the file is shorter), and the size of the file in bytes.

    Raises
    ------
    MissingError
        The file does not exist.
    InputError
        It is a folder, a device or a pipe, or cannot be read.
    FormatError
        It is empty.
    """
    if is_remote(path):
        with opened_file(path) as file:
            return _not_empty(path, what, file.read(count), file.seek(0, os.SEEK_END))
    if not Path(path).exists():
        raise MissingError(f"{path}: there is no such file.")
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder; {what} was expected.")
    if not Path(path).is_file():  # reading a pipe could wait for ever
        raise InputError(f"{path}: is a device or a pipe; {what} was expected.")
    try:
        with Path(path).open("rb") as file:
            head = file.read(count)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    return _not_empty(path, what, head, size)


def _not_empty(path: str, what: str, head: bytes, size: int) -> tuple[bytes, int]:
    if size == 0:
        raise FormatError(f"{path}: is empty (0 bytes); {what} was expected. Copy or download it again.")
    return head, size


def chosen_voxel_size(path: str, given: float | Sequence[float] | None, found: Vector3 | None, why_not: str) -> Vector3:
    """Return the voxel size in angstrom, z, y, x: the given one, else the one that the file states.

    Parameters
    ----------
    path
        The file, for the message.
    given
        One number or three (z, y, x), angstrom, or ``None``.
    found
        The voxel size that the file states, or ``None``.
    why_not
        Why the file states none, for the message.

    Raises
    ------
    InputError
        Neither is known, or the given one is not positive.
    """
    size = parse_voxel_size(given) or found
    if size is None:
        raise InputError(
            f"{path}: {why_not}. Give the true voxel size, in angstrom: --voxel-size 10.5 (or three numbers z y x)."
        )
    return size


def parse_voxel_size(value: float | Sequence[float] | None) -> Vector3 | None:
    """Check a voxel size in angstrom, one number or three (z, y, x), and return three; ``None`` stays ``None``.

    Raises
    ------
    InputError
        There are not one or three numbers, or one is not positive and finite.
    """
    if value is None:
        return None
    numbers = [value] * 3 if isinstance(value, (int, float)) else list(value)
    if len(numbers) != 3 or not all(np.isfinite(v) and v > 0 for v in numbers):
        raise InputError(f"The voxel size must be one or three positive numbers in angstrom, not {value!r}.")
    z, y, x = (float(v) for v in numbers)
    return z, y, x


class FileSource:
    """Base of the sources that read boxes from a file. It is cheap to make and to pickle, and keeps no file open.

    Parameters
    ----------
    volume
        The handle that was made when the file was opened.
    """

    def __init__(self, volume: Volume):
        self.volume = volume

    def __reduce__(self) -> tuple[type[Self], tuple[Volume]]:
        return type(self), (self.volume,)

    @property
    def shape(self) -> Index3:
        """Shape of the volume, voxels z, y, x."""
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the voxels."""
        return np.dtype(self.volume.dtype)

    def _check_file(self, shape: Index3, dtype: str, also: Sequence[str] = ()) -> None:
        """Refuse a file that has changed since it was opened; ``also``: other dtypes that the volume may have."""
        if self.volume.shape != shape or self.volume.dtype not in (dtype, *also):
            raise ChangedError(
                f"{self.volume.url}: was {self.volume.shape} {self.volume.dtype} when it was opened and is {shape} "
                f"{dtype} now; it has been changed since. Open it again."
            )

    def _check_box(self, box: Box) -> None:
        if not Box.of_shape(self.shape).contains(box):
            raise InputError(
                f"{self.volume.url}: box {box.start} to {box.stop} is not inside of the volume {self.shape}."
            )
