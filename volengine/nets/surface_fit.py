"""Fitting a network on surfaces to patches with targets: Adam, one cycle of the learning rate, turned patches.

The same seed gives the same weights on one machine, also of a fit that was stopped after any epoch and goes on: one
thread computes, and all random numbers come from one generator, whose state is kept with the weights.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, InputError
from volengine.nets.architectures.surface_rings import SurfaceRings

if TYPE_CHECKING:
    import torch

BATCH = 128
NOISE = 0.3
"""Standard deviation of the noise that is added, in units of the tomogram's; drawn from 0 to this."""
CONTRAST = 0.25
"""Largest change of the contrast, as a share."""
KEY = "volengine surface fit"
"""Name of the text in the header of a file with the state of a fit."""


class FitState:
    """The file with the state of a fit after its last epoch: weights, optimiser, generator.

    Parameters
    ----------
    file
        The file, ``.safetensors``.
    facts
        JSON values that say of which fit it is.
    """

    def __init__(self, file: Path, facts: Mapping[str, Any]):
        self.file, self.facts = file, json.loads(json.dumps(facts))

    def save(
        self, epoch: int, network: torch.nn.Module, optimiser: torch.optim.Optimizer, rng: np.random.Generator
    ) -> None:
        """Write the state after an epoch."""
        from volengine.nets.packed import packed

        held = optimiser.state_dict()
        tensors = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"{k}.{name}": value for k, of in held["state"].items() for name, value in of.items()}
        told = {"facts": self.facts, "epoch": epoch, "rng": rng.bit_generator.state, "groups": held["param_groups"]}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.file, packed(tensors, {KEY: json.dumps(told)}, self.file))

    def load(self, network: torch.nn.Module, optimiser: torch.optim.Optimizer, rng: np.random.Generator) -> int:
        """Take over what the file holds; returns the number of epochs that are done, 0 without a file.

        Raises
        ------
        FormatError
            The file is damaged, or no state of such a fit.
        InputError
            It is that of another fit.
        """
        from safetensors import SafetensorError, safe_open

        if not self.file.exists():
            return 0
        remedy = f"remove {self.file.parent} to train from the beginning, or give another --out."
        try:
            with safe_open(self.file, framework="pt") as file:
                told = json.loads((file.metadata() or {})[KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts, epoch, groups = told["facts"], int(told["epoch"]), told["groups"]
            if facts == self.facts:
                network.load_state_dict({k[7:]: v for k, v in tensors.items() if k.startswith("module.")})
                state: dict[int, dict[str, torch.Tensor]] = {}
                for name, tensor in tensors.items():
                    number, _, key = name.partition(".")
                    if number != "module":
                        state.setdefault(int(number), {})[key] = tensor
                optimiser.load_state_dict({"state": state, "param_groups": groups})
                rng.bit_generator.state = told["rng"]
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise FormatError(f"{self.file} is damaged, or no state of such a training ({error}); {remedy}") from error
        if facts != self.facts:
            other = sorted(name for name in {*facts, *self.facts} if facts.get(name) != self.facts.get(name))
            raise InputError(f"{self.file.parent} belongs to a training with other {', '.join(other)}; {remedy}")
        return epoch


def fit_rings(
    patches: NDArray[np.float32],
    targets: NDArray[np.float32],
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    width: int = 24,
    depth: int = 3,
    say: Callable[[str], None] = lambda line: None,
    state: FitState | None = None,
) -> SurfaceRings:
    """Train a network.

    Parameters
    ----------
    patches
        (n, heights, radii, angles) normalised.
    targets
        (n,) from 0 to 1.
    epochs, learning_rate, seed
        Passes, highest rate, seed.
    width, depth
        Arguments of the network.
    say
        Is given a line after each epoch.
    state
        Where the state is written after each epoch, and from where a fit that was stopped goes on.

    Returns
    -------
    The network, in evaluation mode.

    Raises
    ------
    FormatError, InputError
        The state is damaged, or that of another fit.
    """
    import torch
    from torch.nn import functional

    from volengine.nets.threads import own_threads

    rng = np.random.default_rng(seed)
    steps = epochs * -(-len(patches) // BATCH)
    with torch.random.fork_rng(devices=[]), own_threads(1):
        torch.manual_seed(seed)
        network = SurfaceRings(patches.shape[1], patches.shape[2], width, depth)
        optimiser = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=1e-3)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=max(2, steps))
        done = 0 if state is None else state.load(network, optimiser, rng)
        if done:
            say(f"goes on after epoch {done} of {epochs}")
        held = [dict(group) for group in optimiser.param_groups]
        with warnings.catch_warnings():  # the steps of the optimiser were made before
            warnings.filterwarnings("ignore", message="Detected call of")
            for _ in range(steps // epochs * done):
                cycle.step()
        for group, before in zip(optimiser.param_groups, held, strict=True):
            group.update(before)
        for epoch in range(done + 1, epochs + 1):
            order, losses = rng.permutation(len(patches)), []
            for first in range(0, len(order), BATCH):
                rows = order[first : first + BATCH]
                batch = torch.from_numpy(_changed(patches[rows], rng))
                loss = functional.binary_cross_entropy_with_logits(network(batch), torch.from_numpy(targets[rows]))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                cycle.step()
                losses.append(loss.item())
            if state is not None:
                state.save(epoch, network, optimiser, rng)
            say(f"epoch {epoch} of {epochs}: loss {np.mean(losses):.4f}")
    return network.eval()


def _changed(patches: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Patches moved by one value along the normal or not, mirrored, with other contrast and noise."""
    found = patches.copy()
    for k in range(len(found)):
        move = int(rng.integers(-1, 2))
        if move:
            found[k] = np.roll(found[k], move, axis=0)
            found[k][0 if move > 0 else -1] = found[k][move if move > 0 else -2]
        if rng.random() < 0.5:
            found[k] = found[k, :, :, ::-1]
    shape = (len(found), 1, 1, 1)
    found *= rng.uniform(1 - CONTRAST, 1 + CONTRAST, shape).astype(np.float32)
    found += rng.uniform(0, NOISE, shape).astype(np.float32) * rng.standard_normal(found.shape, np.float32)
    return found
