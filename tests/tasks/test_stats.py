"""volengine stats: exact numbers on made volumes, the same for any blocks and any order; pooled from the parts."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from engine_plans import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.image import ImageSpec, Level
from volengine.core.picks import Picks
from volengine.engine.options import RunOptions
from volengine.io import omezarr
from volengine.io.picks import write_picks
from volengine.io.zarr_arrays import ZarrSink
from volengine.tasks.stats import StatsCase, StatsRecipe, plan_stats, stats
from volengine.tasks.stats_tables import COLUMNS, Stats

SHAPE = (24, 40, 48)
QUIET = RunOptions(progress=False)
NAMED = StatsRecipe(classes=("ribosome", "TRiC", "actin"), ids=(3, 4, 9), plots=False, min_points=2, eps_nm=12)


def mrc(path: Path, array: np.ndarray, voxel_size: float | None = 10.0) -> str:
    with mrcfile.new(path, data=array) as file:
        if voxel_size:
            file.voxel_size = voxel_size
    return str(path)


def ball(labels: np.ndarray, centre: tuple[int, int, int], radius: float, id: int) -> None:
    z, y, x = np.indices(labels.shape)
    a, b, c = centre
    labels[(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= radius**2] = id


def atlas() -> np.ndarray:
    """Three ribosomes (7 voxels each; two near each other), two touching TRiC, a speck of one, no actin."""
    labels = np.zeros(SHAPE, np.int8)
    for centre in ((4, 5, 5), (4, 5, 15), (20, 35, 40)):
        ball(labels, centre, 1, 3)
    ball(labels, (12, 20, 20), 5, 4)
    ball(labels, (12, 20, 29), 5, 4)
    labels[1, 38, 1] = 4
    return labels


def table(result: Stats, name: str) -> dict[tuple[str, ...], dict[str, Any]]:
    keys = [k for k in ("tomogram", "group", "class", "to", "cluster", "object") if k in COLUMNS[name]]
    return {tuple(str(row[k]) for k in keys): row for row in result[name]}


def same(a: Stats, b: Stats) -> None:
    assert a.tables.keys() == b.tables.keys()
    for name in a.tables:
        assert repr(a[name]) == repr(b[name])  # to the last digit, NaN too


# -- atlases -----------------------------------------------------------------------------------------------


def test_numbers_of_an_atlas(tmp_path: Path) -> None:
    path = mrc(tmp_path / "TS_01.mrc", atlas())
    found = stats(path, recipe=NAMED.with_(min_voxels=2), options=QUIET)
    ribosome, tric, actin = (found.pooled(name) for name in ("ribosome", "TRiC", "actin"))
    assert (ribosome["objects"], ribosome["voxels"], ribosome["islands"]) == (3, 21, 0)
    assert ribosome["volume_um3"] == pytest.approx(21e-9)  # voxels of 1 nm
    assert ribosome["tomogram_um3"] == pytest.approx(math.prod(SHAPE) * 1e-9)
    assert ribosome["per_um3"] == pytest.approx(3 / (math.prod(SHAPE) * 1e-9))
    assert ribosome["volume_share"] == pytest.approx(21 / math.prod(SHAPE))
    assert (tric["objects"], tric["islands"], tric["island_voxels"]) == (1, 1, 1)
    assert tric["voxels"] == np.count_nonzero(atlas() == 4) - 1
    assert (actin["objects"], actin["voxels"], actin["tomograms"], actin["tomograms_with"]) == (0, 0, 1, 0)
    far = math.sqrt(16**2 + 30**2 + 25**2)
    assert ribosome["nearest_mean_nm"] == pytest.approx((10 + 10 + far) / 3)
    assert ribosome["nearest_median_nm"] == 10
    assert math.isnan(tric["nearest_mean_nm"])
    assert (ribosome["clusters"], ribosome["clustered"], ribosome["cluster_size_max"]) == (1, 2, 2)
    assert ribosome["clustered_share"] == pytest.approx(2 / 3)
    assert tric["clusters"] == 0
    (cluster,) = found["clusters"]
    assert [cluster[k] for k in ("class", "objects", "z_nm", "y_nm", "x_nm")] == ["ribosome", 2, 4, 5, 10]
    assert cluster["radius_of_gyration_nm"] == 5
    between = table(found, "neighbours")["TS_01", "", "TRiC", "ribosome"]
    assert between["objects"] == 1
    assert between["min_nm"] == between["mean_nm"]
    middle = np.argwhere(atlas() == 4)[1:].mean(axis=0)
    assert between["mean_nm"] == pytest.approx(np.sqrt(((middle - (4, 5, 15)) ** 2).sum()))
    assert table(found, "neighbours")["TS_01", "", "ribosome", "actin"]["objects"] == 0


def test_split_cuts_touching_particles(tmp_path: Path) -> None:
    path = mrc(tmp_path / "TS_01.mrc", atlas())
    found = stats(path, recipe=NAMED.with_(split=("TRiC",), min_volume_nm3=1.5), options=QUIET)
    tric = [row for row in found["objects"] if row["class"] == "TRiC"]
    assert [(row["z_nm"], row["y_nm"], round(row["x_nm"])) for row in tric] == [(12, 20, 20), (12, 20, 29)]
    assert found.pooled("ribosome")["objects"] == 3
    with pytest.raises(InputError, match=r"--split TriC: no atlas.*TRiC, actin, ribosome"):
        stats(path, recipe=NAMED.with_(split=("TriC",)), options=QUIET)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=st.sampled_from([(24, 40, 48), (8, 16, 16), (24, 8, 24), (16, 40, 8)]),
    split=st.sampled_from([(), ("TRiC",)]),
    kind=st.sampled_from(["atlas", "instances"]),
)
def test_blocks_change_nothing(tmp_path: Path, block: Any, split: Any, kind: Any) -> None:
    path = tmp_path / "TS_01.mrc"
    if not path.exists():
        mrc(path, atlas())
    recipe = NAMED.with_(split=split) if kind == "atlas" else StatsRecipe(kind=kind, plots=False)
    whole = stats(str(path), recipe=recipe, options=QUIET)
    same(whole, stats(str(path), recipe=recipe, options=QUIET.with_(block=block)))


def test_classes_without_names_and_numbers_that_are_whole(tmp_path: Path) -> None:
    labels = np.where(atlas() > 0, atlas(), 0).astype(np.float32)
    recipe = StatsRecipe(kind="atlas", plots=False)
    found = stats(mrc(tmp_path / "TS_01.mrc", labels), recipe=recipe, options=QUIET)
    assert {r["class"]: r["objects"] for r in found["pooled"]} == {"class_3": 3, "class_4": 2}
    labels[0, 0, 0] = 0.5
    path = mrc(tmp_path / "TS_02.mrc", labels)
    with pytest.raises(InputError, match=r"TS_02.mrc holds 0.5, which is no label"):
        stats(path, recipe=recipe, options=QUIET)


def test_a_store_says_the_names_of_its_classes(tmp_path: Path) -> None:
    volume = stored(tmp_path, atlas().astype(np.uint8), (8, 8, 16)).with_(
        kind="labels", facts={"classes": {"ribosome": 3, "TRiC": 4}}
    )
    recipe = StatsRecipe(classes=("TRiC",), split=("TRiC",))
    assert recipe.labels_of(volume) == "atlas"
    rules = recipe.rules_of(volume)
    assert (rules.ids, rules.split) == ((4,), (4,))
    plan = plan_stats(volume, recipe, str(tmp_path / "out.npz"), QUIET)
    assert [s.name for s in plan.stages] == ["stats-objects", "stats-seams", "stats-join"]
    assert plan.stages[0].arrays["labels"].low == (16, 16, 16)
    assert plan_stats(volume, StatsRecipe(), "o.npz", QUIET).stages[0].arrays["labels"].low == (0, 0, 0)


def test_a_store_of_a_simulated_tomogram_is_counted_by_its_atlas(tmp_path: Path) -> None:
    """Labels with names of classes go before numbers that nobody explains."""
    store = tmp_path / "TS_01.ome.zarr"
    levels = (Level("0", SHAPE, (1, 1, 1), (8, 16, 16)),)
    for kind, dtype, facts in (
        ("atlas", "uint8", {"classes": {"ribosome": 3, "TRiC": 4}}),
        ("instances", "uint32", {}),
    ):
        spec = ImageSpec(str(store), "TS_01", dtype, "labels", (10.0,) * 3, levels, group=f"labels/{kind}", facts=facts)
        omezarr.create_image(spec, token="made")
        ZarrSink(spec.volume()).write(Box.of_shape(SHAPE), np.maximum(atlas(), 0).astype(dtype))
        omezarr.finish_image(spec)
    found = stats(str(store), recipe=RECIPE, options=QUIET)
    assert {r["class"]: r["objects"] for r in found["pooled"]} == {"TRiC": 2, "ribosome": 3}
    assert {r["tomogram"] for r in found["objects"]} == {"TS_01"}
    with pytest.raises(InputError, match="does not say what the numbers are"):
        stats(f"{store}#labels/instances", recipe=RECIPE, options=QUIET)
    named = stats(f"{store}#labels/instances", recipe=RECIPE.with_(kind="instances"), options=QUIET)
    assert named.pooled("objects")["objects"] == 2  # the numbers 3 and 4


# -- numbered objects --------------------------------------------------------------------------------------


def test_numbered_objects_are_objects_however_far_apart(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[2, 3, 4] = labels[2, 3, 8] = 700
    labels[20, 30, 40] = 1
    path = mrc(tmp_path / "TS_01__ribosome.mrc", labels)
    found = stats(path, recipe=StatsRecipe(kind="instances"), options=QUIET)
    rows = [(r["tomogram"], r["class"], r["voxels"], r["z_nm"], r["y_nm"], r["x_nm"]) for r in found["objects"]]
    assert rows == [("TS_01", "ribosome", 2, 2, 3, 6), ("TS_01", "ribosome", 1, 20, 30, 40)]
    with pytest.raises(InputError, match=r"uint16 and does not say.*--kind atlas.*--kind instances"):
        stats(mrc(tmp_path / "TS_02.mrc", labels), options=QUIET)


def test_the_labels_of_pick_are_counted_as_its_picks_are(tmp_path: Path) -> None:
    prediction = np.where(atlas() > 0, 200, 0).astype(np.uint8)
    source = mrc(tmp_path / "TS_01.mrc", prediction.astype(np.uint16))
    store = str(tmp_path / "TS_01__any.ome.zarr")
    volengine.convert(source, store, volengine.ConvertRecipe(kind="probability", levels=1), QUIET)
    with pytest.raises(InputError, match=r"is a prediction.*volengine pick"):
        stats(store, options=QUIET)
    recipe = volengine.PickRecipe(feature="any", spacing_nm=0, seed_distance_nm=0.5)
    picks = volengine.pick(store, str(tmp_path / "TS_01__any.csv"), recipe, QUIET)
    assert len(picks) >= 5
    one = stats(str(tmp_path / "TS_01__any.csv"), options=QUIET)
    two = stats(f"{store}#labels/any", options=QUIET)
    assert one.pooled("any")["objects"] == len(picks)
    for a, b in zip(one["objects"], two["objects"], strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key] == (b[key] if isinstance(b[key], (str, bool)) else pytest.approx(b[key]))
    with pytest.raises(InputError, match=r"both count 'any' of tomogram 'TS_01'"):
        stats([str(tmp_path / "TS_01__any.csv"), f"{store}#labels/any"], options=QUIET)


# -- picks: several tomograms, groups, order -----------------------------------------------------------------


def picks_of(tomogram: str, feature: str, at: Any, shape: Any = (100, 200, 200), size: float = 10.0) -> Picks:
    return Picks(
        np.asarray(at, float).reshape(-1, 3),
        (size,) * 3,
        shape=shape,
        tomogram=tomogram,
        feature=feature,
        size_vox=np.full(len(at), 8),
    )


def made(folder: Path, seed: int = 0) -> list[str]:
    """Picks of two classes in three tomograms: one file for each, but for the last, where there is no b."""
    rng = np.random.default_rng(seed)
    paths = []
    for tomogram, feature, n in (("T1", "a", 30), ("T1", "b", 7), ("T2", "a", 12), ("T2", "b", 1), ("T3", "a", 25)):
        at = rng.uniform(0, 99, (n, 3)) * (0.5, 1, 1)
        path = folder / f"{tomogram}__{feature}.csv"
        write_picks(path, picks_of(tomogram, feature, at))
        paths.append(str(path))
    return paths


def groups_file(folder: Path, text: str = "tomogram,group,note\nT1,core,x\nT2,rim,\nT3,rim,\nT9,rim,\n") -> str:
    path = folder / "groups.csv"
    path.write_text(text)
    return str(path)


RECIPE = StatsRecipe(eps_nm=20, min_points=3, plots=False)


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
    names = {p.name for p in out.iterdir()}
    assert names == {
        *(f"{n}.csv" for n in found.tables),
        *("stats.json", "counts.png", "nearest.png", "clusters.png"),
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
    for name in ("counts", "nearest", "clusters"):
        pixels = np.asarray(Image.open(out / f"{name}.png"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 4
    text = found.text()
    assert "rim" in text
    assert "nearest_median_nm" in text
    before = [(out / f"{n}.png").read_bytes() for n in ("counts", "nearest", "clusters")]
    volengine.stats(made(tmp_path), str(out), recipe, QUIET, groups=groups_file(tmp_path))
    assert before == [(out / f"{n}.png").read_bytes() for n in ("counts", "nearest", "clusters")]


# -- truth -------------------------------------------------------------------------------------------------


def test_the_counting_error(tmp_path: Path) -> None:
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


# -- running again ------------------------------------------------------------------------------------------


def test_another_eps_counts_nothing_again_and_new_voxels_do(tmp_path: Path) -> None:
    path = mrc(tmp_path / "T1.mrc", atlas())
    out = str(tmp_path / "out")
    first = stats(path, out, NAMED, QUIET)
    done = Path(out) / "stats.run" / "counted" / "T1.npz"
    stamp = done.stat().st_mtime_ns
    second = stats(path, out, NAMED.with_(eps_nm=1), QUIET)
    assert done.stat().st_mtime_ns == stamp
    assert (first.pooled("ribosome")["clusters"], second.pooled("ribosome")["clusters"]) == (1, 0)
    labels = atlas()
    ball(labels, (20, 5, 5), 2, 9)
    with mrcfile.open(path, "r+") as file:
        file.set_data(labels)
    assert stats(path, out, NAMED, QUIET).pooled("actin")["objects"] == 1
    assert done.stat().st_mtime_ns != stamp


def test_parts_of_a_run_end_with_the_last(tmp_path: Path) -> None:
    path = mrc(tmp_path / "T1.mrc", atlas())
    out = str(tmp_path / "out")
    options = QUIET.with_(block=(24, 40, 24))
    whole = stats(path, str(tmp_path / "whole"), NAMED, options)
    case = StatsCase.find(path, out, NAMED, options)
    assert not case.complete
    with pytest.raises(MissingError, match="not counted yet"):
        case.finish()
    volengine.stats(path, out, NAMED, options)
    assert case.complete
    same(case.finish(), whole)
    (tmp_path / "out" / "stats.run" / "counted" / "T1.npz").write_bytes(b"no table")
    with pytest.raises(FormatError, match="damaged"):
        case.finish()


# -- what is refused ------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="No input"):
        stats([], options=QUIET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="no table of picks and no label volume"):
        stats(str(tmp_path / "empty"), options=QUIET)
    with pytest.raises(MissingError, match=r"nowhere.star"):
        stats(str(tmp_path / "nowhere.star"), options=QUIET)
    blank = mrc(tmp_path / "blank.mrc", np.zeros((4, 4, 4), np.int8))
    with pytest.raises(InputError, match="Nothing is labelled in blank"):
        stats(blank, options=QUIET)
    paths = made(tmp_path)
    with pytest.raises(InputError, match=r"--classes rib: no input has this class; there are a, b"):
        stats(paths, recipe=RECIPE.with_(classes=("rib",)), options=QUIET)
    assert {r["class"] for r in stats(paths, recipe=RECIPE.with_(classes=("b",)), options=QUIET)["pooled"]} == {"b"}


def test_no_voxel_size_is_refused_unless_it_is_given(tmp_path: Path) -> None:
    bare = mrc(tmp_path / "T1.mrc", atlas(), None)
    with pytest.raises(InputError, match="voxel size"):
        stats(bare, recipe=NAMED, options=QUIET)
    found = stats(bare, recipe=NAMED.with_(voxel_size=20), options=QUIET)
    assert found.pooled("ribosome")["volume_um3"] == pytest.approx(21 * 8e-9)
    (tmp_path / "T2__a.tsv").write_text("3\t4\t5\n13\t4\t5\n")
    with pytest.raises(InputError, match="voxel_size"):
        stats(str(tmp_path / "T2__a.tsv"), options=QUIET)
    found = stats(str(tmp_path / "T2__a.tsv"), recipe=RECIPE.with_(voxel_size=20), options=QUIET)
    assert found.pooled("a")["nearest_mean_nm"] == 20
    assert math.isnan(found.pooled("a")["per_um3"])  # no shape: no volume
    assert math.isnan(found.pooled("a")["voxels"])


def test_sources_of_a_tomogram_must_fit(tmp_path: Path) -> None:
    path = mrc(tmp_path / "T1.mrc", atlas())
    at = [[4, 5, 5], [20, 30, 40]]
    good, wide, far = (str(tmp_path / n / "T1__a.csv") for n in ("good", "wide", "far"))
    for name in ("good", "wide", "far"):
        (tmp_path / name).mkdir()
    write_picks(good, picks_of("T1", "a", at, SHAPE))
    write_picks(wide, picks_of("T1", "a", at, SHAPE, 5.0))
    write_picks(far, picks_of("T1", "a", np.multiply(at, 4), None))
    found = stats([path, good], recipe=NAMED, options=QUIET)
    assert found.pooled("a")["objects"] == 2
    assert table(found, "neighbours")["T1", "", "a", "ribosome"]["min_nm"] == 0
    with pytest.raises(InputError, match=r"measures 12 x 20 x 24 nm .*in T1__a.csv and 24 x 40 x 48 nm in T1.mrc"):
        stats([path, wide], recipe=NAMED, options=QUIET)
    with pytest.raises(InputError, match=r"1 of 2 'a' in T1__a.csv lie outside.*80 x 120 x 160 nm"):
        stats([path, far], recipe=NAMED, options=QUIET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tomogram,group\nT1,x\nT2,x\n", "does not say the group of T3"),
        ("tomogram,region\nT1,x\n", "no column 'group'"),
        ("tomogram,group\nT1,\n", "line 2: a tomogram or a group is empty"),
        ("tomogram,group\nT1,all\n", "line 2: 'all' is the name"),
        ("tomogram,group\nT1,x\nT1,y\n", "line 3: tomogram 'T1' is in 'x' and in 'y'"),
    ],
)
def test_groups_that_are_not_clear(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stats(made(tmp_path), recipe=RECIPE, options=QUIET, groups=groups_file(tmp_path, text))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps_nm": 0.0}, "--eps-nm must be positive, not 0"),
        ({"min_points": 0}, "--min-points must be 1 or more"),
        ({"min_voxels": -1}, "--min-voxels must be 0 or more"),
        ({"ids": (1, 2), "classes": ("a",)}, "--ids has 2 values for 1 --classes"),
        ({"ids": (0,), "classes": ("a",)}, "0 is where nothing is"),
        ({"classes": ("a", "a")}, "--classes names one twice"),
        ({"max_distance_vox": 0}, "from 1 to 4095"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StatsRecipe(**changes)
