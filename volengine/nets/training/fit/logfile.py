"""The log of a training: ``training.log`` in its folder, lines of text that begin with date and time.

    2026-03-01T14:05:21+01:00 epoch 3/10: loss 0.4211, validation loss 0.3920, Dice 0.812, learning rate 0.00089, ...

A run that continues a training appends to it. A line that cannot be written, because the disk is full or the folder is
gone, is lost; the training goes on. The next line is written again if that is possible, and a line says how many are
missing.
"""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from volengine import __version__
from volengine.core.model import ModelFacts
from volengine.nets.training.fit.state import Row

NAME = "training.log"


class TrainingLog:
    """Appends lines to the log of a training.

    Parameters
    ----------
    path
        The file; ``None``: nothing is written (processes of ``torchrun`` other than the first).
    warn
        Called with a text when lines are lost for the first time.
    """

    def __init__(self, path: Path | None, warn: Callable[[str], None] = lambda text: None):
        self.path = path
        self._warn = warn
        self._lost = 0

    def __call__(self, text: str) -> None:
        """Append one line; line breaks in it are shown as such, so that a name cannot pretend to be a line."""
        if self.path is None:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        begin = f"{now[:-2]}:{now[-2:]} "
        missing = f"{begin}({self._lost} lines before this one could not be written)\n" if self._lost else ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{missing}{begin}{_one_line(text)}\n")
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                self._warn(f"{self.path} cannot be written ({error.strerror}); the training goes on without its lines.")
        else:
            self._lost = 0

    def header(self, module: nn.Module, facts: ModelFacts, device: torch.device, history: Sequence[Row]) -> None:
        """Say what is trained on what, and where; of a training that goes on also from which epoch."""
        if history:
            self(f"goes on after epoch {len(history)}")
        self(f"volengine {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}")
        self(f"host {platform.node()}, device {device_text(device)}, {torch.get_num_threads()} threads")
        self(f"network {facts.network} {_json(facts.arguments)}, {weights_of(module):,} weights")
        told = facts.history[-1] if facts.history else {}
        for name in ("recipe", "data"):
            values = told.get(name)
            if isinstance(values, Mapping):
                for key, value in values.items():
                    self(f"{name}: {_json(key) if name == 'data' else key}: {_json(value)}")


def weights_of(module: nn.Module) -> int:
    """Number of weights of a network."""
    return sum(weight.numel() for weight in module.parameters())


def device_text(device: torch.device) -> str:
    """A device in words: ``cpu``, or ``cuda:0 (its name)``."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _one_line(text: str) -> str:
    """The text with its control characters as escapes, such as a line break as ``\\n``."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda sign: repr(sign[0])[1:-1], text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
