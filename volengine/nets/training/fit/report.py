"""What a fit shows of itself: a curve of its losses, a picture of validation patches, numbers for TensorBoard."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import write_atomic
from volengine.core.errors import require
from volengine.nets.training.fit.state import Row
from volengine.ops.pictures import BLUE, GREEN, ORANGE, Colour, Picture, grey, outline, overlay, side_by_side, window_of

CURVES: tuple[tuple[str, Colour], ...] = (("loss", BLUE), ("validation_loss", ORANGE), ("validation_dice", GREEN))
WIDTH, HEIGHT, MARGIN = 720, 360, 48
PATCHES, PATCH_PIXELS = 6, 192

Look = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]
"""One slice of a patch: image (y, x), prediction of one feature (y, x; 0 to 1), its labels (y, x); of a regression the
answers and the target, any numbers."""


def curve(history: Sequence[Row]) -> Picture:
    """Losses (left scale, from 0) and Dice (right scale, 0 to 1) over the epochs, (360, 720, 3)."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    right, bottom = WIDTH - MARGIN, HEIGHT - MARGIN
    losses = [row[name] for row in history for name, _ in CURVES[:2] if math.isfinite(row[name])]
    top = max([*losses, 1e-9])
    draw.rectangle((MARGIN, MARGIN, right, bottom), outline="black")
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - MARGIN)
        draw.text((4, y - 6), f"{share * top:.3g}", fill="black")
        draw.text((right + 6, y - 6), f"{share:g}", fill=CURVES[2][1])
    draw.text((MARGIN, bottom + 8), "epoch 1", fill="black")
    draw.text((right - 24, bottom + 8), str(len(history)), fill="black")
    for number, (name, colour) in enumerate(CURVES):
        draw.text((MARGIN + 140 * number, 16), name.replace("_", " "), fill=colour)
        scale = 1.0 if name.endswith("dice") else top
        wide = (right - MARGIN) / max(1, len(history) - 1)
        points = [
            (MARGIN + k * wide, bottom - row[name] / scale * (bottom - MARGIN))
            for k, row in enumerate(history)
            if math.isfinite(row[name])
        ]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        for x, y in points[:: max(1, len(points) // 60)]:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    return np.asarray(picture, np.uint8)


def patches(looks: Sequence[Look]) -> Picture:
    """Above: slices with the truth outlined (green), ignored parts tinted; below: the prediction (orange)."""
    above, below = [], []
    for image, prediction, labels in looks:
        scale = max(1, PATCH_PIXELS // max(image.shape))
        base = grey(image, window_of(image), scale)
        above.append(outline(overlay(base, labels == 2, BLUE, 0.4), labels == 1, GREEN))
        below.append(overlay(base, prediction, ORANGE, 0.8))
    return _below([above, below])


def answers(looks: Sequence[Look]) -> Picture:
    """Of a regression, from above: slices, the answers, the targets; the last two in the same greys, nan tinted."""
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


def write_png(path: Path, picture: Picture) -> None:
    """A picture as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    write_atomic(path, buffer.getvalue())


def tensorboard_writer(folder: Path) -> Any:
    """Where TensorBoard's numbers go.

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
