"""Train the demo's two networks, on x < 62 of its tomogram only.

    python examples/demo_training.py OUT_FOLDER [shell] [core]

writes ``shell/demo_shell.safetensors`` and ``core/demo_core.safetensors`` into the folder; the ones in
``volengine/data`` were made by it. A training on another machine or version draws other samples: the shell's Dice on
x >= 62 was 0.80 for the one that is shipped and 0.77 for another.

It takes some minutes on two cores; one that was stopped goes on where it was.

Nothing from x >= 62 is written to the files that the training reads: what is not there cannot be learnt. Of the rest,
the slab y >= 103 with one particle is kept aside by ``volengine train`` to choose the best epoch.
"""

from __future__ import annotations

import argparse
from contextlib import chdir
from pathlib import Path

from volengine.io.mrc.write import write_mrc
from volengine.io.training.sample import real_sample
from volengine.tasks.demo.truth import SPLIT_X, UNANNOTATED, label_volumes, truth_of
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train

EPOCHS = {"shell": 12, "core": 8}


def main(out: Path, features: list[str]) -> None:
    sample = real_sample()
    labels = label_volumes(truth_of(sample), sample.tomogram.shape, UNANNOTATED)
    nz, ny, _ = sample.tomogram.shape
    part = (nz, ny, SPLIT_X)
    for feature in features:
        folder = out / feature
        folder.mkdir(parents=True, exist_ok=True)
        recipe = TrainRecipe(
            samples=(TrainSample(volume="tomogram.mrc", labels=("labels.mrc",)),),
            features=(feature,),
            network="unet3d",
            patch=(32, 32, 32),
            epochs=EPOCHS[feature],
            steps=50,
            batch=4,
            learning_rate=3e-3,
            seed=7,
        )
        with chdir(folder):  # the model keeps its recipe, so its paths are relative
            write_mrc("tomogram.mrc", [sample.tomogram[:, :, :SPLIT_X]], part, "float32", sample.voxel_size)
            write_mrc("labels.mrc", [labels[feature][:, :, :SPLIT_X].astype("int8")], part, "int8", sample.voxel_size)
            for row in train(recipe, f"demo_{feature}.safetensors"):
                print(feature, {k: round(v, 4) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the demo's networks.")
    parser.add_argument("out", type=Path, help="folder for both trainings")
    parser.add_argument("features", nargs="*", default=[], help=f"{' '.join(EPOCHS)}; default: both")
    given = parser.parse_args()
    if unknown := set(given.features) - set(EPOCHS):
        parser.error(f"there is no network for {', '.join(sorted(unknown))}; there are {', '.join(EPOCHS)}")
    main(given.out, given.features or list(EPOCHS))
