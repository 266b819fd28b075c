"""A whole recipe on small tomograms: same result for any blocks and workers; what is unchanged is not done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from threshold_net import save_threshold_model

from volengine.cli.main import cli
from volengine.core.boxes import Box
from volengine.core.errors import InputError, RunError
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.io.omezarr.image import list_groups
from volengine.io.open import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.tasks.pick.verb import pick
from volengine.tasks.run import RunRecipe, run

SHAPE = (40, 72, 96)
CENTRES = ((14, 16, 20), (22, 50, 24), (20, 20, 60), (24, 48, 70))
QUIET = RunOptions(progress=False)
FEATURES = ("ball", "mark")


def tomogram(path: Path, shift: int = 0) -> Path:
    """Bright balls of radius 6 (one of 3, too small to pick); the last one is far from any other."""
    array = np.zeros(SHAPE, "float32")
    grid = np.indices(SHAPE)
    for number, centre in enumerate(CENTRES):
        radius = 3 if number == 2 else 6
        place = (centre[0], centre[1], centre[2] + shift)
        array[sum((g - c) ** 2 for g, c in zip(grid, place, strict=True)) <= radius**2] = 1.0
    write_mrc(path, [array], SHAPE, "float32", (10.0, 10.0, 10.0))
    return path


@pytest.fixture
def recipe(tmp_path) -> dict:
    ball = save_threshold_model(
        tmp_path / "ball.safetensors", "ball", patch=(16, 32, 32), overlap=0.5, window="gaussian"
    )
    mark = save_threshold_model(tmp_path / "mark.safetensors", "mark", patch=(16, 32, 32))
    return {
        "segment": {"models": [str(ball), str(mark)], "batch": 1},
        "interact": {
            "rules": [
                {"compete": {"emit": ["ball", "mark"], "absorb": ["ball", "mark"]}},
                {"interact": {"child": "ball", "parent": "mark", "kind": "colocalize", "radius_nm": 2, "shape": "3d"}},
            ]
        },
        "pick": [{"feature": "ball", "spacing_nm": 8, "min_volume_nm3": 300}],
    }


def everything(out: Path, name: str) -> dict[str, bytes]:
    """All chunks and the picks of a tomogram's results; metadata holds tokens and is left out."""
    found = {}
    for path in sorted(out.rglob("*")):
        relative = path.relative_to(out)
        if path.is_file() and relative.parts[0] != "run" and path.name != "zarr.json" and name in str(relative):
            found[str(relative)] = path.read_bytes()
    return found


def test_a_recipe_goes_from_mrc_to_picks(tmp_path, recipe):
    source = tomogram(tmp_path / "a.mrc")
    report = run([str(source)], str(tmp_path / "out"), RunRecipe.from_json(recipe), QUIET)
    picks = read_picks(str(tmp_path / "out/picks/a__ball.star"), voxel_size=(10, 10, 10), shape=SHAPE)
    wanted = [CENTRES[0], CENTRES[1], CENTRES[3]]
    assert sorted(map(tuple, np.rint(picks.position_vox).astype(int))) == sorted(wanted)
    labels = open_volume(str(tmp_path / "out/tomograms/a.ome.zarr"), group="labels/ball")
    values = open_source(labels).read(Box.of_shape(SHAPE))
    assert {int(values[c]) for c in wanted} == {1, 2, 3}
    assert values[CENTRES[2]] == 0
    assert report.counts["patches"] > 0


def test_any_blocks_give_the_same_bytes(tmp_path, recipe):
    source = tomogram(tmp_path / "a.mrc")
    recipe["convert"] = {"chunk": [8, 16, 16], "shard": [16, 32, 32]}
    found = []
    for number, block in enumerate(((16, 32, 32), (32, 64, 96), (48, 96, 96))):
        out = tmp_path / f"out{number}"
        options = RunOptions(progress=False, block=block)
        report = run([str(source)], str(out), RunRecipe.from_json(recipe), options)
        found.append((everything(out, "a"), report.counts["patches"]))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) > 20


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, recipe):
    sources = [str(tomogram(tmp_path / f"{n}.mrc", shift)) for n, shift in (("a", 0), ("b", 3), ("c", -5))]
    found = []
    for number, workers in enumerate((0, 2)):
        out = tmp_path / f"out{number}"
        run(sources, str(out), RunRecipe.from_json(recipe), RunOptions(progress=False, workers=workers))
        found.append([everything(out, n) for n in "abc"])
    assert found[0] == found[1]


