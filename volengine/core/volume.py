"""Volumes: small handles that say where the voxels of an array are stored and what they mean; they hold no voxels.

A :class:`Volume` can be pickled, written as JSON and sent to any worker. It contains no code that reads files:
``volengine.io`` makes an :class:`~volengine.io.open.OpenVolume` of it, which is a volume that can also read its
voxels. The two are equal if they describe the same voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Literal, Self, get_args

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.fields import fields_of
from volengine.core.roi import moved

Kind = Literal["intensity", "probability", "labels"]
Vector3 = tuple[float, float, float]

KINDS = get_args(Kind)


@dataclass(frozen=True)
class Volume:
    """A 3D array somewhere, order z, y, x.

    Parameters
    ----------
    url
        Path or URL of the file or store (``.mrc``, ``.tif``, an OME-Zarr group, ``s3://...``).
    path
        Path of the array inside the store (``"0"``, ``"labels/core/0"``), or with a slash before it (``"/data"``) of
        the dataset in an HDF5 file; empty for other files.
    shape, dtype
        Shape z, y, x and numpy dtype name of the voxels as volengine reads them.
    voxel_size, origin
        Angstrom, z, y, x. ``origin`` is the position of the centre of voxel (0, 0, 0).
    kind
        ``intensity`` (a tomogram), ``probability`` (a prediction; integers are scaled, 255 is 1.0) or ``labels``.
    name
        The tomogram's name, as used in file names and picks tables.
    chunks, shards
        Storage: the smallest part that can be read, the smallest part that can be written. ``None``: unchunked.
    axes
        Order of the axes in the store, for example ``"zyx"`` or ``"tczyx"``; reading turns it to z, y, x.
    identity
        A digest of what is stored; two volumes with the same identity have the same voxels.
    snapshot
        The state of the source when the volume was opened (size, time, listing of chunks), for
        :func:`volengine.io.identity.check_unchanged`. It is empty if nothing is stored yet.
    facts
        What else is known: feature name, header, history (JSON values only).

    Examples
    --------
    >>> volume = Volume("TS_01.mrc", (200, 400, 400), "float32", (10.0, 10.0, 10.0), name="TS_01")
    >>> volume.size, volume.nbytes, volume.kind
    (32000000, 128000000, 'intensity')
    """

    url: str
    shape: Index3
    dtype: str
    voxel_size: Vector3
    origin: Vector3 = (0.0, 0.0, 0.0)
    path: str = ""
    kind: Kind = "intensity"
    name: str = ""
    chunks: Index3 | None = None
    shards: Index3 | None = None
    axes: str = "zyx"
    identity: str = ""
    snapshot: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    facts: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", index3(self.shape))
        for key in ("chunks", "shards"):
            value = getattr(self, key)
            object.__setattr__(self, key, None if value is None else index3(value))
        for key in ("voxel_size", "origin"):
            z, y, x = (float(v) for v in getattr(self, key))
            object.__setattr__(self, key, (z, y, x))
        try:
            object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        except (TypeError, ValueError, SyntaxError) as error:  # texts with commas are read like Python
            raise InputError(f"{self.url}: {str(self.dtype)[:40]!r} is no dtype.") from error
        if any(v <= 0 or not math.isfinite(v) for v in self.voxel_size):
            raise InputError(f"{self.url}: the voxel size must be positive, not {self.voxel_size} angstrom.")
        if self.kind not in KINDS:
            raise InputError(f"{self.url}: kind {self.kind!r} is not one of {', '.join(KINDS)}.")

    @property
    def size(self) -> int:
        """Number of voxels."""
        z, y, x = self.shape
        return z * y * x

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels, uncompressed."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def stored(self) -> bool:
        """Whether it is an array of a Zarr store, and not a file or a dataset in one."""
        return bool(self.path) and not self.path.startswith("/")

    @property
    def where(self) -> str:
        """The url, and after ``#`` the array inside of a store (after ``:`` the dataset of a file): for people."""
        return f"{self.url}#{self.path}" if self.stored else f"{self.url}:{self.path}" if self.path else self.url

    @property
    def place(self) -> str:
        """The url, and after ``#`` the group of the image in a store: what ``volengine.open_volume`` opens."""
        if not self.stored:
            return self.where
        group = self.path.rpartition("/")[0]
        return f"{self.url}#{group}" if group else self.url

    def with_(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def cut(self, box: Box) -> Volume:
        """Describe the part of this volume in a box: its shape, and its origin, which is moved by the box's start.

        It is for making an image like this part; it is not stored anywhere, so it cannot be read.

        >>> Volume("TS_01.mrc", (20, 40, 40), "int8", (10.0, 10.0, 10.0)).cut(Box((5, 0, 0), (8, 40, 40))).origin
        (50.0, 0.0, 0.0)
        """
        origin = moved(self.origin, self.voxel_size, box.start)
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Volume(**{**values, "shape": box.shape, "origin": origin})

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make a volume from the values of :meth:`to_json`."""
        return cls(**data)

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, f.name) for f in fields(self) if f.compare)

    def __eq__(self, other: object) -> bool:
        """Whether all fields but facts and snapshot are equal; an open volume may equal one that is not open."""
        return self._compared() == other._compared() if isinstance(other, Volume) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._compared())

    def __repr__(self) -> str:
        """One line: name, shape, voxel size, dtype, kind, place."""
        size = size_text(self.voxel_size)
        return (
            f"<Volume {self.name!r}: {self.shape} voxels of {size} angstrom, {self.dtype} {self.kind}, {self.place!r}>"
        )


def _dtype_name(dtype: Any) -> str:
    """Return the name of a dtype; errors are those of ``numpy.dtype``."""
    return _name_of_text(dtype) if type(dtype) is str else np.dtype(dtype).name


@lru_cache(maxsize=64)
def _name_of_text(dtype: str) -> str:
    return np.dtype(dtype).name


def size_text(sizes: Vector3) -> str:
    """``"10"`` for equal lengths along z, y, x, else ``"20 x 10 x 10"``."""
    shown = [f"{v:.6g}" for v in sizes]
    return shown[0] if len(set(shown)) == 1 else " x ".join(shown)
