"""Fitting a network: a loop that can be stopped at any epoch and goes on as if it had not been.

What is random in a step (its samples, and what the network itself draws) depends on the seed and the step's number
alone, so nothing of a random generator needs to be kept: weights, optimiser and the history are the whole state. It is
written after each epoch, atomically. The samples of the next step are drawn while the network learns from this one's.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from volengine.core.errors import FormatError, InputError, VolengineError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import save_model
from volengine.nets.losses import IGNORE, bce_dice

Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]
Draw = Callable[[np.random.Generator], Sample]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    ``decay``: the rate falls along a cosine to a hundredth of itself over all steps; else it stays.
    """

    epochs: int
    steps: int
    batch: int
    learning_rate: float
    seed: int
    decay: bool = True

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if not self.decay:
            return self.learning_rate
        share = step / max(1, self.epochs * self.steps)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def flush_denormals() -> None:
    """Let numbers below 1e-38 be zero in this thread and in those that it starts.

    Where a network is sure of its background, gradients become that small, and a CPU takes four times as long for a
    step. Threads that torch has started already keep what they have, so call it before the first computation.
    """
    torch.set_flush_denormal(True)


class Fit:
    """A network being fitted.

    Parameters
    ----------
    module, facts
        The network (changed) and its facts, whose history ends with an entry for this training; the best state is
        saved with them to ``out``.
    draw
        Gives one training sample: image (channels-or-z, y, x), labels (features, z, y, x).
    validation
        Fixed samples; without any the training loss decides which epoch is the best.
    folder
        Gets ``last.safetensors`` and ``history.csv``; a fit that finds them goes on from there.
    """

    def __init__(
        self,
        module: nn.Module,
        facts: ModelFacts,
        draw: Draw,
        validation: list[Sample],
        schedule: Schedule,
        out: Path,
        device: torch.device,
    ):
        if facts.volumetric:  # three to four times faster on a CPU: few channels, no reordering
            module = module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.module = module.to(device)
        self.facts = facts
        self.draw = draw
        self.validation = validation
        self.schedule = schedule
        self.out = out
        self.folder = out.with_name(out.name + ".training")
        self.device = device
        self.optimiser = torch.optim.Adam(self.module.parameters(), lr=schedule.learning_rate)
        self.history: list[dict[str, float]] = []

    def run(self, *, progress: bool = True) -> list[dict[str, float]]:
        """Fit to the end; returns one row per epoch.

        Raises
        ------
        VolengineError
            The loss became infinite or no number.
        """
        self._resume()
        first = len(self.history)
        steps = self.schedule.steps
        total = self.schedule.epochs * steps
        bar = tqdm(total=total, initial=first * steps, desc="training", unit="step", disable=None if progress else True)
        own_random = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with bar, ThreadPoolExecutor(1) as pool, own_random:
            coming = pool.submit(self._samples, first * steps) if first * steps < total else None
            for epoch in range(first, self.schedule.epochs):
                began = time.perf_counter()
                losses = []
                for step in range(epoch * steps, (epoch + 1) * steps):
                    samples = coming.result() if coming else self._samples(step)
                    coming = pool.submit(self._samples, step + 1) if step + 1 < total else None
                    losses.append(self._step(step, samples))
                    bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                    bar.update()
                self._end_epoch(epoch, float(np.mean(losses)), time.perf_counter() - began)
        return self.history

    def _samples(self, step: int) -> list[Sample]:
        return [self.draw(np.random.default_rng((self.schedule.seed, step, k))) for k in range(self.schedule.batch)]

    def _step(self, step: int, samples: list[Sample]) -> float:
        images, labels = self._tensors(samples)
        own = np.random.SeedSequence((self.schedule.seed, step)).generate_state(1)
        torch.manual_seed(int(own[0]))  # for networks that draw themselves, as dropout does
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(step)
        self.module.train()
        self.optimiser.zero_grad(set_to_none=True)
        loss = bce_dice(self.module(images), labels)
        if not torch.isfinite(loss):
            raise VolengineError(
                f"Step {step}: the loss is {float(loss)}. Lower the learning rate ({self.schedule.learning_rate})."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.optimiser.step()
        return float(loss.detach())

    def _tensors(self, samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(np.stack([s[0] for s in samples]))
        labels = torch.from_numpy(np.stack([s[1] for s in samples]))
        if self.facts.volumetric:
            images = images.unsqueeze(1).contiguous(memory_format=torch.channels_last_3d)
        else:
            labels = labels.squeeze(2)
        return images.to(self.device), labels.to(self.device)

    def evaluate(self) -> tuple[float, float]:
        """Mean loss and Dice at 0.5 over the validation samples (nan without any)."""
        if not self.validation:
            return math.nan, math.nan
        self.module.eval()
        losses, both, total = [], 0.0, 0.0
        with torch.inference_mode():
            for sample in self.validation:
                images, labels = self._tensors([sample])
                logits = self.module(images)
                losses.append(float(bce_dice(logits, labels)))
                counts = labels != IGNORE
                found, truth = (logits > 0) & counts, (labels == 1) & counts
                both += float((found & truth).sum())
                total += float(found.sum() + truth.sum())
        return float(np.mean(losses)), 2 * both / total if total else math.nan

    def _end_epoch(self, epoch: int, loss: float, seconds: float) -> None:
        validation, dice = self.evaluate()
        best = min((self._criterion(r) for r in self.history), default=math.inf)
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "validation_loss": validation,
            "validation_dice": dice,
            "seconds": round(seconds, 2),
        }
        self.history.append(row)
        if self._criterion(row) < best:
            last = {**self.facts.history[-1], "epoch": epoch + 1, "epochs": _finite(self.history)}
            facts = self.facts.with_(history=(*self.facts.history[:-1], last))
            save_model(self.out, self.module, facts)
        self._save_state()

    @staticmethod
    def _criterion(row: dict[str, float]) -> float:
        return row["loss"] if math.isnan(row["validation_loss"]) else row["validation_loss"]

    # -- state ---------------------------------------------------------------------------------------------

    def _save_state(self) -> None:
        from safetensors.torch import save

        self.folder.mkdir(parents=True, exist_ok=True)
        state = {f"module.{k}": v.detach().cpu().contiguous() for k, v in self.module.state_dict().items()}
        for number, values in self.optimiser.state_dict()["state"].items():
            state |= {f"adam.{number}.{k}": torch.as_tensor(v).detach().cpu().contiguous() for k, v in values.items()}
        meta = {"history": json.dumps(_finite(self.history)), "facts": json.dumps(self.facts.to_json())}
        _replace(self.folder / "last.safetensors", save(state, metadata=meta))
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, fieldnames=list(self.history[0]))
        writer.writeheader()
        writer.writerows(self.history)
        _replace(self.folder / "history.csv", table.getvalue().encode())

    def _resume(self) -> None:
        from safetensors import SafetensorError, safe_open

        path = self.folder / "last.safetensors"
        if not path.exists():
            return
        try:
            with safe_open(path, framework="pt") as file:
                meta = file.metadata() or {}
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise FormatError(f"{path} is damaged ({error}); remove it to train from the beginning.") from error
        if not {"facts", "history"} <= meta.keys():
            raise FormatError(f"{path} is no state of a training; remove it to train from the beginning.")
        if json.loads(meta["facts"]) != json.loads(json.dumps(self.facts.to_json())):
            raise InputError(
                f"{self.folder} belongs to a training with another recipe; remove it or give another --out."
            )
        self.module.load_state_dict({k[7:]: v for k, v in state.items() if k.startswith("module.")})
        moments: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            if key.startswith("adam."):
                _, number, name = key.split(".", 2)
                moments.setdefault(int(number), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.history = [
            {k: math.nan if v is None else v for k, v in row.items()} for row in json.loads(meta["history"])
        ]


def _finite(rows: list[dict[str, float]]) -> list[dict[str, float | None]]:
    """JSON knows no nan."""
    return [{k: None if math.isnan(v) else v for k, v in row.items()} for row in rows]


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
