"""A moving average of a network's weights over the steps of its training.

After step t the average is the mean of the weights after steps 1 to t with the weights ``decay ** (t - i)``, divided by
their sum. So it holds nothing of the random weights at the beginning, and after the first step it equals the weights.
About the last ``1 / (1 - decay)`` steps count. An average of this kind is also called "EMA of the weights" (Polyak &
Juditsky, SIAM J. Control Optim. 30, 1992, for a plain mean; Tarvainen & Valpola, 2017, for this one).

Buffers of numbers, such as the statistics of batch normalisation, are averaged with the same weights; counters are
those of the last step. The statistics that a network keeps are themselves a moving average over the same steps, so
both lag alike. To compute them anew would cost more passes, and other samples would be seen after each interruption.

>>> import torch
>>> net = torch.nn.Linear(1, 1, bias=False)
>>> average = Average(net, decay=0.5)
>>> for step, value in enumerate((1.0, 4.0)):
...     _ = net.weight.data.fill_(value)
...     average.add(step)
>>> with average.shown():
...     round(net.weight.item(), 6)  # (0.5 * 1 + 4) / (0.5 + 1)
3.0
>>> net.weight.item()
4.0
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from volengine.core.errors import FormatError


class Average:
    """The average, and the network whose weights are averaged.

    Parameters
    ----------
    module
        The network; its weights are exchanged with the average in :meth:`shown`, and otherwise left alone.
    decay
        From 0 to 1: how much of the average remains in a step. 0: there is no average.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self._now: dict[str, torch.Tensor] = {}
        if decay:
            kept = module.state_dict().keys()  # not buffers that the network makes itself
            named = chain(module.named_parameters(), module.named_buffers())  # each once, also if it has two names
            self._now = {name: tensor.detach() for name, tensor in named if name in kept}
        self._mean = {name: tensor.clone() for name, tensor in self._now.items()}

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Count the weights after a step (number from 0)."""
        if not self.decay:
            return
        share = (1 - self.decay) / -math.expm1((step + 1) * math.log(self.decay))
        for name, mean in self._mean.items():
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(self._now[name], share)
            else:
                mean.copy_(self._now[name])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within this the network has the averaged weights; afterwards its own again, to the bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, mean in self._mean.items():
            now = self._now[name]
            held = now.clone()
            now.copy_(mean)
            mean.copy_(held)

    def state(self) -> dict[str, torch.Tensor]:
        """The average by the names of the weights; nothing without an average."""
        return dict(self._mean)

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Restore a state of :meth:`state`.

        Raises
        ------
        FormatError
            The state is that of another network.
        """
        if state.keys() != self._mean.keys() or any(state[n].shape != mean.shape for n, mean in self._mean.items()):
            raise FormatError("The state of the training holds an average of other weights; remove its folder.")
        for name, mean in self._mean.items():
            mean.copy_(state[name])
