"""interact through the engine: whatever the blocks, the same predictions as the rules give on the whole arrays."""

from __future__ import annotations

import json
import tracemalloc
from itertools import product

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

from volengine.cli.interact import command
from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.rules import Compete, Interact, parse_rules
from volengine.core.volume import Volume
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.open import open_source, open_volume
from volengine.ops.interact import RuleChain
from volengine.ops.pyramid import pyramid
from volengine.tasks.common.images import StoreOptions, image_spec
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.interact.blocks import gate_block
from volengine.tasks.interact.plan import plan_interact
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.interact.verb import INTERACT, interact, predictions_of

SHAPE, VOXEL = (24, 50, 140), (10.0, 10.0, 10.0)
FEATURES = ("carbon", "membrane", "ribosome")
RULES = (
    Compete(("carbon", "membrane"), ("carbon", "membrane")),
    Interact("membrane", "carbon", "avoid", 3.0),
    Interact("ribosome", "membrane", "colocalize", 4.0, 0.6, "3d"),
)
RECIPE = InteractRecipe(RULES)
QUIET = RunOptions(progress=False)


def made(features=FEATURES, shape=SHAPE, dtype="uint8"):
    """Smooth predictions."""
    rng = np.random.default_rng(7)
    found = {}
    for name in features:
        smooth = ndimage.gaussian_filter(rng.random(shape), 2)
        smooth = (smooth - smooth.min()) / np.ptp(smooth)
        found[name] = (smooth * 255).round().astype(dtype) if dtype == "uint8" else smooth.astype(dtype)
    return found


def store(url, array, feature, name="TS_01", voxel_size=VOXEL):
    """A prediction as segment writes it: one level, small chunks."""
    like = Volume(url=url, shape=array.shape, dtype=array.dtype.name, voxel_size=voxel_size, name=name)
    facts = {"feature": feature, "history": [{"verb": "segment"}]} if feature else {}
    spec: ImageSpec = image_spec(
        url, like, StoreOptions((16,) * 3, (32,) * 3, levels=2), dtype=like.dtype, kind="probability", facts=facts
    )
    omezarr.create_image(spec, token="input")
    for number, level in enumerate(pyramid(array, [at.factor for at in spec.levels], "probability")):
        ZarrSink(spec.volume(number)).write(Box.of_shape(level.shape), level)
    omezarr.finish_image(spec)
    return url


def voxels_of(volume):
    return open_source(volume).read(Box.of_shape(volume.shape))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    return {
        name: store(str(folder / f"TS_01__{name}.ome.zarr"), array, name) for name, array in made().items()
    }  # fmt: skip


@pytest.mark.parametrize("block", [None, (32, 32, 32), (32, 64, 64)], ids=str)
def test_same_as_the_rules_on_whole_arrays(tmp_path, stores, block):
    whole = RuleChain(RULES, VOXEL).apply(made())
    found = interact(stores, str(tmp_path), RECIPE, QUIET.with_(block=block))
    assert set(found) == set(FEATURES)
    for name in FEATURES:
        assert found[name].url == str(tmp_path / f"TS_01__{name}.ome.zarr")
        assert np.array_equal(voxels_of(found[name]), whole[name])
        coarse = open_volume(found[name].url, level=1)
        assert np.array_equal(voxels_of(coarse), pyramid(whole[name], [(1, 1, 1), (2, 2, 2)], "probability")[1])
    for name, url in stores.items():
        assert np.array_equal(voxels_of(open_volume(url)), made()[name])  # what was read is as it was


def test_only_changed_features_are_written_and_say_how(tmp_path, stores):
    recipe = InteractRecipe(({"interact": {"child": "ribosome", "parent": "membrane", "radius_nm": 2}},))
    found = interact(stores, str(tmp_path), recipe, QUIET)
    assert sorted(p.name for p in tmp_path.glob("*.zarr")) == ["TS_01__ribosome.ome.zarr"]
    assert found["carbon"].url == stores["carbon"]
    facts, step = found["ribosome"].facts, found["ribosome"].facts["history"][-1]
    assert facts["feature"] == "ribosome"
    assert [s["verb"] for s in facts["history"]] == ["segment", "interact"]
    assert step["recipe"]["rules"][0]["interact"]["radius_nm"] == 2.0
    assert step["with"] == {"membrane": ["TS_01__membrane.ome.zarr", open_volume(stores["membrane"]).identity]}
    assert found["ribosome"].kind == "probability"
    assert found["ribosome"].voxel_size == VOXEL


