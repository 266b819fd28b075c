"""The registry of networks: a name, where its class is, and how far it sees.

A package may add its own under the entry-point group ``volengine.networks`` (name = ``package.module:Class``).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from volengine.core.boxes import Index3
from volengine.core.errors import InputError

if TYPE_CHECKING:
    from torch import nn

NETWORKS: dict[str, str] = {
    "unet": "volengine.nets.ais2d:UNet2d",
    "vggnet": "volengine.nets.ais2d:VGGNet",
    "unet3d": "volengine.nets.unet3d:UNet3d",
}
GROUP = "volengine.networks"


def names() -> list[str]:
    """All names, own and added."""
    return sorted({*NETWORKS, *(point.name for point in metadata.entry_points(group=GROUP))})


def build(name: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """A new network.

    Raises
    ------
    InputError
        There is no network of this name, or it takes no such arguments.
    """
    try:
        module: nn.Module = _find(name)(**dict(arguments or {}))
    except TypeError as error:
        raise InputError(f"The network {name!r} cannot be built with {dict(arguments or {})}: {error}.") from error
    return module


def _find(name: str) -> Any:
    if name in NETWORKS:
        module, _, attribute = NETWORKS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in metadata.entry_points(group=GROUP):
        if point.name == name:
            return point.load()
    raise InputError(f"There is no network {name!r}; known are {', '.join(names())}.")


def parameters(module: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in module.parameters())


def reach(module: nn.Module, volumetric: bool) -> tuple[Index3, Index3]:
    """Receptive field (radius) and total stride of a convolutional network, voxels z, y, x; found by probing.

    A network whose convolutions keep the size is equivariant to shifts by its stride. The radius is found with
    all-positive weights and no non-linearity that could hide a dependence: the gradient of the answers at one stride
    cell shows every input voxel they can depend on.

    Raises
    ------
    InputError
        The network normalises over its patch: there is no finite receptive field.
    """
    from volengine.nets.receptive import probe

    return probe(module, volumetric)
