"""Proposals: rules as a pure function of measured facts, facts of volumes with known objects, files of proposals."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from train_cases import SHAPE, case_in, recipe

from volengine import propose_training, train
from volengine.cli.main import cli
from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.core.yaml_recipes import parse_yaml, read_yaml
from volengine.io.picks import write_picks
from volengine.nets.checkpoint import load_facts
from volengine.tasks.train.proposal import Proposal, given_of, kept_proposal
from volengine.tasks.train.propose import MEMORY_SHARE, Proposed, propose
from volengine.tasks.train.propose_facts import Candidate, FeatureFacts, GreyFacts, MachineFacts, SampleFacts
from volengine.tasks.train.propose_measure import measure
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.sources import open_sources

CPU = MachineFacts("CPU", "cpu", 8 * 2**30, 4)
GPU = MachineFacts("GPU", "gpu", 24 * 2**30, 4)
NETS = (
    Candidate("unet3d", True, 23, (4, 4, 4)),
    Candidate("unet3d", True, 51, (8, 8, 8), {"levels": 4}),
    Candidate("unet2d", False, 51, (1, 8, 8), {}, True),
    Candidate("unet2d", False, 107, (1, 16, 16), {"levels": 5}, True),
)


def volume(**changes: Any) -> SampleFacts:
    facts = SampleFacts(
        "a.mrc", "volume", "both", (200, 400, 400), 200 * 400 * 400, 200, (10.0, 10.0, 10.0),
        (FeatureFacts("f", 0.01, 6.0),), ("a",), GreyFacts(), (0.4, 0.5, 0.5),
    )  # fmt: skip
    return replace(facts, **changes)


def bytes_of(network: Candidate, patch: tuple[int, int, int], context: int, batch: int) -> int:
    return 600 * patch[0] * patch[1] * patch[2] * batch


def proposed(*samples: SampleFacts, machine: MachineFacts = CPU, **given: Any) -> dict[str, Any]:
    known = [n for n in NETS if n.network == given.get("network", n.network)]
    return {p.field: p.value for p in propose(samples or [volume()], machine, known, given, bytes_of)}


# -- the rules -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(40, 2000), st.integers(40, 2000)),
    thick=st.none() | st.floats(0.5, 300),
    share=st.floats(1e-7, 0.9),
    size=st.tuples(*[st.floats(1, 60)] * 3),
    memory=st.integers(2**28, 2**37),
    gpu=st.booleans(),
    folds=st.sampled_from([0, 2, 5]),
)
def test_proposals_fit_the_data_and_the_memory_or_are_refused(
    shape: Any, thick: float | None, share: float, size: Any, memory: int, gpu: bool, folds: int
) -> None:
    facts = volume(
        shape=shape, voxels=int(np.prod(shape)), depth=shape[0], voxel_size=size,
        features=(FeatureFacts("f", share, thick),),
    )  # fmt: skip
    machine = replace(GPU if gpu else CPU, memory=memory)
    try:
        found = proposed(facts, machine=machine, **({"folds": folds} if folds else {}))
    except InputError as error:
        if "too small" in str(error) or "of the free memory" in str(error):
            return
        raise
    patch, network = found["patch"], next(n for n in NETS if n.network == found["network"])
    stride = 8 if found.get("arguments") and network.volumetric else 4 if network.volumetric else 8
    axis = int(np.argmax(shape))
    for a in range(3):
        assert patch[a] == 1 if not network.volumetric and a == 0 else patch[a] % stride == 0
        assert patch[a] <= shape[a] // (max(2, folds) if a == axis else 1)
    assert bytes_of(network, patch, found["context"], found["batch"]) <= MEMORY_SHARE * memory
    assert (found["context"] == 1) or (not network.volumetric and found["context"] <= shape[0])
    assert found["batch"] >= 1
    assert found["epochs"] >= 1
    assert 0 < found["positive_share"] < 1
    whole = {**found, "samples": [{"volume": "a.mrc", "labels": ["l.mrc"]}], "features": ["f"], "folds": folds}
    whole.pop("")
    assert TrainRecipe.from_json(whole).to_json()["patch"] == list(patch)
    assert found == proposed(facts, machine=machine, **({"folds": folds} if folds else {}))


def test_what_is_given_stays() -> None:
    own = {"patch": (16, 48, 48), "batch": 3, "epochs": 7, "steps": 11, "normalisation": "none", "context": 1}
    found = proposed(**own)
    assert not own.keys() & found.keys()
    assert found["network"] == "unet3d"
    flat = proposed(patch=(1, 64, 64))
    assert flat["network"] == "unet2d"
    assert flat["context"] > 1
    assert "arguments" not in proposed(network="unet3d")


def test_what_does_not_fit_is_shrunk_and_what_is_given_is_refused() -> None:
    room = proposed()
    tight = proposed(machine=replace(CPU, memory=int(600 * 2 * 24**3 / MEMORY_SHARE)))
    assert np.prod(tight["patch"]) < np.prod(room["patch"])
    assert tight["batch"] <= 2
    assert bytes_of(NETS[0], tight["patch"], 1, tight["batch"]) <= 600 * 2 * 24**3
    with pytest.raises(InputError, match=r"4 patches of 64x64x64 .* Give a smaller --patch or --batch"):
        proposed(machine=replace(CPU, memory=2**20), patch=(64, 64, 64), batch=4)


def test_flat_data_are_learnt_in_2d() -> None:
    assert proposed()["network"] == "unet3d"
    assert proposed(volume(voxel_size=(30.0, 10.0, 10.0)))["network"] == "unet2d"
    assert proposed(volume(voxel_size=(29.0, 10.0, 10.0)))["network"] == "unet3d"
    few = volume(shape=(12, 512, 512), depth=12)
    assert proposed(few)["network"] == "unet2d"
    apart = proposed(volume(alike=(0.1, 0.9, 0.9)))
    assert apart["network"] == "unet2d"
    assert apart["context"] == 1
    assert proposed(volume(alike=(0.01, 0.05, 0.05)))["network"] == "unet3d"  # noise, along all axes
    assert proposed(volume(kind="slices"))["context"] == 5
    assert proposed(volume(kind="boxes", box=64))["patch"] == (1, 64, 64)
    assert proposed(volume(kind="boxes", box=64, shape=(9, 90, 90)))["patch"] == (1, 40, 64)


def test_thick_objects_get_wider_networks_larger_patches_and_advice_to_bin() -> None:
    thin, thick = (volume(features=(FeatureFacts("f", 0.01, t),)) for t in (4.0, 40.0))
    assert proposed(thin)["patch"] == (32, 32, 32)
    assert proposed(thick)["patch"] == (48, 48, 48)
    assert proposed(thick)["arguments"] == {"levels": 4}
    assert proposed(thick, machine=GPU)["patch"] == (120, 120, 120)
    advice = propose([thick], CPU, NETS, {}, bytes_of)[-1]
    assert advice.value == 40.0
    assert "4 times larger voxels" in advice.reason
    assert "nothing is resampled" in advice.reason
    assert "larger voxels" not in propose([thin], CPU, NETS, {}, bytes_of)[-1].reason


def test_normalisation_by_grey_values() -> None:
    def of(**greys: float) -> str:
        return str(proposed(volume(greys=GreyFacts(**greys)))["normalisation"])

    assert of() == "volume"
    assert of(offset=0.5) == of(gain=0.5) == "per_patch"
    assert of(tails=3.0) == "global_mad"
    assert of(drift=0.9) == "volume"  # slices of a tomogram differ because of what is in them
    flat = volume(greys=GreyFacts(drift=0.9), voxel_size=(40.0, 10.0, 10.0))
    assert proposed(flat)["normalisation"] == "per_slice"
    assert proposed(volume(kind="set", greys=None))["normalisation"] == "per_patch"


def test_validation_by_the_number_of_tomograms() -> None:
    many = [volume(name=f"{k}.mrc", tomograms=(f"{k}",)) for k in range(5)]
    assert proposed(*many)["validation"] == "tomogram"
    assert proposed(*many[:3])["validation"] == "ends"
    assert "validation" not in proposed(*many, folds=5)
    held = propose(many, CPU, NETS, {}, bytes_of, validated=True)
    assert {p.field: p.value for p in held}["validation_share"] == 0.0
    odd = volume(voxel_size=(20.0, 20.0, 20.0))
    assert proposed(volume(), odd)["any_voxel_size"] is True
    said = [p.reason for p in propose([volume(), odd], CPU, NETS, {}, bytes_of) if not p.field]
    assert any(reason.startswith("voxel size 10 to 20 angstrom as it is") for reason in said)
    assert "any_voxel_size" not in proposed()
    assert "any_voxel_size" not in proposed(volume(voxel_size=(40.0, 10.0, 10.0)))


def test_patches_may_be_whole_where_no_tomogram_is_divided() -> None:
    many = [volume(name=f"{k}.mrc", tomograms=(f"{k}",), shape=(48, 40, 40)) for k in range(5)]
    assert proposed(*many)["patch"] == proposed(*many, folds=5)["patch"] == proposed(*many, validation_share=0)["patch"]
    assert proposed(*many)["patch"][0] > proposed(*many, validation="slab")["patch"][0]  # type: ignore[index]


def test_a_feature_that_is_nowhere_is_refused() -> None:
    features = (FeatureFacts("block", 0.1), FeatureFacts("none", 0.0))
    with pytest.raises(InputError, match="No voxel of 'none' lies in any sample"):
        proposed(volume(features=features))


def test_data_that_are_too_thin_are_told_what_helps() -> None:
    thin = volume(shape=(6, 200, 200), voxels=6 * 200 * 200, depth=6)
    with pytest.raises(
        InputError, match=r"6 voxels along z are there, but unet3d needs 8. Give --network unet2d, fewer"
    ):
        proposed(thin, network="unet3d")
    with pytest.raises(InputError, match=r"7 voxels along z can be .* Give a --patch and --validation-share 0"):
        proposed(volume(shape=(14, 14, 14), voxels=14**3), network="unet3d", validation="slab")


def test_few_slices_are_those_of_the_sample_that_has_them() -> None:
    cube, slab = volume(shape=(28, 50, 50)), volume(shape=(12, 512, 512), depth=12)
    assert proposed(cube, slab)["network"] == proposed(slab, cube)["network"] == "unet2d"
    assert proposed(cube)["network"] == "unet3d"


def test_the_kind_of_validation_that_is_given_decides_the_share() -> None:
    several = [volume(tomograms=(f"t{k}",)) for k in range(5)]
    assert proposed(*several, validation="ends")["validation_share"] == 0.15
    assert proposed(*several)["validation_share"] == 0.2
    assert proposed(*several[:3], validation="tomogram")["validation_share"] == 0.2


def test_samples_for_validation_leave_the_others_whole() -> None:
    small = volume(shape=(40, 40, 40), voxels=40**3)
    patches = [
        next(p.value for p in propose([small], GPU, NETS, {}, bytes_of, validated=held) if p.field == "patch")
        for held in (False, True)
    ]
    assert patches == [(20, 40, 40), (40, 40, 40)]


# -- measured facts ------------------------------------------------------------------------------------------


def write(path: Path, array: np.ndarray, voxel_size: float = 10.0) -> str:
    with mrcfile.new(path, data=array, overwrite=True) as mrc:
        mrc.voxel_size = voxel_size
    return str(path)


def test_thickness_share_and_likeness_of_a_known_volume(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shape = (60, 64, 68)
    sheet, balls = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    sheet[:, 30:35] = 1
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    for middle in ((20, 15, 20), (40, 15, 40), (30, 50, 50)):
        balls[((grid - np.reshape(middle, (3, 1, 1, 1))) ** 2).sum(0) <= 64] = 1
    balls[:, :, :4] = 2  # not known
    slices = np.repeat(rng.normal(size=(60, 1, 1)), 64, 1) + np.zeros(shape)  # each slice is constant
    noise = rng.normal(size=shape).astype(np.float32)
    files = [write(tmp_path / f"{n}.mrc", a) for n, a in (("i", noise), ("s", sheet), ("b", balls))]
    facts = measure([TrainSample(volume=files[0], labels=tuple(files[1:]))], ("sheet", "ball"))[0]
    one, two = facts.features
    assert one.share == 5 / 64
    assert one.thickness_vox == pytest.approx(5, abs=0.6)
    assert two.share == (balls == 1).sum() / (60 * 64 * 64)
    assert two.thickness_vox == pytest.approx(16, abs=1)
    assert facts.alike == pytest.approx((0, 0, 0), abs=0.02)
    assert facts.greys is not None
    assert facts.greys.drift < 0.1
    write(tmp_path / "i.mrc", (slices + 0.1 * noise).astype(np.float32))
    facts = measure([TrainSample(volume=files[0], labels=tuple(files[1:]))], ("sheet", "ball"))[0]
    assert facts.features[0].thickness_vox == pytest.approx(5, abs=0.6)  # in single slices
    assert facts.alike is not None
    assert facts.alike[0] < 0.5
    assert min(facts.alike[1:]) > 0.7
    assert facts.greys is not None
    assert facts.greys.drift > 0.9
    assert facts.tomograms == ("i",)


def test_balls_around_points_and_a_region_that_is_not_typical(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(40, 48, 48)).astype(np.float32)
    image[:, :24] += 5
    path = write(tmp_path / "i.mrc", image)
    write_picks(tmp_path / "p.csv", Picks([[20, 10, 10]], voxel_size=(10, 10, 10), shape=image.shape))
    sample = TrainSample(volume=path, points=(str(tmp_path / "p.csv"),), radius_nm=(4.0,), region=(0, 0, 0, -1, 24, -1))
    facts = measure([sample], ("f",))[0]
    assert facts.shape == (40, 24, 48)
    assert facts.features[0].thickness_vox == 8.0
    assert facts.greys is not None
    assert facts.greys.offset == pytest.approx(0.93, abs=0.05)  # 2.5 / sqrt(1 + 2.5**2)
    assert facts.greys.gain < 0.5


# -- whole proposals -----------------------------------------------------------------------------------------


def fields(case: dict[str, str], **more: Any) -> dict[str, Any]:
    samples = [{"volume": case["image"], "labels": [case["labels"]]}]
    return {"samples": samples, "features": ["block"], "device": "cpu", "network": "unet3d", **more}


SMALL = {"arguments": {"width": 2, "levels": 2}, "patch": [8, 8, 8], "steps": 2, "epochs": 2}


def test_a_proposal_can_be_trained_and_its_yaml_is_the_recipe(tmp_path: Path) -> None:
    proposal = propose_training(fields(case_in(tmp_path), **SMALL))
    assert proposal.recipe.patch == (8, 8, 8)
    assert proposal.recipe.positive_share == 0.33
    assert TrainRecipe.from_json(parse_yaml(proposal.yaml(), "text")) == proposal.recipe
    assert yaml.safe_load(proposal.yaml())["samples"][0]["labels"] == [str(tmp_path / "labels.mrc")]
    assert Proposal.from_json(json.loads(json.dumps(proposal.to_json()))).recipe == proposal.recipe
    assert open_sources(proposal.recipe.samples, proposal.recipe.rules())
    assert any("a step took" in line for line in proposal.lines())


@settings(deadline=None, max_examples=50)
@given(name=st.text(min_size=1).filter(str.strip), value=st.floats(1e-9, 1e9))
def test_yaml_keeps_odd_names_and_numbers(name: str, value: float) -> None:
    sample = TrainSample(volume=name, labels=("1:2:3",), weight=value)
    made = TrainRecipe(samples=(sample,), features=("012",), learning_rate=value)
    text = Proposal(made, given_of(made), (Proposed("batch", 4, f"a reason\nof {name}"),)).yaml()
    assert TrainRecipe.from_json(parse_yaml(text, "text")) == made


def test_of_a_recipe_the_fields_with_other_values_than_the_defaults_are_given(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    assert set(given_of(recipe(case))) == {
        *("samples", "features", "arguments", "patch", "epochs", "steps", "batch", "device")
    }
    with pytest.raises(InputError, match=r"starts from a\.safetensors: give the --network"):
        propose_training(recipe(case, start="a.safetensors"))
    with pytest.raises(InputError, match="'features' is missing"):
        given_of({"samples": [{"volume": "a.mrc", "labels": ["b.mrc"]}]})


def test_a_training_goes_on_with_the_proposal_that_it_began_with(tmp_path: Path) -> None:
    case, out = case_in(tmp_path), str(tmp_path / "m.safetensors")
    known = fields(case, **SMALL)
    first, before = kept_proposal(known, out)
    assert not before
    path = tmp_path / "m.proposal.json"
    told = json.loads(path.read_text())
    told["recipe"]["batch"] = 5  # as on a machine with other memory
    path.write_text(json.dumps(told))
    again, before = kept_proposal(known, out)
    assert before
    assert again.recipe == first.recipe.with_(batch=5)
    other, before = kept_proposal({**known, "seed": 3}, out)  # nothing was trained yet
    assert (before, other.recipe.seed, other.recipe.batch) == (False, 3, first.recipe.batch)
    train(other.recipe, out, progress=False)
    with pytest.raises(InputError, match=r"proposed for other fields \(seed\)"):
        kept_proposal(known, out)
    assert kept_proposal({**known, "seed": 3}, out)[1]
    labels = tmp_path / "labels.mrc"
    with mrcfile.open(labels, "r+") as mrc:
        mrc.data[0, 0, 0] ^= 1
    again, before = kept_proposal({**known, "seed": 3}, out)
    assert before
    with pytest.raises(InputError, match=r"other data: .*labels\.mrc changed since"):
        train(again.recipe, out, progress=False)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    small = {**SMALL, "network": "unet3d", "device": "cpu", "features": ["block"]}
    (tmp_path / "r.yaml").write_text(json.dumps(small))
    base = ["train", "r.yaml", "--volume", "image.mrc", "--labels", "labels.mrc"]

    def call(*more: str, rc: int = 0) -> str:
        done = CliRunner().invoke(cli, [*base, *more])
        assert done.exit_code == rc, done.output
        return done.output

    before = sorted(os.listdir(tmp_path))
    shown = call("--plan")
    assert sorted(os.listdir(tmp_path)) == before
    assert TrainRecipe.from_json(parse_yaml(shown, "text")).network == "unet3d"
    assert "filled.yaml" in call("--plan", "--out", "filled.yaml")
    assert TrainRecipe.from_json(read_yaml("filled.yaml")).positive_share == 0.33
    assert "exists" in call("--plan", "--out", "filled.yaml", rc=2)
    assert "writes a recipe" in call("--plan", "--out", "m.txt", rc=2)
    assert "Give --out" in call(rc=2)
    assert not list(tmp_path.glob("*.training"))
    with monkeypatch.context() as under_torchrun:
        under_torchrun.setenv("RANK", "0")
        assert "Under torchrun give a recipe" in call("--auto", "--out", "m.safetensors", rc=2)
        assert "Under torchrun give a recipe" in call("--folds", "2", "--out", "m.safetensors", rc=2)
    said = call("--auto", "--out", "m.safetensors")
    assert "Proposed from the data:" in said
    assert "positive_share 0.33" in said
    stored = load_facts(tmp_path / "m.safetensors").history[-1]["recipe"]
    assert stored["positive_share"] == 0.33
    proposed = json.loads((tmp_path / "m.proposal.json").read_text())["recipe"]
    assert stored == TrainRecipe.from_json(proposed).resolved().to_json()
    assert "As proposed before:" in call("--auto", "--out", "m.safetensors")


def test_the_radius_of_each_feature_is_its_own(tmp_path: Path) -> None:
    """The order is that of the sample's features, not of the recipe's; and a sample may know only some."""
    image = write(tmp_path / "a.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    points = str(tmp_path / "points.csv")
    write_picks(points, Picks([[8, 20, 12]], voxel_size=(10, 10, 10), shape=SHAPE))
    sample = TrainSample(image, points=(points, points), radius_nm=(2.0, 5.0), features=("c", "b"))
    (facts,) = measure([sample], ("a", "b", "c"))
    assert {f.name: f.thickness_vox for f in facts.features} == {"b": 10.0, "c": 4.0}


def test_the_time_is_that_of_the_folds_that_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case_in(tmp_path)
    given = {"samples": [{"volume": "image.mrc", "labels": ["labels.mrc"]}], "features": ["block"], "device": "cpu"}
    given |= {"network": "unet3d", "arguments": {"width": 2, "levels": 2}, "patch": [8, 8, 8], "folds": 2}
    assert "2 folds of" in propose_training(given).lines()[-1]
    assert "folds" not in propose_training({**given, "fold": 1}).lines()[-1]


@pytest.mark.parametrize("damage", ["[]", "{}", '{"given": {}, "recipe": {}, "reasons": [{}], "data": {}}', "\x00"])
def test_a_damaged_proposal_is_refused(tmp_path: Path, damage: str) -> None:
    made = recipe(case_in(tmp_path))
    (tmp_path / "m.proposal.json").write_text(damage)
    with pytest.raises(FormatError, match=r"m\.proposal\.json"):
        kept_proposal(made, str(tmp_path / "m.safetensors"))


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"network": "unet3d", "patch": [1, 8, 8]}, r"is 3D, but the patch \(1, 8, 8\) is 2D"),
        ({"network": "unet2d", "patch": [8, 8, 8]}, r"is 2D, but the patch \(8, 8, 8\) is 3D"),
        ({"network": "unet3d", "context": 5}, "sees no context slices"),
        ({"network": "unet3d", "adversarial": True}, "is for 2D networks"),
        ({"patch": [8, 8, 32]}, "24 voxels along x"),
        ({"samples": [{"labels": ["small.mrc"]}]}, r"small\.mrc has the shape \(4, 4, 4\)"),
        ({"samples": [{"targets": ["small.mrc"]}], "loss": "l2"}, r"small\.mrc has the shape \(4, 4, 4\)"),
        ({"samples": [{"targets": ["zero.mrc"]}], "loss": "l2"}, r"zero\.mrc: the target is 0 everywhere"),
        ({"samples": [{"labels": ["zero.mrc"]}]}, "No voxel of 'block'"),
        ({"samples": [{"volume": "zero.mrc", "labels": ["labels.mrc"]}]}, r"zero\.mrc: all 15360 voxels are 0"),
        ({"samples": [{"volume": "hole.mrc", "labels": ["labels.mrc"]}], "normalisation": "volume"}, "not finite"),
    ],
)
def test_a_plan_refuses_what_a_training_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    case_in(tmp_path)
    write(tmp_path / "small.mrc", np.ones((4, 4, 4), np.int8))
    write(tmp_path / "zero.mrc", np.zeros(SHAPE, np.float32))
    hole = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    hole[15, 39, 23] = np.nan  # in the last voxel
    write(tmp_path / "hole.mrc", hole)
    (sample,) = given.get("samples", [{"labels": ["labels.mrc"]}])
    given = {k: v for k, v in given.items() if k != "samples"}
    named = {"samples": [{"volume": "image.mrc", **sample}], "features": ["block"], "device": "cpu", **given}
    with pytest.raises(InputError, match=message):
        propose_training(named)
    whole = {"arguments": {"width": 2, "levels": 2}, "patch": [8, 8, 8], "epochs": 1, "steps": 1, "batch": 2, **named}
    with pytest.raises(InputError, match=message):
        train(TrainRecipe.from_json(whole), "m.safetensors", progress=False)


def test_an_own_network_without_context_is_proposed_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case_in(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef Flat(channels):\n    return nn.Conv2d(1, channels, 3, padding=1)\n"
    )
    sample = {"volume": "image.mrc", "labels": ["labels.mrc"]}
    given = {"samples": [sample], "features": ["block"], "network": "mine.py:Flat", "device": "cpu"}
    assert propose_training(given).recipe.context == 1
