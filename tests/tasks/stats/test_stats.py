"""volengine stats: exact numbers on made volumes, the same for any blocks and any order; run again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from engine_plans import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stats_inputs import NAMED, QUIET, RECIPE, SHAPE, atlas, ball, mrc, same, table

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.image import ImageSpec, Level
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.stats.case import StatsCase
from volengine.tasks.stats.plan import plan_stats
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.verb import STATS, stats

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
def test_any_blocks_give_the_same_numbers(tmp_path: Path, block: Any, split: Any, kind: Any) -> None:
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
    folder = plan_folder(str(tmp_path / "run"), "TS_01")
    plan = plan_stats(volume, recipe, str(tmp_path / "out.npz"), folder, QUIET)
    assert [s.name for s in plan.stages] == ["stats-objects", "stats-seams", "stats-join"]
    assert plan.stages[0].arrays["labels"].low == (16, 16, 16)
    assert plan_stats(volume, StatsRecipe(), "o.npz", folder, QUIET).stages[0].arrays["labels"].low == (0, 0, 0)


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
    for places in (tmp_path / "*.ome.zarr", tmp_path):  # a glob and a folder of stores, before the group
        again = stats(f"{places}#labels/instances", recipe=RECIPE.with_(kind="instances"), options=QUIET)
        assert again.pooled("objects")["objects"] == 2
    every = stats(str(tmp_path / "*.ome.zarr"), recipe=RECIPE, options=QUIET)["objects"]
    assert [row["class"] for row in every] == [row["class"] for row in found["objects"]]


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
    case = StatsCase.find(path, out, NAMED, STATS.run_dir(out, options))
    assert not case.complete
    with pytest.raises(MissingError, match="not counted yet"):
        case.finish()
    volengine.stats(path, out, NAMED, options)
    assert case.complete
    same(case.finish(), whole)
    (tmp_path / "out" / "stats.run" / "counted" / "T1.npz").write_bytes(b"no table")
    with pytest.raises(FormatError, match="damaged"):
        case.finish()