def test_changed_rules_and_picks_keep_the_predictions(tmp_path, recipe):
    source = tomogram(tmp_path / "a.mrc")
    out = str(tmp_path / "out")

    def runs() -> dict[str, int]:
        report = run([str(source)], out, RunRecipe.from_json(recipe), QUIET)
        return {s["stage"]: s["run"] for s in report.data["plans"]["a"]["stages"]}

    first = runs()
    assert all(n > 0 for n in first.values())
    assert not any(runs().values())
    recipe["pick"][0]["min_volume_nm3"] = 1
    again = runs()
    assert "pick-ball-resolve" in {s for s, n in again.items() if n} <= {s for s in first if s.startswith("pick")}
    picks = read_picks(f"{out}/picks/a__ball.star", voxel_size=(10, 10, 10), shape=SHAPE)
    assert len(picks) == 4
    recipe["interact"]["rules"][1]["interact"]["kind"] = "avoid"
    again = runs()
    made = {s for s, n in again.items() if n}
    assert "interact" in made
    assert made == {s for s in first if s.startswith(("pick", "interact"))}


def test_without_rules_no_old_gated_predictions_are_left(tmp_path, recipe):
    out = tmp_path / "out"
    sources = [str(tomogram(tmp_path / f"{name}.mrc")) for name in ("A", "B")]
    run(sources, str(out), RunRecipe.from_json(recipe), QUIET)
    assert sorted(p.name for p in (out / "gated").iterdir()) == [f"{t}__{f}.ome.zarr" for t in "AB" for f in FEATURES]
    foreign = out / "gated" / "A__other.ome.zarr"
    shutil.copytree(out / "predictions" / "B__mark.ome.zarr", foreign)
    attributes = json.loads((foreign / "zarr.json").read_text())
    attributes["attributes"]["volengine"]["token"] = "of another run"
    (foreign / "zarr.json").write_text(json.dumps(attributes))
    one = recipe["interact"]["rules"][1:]
    run(sources[:1], str(out), RunRecipe.from_json({**recipe, "interact": {"rules": one}}), QUIET)
    left = [f"A__{FEATURES[0]}.ome.zarr", foreign.name, *(f"B__{f}.ome.zarr" for f in FEATURES)]
    assert sorted(p.name for p in (out / "gated").iterdir()) == left
    plain = {key: value for key, value in recipe.items() if key != "interact"}
    report = run(sources, str(out), RunRecipe.from_json(plain), QUIET)
    assert [p.name for p in (out / "gated").iterdir()] == [foreign.name]
    assert any("removed" in line for line in report.data["plans"]["A"]["made"])


def test_another_filter_is_applied_and_without_one_no_old_filtered_tomogram_is_left(tmp_path, recipe):
    source, out = tomogram(tmp_path / "a.mrc"), tmp_path / "out"
    options = RunOptions(progress=False)
    store = out / "filtered" / "a.ome.zarr"

    def made(steps: list) -> list[str]:
        given = recipe | ({"filter": {"steps": steps, "spectrum": len(steps) > 1}} if steps else {})
        report = run([source], out, RunRecipe.from_json(given), options)
        said = report.data["plans"]["a"]["made"]
        fresh = tmp_path / f"fresh{len(list(tmp_path.iterdir()))}"
        run([source], fresh, RunRecipe.from_json(given), options)
        for folder in ("predictions", "filtered"):
            if (fresh / folder).is_dir():
                for path in (fresh / folder).glob("*.zarr"):
                    mine = open_volume(out / folder / path.name)
                    np.testing.assert_array_equal(mine[:], open_volume(path)[:])
        return said

    made([{"low_pass": 60}, "normalise"])
    made([{"low_pass": 90}])
    assert store.is_dir()
    (out / "filtered" / "a__spectrum.tsv").write_text("older")
    said = made([])
    assert not store.exists()
    assert f"{store}: removed, because this recipe does not filter" in said
    assert any(line.endswith("a__spectrum.tsv: not made by this recipe, and left as it is") for line in said)


def test_a_filtered_tomogram_with_labels_by_hand_is_left(tmp_path, recipe):
    source, out = tomogram(tmp_path / "a.mrc"), tmp_path / "out"
    options = RunOptions(progress=False)
    run([source], out, RunRecipe.from_json(recipe | {"filter": {"steps": ["invert"]}}), options)
    store = out / "filtered" / "a.ome.zarr"
    group = next(info.group for info in list_groups(str(store)) if info.group.startswith("labels/"))
    shutil.copytree(store / group, store / "labels/by-hand")
    facts = json.loads((store / "labels/by-hand/zarr.json").read_text())
    facts["attributes"].pop("volengine", None)
    (store / "labels/by-hand/zarr.json").write_text(json.dumps(facts))
    report = run([source], out, RunRecipe.from_json(recipe), options)
    assert store.is_dir()
    said = [line for line in report.data["plans"]["a"]["made"] if str(store) in line]
    assert said
    assert "left as it is, because it holds labels/by-hand" in said[0]


