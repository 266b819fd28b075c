"""BioImage Model Zoo: the package is valid, its digests and test tensors are right, and what it cannot say is said."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from volengine.core.errors import DependencyError, InputError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import load_model
from volengine.nets.formats.bioimage_write import Card, bioimage_bytes, preprocessing
from volengine.nets.formats.onnx.read import load_onnx
from volengine.nets.registry import build

spec = pytest.importorskip("bioimageio.spec", reason="the extra bioimage is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

NETWORKS: dict[str, dict[str, Any]] = {
    "slices": {"network": "unet", "arguments": {"context": 3}, "patch": (1, 64, 64), "stride": (1, 4, 4), "context": 3},
    "slice": {"network": "eman2", "patch": (1, 64, 64), "stride": (1, 2, 2)},
    "volume": {"network": "unet3d", "arguments": {"width": 2, "levels": 2}, "patch": (32, 32, 32), "stride": (2, 2, 2)},
}
CARD = Card(title="Membranes / 10 Å", authors=("A. Author", "B. Author"), licence="CC-BY-4.0")


def made(kind: str, **more: Any) -> tuple[nn.Module, ModelFacts]:
    values = {"features": ["double membrane"], "voxel_size": [10, 9, 8], **NETWORKS[kind], **more}
    facts = ModelFacts.from_json(values)
    channels = {"channels": len(facts.features)} if len(facts.features) > 1 else {}
    torch.manual_seed(0)
    return build(facts.network, {**facts.arguments, **channels}).eval(), facts


def described(content: bytes) -> tuple[Any, dict[str, Any], dict[str, bytes]]:
    """bioimageio.spec's view of a package, its description, and its members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = spec.load_description(archive, perform_io_checks=True)
        members = {name: archive.read(name) for name in archive.namelist()}
    return found, yaml.safe_load(members["rdf.yaml"]), members


@pytest.mark.parametrize(
    ("kind", "normalisation"),
    [
        *(("slices", n) for n in ("none", "per_slice", "per_patch", "volume", "global_mad")),
        *(("slice", n) for n in ("per_slice", "volume")),
        *(("volume", n) for n in ("per_patch", "volume")),
    ],
)
def test_packages_are_valid_and_answer_as_they_say(kind: str, normalisation: str) -> None:
    module, facts = made(kind, normalisation=normalisation)
    content, notes = bioimage_bytes(module, facts, CARD)
    found, rdf, members = described(content)
    assert found.validation_summary.status in ("passed", "valid-format")
    assert rdf["weights"]["onnx"]["sha256"] == hashlib.sha256(members["weights.onnx"]).hexdigest()
    given, wanted = (np.load(io.BytesIO(members[f"test_{name}.npy"])) for name in ("input", "output"))
    seen = given.astype("float64")
    axes = [axis.get("id", "batch") for axis in rdf["inputs"][0]["axes"]]
    for step in rdf["inputs"][0]["preprocessing"]:
        assert step["id"] == "zero_mean_unit_variance"
        over = tuple(axes.index(name) for name in step["kwargs"]["axes"])
        seen = (seen - seen.mean(over, keepdims=True)) / (seen.std(over, keepdims=True) + step["kwargs"]["eps"])
    session = onnxruntime.InferenceSession(members["weights.onnx"], providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"image": seen.astype("float32")})
    assert np.abs(answer - wanted).max() < 1e-6
    with torch.inference_mode():  # and that is the network's
        assert np.abs(torch.sigmoid(module(torch.from_numpy(seen.astype("float32")))).numpy() - wanted).max() < 1e-5
    assert wanted.std() > 0
    said = normalisation == "none" or (
        normalisation in ("per_slice", "per_patch") or (normalisation, kind) == ("volume", "volume")
    )
    assert bool(rdf["inputs"][0]["preprocessing"]) == (said and normalisation != "none")
    assert any("must be normalised before" in note for note in notes) == (not said)
    assert all(note in members["README.md"].decode() for note in notes)


def test_what_the_description_says(tmp_path: Path) -> None:
    module, facts = made("slices", receptive_field=(0, 13, 13), normalisation="per_slice", threshold=0.4)
    content, notes = bioimage_bytes(module, facts, CARD)
    found, rdf, members = described(content)
    assert rdf["name"] == "Membranes   10"
    assert [a["name"] for a in rdf["authors"]] == ["A. Author", "B. Author"]
    assert rdf["license"] == "CC-BY-4.0"
    assert not any("licence" in note or "author" in note for note in notes)
    batch, channel, y, x = rdf["inputs"][0]["axes"]
    assert batch == {"type": "batch"}
    assert channel["channel_names"] == ["slice_0", "slice_1", "slice_2"]
    assert (y["scale"], x["scale"], x["unit"]) == (9.0, 8.0, "angstrom")
    assert x["size"] == {"min": 28, "step": 4}
    out = rdf["outputs"][0]["axes"]
    assert out[1]["channel_names"] == ["double_membrane"]
    assert out[3]["size"] == {"tensor_id": "image", "axis_id": "x"}
    assert out[3]["halo"] == 13
    assert rdf["config"]["volengine"] == facts.to_json()
    assert found.config.model_extra["volengine"]["threshold"] == 0.4
    (tmp_path / "w.onnx").write_bytes(members["weights.onnx"])
    assert load_onnx(tmp_path / "w.onnx")[1].threshold == 0.4