@pytest.mark.parametrize("radius_nm", [1e6, 1e300])
@pytest.mark.parametrize("shape", ["2d", "3d"])
def test_a_radius_beyond_all_volumes_is_refused(tmp_path, stores, radius_nm, shape):
    rule = {"child": "ribosome", "parent": "membrane", "radius_nm": radius_nm, "shape": shape}
    with pytest.raises(InputError, match=r"voxels of .*up to 4095 are possible"):
        interact(stores, str(tmp_path), InteractRecipe(({"interact": rule},)), QUIET)
    assert list(tmp_path.glob("*.zarr")) == []


def test_the_report_counts_what_was_erased(tmp_path, stores):
    jobs, run_dir = jobs_of(INTERACT, predictions_of(list(stores.values())), str(tmp_path), RECIPE, QUIET)
    report = run_jobs(jobs, run_dir, QUIET).check()
    whole, before = RuleChain(RULES, VOXEL).apply(made()), made()
    counts = {k: v for k, v in report.counts.items() if k.endswith("voxels erased")}
    assert counts == {
        f"{name} voxels erased": np.count_nonzero(before[name]) - np.count_nonzero(whole[name]) for name in FEATURES
    }


def test_ais_files_are_known_by_their_names(tmp_path):
    """uint16 files with 255 as 1.0, as Ais writes its uint8 predictions."""
    arrays = made(("a", "b"), (12, 20, 24))
    for name, array in arrays.items():
        with mrcfile.new(tmp_path / f"TS_02__{name}.mrc") as file:
            file.set_data(array.astype(np.uint16))
            file.voxel_size = 10.0
    rules = (Compete(("a", "b"), ("a", "b")), Interact("a", "b", radius_nm=3.5))
    sources = [str(p) for p in sorted(tmp_path.glob("*.mrc"))]
    jobs, run_dir = jobs_of(
        INTERACT, predictions_of(sources), str(tmp_path / "out"), InteractRecipe(rules, compat="ais"), QUIET
    )
    run_jobs(jobs, run_dir, QUIET).check()
    whole = RuleChain(rules, VOXEL, "ais").apply(arrays)
    for name in "ab":
        found = voxels_of(open_volume(str(tmp_path / "out" / f"TS_02__{name}.ome.zarr")))
        assert np.array_equal(found, whole[name])
        assert found.dtype == np.uint8  # of which 255 is 1.0, as in every prediction


def test_tomograms_are_kept_apart_and_bad_sources_fail_alone(tmp_path, stores):
    arrays = made(shape=(20, 33, 40))
    for name in FEATURES:
        store(str(tmp_path / "in" / f"TS_03__{name}.ome.zarr"), arrays[name], name, "TS_03")
    nameless = store(str(tmp_path / "in" / "nameless.ome.zarr"), arrays["carbon"], "", "nameless")
    sources = [*stores.values(), *(str(p) for p in sorted((tmp_path / "in").iterdir()))]
    jobs, run_dir = jobs_of(INTERACT, predictions_of(sources), str(tmp_path / "out"), RECIPE, QUIET)
    assert [job.name for job in jobs] == ["TS_01", "TS_03", nameless]
    report = run_jobs(jobs, run_dir, QUIET)
    assert list(report.failures) == [nameless]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.zarr")) == [
        f"TS_0{n}__{name}.ome.zarr" for n, name in product((1, 3), FEATURES)
    ]


def volume(feature, **changes):
    """The handle of a prediction that segment has written."""
    facts = {"url": f"p/TS_01__{feature}.ome.zarr", "shape": SHAPE, "dtype": "uint8", "voxel_size": VOXEL, "path": "0"}
    known = {"feature": feature, "history": [{"verb": "segment"}]}
    values = {**facts, "name": "TS_01", "identity": feature, "kind": "probability", "facts": known, **changes}
    return Volume(**values)


@pytest.mark.parametrize(
    ("changes", "recipe", "message"),
    [
        ({"shape": (24, 50, 141)}, {}, r"differ in their shape \(\(24, 50, 140\) and \(24, 50, 141\)\)"),
        ({"dtype": "float32"}, {}, r"differ in their dtype \(uint8 and float32\)"),
        ({"voxel_size": (10.0, 10.0, 11.0)}, {}, "differ in their voxel size"),
        ({"name": "TS_02"}, {}, r"differ in their name \(TS_01 and TS_02\)"),
        ({"url": "a.mrc.gz"}, {}, "a.mrc.gz is compressed as a whole"),
        ({"url": "out/TS_01__membrane.ome.zarr"}, {}, "would replace out/TS_01__membrane.ome.zarr; give another --out"),
        ({}, {"compat": "ais"}, "interact 'ribosome' with 'membrane': compat 'ais' knows discs only"),
        ({}, {"rules": (Interact("membrane", "ribosom"),)}, "Did you mean 'ribosome'.*Known: carbon, membrane, rib"),
    ],
)
def test_what_does_not_fit_is_refused_while_planning(tmp_path, changes, recipe, message):
    predictions = {name: volume(name) for name in FEATURES} | {"membrane": volume("membrane", **changes)}
    with pytest.raises(InputError, match=message):
        plan_interact(predictions, RECIPE.with_(**recipe), "out", RunFolder(str(tmp_path)).plan("TS_01"), QUIET)


