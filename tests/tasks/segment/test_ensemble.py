"""Ensembles: models of one feature are averaged; the mean is rounded once, and depends on nothing but the models."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from volengine.cli.main import cli
from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.core.errors import InputError, MissingError
from volengine.core.model import ModelFacts
from volengine.engine.memory import peak_bytes
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume
from volengine.nets import checkpoint, predictor
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build
from volengine.tasks.common.inputs import globbed
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.segment.description import Net, teams
from volengine.tasks.segment.mean_blocks import mean_block
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

SHAPE = (20, 24, 28)
QUIET = RunOptions(progress=False)
SMALL = {"width": 2, "levels": 2}
FINE = 2.0**-22
"""Most by which a mean of fixed-point sums differs from that of float32 predictions: their own rounding, and 2^-31 for
each patch."""


def model(folder: Path, name: str, seed: int, network: str = "unet3d", **facts) -> str:
    """A model file with random weights whose probabilities differ from place to place."""
    torch.manual_seed(seed)
    values = {"features": ("membrane",), "voxel_size": (10, 10, 10), "patch": (8, 8, 8), **facts}
    values["stride"] = (2 if values["patch"][0] > 1 else 1, 2, 2)
    channels = len(values["features"])
    arguments = {**SMALL, "channels": channels}
    if values.get("context", 1) > 1:
        arguments["context"] = values["context"]
    module = build(network, arguments)
    with torch.no_grad():
        module.head.weight.mul_(6)
    path = folder / f"{name}.safetensors"
    save_model(path, module, ModelFacts(network=network, arguments=arguments, **values))
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tomogram, and models that differ in everything."""
    folder = tmp_path_factory.mktemp("ensemble")
    values = np.random.default_rng(0).normal(3, 2, SHAPE).astype(np.float32)
    write_mrc(folder / "TS_01.mrc", [values], SHAPE, "float32", (10, 10, 10))
    flat = {"patch": (1, 16, 16), "network": "unet2d", "normalisation": "per_slice", "overlap": 0.25}
    two = {"features": ("ribosome", "membrane"), "patch": (8, 16, 8), "window": "hann", "normalisation": "none"}
    softmax = {"features": ("background", "membrane", "ribosome"), "activation": "softmax"}
    models = {
        "a": model(folder, "a", 0),
        "b": model(folder, "b", 1, patch=(4, 8, 12), overlap=0.25, normalisation="per_patch"),
        "flat": model(folder, "flat", 2, **flat),
        "flat2": model(folder, "flat2", 12, **flat),
        "two": model(folder, "two", 3, **two),
        "softmax": model(folder, "softmax", 4, **softmax),
        "coarse": model(folder, "coarse", 5, voxel_size=(14, 14, 14)),
        "values": model(folder, "values", 6, activation="none", target="volume"),
        "units": model(folder, "units", 7, activation="none", target="none"),
        "other": model(folder, "other", 8, features=("carbon",)),
    }
    return folder, str(folder / "TS_01.mrc"), models


def predicted(data, names, options=QUIET, **recipe):
    """The predictions of a run by their names."""
    folder, source, known = data
    out = folder / f"out{len(list(folder.glob('out*')))}"
    made = SegmentRecipe(models=tuple(known[name] for name in names), **{"dtype": "float32", **recipe})
    return {name: read(volume) for name, volume in segment(source, str(out), made, options).items()}


def read(volume) -> np.ndarray:
    return open_source(volume).read(Box.of_shape(volume.shape))


def planned(data, names, options=QUIET, **recipe):
    folder, source, known = data
    made = SegmentRecipe(models=tuple(known.get(name, name) for name in names), **{"dtype": "float32", **recipe})
    out = str(folder / "planned")
    return plan_segment(open_volume(source), made, out, plan_folder(str(folder / "planned.run"), "TS_01"), options)


def test_one_model_is_itself_and_two_are_the_mean_of_both(data):
    alone = {name: predicted(data, [name])["membrane"] for name in ("a", "b")}
    assert abs(alone["a"] - alone["b"]).max() > 0.1
    np.testing.assert_array_equal(predicted(data, ["a"], ensemble=True)["membrane"], alone["a"])
    both = predicted(data, ["a", "b"], ensemble=True)["membrane"]
    np.testing.assert_allclose(both, (alone["a"] + alone["b"]) / 2, atol=FINE, rtol=0)
    rounded = predicted(data, ["a", "b"], ensemble=True, dtype="uint8")["membrane"]
    np.testing.assert_array_equal(rounded, np.rint(both * 255.0))  # once, at the end


