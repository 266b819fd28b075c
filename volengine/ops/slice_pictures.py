"""Pictures of slices with a scale bar, rings, lines and a key, as PNG or SVG.

>>> import numpy as np
>>> ring = Rings(np.array([[40.0, 60.0]]), np.array([9.0]))
>>> panel = Panel(np.full((80, 120, 3), 90, np.uint8), "z = 40", rings=(ring,))
>>> figure = compose([panel], nm_per_pixel=0.5)
>>> picture_file(figure, "png")[:4]
b'\\x89PNG'

The raster below is drawn pixel by pixel as it is given; rings, lines and texts are vectors, which SVG keeps. Places are
pixels y, x of the panel's raster; the centre of the first pixel is at (0, 0). The same input gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.ops.figures import hexadecimal, style
from volengine.ops.pictures import Colour, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

PER_INCH = 72
"""Pixels per inch: at 72 a pixel of the raster is one unit of the SVG."""
GAP, CAPTION, KEY = 10, 22, 24
"""Pixels between panels; heights of the caption above a panel, and of a line of the key below."""
LETTER, TEXT = 8.5, 13
"""Pixels that a letter of the key takes, with some air; size of texts."""
BAR_SHARE = 0.3
"""Largest length of the scale bar, of the width of the narrowest panel."""
STEPS = (1, 2, 5)
"""First digits of the lengths of scale bars."""


@dataclass(frozen=True, eq=False)
class Rings:
    """Circles of one colour.

    Parameters
    ----------
    places
        (n, 2) centres y, x, pixels.
    radii
        (n,) pixels.
    colour
        Red, green, blue, 0 to 255.
    """

    places: Floats
    radii: Floats
    colour: Colour = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Lines:
    """Straight pieces of one colour.

    Parameters
    ----------
    pieces
        (n, 2, 2): of each piece both ends, y, x, pixels.
    colour
        Red, green, blue, 0 to 255.
    """

    pieces: Floats
    colour: Colour = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice of a picture.

    Parameters
    ----------
    raster
        RGB (y, x, 3), uint8.
    caption
        The text above it; "": none.
    rings, lines
        What is drawn over the raster.
    """

    raster: Picture
    caption: str = ""
    rings: Sequence[Rings] = ()
    lines: Sequence[Lines] = ()


def bar_length(width: float, nm_per_pixel: float) -> float:
    """Return the length of a scale bar, nm: the largest 1, 2 or 5 times a power of ten that fits in 0.3 of the width.

    >>> bar_length(500, 1.0), bar_length(500, 0.05)
    (100.0, 5.0)
    """
    most = BAR_SHARE * width * nm_per_pixel
    tens = 10.0 ** np.floor(np.log10(most))
    return float(max(step * tens for step in STEPS if step * tens <= most * (1 + 1e-9)))


def compose(
    panels: Sequence[Panel],
    nm_per_pixel: float,
    *,
    key: Sequence[tuple[str, Colour]] = (),
    scale_bar: bool = True,
) -> Figure:
    """Put panels side by side, with captions above and a key below.

    A panel that is not wider than the one before it stands below it, if both are not higher than the highest panel.

    Parameters
    ----------
    panels
        At least one.
    nm_per_pixel
        Width of a pixel of all panels.
    key
        Names and colours of what is drawn over the slices.
    scale_bar
        Draw a scale bar into the first panel.

    Returns
    -------
    Figure
        Its size in pixels at 72 per inch is that of the picture; see :func:`picture_file`.
    """
    with style():
        return _composed(panels, nm_per_pixel, key, scale_bar)


def _composed(panels: Sequence[Panel], nm_per_pixel: float, key: Sequence[tuple[str, Colour]], bar: bool) -> Figure:
    from matplotlib.figure import Figure

    corners = _corners(panels)
    width = max(left + panel.raster.shape[1] for (_, left), panel in zip(corners, panels, strict=True))
    rows = _rows(key, width)
    height = max(top + panel.raster.shape[0] for (top, _), panel in zip(corners, panels, strict=True))
    height += KEY * len(rows)
    figure = Figure((width / PER_INCH, height / PER_INCH), dpi=PER_INCH)
    figure.set_layout_engine("none")
    for number, ((top, left), panel) in enumerate(zip(corners, panels, strict=True)):
        tall, wide = panel.raster.shape[:2]
        figure.figimage(panel.raster, left, height - top - tall, origin="upper", zorder=-1)
        inside = _axes(figure, (left, top, wide, tall), (width, height))
        _draw(inside, panel)
        if panel.caption:
            figure.text(left / width, 1 - (top - 6) / height, panel.caption, fontsize=TEXT)
        if bar and number == 0:
            _scale_bar(inside, panel.raster.shape, min(p.raster.shape[1] for p in panels), nm_per_pixel)
    whole = _axes(figure, (0, 0, width, height), (width, height))
    for line, row in enumerate(rows):
        y = height - KEY * (len(rows) - line) + KEY / 2
        for x, name, colour in row:
            whole.plot([x + 5], [y], "s", color=hexadecimal(colour), markersize=10, markeredgecolor="0.4")
            whole.text(x + 14, y, name, fontsize=TEXT, verticalalignment="center")
    return figure


