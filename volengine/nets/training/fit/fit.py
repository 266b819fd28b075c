"""Fit a network: a training loop that can be stopped after any epoch and resumed with the same result.

All random numbers of a step (for its samples, and in the network) depend only on the seed and the number of the step.
So the state consists of weights, optimiser and history; no state of a random generator is needed. It is written after
each epoch, atomically. The samples of the next step are drawn while the network is trained on those of this step.

The model file ``out`` holds the best epoch (:mod:`volengine.nets.training.fit.choice`). The folder ``<out>.training``
holds the models of the best epoch (``best-epoch.safetensors``, the same bytes as ``out``) and of the last one
(``last-epoch.safetensors``), the state (``last.safetensors``), ``history.csv``, ``curve.svg``, ``curve.png``,
``validation.png`` and, if requested, ``tensorboard``.

Under ``torchrun`` each process draws its share of every batch (:mod:`volengine.nets.training.fit.ranks`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import nn

from volengine.core.atomic import write_atomic
from volengine.core.errors import InputError, VolengineError
from volengine.core.model import ModelFacts
from volengine.nets.lean import turns_back
from volengine.nets.training.fit.choice import Choice
from volengine.nets.training.fit.kept import Kept, folder_of
from volengine.nets.training.fit.optimise import Descent
from volengine.nets.training.fit.progress import Steps, say
from volengine.nets.training.fit.ranks import Ranks
from volengine.nets.training.fit.recipe import FitRecipe
from volengine.nets.training.fit.report import PATCHES, Look, answers, curve, patches, tensorboard_writer
from volengine.nets.training.fit.state import Row, State, load_state, save_state
from volengine.nets.training.losses.combined import Answers, Objective, adversarial, discriminating, shown
from volengine.nets.training.losses.pooled import Pool, Score, Sums
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
    check
        Called at the end of each epoch, before its results are written: it raises an error if the samples have changed.

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
        check: Callable[[], None] = lambda: None,
    ):
        self.ranks = Ranks.from_environment()
        self.own = self.ranks.share(how.batch)
        self.device = self.ranks.device(device)
        plain = self.device.type == "cpu" and turns_back(module)  # copies to and fro cost time and memory
        if facts.volumetric and not plain:  # three to four times faster on a CPU: few channels, no reordering
            module = module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.module = module.to(self.device)
        self.facts = facts
        self.draw = draw
        self.check = check
        self.validation = validation
        self.how = how
        self.objective = Objective(how.terms)
        self.out = out
        self.folder = folder_of(out)
        self.kept = Kept(out, self.folder)
        self.descent = Descent(self.module, how.optimiser, how.precision, self.device)
        self.history: list[Row] = []
        self.discriminator = None if discriminator is None else discriminator.to(self.device)
        if self.discriminator is not None:
            if self.ranks.world > 1 or self.objective.exclusive or self.objective.regression:
                raise InputError("Adversarial training needs one process and independent features.")
            self.judging = Descent(self.discriminator, how.optimiser, how.precision, self.device)
        self.pool = Pool(how.terms)
        self._replica: nn.Module = self.module
        self._show_progress = False
        self._shown_s = -math.inf
        self._tensorboard = tensorboard_writer(self.folder / "tensorboard") if self._logs else None

    @property
    def _logs(self) -> bool:
        return self.how.tensorboard and self.ranks.first

    def run(self, *, progress: bool = True, stopped: Event | None = None) -> list[Row]:
        """Train to the end; return one row per epoch.

        Parameters
        ----------
        progress
            Show the progress on standard error.
        stopped
            When it is set, the training ends before its next step with :class:`KeyboardInterrupt`.

        Raises
        ------
        VolengineError
            The loss, the gradient or the validation loss became infinite or NaN; ``out`` then holds the best epoch so
            far, the folder the last one. Or the image of a sample contains NaN or infinity.
        """
        self._show_progress = progress and self.ranks.first
        self.ranks.start(self.device)
        try:
            self._resume()
            self._replica = self.ranks.wrap(self.module, self.device)
            self._run(stopped or Event())
            if self.ranks.first and self.kept.deliver():
                self._say(f"{self.out}: written again, the training was finished.")
            self.ranks.wait()
        finally:
            if self._tensorboard is not None:
                self._tensorboard.close()
        return self.history

    def _run(self, stopped: Event) -> None:
        first, steps = len(self.history), self.how.steps
        total = self.how.epochs * steps
        bar = Steps(self.how.epochs, steps, first * steps, show=self._show_progress)
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
                    if stopped.is_set():
                        raise KeyboardInterrupt
                    samples = coming.result() if coming else self._samples(step)
                    coming = pool.submit(self._samples, step + 1) if step + 1 < total else None
                    losses.append(self._step(step, samples))
                    bar.step(losses[-1])
                self._end_epoch(epoch, float(np.mean(losses)), time.perf_counter() - began)

    @property
    def choice(self) -> Choice:
        """Which epoch becomes the model."""
        return Choice(self.history, validated=len(self.validation) > 0)

    def _finished(self) -> bool:
        """Whether the last ``patience`` epochs brought no improvement."""
        return self.choice.idle(self.how.patience)

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
        self.descent.step(loss, self.how.rate(step), self._where(step), gain=float(self.ranks.world))
        return float(loss.detach())

    def _where(self, step: int) -> str:
        return f"Epoch {step // self.how.steps + 1}, step {step % self.how.steps + 1} of {self.how.steps}"

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
        self.judging.step(judged, rate, f"{self._where(step)}, discriminator")
        judge.requires_grad_(False)
        with self.descent.autocast():
            loss = adversarial(judge(images, made).float(), probability, labels)
        self.descent.step(loss, rate, self._where(step))
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

    def evaluate(self) -> Score:
        """Loss and Dice over the validation samples together; NaN without samples, Dice also for a regression.

        Raises
        ------
        VolengineError
            The network answers with numbers that are infinite or NaN.
        """
        if not len(self.validation):
            return Score(math.nan, math.nan, [])
        self.module.eval()
        mine = range(self.ranks.rank, len(self.validation), self.ranks.world)
        rows = sorted(self.ranks.objects([(k, self._sums(self.validation[k])) for k in mine]), key=lambda row: row[0])
        bad = next((k for k, sums in rows if not all(np.isfinite(part).all() for part in sums)), None)
        if bad is not None:
            text = f"Epoch {len(self.history) + 1}: the loss of validation patch {bad + 1} is NaN or infinite."
            raise VolengineError(self.descent.advice(text))
        return self.pool.score([sums for _, sums in rows])

    def _sums(self, sample: Sample) -> list[Sums]:
        images, labels, datasets = self._tensors([sample])
        with torch.inference_mode():
            return self.pool.sums(self._logits(images), labels, datasets[0])

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        with self.descent.autocast():
            answers = self.module(images)
        full: torch.Tensor = answers if isinstance(answers, torch.Tensor) else answers[0]
        return full.float()

    def _end_epoch(self, epoch: int, loss: float, seconds: float) -> None:
        score = self.evaluate()
        self.check()
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "validation_loss": score.loss,
            "validation_dice": score.dice,
            "seconds": round(seconds, 2),
        }
        self.history.append(row)
        if epoch == 0:
            self._say_what_is_missing(score)
        if self.ranks.first:
            self.kept.save(self.module, self.facts, self.choice)
            self._save()
            self._show(row)
        self.ranks.wait()

    def _say_what_is_missing(self, score: Score) -> None:
        features = self.facts.features[-len(score.truth) :] if score.truth else ()
        missing = [repr(name) for name, voxels in zip(features, score.truth, strict=True) if not voxels]
        if self.choice.blind:
            what = ", ".join(missing) or "a target"
            self._say(
                f"No sample for validation holds {what}: its loss says nothing. The last epoch becomes the model, and "
                "nothing stops early. Give samples with use: validate, or another --validation-share."
            )
        elif missing:
            self._say(
                f"No sample for validation holds {', '.join(missing)}; the others decide which epoch is the best."
            )

    def _say(self, text: str) -> None:
        if self._show_progress:
            say(text)

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
        if not self.kept.is_there(self.choice):
            self._say(f"{self.kept.best} is missing, the model of the best epoch: the training begins anew.")
            self.history = []
            return
        self.module.load_state_dict(parts["module"])
        self.descent.load(parts.get("optimiser", {}))
        if self.discriminator is not None:
            self.discriminator.load_state_dict(parts["discriminator"])
            self.judging.load(parts["judging"])
