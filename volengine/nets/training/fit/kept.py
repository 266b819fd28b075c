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


def folder_of(out: Path) -> Path:
    """Return the folder of the fit that writes a model: ``NAME.safetensors.training`` beside it."""
    return out.with_name(out.name + ".training")


@dataclass(frozen=True)
class Kept:
    """The files of a fit that hold models.

    Parameters
    ----------
    out
        The model.
    folder
        The folder of the fit: ``best-epoch.safetensors`` has the bytes of the model, ``last-epoch.safetensors`` is the
        model of the last epoch.
    """

    out: Path
    folder: Path

    @property
    def best(self) -> Path:
        """The model of the best epoch."""
        return self.folder / "best-epoch.safetensors"

    def save(self, module: nn.Module, facts: ModelFacts, choice: Choice) -> None:
        """Write the network after an epoch, and if this epoch is the best so far, the model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {"epoch": len(choice.history), "epochs": finite(list(choice.history)), "chosen_by": choice.reason}
        last = self.folder / "last-epoch.safetensors"
        save_model(last, module, facts.with_(history=(*facts.history[:-1], {**facts.history[-1], **told})))
        if choice.kept == len(choice.history) - 1:
            for best in (self.best, self.out):
                write_atomic(best, last.read_bytes())

    def deliver(self) -> bool:
        """Write the model again if it was removed, or is not what this fit made; return whether it was written."""
        made = self.best.read_bytes()
        if self.out.is_file() and self.out.read_bytes() == made:
            return False
        write_atomic(self.out, made)
        return True

    def is_there(self, choice: Choice) -> bool:
        """Whether the folder holds the model of the best epoch.

        A fit that was stopped after it wrote the models of an epoch and before it wrote the state has the model of the
        next epoch, if that is better; it is made again.
        """
        try:
            epoch = load_facts(self.best).history[-1].get("epoch")
        except VolengineError:
            return False
        return epoch in ((choice.kept or 0) + 1, len(choice.history) + 1)
