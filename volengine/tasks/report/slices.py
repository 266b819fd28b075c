"""The slices of a page: the tomogram in grey, and what was found in it in layers over it that can be hidden."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import VolengineError
from volengine.core.slices import Slice
from volengine.core.tiling import AXES
from volengine.core.units import NM_TO_ANGSTROM
from volengine.io.open import OpenVolume
from volengine.ops.figures import hexadecimal
from volengine.ops.pictures import Colour, Picture
from volengine.ops.slice_pictures import Panel, bar_length
from volengine.tasks.picture.frame import Frame
from volengine.tasks.picture.overlays import Overlay, draw, open_overlay, rings_of
from volengine.tasks.picture.recipe import SMALLEST, LookRecipe
from volengine.tasks.picture.view import View
from volengine.tasks.report.description import MARKER
from volengine.tasks.report.meshes import LINE_BYTES, Line, Told, outlines

SIDE = 512
"""Units of the drawing along the longest side of a slice; a small volume has fewer pixels, which are enlarged."""
QUALITIES = (80, 60, 40, 25, 15)
"""Of WebP, 0 to 100: the best one with which the pictures are small enough is taken."""
SHRINK = 0.75
"""Factor by which pictures are made smaller that are too large with the lowest quality."""
MOST_RINGS = 250
"""Picks that are drawn in a slice, the heaviest first."""
THUMB_SIDE, THUMB_BYTES = 256, 12_000

LAYERS = ("predictions", "labels", "surfaces", "picks")


@dataclass(frozen=True)
class Ring:
    """A pick in a slice: its centre x, y and its radius in units of the drawing, and its colour."""

    x: float
    y: float
    radius: float
    colour: Colour


@dataclass(frozen=True, eq=False)
class Drawn:
    """A slice.

    Parameters
    ----------
    caption
        Its place in the volume.
    grey
        The volume, RGB (y, x, 3).
    layers
        Predictions and labels, RGBA (y, x, 4), by the name of the layer.
    rings
        The picks.
    left
        Number of picks that are not drawn, because there are too many.
    size
        Width and height in units of the drawing.
    bar, bar_nm
        Length of the scale bar in units of the drawing, and what it is; 0: there is none.
    lines, line_bytes
        The outlines of surfaces, and how many bytes of the page each may have.
    """

    caption: str
    grey: Picture
    layers: dict[str, NDArray[np.uint8]]
    rings: tuple[Ring, ...]
    left: int
    size: tuple[float, float]
    bar: float
    bar_nm: float
    lines: tuple[Line, ...] = ()
    line_bytes: int = LINE_BYTES


@dataclass(frozen=True)
class Found:
    """What was found: where it is, what it is, the radius of picks in nm."""

    path: str
    layer: str
    radius_nm: float = 10.0


class Slices:
    """A volume, and what was found in it, opened to be drawn.

    Parameters
    ----------
    source
        The volume.
    found
        What is drawn over it. What cannot be drawn is left out and named in ``notes``.
    slices, mean, pixels
        As of the recipe.
    tomogram
        Its name in tables of picks.
    """

    def __init__(
        self, source: str, found: Sequence[Found], slices: Sequence[str], *, mean: int, pixels: int, tomogram: str
    ):
        self.notes: list[str] = []
        recipe = LookRecipe(mean=mean, tomogram=tomogram, any_origin=True)
        self.view = View(source, recipe, self.notes)
        shape = self.view.volume.shape
        self.view.recipe = recipe.with_(pixels=max(SMALLEST, min(pixels, max(shape))))
        self.found: list[tuple[Found, Overlay]] = []
        self.missing: list[str] = []
        for one in found:
            kind = {"labels": "labels", "predictions": "probability"}.get(one.layer, "auto")
            try:
                overlay = open_overlay(one.path, 0, self.volume, recipe.with_(overlay_kind=kind), self.notes)
            except (VolengineError, OSError) as error:
                self.missing.append(f"{one.path}: {error}")
            else:
                self.found.append((one, overlay))
                self.view.overlays.append(overlay)
        self.slices = [Slice.parse(text) for text in slices]

    @property
    def volume(self) -> OpenVolume:
        """The volume below."""
        return self.view.volume

    def key(self) -> list[tuple[str, str, str]]:
        """Names, colours (``#rrggbb``, empty: each label has its own) and layers of what is drawn."""
        found = [(o.name, hexadecimal(o.colour) if o.colour else "", f.layer) for f, o in self.found]
        return list(dict.fromkeys(found))

    def draw(self) -> list[Drawn]:
        """Draw all slices, in the same scale and contrast."""
        frames = self.view.frames(self.slices)
        unit = SIDE / max(map(frame_side, frames))
        sets = [overlay for _, overlay in self.found if overlay.surfaces is not None]
        lines = [outlines(overlay, frames, unit, Told(self.missing, self.notes)) for overlay in sets]
        most = LINE_BYTES // max(1, len(frames) * len(sets))
        drawn = [
            replace(self._drawn(frame, raster, unit), lines=tuple(one[n] for one in lines), line_bytes=most)
            for n, (frame, raster) in enumerate(zip(frames, self.view.rasters(frames), strict=True))
        ]
        self.view.check()
        return drawn

    def _drawn(self, frame: Frame, raster: Picture, unit: float) -> Drawn:
        layers = {}
        for layer in LAYERS[:2]:
            overlays = [overlay for one, overlay in self.found if one.layer == layer]
            if (picture := self._layer(frame, overlays, raster.shape[:2])) is not None:
                layers[layer] = picture
        tall, wide = raster.shape[:2]
        rings, left = self._rings(frame, unit)
        nm = frame.angstrom_per_pixel / NM_TO_ANGSTROM / unit
        bar_nm = bar_length(wide * unit, nm)
        volume = self.volume
        at, size = frame.index, volume.shape[frame.axis]
        caption = f"{AXES[frame.axis]} = {at} of {size} ({at * volume.voxel_size[frame.axis] / NM_TO_ANGSTROM:.0f} nm)"
        return Drawn(caption, raster, layers, rings, left, (wide * unit, tall * unit), bar_nm / nm, bar_nm)

    def _layer(self, frame: Frame, overlays: list[Overlay], shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """Overlays alone, as colour and opacity: what they make of black and of white says both."""
        if not overlays:
            return None
        black, white = (
            draw(Panel(np.full((*shape, 3), grey, np.uint8)), overlays, frame, self.view.recipe).raster.astype(np.int16)
            for grey in (0, 255)
        )
        opacity = 255 - (white - black).mean(axis=-1)
        colour = np.divide(black * 255.0, opacity[..., None], where=opacity[..., None] > 0, out=np.zeros(black.shape))
        return np.concatenate([colour, opacity[..., None]], axis=-1).clip(0, 255).round().astype(np.uint8)

    def _rings(self, frame: Frame, unit: float) -> tuple[tuple[Ring, ...], int]:
        rings: list[tuple[float, Ring]] = []
        for one, overlay in self.found:
            if overlay.picks is None or overlay.colour is None:
                continue
            weight = overlay.picks.weight
            places = np.asarray(overlay.picks.place) + overlay.offset
            near = np.abs(places[:, frame.axis] - frame.place) < one.radius_nm * NM_TO_ANGSTROM
            found = rings_of(places, frame, one.radius_nm, overlay.colour)
            heavy = np.zeros(near.sum()) if weight is None else weight[near]
            for (y, x), radius, heaviness in zip(found.places, found.radii, heavy, strict=True):
                at = ((x + 0.5) * unit, (y + 0.5) * unit)
                rings.append(
                    (-float(heaviness), Ring(float(at[0]), float(at[1]), float(radius * unit), overlay.colour))
                )
        rings.sort(key=lambda ring: ring[0])
        return tuple(ring for _, ring in rings[:MOST_RINGS]), max(0, len(rings) - MOST_RINGS)


def frame_side(frame: Frame) -> int:
    """The longer side of a frame, pixels."""
    return max(frame.pixels)


def webp(picture: NDArray[np.uint8], quality: int, *, note: str = "") -> bytes:
    """Encode a picture (y, x, 3 or 4) as WebP; ``note`` is kept in its metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    more = {"xmp": note.encode()} if note else {}
    Image.fromarray(picture).save(buffer, format="WEBP", quality=quality, method=4, alpha_quality=quality, **more)
    return buffer.getvalue()


def smaller(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """A picture with fewer pixels, each the mean of those in it."""
    from PIL import Image

    tall, wide = (max(1, round(n * factor)) for n in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((wide, tall), Image.Resampling.BOX), np.uint8)


def encoded(pictures: Sequence[NDArray[np.uint8]], most: int) -> list[bytes]:
    """Encode pictures as WebP so that all of them together have at most so many bytes."""
    now = list(pictures)
    while True:
        for quality in QUALITIES:
            found = [webp(one, quality) for one in now]
            if sum(map(len, found)) <= most:
                return found
        if max(max(one.shape[:2]) for one in now) <= SMALLEST:
            return found
        now = [smaller(one, SHRINK) for one in now]


def thumbnail(drawn: Drawn) -> bytes:
    """The small picture of a slice, with all layers and its picks as dots; at most 12 kB."""
    picture = drawn.grey.astype(np.float64)
    for layer in drawn.layers.values():
        share = layer[..., 3:] / 255
        picture = picture * (1 - share) + layer[..., :3] * share
    unit = max(drawn.size) / max(picture.shape[:2])
    tall, wide = picture.shape[:2]
    if drawn.lines:
        picture = _with_lines(picture, drawn.lines, unit)
    for ring in drawn.rings:
        y, x = int(ring.y / unit), int(ring.x / unit)
        if 0 <= y < tall and 0 <= x < wide:
            dot = max(1, round(3 / unit))
            picture[max(0, y - dot) : y + dot, max(0, x - dot) : x + dot] = ring.colour
    small = picture.round().astype(np.uint8)
    if max(small.shape) > THUMB_SIDE:
        small = smaller(small, THUMB_SIDE / max(small.shape))
    while True:
        for quality in QUALITIES:
            if len(found := webp(small, quality, note=MARKER)) <= THUMB_BYTES:
                return found
        small = smaller(small, SHRINK)


def _with_lines(picture: NDArray[np.float64], lines: Sequence[Line], unit: float) -> NDArray[np.float64]:
    """A picture with the outlines of surfaces, a pixel wide."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture.round().astype(np.uint8))
    draw_on = ImageDraw.Draw(image)
    for line in lines:
        for begin, end in (line.pieces[..., ::-1] / unit - 0.5).tolist():
            draw_on.line((*begin, *end), fill=line.colour)
    return np.asarray(image, np.float64).copy()


def svg(drawn: Drawn, pictures: Sequence[bytes], alt: str) -> str:
    """Draw a slice as SVG, with its pictures (grey, then each layer), rings and a scale bar.

    Parameters
    ----------
    drawn
        The slice.
    pictures
        Its encoded pictures.
    alt
        What it shows, for those who do not see it.
    """
    wide, tall = (round(n, 1) for n in drawn.size)
    parts = [f'<svg class="slice" viewBox="0 0 {wide} {tall}" role="img" aria-label="{escape(alt)}">']
    for name, data in zip(("grey", *drawn.layers), pictures, strict=True):
        link = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
        parts.append(f'<image class="{name}" width="{wide}" height="{tall}" preserveAspectRatio="none" href="{link}"/>')
    if any(line.pieces.size for line in drawn.lines):
        paths = (f'<path stroke="{hexadecimal(one.colour)}" d="{one.path(drawn.line_bytes)}"/>' for one in drawn.lines)
        parts.append(f'<g class="surfaces">{"".join(paths)}</g>')
    parts.append('<g class="picks">')
    for colour in dict.fromkeys(ring.colour for ring in drawn.rings):
        rings = [ring for ring in drawn.rings if ring.colour == colour]
        circles = "".join(f'<circle cx="{r.x:.1f}" cy="{r.y:.1f}" r="{r.radius:.1f}"/>' for r in rings)
        parts.append(f'<g class="rim">{circles}</g><g stroke="{hexadecimal(colour)}">{circles}</g>')
    parts.append("</g>")
    if drawn.bar and tall > 60:
        text = f"{drawn.bar_nm / 1000:g} µm" if drawn.bar_nm >= 1000 else f"{drawn.bar_nm:g} nm"
        y = tall - 14
        parts.append(
            f'<g class="bar"><rect x="12" y="{y - 24}" width="{max(drawn.bar, 9 * len(text)) + 8:.1f}" height="34" '
            f'class="behind"/><rect x="16" y="{y}" width="{drawn.bar:.1f}" height="5"/>'
            f'<text x="16" y="{y - 6}">{text}</text></g>'
        )
    return "".join([*parts, "</svg>"])