def test_features_are_matched_by_their_names(data):
    """Two models of two features in another order, one with a background, and one that knows one feature only."""
    names = ("two", "softmax", "a")
    alone = {name: predicted(data, [name]) for name in names}
    found = predicted(data, names, ensemble=True)
    assert sorted(found) == ["membrane", "ribosome"]
    np.testing.assert_allclose(
        found["membrane"], np.mean([alone[n]["membrane"] for n in names], axis=0), atol=FINE, rtol=0
    )
    both = np.mean([alone[n]["ribosome"] for n in names[:2]], axis=0)
    np.testing.assert_allclose(found["ribosome"], both, atol=FINE, rtol=0)


def test_logits_are_averaged_before_the_sigmoid(data):
    logits = [predicted(data, [n], answer="logits")["membrane"] for n in ("a", "b")]
    mean = (logits[0] + logits[1]) / 2
    found = predicted(data, ["a", "b"], ensemble=True, mean_of="logits")["membrane"]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-mean)), atol=1e-5)
    assert abs(found - predicted(data, ["a", "b"], ensemble=True)["membrane"]).max() > 1e-3
    raw = predicted(data, ["a", "b"], ensemble=True, answer="logits")["membrane"]
    np.testing.assert_allclose(raw, mean, atol=2e-5)


def test_uncertainty_is_the_spread_over_models_views_and_patches(data):
    """Without overlap and with one view, the standard deviation of two numbers is half of their difference."""
    plain = {"overlap": 0.0, "patch": (4, 8, 4)}
    a, b = (predicted(data, [n], **plain)["membrane"] for n in ("a", "two"))
    found = predicted(data, ["a", "two"], ensemble=True, uncertainty=True, **plain)
    np.testing.assert_allclose(found["membrane uncertainty"], abs(a - b) / 2, atol=1e-3)
    names = ("a", "b")
    own = {n: predicted(data, [n], uncertainty=True, tta=4) for n in names}
    both = predicted(data, names, ensemble=True, uncertainty=True, tta=4)
    means = np.stack([own[n]["membrane"] for n in names])
    inner = np.stack([own[n]["membrane uncertainty"] for n in names])
    spread = np.sqrt(means.var(axis=0) + (inner**2).mean(axis=0))  # between the models, and within them
    np.testing.assert_allclose(both["membrane uncertainty"], spread, atol=1e-3)


@pytest.fixture(scope="module")
def whole(data):
    """The ensemble of four models in one block."""
    folder, source, known = data
    return predicted((folder, chunked(folder, source), known), FOUR, **BYTES)


FOUR = ["a", "b", "two", "flat"]
BYTES = {"ensemble": True, "dtype": "uint8", "uncertainty": True, "levels": 1}


@pytest.mark.parametrize(
    ("order", "block"), [(FOUR, (8, 24, 28)), (FOUR[::-1], (12, 16, 14)), (["two", "flat", "a", "b"], (20, 12, 14))]
)
def test_blocks_and_order_change_no_byte(data, whole, order, block):
    folder, source, known = data
    store = (folder, chunked(folder, source), known)
    found = predicted(store, order, RunOptions(progress=False, block=block), **BYTES)
    assert sorted(found) == sorted(whole)
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values)


def chunked(folder: Path, source: str) -> str:
    """The tomogram as a store with small shards, so that blocks may be small."""
    from volengine.tasks.convert.recipe import ConvertRecipe
    from volengine.tasks.convert.verb import convert

    store = folder / "TS_01.ome.zarr"
    if not store.exists():
        convert(source, str(store), ConvertRecipe(chunk=(4, 4, 2), shard=(4, 4, 2), levels=1), QUIET)
    return str(store)


def test_models_of_other_voxel_sizes_are_averaged_on_the_tomograms_grid(data):
    match = {"match": "isotropic"}
    names = ("a", "coarse", "b")
    alone = [predicted(data, [n], **match, uncertainty=True) for n in names]
    means = np.stack([found["membrane"] for found in alone])
    found = predicted(data, names, ensemble=True, uncertainty=True, **match)
    np.testing.assert_allclose(found["membrane"], means.mean(axis=0), atol=1e-6)
    inner = np.stack([some["membrane uncertainty"] for some in alone])
    spread = np.sqrt(means.var(axis=0) + (inner**2).mean(axis=0))
    np.testing.assert_allclose(found["membrane uncertainty"], spread, atol=1e-3)
    again = predicted(data, names[::-1], ensemble=True, uncertainty=True, **match)
    for name, values in found.items():
        np.testing.assert_array_equal(again[name], values)
    folder, source, known = data
    for block in ((8, 24, 28), (12, 16, 16)):
        store = (folder, chunked(folder, source), known)
        parts = predicted(store, names, RunOptions(progress=False, block=block), ensemble=True, **match)
        np.testing.assert_array_equal(parts["membrane"], found["membrane"])


