"""volengine score: the numbers do not depend on blocks or workers, and what does not fit is refused."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from engine_plans import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from volume_files import em_bytes, graph_bytes

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError, MemoryRefusedError, MissingError
from volengine.core.picks import Picks
from volengine.engine.options import RunOptions
from volengine.io.picks import write_picks
from volengine.ops.score_masks import UNIT, confusion, count, count_skeletons, scores
from volengine.ops.skeleton import slice_skeleton, surface_skeleton
from volengine.tasks.score.benchmark import score_patches
from volengine.tasks.score.inputs import Case
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.table import Scores
from volengine.tasks.score.verb import score

SHAPE = (36, 48, 60)
QUIET = RunOptions(progress=False)


def write(path: Path, array: np.ndarray, voxel_size: float | None = 10.0) -> str:
    with mrcfile.new(path, data=array) as mrc:
        if voxel_size:
            mrc.voxel_size = voxel_size
    return str(path)


def blobs(seed: int, sigma: float, share: float) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), sigma)
    return noise > np.quantile(noise, 1 - share)


def case(seed: int, sigma: float = 2.0, share: float = 0.2) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two features: predictions as uint8, and labels with ignored voxels."""
    predictions, labels = [], []
    for k in range(2):
        truth = blobs(seed + k, sigma, share)
        noise = np.random.default_rng(seed + 10 + k).normal(0, 20, SHAPE)
        predictions.append(np.clip(gaussian_filter(truth * 255.0, 1) + noise, 0, 255).astype(np.uint8))
        label = truth.astype(np.uint8)
        label[blobs(seed + 20 + k, 3, 0.1)] = 2
        labels.append(label)
    return predictions, labels


def expected(prediction: np.ndarray, labels: np.ndarray, skeleton: str) -> dict[str, float]:
    """The scores of whole arrays."""
    counts = count(prediction, labels, 0.5)
    if skeleton != "none":
        make = surface_skeleton if skeleton == "3d" else slice_skeleton
        counts |= count_skeletons(prediction > 127, make(prediction > 127), labels, make(labels == 1))
    return scores(counts)


def same(got: dict[str, Any], want: dict[str, float]) -> bool:
    return all(got[k] == v or (math.isnan(v) and math.isnan(got[k])) for k, v in want.items())


@settings(max_examples=2)
@given(
    seed=st.integers(0, 1000),
    block=st.sampled_from([None, (16, 32, 32), (8, 48, 48), (36, 16, 64)]),
    sigma=st.sampled_from([1.0, 4.0]),
    share=st.sampled_from([0.05, 0.4]),
)
def test_blocks_give_the_scores_of_the_whole(
    tmp_path_factory: Any, seed: int, block: Any, sigma: float, share: float
) -> None:
    folder = tmp_path_factory.mktemp("score")
    predictions, labels = case(seed, sigma, share)
    where = [
        {f: stored(folder, a, (8, 16, 8)).url for f, a in zip("ab", side, strict=True)}
        for side in (predictions, labels)
    ]
    found = score(*where, ScoreRecipe(), QUIET.with_(block=block))
    for feature, prediction, truth in zip("ab", predictions, labels, strict=True):
        assert same(found[feature], expected(prediction, truth, "3d"))
        assert 0 < found[feature]["surface_dice"] < 1
    np.testing.assert_array_equal(found.confusion, confusion(predictions, labels, [0.5, 0.5]))


def test_slices_are_thinned_whole(tmp_path: Path) -> None:
    predictions, labels = case(3)
    paths = [stored(tmp_path, a, (8, 16, 16)).url for a in (predictions[0], labels[0])]
    recipe = ScoreRecipe(features=("a",), skeleton="2d")
    found = score(*paths, recipe, QUIET)
    assert same(found["a"], expected(predictions[0], labels[0], "2d"))
    assert same(score(*paths, recipe, QUIET.with_(block=(8, 48, 64)))["a"], dict(found["a"]))
    with pytest.raises(InputError, match="whole slices"):
        score(*paths, recipe, QUIET.with_(block=(8, 16, 64)))


