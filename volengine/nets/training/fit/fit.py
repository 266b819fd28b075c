"""Fit a network: a training loop that can be stopped after any epoch and resumed with the same result.

All random numbers of a step (for its samples, and in the network) depend only on the seed and the number of the step.
So the state consists of weights, optimiser and history; no state of a random generator is needed. It is written after
each epoch, atomically. The samples of the next step are drawn while the network is trained on those of this step.

The model file ``out`` holds the best epoch. The folder ``<out>.training`` holds ``last.safetensors`` (the state),
``history.csv``, ``curve.svg``, ``curve.png``, ``validation.png`` and, if requested, ``tensorboard``.

Under ``torchrun`` each process draws its share of every batch (:mod:`volengine.nets.training.fit.ranks`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from volengine.core.atomic import write_atomic
from volengine.core.errors import InputError, VolengineError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import save_model
from volengine.nets.training.fit.optimise import Descent
from volengine.nets.training.fit.ranks import Ranks
from volengine.nets.training.fit.recipe import FitRecipe
from volengine.nets.training.fit.report import PATCHES, Look, answers, curve, patches, tensorboard_writer
from volengine.nets.training.fit.state import Row, State, finite, load_state, save_state
from volengine.nets.training.losses.combined import Answers, Objective, adversarial, discriminating, shown
from volengine.nets.training.losses.losses import IGNORE
from volengine.ops.figures import figure_files
from volengine.ops.pictures import png

Sample = tuple[Any, Any] | tuple[Any, Any, str]
"""Image (slices or z, y, x) float32; labels (features, z, y, x) uint8, or float32 for a regression; arrays or tensors.
For losses that apply to some datasets only, also the name of the sample's dataset."""
Draw = Callable[[np.random.Generator], Sample]
SHOW_EVERY_S = 5.0
"""Curve and pictures are drawn after the first and the last epoch, and in between at most this often."""