def test_a_filtered_tomogram_that_is_the_source_is_kept(tmp_path, recipe):
    source, out = tomogram(tmp_path / "a.mrc"), tmp_path / "out"
    options = RunOptions(progress=False)
    run([source], out, RunRecipe.from_json(recipe | {"filter": {"steps": ["invert"]}}), options)
    source.unlink()
    run([out / "filtered" / "a.ome.zarr"], out, RunRecipe.from_json(recipe), options)
    assert open_volume(out / "filtered" / "a.ome.zarr").kind == "intensity"


def test_picks_of_an_earlier_recipe_are_named(tmp_path, recipe):
    out, source = tmp_path / "out", str(tomogram(tmp_path / "A.mrc"))
    both = [*recipe["pick"], {"feature": "mark"}]

    def older(**changes):
        report = run([source], str(out), RunRecipe.from_json({**recipe, **changes}), QUIET)
        return [line for line in report.data["plans"]["A"]["made"] if "not made by this recipe" in line]

    assert older(pick=both) == []
    (out / "picks" / "AB__mark.star").write_text("of another tomogram")
    (out / "picks" / "A__notes.md").write_text("no picks")
    before = (out / "picks" / "A__mark.star").read_bytes()
    (said,) = older()
    assert said.startswith(f"{out}/picks/A__mark.star: ")
    assert (out / "picks" / "A__mark.star").read_bytes() == before
    assert older(pick=both) == []
    formats = [{**pick, "format": "csv"} for pick in both]
    assert [line.partition(":")[0].rpartition("/")[2] for line in older(pick=formats)] == [
        "A__ball.star",
        "A__mark.star",
    ]


def test_label_images_of_an_earlier_recipe_are_removed(tmp_path, recipe):
    out, source = tmp_path / "out", str(tomogram(tmp_path / "A.mrc"))
    both = [*recipe["pick"], {"feature": "mark"}]
    run([source], str(out), RunRecipe.from_json({**recipe, "pick": both}), QUIET)
    store = out / "tomograms" / "A.ome.zarr"
    pick(str(out / "predictions" / "A__mark.ome.zarr"), str(tmp_path / "own.star"), options=QUIET)
    shutil.copytree(out / "predictions" / "A__mark.ome.zarr" / "labels" / "mark", store / "labels" / "own")
    assert sorted(g.group for g in list_groups(str(store))) == ["", "labels/ball", "labels/mark", "labels/own"]
    report = run([source], str(out), RunRecipe.from_json(recipe), QUIET)
    assert sorted(g.group for g in list_groups(str(store))) == ["", "labels/ball", "labels/own"]
    assert json.loads((store / "labels" / "zarr.json").read_text())["attributes"]["ome"]["labels"] == ["ball", "own"]
    said = [line for line in report.data["plans"]["A"]["made"] if "removed" in line]
    assert [line.partition(":")[0].rpartition("/")[2] for line in said] == ["mark"]


def test_predictions_of_an_earlier_recipe_are_named(tmp_path, recipe):
    out, source = tmp_path / "out", str(tomogram(tmp_path / "A.mrc"))
    both = {"segment": recipe["segment"]}
    one = {"segment": {**recipe["segment"], "models": recipe["segment"]["models"][:1]}}
    for given, older in ((both, []), (one, ["A__mark.ome.zarr"]), (both, [])):
        report = run([source], str(out), RunRecipe.from_json(given), QUIET)
        said = [line for line in report.data["plans"]["A"]["made"] if "not made by this recipe" in line]
        assert [line.partition(":")[0].rpartition("/")[2] for line in said] == older


