"""Fine-tuning: initialise a network with the weights of a trained one.

Weights whose shape differs keep their random initialisation; this concerns the last layer if there are other features.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import load_model

MOST_NEW = 0.5
"""Largest share of the weights that may keep their random initialisation."""


def start_from(module: nn.Module, path: str | Path, *, network: str | None = None) -> tuple[ModelFacts, list[str]]:
    """Copy the weights of a model file into a new network.

    Parameters
    ----------
    module
        The network, which is changed. It has the same architecture as the model; numbers of channels may differ.
    path
        A model file of volengine.
    network
        The user's own architecture that may be run, see :func:`volengine.nets.registry.build`.

    Returns
    -------
    ModelFacts, list of str
        The facts of the model, and the names of the weights that were not copied.

    Raises
    ------
    InputError
        The architectures differ, or more than half of the weights could not be copied.
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