def _corners(panels: Sequence[Panel]) -> list[tuple[int, int]]:
    """Where the raster of each panel begins: top and left, pixels."""
    caption = CAPTION if any(panel.caption for panel in panels) else 0
    highest = caption + max(panel.raster.shape[0] for panel in panels)
    found: list[tuple[int, int]] = []
    left = bottom = column = 0
    for number, panel in enumerate(panels):
        tall, wide = panel.raster.shape[:2]
        below = bottom + GAP + caption
        if number and wide <= column and below + tall <= highest:
            top = below
        else:
            left += column + GAP if number else 0
            top, column = caption, wide
        found.append((top, left))
        bottom = top + tall
    return found


def _rows(key: Sequence[tuple[str, Colour]], width: float) -> list[list[tuple[float, str, Colour]]]:
    """Where each name of the key stands, row by row."""
    rows: list[list[tuple[float, str, Colour]]] = []
    x = 0.0
    for name, colour in key:
        needs = 30 + LETTER * len(name)
        if not rows or (x + needs > width and rows[-1]):
            rows.append([])
            x = 0.0
        rows[-1].append((x, name, colour))
        x += needs
    return rows


def _axes(figure: Figure, at: tuple[float, float, float, float], size: tuple[float, float]) -> Axes:
    """Axes over a rectangle (left, top, width, height), whose units are pixels; y goes down."""
    (left, top, wide, tall), (width, height) = at, size
    axes = figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
    axes.set_xlim(-0.5, wide - 0.5)
    axes.set_ylim(tall - 0.5, -0.5)
    axes.axis("off")
    return axes


def _draw(axes: Axes, panel: Panel) -> None:
    from matplotlib.collections import EllipseCollection, LineCollection

    for lines in panel.lines:
        pieces, colour = list(lines.pieces[..., ::-1]), hexadecimal(lines.colour)
        axes.add_collection(LineCollection(pieces, colors=colour, linewidths=1.7, capstyle="round"), autolim=False)
    for rings in panel.rings:
        look: dict[str, Any] = {"units": "x", "offsets": rings.places[:, ::-1], "offset_transform": axes.transData}
        for edge, width in (("white", 2.8), (hexadecimal(rings.colour), 1.7)):  # to be seen on any grey
            axes.add_collection(
                EllipseCollection(
                    2 * rings.radii,
                    2 * rings.radii,
                    np.zeros(len(rings.radii)),
                    facecolors="none",
                    edgecolors=edge,
                    linewidths=width,
                    **look,
                ),
                autolim=False,
            )


def _scale_bar(axes: Axes, shape: Sequence[int], narrowest: int, nm_per_pixel: float) -> None:
    """A white bar with a black rim at the lower left, and its length above it."""
    from matplotlib.patches import Rectangle

    tall, wide = shape[:2]
    if min(tall, wide) < 40:
        return
    nm = bar_length(narrowest, nm_per_pixel)
    x, y = 0.03 * wide, tall - 0.03 * tall - 4
    axes.add_patch(Rectangle((x, y - 4), nm / nm_per_pixel, 4, facecolor="white", edgecolor="black", linewidth=0.8))
    text = f"{nm / 1000:g} µm" if nm >= 1000 else f"{nm:g} nm"
    behind = {"facecolor": "black", "alpha": 0.5, "edgecolor": "none", "pad": 2}
    axes.text(x, y - 8, text, color="white", fontsize=TEXT, verticalalignment="bottom", bbox=behind)


def picture_file(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return the contents of a PNG or SVG file of a figure of :func:`compose`; one pixel of a raster is one unit."""
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with style():
        figure.savefig(buffer, format=kind, dpi=PER_INCH, metadata=metadata)
    return buffer.getvalue()


def picture_of(figure: Figure) -> Picture:
    """Return a figure of :func:`compose` as a raster, (y, x, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
