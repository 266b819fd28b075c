"""What a training tells while it runs: lines on the terminal and in its log, pictures, its page, TensorBoard.

Reports never end a training: what cannot be written is said once, and written the next time if that is possible.
Pictures and page are drawn after the first and the last epoch, and in between at most every :data:`SHOW_EVERY_S`
seconds, and so rarely that they take at most a twentieth of the time.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from volengine.core.atomic import write_atomic
from volengine.core.errors import VolengineError
from volengine.core.model import ModelFacts
from volengine.nets.training.fit.account import Account, Page, Seen
from volengine.nets.training.fit.choice import Choice
from volengine.nets.training.fit.cuts import holding
from volengine.nets.training.fit.logfile import NAME, TrainingLog, device_text, weights_of
from volengine.nets.training.fit.pictures import Answer, Pictures
from volengine.nets.training.fit.progress import Steps, say
from volengine.nets.training.fit.recipe import FitRecipe
from volengine.nets.training.fit.report import column, curve, sheet, tensorboard_writer
from volengine.nets.training.fit.state import Row
from volengine.nets.training.losses.combined import Objective
from volengine.nets.training.losses.pooled import Score
from volengine.ops.figures import figure_files
from volengine.ops.pictures import png

T = TypeVar("T")

SHOW_EVERY_S = 5.0
"""Pictures and page are drawn at most this often, but for the first and the last epoch."""
SHARE = 20
"""After pictures and page were drawn, this many times as long passes until they are drawn again."""


class Reporter:
    """Tells what a training does.

    Parameters
    ----------
    folder
        Folder of the fit.
    module, facts, how
        The network, its facts and the recipe of the fit.
    validation
        The samples for validation.
    answer
        Function that applies the network to a sample, for the pictures.
    device
        Device of the computation.
    first
        Whether this process writes files and speaks; the others of ``torchrun`` do not.
    notes
        Lines about the data, for log and page.
    page
        Function that writes the page of the training.
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        facts: ModelFacts,
        how: FitRecipe,
        validation: Sequence[Any],
        answer: Answer,
        device: torch.device,
        *,
        first: bool = True,
        notes: Sequence[str] = (),
        page: Page | None = None,
    ):
        objective = Objective(how.terms)
        self.folder, self.module, self.facts, self.how, self.device = folder, module, facts, how, device
        self.features = tuple(facts.features[1:] if objective.exclusive else facts.features)
        self.first, self.notes = first, list(notes)
        self.log = TrainingLog(folder / NAME if first else None, self._warn)
        kinds = {"exclusive": objective.exclusive, "regression": objective.regression}
        self.pictures = Pictures(validation, self.features, answer, **kinds)
        self._page = page
        self._speaks = self._begun = False
        self._steps: Steps | None = None
        self._drawn = Seen()
        self._shown_s, self._wait_s = -math.inf, 0.0
        self._cpu_s = self._clock_s = 0.0
        self._warned: set[str] = set()
        self._tensorboard = tensorboard_writer(folder / "tensorboard") if how.tensorboard and first else None

    # -- lines -----------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Say something to the user, in the log, and on the page."""
        self.log(text)
        self.notes.append(text)
        self._warn(text)

    def _warn(self, text: str) -> None:
        if self._speaks:
            say(text)

    @contextmanager
    def run(self, *, progress: bool) -> Iterator[None]:
        """The time of a run; an error that ends it is logged. With ``progress`` it speaks on the terminal."""
        self._speaks = progress and self.first
        try:
            yield
        except BaseException as error:
            if self._begun:  # before, the folder may be that of another training
                asked = isinstance(error, KeyboardInterrupt)
                self.log("stopped; the same command goes on" if asked else f"ended by {type(error).__name__}: {error}")
            raise
        finally:
            if self._tensorboard is not None:
                self._tensorboard.close()

    def begin(self, history: Sequence[Row]) -> None:
        """Log what is trained, after these epochs of earlier runs."""
        self._begun = True
        self.log.header(self.module, self.facts, self.device, history)
        for note in self.notes:
            self.log(note)
        self._cpu_s, self._clock_s = time.process_time(), time.perf_counter()

    def end(self, choice: Choice) -> None:
        """Log that the training is finished."""
        kept = 0 if choice.kept is None else choice.kept
        self.log(f"finished after {len(choice.history)} epochs; the model is epoch {kept + 1} ({choice.reason})")

    def steps(self, done: int) -> Steps:
        """The bar of the run, after this many steps of earlier runs."""
        self._steps = Steps(self.how.epochs, self.how.steps, done, show=self._speaks, log=self.log)
        return self._steps

    def validating(self, samples: Sequence[T]) -> Iterator[T]:
        """The same samples one after another, with a line now and then."""
        return iter(samples) if self._steps is None else self._steps.validating(samples)

    def drew(self, labels: torch.Tensor) -> None:
        """Note what is in the samples of a step, from their labels (n, features, [z,] y, x)."""
        if not self.first or self.pictures.regression:
            return
        patches = labels.cpu().reshape(*labels.shape[:2], -1, *labels.shape[-2:]).numpy()
        held = [holding(patch) for patch in patches]
        own = Seen.of(held, len(held))
        self._drawn = Seen(
            self._drawn.patches + own.patches,
            *(
                tuple(map(sum, zip(a or (0,) * len(b), b, strict=True)))
                for a, b in ((self._drawn.truth, own.truth), (self._drawn.counted, own.counted))
            ),
        )

    # -- an epoch --------------------------------------------------------------------------------------------------

    def columns(self, score: Score) -> Row:
        """The columns of the history with Dice, precision and recall of each feature."""
        shares = score.shares()
        return {
            column(what, feature): value
            for what, values in shares.items()
            for feature, value in zip(self.features, values, strict=bool(values))
        }

    def epoch(self, choice: Choice, *, ended: bool) -> None:
        """Tell of the epoch that has just ended, the last one of the history."""
        if not self.first:
            return
        self._log_epoch(choice)
        if self._tensorboard is not None:
            row = choice.history[-1]
            for name in ("loss", "validation_loss", "validation_dice"):
                self._tensorboard.add_scalar(name, row[name], int(row["epoch"]))
            self._tensorboard.flush()
        now = time.monotonic()
        if ended or now - self._shown_s > max(SHOW_EVERY_S, self._wait_s):
            self._show(choice, ended=ended)
            self._shown_s = time.monotonic()
            self._wait_s = SHARE * (self._shown_s - now)
        self._cpu_s, self._clock_s = time.process_time(), time.perf_counter()

    def _log_epoch(self, choice: Choice) -> None:
        row, cpu, clock = choice.history[-1], time.process_time(), time.perf_counter()
        parts = [f"loss {row['loss']:.4f}"]
        if math.isfinite(row["validation_loss"]):
            parts.append(f"validation loss {row['validation_loss']:.4f}")
        if math.isfinite(row["validation_dice"]):
            each = [(f, row.get(column("dice", f), math.nan)) for f in self.features]
            shown = ", ".join(f"{f} {value:.3f}" for f, value in each)
            parts.append(f"Dice {row['validation_dice']:.3f}" + (f" ({shown})" if len(each) > 1 else ""))
        parts.append(f"learning rate {row['learning_rate']:.3g}")
        parts.append(f"{row['seconds']:.1f} s, with validation {clock - self._clock_s:.1f} s")
        parts.append(f"CPU {cpu - self._cpu_s:.1f} s")
        if choice.kept == len(choice.history) - 1:
            parts.append("becomes the model")
        self.log(f"epoch {row['epoch']:.0f}/{self.how.epochs}: {', '.join(parts)}")

    def _show(self, choice: Choice, *, ended: bool) -> None:
        """Draw the curve and some validation patches, and write the page."""
        looks = self.pictures.looks()  # reads samples: what fails here is no matter of reports
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a feature's name in another script
            plot = curve(choice.history, self.features, choice.kept if len(choice.history) > 1 else None)
            files = figure_files(plot)
        with self._tolerant("The plot"):
            for kind, content in files.items():
                write_atomic(self.folder / f"curve.{kind}", content)
        drawn = [(look.text, self.pictures.panels(look)) for look in looks]
        if drawn:
            with self._tolerant("The picture of validation patches"):
                write_atomic(self.folder / "validation.png", png(sheet([panels for _, panels in drawn])))
        if self._page is not None:
            rows = ("slice", "prediction", "target") if self.pictures.regression else ("truth", "prediction")
            with self._tolerant("The page"):
                self._page(
                    Account(
                        history=choice.history,
                        choice=choice,
                        facts=self.facts,
                        how=self.how,
                        features=self.features,
                        weights=weights_of(self.module),
                        device=device_text(self.device),
                        ended=ended,
                        curve=files["svg"],
                        looks=drawn,
                        rows=rows,
                        seen=Seen.of(self.pictures.held, len(self.pictures.validation)),
                        drawn=self._drawn,
                        notes=tuple(dict.fromkeys(self.notes)),
                    )
                )

    @contextmanager
    def _tolerant(self, what: str) -> Iterator[None]:
        """Say that a report cannot be written, once, and go on."""
        try:
            yield
        except (OSError, UnicodeError, VolengineError) as error:  # a file's name may be no Unicode
            text = f"{what} of the training cannot be written ({error}); the training goes on."
            self.log(text)
            if what not in self._warned:
                self._warned.add(what)
                self._warn(text)
