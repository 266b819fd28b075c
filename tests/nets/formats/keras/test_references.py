"""Stored models of Keras 2.15 and 3, read without Keras: the answers are those that Keras gave.

``tests/references/make_keras.py`` makes them, and says what they hold.
"""

from __future__ import annotations

import importlib.util
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import REFERENCES

from volengine.core.errors import FormatError
from volengine.nets.formats.keras.read import read_keras

ARCHIVES = ("keras2.zip", "keras3.zip")
ALSO_ALONE = ("activations", "nested", "norms_and_joins")
"""Models whose weights are also read from a file of their own."""
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation", "ignore:You are saving your model")


def names(archive: str) -> list[str]:
    with zipfile.ZipFile(REFERENCES / archive) as file:
        return sorted(name.removesuffix(".npz") for name in file.namelist() if name.endswith(".npz"))


def unpacked(archive: str, name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The files of a model in a folder; its input and its answer."""
    with zipfile.ZipFile(REFERENCES / archive) as file:
        for member in file.namelist():
            if member.partition(".")[0] == name:
                (folder / member).write_bytes(file.read(member))
    with np.load(folder / f"{name}.npz") as arrays:
        return arrays["x"], arrays["y"]


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    """Ours, channels last, the last activation put back."""
    model = read_keras(path)
    with torch.inference_mode():
        y = model.module()(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    y = {"sigmoid": torch.sigmoid, "softmax": lambda t: torch.softmax(t, 1), "none": lambda t: t}[model.activation](y)
    return np.moveaxis(y.numpy(), 1, -1)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest one, relative to the largest value."""
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize(("archive", "name"), [(a, n) for a in ARCHIVES for n in names(a)])
def test_every_format_answers_as_keras_did(archive: str, name: str, tmp_path: Path) -> None:
    x, y = unpacked(archive, name, tmp_path)
    alone = ("weights.h5",) if name in ALSO_ALONE else ()
    for ending in ("h5", "keras", *alone):
        assert difference(answer(tmp_path / f"{name}.{ending}", x), y) <= 1e-4, ending


def test_models_in_models_keep_their_names_apart(tmp_path: Path) -> None:
    unpacked("keras3.zip", "nested", tmp_path)
    layers = [layer["name"] for layer in read_keras(tmp_path / "nested.keras").layers]
    assert [name for name in layers if name.startswith("outer::")] == [
        "outer::inner::residual::conv2d",
        "outer::inner::residual::batch_normalization",
        "outer::inner::residual::re_lu",
        "outer::inner::add",
        "outer::concatenate",
        "outer::last",
    ]


def test_weights_alone_need_their_configuration(tmp_path: Path) -> None:
    x, y = unpacked("keras3.zip", "chain", tmp_path)
    (tmp_path / "chain.json").rename(tmp_path / "config.json")
    assert difference(answer(tmp_path / "chain.weights.h5", x), y) <= 1e-4
    (tmp_path / "config.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(FormatError, match=r"chain\.weights\.h5 holds no model_config: .*config\.json"):
        read_keras(tmp_path / "chain.weights.h5")
    unpacked("keras3.zip", "volume", tmp_path)
    (tmp_path / "volume.json").rename(tmp_path / "chain.json")
    with pytest.raises(FormatError, match=r"belong to no layer|weights in the file; it needs"):
        read_keras(tmp_path / "chain.weights.h5")


def maker() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    pytest.importorskip("keras", reason="Keras, the reference, is not installed")
    spec = importlib.util.spec_from_file_location("make_keras", REFERENCES / "make_keras.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_script_still_makes_what_is_stored(tmp_path: Path) -> None:
    make = maker()
    assert names("keras2.zip") == names("keras3.zip") == sorted(make.MODELS)
    for name in make.MODELS:
        made = make.files(name, tmp_path)
        with np.load(io.BytesIO(made[f"{name}.npz"])) as arrays:
            x, y = arrays["x"], arrays["y"]
        for archive in ARCHIVES:
            if name == "activations" and archive == "keras2.zip":
                continue  # Keras 3 has more of them
            stored_x, stored_y = unpacked(archive, name, tmp_path)
            assert np.array_equal(stored_x, x), (archive, name)
            assert difference(stored_y, y) <= 1e-5, (archive, name)