@pytest.mark.parametrize(
    ("dtype", "compat", "message"),
    [("complex64", "", "holds"), ("float32", "ais", "uint8")],
)
def test_types_that_are_no_predictions(tmp_path, dtype, compat, message):
    predictions = {name: volume(name, dtype=dtype) for name in FEATURES}
    with pytest.raises(InputError, match=message):
        plan_interact(
            predictions, RECIPE.with_(compat=compat), "out", RunFolder(str(tmp_path)).plan("TS_01"), QUIET
        )  # fmt: skip


def test_the_plan_reads_the_halo_that_the_chain_needs(tmp_path):
    predictions = {name: volume(name) for name in FEATURES}
    plan = plan_interact(predictions, RECIPE, "out", RunFolder(str(tmp_path)).plan("TS_01"), QUIET)
    (stage,) = plan.stages
    assert {n: a.low for n, a in stage.arrays.items()} == {
        "carbon": (4, 7, 7),
        "membrane": (4, 7, 7),
        "ribosome": (0, 0, 0),
    }
    assert plan.notes[1] == "ribosome near membrane: 4 nm is (4, 4, 4) voxels z, y, x"
    assert json.loads(json.dumps(stage.params))["voxel_size"] == list(VOXEL)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_memory_of_a_block_is_what_was_planned(tmp_path, dtype):
    shape = (96, 160, 160)
    arrays = made(shape=shape, dtype=dtype)
    predictions = {n: volume(n, shape=shape, dtype=dtype, chunks=(16,) * 3, shards=(32,) * 3) for n in FEATURES}
    plan = plan_interact(
        predictions, RECIPE, "out", RunFolder(str(tmp_path)).plan("TS_01"), QUIET.with_(block=(64, 128, 128))
    )
    (stage,) = plan.stages
    box = stage.tiling.box(0)
    boxes = {name: source.box(box, shape) for name, source in stage.arrays.items()}
    parts = {name: np.ascontiguousarray(arrays[name][b.slices]) for name, b in boxes.items()}
    block = Block(0, (0, 0, 0), box, shape, parts, boxes)
    stage.run(block)  # imports count once
    tracemalloc.start()
    try:
        result = gate_block(block, **stage.params)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    planned = stage.kernel_bytes + sum(a.nbytes for a in result.arrays.values())
    assert 0.4 * planned < peak <= planned


def test_the_command_gives_what_the_function_gives(tmp_path, stores):
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "compat: ais\n"
        "rules:\n"
        "  - compete: {emit: [carbon, membrane], absorb: [carbon, membrane]}\n"
        "  - interact: {child: membrane, parent: carbon, kind: avoid, radius_nm: 3}\n"
    )
    out = tmp_path / "out"
    args = [*stores.values(), "--rules", str(rules), "--out", str(out), "--no-progress"]
    shown = CliRunner().invoke(command, [*args, "--dry-run"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "membrane away from carbon: 3 nm is (0, 2, 2) voxels" in shown.output
    assert not out.exists() or not list(out.glob("*.zarr"))
    CliRunner().invoke(command, args, catch_exceptions=False)
    chain = parse_rules([{"compete": {"emit": ["carbon", "membrane"], "absorb": ["carbon", "membrane"]}}])
    chain += (Interact("membrane", "carbon", "avoid", 3.0),)
    found = voxels_of(open_volume(str(out / "TS_01__membrane.ome.zarr")))
    assert np.array_equal(found, RuleChain(chain, VOXEL, "ais").apply(made())["membrane"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compat: ais\n", "a list named 'rules' is missing"),
        ("rules: []\nradius: 3\n", "there is no 'radius'"),
        ("rules: []\n", "at least one rule"),
        (
            "compat: ais\nrules:\n  - interact: {child: a, parent: b}\n  - compete: {emit: [a, b], absorb: [a]}\n",
            "competes once, before all interactions",
        ),
        ("rules:\n  - interact: {child: a, parent: b, radius: 3}\n", r"rules\[0\].interact.*Did you mean 'radius_nm'"),
    ],
)
def test_wrong_rule_files_say_where(tmp_path, text, message):
    rules = tmp_path / "rules.yaml"
    rules.write_text(text)
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(
            command, ["none.ome.zarr", "--rules", str(rules), "--out", "x"], catch_exceptions=False
        )  # fmt: skip


def test_recipes_are_equal_however_they_are_written():
    assert InteractRecipe.from_json(json.loads(json.dumps(RECIPE.to_json()))) == RECIPE
    assert RECIPE.rules == RULES
