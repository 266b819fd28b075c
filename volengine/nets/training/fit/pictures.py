"""Slices of validation patches with their truth and what the network answers, the same slices in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch

from volengine.nets.training.fit import cuts
from volengine.nets.training.fit.cuts import Cut, Holding
from volengine.nets.training.fit.report import Look, numbers_panels, panels
from volengine.ops.pictures import Picture
from volengine.ops.score_masks import FEATURE

Answer = Callable[[Any], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""From a sample to the network's input, its logits and the labels; each is a batch of one."""


class Pictures:
    """Draws what a network answers for some validation patches.

    Parameters
    ----------
    validation
        The samples for validation.
    features
        Names of the features, without a background.
    answer
        Function that applies the network to a sample.
    exclusive, regression
        Whether the features exclude each other (the first channel is then the background), and whether the labels are
        numbers.
    """

    def __init__(
        self,
        validation: Sequence[Any],
        features: Sequence[str],
        answer: Answer,
        *,
        exclusive: bool = False,
        regression: bool = False,
    ):
        self.validation, self.features = validation, tuple(features)
        self.exclusive, self.regression = exclusive, regression
        self._answer = answer

    @cached_property
    def held(self) -> list[Holding]:
        """What each validation patch holds; nothing for a regression. All of them are read once, when it is asked."""
        return [] if self.regression else cuts.holdings(self.validation[k] for k in range(len(self.validation)))

    @cached_property
    def cuts(self) -> list[Cut]:
        """The slices that are shown; for a regression the middle ones (``z`` is -1) of evenly chosen patches."""
        if not self.regression:
            return cuts.choose(self.held, len(self.features))
        return [Cut(k, -1, "") for k in cuts.evenly(len(self.validation), cuts.MOST)]

    def looks(self) -> list[Look]:
        """The slices as the network answers now."""
        found: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, str]] = {}
        for cut in self.cuts:  # a patch may be shown twice
            if cut.number not in found:
                found[cut.number] = self._parts(self.validation[cut.number])
        return [self._look(cut, *found[cut.number]) for cut in self.cuts]

    def panels(self, look: Look) -> list[Picture]:
        """The pictures of a slice, to be shown one below the other."""
        return numbers_panels(look) if self.regression else panels(look, self.features)

    def _parts(self, sample: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, str]:
        """Input (slices, y, x), answers and truth (features, z, y, x) of a sample, and its data set."""
        images, logits, labels = self._answer(sample)
        shape, plane = (labels.shape[1], -1, *labels.shape[-2:]), (-1, *images.shape[-2:])
        if self.regression:
            scores = logits[0]
        else:
            scores = logits.softmax(1)[0, 1:] if self.exclusive else logits.sigmoid()[0]
        parts = images[0].reshape(plane), scores.reshape(shape), labels[0].reshape(shape)
        name = str(sample[2]) if len(sample) > 2 else ""
        return (*(part.cpu() for part in parts), name)  # type: ignore[return-value]

    def _look(self, cut: Cut, image: torch.Tensor, scores: torch.Tensor, truth: torch.Tensor, name: str) -> Look:
        depth = truth.shape[1]
        z = cut.z if 0 <= cut.z < depth else depth // 2
        at = z if len(image) == depth else len(image) // 2  # of the slices of a context the middle one is predicted
        where = (name or f"patch {cut.number + 1}") + (f", slice {z}" if depth > 1 else "")
        there = (
            []
            if self.regression
            else [f for f, t in zip(self.features, truth[:, z] == FEATURE, strict=True) if t.any()]
        )
        text = f"{where}: {', '.join(there)}" if there else where
        return Look(image[at].numpy(), scores[:, z].numpy(), truth[:, z].numpy(), text)