def test_nothing_is_claimed_that_nobody_said() -> None:
    module, facts = made("slice")
    content, notes = bioimage_bytes(module, facts, Card())
    found, rdf, _ = described(content)
    assert found.validation_summary.status == "valid-format"
    assert rdf["authors"] == []
    assert "license" not in rdf
    assert [note.split(" (")[0] for note in notes[-2:]] == ["No author is named", "No licence is given"]
    assert rdf["name"] == "double membrane in tomograms"


def test_the_same_model_gives_the_same_package() -> None:
    module, facts = made("slice")
    assert bioimage_bytes(module, facts, CARD) == bioimage_bytes(module, facts, CARD)


def test_several_features_and_a_softmax() -> None:
    module, facts = made("volume", features=["background", "core", "2nd shell"], activation="softmax")
    _, rdf, members = described(bioimage_bytes(module, facts, CARD)[0])
    assert rdf["outputs"][0]["axes"][1]["channel_names"] == ["background", "core", "_2nd_shell"]
    assert rdf["outputs"][0]["postprocessing"] == []
    assert np.abs(np.load(io.BytesIO(members["test_output.npy"])).sum(1) - 1).max() < 1e-5


def test_values_have_no_range_and_no_activation() -> None:
    module, facts = made("volume", activation="none", normalisation="none")
    _, rdf, members = described(bioimage_bytes(module, facts, CARD)[0])
    assert rdf["outputs"][0]["data"] == {"type": "float32"}
    assert np.load(io.BytesIO(members["test_output.npy"])).min() < 0


def test_small_probabilities_are_no_reason_to_refuse() -> None:
    module, facts = made("volume")
    with torch.no_grad():
        module.head.bias.fill_(-9.0)
    found, _, members = described(bioimage_bytes(module, facts, CARD)[0])
    assert found.validation_summary.status == "valid-format"
    assert np.load(io.BytesIO(members["test_output.npy"])).max() < 1e-3


def test_an_onnx_file_of_another_program_keeps_its_graph(tmp_path: Path) -> None:
    """Logits there, so the description says the sigmoid; its axes are the other program's."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    from volengine.nets.formats.onnx.told import Told, with_told_facts

    weight = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(1, 1, 3, 3)).astype("float32"), "w")
    nodes = [
        helper.make_node("Transpose", ["in"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["c"], ["out"], perm=[0, 2, 3, 1]),
    ]
    ends = [helper.make_tensor_value_info(n, 1, [1, 32, 48, 1]) for n in ("in", "out")]
    graph = helper.make_graph(nodes, "theirs", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "f.onnx")
    told = Told(10.0, ("p",), axes="byxc", activation="sigmoid", normalisation="per_slice")
    (tmp_path / "g.onnx").write_bytes(with_told_facts(tmp_path / "f.onnx", told)[0])
    module, facts = load_model(tmp_path / "g.onnx")
    _, rdf, members = described(bioimage_bytes(module, facts, CARD)[0])
    assert [axis.get("id", "batch") for axis in rdf["inputs"][0]["axes"]] == ["batch", "y", "x", "channel"]
    assert [axis.get("size") for axis in rdf["inputs"][0]["axes"]][1:3] == [32, 48]
    assert rdf["outputs"][0]["postprocessing"] == [{"id": "sigmoid"}]
    assert rdf["weights"]["onnx"]["opset_version"] == 13
    answer = np.load(io.BytesIO(members["test_output.npy"]))
    assert answer.shape == (1, 32, 48, 1)
    assert 0 < answer.min() < answer.max() < 1


def test_what_is_not_accepted_is_one_line() -> None:
    module, facts = made("slice")
    with pytest.raises(InputError, match=r"bioimageio\.spec does not accept the model's description: license") as error:
        bioimage_bytes(module, facts, Card(licence="my own"))
    assert len(str(error.value)) < 250
    assert "\n" not in str(error.value)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module, facts = made("slice")
    monkeypatch.setitem(sys.modules, "bioimageio.spec", None)
    with pytest.raises(DependencyError, match=r"volengine\[bioimage\]"):
        bioimage_bytes(module, facts, CARD)


def test_the_steps_of_each_normalisation() -> None:
    flat, deep = (made(kind, normalisation="per_patch")[1] for kind in ("slices", "volume"))
    assert preprocessing(flat)[0][0]["kwargs"] == {"axes": ["channel", "y", "x"], "eps": 1e-12}
    assert preprocessing(deep)[0][0]["kwargs"]["axes"] == ["z", "y", "x"]
    assert preprocessing(deep.with_(normalisation="per_slice"))[0][0]["kwargs"]["axes"] == ["y", "x"]
    assert preprocessing(flat.with_(normalisation="none")) == ([], ())