@pytest.mark.parametrize("how", ["parts", pytest.param("workers", marks=pytest.mark.slow)])
def test_workers_and_parts_give_the_same_files(tmp_path: Path, how: str) -> None:
    predictions, labels = case(5)
    paths = [stored(tmp_path, a, (8, 16, 16)).url for a in (predictions[0], labels[0])]
    outs = [str(tmp_path / f"{n}.csv") for n in "ab"]
    options = QUIET.with_(block=(24, 32, 32))
    recipe = ScoreRecipe(features=("m",))
    score(*paths, recipe, options, out=outs[0])
    if how == "workers":
        score(*paths, recipe, options.with_(workers=2), out=outs[1])
    for part in ("1/2", "2/2") if how == "parts" else ():
        args = ["score", *paths, "--features", "m", "--block", "24,32,32", "--part", part, "--no-progress"]
        done = CliRunner().invoke(cli, [*args, "--patience-s", "1", "--out", outs[1]])
        assert done.exit_code == 0, done.output
    texts = {Path(out).read_text() for out in outs}
    assert len(texts) == 1
    assert len({Path(out).with_suffix(".json").read_text() for out in outs}) == 1


def test_files_hold_what_is_returned(tmp_path: Path) -> None:
    predictions, labels = case(7)
    where = [
        {f: write(tmp_path / f"{n}_{f}.mrc", a.astype(np.uint16)) for f, a in zip("ab", side, strict=True)}
        for n, side in (("p", predictions), ("t", labels))
    ]
    out = tmp_path / "deep" / "scores.csv"
    found = score(*where, ScoreRecipe(skeleton="none"), QUIET, out=str(out))
    rows = list(csv.DictReader(out.open()))
    assert [r["feature"] for r in rows] == ["a", "b"]
    assert float(rows[1]["dice"]) == found["b"]["dice"]
    assert "surface_dice" not in rows[0]
    data = json.loads(out.with_suffix(".json").read_text())
    assert data["rows"][0]["bce"] == found["a"]["bce"]
    assert data["recipe"]["threshold"] == 0.5
    assert str(tmp_path) not in json.dumps(data["predictions"])
    assert Scores.from_json(data) == found
    lines = list(csv.reader((tmp_path / "deep" / "scores.confusion.csv").open()))
    assert lines[0] == ["predicted", "background", "a", "b"]
    assert sum(int(v) for row in lines[1:] for v in row[1:]) == sum(map(sum, found.confusion))
    assert "a  " in found.text()
    assert "voxels: predicted, true" in found.text()


def test_class_ids_instances_masks_and_regions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, SHAPE).astype(np.int16)
    guess = np.where(rng.random(SHAPE) < 0.7, classes, rng.integers(0, 5, SHAPE)).astype(np.int16)
    truth, prediction = write(tmp_path / "truth.mrc", classes), write(tmp_path / "guess.mrc", guess)
    recipe = ScoreRecipe(features=("x", "y"), prediction_ids=(3, 1), ids=(3, 1), ignore_id=4, skeleton="none")
    found = score(prediction, truth, recipe, QUIET)
    counted = classes != 4
    for feature, i in (("x", 3), ("y", 1)):
        a, b = (guess == i) & counted, classes == i
        assert found[feature]["dice"] == 2 * (a & b).sum() / (a.sum() + b.sum())
        assert math.isnan(found[feature]["bce"])
    assert found.confusion[1][2] == ((guess == 3) & (classes == 1)).sum()
    part = (slice(None), slice(8, 40), slice(0, 30))
    masks = ScoreRecipe(features=("any",), prediction_kind="labels", instances=True, skeleton="none", roi=":,8:40,:30")
    row = score(prediction, truth, masks, QUIET.with_(block=(16, 16, 16)))["any"]
    a, b = guess[part] != 0, classes[part] != 0
    assert row["dice"] == 2 * (a & b).sum() / (a.sum() + b.sum())
    assert row["voxels"] == a.size


