"""segment with another library than PyTorch: exact across blocks and workers, never taken for one another."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from installed_backends import BACKENDS

from volengine.core.boxes import Box
from volengine.core.errors import DependencyError, InputError, WorkersRefusedError
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.engine.resources import backends_of, wanted_by
from volengine.engine.workers import check_packages
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume
from volengine.nets import backends
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

SHAPE = (36, 48, 56)
QUIET = RunOptions(progress=False)
MODELS = {
    "solid": ("unet3d", {"width": 4, "levels": 2}, {"patch": (16, 16, 16), "stride": (2, 2, 2), "overlap": 0.5}),
    "flat": ("vggnet", {"context": 1}, {"patch": (1, 32, 32), "stride": (1, 4, 4), "overlap": 0.5}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tomogram as OME-Zarr with small shards, and two models."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(0)
    write_mrc(folder / "TS_01.mrc", [rng.normal(size=SHAPE).astype(np.float32)], SHAPE, "float32", (10, 10, 10))
    url = str(folder / "TS_01.ome.zarr")
    convert(str(folder / "TS_01.mrc"), url, ConvertRecipe(chunk=(12, 16, 16), shard=(12, 16, 16)), QUIET)
    for name, (network, arguments, facts) in MODELS.items():
        torch.manual_seed(0)
        net = build(network, arguments).eval()
        with torch.no_grad():
            logits = net(torch.randn(1, 1, *((32, 32, 32) if name == "solid" else (64, 64))))
            net.head.weight.div_(logits.std())
            net.head.bias.sub_(logits.mean()).div_(logits.std())
        values = {"features": (name,), "voxel_size": (10, 10, 10), "network": network, "arguments": arguments, **facts}
        save_model(folder / f"{name}.safetensors", net, ModelFacts(**values))
    return folder


def predicted(data, out, name, options=QUIET, **recipe):
    """The voxels of a prediction."""
    how = SegmentRecipe(models=(str(data / f"{name}.safetensors"),), **recipe)
    segment(str(data / "TS_01.ome.zarr"), str(out), how, options)
    return open_source(open_volume(str(out))).read(Box.of_shape(SHAPE))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_any_blocks_and_threads_give_the_same_bytes_and_pytorchs_probabilities(data, tmp_path, backend, name):
    plain = predicted(data, tmp_path / "a.zarr", name, dtype="float32")
    whole = predicted(data, tmp_path / "b.zarr", name, dtype="float32", backend=backend)
    assert plain.std() > 0.1
    assert 0 < np.abs(whole - plain).max() < 1e-5 or np.array_equal(whole, plain)
    for number, block in enumerate([(12, 32, 32), (12, 32, 64), (24, 48, 32)]):
        options = QUIET.with_(block=block, workers=2 if number == 2 else 0)
        found = predicted(data, tmp_path / f"{number}.zarr", name, options, dtype="float32", backend=backend)
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_and_version_are_part_of_a_stage_of_history_and_of_the_report(data, tmp_path, backend, monkeypatch):
    def plan(**recipe):
        how = SegmentRecipe(models=(str(data / "solid.safetensors"),), **recipe)
        source = open_volume(str(data / "TS_01.ome.zarr"))
        return plan_segment(source, how, str(tmp_path / "o.zarr"), plan_folder(str(tmp_path / "r"), "TS_01"), QUIET)

    told = backends.named(backend)
    plans = [plan(), plan(backend=backend)]
    monkeypatch.setattr(backends, "named", lambda _: f"{backend} 0.0.1")
    plans.append(plan(backend=backend))
    stages = [next(s for s in p.stages if s.name.endswith("predict")) for p in plans]
    assert [backends_of(stage) for stage in stages] == [(), (told,), (f"{backend} 0.0.1",)]
    assert len({stage.identify({"image": "x"}, defaultdict(str)) for stage in stages}) == 3
    steps = [next(i for i in p.images if not i.scratch).facts["history"][-1] for p in plans]
    assert [step.get("backend") for step in steps] == [None, told, f"{backend} 0.0.1"]
    assert wanted_by(stages[0], {"GPU": 1}) == {"GPU": 1}
    assert wanted_by(stages[1], {"GPU": 1, "CPU": 1}) == {"CPU": 1}
    assert any(told in note for note in plans[1].notes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_result_of_another_backend_is_made_anew(data, tmp_path, backend):
    first = predicted(data, tmp_path / "a.zarr", "solid", dtype="float32")
    predicted(data, tmp_path / "a.zarr", "solid", dtype="float32", backend=backend)
    report = json.loads((tmp_path / "a.zarr.run" / "report.json").read_text())
    done = {s["stage"].rpartition("-")[2]: s["run"] for s in report["plans"]["TS_01"]["stages"]}
    assert done["predict"] > 0
    assert np.abs(open_source(open_volume(str(tmp_path / "a.zarr"))).read(Box.of_shape(SHAPE)) - first).max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_without_the_backend_is_refused(data, tmp_path, backend, monkeypatch):
    """The driver believes in another version than the workers, which are real processes, have."""
    monkeypatch.setattr(backends, "named", lambda _: f"{backend} 0.0.1")
    with pytest.raises(WorkersRefusedError, match=rf"{backend} [\d.]+ \(driver: 0.0.1; needed by --backend"):
        predicted(data, tmp_path / "a.zarr", "solid", QUIET.with_(workers=1), backend=backend)
    with pytest.raises(InputError, match=f"computes its networks with {backend} 0.0.1, but this process has"):
        predicted(data, tmp_path / "b.zarr", "solid", backend=backend)
    with pytest.raises(WorkersRefusedError, match=r"nothing-such none \(driver: 1\.0"):
        check_packages(("nothing-such 1.0",))


def test_what_contradicts_a_backend_is_refused(data, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="leave out --precision bfloat16"):
        SegmentRecipe(models=("m",), backend="openvino", precision="bfloat16")
    with pytest.raises(InputError, match="leave out --compile"):
        SegmentRecipe(models=("m",), backend="onnxruntime", compile=True)
    monkeypatch.setattr(backends, "named", lambda _: "openvino 1")
    with pytest.raises(InputError, match="computes networks on CPUs, but --device is cuda"):
        predicted(data, tmp_path / "a.zarr", "solid", QUIET.with_(device="cuda"), backend="openvino")
    monkeypatch.undo()

    def none(name: str) -> str:
        raise backends.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(backends.metadata, "version", none)
    with pytest.raises(DependencyError, match=r"volengine\[openvino\]"):
        predicted(data, tmp_path / "a.zarr", "solid", backend="openvino")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_onnx_file_is_planned_and_predicted(data, tmp_path, backend):
    from volengine.nets.checkpoint import load_model
    from volengine.nets.formats.onnx.write import onnx_bytes

    (tmp_path / "solid.onnx").write_bytes(onnx_bytes(*load_model(data / "solid.safetensors"))[0])
    plain = predicted(data, tmp_path / "a.zarr", "solid", dtype="float32")
    how = SegmentRecipe(models=(str(tmp_path / "solid.onnx"),), dtype="float32", backend=backend)
    segment(str(data / "TS_01.ome.zarr"), str(tmp_path / "b.zarr"), how, QUIET)
    found = open_source(open_volume(str(tmp_path / "b.zarr"))).read(Box.of_shape(SHAPE))
    assert np.abs(found - plain).max() < 1e-5
