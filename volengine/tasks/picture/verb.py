"""picture and movie: draw slices of a volume with overlays."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
from tqdm import tqdm

from volengine.core.atomic import need_folder, replacing, write_atomic
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.slices import Slice
from volengine.core.tiling import AXES
from volengine.ops.pictures import Picture
from volengine.ops.slice_pictures import picture_file, picture_of
from volengine.tasks.picture.recipe import LookRecipe, MovieRecipe, PictureRecipe
from volengine.tasks.picture.view import View

PICTURES = (".png", ".svg")
MOVIES = (".gif", ".webp", ".mp4")
SEEN = 5
"""Slices from which the contrast of a movie is found, where the store states no display range."""
QUALITY = 80
"""Of WebP, 0 to 100."""


def picture(
    source: PathLike, out: PathLike, recipe: PictureRecipe | None = None, *, notes: list[str] | None = None
) -> Path:
    """Draw slices of a volume, with what was found in it, as PNG or SVG.

    Only the slices are read, of a store from the coarsest level that is large enough. All slices of a picture have the
    same scale. In an SVG file rings, lines, scale bar and texts are vectors.

    Parameters
    ----------
    source
        Any volume that ``volengine.open_volume`` opens.
    out
        The file to write: ``.png`` or ``.svg``. It appears when it is complete.
    recipe
        What to show.
    notes
        Sentences for the user are added.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        ``out`` exists (without ``overwrite``) or has another ending, a slice or a part lies outside of the volume, or
        an overlay is of another extent, origin or kind.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.PictureRecipe(slice=("z=8", "x=middle"), pixels=300)
    >>> volengine.picture("TS_01.ome.zarr", "slices.png", recipe).name
    'slices.png'
    """
    recipe = PictureRecipe.of(recipe)
    file = _new_file(out, PICTURES, recipe)
    view = View(path_text(source), recipe, [] if notes is None else notes)
    figure = view.figure(view.frames([Slice.parse(text) for text in recipe.slice]))
    write_atomic(file, picture_file(figure, cast(Literal["png", "svg"], file.suffix.lower()[1:])))
    return file


def movie(
    source: PathLike,
    out: PathLike,
    recipe: MovieRecipe | None = None,
    *,
    notes: list[str] | None = None,
    progress: bool = True,
) -> Path:
    """Draw the slices of a volume one after the other, as GIF, WebP or MP4.

    All slices have the same contrast and the same scale. One slice is read at a time; the drawn ones of a GIF are kept
    until it is written.

    Parameters
    ----------
    source
        Any volume that ``volengine.open_volume`` opens.
    out
        The file to write: ``.gif``, ``.webp``, or ``.mp4``, which needs the program ``ffmpeg``. It appears when it is
        complete.
    recipe
        What to show.
    notes
        Sentences for the user are added.
    progress
        Show a progress bar.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        As :func:`picture`; or ``ffmpeg`` is missing or fails.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.MovieRecipe(every=4, pixels=128)
    >>> volengine.movie("TS_01.ome.zarr", "slices.gif", recipe, progress=False).name
    'slices.gif'
    """
    recipe = MovieRecipe.of(recipe)
    file = _new_file(out, MOVIES, recipe)
    kind = file.suffix.lower()
    if kind == ".mp4" and shutil.which("ffmpeg") is None:
        raise InputError(
            f"{out}: MP4 needs the program ffmpeg, which is not installed (Debian: apt install ffmpeg). GIF and WebP "
            "need nothing: give a name that ends in .gif or .webp."
        )
    view = View(path_text(source), recipe, [] if notes is None else notes)
    numbers = _numbers(view, recipe)
    shown = iter(
        tqdm(_pictures(view, recipe, numbers), total=len(numbers), unit="slice", disable=None if progress else True)
    )
    with replacing(file) as stream:
        if kind == ".mp4":
            _write_mp4(shown, stream, recipe.fps, str(out))
        else:
            _write_animation(shown, stream, recipe.fps, kind)
    return file


def _new_file(out: PathLike, endings: tuple[str, ...], recipe: LookRecipe) -> Path:
    """The file to write, or why it cannot be."""
    file = Path(path_text(out))
    if file.suffix.lower() not in endings:
        raise InputError(f"{file}: what is written ends in {', '.join(endings[:-1])} or {endings[-1]}.")
    if file.exists() and not recipe.overwrite:
        raise InputError(f"{file} exists; give another name or --overwrite.")
    need_folder(file)
    return file


def _numbers(view: View, recipe: MovieRecipe) -> list[int]:
    axis = AXES.index(recipe.axis)
    there = list(range(view.part.start[axis], view.part.stop[axis], recipe.every))
    return [*there, *reversed(there[1:-1])] if recipe.back else there


def _pictures(view: View, recipe: MovieRecipe, numbers: list[int]) -> Iterator[Picture]:
    axis = AXES.index(recipe.axis)
    some = sorted({*np.linspace(0, len(numbers) - 1, SEEN).astype(int).tolist()})
    contrast = view.contrast_of(view.frames([Slice(axis, numbers[k], "") for k in some]))
    for number in numbers:
        yield picture_of(view.figure(view.frames([Slice(axis, number, "")]), contrast))


def _write_animation(pictures: Iterator[Picture], stream: IO[bytes], fps: float, kind: str) -> None:
    from PIL import Image

    images = (Image.fromarray(one) for one in pictures)
    if kind == ".gif":  # a palette of its own for each slice
        images = (one.quantize(256, dither=Image.Dither.NONE) for one in images)
    first = next(images)
    look = {"save_all": True, "append_images": images, "duration": round(1000 / fps), "loop": 0}
    more = {"quality": QUALITY, "method": 4} if kind == ".webp" else {}
    first.save(stream, format=kind[1:].upper(), **look, **more)


def _write_mp4(pictures: Iterator[Picture], stream: IO[bytes], fps: float, out: str) -> None:
    """Let ``ffmpeg`` encode; MP4 cannot be written into a pipe, so it writes the file of the stream itself."""
    first = next(pictures)
    height, width = (n - n % 2 for n in first.shape[:2])  # the encoders want even numbers
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
    wanted = ["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", stream.name]
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *given, *wanted]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        assert encoder.stderr is not None
        try:
            for one in chain([first], pictures):
                encoder.stdin.write(np.ascontiguousarray(one[:height, :width]).tobytes())
            encoder.stdin.close()
        except BrokenPipeError:  # it says why, below
            pass
        except BaseException:
            encoder.kill()
            raise
        said = encoder.stderr.read().decode(errors="replace")
    if encoder.returncode:
        raise InputError(f"{out}: ffmpeg failed: {' '.join(said.split())[-600:]}")
