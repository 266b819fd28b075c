"""Train the demo's two networks, on x < 62 of its tomogram only.

    python examples/demo_training.py OUT_FOLDER [shell] [core]

writes ``demo_shell.safetensors`` and ``demo_core.safetensors``; the ones in ``volengine/data`` were made by it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from volengine.io.mrc_write import write_mrc
from volengine.io.sample import real_sample
from volengine.tasks.demo_truth import SPLIT_X, label_volumes, truth_of
from volengine.tasks.train import TrainRecipe, TrainSample, train

EPOCHS, STEPS = 10, 40


def main(out: Path, features: list[str]) -> None:
    sample = real_sample()
    shape = sample.tomogram.shape
    out.mkdir(parents=True, exist_ok=True)
    # Nothing from x >= 62 is written: what is not there cannot be learnt.
    part = (shape[0], shape[1], SPLIT_X)
    tomogram = out / "tomogram.mrc"
    write_mrc(tomogram, [sample.tomogram[:, :, :SPLIT_X]], part, "float32", sample.voxel_size)
    for feature, labels in label_volumes(truth_of(sample), shape).items():
        if feature not in features:
            continue
        path = out / f"labels_{feature}.mrc"
        write_mrc(path, [labels[:, :, :SPLIT_X].astype("int8")], part, "int8", sample.voxel_size)
        recipe = TrainRecipe(
            samples=(TrainSample(volume=str(tomogram), labels=(str(path),)),),
            features=(feature,),
            network="unet3d",
            patch=(32, 32, 32),
            epochs=EPOCHS,
            steps=STEPS,
            batch=3,
            learning_rate=2e-3,
            seed=7,
        )
        for row in train(recipe, str(out / f"demo_{feature}.safetensors")):
            print(feature, {k: round(v, 4) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["shell", "core"])
