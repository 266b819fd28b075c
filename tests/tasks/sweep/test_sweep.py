"""sweep: each setting finds what `run`'s steps find with its recipe, and scores are those of particles made here."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner

from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.yaml_recipes import read_yaml, yaml_text
from volengine.engine.options import RunOptions
from volengine.io.picks import read_picks, write_picks
from volengine.tasks.interact.verb import interact
from volengine.tasks.pick.verb import pick
from volengine.tasks.run import RunRecipe
from volengine.tasks.sweep.recipe import SweepRecipe
from volengine.tasks.sweep.settings import Varied, combined, setting
from volengine.tasks.sweep.verb import sweep

QUIET = RunOptions(progress=False)
SHAPE = (20, 48, 48)
CENTRES = [(10, y, x) for y in (8, 24, 40) for x in (8, 24, 40)]
PEAKS = {"TS_01": [0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 0.3, 0.92], "TS_02": [0.55] * 9}
TRUE = {"TS_01": [4, 5, 6, 7], "TS_02": [0, 1, 2]}
"""The balls that are particles; the others are false."""

RECIPE = RunRecipe.from_json(
    {
        "segment": {"models": ["none.safetensors"]},
        "interact": {"rules": [{"interact": {"child": "core", "parent": "shell", "kind": "avoid", "radius_nm": 3}}]},
        "pick": [{"feature": "core", "threshold": 0.5, "spacing_nm": 3}, {"feature": "shell", "spacing_nm": 3}],
    }
)


def balls(peaks: list[float]) -> np.ndarray:
    """Each ball is as bright as its peak, all over."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    out = np.zeros(SHAPE, np.float32)
    for centre, peak in zip(CENTRES, peaks, strict=True):
        out[((grid - centre) ** 2).sum(-1) <= 9] = peak
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of two features of two tomograms, and a truth."""
    folder = tmp_path_factory.mktemp("sweep")
    for part in ("predictions", "truth"):
        (folder / part).mkdir()
    for name, peaks in PEAKS.items():
        shell = np.zeros(SHAPE, np.float32)
        shell[:, 40, 40] = 0.9  # within 3 nm of the last ball's centre
        for feature, array in (("core", balls(peaks)), ("shell", shell)):
            with mrcfile.new(folder / "predictions" / f"{name}__{feature}.mrc") as mrc:
                mrc.set_data(array)
                mrc.voxel_size = 10.0
        known = np.array([CENTRES[k] for k in TRUE[name]], float)
        table = Picks(known, (10.0,) * 3, (0.0,) * 3, SHAPE, name, "core")
        write_picks(folder / "truth" / f"{name}__core.star", table)
        table = Picks(known[:1], (10.0,) * 3, (0.0,) * 3, SHAPE, name, "shell")
        write_picks(folder / "truth" / f"{name}__shell.star", table)
    return folder


def swept(made: Path, out: Path, *vary: str, recipe: RunRecipe = RECIPE, options: RunOptions = QUIET, **fields):
    fields = {"pictures": False, **fields}
    what = SweepRecipe(vary=vary, **fields)
    return sweep([str(made / "predictions")], out, recipe, what, options, progress=False)


def test_numbers_and_scores_are_those_of_the_balls(made: Path, tmp_path: Path) -> None:
    """By hand: a ball is found if its value exceeds the threshold."""
    found = swept(
        made, tmp_path, "pick.core.threshold=0.4:0.9:0.1", "rules.1=off", truth=str(made / "truth"), radius_nm=1.0
    )
    rows = [row for row in found.rows if row["feature"] == "core"]
    assert [row["pick.core.threshold"] for row in rows] == [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    for row in rows:
        level = row["pick.core.threshold"]
        ours = {name: [k for k, peak in enumerate(peaks) if peak > level] for name, peaks in PEAKS.items()}
        right = sum(len(set(ours[name]) & set(TRUE[name])) for name in PEAKS)
        number = sum(map(len, ours.values()))
        assert (row["picks"], row["paired"], row["truth"]) == (number, right, 7)
        assert row["recall"] == pytest.approx(right / 7)
        assert row["precision"] == pytest.approx(right / number)
    per_tomogram = [r["picks"] for r in found.tomograms if (r["setting"], r["feature"]) == (1, "core")]
    assert per_tomogram == [7, 9]
    means = {}
    for row in found.rows:
        means.setdefault(row["setting"], []).append(row["f1"])
    assert found.best == max(means, key=lambda n: (sum(means[n]), -n))
    best = RunRecipe.from_json(read_yaml(tmp_path / "best.yaml"))
    varied = {name: rows[found.best - 1][name] for name in found.names}
    assert best == setting(RECIPE, varied)
    assert best.pick[0].threshold == rows[found.best - 1]["pick.core.threshold"]


def test_each_setting_is_what_interact_and_pick_give(made: Path, tmp_path: Path) -> None:
    """With rules, spacing and a part."""
    recipe = RECIPE.with_(pick=tuple(one.with_(roi=":,:30,:") for one in RECIPE.pick[:1]))
    found = swept(
        made,
        tmp_path / "all",
        "rules.1.radius_nm=2,4",
        "pick.core.spacing_nm=3,20",
        recipe=recipe,
    )
    for row in found.rows:
        one = setting(recipe, {name: row[name] for name in found.names})
        for name in PEAKS:
            given = {f: made / "predictions" / f"{name}__{f}.mrc" for f in ("core", "shell")}
            out = tmp_path / f"{row['setting']}"
            gated = interact(given, out / "gated", one.interact, QUIET)
            picks = pick(gated["core"].url, out / f"{name}.star", one.pick[0].with_(labels=False), QUIET)
            ours = read_picks(tmp_path / "all" / row["tables"] / f"{name}__core.star")
            np.testing.assert_array_equal(ours.position_vox, picks.position_vox)
            np.testing.assert_array_equal(ours.weight, picks.weight)


def test_what_settings_share_is_computed_once_and_kept(made: Path, tmp_path: Path) -> None:
    swept(made, tmp_path, "pick.core.threshold=0.4,0.6", "rules.1=on,off")
    tables = {p: p.stat().st_mtime_ns for p in tmp_path.glob("picks/*/*.star")}
    assert len(tables) == (2 * 2 + 1) * 2  # the shell's picks are those of all settings
    assert len(list(tmp_path.glob("rules/*"))) == 1
    found = swept(made, tmp_path, "pick.core.threshold=0.4,0.6,0.8", "rules.1=on")
    assert {p: p.stat().st_mtime_ns for p in tables} == tables
    assert len(found.rows) == 6
    assert sorted(p.name for p in (tmp_path / "settings").iterdir()) == ["001.yaml", "002.yaml", "003.yaml"]


def test_files_of_others_are_not_replaced(made: Path, tmp_path: Path) -> None:
    swept(made, tmp_path, "pick.core.threshold=0.4,0.6")
    edited = tmp_path / "settings" / "002.yaml"
    edited.write_text(edited.read_text() + "# mine\n")
    with pytest.raises(InputError, match=r"002\.yaml exists, and is not as a sweep has written it"):
        swept(made, tmp_path, "pick.core.threshold=0.4,0.7")
    found = swept(made, tmp_path, "pick.core.threshold=0.4")
    assert edited.exists()
    assert "changed since; left as it is" in found.notes[-1]
    swept(made, tmp_path, "pick.core.threshold=0.4,0.7", options=QUIET.with_(overwrite=True))
    assert "mine" not in edited.read_text()


def test_pictures_and_the_command(made: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml_text(json.loads(json.dumps(RECIPE.to_json()))))
    args = ["sweep", str(tmp_path / "recipe.yaml"), str(made / "predictions"), "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(
        cli, [*args, "--vary", "rules.1=on,off", "--truth", str(made / "truth"), "--radius-nm", "1", "--slice", "z=10"]
    )
    assert ran.exit_code == 0, ran.output
    assert "has the highest F1" in ran.stdout
    assert {p.suffix for p in (tmp_path / "out" / "settings").iterdir()} == {".png", ".yaml"}
    with open(tmp_path / "out" / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["rules.1"], r["picks"]) for r in rows if r["feature"] == "core"] == [("on", "13"), ("off", "15")]


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("pick.core.thresold=0.5", "Did you mean 'threshold'"),
        ("pick.cor.threshold=0.5", "the recipe picks no 'cor'; it picks core, shell"),
        ("pick.core.threshold=1.5", "probability from 0 to below 1"),
        ("pick.core.threshold=high", "it must be a number"),
        ("rules.2=on,off", "no rule '2'; it has rules 1 to 1"),
        ("rules.1=maybe", "tried with on and off"),
        ("segment.overlap=0.5", "is not understood"),
        ("pick.core.threshold=0.9:0.3:0.1", "has no values"),
        ("pick.core.threshold=0.5,0.5", "names a value twice"),
        ("pick.core.threshold=0:1:0.0001", "up to 1000 settings"),
    ],
)
def test_what_cannot_be_tried_is_refused(made: Path, tmp_path: Path, vary: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        swept(made, tmp_path / "out", vary)
    assert not (tmp_path / "out").exists()


def test_truth_outside_of_the_part_is_refused(made: Path, tmp_path: Path) -> None:
    recipe = RECIPE.with_(pick=(RECIPE.pick[0].with_(roi=":,:30,:"),), interact=None)
    with pytest.raises(InputError, match=r"2 known positions lie outside .* --region 0,0,0,20,30,48"):
        swept(made, tmp_path, "pick.core.threshold=0.5", recipe=recipe, truth=str(made / "truth"))


def test_a_tomogram_without_a_prediction_or_a_truth_is_refused(made: Path, tmp_path: Path) -> None:
    only = tmp_path / "truth"
    only.mkdir()
    for feature in ("core", "shell"):
        name = f"TS_01__{feature}.star"
        (only / name).write_bytes((made / "truth" / name).read_bytes())
    for truth, said in ((only, "no known positions of TS_02"), (tmp_path / "none.star", "not a file")):
        with pytest.raises(InputError, match=said):
            swept(made, tmp_path / "out", "pick.core.threshold=0.5", truth=str(truth))
    with pytest.raises(InputError, match=r"none\.mrc"):
        swept(made, tmp_path / "out", "pick.core.threshold=0.5", pictures=True, tomogram=str(tmp_path / "none.mrc"))
    assert not (tmp_path / "out").exists()
    recipe = RECIPE.with_(pick=(RECIPE.pick[0].with_(feature="spike"),), interact=None)
    with pytest.raises(InputError, match="no prediction of 'spike'"):
        swept(made, tmp_path / "more", "pick.spike.threshold=0.5", recipe=recipe)


def test_ranges_and_combinations() -> None:
    assert Varied.parse("pick.a.b.c=0:0.3:0.1").values == (0.0, 0.1, 0.2, 0.3)
    assert Varied.parse("pick.x.orient=normal,long-axis").values == ("normal", "long-axis")
    both = [Varied("a", (1, 2)), Varied("b", (3, 4))]
    assert [tuple(row.values()) for row in combined(both)] == list(product((1, 2), (3, 4)))
