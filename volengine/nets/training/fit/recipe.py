"""Recipe of a fit: losses, optimiser, learning rate, length. It needs no PyTorch.

>>> how = FitRecipe(epochs=10, steps=50, optimiser=Optimiser(kind="sgd", schedule="polynomial", learning_rate=1e-2))
>>> round(how.rate(0), 4), round(how.rate(250), 4)
(0.01, 0.0054)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.nets.training.losses.recipe import Term

Kind = Literal["adam", "adamw", "sgd", "adadelta"]
Course = Literal["constant", "cosine", "polynomial"]
Precision = Literal["float32", "bfloat16", "float16"]
POWER = 0.9


@dataclass(frozen=True)
class Optimiser(Recipe):
    """The optimiser and its settings.

    Parameters
    ----------
    kind
        ``adam``, ``adamw``, ``sgd`` (Nesterov) or ``adadelta``.
    learning_rate
        Learning rate at the beginning.
    schedule
        How the learning rate falls over all steps: ``cosine``: to a hundredth; ``polynomial``: by the factor
        (1 - share done) ** 0.9; ``constant``: not at all.
    weight_decay
        Weight decay: decoupled for ``adamw`` (Loshchilov & Hutter, 2019), added to the gradient for the others.
    momentum
        Momentum of ``sgd`` (default 0.99, as in nnU-Net and MemBrain), and beta 1 of ``adam`` and ``adamw`` (default
        0.9; Pix2pix needs 0.5).
    clip
        Largest norm of the gradient (Euclidean, over all weights); 0: no limit.
    """

    kind: Kind = "adam"
    learning_rate: float = 1e-3
    schedule: Course = "cosine"
    weight_decay: float = 0.0
    momentum: float | None = None
    clip: float = 5.0

    def check(self) -> None:
        if self.learning_rate <= 0:
            raise InputError(f"--learning-rate must be positive, not {self.learning_rate}.")
        if min(self.weight_decay, self.clip) < 0:
            raise InputError(f"--weight-decay and --clip must be 0 or more, not {self.weight_decay} and {self.clip}.")
        if self.momentum is not None and not 0 < self.momentum < 1:
            raise InputError(f"--momentum must be between 0 and 1, not {self.momentum}.")

    def rate(self, share: float) -> float:
        """Learning rate after this share (0 to 1) of all steps."""
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "polynomial":
            return float(self.learning_rate * (1 - share) ** POWER)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


@dataclass(frozen=True)
class FitRecipe(Recipe):
    """The recipe of a fit.

    Parameters
    ----------
    epochs, steps
        Number of epochs, and of steps in each.
    batch
        Samples per step, of all processes together.
    seed
        All random numbers of a step depend only on the seed and the number of the step.
    terms
        The losses that are added.
    optimiser
        The optimiser and its settings.
    average
        Decay of a moving average of the weights (:mod:`volengine.nets.training.fit.average`); 0: none.
    patience
        Stop after this many epochs without a lower loss, see :mod:`volengine.nets.training.fit.choice`; 0: never.
    precision
        ``float32``; or automatic mixed precision with ``bfloat16`` or ``float16`` (the latter only on GPUs, with a
        scaled loss).
    tensorboard
        Write the numbers of each epoch for TensorBoard, too.
    """

    epochs: int = 30
    steps: int = 50
    batch: int = 4
    seed: int = 0
    terms: tuple[Term, ...] = (Term("bce_dice"),)
    optimiser: Optimiser = field(default_factory=Optimiser)
    average: float = 0.0
    patience: int = 0
    precision: Precision = "float32"
    tensorboard: bool = False

    def check(self) -> None:
        for name in ("epochs", "steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be 1 or more, not {getattr(self, name)}.")
        if not 0 <= self.average < 1:
            raise InputError(f"--average must be 0 or more and less than 1 (such as 0.99), not {self.average}.")
        if self.patience < 0:
            raise InputError(f"--patience must be 0 or more, not {self.patience}.")

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.optimiser.rate(step / max(1, self.epochs * self.steps))