class Fit:
    """The training of a network.

    Parameters
    ----------
    module, facts
        The network, which is changed, and its facts. It outputs logits, or with deep supervision a list of them, the
        full resolution first. The history of the facts ends with an entry for this training. The best state is saved
        with the facts to ``out``.
    draw
        Function of a random generator that returns one training sample.
    validation
        Fixed samples for validation; if there are none, the training loss decides which epoch is the best.
    how
        Losses, optimiser, length.
    out
        The model file. The folder beside it holds the state; a fit that finds a state continues from it.
    device
        Device of the computation.
    discriminator
        Network for adversarial training (Pix2pix): ``discriminator(images, answers)`` rates predictions from 0 to 1,
        and is trained alternately with the network. The losses of ``how`` are then used for the validation only.

    Raises
    ------
    InputError
        The precision is float16 on a CPU, or the processes cannot share the batch evenly.
    """

    def __init__(
        self,
        module: nn.Module,
        facts: ModelFacts,
        draw: Draw,
        validation: Sequence[Sample],
        how: FitRecipe,
        out: Path,
        device: torch.device,
        discriminator: nn.Module | None = None,
    ):
        self.ranks = Ranks.from_environment()
        self.own = self.ranks.share(how.batch)
        self.device = self.ranks.device(device)
        if facts.volumetric:  # three to four times faster on a CPU: few channels, no reordering
            module = module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.module = module.to(self.device)
        self.facts = facts
        self.draw = draw
        self.validation = validation
        self.how = how
        self.objective = Objective(how.terms)
        self.out = out
        self.folder = out.with_name(out.name + ".training")
        self.descent = Descent(self.module, how.optimiser, how.precision, self.device)
        self.history: list[Row] = []
        self.discriminator = None if discriminator is None else discriminator.to(self.device)
        if self.discriminator is not None:
            if self.ranks.world > 1 or self.objective.exclusive or self.objective.regression:
                raise InputError("Adversarial training needs one process and independent features.")
            self.judging = Descent(self.discriminator, how.optimiser, how.precision, self.device)
        self._replica: nn.Module = self.module
        self._shown_s = -math.inf
        self._tensorboard = tensorboard_writer(self.folder / "tensorboard") if self._logs else None

    @property
    def _logs(self) -> bool:
        return self.how.tensorboard and self.ranks.first

    def run(self, *, progress: bool = True) -> list[Row]:
        """Train to the end; return one row per epoch.

        Raises
        ------
        VolengineError
            The loss, the gradient or the validation loss became infinite or NaN; ``out`` then holds the best epoch so
            far, the folder the last one. Or the image of a sample contains NaN or infinity.
        """
        self.ranks.start(self.device)
        try:
            self._resume()
            self._replica = self.ranks.wrap(self.module, self.device)
            self._run(progress and self.ranks.first)
        finally:
            if self._tensorboard is not None:
                self._tensorboard.close()
        return self.history

    def _run(self, progress: bool) -> None:
        first, steps = len(self.history), self.how.steps
        total = self.how.epochs * steps
        bar = tqdm(total=total, initial=first * steps, desc="training", unit="step", disable=None if progress else True)
        own_random = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with bar, ThreadPoolExecutor(1) as pool, own_random:
            going_on = first * steps < total and not self._finished()
            coming = pool.submit(self._samples, first * steps) if going_on else None
            for epoch in range(first, self.how.epochs):
                if self._finished():
                    break
                began = time.perf_counter()
                losses = []
                for step in range(epoch * steps, (epoch + 1) * steps):
                    samples = coming.result() if coming else self._samples(step)
                    coming = pool.submit(self._samples, step + 1) if step + 1 < total else None
                    losses.append(self._step(step, samples))
                    bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                    bar.update()
                self._end_epoch(epoch, float(np.mean(losses)), time.perf_counter() - began)

    def _finished(self) -> bool:
        """Whether the last ``patience`` epochs brought no improvement."""
        values = [self._criterion(row) for row in self.history]
        return 0 < self.how.patience <= len(values) - 1 - (values.index(min(values)) if values else 0)

    def _samples(self, step: int) -> list[Sample]:
        """This process's samples of a step."""
        return [self.draw(np.random.default_rng((self.how.seed, step, k))) for k in self.own]

    # -- a step ------------------------------------------------------------------------------------------------

    def _step(self, step: int, samples: list[Sample]) -> float:
        images, labels, datasets = self._tensors(samples)
        rank = (self.ranks.rank,) if self.ranks.rank else ()
        own = np.random.SeedSequence((self.how.seed, step, *rank)).generate_state(1)
        torch.manual_seed(int(own[0]))  # for random layers of the network, such as dropout
        self.module.train()
        if self.discriminator is not None:
            return self._adversarial_step(step, images, labels)
        answers = self._answers(images)
        loss = self._whole_loss(answers, labels, datasets)
        # gradients are averaged over the processes, but each process has only its part of the sum
        self.descent.step(loss, self.how.rate(step), f"Step {step}", gain=float(self.ranks.world))
        return float(loss.detach())

    def _answers(self, images: torch.Tensor) -> Answers:
        try:
            with self.descent.autocast():
                answers: Answers = self._replica(images)
        except ValueError as error:
            if "Expected more than 1" not in str(error):  # message of PyTorch's normalisation layers
                raise
            raise InputError(
                f"Patches of {self.facts.patch} are too small for {self.facts.network!r}: at its coarsest level one "
                "voxel is left to normalise over. Give a larger --patch."
            ) from error
        return answers

    def _whole_loss(self, answers: Answers, labels: torch.Tensor, datasets: list[str]) -> torch.Tensor:
        """The loss of the whole batch; only the outputs of this process have a gradient."""
        if self.ranks.world > 1:
            several = not isinstance(answers, torch.Tensor)
            answers = [self.ranks.gathered(a) for a in answers] if several else self.ranks.gathered(answers)  # type: ignore[arg-type]
            labels, datasets = self.ranks.gathered(labels), self.ranks.objects(datasets)
        return self.objective(answers, labels, datasets)

    def _adversarial_step(self, step: int, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Train the discriminator to distinguish labels from predictions, then the network to deceive it."""
        assert self.discriminator is not None
        rate, judge = self.how.rate(step), self.discriminator.train()
        with self.descent.autocast():
            probability = self.module(images).float().sigmoid()
            made, true = shown(probability, labels), shown(labels, labels)
            judged = discriminating(judge(images, true).float(), judge(images, made.detach()).float())
        self.judging.step(judged, rate, f"Step {step}, discriminator")
        judge.requires_grad_(False)
        with self.descent.autocast():
            loss = adversarial(judge(images, made).float(), probability, labels)
        self.descent.step(loss, rate, f"Step {step}")
        judge.requires_grad_(True)
        return float(loss.detach())

    def _tensors(self, samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        images = torch.stack([torch.as_tensor(s[0]) for s in samples]).to(self.device)
        labels = torch.stack([torch.as_tensor(s[1]) for s in samples]).to(self.device)
        datasets = [s[2] if len(s) > 2 else "" for s in samples]
        if not torch.isfinite(images).all():
            bad = next(n for n, x in zip(datasets, images, strict=True) if not torch.isfinite(x).all()) or "a sample"
            raise InputError(
                f"A patch of {bad} holds voxels that are not finite (NaN or infinity); replace them first."
            )
        if self.facts.volumetric:
            images = images.unsqueeze(1).contiguous(memory_format=torch.channels_last_3d)
        else:
            labels = labels.squeeze(2)
        return images, labels, datasets

    # -- an epoch ----------------------------------------------------------------------------------------------

    def evaluate(self) -> tuple[float, float]:
        """Mean loss and Dice at 0.5 over the validation samples; NaN without samples, Dice also for a regression."""
        if not len(self.validation):
            return math.nan, math.nan
        self.module.eval()
        mine = range(self.ranks.rank, len(self.validation), self.ranks.world)
        rows = self.ranks.objects([(k, *self._score(self.validation[k])) for k in mine])
        losses, both, total = zip(*(row[1:] for row in sorted(rows)), strict=True)
        dice = 2 * sum(both) / sum(total) if sum(total) else math.nan
        return float(np.mean(losses)), dice

    def _score(self, sample: Sample) -> tuple[float, float, float]:
        """Loss of a validation sample, number of voxels in both prediction and truth, and sum of both numbers."""
        images, labels, datasets = self._tensors([sample])
        with torch.inference_mode():
            logits = self._logits(images)
            loss = float(self.objective(logits, labels, datasets))
            if self.objective.regression:
                return loss, 0.0, 0.0
            counts = labels != IGNORE
            found, truth = self._found(logits) & counts, (labels == 1) & counts
            return loss, float((found & truth).sum()), float(found.sum() + truth.sum())

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        with self.descent.autocast():
            answers = self.module(images)
        full: torch.Tensor = answers if isinstance(answers, torch.Tensor) else answers[0]
        return full.float()

    def _found(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask of the predicted voxels: probability above 1/2, or the most probable of exclusive classes."""
        if not self.objective.exclusive:
            return logits > 0
        best = logits.argmax(1, keepdim=True)
        return best == torch.arange(1, logits.shape[1], device=best.device).reshape(1, -1, *[1] * (logits.ndim - 2))

    def _end_epoch(self, epoch: int, loss: float, seconds: float) -> None:
        validation, dice = self.evaluate()
        if len(self.validation) and not math.isfinite(validation):
            raise VolengineError(self.descent.advice(f"Epoch {epoch + 1}: the validation loss is {validation}."))
        best = min((self._criterion(r) for r in self.history), default=math.inf)
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "validation_loss": validation,
            "validation_dice": dice,
            "seconds": round(seconds, 2),
        }
        self.history.append(row)
        if self.ranks.first:
            if self._criterion(row) < best:
                last = {**self.facts.history[-1], "epoch": epoch + 1, "epochs": finite(self.history)}
                save_model(self.out, self.module, self.facts.with_(history=(*self.facts.history[:-1], last)))
            self._save()
            self._show(row)
        self.ranks.wait()

    @staticmethod
    def _criterion(row: Row) -> float:
        return row["loss"] if math.isnan(row["validation_loss"]) else row["validation_loss"]

    def _show(self, row: Row) -> None:
        """Write the curve, pictures of some validation patches, and the numbers for TensorBoard."""
        last = row["epoch"] == self.how.epochs or self._finished()
        if last or time.monotonic() - self._shown_s > SHOW_EVERY_S:
            self._write_pictures()
            self._shown_s = time.monotonic()
        if self._tensorboard is not None:
            for name in ("loss", "validation_loss", "validation_dice"):
                self._tensorboard.add_scalar(name, row[name], int(row["epoch"]))
            self._tensorboard.flush()

    def _write_pictures(self) -> None:
        """Write the curve and the pictures."""
        for kind, content in figure_files(curve(self.history)).items():
            write_atomic(self.folder / f"curve.{kind}", content)
        count = len(self.validation)
        if count:
            picture = answers if self.objective.regression else patches
            some = sorted({k * (count - 1) // max(1, PATCHES - 1) for k in range(PATCHES)})
            looks = [self._look(self.validation[k]) for k in some]
            write_atomic(self.folder / "validation.png", png(picture(looks)))

    def _look(self, sample: Sample) -> Look:
        """The middle slice of a patch with the prediction and the labels of its first feature."""
        images, labels, _ = self._tensors([sample])
        with torch.inference_mode():
            logits = self._logits(images)
        if self.objective.regression:
            scores = logits[0, 0]
        else:
            scores = logits.softmax(1)[0, 1] if self.objective.exclusive else logits.sigmoid()[0, 0]
        image, truth = images[0].reshape(-1, *images.shape[-2:]), labels[0, 0].reshape(-1, *labels.shape[-2:])
        scores = scores.reshape(-1, *scores.shape[-2:])
        middle = [part[len(part) // 2].cpu().numpy() for part in (image, scores, truth)]
        return middle[0], middle[1], middle[2]

    # -- state -------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        parts: State = {"module": self.module.state_dict(), "optimiser": self.descent.state()}
        if self.discriminator is not None:
            parts |= {"discriminator": self.discriminator.state_dict(), "judging": self.judging.state()}
        save_state(self.folder, parts, self.history, self.facts.to_json())

    def _resume(self) -> None:
        found = load_state(self.folder, self.facts.to_json())
        if found is None:
            return
        parts, self.history = found
        self.module.load_state_dict(parts["module"])
        self.descent.load(parts.get("optimiser", {}))
        if self.discriminator is not None:
            self.discriminator.load_state_dict(parts["discriminator"])
            self.judging.load(parts["judging"])
