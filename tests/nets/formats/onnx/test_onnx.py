"""ONNX: networks answer there as here; facts travel, and come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx_models import SMALL, differ, facts_of, noise, plain_run, small, trained

from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.nets.architectures.dynunet import FILTERS
from volengine.nets.checkpoint import identity, load_facts, load_model
from volengine.nets.formats.onnx import write as onnx_write
from volengine.nets.formats.onnx.read import load_onnx
from volengine.nets.formats.onnx.write import onnx_bytes
from volengine.nets.predictor import Execution, Predictor, Traits, load_predictor
from volengine.nets.registry import build

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLAT = {"eman2": 2, "inceptionnet": 1, "unet": 4, "vggnet": 8, "resnet_s": 1}
DEEP = {"unet_m": 16, "pix2pix_s": 32}
VOLUMETRIC: dict[str, tuple[int, int, int]] = {"unet3d": (4, 4, 4), "residual3d": (4, 4, 4), "easymode_3d": (4, 16, 16)}


def check_network(tmp_path: Path, name: str, stride: tuple[int, int, int], arguments: dict[str, Any]) -> None:
    context = 1 if stride[0] > 1 else arguments.get("context", 1)
    module, facts = trained(build(name, arguments)), facts_of(name, stride, arguments=arguments, context=context)
    content, difference = onnx_bytes(module, facts)
    assert difference <= 1e-4
    (tmp_path / "m.onnx").write_bytes(content)
    read, again = load_model(tmp_path / "m.onnx")
    assert again == facts_of(
        name, stride, context=context, network="onnx", arguments=again.arguments, version=again.version
    )
    assert again.arguments["network"] == name
    for batch, longer in ((1, 0), (2, 1)):
        sides = [s * (max(2, -(-16 // s)) + longer * n) for n, s in enumerate(stride)]
        x = noise(batch, context, *sides[1:]) if stride[0] == 1 else noise(batch, 1, *sides)
        with torch.inference_mode():
            logits = read(x)
            assert differ(logits, module(x)) <= 1e-4
        assert np.abs(plain_run(content, x) - torch.sigmoid(logits).numpy()).max() <= 1e-4


@pytest.mark.parametrize("name", FLAT)
def test_slice_networks_answer_the_same_in_onnxruntime(tmp_path: Path, name: str) -> None:
    check_network(tmp_path, name, (1, FLAT[name], FLAT[name]), {"context": 3} if name == "unet" else {})


@pytest.mark.parametrize("name", ["unet3d", "residual3d"])
def test_volume_networks_answer_the_same_in_onnxruntime(tmp_path: Path, name: str) -> None:
    check_network(tmp_path, name, VOLUMETRIC[name], {"width": 4, "levels": 2})


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_deep_slice_networks_answer_the_same_in_onnxruntime(tmp_path: Path, name: str) -> None:
    check_network(tmp_path, name, (1, DEEP[name], DEEP[name]), {})


@pytest.mark.slow
def test_easymodes_volume_network_answers_the_same_in_onnxruntime(tmp_path: Path) -> None:
    check_network(tmp_path, "easymode_3d", VOLUMETRIC["easymode_3d"], {})


@pytest.mark.slow
def test_membrains_network_answers_the_same_in_onnxruntime() -> None:
    pytest.importorskip("monai")
    slim = {"filters": [n // 4 for n in FILTERS]}  # all its levels, a quarter of its width
    module, facts = trained(build("dynunet", slim)), facts_of("dynunet", (32, 32, 32), activation="sigmoid")
    content, difference = onnx_bytes(module, facts)
    assert difference <= 1e-4
    x = noise(1, 1, 32, 64, 32)
    with torch.inference_mode():
        assert np.abs(plain_run(content, x) - torch.sigmoid(module(x)).numpy()).max() <= 1e-4


# -- facts --------------------------------------------------------------------------------------------------


def test_all_facts_travel(tmp_path: Path) -> None:
    told = {
        "features": ["shell", "core"],
        "normalisation": "per_patch",
        "activation": "softmax",
        "overlap": 0.25,
        "receptive_field": [6, 6, 6],
        "threshold": 0.3,
        "colour": [0.1, 0.2, 0.3],
        "tta": "flips4",
        "emits": True,
        "history": [{"epochs": 3}],
    }
    _, facts, path = small(tmp_path, **told)
    stored = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert ModelFacts.from_json(json.loads(stored["volengine"])) == facts.with_(
        version=json.loads(stored["volengine"])["version"]
    )
    assert stored["volengine.axes"] == "bczyx"
    read = load_facts(path)
    assert read.with_(network="unet3d", arguments=facts.arguments, version="") == facts


def test_a_softmax_is_taken_off_and_put_on(tmp_path: Path) -> None:
    module, _, path = small(tmp_path, features=["background", "a", "b"], activation="softmax")
    x = noise(1, 1, 16, 16, 16)
    with torch.inference_mode():
        wanted = module(x)
        assert differ(load_onnx(path)[0](x), wanted) < 1e-5
    assert np.abs(plain_run(path.read_bytes(), x) - torch.softmax(wanted, 1).numpy()).max() < 1e-6


def test_a_network_of_values_has_no_activation(tmp_path: Path) -> None:
    module, _, path = small(tmp_path, activation="none")
    x = noise(1, 1, 16, 16, 16)
    with torch.inference_mode():
        wanted = module(x)
    assert [n.op_type for n in onnx.load(path).graph.node][-1] == "Conv"
    assert np.abs(plain_run(path.read_bytes(), x) - wanted.numpy()).max() < 1e-5 * float(wanted.abs().max())


def test_written_twice_it_is_the_same_file(tmp_path: Path) -> None:
    module, facts, path = small(tmp_path)
    assert onnx_bytes(module, facts)[0] == path.read_bytes()
    read, again = load_onnx(path)
    (tmp_path / "n.onnx").write_bytes(onnx_bytes(read, again)[0])
    assert load_onnx(tmp_path / "n.onnx")[1] == again
    stored = {p.key: p.value for p in onnx.load(tmp_path / "n.onnx").metadata_props}
    assert json.loads(stored["volengine"])["network"] == "unet3d"


def test_predictors_take_it_with_views_and_batches(tmp_path: Path) -> None:
    module, _, path = small(tmp_path)
    execution = Execution(tta="flips", batch=2, mean_of="logits")
    there = load_predictor(str(path), identity(path), execution)
    here = Predictor(module, Traits(1, True), execution)
    x = noise(3, 1, 16, 16, 16)
    with here.running():
        assert differ(there(x), here(x)) < 1e-5
        assert torch.equal(there(x)[1:2], there(x[1:2]))  # whatever else is in the batch


def test_there_is_nothing_to_compile(tmp_path: Path) -> None:
    module, _, path = small(tmp_path)
    x = noise(1, 1, 16, 16, 16)
    with torch.inference_mode():
        answer = Predictor(load_onnx(path)[0], Traits(1, True), Execution(compile=True))(x)
        assert differ(answer, torch.sigmoid(module(x))) < 1e-5


def test_a_difference_is_found_and_nothing_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module, facts = trained(build("unet3d", SMALL)), facts_of("unet3d", (2, 2, 2), arguments=SMALL)
    real = onnx_write._Writer._weight

    def spoilt(self: Any, name: str, array: Any, dtype: str = "float32") -> str:
        return real(self, name, np.asarray(array) * (1.001 if name.endswith("bias") else 1), dtype)

    monkeypatch.setattr(onnx_write._Writer, "_weight", spoilt)
    with pytest.raises(InputError, match=r"differ from PyTorch's by .* \(allowed: 0.0001\)"):
        onnx_bytes(module, facts)