def test_other_workers_keep_what_was_begun_and_other_rules_keep_the_predictions(tmp_path, recipe, monkeypatch):
    """Blocks, and with them stages, follow from the number of workers; finished units count all the same."""
    source = str(tomogram(tmp_path / "a.mrc"))
    out = tmp_path / "out"
    recipe["convert"] = {"chunk": [8, 16, 16], "shard": [16, 32, 32]}

    def rows(processes: int, options: RunOptions = QUIET) -> dict[str, dict]:
        monkeypatch.setattr(RunOptions, "processes", property(lambda _: processes))
        report = run([source], str(out), RunRecipe.from_json(recipe), options)
        return {s["stage"]: s for s in report.data["plans"]["a"]["stages"]}

    alone = rows(1, QUIET.with_(run_dir=str(tmp_path / "alone")))
    shutil.rmtree(out)
    blend = "segment-ball+mark-blend"
    monkeypatch.setattr("volengine.tasks.pick.blocks.resolve_picks", None)
    with pytest.raises(RunError):
        rows(12)
    monkeypatch.undo()
    again = rows(1)
    assert blend in again
    assert blend not in alone
    assert {name: again[name]["run"] for name in again if not name.startswith("pick")} == {
        name: 0 for name in again if not name.startswith("pick")
    }
    recipe["interact"]["rules"][1]["interact"]["kind"] = "avoid"
    changed = rows(2)
    assert {name for name in changed if changed[name]["run"]} == {
        name for name in changed if name.startswith(("pick", "interact"))
    }


def test_a_bad_file_leaves_the_others_going(tmp_path, recipe):
    folder = tmp_path / "raw"
    folder.mkdir()
    tomogram(folder / "a.mrc")
    tomogram(folder / "c.mrc", 4)
    (folder / "b.mrc").write_bytes(tomogram(tmp_path / "x.mrc").read_bytes()[:9000])
    with pytest.raises(RunError, match=r"1 of 3 failed:\n.*b\.mrc: truncated"):
        run([str(folder)], str(tmp_path / "out"), RunRecipe.from_json(recipe), QUIET)
    assert sorted(p.name for p in (tmp_path / "out/picks").iterdir()) == ["a__ball.star", "c__ball.star"]
    assert not (tmp_path / "out/tomograms/b.ome.zarr").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pick": [{"feature": "bal"}]}, "no feature 'bal'"),
        ({"pick": [{"spacing_nm": 3}]}, "name of its feature"),
        ({"segment": None}, "needs a segment step"),
        ({"interact": {"rules": [{"compete": {"emit": ["ball"], "absorb": ["mrk"]}}]}}, "mrk"),
        ({"segmnt": {}}, "Did you mean 'segment'"),
        ({"segment": {"models": ["nowhere.safetensors"]}}, "no such model file"),
    ],
)
def test_wrong_recipes_are_refused_and_nothing_is_written(tmp_path, recipe, change, message):
    source = tomogram(tmp_path / "a.mrc")
    with pytest.raises(InputError, match=message):
        run([str(source)], str(tmp_path / "out"), RunRecipe.from_json({**recipe, **change}), QUIET)
    assert not (tmp_path / "out" / "tomograms").exists()


def test_the_command_plans_runs_and_tells_of_a_recipe(tmp_path, recipe):
    tomogram(tmp_path / "a.mrc")
    (tmp_path / "list.txt").write_text("a.mrc  # the only one\n\n")
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))  # JSON is YAML
    out = tmp_path / "out"
    runner = CliRunner()
    arguments = ["run", str(file), str(tmp_path / "list.txt"), "--out", str(out), "--no-progress"]
    dry = runner.invoke(cli, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "patches of (16, 32, 32)" in dry.output
    assert "planned peak" in dry.output
    assert not out.exists()
    done = runner.invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    state = runner.invoke(cli, ["status", str(out / "run")])
    assert "a: finished" in state.output
    model = runner.invoke(cli, ["info", str(tmp_path / "ball.safetensors")])
    assert "unet3d" in model.output
    for path in ("tomograms/a.ome.zarr", "picks/a__ball.star", "predictions/a__ball.ome.zarr"):
        shown = runner.invoke(cli, ["info", str(out / path)])
        assert shown.exit_code == 0, shown.output
    back = runner.invoke(cli, ["export", str(out / "tomograms/a.ome.zarr"), str(tmp_path / "back.mrc")])
    assert back.exit_code == 0, back.output
    original, again = (open_volume(str(tmp_path / n)) for n in ("a.mrc", "back.mrc"))
    whole = Box.of_shape(SHAPE)
    assert np.array_equal(open_source(original).read(whole), open_source(again).read(whole))
    assert (original.voxel_size, original.origin) == (again.voxel_size, again.origin)
    shutil.rmtree(out / "run")
    refused = runner.invoke(cli, arguments)
    assert isinstance(refused.exception, InputError)
    assert "overwrite" in str(refused.exception)
