"""``--roi`` of stats with tables of picks, and with sources of a tomogram that have other voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stats_inputs import QUIET, mrc, picks_of

from volengine.core.errors import InputError
from volengine.io.picks import write_picks
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.verb import stats

RECIPE = StatsRecipe(plots=False, eps_nm=20)


def table(folder: Path, name: str, at: list[list[float]], shape: tuple[int, ...] | None, size: float = 10.0) -> str:
    path = folder / f"T1__{name}.csv"
    write_picks(path, picks_of("T1", name, at, shape, size))
    return str(path)


def test_picks_count_by_their_nearest_voxel(tmp_path: Path) -> None:
    """Voxels 10 to 19 of z: places from 9.5 to below 19.5; regions that share an end share no pick."""
    at = [[9.4, 5, 5], [9.5, 5, 5], [19.4, 5, 5], [19.5, 5, 5], [15.0, 50, 5]]
    path = table(tmp_path, "a", at, (100, 100, 100))
    for roi, want in (("10:20,:,:", [9.5, 15.0, 19.4]), (":10,:,:", [9.4]), ("20:,:,:", [19.5]), (":,:,:", 5)):
        found = stats(path, recipe=RECIPE.with_(roi=roi), options=QUIET)
        if isinstance(want, int):
            assert len(found["objects"]) == want
            continue
        assert [row["z_nm"] for row in found["objects"]] == want
    (row,) = stats(path, recipe=RECIPE.with_(roi="10:20,:50,:"), options=QUIET)["classes"]
    assert row["objects"] == 2
    assert row["tomogram_um3"] == pytest.approx(10 * 50 * 100 * 1e-9)
    assert row["per_um3"] == pytest.approx(2 / (10 * 50 * 100 * 1e-9))
    assert row["nearest_mean_nm"] == pytest.approx(9.9)


def test_picks_without_a_shape_have_no_part(tmp_path: Path) -> None:
    path = table(tmp_path, "a", [[1, 2, 3]], None)
    with pytest.raises(InputError, match=r"does not state the shape of tomogram 'T1'.*--volume"):
        stats(path, recipe=RECIPE.with_(roi="0:2,:,:"), options=QUIET)
    volume = mrc(tmp_path / "T1.mrc", np.zeros((8, 8, 8), np.int8))
    found = stats(path, recipe=RECIPE.with_(roi="0:2,:,:"), options=QUIET, volumes=volume)
    assert found.pooled("a")["objects"] == 1


def test_voxels_of_two_sizes_are_two_parts(tmp_path: Path) -> None:
    fine = table(tmp_path, "a", [[12, 5, 5], [30, 5, 5]], (40, 40, 40), 10.0)
    coarse = table(tmp_path, "b", [[6, 3, 3], [1, 3, 3]], (20, 20, 20), 20.0)
    with pytest.raises(InputError, match=r"--roi is the part from .* nm .* say it in nm"):
        stats([fine, coarse], recipe=RECIPE.with_(roi="10:20,:,:"), options=QUIET)
    found = stats([fine, coarse], recipe=RECIPE.with_(roi="10nm:20nm,:,:"), options=QUIET)
    assert {row["class"]: row["objects"] for row in found["classes"]} == {"a": 1, "b": 1}
    near = {(row["class"], row["to"]): row["min_nm"] for row in found["neighbours"]}
    assert near["a", "b"] == pytest.approx(np.linalg.norm([0.5, 1.5, 1.5]))  # both begin at the same face


def test_a_truth_is_counted_in_the_same_part(tmp_path: Path) -> None:
    ours = table(tmp_path, "a", [[12, 5, 5], [30, 5, 5]], (40, 40, 40))
    known = tmp_path / "known"
    known.mkdir()
    truth = table(known, "a", [[12, 5, 6], [31, 5, 5], [39, 1, 1]], (40, 40, 40))
    recipe = RECIPE.with_(radius_nm=3, roi="10:20,:,:")
    row = next(r for r in stats(ours, recipe=recipe, options=QUIET, truth=truth)["counting"] if r["tomogram"] == "all")
    assert (row["found"], row["truth"], row["paired"]) == (1, 1, 1)
