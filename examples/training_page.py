"""Train a small network on two made tomograms, and look at the page that the training writes about itself.

    python examples/training_page.py OUT [--picture docs/pictures/training_page.png --browser chromium]

OUT gets the tomograms, the model and ``OUT/model.safetensors.training/index.html``. Each tomogram holds balls ("core")
with a dark rim ("shell") in noise. On one core it takes about a minute. With ``--picture`` a browser that has a
headless mode draws the page; docs/how-to-train.md shows this picture.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import mrcfile
import numpy as np

from volengine import TrainRecipe, TrainSample, train

SHAPE, RADIUS, RIM = (32, 96, 96), 9, 3
WIDTH, HEIGHT = 1000, 1640
"""Of the picture, pixels."""


def tomogram(folder: Path, number: int) -> TrainSample:
    """Write a tomogram and its labels, and describe them as a sample."""
    rng = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    core, shell = np.zeros(SHAPE, np.int8), np.zeros(SHAPE, np.int8)
    for centre in rng.uniform(RADIUS, np.array(SHAPE) - RADIUS, (11, 3)):
        away = np.sqrt(((grid - centre) ** 2).sum(-1))
        core[away < RADIUS - RIM] = 1
        shell[(away >= RADIUS - RIM) & (away < RADIUS)] = 1
    shell[core == 1] = 0
    image = (rng.normal(0, 1, SHAPE) - 2 * shell - 0.7 * core).astype(np.float32)
    for name, array in (("tomogram", image), ("core", core), ("shell", shell)):
        with mrcfile.new(folder / f"TS_0{number}_{name}.mrc", data=array, overwrite=True) as file:
            file.voxel_size = 10.0
    labels = tuple(str(folder / f"TS_0{number}_{name}.mrc") for name in ("core", "shell"))
    return TrainSample(volume=str(folder / f"TS_0{number}_tomogram.mrc"), labels=labels)


def main() -> None:
    """Make the tomograms, train, and draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--browser", default="chromium")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    recipe = TrainRecipe(
        samples=tuple(tomogram(given.out, number) for number in (1, 2)),
        features=("core", "shell"),
        arguments={"width": 4, "levels": 2},
        patch=(16, 32, 32),
        epochs=16,
        steps=20,
        batch=2,
        learning_rate=1e-2,
        device="cpu",
    )
    train(recipe, given.out / "model.safetensors")
    page = (given.out / "model.safetensors.training" / "index.html").resolve()
    print(page)
    if given.picture:
        shot = [f"--screenshot={given.picture.resolve()}", f"--window-size={WIDTH},{HEIGHT}", page.as_uri()]
        subprocess.run(
            [given.browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *shot], check=True
        )


if __name__ == "__main__":
    main()
