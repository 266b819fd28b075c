"""Weights of easymode: read by the name of the architecture, answers as its layout says, everything else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from easymode_weights import Keras

from volengine.core.errors import FormatError, InputError
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.formats.foreign import import_model
from volengine.nets.formats.keras import easymode
from volengine.nets.registry import build, parameters

h5py = pytest.importorskip("h5py")
FILTERS = {"unet-easymode": (32, 64, 128, 256), "unet-easymode-deeper": (32, 64, 128, 192, 256)}
FILTERS["n2n"] = FILTERS["unet-easymode"]
MEMBRAIN = (32, 64, 128, 256, 512, 1024)


def made(name: str) -> Keras:
    return Keras(FILTERS[name], batch=name == "n2n", bias=name != "n2n")


@pytest.mark.parametrize("name", ["unet-easymode-deeper", "n2n"])
def test_the_answer_is_that_of_the_layout(name: str, tmp_path: Path) -> None:
    keras = made(name)
    path, out = keras.write(tmp_path / "membrane.h5"), tmp_path / "m.safetensors"
    facts = import_model(path, out, voxel_size=10, architecture=name)
    module, again = load_model(out)
    assert again.features == facts.features == ("membrane",)
    assert facts.voxel_size == (10, 10, 10)
    image = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 1, 16, 16, 32)).astype(np.float32))
    with torch.inference_mode():
        expected, answer = keras.answer(image, denoise=name == "n2n"), module(image)
    assert expected.std() > 0.1
    torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
    assert facts.activation == ("none" if name == "n2n" else "sigmoid")


def test_weights_are_as_many_as_the_layout_has() -> None:
    """Counted from the layout: convolutions without bias, 2 (batch: 4) numbers per channel of each normalisation."""

    def count(filters: tuple[int, ...], per: int, head: int) -> int:
        total = head * 1 + filters[0]
        for n, f in enumerate(filters):
            before = filters[n - 1] if n else 0
            total += 27 * before * f + per * f if n else 0
            inputs = f if n else 1
            total += 27 * inputs * f + 27 * f * f + 2 * per * f + (inputs * f + per * f if inputs != f else 0)
            if n < len(filters) - 1:  # the decoder's level of these channels
                total += 8 * filters[n + 1] * f + per * f + 27 * 2 * f * f + 27 * f * f + 2 * f * f + 3 * per * f
        return total

    with torch.device("meta"):
        assert parameters(build("unet_membrain_groupnorm")) == count(MEMBRAIN, 2, 1) == 128_897_505
        assert parameters(build("unet_membrain")) == count(MEMBRAIN, 4, 1)
        for name, filters in FILTERS.items():
            per, head = (4, 0) if name == "n2n" else (2, 1)
            assert parameters(build(easymode.architecture_of(name))) == count(filters, per, head)


def test_a_file_with_its_json_is_read_directly(tmp_path: Path) -> None:
    path = made("unet-easymode").write(tmp_path / "ribosome.h5")
    told = {"apix": 12.0, "apix_z": 10.0, "arch": "lite", "timestamp": "20260701000000"}
    path.with_suffix(".json").write_text(json.dumps(told))
    facts = load_facts(path)
    assert (facts.network, facts.features, facts.voxel_size) == ("unet_easymode", ("ribosome",), (10, 12, 12))
    assert (facts.patch, facts.overlap, facts.window) == ((160,) * 3, 0.6, "crop")  # tiles of 160 every 64
    path.with_suffix(".json").write_text(json.dumps({"apix": 10.0}))  # no arch: the oldest, which these weights are not
    with pytest.raises(FormatError, match=r"unet_membrain.*fits the architecture unet_easymode\b"):
        load_facts(path)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"apix": 0, "arch": "lite"}, "apix is 0"),
        ({"apix": "10", "arch": "lite"}, "apix is '10'"),
        ({"apix": 10, "apix_z": -1, "arch": "lite"}, "apix_z -1"),
        ({"apix": 10, "arch": 3}, "arch is 3"),
    ],
)
def test_json_that_cannot_be_right_is_refused(told: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"")
    path.with_suffix(".json").write_text(json.dumps(told))
    with pytest.raises(FormatError, match=words):
        load_facts(path)


def test_what_is_not_told_is_asked_for(tmp_path: Path) -> None:
    path, out = made("unet-easymode").write(tmp_path / "x.h5"), tmp_path / "x.safetensors"
    with pytest.raises(InputError, match=r"--architecture NAME"):
        load_facts(path)
    for given, words in (
        ({"voxel_size": 10.0, "architecture": "unet-membrane"}, "no architecture 'unet-membrane' of easymode"),
        ({"architecture": "lite"}, "--voxel-size"),
        ({"voxel_size": 10.0, "architecture": "lite", "features": ("a", "b")}, "one channel"),
        ({"voxel_size": 10.0, "architecture": "lite", "axes": "xyz"}, "leave out --axes"),
    ):
        with pytest.raises(InputError, match=words):
            import_model(path, out, **given)  # type: ignore[arg-type]
    assert not out.exists()


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    def refused(words: str, change: Any, name: str = "unet-easymode") -> None:
        keras = made(name)
        change(keras.blocks)
        path = keras.write(tmp_path / "x.h5")
        with pytest.raises(FormatError, match=words):
            import_model(path, tmp_path / "x.safetensors", voxel_size=10, architecture=name)

    def swap(blocks: Any) -> None:  # same shapes: only their numbers say which is the first
        layers = blocks["encoder_2"]
        layers[2], layers[4] = layers[4], layers[2]

    def narrow(blocks: Any) -> None:
        blocks["output"][0][1]["kernel"] = blocks["output"][0][1]["kernel"][..., :16, :]

    refused("not sure which layer is which", swap)
    refused("output.weight is .*16", narrow)
    refused("decoder_1.*missing", lambda blocks: blocks.pop("decoder_1"))
    refused("'extra' is unknown", lambda blocks: blocks.update(extra=[("", {"kernel": np.ones(3)})]))
    refused(
        "has 7 layers with weights, and should have 6", lambda b: b["encoder_1"].append(("z", {"kernel": np.ones(1)}))
    )
    refused("has beta, and should have beta, gamma", lambda b: b["encoder_0"][1][1].pop("gamma"))
    refused("has bias, kernel, and should have kernel", lambda b: b["encoder_0"][0][1].update(bias=np.ones(32)))


def test_a_whole_model_is_no_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_group("model_weights")
    with pytest.raises(FormatError, match="a whole Keras model"):
        import_model(path, tmp_path / "x.safetensors", voxel_size=10, architecture="lite")


def test_a_network_that_was_read_can_be_trained_on(tmp_path: Path) -> None:
    path = made("n2n").write(tmp_path / "x.h5")
    module, _ = easymode.load_easymode(path, "n2n", (10.0, 10.0, 10.0))
    assert all(p.requires_grad and p.is_contiguous() and not p.is_meta for p in module.parameters())
    assert not any(b.is_meta for b in module.buffers())
    module.train()(torch.randn(1, 1, 16, 16, 16)).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())
