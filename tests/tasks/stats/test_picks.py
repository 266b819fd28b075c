"""volengine stats of picks: the same in any order; pooled from the parts; counted against a truth."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stats_inputs import NAMED, QUIET, RECIPE, SHAPE, atlas, ball, groups_file, made, mrc, picks_of, same, table

import volengine
from volengine.core.colours import colour_of
from volengine.core.errors import MissingError
from volengine.io.picks import write_picks
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tables import COLUMNS
from volengine.tasks.stats.verb import stats


def test_the_order_of_inputs_and_of_picks_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = made(tmp_path / "one")
    for path in one:
        picks = volengine.read_picks(path)
        order = np.random.default_rng(1).permutation(len(picks))
        write_picks(tmp_path / "two" / Path(path).name, picks[order])
    two = [str(tmp_path / "two" / Path(p).name) for p in reversed(one)]
    first = stats(one, recipe=RECIPE, options=QUIET)
    assert len(first["clusters"]) > 2
    same(first, stats(two, recipe=RECIPE, options=QUIET))
    same(first, stats(str(tmp_path / "two"), recipe=RECIPE, options=QUIET))
    same(first, stats(str(tmp_path / "t*" / "*.csv"), recipe=RECIPE, options=QUIET))


def test_a_table_whose_ending_is_in_capitals_is_found_in_a_folder(tmp_path: Path) -> None:
    path = Path(made(tmp_path)[0])
    one = stats(str(path), recipe=RECIPE, options=QUIET)
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / f"{path.stem}.CSV")
    found = stats(tmp_path / "folder", recipe=RECIPE, options=QUIET)
    assert repr(found["clusters"]) == repr(one["clusters"])


def test_a_folder_of_pick_is_counted_once_although_it_holds_tables_and_labels(tmp_path: Path) -> None:
    """Labels of picks in a plain file are beside the table, in TABLE.ome.zarr."""
    balls = np.zeros((20, 24, 28), np.float32)
    for centre in ((6, 7, 8), (12, 16, 20)):
        ball(balls, centre, 3, 1)
    mrc(tmp_path / "TS_01__ribosome.mrc", balls)
    (tmp_path / "picks").mkdir()
    table = tmp_path / "picks" / "TS_01__ribosome.csv"
    volengine.pick(tmp_path / "TS_01__ribosome.mrc", table, volengine.PickRecipe(feature="ribosome"), QUIET)
    assert Path(f"{table}.ome.zarr").is_dir()
    found = stats(tmp_path / "picks", recipe=RECIPE, options=QUIET)
    assert found.pooled("ribosome")["objects"] == 2
    same(found, stats(str(table), recipe=RECIPE, options=QUIET))


def test_pooled_is_made_of_the_parts(tmp_path: Path) -> None:
    found = stats(made(tmp_path), recipe=RECIPE, options=QUIET, groups=groups_file(tmp_path))
    groups = {"all": {"T1", "T2", "T3"}, "core": {"T1"}, "rim": {"T2", "T3"}}
    assert [(r["group"], r["class"]) for r in found["pooled"]] == [(g, c) for g in groups for c in "ab"]
    for row in found["pooled"]:
        inside = groups[row["group"]]
        classes = [r for r in found["classes"] if r["tomogram"] in inside and r["class"] == row["class"]]
        objects = [r for r in found["objects"] if r["tomogram"] in inside and r["class"] == row["class"]]
        clusters = [r for r in found["clusters"] if r["tomogram"] in inside and r["class"] == row["class"]]
        assert row["tomograms"] == len(inside) == len(classes)
        assert row["objects"] == len(objects) == sum(r["objects"] for r in classes)
        assert row["tomograms_with"] == sum(r["objects"] > 0 for r in classes)
        assert row["voxels"] == 8 * len(objects)
        assert row["volume_um3"] == pytest.approx(8e-9 * len(objects))
        assert row["tomogram_um3"] == pytest.approx(0.004 * len(inside))
        assert row["per_um3"] == pytest.approx(len(objects) / (0.004 * len(inside)))
        assert row["objects_mean"] == pytest.approx(np.mean([r["objects"] for r in classes]))
        near = np.array([r["nearest_nm"] for r in objects])
        near = near[np.isfinite(near)]
        if len(near):
            assert row["nearest_mean_nm"] == pytest.approx(near.mean())
            assert row["nearest_median_nm"] == pytest.approx(np.median(near))
        sizes = [r["objects"] for r in clusters]
        assert row["clusters"] == len(clusters) == sum(r["clusters"] for r in classes)
        assert row["clustered"] == sum(sizes) == sum(r["cluster"] > 0 for r in objects)
        assert row["tomograms_with_clusters"] == len({r["tomogram"] for r in clusters})
        if sizes:
            assert row["cluster_size_mean"] == pytest.approx(np.mean(sizes))
    assert found.pooled("a")["clusters"] > 0
    assert table(found, "classes")["T3", "rim", "b"]["objects"] == 0
    pooled = table(found, "neighbours_pooled")
    for (group, a, b), row in pooled.items():
        rows = [r for r in found["neighbours"] if r["tomogram"] in groups[group] and (r["class"], r["to"]) == (a, b)]
        assert row["objects"] == sum(r["objects"] for r in rows)
        if row["objects"]:
            total = sum(r["objects"] * r["mean_nm"] for r in rows if r["objects"])
            assert row["mean_nm"] == pytest.approx(total / row["objects"])
    assert pooled["all", "a", "b"]["objects"] == 42  # of T1 and T2: where there is b


def test_tables_json_and_plots_are_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    recipe = RECIPE.with_(plots=True)
    found = volengine.stats(made(tmp_path), str(out), recipe, QUIET, groups=groups_file(tmp_path))
    figures = [f"{name}.{kind}" for name in ("counts", "nearest", "clusters") for kind in ("svg", "png")]
    names = {p.name for p in out.iterdir()}
    assert names == {
        *(f"{n}.csv" for n in found.tables),
        *("stats.json", *figures),
    }
    for name, rows in found.tables.items():
        with (out / f"{name}.csv").open(newline="") as file:
            read = list(csv.DictReader(file))
        assert len(read) == len(rows)
        for text, row in zip(read, rows, strict=True):
            assert set(text) == set(row) == set(COLUMNS[name])
            for key, value in row.items():
                if isinstance(value, float):
                    assert text[key] == "" if not math.isfinite(value) else float(text[key]) == value
                else:
                    assert text[key] == str(value)
    facts = json.loads((out / "stats.json").read_text())
    assert facts["tomograms"] == ["T1", "T2", "T3"]
    assert StatsRecipe.from_json(facts["recipe"]) == recipe
    titles = {
        "counts": "Objects per tomogram",
        "nearest": "Distance to the nearest object of the same class (nm)",
        "clusters": f"Objects per cluster (radius {recipe.eps_nm:g} nm)",
    }
    for name, title in titles.items():
        pixels = np.asarray(Image.open(out / f"{name}.png"))[..., :3]
        for colour in (colour_of(0), colour_of(1)):  # rim and the other group, or two classes
            assert (np.abs(pixels.astype(int) - colour).max(-1) < 60).sum() > 20
        assert f">{title}<" in (out / f"{name}.svg").read_text()
    text = found.text()
    assert "rim" in text
    assert "nearest_median_nm" in text
    before = [(out / file).read_bytes() for file in figures]
    volengine.stats(made(tmp_path), str(out), recipe, QUIET, groups=groups_file(tmp_path))
    assert before == [(out / file).read_bytes() for file in figures]


# -- truth -------------------------------------------------------------------------------------------------


def test_picks_are_counted_against_a_truth_and_the_error_is_told(tmp_path: Path) -> None:
    known, ours = tmp_path / "known", tmp_path / "ours"
    known.mkdir()
    ours.mkdir()
    at = np.array([[10, 10, 10], [10, 10, 50], [10, 50, 10], [50, 90, 90]], float)
    write_picks(known / "T1__a.csv", picks_of("T1", "a", at))
    write_picks(known / "T1__b.csv", picks_of("T1", "b", at[:2]))
    write_picks(known / "T2__a.csv", picks_of("T2", "a", at[:1]))
    write_picks(ours / "T1__a.csv", picks_of("T1", "a", [[10, 10, 13], [10, 10, 53], [90, 90, 10], [90, 10, 10]]))
    write_picks(ours / "T1__c.csv", picks_of("T1", "c", at))
    recipe = RECIPE.with_(radius_nm=5)
    found = stats(str(ours), recipe=recipe, options=QUIET, truth=str(known))
    rows = table(found, "counting")
    assert list(rows) == [("all", "a"), ("all", "b"), ("T1", "a"), ("T2", "a"), ("T1", "b"), ("T2", "b")]
    row = rows["T1", "a"]
    assert (row["found"], row["truth"], row["difference"], row["percent"], row["paired"]) == (4, 4, 0, 0, 2)
    assert (row["recall"], row["precision"], row["f1"], row["error_nm"]) == (0.5, 0.5, 0.5, 3)
    assert (rows["T2", "a"]["found"], rows["T2", "a"]["percent"]) == (0, -100)
    assert (rows["all", "a"]["found"], rows["all", "a"]["truth"], rows["all", "a"]["percent"]) == (4, 5, -20)
    assert rows["all", "a"]["recall"] == 0.4
    assert (rows["all", "b"]["found"], rows["all", "b"]["truth"], rows["all", "b"]["recall"]) == (0, 2, 0)
    assert "recall" in found.text()
    write_picks(ours / "T3__a.csv", picks_of("T3", "a", at))
    with pytest.raises(MissingError, match="no truth of tomogram T1, T3"):
        stats(str(ours), recipe=recipe, options=QUIET, truth=str(known / "T2__a.csv"))


def test_counting_an_atlas_against_numbered_objects(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    ball(labels, (12, 20, 20), 5, 300)
    ball(labels, (12, 20, 30), 5, 301)
    truth = mrc(tmp_path / "T1__TRiC.mrc", labels)
    source = mrc(tmp_path / "T1.mrc", np.where(labels > 0, 4, 0).astype(np.int8))
    recipe = StatsRecipe(classes=("TRiC",), ids=(4,), truth_kind="instances", radius_nm=3, plots=False, min_voxels=5)
    joined = stats(source, recipe=recipe, options=QUIET, truth=truth)["counting"][0]
    assert (joined["found"], joined["truth"], joined["difference"], joined["percent"]) == (1, 2, -1, -50)
    cut = stats(source, recipe=recipe.with_(split=("TRiC",)), options=QUIET, truth=truth)["counting"][0]
    assert (cut["found"], cut["truth"], cut["recall"], cut["precision"]) == (2, 2, 1, 1)


def test_islands_are_taken_from_the_inputs_only(tmp_path: Path) -> None:
    path = mrc(tmp_path / "T1.mrc", atlas())
    found = stats(path, recipe=NAMED.with_(min_voxels=2), options=QUIET, truth=path)
    row = table(found, "counting")["all", "TRiC"]
    assert (row["found"], row["truth"]) == (1, 2)
