"""Run by an interpreter that has Ais: makes its model archives, and runs its command line without the network.

    python original_ais.py make unet_s FOLDER      # FOLDER/unet_s.scnm: Ais's own architecture with random weights
    python original_ais.py nothing ARGUMENTS       # ais ARGUMENTS, with a network that answers its input at once
    python original_ais.py run ARGUMENTS           # ais ARGUMENTS
    python original_ais.py time FILE.scnm 576 5    # CPU seconds of the network, for a slice of 576 x 576, 5 times

Nothing of volengine is imported: the environment need not have it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BOX = 64


def make(name: str, folder: str) -> None:
    """An archive with Ais's architecture ``name`` and random weights, biases included."""
    import numpy as np
    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    model = importlib.import_module(f"Ais.models.{name}").create((BOX, BOX, 1))
    rng = np.random.default_rng(2)
    for weights in model.weights:
        if "bias" in weights.name:
            weights.assign(0.1 * rng.standard_normal(weights.shape))
    facts = {
        "title": name, "colour": [1.0, 0.5, 0.2], "apix": 10.0, "compiled": True, "box_size": BOX, "model_depth": 1,
        "filament_diameter": 0, "model_enum": 0, "arch": name, "epochs": 1, "batch_size": 32, "active": True,
        "blend": False, "show": True, "alpha": 0.75, "threshold": 0.5, "overlap": 0.2, "active_tab": 0,
        "n_parameters": model.count_params(), "n_copies": 10, "info": "", "info_short": "", "excess_negative": 130,
        "emit": False, "absorb": False, "loss": 0.0, "normalization": "global_mad", "z_jitter": 0, "tta": 1,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as made, tarfile.open(Path(folder) / f"{name}.scnm", "w") as archive:
        model.save(f"{made}/{name}_weights.h5")
        Path(made, f"{name}_metadata.json").write_text(json.dumps(facts))
        for file in sorted(Path(made).iterdir()):
            archive.add(file, file.name)


def time_network(path: str, side: str, times: str) -> None:
    """Print the CPU seconds of the network for a slice, called as Ais calls it, each of some times after the first."""
    import time

    import numpy as np
    from Ais.core.se_model import SEModel
    from keras.layers import Input
    from keras.models import clone_model

    loaded = SEModel(no_glfw=True)
    loaded.load(path, compile=False)
    network = clone_model(loaded.model, input_tensors=Input(shape=(None, None, 1)))
    network.set_weights(loaded.model.get_weights())
    values = np.random.default_rng(0).standard_normal((1, int(side), int(side), 1)).astype(np.float32)
    found = []
    for _ in range(int(times) + 1):
        began = time.process_time()
        network(values, training=False).numpy()
        found.append(time.process_time() - began)
    print(json.dumps(found[1:]))


class Answer:
    """What a network gives: something with a ``numpy``."""

    def __init__(self, values: Any):
        self.values = values

    def numpy(self) -> Any:
        return self.values


class Nothing:
    """Stands for a network."""

    output_shape = (None, None, None, 1)

    def set_weights(self, _: Any) -> None:
        """There are none."""

    def __call__(self, values: Any, training: bool = False) -> Answer:
        return Answer(values)


def run(arguments: list[str]) -> None:
    """Ais's command line."""
    from Ais.main import main

    sys.argv = ["ais", *arguments]
    main()


def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "make":
        make(*rest)
        return
    if kind == "time":
        time_network(*rest)
        return
    if kind == "nothing":
        import keras.models

        keras.models.clone_model = lambda *_, **__: Nothing()
    run(rest)


if __name__ == "__main__":
    main()
