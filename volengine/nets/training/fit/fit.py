"""Fit a network: a training loop that can be stopped after any epoch and resumed with the same result.

All random numbers of a step (for its samples, and in the network) depend only on the seed and the number of the step.
So the state consists of weights, optimiser and history; no state of a random generator is needed. It is written after
each epoch, atomically. The batch of the next step is drawn while the network is trained on that of this step.

The folder ``<out>.training`` holds the models of the epoch with the lowest validation loss (``best-epoch.safetensors``)
and of the last one (``last-epoch.safetensors``), the state (``last.safetensors``), ``history.csv``, and what
:mod:`volengine.nets.training.fit.reporter` writes: ``training.log``, ``curve.svg``, ``curve.png``, ``validation.png``
and, if requested, ``tensorboard``. The model file ``out`` has the bytes of one of the two models;
:mod:`volengine.nets.training.fit.choice` says of which. With an average of the weights
(:mod:`volengine.nets.training.fit.average`) the averaged network is validated and kept; the state holds both.

Under ``torchrun`` each process draws its share of every batch (:mod:`volengine.nets.training.fit.ranks`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import torch
from torch import nn

from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.nets.device_memory import fitting
from volengine.nets.lean import turns_back
from volengine.nets.seeds import seeded
from volengine.nets.training.fit.account import Page
from volengine.nets.training.fit.adversary import Adversary
from volengine.nets.training.fit.average import Average
from volengine.nets.training.fit.batch import Batch, Sample, batch_of
from volengine.nets.training.fit.choice import Choice
from volengine.nets.training.fit.kept import Kept
from volengine.nets.training.fit.optimise import Descent
from volengine.nets.training.fit.ranks import Ranks
from volengine.nets.training.fit.recipe import FitRecipe
from volengine.nets.training.fit.reporter import Reporter
from volengine.nets.training.fit.state import Row, State, load_state, save_state
from volengine.nets.training.fit.validation import Validation
from volengine.nets.training.losses.combined import Answers, Objective
from volengine.nets.training.losses.pooled import Pool, Score, Sums
from volengine.nets.training.place import folder_of

Draw = Callable[[np.random.Generator], Sample]


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
        Fixed samples for validation; if there are none, the training loss decides which epoch becomes the model.
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
    notes, page
        Lines about the data, for the log; and a function that writes the page of the training.

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
        notes: Sequence[str] = (),
        page: Page | None = None,
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
        self.how = how
        self.objective = Objective(how.terms)
        self.out = out
        self.folder = folder_of(out)
        self.kept = Kept(out, self.folder)
        self.descent = Descent(self.module, how.optimiser, how.precision, self.device)
        self.average = Average(self.module, how.average)
        self.history: list[Row] = []
        if discriminator is not None and (
            self.ranks.world > 1 or self.objective.exclusive or self.objective.regression
        ):
            raise InputError("Adversarial training needs one process and independent features.")
        self.adversary = None if discriminator is None else Adversary(discriminator, how, self.device)
        self.validation = Validation(validation, Pool(how.terms), self.ranks, self.descent.advice)
        self._replica: nn.Module = self.module
        values = (self.folder, self.module, facts, how, validation, self._answered, self.device)
        self.report = Reporter(*values, first=self.ranks.first, notes=notes, page=page)

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
            The loss, the gradient or the validation loss became infinite or NaN; ``out`` then holds the model
            of the epochs before. Or the image of a sample contains NaN or infinity. Or the memory of the GPU does not
            suffice for a step (:class:`~volengine.core.errors.MemoryRefusedError`).
        """
        self.ranks.start(self.device)
        with self.report.run(progress=progress):
            self._resume()
            self.report.begin(self.history)
            self._replica = self.ranks.wrap(self.module, self.device)
            self._run(stopped or Event())
            if self.choice.apart is not None:
                self.report.say(f"Best and last: {self.choice.apart}.")
            if self.ranks.first and self.kept.deliver(self.choice):
                self.report.say(f"{self.out}: written again, the training was finished.")
            self.ranks.wait()
            self.report.end(self.choice)
        return self.history

    def _run(self, stopped: Event) -> None:
        first, steps = len(self.history), self.how.steps
        total = self.how.epochs * steps
        bar = self.report.steps(first * steps)
        with bar, ThreadPoolExecutor(1) as pool:
            going_on = first * steps < total and not self._finished()
            coming = pool.submit(self._drawn, first * steps) if going_on else None
            for epoch in range(first, self.how.epochs):
                if self._finished():
                    break
                began = time.perf_counter()
                losses = []
                for step in range(epoch * steps, (epoch + 1) * steps):
                    if stopped.is_set():
                        raise KeyboardInterrupt
                    batch = coming.result() if coming else self._drawn(step)
                    coming = pool.submit(self._drawn, step + 1) if step + 1 < total else None
                    losses.append(self._step(step, batch))
                    bar.step(losses[-1])
                    self.report.drew(batch.labels)
                self._end_epoch(epoch, float(np.mean(losses)), time.perf_counter() - began)

    @property
    def choice(self) -> Choice:
        """Which epoch becomes the model."""
        return Choice(self.history, validated=len(self.validation.samples) > 0)

    def _finished(self) -> bool:
        """Whether the last ``patience`` epochs brought no lower loss."""
        return self.choice.idle(self.how.patience)

    def _drawn(self, step: int) -> Batch:
        """This process's batch of a step."""
        return self._batch([self.draw(np.random.default_rng((self.how.seed, step, k))) for k in self.own])

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        return batch_of(samples, volumetric=self.facts.volumetric)

    # -- a step ------------------------------------------------------------------------------------------------

    def _step(self, step: int, batch: Batch) -> float:
        rank = (self.ranks.rank,) if self.ranks.rank else ()
        seed = np.random.SeedSequence((self.how.seed, step, *rank)).generate_state(1)
        what = f"a step with {len(batch.images)} patches of {self.facts.patch} voxels"
        with (
            seeded(int(seed[0]), self.device),  # for random layers of the network, such as dropout
            fitting(self.device, what, "Give a smaller --batch or --patch, or --precision bfloat16."),
        ):
            loss = self._descend(step, batch)
        self.average.add(step)
        return loss

    def _descend(self, step: int, batch: Batch) -> float:
        images, labels, datasets = batch.to(self.device)
        self.module.train()
        if self.adversary is not None:
            own = self.module, self.descent
            return self.adversary.step(own, images, labels, self.how.rate(step), self._where(step))
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

    # -- an epoch ----------------------------------------------------------------------------------------------

    def _sums(self, sample: Sample) -> list[Sums]:
        images, labels, datasets = self._batch([sample]).to(self.device)
        with torch.inference_mode():
            return self.validation.pool.sums(self._logits(images), labels, datasets[0])

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        with self.descent.autocast():
            answers = self.module(images)
        full: torch.Tensor = answers if isinstance(answers, torch.Tensor) else answers[0]
        return full.float()

    def _end_epoch(self, epoch: int, loss: float, seconds: float) -> None:
        """Validate and keep the network (with an average of its weights: the averaged one), then write the state."""
        with self.average.shown():
            self.ranks.same(self.module.buffers())  # of batch normalisation: each process has its own
            self.module.eval()
            score, noise = self.validation.judge(self._sums, epoch + 1, self.report.validating)
            self.check()
            row = {
                "epoch": epoch + 1,
                "loss": loss,
                "validation_loss": score.loss,
                "validation_dice": score.dice,
                "validation_noise": noise,
                "seconds": round(seconds, 2),
                "learning_rate": self.how.rate(epoch * self.how.steps),
                **self.report.columns(score),
            }
            self.history.append(row)
            if epoch == 0:
                self._say_what_is_missing(score)
            if self.ranks.first:
                self.kept.save(self.module, self.facts, self.choice)
        if self.ranks.first:
            self._save()
            with self.average.shown():
                self.report.epoch(self.choice, ended=epoch + 1 == self.how.epochs or self._finished())
        self.ranks.wait()

    def _say_what_is_missing(self, score: Score) -> None:
        features = self.facts.features[-len(score.truth) :] if score.truth else ()
        missing = [repr(name) for name, voxels in zip(features, score.truth, strict=True) if not voxels]
        if self.choice.blind:
            what = ", ".join(missing) or "a target"
            self.report.say(
                f"No sample for validation holds {what}: its loss says nothing. The last epoch becomes the model, and "
                "nothing stops early. Give samples with use: validate, or another --validation-share."
            )
        elif missing:
            self.report.say(
                f"No sample for validation holds {', '.join(missing)}; the others decide which epoch is the best."
            )

    def _answered(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Input, logits and labels of a sample, each a batch of one."""
        self.module.eval()
        images, labels, _ = self._batch([sample]).to(self.device)
        with torch.inference_mode():
            return images, self._logits(images), labels

    # -- state -------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        parts: State = {"module": self.module.state_dict(), "optimiser": self.descent.state()}
        parts |= {"average": self.average.state(), "lowest": self.validation.state()}
        if self.adversary is not None:
            parts |= self.adversary.state()
        save_state(self.folder, parts, self.history, self.facts.to_json())

    def _resume(self) -> None:
        found = load_state(self.folder, self.facts.to_json())
        if found is None:
            return
        parts, self.history = found
        missing = self.kept.missing(self.choice)
        if missing is not None:
            self.report.say(f"{missing} is missing, or is another model: the training begins anew.")
            self.history = []
            return
        self.module.load_state_dict(parts["module"])
        self.descent.load(parts.get("optimiser", {}))
        self.average.load(parts.get("average", {}))
        self.validation.load(parts.get("lowest", {}))
        if self.adversary is not None:
            self.adversary.load(parts)