def test_logits_of_several_grids_are_resampled_and_averaged(data):
    names, recipe = ("a", "coarse"), {"match": "isotropic", "ensemble": True}
    raw = predicted(data, names, answer="logits", **recipe)["membrane"]
    found = predicted(data, names, mean_of="logits", **recipe)["membrane"]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-raw.astype(float))), atol=1e-6)
    a = predicted(data, ["a"], answer="logits", match="isotropic")["membrane"]
    coarse = predicted(data, ["coarse"], answer="logits", match="isotropic")["membrane"]
    np.testing.assert_allclose(raw, (a + coarse) / 2, atol=1e-5)
    with pytest.raises(InputError, match="leave it out, or use --mean-of probabilities"):
        planned(data, names, mean_of="logits", uncertainty=True, **recipe)


def test_the_kernel_of_several_grids_by_hand():
    """Two models on one grid that say 0.5 and one on another that says 0.2: 0.4; spreads 0 and 0.3."""
    box = Box((0, 0, 0), (1, 1, 2))
    values = {"0/f": 0.5, "0/f uncertainty": 0.0, "1/f": 0.2, "1/f uncertainty": 0.3}
    arrays = {name: np.full(box.shape, value, np.float32) for name, value in values.items()}
    block = Block(0, (0, 0, 0), box, box.shape, arrays, dict.fromkeys(arrays, box))
    weights = {name: [2 if name.startswith("0") else 1, 3] for name in values}
    how = {"how": "linear", "sigmoid": False, "dtype": "float32", "rounding": "nearest", "factors": [[1, 1, 1]]}
    found = mean_block(block, [list(box.shape)] * 2, weights, counted=["f"], **how)
    np.testing.assert_allclose(found.arrays["f@0"], 0.4, rtol=1e-6)
    # E[p^2] = (0.25 + 0.25 + 0.04 + 0.09) / 3 = 0.21; 0.21 - 0.16 = 0.05
    np.testing.assert_allclose(found.arrays["f uncertainty@0"], np.sqrt(0.05), rtol=1e-5)
    assert found.counts == {"f voxels above 0.5": 0}


def test_values_of_networks_that_remove_noise_are_averaged(data):
    folder, source, known = data
    known = {**known, "values2": model(folder, "values2", 16, activation="none", target="volume")}
    alone = [predicted((folder, source, known), [n])["membrane"] for n in ("values", "values2")]
    found = predicted((folder, source, known), ["values", "values2"], ensemble=True)["membrane"]
    np.testing.assert_allclose(found, (alone[0] + alone[1]) / 2, atol=1e-4)
    assert found.min() < 0


def test_what_contradicts_itself_is_refused(data):
    _, _, known = data
    with pytest.raises(InputError, match="'membrane': average them with --ensemble"):
        planned(data, ["a", "b"])
    with pytest.raises(InputError, match="the same model, which would count twice"):
        planned(data, ["a", "a"], ensemble=True)
    each = r"(?=.*/a.safetensors: membrane).*/other.safetensors: carbon"
    with pytest.raises(InputError, match=rf"no two of these have \({each}"):
        planned(data, ["a", "other"], ensemble=True)
    with pytest.raises(InputError, match=r"'membrane' is .* they cannot be averaged"):
        planned(data, ["a", "values"], ensemble=True)
    with pytest.raises(InputError, match=r"\(standard deviations\).*\(the target's units\)|units.*deviations"):
        planned(data, ["values", "units"], ensemble=True)
    with pytest.raises(InputError, match="softmax over its channels; only probabilities"):
        planned(data, ["a", "softmax"], ensemble=True, mean_of="logits")
    with pytest.raises(MissingError, match="no model file with such a name"):
        planned(data, [str(Path(known["a"]).parent / "nothing_*.safetensors")], ensemble=True)


def test_patterns_stand_for_files(data, tmp_path):
    folder, _, known = data
    assert globbed([str(folder / "flat*.safetensors"), "cytoplasm"]) == [known["flat"], known["flat2"], "cytoplasm"]
    odd = tmp_path / "a[1].safetensors"
    odd.write_bytes(Path(known["a"]).read_bytes())
    assert globbed([str(odd)]) == [str(odd)]


