"""Reports of a fit: a plot of its losses, a picture of validation patches, numbers for TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.colours import colour_of
from volengine.core.errors import require
from volengine.nets.training.fit.state import Row
from volengine.ops.figures import hexadecimal, style
from volengine.ops.pictures import BLUE, GREEN, ORANGE, Picture, grey, outline, overlay, side_by_side, window_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "Loss": {"loss": ("training", colour_of(0)), "validation_loss": ("validation", colour_of(1))},
    "Dice coefficient": {"validation_dice": ("validation", colour_of(1))},
}
"""For each axis, by its title, the columns of the history with their legend and colour."""
MARKED = 60
"""A curve of at most this many epochs has a dot for each."""
PATCHES, PATCH_PIXELS = 6, 192

Look = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]
"""One slice of a patch: image (y, x), prediction of one feature (y, x; 0 to 1), its labels (y, x). For a regression
prediction and labels are any numbers."""


@style()
def curve(history: Sequence[Row]) -> Figure:
    """Plot the losses over the epochs, from 0 if none is negative, and below them the Dice coefficient, if any."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    known = {name: [(r["epoch"], r[name]) for r in history if math.isfinite(r[name])] for name in history[0]}
    panels = {
        title: found for title, names in PANELS.items() if (found := {n: k for n, k in names.items() if known[n]})
    }
    figure = Figure((5.6, 2.0 * len(panels) + 0.4))
    every = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (title, curves) in zip(every, panels.items(), strict=True):
        for name, (text, colour) in curves.items():
            line = "-o" if len(known[name]) <= MARKED else "-"
            axes.plot(*zip(*known[name], strict=True), line, color=hexadecimal(colour), label=text, clip_on=False)
        values = [value for name in curves for _, value in known[name]]
        if min(values) >= 0:
            axes.set_ylim(0, 1 if title.startswith("Dice") else 1.05 * max(values) or 1)
        axes.set_ylabel(title)
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside right upper")
    every[-1].set_xlim(0, history[-1]["epoch"])
    every[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    every[-1].set_xlabel("Epoch")
    return figure


def patches(looks: Sequence[Look]) -> Picture:
    """Slices in two rows: with the truth outlined (green) and ignored parts tinted; with the prediction (orange)."""
    above, below = [], []
    for image, prediction, labels in looks:
        scale = max(1, PATCH_PIXELS // max(image.shape))
        base = grey(image, window_of(image), scale)
        above.append(outline(overlay(base, labels == 2, BLUE, 0.4), labels == 1, GREEN))
        below.append(overlay(base, prediction, ORANGE, 0.8))
    return _below([above, below])


def answers(looks: Sequence[Look]) -> Picture:
    """For a regression, rows of slices, predictions and targets; the last two in the same greys, NaN tinted."""
    rows: list[list[Picture]] = [[], [], []]
    for image, answer, target in looks:
        scale = max(1, PATCH_PIXELS // max(image.shape))
        unknown = ~np.isfinite(target)
        window = window_of(answer if unknown.all() else target[~unknown])
        known = np.where(unknown, window[0], target)
        rows[0].append(grey(image, window_of(image), scale))
        rows[1].append(grey(answer, window, scale))
        rows[2].append(overlay(grey(known, window, scale), unknown, BLUE, 0.4))
    return _below(rows)


def _below(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Rows of pictures, one below the other, with white gaps."""
    wide = [side_by_side(row) for row in rows]
    gap = np.full((6, wide[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for row in wide for part in (gap, row)][1:])


def tensorboard_writer(folder: Path) -> Any:
    """Open a writer for TensorBoard.

    Raises
    ------
    DependencyError
        The package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise require("tensorboard", "tensorboard", "The log for TensorBoard") from error
    return SummaryWriter(str(folder))
