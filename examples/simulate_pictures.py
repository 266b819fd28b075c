"""Make the picture of docs/simulate.md: specimen, tilt image, tomogram and atlas of one sample, side by side.

    python examples/simulate_pictures.py [OUT.png] [--recipe RECIPE.yaml] [--keep FOLDER]

Without a recipe the sample is the first of the preset ``cytoplasm``; that takes a minute or two. With ``--keep`` the
sample stays in the folder, and another call takes it from there.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from volengine import open_volume
from volengine.core.boxes import Box
from volengine.core.yaml_recipes import read_yaml
from volengine.io.open import open_source
from volengine.ops.pictures import BLUE, GREEN, ORANGE, RED, YELLOW, Picture, grey, outline, side_by_side, window_of
from volengine.tasks.simulate.presets import preset
from volengine.tasks.simulate.verb import simulate

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "simulate.png"
COLOURS = (YELLOW, BLUE, ORANGE, GREEN, RED)
"""Of the classes, by id."""
DISTRACTORS = (105, 105, 105)
LEVELS = 40
"""Grey values of the picture: noise in more of them only makes the file large."""


def made(recipe: dict[str, Any], folder: Path) -> str:
    """Simulate the first sample, with its specimen; its name. What is there already stays as it is."""
    recipe["keep"] = {**recipe.get("keep", {}), "specimen": True, "tilts": True}
    report = simulate(recipe, str(folder))
    return next(iter(report.data["plans"]))


def plane(store: Path, number: int, thick: int = 1, group: str = "") -> np.ndarray:
    """The mean of some slices about one of a store; of labels the slice."""
    volume = open_volume(str(store), group=group)
    low = max(number - thick // 2, 0)
    box = Box((low, 0, 0), (min(low + thick, volume.shape[0]), *volume.shape[1:]))
    found = open_source(volume).read(box)
    return found[0] if group else found.mean(axis=0)


def panels(folder: Path, name: str) -> list[Picture]:
    """Middle slice of the specimen, tilt image nearest to 0 degrees, middle slices of the tomogram and the atlas."""
    file = f"{name}.ome.zarr"
    tomogram = folder / "tomograms" / file
    middle = open_volume(str(tomogram)).shape[0] // 2
    angles = np.loadtxt(folder / "tilts" / f"{name}.rawtlt")
    images = [
        -plane(folder / "specimens" / file, middle),  # as in a tomogram: what scatters more is darker
        plane(folder / "tilts" / file, int(np.argmin(np.abs(angles)))),
        plane(tomogram, middle),
    ]
    shown = [grey(image, window_of(image, 0.3, 99.7)) for image in images]
    classes, instances = (plane(tomogram, middle, group=f"labels/{kind}") for kind in ("atlas", "instances"))
    atlas = outline(np.zeros_like(shown[0]), (instances > 0) & (classes == 0), DISTRACTORS, width=0, opacity=1)
    for number in np.unique(classes[classes > 0]):
        atlas = outline(atlas, classes == number, COLOURS[(number - 1) % len(COLOURS)], width=0, opacity=1)
    return [*(coarser(picture) for picture in shown), atlas]


def coarser(picture: Picture) -> Picture:
    """The same with fewer grey values."""
    steps = np.rint(picture.astype(float) / 255 * (LEVELS - 1)) * 255 / (LEVELS - 1)
    return np.rint(steps).astype(np.uint8)


def write(picture: Picture, out: Path) -> None:
    """As PNG with a palette."""
    colours, index = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    image = Image.fromarray(index.reshape(picture.shape[:2]).astype(np.uint8), "P")
    image.putpalette(colours.ravel().tolist())
    image.save(out, optimize=True)
    print(f"{out}: {image.width} x {image.height}, {out.stat().st_size // 1000} kB")


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description="Make the picture of docs/simulate.md.")
    parser.add_argument("out", type=Path, nargs="?", default=PICTURE, help="PNG file to write")
    parser.add_argument("--recipe", type=Path, help="default: the preset cytoplasm")
    parser.add_argument("--keep", type=Path, help="folder for the sample; default: one that is deleted")
    given = parser.parse_args()
    recipe = read_yaml(given.recipe) if given.recipe else preset("cytoplasm")
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        write(side_by_side(panels(folder, made(recipe, folder))), given.out)


if __name__ == "__main__":
    main()