def test_floating_predictions_and_their_cross_entropy(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    p, labels = rng.random(SHAPE).astype(np.float32), rng.integers(0, 2, SHAPE).astype(np.int8)
    paths = write(tmp_path / "p.mrc", p), write(tmp_path / "t.mrc", labels)
    got = score(*paths, ScoreRecipe(skeleton="none"), QUIET.with_(block=(16, 16, 16)))["p"]
    want = -np.log(np.where(labels == 1, p, 1 - p).astype(float).clip(1e-7, 1 - 1e-7)).mean()
    assert got["bce"] == pytest.approx(want, abs=1 / UNIT)
    logits = write(tmp_path / "logits.mrc", p * 9 - 4)
    with pytest.raises(volengine.VolengineError, match="probabilities from 0 to 1"):
        score(logits, paths[1], ScoreRecipe(skeleton="none"), QUIET.with_(retries=0))


@pytest.mark.parametrize(
    ("dtype", "highest", "said"),
    [
        (np.uint16, 100, "integers from 0 to 100, and 255 is 1.0.*--scale.*--prediction-ids"),
        (np.float32, 0.25, "above the threshold$"),
    ],
)
def test_that_nothing_was_found_is_explained(tmp_path: Path, dtype: type, highest: float, said: str) -> None:
    truth = np.zeros((8, 10, 12), np.int8)
    truth[2:5, 3:6, 3:6] = 1
    labels = write(tmp_path / "truth.mrc", truth)
    low = write(tmp_path / "low.mrc", (truth * highest).astype(dtype))
    text = score(low, labels, ScoreRecipe(features=("x",), skeleton="none")).text()
    last = text.splitlines()[-1].rstrip(".")
    assert re.match(f"No voxel that counts of the prediction of x is.*{said}", last)
    empty = write(tmp_path / "empty.mrc", truth * 0)
    assert "No voxel" not in score(low, empty, ScoreRecipe(features=("x",), skeleton="none")).text()


def test_folders_and_stores_are_paired_by_feature(tmp_path: Path) -> None:
    predictions, labels = case(11)
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    for f, a, b in zip("ab", predictions, labels, strict=True):
        write(tmp_path / "p" / f"TS_01__{f}.mrc", a.astype(np.uint16))
        write(tmp_path / "t" / f"TS_01__{f}.mrc", b.astype(np.int8))
    found = Case.find(str(tmp_path / "p"), str(tmp_path / "t"))
    assert list(found.predictions) == ["a", "b"]
    assert found.name == "TS_01"
    assert [Path(v.url).parent.name for v in found.truth.values()] == ["t", "t"]
    only = Case.find(str(tmp_path / "p"), str(tmp_path / "t" / "TS_01__b.mrc"), ScoreRecipe(features=("b",)))
    assert list(only.truth) == ["b"]
    (tmp_path / "t" / "TS_01__b.mrc").unlink()
    with pytest.raises(MissingError, match="no truth of 'b'; there are a"):
        Case.find(str(tmp_path / "p"), str(tmp_path / "t"))
    write(tmp_path / "p" / "TS_02__a.mrc", predictions[0].astype(np.uint16))
    with pytest.raises(InputError, match="one tomogram at a time"):
        Case.find(str(tmp_path / "p"), str(tmp_path / "t"))
    with pytest.raises(MissingError, match="no prediction of 'c'"):
        Case.find(str(tmp_path / "p" / "TS_01__*.mrc"), str(tmp_path / "t"), ScoreRecipe(features=("c",)))


def test_what_does_not_fit_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    p, small = np.zeros(SHAPE, np.uint16), np.zeros((4, 4, 4), np.int8)
    prediction = write(tmp_path / "p.mrc", p)
    wrong = {
        "shape": write(tmp_path / "small.mrc", small),
        "voxels of": write(tmp_path / "size.mrc", p, 13.3),
        "no such file": str(tmp_path / "none.mrc"),
    }
    for words, truth in wrong.items():
        with pytest.raises(InputError, match=words):
            score(prediction, truth, ScoreRecipe(), QUIET)
    unsized = write(tmp_path / "unsized.mrc", p.astype(np.int8), None)
    assert score(prediction, unsized, ScoreRecipe(), QUIET)["p"]["dice"] == 1
    classes = write(tmp_path / "classes.mrc", p + 5)
    with pytest.raises(volengine.VolengineError, match="the truth of p: labels are 0"):
        score(prediction, classes, ScoreRecipe(), QUIET.with_(retries=0))
    signed = write(tmp_path / "signed.mrc", np.full(SHAPE, -128, np.int8))
    with pytest.raises(InputError, match=r"integers from -128 to -128.*IMOD"):
        score(signed, unsized, ScoreRecipe(), QUIET)
    with pytest.raises(InputError, match="no usable voxel size"):
        score(unsized, unsized, ScoreRecipe(), QUIET)
    with pytest.raises(InputError, match=r"ends with \.csv"):
        score(prediction, prediction, out="scores.txt")
    with pytest.raises(MemoryRefusedError):
        score(prediction, unsized, ScoreRecipe(), QUIET.with_(memory_limit="200MB"))
    for changes in (
        {"threshold": 1.0},
        {"radius_nm": 0.0},
        {"features": ("a", "a")},
        {"ids": (1,)},
        {"ignore_id": 3},
        {"features": ("a",), "ids": (1,), "instances": True},
    ):
        with pytest.raises(InputError):
            ScoreRecipe(**changes)
    with pytest.raises(InputError, match="--roi"):
        score(prediction, unsized, ScoreRecipe(roi="0:99,:1,:1"), QUIET)


# -- picks ---------------------------------------------------------------------------------------------------


def picks(path: Path, places: Any, **facts: Any) -> str:
    write_picks(path, Picks(np.array(places, float).reshape(-1, 3), voxel_size=(10, 10, 10), **facts))
    return str(path)


def test_picks_are_paired_one_to_one(tmp_path: Path) -> None:
    truth = picks(tmp_path / "truth.csv", [[0, 0, 0], [50, 50, 50], [90, 90, 90]])
    found = picks(tmp_path / "found.csv", [[0, 0, 1], [50, 50, 53], [50, 50, 48], [20, 20, 20]])
    got = score(found, truth, ScoreRecipe(features=("x",), radius_nm=3.0), out=str(tmp_path / "s.csv"))
    row = got["x"]
    assert (row["found"], row["truth"], row["paired"]) == (4, 3, 2)
    assert (row["precision"], row["recall"], row["f1"]) == (0.5, 2 / 3, 4 / 7)
    assert row["error_nm"] == pytest.approx(1.5)
    assert row["error_vox"] == pytest.approx(1.5)
    assert got.confusion == ((0, 1), (2, 2))
    assert next(csv.DictReader((tmp_path / "s.csv").open()))["paired"] == "2"
    nobody = score(found, truth, ScoreRecipe(radius_nm=0.5))
    assert nobody.rows[0]["paired"] == 0
    assert math.isnan(nobody.rows[0]["error_nm"])


def test_another_feature_is_said(tmp_path: Path) -> None:
    for side, feature in (("found", "receptor"), ("known", "ribosome"), ("same", "receptor")):
        (tmp_path / side).mkdir()
        picks(tmp_path / side / f"TS_01__{feature}.csv", [[0, 0, 0]])
        write(tmp_path / side / f"TS_01__{feature}.mrc", np.eye(8, dtype=np.int8)[None].repeat(8, axis=0))
    for ending, more in (("csv", {}), ("mrc", {"skeleton": "none"})):
        one, two, same = (next((tmp_path / side).glob(f"*.{ending}")) for side in ("found", "known", "same"))
        notes = score(one, two, ScoreRecipe(**more), QUIET).facts.get("notes", ())
        assert "'receptor' was found and 'ribosome' is known: are they one feature?" in notes
        assert "one feature" not in str(score(one, same, ScoreRecipe(**more), QUIET).facts.get("notes"))


def test_endings_in_capitals_are_tables_too(tmp_path: Path) -> None:
    for side in ("found", "known"):
        (tmp_path / side).mkdir()
        picks(tmp_path / side / "TS_01__a.CSV", [[0, 0, 0]])
    got = score(tmp_path / "found", tmp_path / "known", ScoreRecipe(radius_nm=3.0), out=tmp_path / "S.CSV")
    assert got["a"]["paired"] == 1
    assert next(csv.DictReader((tmp_path / "S.CSV").open()))["paired"] == "1"


def test_files_that_are_named_by_their_surfaces_have_the_feature_that_they_state(tmp_path: Path) -> None:
    for side, named in (("found", "membrane"), ("known", "receptor")):
        (tmp_path / side).mkdir()
        for name in ("TS_01", "TS_02"):
            picks(tmp_path / side / f"{name}__{named}.star", [[1, 2, 3]], tomogram=name, feature="receptor")
    picks(tmp_path / "known" / "TS_01__distract.star", [[5, 5, 5]], tomogram="TS_01", feature="distract")
    got = score(tmp_path / "found", tmp_path / "known", ScoreRecipe(radius_nm=3.0))
    assert [row["feature"] for row in got.rows] == ["receptor"]
    assert got["receptor"]["paired"] == 2
    for name in ("TS_01", "TS_02"):  # of two sets of surfaces: which of them is meant?
        picks(tmp_path / "found" / f"{name}__vesicle.star", [[1, 2, 3]], tomogram=name, feature="receptor")
    with pytest.raises(MissingError, match="known positions of 'membrane'"):
        score(tmp_path / "found", tmp_path / "known", ScoreRecipe(radius_nm=3.0))


def test_tables_with_the_endings_of_volumes_are_known_by_their_content(tmp_path: Path) -> None:
    truth = picks(tmp_path / "truth.csv", [[1.5, 1, 0.5], [4.5, 4, 0.5]], tomogram="TS_01")
    motive = picks(tmp_path / "found.em", [[1, 1, 1], [4, 4, 1]], tomogram="TS_01")
    graph = tmp_path / "found.am"
    graph.write_bytes(graph_bytes())  # five points, in nm: three are more than 3 nm from the known positions
    volume = write(tmp_path / "TS_01.mrc", np.zeros((8, 8, 8), np.int8), 20.0)
    recipe = ScoreRecipe(features=("f",), radius_nm=3.0)
    assert score(motive, truth, recipe.with_(voxel_size=10.0))["f"]["paired"] == 2
    assert score(truth, motive, recipe.with_(voxel_size=10.0))["f"]["paired"] == 2
    assert score(graph, graph, recipe, volumes=volume)["f"]["paired"] == 5
    with pytest.raises(InputError, match="--volume"):
        score(graph, truth, recipe)
    for name, data in (("map.em", em_bytes(np.zeros((4, 4, 4), np.int8))), ("damaged.em", b"no file of EM")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=rf"is for tables of picks, and .*{name} is none that can be read"):
            score(tmp_path / name, truth, recipe, volumes=volume)


def test_which_feature_is_taken_for_which(tmp_path: Path) -> None:
    known = {
        "a": picks(tmp_path / "ta.csv", [[0, 0, 0], [30, 30, 30]]),
        "b": picks(tmp_path / "tb.csv", [[60, 60, 60]]),
    }
    found = {
        "a": picks(tmp_path / "fa.csv", [[0, 0, 0], [60, 60, 61]]),
        "b": picks(tmp_path / "fb.csv", [[30, 30, 31], [9, 9, 9]]),
    }
    got = score(found, known, ScoreRecipe(radius_nm=2.0))
    assert got.confusion == ((0, 0, 0), (0, 1, 1), (1, 1, 0))
    assert got["a"]["precision"] == 0.5
    assert got["b"]["recall"] == 0
    with pytest.raises(MissingError, match="known positions of 'b'"):
        score(found, {"a": known["a"]}, ScoreRecipe())


def test_several_tomograms_count_together(tmp_path: Path) -> None:
    facts = [{"tomogram": "t1"}, {"tomogram": "t2"}]
    sets = {
        "known": ([[0, 0, 0]], [[5, 5, 5], [40, 40, 40]]),
        "found": ([[0, 0, 2]], [[5, 5, 5], [0, 0, 0]]),  # the last is a position of the other tomogram
    }
    for name, places in sets.items():
        tables = [Picks(np.array(p, float), voxel_size=(10, 10, 10), **f) for p, f in zip(places, facts, strict=True)]
        write_picks(tmp_path / f"{name}.star", tables)
    row = score(str(tmp_path / "found.star"), str(tmp_path / "known.star"), ScoreRecipe(radius_nm=3.0)).rows[0]
    assert (row["found"], row["truth"], row["paired"]) == (3, 3, 2)
    write_picks(tmp_path / "less.star", [Picks([[0, 0, 0]], voxel_size=(10, 10, 10), tomogram=n) for n in ("t1", "t3")])
    with pytest.raises(MissingError, match="tomogram 't2'"):
        score(str(tmp_path / "found.star"), str(tmp_path / "less.star"))


def test_the_command_prints_tables_and_errors(tmp_path: Path) -> None:
    predictions, labels = case(2)
    a, b = (
        write(tmp_path / "p.mrc", predictions[0].astype(np.uint16)),
        write(tmp_path / "t.mrc", labels[0].astype(np.int8)),
    )
    done = CliRunner().invoke(cli, ["score", a, b, "--skeleton", "none", "--no-progress"])
    assert done.exit_code == 0, done.output
    assert "dice" in done.output
    out = str(tmp_path / "s.csv")
    plan = CliRunner().invoke(cli, ["score", a, b, "--dry-run", "--out", out])
    assert plan.exit_code == 0, plan.output
    assert "units" in plan.output
    assert not Path(out).exists()
    truth = picks(tmp_path / "truth.csv", [[0, 0, 0]])
    done = CliRunner().invoke(cli, ["score", truth, truth, "--radius-nm", "2"])
    assert "1.0000" in done.output
    wrong = CliRunner().invoke(cli, ["score", truth, b])
    assert isinstance(wrong.exception, InputError)
    assert wrong.exception.exit_code == 2
    assert "truth must be picks" in str(wrong.exception)


def test_picks_of_a_binned_tomogram_lie_on_it(tmp_path: Path) -> None:
    """Voxel i of 4 x 4 x 4 voxels has its centre at voxel 4 i + 1.5; tables without a shape were multiplied."""
    at = np.array([[4.0, 8, 12], [20, 24, 28]])
    truth = picks(tmp_path / "truth.csv", at, tomogram="t", shape=(40, 40, 40))
    write_picks(tmp_path / "binned.csv", Picks((at - 1.5) / 4, (40,) * 3, shape=(10,) * 3, tomogram="t"))
    write_picks(tmp_path / "times.csv", Picks(at / 4, (40,) * 3, tomogram="t"))
    for name, said in (("binned", "same face"), ("times", "centres of their first voxels")):
        found = score(str(tmp_path / f"{name}.csv"), truth)
        assert found.rows[0]["paired"] == 2
        assert found.rows[0]["error_nm"] == pytest.approx(0, abs=1e-9)
        assert said in found.facts["notes"][0]
        assert "'t' (picks) has voxels of 40 A, 't' (known positions) of 10 A" in found.facts["notes"][0]
    found = score(str(tmp_path / "times.csv"), truth, {"mask_grid": "faces"})
    assert found.rows[0]["error_nm"] == pytest.approx(1.5 * 3**0.5)
    assert "notes" not in found.facts
    volume = write(tmp_path / "t.mrc", np.zeros((40, 40, 40), np.int8))
    found = score(str(tmp_path / "binned.csv"), truth, volumes=[volume])
    assert found.rows[0]["error_nm"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match=r"farther than the 2 nm .*--mask-grid"):
        score(str(tmp_path / "binned.csv"), truth, {"radius_nm": 2.0})
    (tmp_path / "part").mkdir()
    part = write(tmp_path / "part" / "t.mrc", np.zeros((40, 40, 20), np.int8))
    with pytest.raises(InputError, match=r"measures 40 x 40 x 40 nm .* 40 x 40 x 20"):
        score(truth, truth, volumes=[part])


def test_ignored_voxels_and_changed_tables_are_said(tmp_path: Path) -> None:
    """What somebody has changed is not replaced, with the same recipe or another one, unless that is asked for."""
    truth = np.zeros((8, 8, 8), np.int8)
    truth[:4, :4], truth[6:] = 1, 2
    volumes = write(tmp_path / "p.mrc", (truth == 1).astype(np.int8)), write(tmp_path / "t.mrc", truth)
    out = tmp_path / "scores.csv"
    recipe = ScoreRecipe(skeleton="none")
    found = score(*volumes, recipe, QUIET, out=out)
    assert f"25.0% of the voxels (128 of {truth.size}) do not count" in "".join(found.facts["notes"])
    written = out.read_bytes()
    out.write_bytes(written + b"mine\n")
    for other in (recipe, recipe.with_(threshold=0.4)):
        with pytest.raises(InputError, match=r"scores\.csv was changed after this run.*--overwrite"):
            score(*volumes, other, QUIET, out=out)
        assert out.read_bytes() == written + b"mine\n"
    score(*volumes, recipe, QUIET.with_(overwrite=True), out=out)
    assert out.read_bytes() == written
    out.unlink()
    score(*volumes, recipe, QUIET, out=out)
    assert out.read_bytes() == written


@pytest.mark.parametrize("name", ["scores.csv", "scores.json", "scores.confusion.csv"])
@pytest.mark.parametrize("kind", ["volumes", "picks", "patches"])
def test_files_of_others_are_not_replaced(tmp_path: Path, kind: str, name: str) -> None:
    """Refused, with the name of the file, unless that is asked for; what score has written is replaced."""
    out, radius = tmp_path / "scores.csv", 5.0
    names = ["scores.csv", "scores.confusion.csv", "scores.json"]
    if kind == "picks":
        given = [picks(tmp_path / f"{side}.csv", [[5, 5, 5]]) for side in "pt"]
    else:
        mask = np.zeros((8, 8, 8), np.int8)
        mask[2:4] = 1
        for side in "pt":
            (tmp_path / side).mkdir()
        given = [str(Path(write(tmp_path / side / "a_1.mrc", mask)).parent) for side in "pt"]
    if kind == "patches":
        names[1], name = "scores.patches.csv", name.replace("confusion", "patches")

    def run(recipe: ScoreRecipe, overwrite: bool = False) -> None:
        if kind == "patches":
            score_patches(*given, recipe, out=out, overwrite=overwrite)
        else:
            score(*given, recipe, QUIET.with_(overwrite=overwrite), out=out)

    recipe = ScoreRecipe(skeleton="none")
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=rf"{name} exists, and .*--overwrite"):
        run(recipe)
    assert [path.name for path in tmp_path.glob("scores*.*") if path.is_file()] == [name]
    assert (tmp_path / name).read_text() == "mine"
    run(recipe, overwrite=True)
    assert sorted(path.name for path in tmp_path.glob("scores*.*") if path.is_file()) == sorted(names)
    run(recipe.with_(radius_nm=radius) if kind == "picks" else recipe.with_(threshold=0.4))
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=name):
        run(recipe)


def test_after_a_kill_tables_are_written_again_without_a_word(tmp_path: Path) -> None:
    """The driver was killed between its tables and the record of them."""
    volumes = [write(tmp_path / f"{side}.mrc", np.eye(8, dtype=np.int8)[None].repeat(8, 0)) for side in "pt"]
    out, recipe = tmp_path / "scores.csv", ScoreRecipe(skeleton="none")
    score(*volumes, recipe, QUIET, out=out)
    written = out.read_bytes()
    (record,) = tmp_path.glob("scores.csv.run/plans/*/finished.json")
    record.unlink()
    out.write_bytes(b"half")
    score(*volumes, recipe, QUIET, out=out)
    assert out.read_bytes() == written
