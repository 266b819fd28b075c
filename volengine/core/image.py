"""Descriptions of images that a plan will write: an OME-Zarr multiscale image, or a scratch array without metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from volengine.core.boxes import Index3, index3
from volengine.core.fields import fields_of
from volengine.core.volume import Kind, Vector3, Volume

Ngff = Literal["0.4", "0.5", "0.6"]

BESIDE = ("tilt_series", "montage")
"""Facts from files beside the source (tilt angles, places of pieces), which change without any voxel of it."""


@dataclass(frozen=True)
class Level:
    """One resolution level of an image; all tuples are z, y, x.

    Parameters
    ----------
    path
        Path of the array inside the multiscale group.
    shape
        Shape of the array, voxels.
    factor
        Voxels of level 0 per voxel of this level. A block with core ``c`` on level 0 writes ``c.coarsen(factor)``
        here, so cores must be multiples of ``shards * factor``.
    chunks
        Shape of a chunk, voxels.
    shards
        Shape of a shard, voxels; ``None``: not sharded.
    """

    path: str
    shape: Index3
    factor: Index3
    chunks: Index3
    shards: Index3 | None = None

    def __post_init__(self) -> None:
        for key in ("shape", "factor", "chunks"):
            object.__setattr__(self, key, index3(getattr(self, key)))
        object.__setattr__(self, "shards", None if self.shards is None else index3(self.shards))

    @property
    def unit(self) -> Index3:
        """Shape of the smallest part of this level that one writer must own: a shard, or a chunk if not sharded."""
        return self.shards or self.chunks


@dataclass(frozen=True)
class ImageSpec:
    """Everything that is needed to create an image; it can be written as JSON.

    Parameters
    ----------
    url
        Path or URL of the OME-Zarr store (its root group).
    name
        Name of the tomogram.
    dtype
        Numpy dtype of the voxels.
    kind
        What the voxels mean, see :class:`~volengine.core.volume.Volume`.
    voxel_size, origin
        Voxel size of level 0, and position of the centre of its first voxel; angstrom, z, y, x.
    levels
        The resolution levels, level 0 first.
    group
        Path of the multiscale group in the store: ``""`` for the image itself, ``"labels/core"`` for labels.
    ngff
        Version of the OME-Zarr metadata.
    codec
        ``auto`` (chosen by dtype and kind), ``none``, or a name that ``volengine.io.omezarr.codecs`` knows.
    scratch
        Write an array without OME metadata, which is deleted at the end of the run.
    facts
        JSON values that are kept in the store's attributes under ``volengine`` (header, history, feature name).
    """

    url: str
    name: str
    dtype: str
    kind: Kind
    voxel_size: Vector3
    levels: tuple[Level, ...]
    origin: Vector3 = (0.0, 0.0, 0.0)
    group: str = ""
    ngff: Ngff = "0.5"
    codec: str = "auto"
    scratch: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        object.__setattr__(self, "dtype", np.dtype(self.dtype).name)

    def array_path(self, level: int = 0) -> str:
        """Return the path of a level's array inside the store."""
        return "/".join(p for p in (self.group, self.levels[level].path) if p)

    @property
    def where(self) -> str:
        """The store, and the group in it if there is one: for messages."""
        return "/".join(filter(None, (self.url, self.group)))

    @property
    def otherwise(self) -> str:
        """What to do if another image is there, for messages."""
        said = "Use --overwrite to replace it, or give another name"
        if self.group.startswith("labels/"):
            return f"{said} (pick: --feature; or --no-labels, for the table alone)."
        return f"{said}."

    @property
    def beside(self) -> dict[str, Any]:
        """The facts from files beside the source."""
        return {name: self.facts[name] for name in BESIDE if name in self.facts}

    def volume(self, level: int = 0, identity: str = "") -> Volume:
        """Return the handle of one level.

        Its voxel size is that of level 0 times the level's factor; its origin is the centre of the level's first voxel.
        """
        at = self.levels[level]
        z, y, x = (v * f for v, f in zip(self.voxel_size, at.factor, strict=True))
        oz, oy, ox = (o + v * (f - 1) / 2 for o, v, f in zip(self.origin, self.voxel_size, at.factor, strict=True))
        return Volume(
            url=self.url,
            path=self.array_path(level),
            shape=at.shape,
            dtype=self.dtype,
            voxel_size=(z, y, x),
            origin=(oz, oy, ox),
            kind=self.kind,
            name=self.name,
            chunks=at.chunks,
            shards=at.shards,
            identity=identity,
            facts=self.facts,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageSpec:
        """Make a description from the values of :meth:`to_json`."""
        values = dict(data)
        values["levels"] = tuple(Level(**level) for level in values["levels"])
        return cls(**values)
