"""models: what networks there are, and what any model file holds.

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
    """An architecture as it stands in the list.

    Parameters
    ----------
    name
        In the registry.
    dimensions
        2 or 3; 0: it has no convolutions.
    parameters
        Weights as Keras counts them, moving means and variances included; for one input slice and one feature.
    macs
        Multiply-adds per voxel (2D: per pixel of a slice).
    receptive_field
        Radius, voxels z, y, x; ``None``: it looks at its whole patch.
    stride
        Patches must be a multiple of it, z, y, x.
    source
        Where its layout comes from.
    missing
        What must be installed before it can be built; the numbers are zero then.
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
    """All architectures of the registry, or those named; measured on shapes alone, in seconds.

    Those that imported models become are not listed: they are nothing without their description. A name may be an own
    one, ``FILE.py:Class`` or ``package.module:Class``: this runs it.

    Raises
    ------
    InputError, MissingError
        There is no such network, or an own one cannot be built without arguments.
    """
    from volengine.nets import registry

    listed = sorted((name for name in registry.names() if name not in registry.IMPORTED), key=_order)
    return [_network(name) for name in (names or listed)]


def _order(name: str) -> tuple[int, str]:
    """Our table's order, then what other packages add."""
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
    except InputError:  # it normalises over its patch
        reach, stride = None, stride_of(module, ndim == 3)
    return NetworkFacts(shown, ndim, registry.parameters(module), macs_per_voxel(module), reach, stride, source)
