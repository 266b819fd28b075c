"""One step of gradient descent: optimisers, clipping, the scaled loss of half precision, and the stop at NaN.

>>> import torch
>>> net = torch.nn.Linear(2, 1)
>>> descent = Descent(net, Optimiser(kind="sgd", learning_rate=0.1), "float32", torch.device("cpu"))
>>> descent.step(net(torch.ones(1, 2)).sum(), rate=0.1, where="Step 0") > 0
True
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from volengine.core.errors import InputError, VolengineError
from volengine.nets.training.fit.recipe import Optimiser, Precision
from volengine.nets.training.fit.shallow import ExactWhereShallow

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def make_optimiser(how: Optimiser, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a module's trainable weights."""
    weights = [p for p in module.parameters() if p.requires_grad]
    rate, decay = how.learning_rate, how.weight_decay
    if how.kind == "adadelta":
        return torch.optim.Adadelta(weights, lr=rate, weight_decay=decay)
    if how.kind == "sgd":
        momentum = 0.99 if how.momentum is None else how.momentum
        return torch.optim.SGD(weights, lr=rate, momentum=momentum, nesterov=True, weight_decay=decay)
    betas = (0.9 if how.momentum is None else how.momentum, 0.999)
    kind = torch.optim.AdamW if how.kind == "adamw" else torch.optim.Adam
    return kind(weights, lr=rate, betas=betas, weight_decay=decay)


class Descent:
    """An optimiser with clipping and loss scaling.

    Parameters
    ----------
    module
        The network whose weights are changed.
    how
        The optimiser and its settings.
    precision
        Precision in which the network is computed.
    device
        Device of the network.

    Raises
    ------
    InputError
        The precision is float16 on a CPU.
    """

    def __init__(self, module: nn.Module, how: Optimiser, precision: Precision, device: torch.device):
        if precision == "float16" and device.type != "cuda":
            raise InputError(f"--precision float16 needs a CUDA GPU, not {device}; bfloat16 works everywhere.")
        self.how = how
        self.precision = precision
        self.device = device
        self.optimiser = make_optimiser(how, module)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self._weights = [p for group in self.optimiser.param_groups for p in group["params"]]

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Context in which the network is computed in this precision."""
        if self.precision == "float32":
            yield
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.autocast(self.device.type, DTYPES[self.precision]))
            if self.device.type == "cpu":
                stack.enter_context(ExactWhereShallow())
            yield

    def step(self, loss: torch.Tensor, rate: float, where: str, gain: float = 1.0) -> float:
        """Change the weights; return the norm of the gradient before clipping.

        Parameters
        ----------
        loss
            The loss; the gradient is that of ``gain`` times the loss.
        rate
            Learning rate.
        where
            Name of the step, for messages.

        Raises
        ------
        VolengineError
            The loss or the gradient is infinite or NaN; the weights are not changed.
        """
        if not torch.isfinite(loss):
            raise VolengineError(self.advice(f"{where}: the loss is {float(loss.detach())}."))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss * gain if gain != 1.0 else loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        length = float(nn.utils.clip_grad_norm_(self._weights, self.how.clip or math.inf))
        if not math.isfinite(length) and not self.scaler.is_enabled():
            raise VolengineError(self.advice(f"{where}: the gradient is {length}."))
        self.scaler.step(self.optimiser)  # after an overflow of float16 it skips the step and lowers the scale
        self.scaler.update()
        return length

    def advice(self, text: str) -> str:
        """The text of an error, with advice against NaN and infinity."""
        cure = f"Lower the learning rate ({self.how.learning_rate})"
        return f"{text} {cure}{'' if self.how.clip else ', or limit the gradient (clip)'}."

    def state(self) -> dict[str, torch.Tensor]:
        """The state of optimiser and scaler, as named tensors on the CPU."""
        found = {}
        for number, values in self.optimiser.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:
                    found[f"{number}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
        for name, value in self.scaler.state_dict().items():
            found[f"scaler.{name}"] = torch.as_tensor(value, dtype=torch.float64)
        return found

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Restore a state of :meth:`state`."""
        moments: dict[int, dict[str, Any]] = {}
        scaler: dict[str, Any] = {}
        for key, value in state.items():
            number, name = key.split(".", 1)
            if number == "scaler":
                scaler[name] = int(value) if name.endswith(("interval", "tracker")) else float(value)
            else:
                moments.setdefault(int(number), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        if scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(scaler)
