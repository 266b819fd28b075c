"""The other resolution levels of an open volume, and its colour and display range, from the metadata of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.tiling import AXES
from volengine.core.volume import Vector3, Volume
from volengine.io.omezarr.ngff import Multiscale, display_of, parse_multiscale
from volengine.io.omezarr.nodes import read_node
from volengine.io.omezarr.read import open_image


@dataclass(frozen=True)
class ImageLevels:
    """The image to which a volume belongs as one of its levels.

    Parameters
    ----------
    group
        Path of the image in the store.
    number
        Number of the volume's level.
    shapes
        Shapes of the levels, z, y, x, the finest first.
    colour
        Colour in which viewers show it: red, green, blue, 0 to 255; ``None`` if the store states none.
    window
        Values that are shown as black and in full colour; ``None`` if the store states none.
    """

    group: str
    number: int
    shapes: tuple[Index3, ...]
    colour: tuple[int, int, int] | None = None
    window: tuple[float, float] | None = None

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """Find the image of a volume; a bare array is an image with one level."""
        parts = volume.path.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            group, rest = "/".join(parts[:depth]), "/".join(parts[depth:])
            node = read_node(volume.url, group)
            image = None if node is None else parse_multiscale(node.attributes, volume.where)
            paths = [] if image is None else [dataset.path.strip("/") for dataset in image.datasets]
            if node is not None and image is not None and rest in paths:
                shapes = tuple(_shape(volume, group, image, path) for path in paths)
                channel = volume.facts.get("select", {}).get("c", 0)
                return cls(group, paths.index(rest), shapes, *display_of(node.attributes, channel))
        return cls(volume.path, 0, (volume.shape,))

    def open(self, volume: Volume, level: int) -> Volume:
        """Return the handle of a level, with name and kind of the volume.

        Parameters
        ----------
        volume
            The volume for which this image was found.
        level
            Number of the level; 0 is the finest.

        Raises
        ------
        InputError
            The level does not exist.
        """
        if level == self.number:
            return volume
        channel = volume.facts.get("select", {}).get("c")
        opened = open_image(
            volume.url,
            level=level,
            group=self.group,
            channel=channel,
            voxel_size=self._given(volume, channel),
            identity=volume.snapshot.get("how", "metadata"),
        )
        return opened.with_(name=volume.name, kind=volume.kind)

    def _given(self, volume: Volume, channel: int | None) -> Vector3 | None:
        """Return the voxel size of level 0 if the volume's voxel size was given by the caller; else ``None``."""
        try:
            own = open_image(volume.url, level=self.number, group=self.group, channel=channel, identity="metadata")
            if own.voxel_size == volume.voxel_size:
                return None
        except InputError:  # the store says none
            pass
        factors = open_image(
            volume.url,
            level=self.number,
            group=self.group,
            channel=channel,
            voxel_size=1.0,
            identity="metadata",
        ).voxel_size
        z, y, x = (size / factor for size, factor in zip(volume.voxel_size, factors, strict=True))
        return z, y, x


def _shape(volume: Volume, group: str, image: Multiscale, path: str) -> Index3:
    node = read_node(volume.url, f"{group}/{path}".strip("/"))
    if node is None:
        raise InputError(f"{volume.url}: the metadata name a level {path!r}, but there is no such array.")
    return index3(node.shape[image.axes.index(axis)] if axis in image.axes else 1 for axis in AXES)