def test_the_plan_says_what_is_averaged_and_the_store_names_the_models(data):
    plan = planned(data, ["a", "two", "b"], ensemble=True)
    told = next(note for note in plan.notes if note.startswith("membrane: mean"))
    assert "of the probabilities of 3 models" in told
    assert "ribosome: of one model, two.safetensors" in plan.notes
    facts = {spec.facts["feature"]: spec.facts for spec in plan.images if not spec.scratch}
    named = {Path(one["model"]).stem for one in facts["membrane"]["ensemble"]}
    assert named == {"a", "b", "two"}
    assert len({one["digest"] for one in facts["membrane"]["ensemble"]}) == 3
    assert [Path(one["model"]).stem for one in facts["ribosome"]["ensemble"]] == ["two"]
    assert facts["membrane"]["history"][-1]["recipe"]["ensemble"] is True
    orders = [planned(data, names, ensemble=True) for names in itertools.permutations(["a", "two", "b"])]
    assert len({tuple(each.identities.values()) for each in orders}) == 1


def test_memory_grows_by_the_weights_and_one_more_sum(data):
    """Sums are added as they are made: ten models need the sums of two, not of ten."""
    folder, source, known = data
    many = {f"m{k}": model(folder, f"m{k}", 20 + k) for k in range(6)}
    here = (folder, source, {**known, **many})

    def work(count: int) -> int:
        options = RunOptions(progress=False, block=SHAPE)
        stages = planned(here, list(many)[:count], options, ensemble=True).stages
        stage = next(s for s in stages if s.name.endswith("-predict"))
        return stage.kernel_bytes

    assert work(1) < work(2) == work(6)
    plans = [planned(here, list(many)[:n], ensemble=True) for n in (1, 6)]
    first, last = (max(peak_bytes(s) for s in plan.stages) for plan in plans)
    assert last > first  # the weights of all of them are in memory


@pytest.mark.parametrize("features", [("membrane",) * 10, tuple(f"f{k}" for k in range(10))])
def test_each_of_many_models_is_loaded_once(data, tmp_path, monkeypatch, features):
    """Ten of one feature, or of ten features, are used in turn in each block; the usual number that is kept is 8."""
    loaded = []
    load = checkpoint.load_model
    monkeypatch.setattr(checkpoint, "load_model", lambda path, **more: loaded.append(path) or load(path, **more))
    names = [model(tmp_path, f"m{k}", 60 + k, features=(f,)) for k, f in enumerate(features)]
    here = (tmp_path, chunked(tmp_path, data[1]), dict(zip(names, names, strict=True)))
    options = RunOptions(progress=False, durable=False, block=(20, 24, 14))
    stages = planned(here, names, options, ensemble=len({*features}) == 1, levels=1).stages
    assert any(len(s.tiling) > 1 for s in stages if s.name.endswith("-predict"))
    predicted(here, names, options, ensemble=len({*features}) == 1, levels=1)
    assert sorted(loaded) == sorted(names)
    predicted(data, ["a", "b"], ensemble=True)
    assert len(predictor._kept) == predictor.USUAL  # no more than usual, once fewer are used in turn


def test_networks_that_share_features_are_one_team(data):
    """The first two have none in common; the third joins them, wherever it stands."""
    folder, source, known = data
    here = (folder, source, {**known, "mine": model(folder, "mine", 40, features=("ribosome",))})
    for names in itertools.permutations(["a", "mine", "two"]):
        params = next(s for s in planned(here, names, ensemble=True).stages if s.name.endswith("-predict")).params
        (team,) = teams(map(Net.from_json, params["nets"]))
        assert set(team.features) == {"membrane", "ribosome"}
        assert sorted(net.averaged for net in team.nets) == [(2,), (2,), (2, 2)]
    assert len(teams(nets_alone(here))) == 2


def nets_alone(here) -> list[Net]:
    """Two networks of different features, without an ensemble."""
    stage = next(s for s in planned(here, ["a", "mine"]).stages if s.name.endswith("-predict"))
    assert all("averaged" not in net for net in stage.params["nets"])  # as in plans of before
    return [Net.from_json(net) for net in stage.params["nets"]]


def test_the_command_takes_what_a_shell_makes_of_a_pattern(data, tmp_path):
    _, source, known = data
    words = ["segment", source, "--models", known["a"], known["b"], "--ensemble", "--out", str(tmp_path / "o")]
    told = CliRunner().invoke(cli, [*words, "--dry-run"])
    assert told.exit_code == 0, told.output
    assert "membrane: mean of the probabilities of 2 models" in told.output
    pattern = str(Path(known["a"]).parent / "[ab].safetensors")
    told = CliRunner().invoke(cli, ["segment", source, "--models", pattern, "--out", str(tmp_path / "o"), "--dry-run"])
    assert told.exit_code != 0
    assert "average them with --ensemble" in str(told.exception)
