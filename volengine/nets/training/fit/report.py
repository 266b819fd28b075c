"""Drawings of a fit: a plot of its losses, pictures of validation patches, numbers for TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.colours import colour_of
from volengine.core.errors import require
from volengine.core.feature_colours import colour_of_feature
from volengine.nets.training.fit.state import Row
from volengine.ops.figures import hexadecimal, style
from volengine.ops.pictures import BLUE, GREEN, ORANGE, Colour, Picture, grey, outline, overlay, side_by_side, window_of
from volengine.ops.score_masks import FEATURE, IGNORE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = dict[str, tuple[str, Colour]]
"""Columns of the history, each with its legend and colour."""

LOSS: Curves = {"loss": ("training", colour_of(0)), "validation_loss": ("validation", colour_of(1))}
DICE: Curves = {"validation_dice": ("validation", colour_of(1))}
RATE: Curves = {"learning_rate": ("", colour_of(2))}
TOGETHER: Colour = (70, 70, 70)
"""Colour of what concerns all features, where each has its own."""
MARKED = 60
"""A curve of at most this many epochs has a dot for each."""
MOST_CURVES = 10
"""Of more features than this, only the Dice of all together is drawn."""
IN_A_ROW, PATCH_PIXELS = 6, 192
IGNORED: Colour = (255, 60, 200)
"""Colour of what does not count, where several features have their own colours; else it is blue."""
BRIGHT = 110
"""Least brightness (0 to 255) of a feature's colour in a picture."""


@dataclass(frozen=True, eq=False)
class Look:
    """One slice of a patch.

    Parameters
    ----------
    image
        The slice, (y, x) float32.
    answer
        Prediction of each feature, (features, y, x), 0 to 1; of a regression any numbers.
    truth
        Labels of each feature, (features, y, x): 0, 1 or 2 (ignore); of a regression numbers, NaN where unknown.
    text
        What it is.
    """

    image: NDArray[np.float32]
    answer: NDArray[np.float32]
    truth: NDArray[Any]
    text: str = ""


def column(what: str, feature: str) -> str:
    """The name of the history's column with ``dice``, ``precision`` or ``recall`` of a feature.

    >>> column("dice", "shell")
    'validation_dice_shell'
    """
    return f"validation_{what}_{feature}"


def panels_of(features: Sequence[str]) -> dict[str, Curves]:
    """For each panel of the plot, by its title, the columns of the history that it shows."""
    dice = dict(DICE)
    if 1 < len(features) <= MOST_CURVES:
        dice["validation_dice"] = ("all", TOGETHER)
        dice |= {column("dice", f): (f, mark) for f, (mark, _) in zip(features, colours(features), strict=True)}
    return {"Loss": LOSS, "Dice coefficient": dice, "Learning rate": RATE}


@style()
def curve(history: Sequence[Row], features: Sequence[str] = (), model: int | None = None) -> Figure:
    """Plot the losses over the epochs, and below them the Dice coefficients and the learning rate, if there are any.

    Parameters
    ----------
    history
        One row per epoch.
    features
        Names of the features; of several each has a curve of its Dice.
    model
        Index of the epoch that becomes the model; a line marks it.

    Returns
    -------
    Figure
        An axis begins at 0 if none of its values is negative; that of Dice ends at 1.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    known: dict[str, list[tuple[float, float]]] = {}
    for row in history:
        for name, value in row.items():
            if math.isfinite(value):
                known.setdefault(name, []).append((row["epoch"], value))
    panels = {
        title: found
        for title, names in panels_of(features).items()
        if (found := {n: names[n] for n in names if n in known})
    }
    figure = Figure((5.6, 1.7 * len(panels) + 0.4))
    every = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (title, curves) in zip(every, panels.items(), strict=True):
        for name, (text, colour) in curves.items():
            line = "-o" if len(known[name]) <= MARKED else "-"
            label = f" {text}" if text.startswith("_") else text  # else matplotlib would leave it out
            look = {"color": hexadecimal(colour), "label": label, "clip_on": False}
            axes.plot(*zip(*known[name], strict=True), line, **look)
        values = [value for name in curves for _, value in known[name]]
        if min(values) >= 0:
            axes.set_ylim(0, 1 if title.startswith("Dice") else 1.05 * max(values) or 1)
        if model is not None:
            axes.axvline(history[model]["epoch"], color="0.6", linestyle="--", linewidth=0.8, zorder=0)
        if any(text for text, _ in curves.values()) and (title == "Loss" or len(curves) > 1):
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set_ylabel(title)
    every[-1].set_xlim(0, history[-1]["epoch"])
    every[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    every[-1].set_xlabel("Epoch" if model is None else f"Epoch (dashed: the model, {history[model]['epoch']:.0f})")
    return figure


# -- pictures ------------------------------------------------------------------------------------------------------


def colours(features: Sequence[str]) -> list[tuple[Colour, Colour]]:
    """The colours of each feature's truth and of its prediction.

    One feature: green and orange. Several: both have the feature's own colour, made lighter if it is dark; if two
    features have the same one, all have those of the palette.
    """
    if len(features) == 1:
        return [(GREEN, ORANGE)]
    own = [colour_of_feature(name) for name in features]
    if len({*own}) < len(own):
        own = [colour_of(k) for k in range(len(features))]
    return [(colour, colour) for colour in map(_bright, own)]


def ignored(features: Sequence[str]) -> Colour:
    """The colour of what does not count."""
    return BLUE if len(features) == 1 else IGNORED


def _bright(colour: Colour) -> Colour:
    """The colour, mixed with white if it is too dark to be seen on a slice."""
    dark = max(0.0, BRIGHT - sum(colour) / 3) / BRIGHT
    red, green, blue = (round(part + (255 - part) * dark) for part in colour)
    return red, green, blue


def panels(look: Look, features: Sequence[str]) -> list[Picture]:
    """Two pictures: the truth outlined, parts tinted that count for no feature; and the predictions as tints."""
    base = _base(look)
    above, below = overlay(base, (look.truth == IGNORE).all(0), ignored(features), 0.4), base
    for (mark, tint), truth, answer in zip(colours(features), look.truth, look.answer, strict=True):
        above = outline(above, truth == FEATURE, mark, width=max(1, base.shape[0] // look.image.shape[0] // 3))
        below = overlay(below, answer, tint, 0.8)
    return [above, below]


def numbers_panels(look: Look) -> list[Picture]:
    """Three pictures of a regression: slice, prediction and target, the last two in the same greys; NaN is tinted."""
    answer, target = look.answer[0], look.truth[0]
    scale = max(1, PATCH_PIXELS // max(look.image.shape))
    unknown = ~np.isfinite(target)
    window = window_of(answer if unknown.all() else target[~unknown])
    known = np.where(unknown, window[0], target)
    tinted = overlay(grey(known, window, scale), unknown, BLUE, 0.4)
    return [_base(look), grey(answer, window, scale), tinted]


def _base(look: Look) -> Picture:
    return grey(look.image, window_of(look.image), max(1, PATCH_PIXELS // max(look.image.shape)))


def sheet(columns: Sequence[Sequence[Picture]]) -> Picture:
    """Columns of pictures side by side, at most :data:`IN_A_ROW`, the others below them; with white gaps."""
    bands = [columns[k : k + IN_A_ROW] for k in range(0, len(columns), IN_A_ROW)]
    wide = [side_by_side(row) for band in bands for row in zip(*band, strict=True)]
    width = max(row.shape[1] for row in wide)
    gap = np.full((6, width, 3), 255, np.uint8)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in wide]
    return np.concatenate([part for row in filled for part in (gap, row)][1:])


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
