"""models: the list of network architectures, with their size and cost.

>>> rows = networks(("unet",))
>>> rows[0].parameters, round(rows[0].macs / 1e3), rows[0].receptive_field
(922881, 259, (0, 13, 13))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from volengine.core.boxes import Index3
from volengine.core.errors import DependencyError, InputError


@dataclass(frozen=True)
class NetworkFacts:
    """Facts about an architecture.

    Parameters
    ----------
    name
        Its name in the registry.
    dimensions
        2 or 3; 0: the network has no convolutions.
    parameters
        Number of weights as Keras counts them (with moving means and variances), for one input slice and one feature.
    macs
        Multiply-adds per voxel (2D: per pixel of a slice).
    receptive_field
        Radius in voxels, z, y, x; ``None``: a prediction depends on the whole patch.
    stride
        Sides of a patch must be multiples of this, z, y, x.
    source
        Publication or program that the layout comes from.
    missing
        Package that must be installed to build the network; the numbers are then zero.
    """

    name: str
    dimensions: int = 0
    parameters: int = 0
    macs: float = 0.0
    receptive_field: Index3 | None = None
    stride: Index3 = (1, 1, 1)
    source: str = ""
    missing: str = ""


def networks(names: Sequence[str] = ()) -> list[NetworkFacts]:
    """Facts about all architectures of the registry, or about those named; no weights are computed.

    The architectures of imported models are not listed, because only a model file describes their layers.

    Parameters
    ----------
    names
        Names in the registry, or your own architectures, ``FILE.py:Class`` or ``package.module:Class``, whose Python
        code is run. Empty: all of the registry.

    Raises
    ------
    InputError, MissingError
        An architecture does not exist, or your own one cannot be built without arguments.
    """
    from volengine.nets import registry

    listed = sorted((name for name in registry.names() if name not in registry.IMPORTED), key=_order)
    return [_network(name) for name in (names or listed)]


def _order(name: str) -> tuple[int, str]:
    """Sort key: first the registry's own order, then the architectures of other packages by name."""
    from volengine.nets.registry import NETWORKS

    return (list(NETWORKS).index(name) if name in NETWORKS else len(NETWORKS)), name


def _network(name: str) -> NetworkFacts:
    import torch

    from volengine.nets import registry
    from volengine.nets.architectures.complexity import macs_per_voxel
    from volengine.nets.architectures.receptive import dimensions, stride_of

    own = name if registry.is_own(name) else None
    shown, source = (registry.own_name(own), "own") if own else (name, registry.source(name))
    try:
        with torch.device("meta"):
            module = registry.build(shown, own=own)
    except DependencyError as error:
        return NetworkFacts(name=shown, source=source, missing=str(error))
    ndim = dimensions(module)
    if not ndim:
        return NetworkFacts(name=shown, parameters=registry.parameters(module), source=source)
    reach: Index3 | None
    try:
        reach, stride = registry.reach(module, ndim == 3)
    except InputError:  # the network normalises over its patch
        reach, stride = None, stride_of(module, ndim == 3)
    return NetworkFacts(shown, ndim, registry.parameters(module), macs_per_voxel(module), reach, stride, source)
