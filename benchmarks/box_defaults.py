"""Boxes in annotated slices: the defaults of a training on boxes against the general ones, patches against slices.

    python benchmarks/box_defaults.py FOLDER ISBI [STEPS [SEEDS]]

``ISBI`` is a folder with the ISBI-2012 membranes as ``image_00.png``, ``label_00.png`` ... (512 x 512, 4 nm per pixel;
Arganda-Carreras et al., Frontiers in Neuroanatomy 2015). Of nine sections, three are annotated in 20 boxes of 64 pixels
each; the other three sections are held out. ``unet`` (2D, Ais's) is trained both ways with the same boxes, steps and
seeds, and the weights of the last epoch are applied to the held-out sections in patches of 64 pixels and to whole
slices. Printed: the average precision over all voxels of the held-out sections, for each way and seed. A training that
was stopped goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mrcfile
import numpy as np
from PIL import Image

from volengine import SegmentRecipe, TrainRecipe, TrainSample, segment, train
from volengine.core.boxes import Box
from volengine.engine.options import RunOptions
from volengine.io.open import open_source

HELD, ANNOTATED, SIDE, PER_SLICE = slice(0, 3), (1, 4, 7), 64, 20
BATCH, EPOCHS = 8, 2
WAYS = {
    "boxes": {"loss": "bce", "schedule": "constant", "augmentation": {"flips": True, "turns": True}},
    "general": {"loss": "bce_dice", "schedule": "cosine", "augment": "light"},
}
Data = tuple[dict[str, str], np.ndarray]
APPLIED = {"patches of 64": (1, SIDE, SIDE), "slices": "slice"}


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Average precision: the mean of precision over the steps of recall, ``sum (R_n - R_n-1) P_n``.

    Equal scores are one step (as in scikit-learn).

    >>> average_precision(np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 0, 1, 1]))  # 1/3 * 1 + 1/3 * 2/3 + 1/3 * 3/4
    0.8055555555555556
    """
    order = np.argsort(-scores.ravel(), kind="stable")
    ranked, hits = scores.ravel()[order], np.cumsum(truth.ravel()[order] > 0)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def prepare(folder: Path, isbi: Path) -> Data:
    """Write the sections, their truth, and the centres of the boxes; return their paths and the held-out truth."""
    images = np.stack([np.asarray(Image.open(isbi / f"image_{k:02d}.png")) for k in range(12)]).astype(np.int16)
    labels = np.stack([np.asarray(Image.open(isbi / f"label_{k:02d}.png")) == 0 for k in range(12)]).astype(np.int8)
    seen = slice(HELD.stop, None)
    files = {"held": images[HELD], "seen": images[seen], "truth": labels[seen]}
    paths = {name: str(folder / f"{name}.mrc") for name in files}
    for name, values in files.items():
        with mrcfile.new(paths[name], data=values, overwrite=True) as file:
            file.voxel_size = 40.0
    rng = np.random.default_rng(0)
    rows = [(z, *rng.integers(SIDE // 2, 512 - SIDE // 2, 2)) for z in ANNOTATED for _ in range(PER_SLICE)]
    paths["boxes"] = str(folder / "boxes.csv")
    Path(paths["boxes"]).write_text("z,y,x\n" + "".join(f"{z},{y},{x}\n" for z, y, x in rows))
    return paths, labels[HELD]


def measured(folder: Path, data: Data, way: str, steps: int, seed: int) -> dict[str, float]:
    """Train one way on the prepared data; return the average precision by how the network is applied."""
    (paths, truth), out = data, folder / f"{way}-{seed}.safetensors"
    sample = TrainSample(
        volume=paths["seen"], labels=(paths["truth"],), boxes=paths["boxes"], box_vox=SIDE, slices=ANNOTATED
    )
    recipe = TrainRecipe(
        samples=(sample,), features=("membrane",), network="unet", patch=(1, SIDE, SIDE), normalisation="per_slice",
        batch=BATCH, epochs=EPOCHS, steps=steps // EPOCHS, validation_share=0, seed=seed, device="cpu", **WAYS[way],
    )  # fmt: skip
    train(recipe, out, progress=False)
    last = folder / f"{out.name}.training" / "last-epoch.safetensors"
    found = {}
    for name, patch in APPLIED.items():
        store = str(folder / f"{way}-{seed}-{name.replace(' ', '_')}.zarr")
        how = SegmentRecipe(models=(str(last),), patch=patch, dtype="float32")
        made = segment(paths["held"], store, how, RunOptions(progress=False, overwrite=True))["membrane"]
        scores = open_source(made).read(Box.of_shape(made.shape))
        found[name] = average_precision(scores, truth)
    return found


def main(folder: str, isbi: str, steps: str = "240", seeds: str = "2") -> None:
    """Print a row for each seed and way."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    data = prepare(Path(folder), Path(isbi))
    for seed in range(int(seeds)):
        for way in WAYS:
            found = measured(Path(folder), data, way, int(steps), seed)
            print(way, seed, {name: round(value, 4) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
