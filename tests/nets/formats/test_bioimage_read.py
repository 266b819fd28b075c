"""Packages of the BioImage Model Zoo: what their descriptions mean here, and which are refused."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from volengine.core.errors import FormatError, InputError
from volengine.nets.formats.bioimage_read import read_package
from volengine.tasks.models.exchange import import_model
from volengine.tasks.models.recipe import ModelImportRecipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no package"),
        ("a: [", "damaged"),
        ("weights: {pytorch_state_dict: {source: x.pt}}", "only ONNX is read"),
        ("weights: {onnx: {source: ../x.onnx}}", "not in it"),
        ("!!python/object/apply:os.system ['true']", "damaged"),
        ("- 1", "names no weights"),
        ("weights: {onnx: {source: a.onnx, source: b.onnx}}", "damaged .*'source' is there twice"),
    ],
)
def test_packages_that_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("rdf.yaml" if text is not None else "other", text or "")
    with pytest.raises(FormatError, match=said):
        read_package(tmp_path / "x.zip")


def network(ends: str = "Mul") -> bytes:
    """A 2D network of another program that multiplies by 2 (and then maybe ends with a sigmoid)."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper.make_node
    nodes = [make("Mul", ["x", "two"], ["y" if ends == "Mul" else "z"])]
    nodes += [make(ends, ["z"], ["y"])] if ends != "Mul" else []
    tensors = [onnx.helper.make_tensor_value_info(name, 1, ["b", 1, "h", "w"]) for name in "xy"]
    two = onnx.helper.make_tensor("two", 1, [1], [2.0])
    graph = onnx.helper.make_graph(nodes, "net", tensors[:1], tensors[1:], [two])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def step(name: str, **values: Any) -> dict[str, Any]:
    return {"id": name, "kwargs": values}


def package(
    path: Path,
    before: list[Any],
    after: list[Any],
    axes: str = "bcyx",
    answer: str = "",
    ends: str = "Mul",
    **more: Any,
) -> Path:
    """A package of version 0.5."""
    kinds: dict[str, Any] = {"b": {"type": "batch"}, "c": {"type": "channel", "channel_names": ["grey"]}}
    order = [[kinds.get(a, {"type": "space", "id": a}) for a in text] for text in (axes, answer or axes)]
    weights = network(ends)
    told = {
        "inputs": [{"axes": order[0], "preprocessing": before}],
        "outputs": [{"axes": order[1], "postprocessing": after}],
        "weights": {"onnx": {"source": "w.onnx", "sha256": hashlib.sha256(weights).hexdigest()} | more},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", yaml.safe_dump(told))
        archive.writestr("w.onnx", weights)
    return path


STANDARDISED = "zero_mean_unit_variance"


@pytest.mark.parametrize(
    ("before", "normalisation"),
    [
        ([], "none"),
        ([step("ensure_dtype", dtype="float32")], "none"),
        ([step(STANDARDISED, axes=["y", "x"])], "per_slice"),
        ([step(STANDARDISED, axes=["channel", "y", "x"], eps=1e-6)], "per_slice"),
        ([step(STANDARDISED)], "per_slice"),
        ([{"name": STANDARDISED, "kwargs": {"mode": "per_sample", "axes": "xy"}}], "per_slice"),
        ([step(STANDARDISED, axes=["x"])], ""),
        ([step(STANDARDISED, axes=["y", "x"], eps=0.1)], ""),
        ([{"name": STANDARDISED, "kwargs": {"mode": "per_dataset", "axes": "xy"}}], ""),
        ([step("scale_linear", gain=-1.0)], ""),
        ([step("fixed_zero_mean_unit_variance", mean=100, std=7)], ""),
        ([step("clip", min=-3, max=3), step(STANDARDISED, axes=["y", "x"])], ""),
        ([step("ensure_dtype", dtype="uint8")], ""),
    ],
)
def test_what_comes_before_the_network_is_done_or_refused(
    tmp_path: Path, before: list[Any], normalisation: str
) -> None:
    file = package(tmp_path / "x.zip", before, [step("sigmoid")])
    if normalisation:
        found = read_package(file)
        assert (found.axes, found.normalisation, found.activation) == ("bcyx", normalisation, "sigmoid")
        return
    with pytest.raises(InputError, match=r"x\.zip: before its network comes .*cannot do"):
        read_package(file)
    assert read_package(file, normalisation="volume").normalisation == "volume"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"after": [step("scale_linear", gain=-1.0, offset=1.0)]}, "after its network comes scale_linear"),
        (
            {"after": [step("sigmoid"), step("binarize", threshold=0.9)]},
            "comes sigmoid, then binarize",
        ),
        ({"after": [step("sigmoid")], "ends": "Sigmoid"}, "ends with a sigmoid, after which"),
        ({"axes": "bctx"}, "axes of its input"),
        ({"answer": "bcxy"}, "its output bcxy"),
        ({"sha256": "0" * 64}, "the checksum of its weights"),
    ],
)
def test_what_comes_after_the_network_axes_and_checksum(tmp_path: Path, told: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_package(package(tmp_path / "x.zip", **{"before": [], "after": [], **told}))


def test_the_facts_of_an_imported_package_are_those_of_its_description(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    file = package(tmp_path / "x.zip", [step(STANDARDISED, axes=["y", "x"])], [step("sigmoid")])
    with pytest.raises(InputError, match=r"x\.zip does not say its voxel size.* import \S*x\.zip OUT"):
        import_model(file, tmp_path / "x.onnx")
    recipe = ModelImportRecipe(voxel_size=10.0, features=("disc",), patch=(1, 32, 32))
    facts = import_model(file, tmp_path / "x.onnx", recipe)
    assert (facts.normalisation, facts.activation) == ("per_slice", "sigmoid")
