"""The validation of an epoch: loss and Dice of all samples together, and how sure its distance to the lowest loss is.

The sums of each sample are kept for the epoch with the lowest loss, so that every later epoch is compared with it
sample by sample (:meth:`volengine.nets.training.losses.pooled.Pool.noise`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from volengine.core.errors import VolengineError
from volengine.nets.training.fit.batch import Sample
from volengine.nets.training.fit.ranks import Ranks
from volengine.nets.training.losses.pooled import Pool, Score, Sums


class Validation:
    """The samples for validation.

    Parameters
    ----------
    samples
        Fixed samples; there may be none.
    pool
        The losses over all of them.
    ranks
        The processes that share the work.
    advice
        Function that adds to the text of an error what to do.
    """

    def __init__(self, samples: Sequence[Sample], pool: Pool, ranks: Ranks, advice: Callable[[str], str]):
        self.samples = samples
        self.pool = pool
        self.ranks = ranks
        self.advice = advice
        self._lowest: list[list[Sums]] = []

    def judge(
        self,
        sums: Callable[[Sample], list[Sums]],
        epoch: int,
        going: Callable[[Sequence[int]], Iterable[int]] = lambda numbers: numbers,
    ) -> tuple[Score, float]:
        """Validate a network.

        Parameters
        ----------
        sums
            Function that gives the sums of a sample.
        epoch
            Number of the epoch, for messages.
        going
            Function that gives the numbers of the samples again, and shows how far it is.

        Returns
        -------
        Loss and Dice over the samples together: NaN without samples, Dice also for a regression. And the standard error
        of the difference between this loss and the lowest one so far: 0 if this is the lowest, NaN if it is not known.

        Raises
        ------
        VolengineError
            The network answers with numbers that are infinite or NaN.
        """
        if not len(self.samples):
            return Score(math.nan, math.nan, []), math.nan
        mine = range(self.ranks.rank, len(self.samples), self.ranks.world)
        rows = sorted(self.ranks.objects([(k, sums(self.samples[k])) for k in going(mine)]), key=lambda row: row[0])
        bad = next((k for k, each in rows if not all(np.isfinite(part).all() for part in each)), None)
        if bad is not None:
            text = f"Epoch {epoch}: the loss of validation patch {bad + 1} is NaN or infinite."
            raise VolengineError(self.advice(text))
        found = [each for _, each in rows]
        score = self.pool.score(found)
        if not math.isfinite(score.loss):
            return score, math.nan
        if not self._lowest or score.loss < self.pool.score(self._lowest).loss:
            self._lowest = found
            return score, 0.0
        return score, self.pool.noise(found, self._lowest)

    def state(self) -> dict[str, torch.Tensor]:
        """The sums of the epoch with the lowest loss, for each of its sums (samples, sums, features)."""
        return {str(k): torch.from_numpy(np.stack(part)) for k, part in enumerate(zip(*self._lowest, strict=True))}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Restore a state of :meth:`state`."""
        parts = [state[str(k)].numpy() for k in range(len(state))]
        self._lowest = [list(each) for each in zip(*parts, strict=True)]
