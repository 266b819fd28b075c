"""volengine stats: what does not fit is refused, and the message says what to do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stats_inputs import NAMED, QUIET, RECIPE, SHAPE, atlas, groups_file, made, mrc, picks_of, table

from volengine.core.errors import InputError, MissingError
from volengine.io.picks import write_picks
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.verb import stats


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
    with pytest.raises(InputError, match=r"T1.mrc measures 24 x 40 x 48 nm .*T1__a.csv .T1. 12 x 20 x 24"):
        stats([path, wide], recipe=NAMED, options=QUIET)
    with pytest.raises(InputError, match=r"1 of 2 'a' in T1__a.csv lie outside.*80 x 120 x 160 nm"):
        stats([path, far], recipe=NAMED, options=QUIET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tomogram,group\nT1,x\nT2,x\n", "does not say the group of T3"),
        ("tomogram,region\nT1,x\n", "no column 'group'"),
        ("tomogram,group,group\nT1,x,y\n", "the column 'group' is there twice"),
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


def test_sources_with_other_voxels_lie_on_the_first_one(tmp_path: Path) -> None:
    """Voxel i of 2 x 2 x 2 voxels has its centre at voxel 2 i + 0.5; that a table's shape is another one is refused."""
    at = np.array([[4.0, 6, 8], [20, 30, 40]])
    write_picks(tmp_path / "T1__a.csv", picks_of("T1", "a", at, (40, 60, 80)))
    write_picks(tmp_path / "T1__b.csv", picks_of("T1", "b", (at - 0.5) / 2, (20, 30, 40), 20.0))
    paths = [str(tmp_path / f"T1__{name}.csv") for name in "ab"]
    found = stats(paths, recipe=RECIPE, options=QUIET)
    assert table(found, "neighbours")["T1", "", "a", "b"]["max_nm"] == pytest.approx(0, abs=1e-9)
    assert any("same face" in note for note in found.facts["notes"])
    found = stats(paths, recipe=RECIPE.with_(mask_grid="centres"), options=QUIET)
    assert table(found, "neighbours")["T1", "", "a", "b"]["max_nm"] == pytest.approx(0.5 * 3**0.5)
    found = stats(paths[1], recipe=RECIPE.with_(radius_nm=0.1, mask_grid="faces"), options=QUIET, truth=paths[0])
    assert found["counting"][0]["paired"] == 2
    with pytest.raises(InputError, match="--mask-grid"):
        stats(paths[1], recipe=RECIPE.with_(radius_nm=0.1), options=QUIET, truth=paths[0])
    volume = mrc(tmp_path / "T1.mrc", np.zeros((40, 60, 60), np.int8), 10.0)
    with pytest.raises(InputError, match=r"T1__a.csv measures 40 x 60 x 80 nm"):
        stats(paths[0], recipe=RECIPE, options=QUIET, volumes=volume)
