"""The model files of a fit: the model itself, and in its folder the best and the last epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from volengine.core.atomic import write_atomic
from volengine.core.errors import VolengineError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import load_facts, save_model
from volengine.nets.training.fit.choice import Choice
from volengine.nets.training.fit.state import finite


@dataclass(frozen=True)
class Kept:
    """The files of a fit that hold models.

    Parameters
    ----------
    out
        The model.
    folder
        The folder of the fit: ``best-epoch.safetensors`` is the model of the epoch with the lowest loss,
        ``last-epoch.safetensors`` that of the last epoch. The model has the bytes of one of them.
    """

    out: Path
    folder: Path

    @property
    def best(self) -> Path:
        """The model of the epoch with the lowest loss."""
        return self.folder / "best-epoch.safetensors"

    @property
    def last(self) -> Path:
        """The model of the last epoch."""
        return self.folder / "last-epoch.safetensors"

    def chosen(self, choice: Choice) -> Path:
        """The one of the two that becomes the model."""
        return self.last if choice.kept == len(choice.history) - 1 else self.best

    def save(self, module: nn.Module, facts: ModelFacts, choice: Choice) -> None:
        """Write the network after an epoch, and the model if it is another one now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {"epoch": len(choice.history), "epochs": finite(list(choice.history)), "chosen_by": choice.reason}
        if choice.apart is not None:
            told["best_and_last"] = str(choice.apart)
        save_model(self.last, module, facts.with_(history=(*facts.history[:-1], {**facts.history[-1], **told})))
        if choice.lowest == len(choice.history) - 1:
            write_atomic(self.best, self.last.read_bytes())
        if Choice(choice.history[:-1], choice.validated).kept != choice.kept:
            write_atomic(self.out, self.chosen(choice).read_bytes())

    def deliver(self, choice: Choice) -> bool:
        """Write the model again if it was removed, or is not what this fit made; return whether it was written."""
        made = self.chosen(choice).read_bytes()
        if self.out.is_file() and self.out.read_bytes() == made:
            return False
        write_atomic(self.out, made)
        return True

    def missing(self, choice: Choice) -> Path | None:
        """The model of the best or of the last epoch, if the folder does not hold it.

        A fit that was stopped after it wrote the models of an epoch and before it wrote the state has models of the
        next epoch; this epoch is made again.
        """
        now = len(choice.history)
        for path, wanted in ((self.best, ((choice.lowest or 0) + 1, now + 1)), (self.last, (now, now + 1))):
            try:
                epoch = load_facts(path).history[-1].get("epoch")
            except VolengineError:
                return path
            if epoch not in wanted:
                return path
        return None
