"""Beginning with the weights of a trained network instead of random ones.

All layers are taken over but those whose shape differs, as that of the last one does when there are other features:
these begin anew.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import load_model

MOST_NEW = 0.5
"""Largest share of the numbers that may begin anew."""


def start_from(module: nn.Module, path: str | Path, *, network: str | None = None) -> tuple[ModelFacts, list[str]]:
    """Give a new network the weights of a model file.

    Parameters
    ----------
    module
        Changed. Of the same architecture, but for the numbers of channels.
    path
        A model file of volengine.
    network
        Allows an own architecture, see :func:`volengine.nets.registry.build`.

    Returns
    -------
    ModelFacts, list of str
        The facts of the model that it begins with, and the names of the weights that begin anew.

    Raises
    ------
    InputError
        Another architecture, or more than half of the numbers would begin anew.
    """
    start, facts = load_model(path, network=network)
    given, own = start.state_dict(), module.state_dict()
    if given.keys() != own.keys():
        odd = sorted(given.keys() ^ own.keys())
        raise InputError(
            f"{path} holds another architecture ({facts.network!r} {facts.arguments}): {odd[0]} is in one of the two "
            f"alone ({len(odd)} tensors). Train the same network, with the same arguments."
        )
    new = [name for name, tensor in own.items() if given[name].shape != tensor.shape]
    missing = sum(own[name].numel() for name in new)
    total = sum(tensor.numel() for tensor in own.values())
    if missing > MOST_NEW * total:
        raise InputError(
            f"{path}: {missing} of {total} weights have another shape than in the new network ({new[0]}: "
            f"{tuple(given[new[0]].shape)}, not {tuple(own[new[0]].shape)}); only its last layer may differ."
        )
    module.load_state_dict({name: own[name] if name in new else tensor for name, tensor in given.items()})
    return facts, new
