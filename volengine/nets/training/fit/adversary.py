"""Adversarial training (Pix2pix): a discriminator that is trained alternately with the network."""

from __future__ import annotations

import torch
from torch import nn

from volengine.nets.training.fit.optimise import Descent
from volengine.nets.training.fit.recipe import FitRecipe
from volengine.nets.training.fit.state import State
from volengine.nets.training.losses.combined import adversarial, discriminating, shown


class Adversary:
    """The discriminator of a fit.

    Parameters
    ----------
    judge
        ``judge(images, answers)`` rates predictions from 0 to 1.
    how
        Optimiser and precision, as for the network.
    device
        Device of both.
    """

    def __init__(self, judge: nn.Module, how: FitRecipe, device: torch.device):
        self.judge = judge.to(device)
        self.judging = Descent(self.judge, how.optimiser, how.precision, device)

    def step(
        self,
        answers: tuple[nn.Module, Descent],
        images: torch.Tensor,
        labels: torch.Tensor,
        rate: float,
        where: str,
    ) -> float:
        """Train the discriminator to distinguish labels from predictions, then the network to deceive it.

        Parameters
        ----------
        answers
            The network and its optimiser.
        images, labels
            The batch.
        rate, where
            Learning rate, and name of the step for messages.

        Returns
        -------
        The loss of the network.
        """
        module, descent = answers
        judge = self.judge.train()
        with descent.autocast():
            probability = module(images).float().sigmoid()
            made, true = shown(probability, labels), shown(labels, labels)
            judged = discriminating(judge(images, true).float(), judge(images, made.detach()).float())
        self.judging.step(judged, rate, f"{where}, discriminator")
        judge.requires_grad_(False)
        with descent.autocast():
            loss = adversarial(judge(images, made).float(), probability, labels)
        descent.step(loss, rate, where)
        judge.requires_grad_(True)
        return float(loss.detach())

    def state(self) -> State:
        """Weights and optimiser of the discriminator."""
        return {"discriminator": self.judge.state_dict(), "judging": self.judging.state()}

    def load(self, parts: State) -> None:
        """Restore a state of :meth:`state`."""
        self.judge.load_state_dict(parts["discriminator"])
        self.judging.load(parts["judging"])
