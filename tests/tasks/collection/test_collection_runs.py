"""A collection of 30 tiny tomograms: what cannot be done is named and the rest is done; what is new, changed or failed
is what the next run does."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from calling import Command
from threshold_net import save_threshold_model

from volengine.core.errors import InputError, MissingError
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_volume
from volengine.io.picks import read_picks
from volengine.tasks.collection.manifest import Collection
from volengine.tasks.collection.verb import add_to_collection, collection_status, new_collection, retry, skip
from volengine.tasks.run import RunRecipe, run, run_jobs_of

SHAPE = (8, 24, 24)
QUIET = RunOptions(progress=False, durable=False)
COUNT = 30
CORRUPT, VANISHED, NAN = "TS_03", "TS_11", "TS_19"


def tomogram(path: Path, peak: float = 1.0, voxel_size: float = 10.0) -> Path:
    """A bright ball of radius 3 whose value is ``peak``; the threshold network answers 0.5 at 0.5."""
    array = np.zeros(SHAPE, "float32")
    grid = np.indices(SHAPE)
    array[sum((g - c) ** 2 for g, c in zip(grid, (4, 12, 12), strict=True)) <= 9] = peak
    write_mrc(path, [array], SHAPE, "float32", (voxel_size,) * 3)
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> RunRecipe:
    model = save_threshold_model(tmp_path / "ball.safetensors", "ball", patch=SHAPE)
    return RunRecipe.from_json(
        {"segment": {"models": [str(model)], "levels": 1}, "convert": {"levels": 1}, "pick": [{"feature": "ball"}]}
    )


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def states(manifest: Path, out: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in collection_status(manifest, out / "run").volumes:
        found.setdefault(one.state, []).append(one.name)
    return found


def ran(manifest: Path, out: Path, recipe: RunRecipe, options: RunOptions = QUIET) -> dict[str, int]:
    """Run the collection; return the units that were run of each tomogram, without those where there were none."""
    report = run(manifest, out, recipe, options, check=False)
    counts = {name: sum(s["run"] for s in plan["stages"]) for name, plan in report.data["plans"].items()}
    return {name: count for name, count in counts.items() if count}


def test_of_thirty_three_are_named_and_the_rest_is_done(tmp_path: Path, raw: Path, recipe: RunRecipe) -> None:
    for number in range(COUNT):
        tomogram(raw / f"TS_{number:02d}.mrc")
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    assert new_collection(manifest, raw)[1] == COUNT
    whole = (raw / f"{CORRUPT}.mrc").read_bytes()
    (raw / f"{CORRUPT}.mrc").write_bytes(whole[: len(whole) // 2])
    (raw / f"{VANISHED}.mrc").unlink()
    nan = np.full(SHAPE, np.nan, "float32")
    write_mrc(raw / f"{NAN}.mrc", [nan], SHAPE, "float32", (10.0,) * 3)
    assert states(manifest, out) == {"waiting": [f"TS_{n:02d}" for n in range(COUNT)]}
    done = ran(manifest, out, recipe)
    bad = [CORRUPT, VANISHED, NAN]
    found = collection_status(manifest, out / "run")
    assert {state: n for state, n in found.counts().items() if n} == {"failed": 3, "finished": 27}
    assert [one.name for one in found.of("failed")] == bad
    reasons = {one.name: one.why for one in found.of("failed")}
    assert f"{CORRUPT}.mrc" in reasons[CORRUPT]
    assert "no such file" in reasons[VANISHED].lower()
    assert "nan" in reasons[NAN].lower()
    assert set(done) >= {one.name for one in found.of("finished")}
    # the same command tries the failed ones again, and nothing else
    assert set(ran(manifest, out, recipe)) <= set(bad)
    assert found.counts() == collection_status(manifest, out / "run").counts()
    # one is mended, one is left out, and one is still bad
    tomogram(raw / f"{CORRUPT}.mrc")
    assert skip(manifest, [VANISHED]) == [VANISHED]
    assert set(ran(manifest, out, recipe)) <= {CORRUPT, NAN}
    assert states(manifest, out)["failed"] == [NAN]
    assert states(manifest, out)["skipped"] == [VANISHED]
    assert len(states(manifest, out)["finished"]) == 28
    assert len(read_picks(out / f"picks/{CORRUPT}__ball.star", voxel_size=(10, 10, 10), shape=SHAPE)) == 1
    # what is cleared waits, until the next run has tried it
    assert retry(manifest, run_dir=out / "run") == [NAN]
    assert "failed" not in states(manifest, out)
    ran(manifest, out, recipe)
    assert states(manifest, out)["failed"] == [NAN]


def test_later_ones_and_changed_ones_are_what_the_next_run_does(tmp_path: Path, raw: Path, recipe: RunRecipe) -> None:
    for name in ("a", "b"):
        tomogram(raw / f"{name}.mrc")
    manifest, out = tmp_path / "m.yaml", tmp_path / "out"
    new_collection(manifest, raw)
    assert set(ran(manifest, out, recipe)) == {"a", "b"}
    assert ran(manifest, out, recipe) == {}
    tomogram(raw / "c.mrc")
    assert add_to_collection(manifest, raw)[1] == 1
    assert set(ran(manifest, out, recipe)) == {"c"}
    tomogram(raw / "b.mrc", peak=0.9)  # another input
    assert set(ran(manifest, out, recipe)) == {"b"}
    text = manifest.read_text().replace("name: a\n", "name: a\n  pick.ball.threshold: 0.75\n")  # another parameter
    manifest.write_text(text)
    again = run(manifest, out, recipe, QUIET).data["plans"]
    stages = {name: [s["stage"] for s in plan["stages"] if s["run"]] for name, plan in again.items()}
    assert stages["b"] == stages["c"] == []
    assert stages["a"]
    assert not {"convert", "predict"} & set(stages["a"])  # the prediction is kept
    assert retry(manifest, ["c"], out / "run", afresh=True) == ["c"]
    assert states(manifest, out) == {"finished": ["a", "b"], "waiting": ["c"]}
    assert ran(manifest, out, recipe).keys() == {"c"}
    with pytest.raises(InputError, match="name them"):
        retry(manifest, run_dir=out / "run", afresh=True)


CONVERT = RunRecipe.from_json({"convert": {"levels": 1}})


def changes(manifest: Path, out: Path) -> dict[str, str]:
    """What has changed, by tomogram; it is exactly what the next run does not take for finished."""
    return {one.name: one.why for one in collection_status(manifest, out / "run").of("changed")}


def test_what_has_changed_since_the_run_is_not_finished(tmp_path: Path, raw: Path) -> None:
    for number, name in enumerate("abcdef"):
        tomogram(raw / f"{name}.mrc", peak=1.0 + number)
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    rows = {name: f"raw/{name}.mrc,{name},," for name in "abcdef"}

    def write() -> None:
        manifest.write_text("\n".join(["source,name,voxel_size,note", *rows.values(), ""]))

    write()
    ran(manifest, out, CONVERT)
    rows["a"] += "seen"  # a note changes nothing
    rows["b"] = "raw/b.mrc,b,12.5,"
    rows["c"], rows["d"] = "raw/d.mrc,c,,", "raw/c.mrc,d,,"
    write()
    copy = (raw / "e.mrc").read_bytes()
    (raw / "e.new").write_bytes(copy)
    (raw / "e.new").replace(raw / "e.mrc")  # the same bytes: another file
    (raw / "f.mrc").unlink()
    found = changes(manifest, out)
    assert found.keys() == set("bcdef")
    assert found["b"] == "voxel_size the recipe's → 12.5"
    assert found["c"] == f"source {raw}/c.mrc → {raw}/d.mrc"
    assert found["d"] == f"source {raw}/d.mrc → {raw}/c.mrc"
    assert found["e"].startswith(f"{raw}/e.mrc: time ")
    assert found["e"].endswith("another file is in its place")
    assert found["f"] == f"{raw}/f.mrc is gone"
    # each changed one is taken by the next run; the sources of c and d were made for each other's names
    (raw / "f.mrc").write_bytes(copy)
    assert ran(manifest, out, CONVERT, QUIET.with_(overwrite=True)).keys() == set("bcdef")
    assert states(manifest, out) == {"finished": list("abcdef")}
    rows["b"] = "raw/b.mrc,b,12.50,"  # the same number
    (raw / "a.mrc").rename(tmp_path / "a.mrc")  # the same file at another place
    rows["a"] = "a.mrc,a,,"
    write()
    assert changes(manifest, out) == {}
    assert set(ran(manifest, out, CONVERT)) == set()
    # what another program has left is not believed, and an older folder without a record is as it was
    (out / "run/plans/b/origin.json").write_text('{"given": 3}')
    (out / "run/plans/c/origin.json").unlink()
    (raw / "d.mrc").touch()
    assert changes(manifest, out) == {"b": "origin.json in its folder is damaged; the next run compares all"}
    ran(manifest, out, CONVERT)
    assert states(manifest, out) == {"finished": list("abcdef")}


def test_a_touched_source_is_the_same_by_its_content(tmp_path: Path, raw: Path, volengine: Command) -> None:
    tomogram(raw / "a.mrc")
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("source\nraw/a.mrc\n")
    by_content = QUIET.with_(identity="content")
    ran(manifest, out, CONVERT, by_content)
    os.utime(raw / "a.mrc", (1, 1))
    assert changes(manifest, out)["a"].endswith("the next run compares all bytes")
    assert ran(manifest, out, CONVERT, by_content) == {}
    assert states(manifest, out) == {"finished": ["a"]}
    code, said, _ = volengine("status", str(out / "run"))
    assert (code, "changed" in said) == (0, False)
    tomogram(raw / "a.mrc", peak=0.5)
    code, said, _ = volengine("status", str(out / "run"))
    assert f"; changed since: {raw}/a.mrc: time " in said
    code, said, _ = volengine("collection", "status", str(manifest), "--out", str(out))
    assert said.startswith("1 volume: 1 changed")
    assert f"\nchanged since it was finished: {raw}/a.mrc: time " in said


def test_a_store_that_was_written_again_has_changed(tmp_path: Path, raw: Path) -> None:
    tomogram(raw / "a.mrc")
    run(raw / "a.mrc", tmp_path / "first", CONVERT, QUIET)
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("source\nfirst/tomograms/a.ome.zarr\n")
    recipe = RunRecipe.from_json({"filter": {"steps": ["invert"]}})
    ran(manifest, out, recipe)
    assert changes(manifest, out) == {}
    tomogram(raw / "a.mrc", peak=2.0)
    run(raw / "a.mrc", tmp_path / "first", CONVERT, QUIET)
    assert changes(manifest, out) == {"a": f"{tmp_path}/first/tomograms/a.ome.zarr: its array was written again"}
    (tmp_path / "first").rename(tmp_path / "second")
    run(tmp_path / "second/tomograms/a.ome.zarr", out, recipe, QUIET)
    (tmp_path / "second").rename(tmp_path / "first")
    assert changes(manifest, out) == {}  # the same store at another place
    # a run of the files themselves has no row: what the manifest then says is another thing
    run(tmp_path / "first/tomograms/a.ome.zarr", out, recipe, QUIET)
    assert changes(manifest, out) == {}
    manifest.write_text("source,convert.codec\nfirst/tomograms/a.ome.zarr,none\n")
    assert changes(manifest, out) == {"a": "convert.codec the recipe's → 'none'"}


def test_values_of_a_tomogram_replace_those_of_the_recipe(tmp_path: Path, raw: Path, recipe: RunRecipe) -> None:
    """Of four equal tomograms one has another voxel size and name, one is inverted, one has a high threshold."""
    for name in ("a", "b", "c", "d"):
        tomogram(raw / f"{name}.mrc", peak=0.55, voxel_size=12.0 if name == "b" else 10.0)
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text(
        "source,name,voxel_size,invert,threshold,pick.ball.spacing_nm\n"
        "raw/a.mrc,,,,,\nraw/b.mrc,bee,10,no,,\nraw/c.mrc,,,yes,,\nraw/d.mrc,,,,0.9,3\n"
    )
    run(manifest, out, recipe, QUIET)
    counts = {
        name: len(read_picks(out / f"picks/{name}__ball.star", voxel_size=(10, 10, 10), shape=SHAPE))
        for name in ("a", "bee", "c", "d")
    }
    assert counts == {"a": 1, "bee": 1, "c": 0, "d": 0}
    assert open_volume(out / "tomograms/bee.ome.zarr").voxel_size == (10.0, 10.0, 10.0)
    own = json.loads((out / "run/plans/d/plan.json").read_text())["recipe"]["pick"][0]
    assert (own["threshold"], own["spacing_nm"]) == (0.9, 3.0)


def test_the_names_of_a_manifest_are_those_that_sources_have_without_it(
    tmp_path: Path, raw: Path, recipe: RunRecipe
) -> None:
    """So a run of files goes on as a run of the manifest, and computes nothing again."""
    source = tomogram(raw / "x.rec.mrc")
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    run(source, out, recipe, QUIET)
    new_collection(manifest, [source, out / "tomograms/x.rec.ome.zarr"][:1])
    assert ran(manifest, out, recipe) == {}
    tomogram(raw / "y.mrc")
    store = tmp_path / "renamed.ome.zarr"
    (out / "tomograms/x.rec.ome.zarr").rename(store)
    (entry,) = new_collection(tmp_path / "stores.star", store)[0].entries
    assert entry.name == open_volume(store).name == "x.rec"


def test_those_of_higher_priority_come_first_and_values_are_checked_at_once(
    tmp_path: Path, raw: Path, recipe: RunRecipe
) -> None:
    for name in ("a", "b", "c", "d"):
        tomogram(raw / f"{name}.mrc")
    manifest = tmp_path / "m.csv"
    head = "source,priority,state,threshold,pick.bal.threshold\n"
    manifest.write_text(head + "raw/a.mrc,,,,\nraw/b.mrc,-1,,,\nraw/c.mrc,2.5,,,\nraw/d.mrc,,skip,,\n")
    jobs, _, skipped = run_jobs_of([str(manifest)], str(tmp_path / "out"), recipe, QUIET)
    assert [job.name for job in jobs] == ["c", "a", "b"]
    assert skipped == ["d"]
    manifest.write_text(head + "raw/a.mrc,,,1.5,\n")
    with pytest.raises(InputError, match=r"line 2, threshold.*1\.5"):
        run(manifest, tmp_path / "out", recipe, QUIET)
    manifest.write_text(head + "raw/a.mrc,,,,0.5\n")
    with pytest.raises(
        InputError, match=r"line 2, pick\.bal\.threshold: the recipe does not pick 'bal'; it picks ball"
    ):
        run(manifest, tmp_path / "out", recipe, QUIET)
    manifest.write_text(head + "raw/a.mrc,,skip,,\n")
    with pytest.raises(InputError, match="all left out"):
        run(manifest, tmp_path / "out", recipe, QUIET)
    with pytest.raises(InputError, match="given alone"):
        run([manifest, raw], tmp_path / "out", recipe, QUIET)
    assert not (tmp_path / "out").exists()
    bare = RunRecipe(convert=recipe.convert)  # neither segment nor pick
    for columns in ("pick.ball.threshold", "pick.spacing_nm", "segment.tta"):
        value = {"segment.tta": "flips4"}.get(columns, "5")
        manifest.write_text(f"source,{columns}\nraw/a.mrc,{value}\n")
        with pytest.raises(InputError, match=rf"line 2, {re.escape(columns)}: the recipe has no step"):
            run_jobs_of([str(manifest)], str(tmp_path / "bare"), bare, QUIET)
    manifest.write_text("source,threshold,invert\nraw/a.mrc,0.5,true\n")  # of the collection, whatever the recipe
    assert len(run_jobs_of([str(manifest)], str(tmp_path / "bare"), bare, QUIET)[0]) == 1


def test_the_command(tmp_path: Path, raw: Path, recipe: RunRecipe, volengine: Command) -> None:
    for name in ("a", "b", "c"):
        tomogram(raw / f"{name}.mrc")
    Path("recipe.yaml").write_text(json.dumps(recipe.to_json() | {"interact": None}))
    code, said, _ = volengine("collection", "new", "m.csv", "raw/[ab].mrc", "--set", "group=grid 3,voxel_size=10,10,10")
    assert (code, said.strip()) == (0, "m.csv: 2 tomograms")
    code, said, _ = volengine("collection", "add", "m.csv", "raw/")
    assert said.strip() == "m.csv: 1 tomogram added, 3 in all"
    assert volengine("collection", "skip", "m.csv", "b")[0] == 0
    code, said, errors = volengine("run", "recipe.yaml", "m.csv", "--out", "out", "--no-progress", "--no-durable")
    assert code == 0, errors
    assert said.startswith("1 left out (state skip): b\n")
    code, said, _ = volengine("collection", "status", "m.csv", "--out", "out")
    assert said.strip() == "3 volumes: 2 finished, 1 skipped"
    code, said, _ = volengine("collection", "status", "m.csv", "--out", "out", "--json")
    assert json.loads(said)["counts"]["finished"] == 2
    code, said, _ = volengine("collection", "retry", "m.csv", "b")
    assert said.strip() == "wait for the next run: b"
    code, said, _ = volengine("collection", "status", "m.csv", "--out", "out", "--watch", "0")
    assert said.startswith("3 volumes: 1 waiting, 2 finished")
    code, _, errors = volengine("collection", "status", "m.csv")
    assert code == 2
    assert "--out" in errors
    code, _, errors = volengine("segment", "m.csv", "--model", "ball.safetensors", "--out", "p")
    assert "'volengine run'" in errors
    assert [e.group for e in Collection.read("m.csv").entries] == ["grid 3", "grid 3", ""]


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path, raw: Path, volengine: Command) -> None:
    tomogram(raw / "a.mrc")
    manifest = tmp_path / "m.csv"
    new_collection(manifest, [str(raw)])
    _, said, _ = volengine("collection", "status", str(manifest), "--out", str(tmp_path / "reslts"))
    assert f"there is no run folder {tmp_path}/reslts/run: nothing has been run there yet, or --out" in said
    assert not collection_status(manifest, tmp_path / "reslts" / "run").there
    for names in ((), ("a",)):
        with pytest.raises(MissingError, match=r"reslts/run: no such run folder"):
            retry(manifest, names, tmp_path / "reslts" / "run")
    (tmp_path / "results" / "run").mkdir(parents=True)
    _, said, _ = volengine("collection", "status", str(manifest), "--out", str(tmp_path / "results"))
    assert "no run folder" not in said
