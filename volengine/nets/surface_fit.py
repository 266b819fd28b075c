"""Fitting a network on surfaces to patches with targets: Adam, one cycle of the learning rate, turned patches.

The same seed gives the same weights on one machine: one thread computes, and all random numbers come from one
generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from volengine.nets.architectures.surface_rings import SurfaceRings

BATCH = 128
NOISE = 0.3
"""Standard deviation of the noise that is added, in units of the tomogram's; drawn from 0 to this."""
CONTRAST = 0.25
"""Largest change of the contrast, as a share."""


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

    Returns
    -------
    The network, in evaluation mode.
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
        for epoch in range(1, epochs + 1):
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
