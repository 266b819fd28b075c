"""The demo's second part: its page and tables from made-up findings (fast), and the whole of it (slow)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from volengine.cli import demo as demo_cli
from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.core.rules import Compete, Interact
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.io.surfaces import open_surfaces
from volengine.ops.pictures import RED
from volengine.tasks.demo.simulated import RECIPE, SPECIMEN, Files, demo_simulated, extra_picks
from volengine.tasks.demo.simulated_page import (
    CLASS_HEAD,
    COLOURS,
    SCALE,
    SLICES,
    Simulated,
    class_lines,
    pick_lines,
    rule_text,
    simulated_page,
    slice_panels,
)
from volengine.tasks.run import RunRecipe
from volengine.tasks.simulate.draw import sample_recipe
from volengine.tasks.simulate.recipe import SimulateRecipe

SHAPE = (40, 140, 150)
SIZE = (12.0, 12.0, 12.0)
FEATURES = {"membrane": 1, "microtubule": 2, "actin": 3, "ribosome": 4}
DATA = resources.files("volengine.data")
VESICLE = {
    "number": 2,
    "area_nm2": 1500.0,
    "closed": True,
    "border_loops": 0,
    "genus": 0,
    "thickness_nm_median": 4.56,
}
SHEET = VESICLE | {"number": 1, "area_nm2": 2000.0, "closed": False, "border_loops": 3, "thickness_nm_median": None}


def shipped() -> tuple[SimulateRecipe, RunRecipe]:
    with resources.as_file(DATA / SPECIMEN) as specimen, resources.as_file(DATA / RECIPE) as recipe:
        return sample_recipe(read_yaml(specimen), 1), RunRecipe.from_json(read_yaml(recipe))


@pytest.fixture
def found() -> dict[str, Any]:
    row = {
        "dice": 0.75,
        "dice_without_rules": 0.5,
        "precision": None,
        "recall": 0.25,
        "voxels_erased": 1234,
        "voxels_found": 10,
        "voxels_true": 20,
    }
    return {
        "name": "unseen_0001",
        "threshold": 0.35,
        "radius_nm": 10.0,
        "picked": "ribosome",
        "picks": {"precision": 0.75, "recall": 0.6, "error_nm": 1.26, "found": 4, "truth": 5, "paired": 3},
        "picks_without_rules": {"precision": 0.5, "recall": 0.4, "error_nm": 1, "found": 6, "truth": 5, "paired": 2},
        "extra_picks": [
            {"position_vox": [1.0, 2.0, 63.5], "weight": 12.5, "nearest": "spliceosome", "nearest_nm": 3.3}
        ],
        "classes": {name: dict(row) for name in FEATURES},
        "surfaces": {
            "rows": [dict(SHEET), VESICLE],
            "surfaces": 2,
            "closed": 1,
            "area_nm2": 1750.0,
            "true_area_nm2": 1800.4,
        },
    }


@pytest.fixture
def findings(found: dict[str, Any]) -> Simulated:
    """In slice z = 20: true squares of membrane and ribosome; the rules erased a true and a false ribosome voxel."""
    atlas = np.zeros(SHAPE, np.uint8)
    atlas[20, 10:20, 10:20], atlas[20, 40:50, 10:20] = 1, 4
    before = {name: np.zeros(SHAPE, np.uint8) for name in FEATURES}
    before["membrane"][20, 10:20, 10:20] = 255
    before["ribosome"][20, 45, 15] = before["ribosome"][20, 100, 100] = 90
    before["ribosome"][20, 120, 120] = 89  # 0.349: never above the threshold
    before["ribosome"][20, 80:90, 60:70] = 255
    after = {name: array.copy() for name, array in before.items()}
    after["ribosome"][20, 45, 15] = after["ribosome"][20, 100, 100] = after["ribosome"][20, 120, 120] = 0
    labels = (after["ribosome"] > 0).astype(np.uint32) * 7
    picks, truth = (Picks([place], voxel_size=SIZE, weight=[3.0]) for place in ((20.0, 85.0, 65.0), (26.0, 45.0, 15.0)))
    rng = np.random.default_rng(0)
    return Simulated(
        found, FEATURES, rng.normal(size=SHAPE).astype(np.float32), atlas, before, after, labels, picks, truth
    )


def test_slices_show_tomogram_truth_predictions_and_picks(findings: Simulated):
    panels = {text: picture.astype(int) for picture, text in slice_panels("z", 20, findings)}
    assert list(panels) == ["tomogram", "truth", "predictions after the rules", "picks and true centres"]
    assert all(p.shape == (SHAPE[1] * SCALE, SHAPE[2] * SCALE, 3) for p in panels.values())
    base = panels["tomogram"]
    for name, y, x, colour in (
        ("truth", 15, 15, COLOURS["membrane"]),
        ("truth", 45, 15, COLOURS["ribosome"]),
        ("predictions after the rules", 15, 15, COLOURS["membrane"]),
        ("predictions after the rules", 85, 65, COLOURS["ribosome"]),
        ("predictions after the rules", 100, 100, RED),
        ("predictions after the rules", 45, 15, RED),
        ("predictions after the rules", 120, 120, base[120 * SCALE, 120 * SCALE]),
    ):
        wanted = 0.4 * base[y * SCALE, x * SCALE] + 0.6 * np.array(colour)
        np.testing.assert_allclose(panels[name][y * SCALE, x * SCALE], wanted, atol=1)
    marked = panels["picks and true centres"]
    assert (marked[45 * SCALE + 1, (15 - 2) * SCALE] == RED).all()  # an arm of the cross
    changed = (marked != base).any(axis=2)
    assert changed[80 * SCALE : 90 * SCALE, 60 * SCALE : 70 * SCALE].all()  # the picked region
    assert changed[85 * SCALE, (65 - 10) * SCALE : (65 - 8) * SCALE].any()  # the ring about it
    assert not changed[:, 100 * SCALE :].any()


def test_centres_far_from_a_slice_are_not_marked(findings: Simulated):
    panels = {text: picture for picture, text in slice_panels("z", 33, findings)}
    np.testing.assert_array_equal(panels["picks and true centres"], panels["tomogram"])
    across = {text: picture for picture, text in slice_panels("y", 45, findings)}
    assert across["truth"].shape == (SHAPE[0] * SCALE, SHAPE[2] * SCALE, 3)
    assert (across["picks and true centres"] != across["tomogram"]).any()


def test_lines_say_what_was_found_with_and_without_the_rules(found: dict[str, Any]):
    lines = dict(pick_lines(found))
    assert lines["ribosomes found within 10 nm"] == "3 of 5"
    assert lines["picks that are no ribosomes"] == "1"
    assert (lines["recall: found of the ribosomes"], lines["precision: ribosomes of the picks"]) == ("60.0%", "75.0%")
    assert lines["mean error of the position"] == "1.3 nm"
    assert lines["without the rules: found"] == "2 of 5"
    assert lines["without the rules: picks that are no ribosomes"] == "4"
    assert class_lines(found)[0] == ("membrane", "0.750", "0.500", "-", "0.250", "1,234")
    assert all(len(row) == len(CLASS_HEAD) for row in class_lines(found))
    found["picks"] |= {"error_nm": None, "paired": 0, "found": 0}
    assert dict(pick_lines(found))["mean error of the position"] == "-"


def test_page_says_score_erased_voxels_runs_and_recipes(findings: Simulated):
    stage = {
        "stage": "render",
        "units": 4,
        "run": 3,
        "seconds": 1.25,
        "counts": {},
        "peak_rss_bytes": None,
        "planned_peak_bytes": 2_000_000,
    }
    report = RunReport({"plans": {"a": {"stages": [stage]}}, "wall_seconds": 12.3, "options": {"workers": 2}})
    specimen, recipe = shipped()
    page = simulated_page(findings, (report, report), specimen, recipe, "../report.html").render()
    assert page.count("data:image/png;base64,") == 4 * len(SLICES)
    drawn = replace(findings, membranes=np.full((5, 7, 3), 255, np.uint8))
    with_membranes = simulated_page(drawn, (report, report), specimen, recipe).render()
    assert with_membranes.count("data:image/png;base64,") == 4 * len(SLICES) + 1
    assert 'width="7" height="5" alt="The surfaces of the membranes"' in with_membranes
    for text in (
        "40 x 140 x 150 voxels of 12 angstrom",
        "<b>1</b>of these closed",
        "<b>1,750 nm²</b>area of the membranes (half of both faces)",
        "<td>1</td><td>2,000</td><td>no</td><td>3</td><td>0</td><td>-</td>",
        "<td>2</td><td>1,500</td><td>yes</td><td>0</td><td>0</td><td>4.6</td>",
        "<b>3 of 5</b>ribosomes found within 10 nm",
        "<tr><td>membrane</td><td>0.750</td>",
        "<td>63.5</td><td>12.5</td><td>spliceosome</td><td>3.3</td>",
        "<tr><td>ribosome</td><td>2</td><td>1</td><td>1</td></tr>",  # erased: all, rightly, wrongly
        "<td>render</td><td>4</td><td>3</td><td>1.25</td>",
        "above a probability of 0.35",
        "actin is kept within 8 nm of actin above 0.7 (balls)",
        "The simulation: 12.3 s with 2 workers",
        '<a href="../report.html">',
        "&#34;globule-1800&#34;",
    ):
        assert text in page, text
    assert '"../report.html"' not in simulated_page(findings, (report, report), specimen, recipe).render()


def test_a_rule_is_told_in_words():
    assert rule_text(Interact("a", "b", "colocalize", 8, 0.8, "3d")) == "a is kept within 8 nm of b above 0.8 (balls)"
    assert rule_text(Interact("a", "b", "avoid", 3.5)) == "a is erased within 3.5 nm of b above 0.5 (discs)"
    assert rule_text(Compete(("a", "b"), ("b",))) == "the strongest of a, b stays; weaker b go"


def test_extra_picks_are_named_by_what_stands_there():
    truth = Picks([[10, 10, 10]], voxel_size=SIZE)
    found = Picks([[10, 10, 12], [10, 40, 40], [30, 80, 80]], voxel_size=SIZE, weight=[9.0, 1.0, 5.0])
    objects = [("ribosome", [120.0, 120.0, 120.0]), ("ferritin", [120.0, 480.0, 500.0]), ("barrel", [360, 960, 960])]
    extra = extra_picks(found, truth, objects)
    assert [(e["nearest"], e["nearest_nm"], e["weight"]) for e in extra] == [("barrel", 0, 5), ("ferritin", 2, 1)]
    assert extra[1]["position_vox"] == [10, 40, 40]
    assert extra_picks(found[:0], truth, objects) == []


def test_predictions_that_the_rules_left_alone_are_the_networks(tmp_path: Path):
    files = Files(tmp_path, "a_0001", "store", "ribosome")
    (tmp_path / "gated" / "a_0001__ribosome.ome.zarr").mkdir(parents=True)
    after = files.predictions(FEATURES, "after")
    assert {name: Path(url).parent.name for name, url in after.items()} == {
        **dict.fromkeys(FEATURES, "predictions"),
        "ribosome": "gated",
    }
    assert {Path(url).parent.name for url in files.predictions(FEATURES).values()} == {"predictions"}


def test_shipped_recipes_fit_each_other():
    specimen, recipe = shipped()
    features = {name for name, number in (specimen.specimen.classes or {}).items() if number}
    assert features == set(FEATURES) == set(COLOURS)
    assert recipe.interact is not None
    assert {name for rule in recipe.interact.rules for name in rule.features} <= features
    assert [p.feature for p in recipe.pick] == ["ribosome"]
    for axis, at in SLICES:
        assert 0 <= at < specimen.specimen.shape["zyx".index(axis)]


def test_another_model_must_be_there_and_know_the_features(tmp_path: Path):
    options = RunOptions(progress=False)
    with pytest.raises(MissingError, match=r"nowhere\.safetensors: there is no such model"):
        demo_simulated(str(tmp_path / "a"), options, model="nowhere.safetensors")
    with (
        resources.as_file(DATA / "demo_core.safetensors") as path,
        pytest.raises(InputError, match="lacks membrane, microtubule, actin, ribosome"),
    ):
        demo_simulated(str(tmp_path / "b"), options, model=str(path))
    assert not list(tmp_path.rglob("sample"))  # refused before anything was simulated


@pytest.mark.parametrize(
    ("part", "calls"),
    [("real", [("real", False)]), ("simulated", [("simulated",)]), ("all", [("real", True), ("simulated",)])],
)
def test_part_chooses_what_runs(
    part: str, calls: list[tuple[Any, ...]], found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    made: list[tuple[Any, ...]] = []

    def real(out: str, options: RunOptions, *, second: bool) -> Any:
        made.append(("real", second))
        run = RunReport({"wall_seconds": 1.0})
        return SimpleNamespace(real=True, score={"extra_picks": []}, table=[("known", "2")], run=run, report=Path("r"))

    def simulated(out: str, options: RunOptions) -> Any:
        made.append(("simulated",))
        return SimpleNamespace(score=found, seconds=2.0, report=Path("s"))

    monkeypatch.setattr(demo_cli, "demo", real)
    monkeypatch.setattr(demo_cli, "demo_simulated", simulated)
    outcome = CliRunner().invoke(demo_cli.command, ["--part", part], catch_exceptions=False)
    assert outcome.exit_code == 0
    assert made == calls
    assert ("3 of 5" in outcome.output) == (part != "real")
    assert ("known" in outcome.output) == (part != "simulated")


def test_an_unknown_part_of_the_demo_is_refused():
    outcome = CliRunner().invoke(demo_cli.command, ["--part", "1/2"])
    assert outcome.exit_code == 2
    assert "'1/2' is not one of 'all', 'real', 'simulated'" in outcome.output


@pytest.mark.slow
def test_from_structures_to_picks_that_are_right(tmp_path: Path):
    options = RunOptions(workers=2, progress=False)
    result = demo_simulated(str(tmp_path), options)
    out, found = tmp_path / "simulated", result.score
    assert json.loads((out / "score.json").read_text()) == found
    assert found["picks"]["truth"] == 25
    assert found["picks"]["recall"] >= 0.92
    assert found["picks"]["precision"] >= 0.92
    assert found["picks"]["error_nm"] < 1.5
    assert len(found["extra_picks"]) == found["picks"]["found"] - found["picks"]["paired"]
    floors = {"membrane": 0.8, "microtubule": 0.8, "actin": 0.7, "ribosome": 0.72}
    assert {name: row["dice"] >= floors[name] for name, row in found["classes"].items()} == dict.fromkeys(floors, True)
    assert all(row["voxels_erased"] >= 0 for row in found["classes"].values())
    surfaces = found["surfaces"]
    assert (surfaces["surfaces"], surfaces["closed"]) == (4, 2)
    assert surfaces["area_nm2"] == pytest.approx(surfaces["true_area_nm2"], rel=0.05)
    assert [row["closed"] for row in surfaces["rows"]].count(True) == 2
    assert all(3.5 < row["thickness_nm_median"] < 6 for row in surfaces["rows"])
    meshes = open_surfaces(out / "surfaces" / "measured.surfaces")
    assert [one.closed for one in meshes] == [row["closed"] for row in surfaces["rows"]]
    assert all("thickness_nm" in one.columns for one in meshes)
    page = result.report.read_text()
    assert "The surfaces of the membranes" in page
    assert not re.search(r"https?://", page)
    assert "../report.html" not in page  # the first part was not run
    assert (out / "overview.png").stat().st_size > 10_000
    assert RunRecipe.from_json(read_yaml(out / "recipe.yaml")).segment is not None
    assert sample_recipe(read_yaml(out / "specimen.yaml"), 1) == shipped()[0]

    again = demo_simulated(str(tmp_path), options)
    plans = [plan for report in again.runs for plan in report.data["plans"].values()]
    assert [sum(s["run"] for s in plan["stages"]) for plan in plans] == [0, 0]
    assert again.score == found
