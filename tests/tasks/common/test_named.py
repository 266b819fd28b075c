"""Which tomogram and which feature a volume is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stats_inputs import QUIET, mrc, picks_of

from volengine.core.errors import InputError, MissingError
from volengine.core.volume import Volume
from volengine.io.picks import write_picks
from volengine.tasks.common.layout import file_name
from volengine.tasks.common.named import feature_of, named, of_tomogram, open_sized, stored_name
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.verb import score
from volengine.tasks.stats.verb import stats


def volume(name: str, **facts: Any) -> Volume:
    return Volume(f"p/{name}.ome.zarr", (8, 8, 8), "uint8", (10.0, 10.0, 10.0), name=name, facts=facts, path="0")


@pytest.mark.parametrize(
    ("given", "feature", "tomogram"),
    [
        (volume("TS_01__membrane"), "membrane", "TS_01"),
        (volume("TS__01__ER~20membrane"), "ER membrane", "TS__01"),
        (volume("TS_01", feature="ribosome"), "ribosome", "TS_01"),
        (volume("TS_01__ER~20membrane", feature="ER membrane"), "ER membrane", "TS_01"),
        (volume("TS_01__other", feature="ribosome"), "ribosome", "TS_01__other"),
    ],
)
def test_facts_go_before_the_name(given: Volume, feature: str, tomogram: str) -> None:
    assert feature_of(given) == feature
    assert of_tomogram(given, feature).name == tomogram
    assert named(given) == (feature, of_tomogram(given, feature))


def test_a_volume_that_says_no_feature_is_refused() -> None:
    assert feature_of(volume("TS_01")) == ""
    with pytest.raises(InputError, match=r"p/TS_01.ome.zarr does not say which feature"):
        named(volume("TS_01"))


def test_a_stored_name_has_no_folder_and_names_the_array() -> None:
    assert stored_name(volume("TS_01")) == "TS_01.ome.zarr#0"
    assert stored_name(volume("TS_01").with_(url="s3://b/TS_01.mrc", path="")) == "TS_01.mrc"


def test_a_voxel_size_stands_in_where_the_file_has_none_and_overrides_nothing(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), np.int8)
    silent, stated = mrc(tmp_path / "a.mrc", array, None), mrc(tmp_path / "b.mrc", array, 7.0)
    assert open_sized(silent, 12.0).voxel_size == (12.0, 12.0, 12.0)
    assert open_sized(stated, 12.0).voxel_size == pytest.approx((7.0, 7.0, 7.0))
    with pytest.raises(InputError, match="voxel size"):
        open_sized(silent)
    with pytest.raises(MissingError):
        open_sized(str(tmp_path / "none.mrc"), 12.0)


def test_tables_of_a_feature_whose_name_is_coded_are_counted_and_scored_under_it(tmp_path: Path) -> None:
    for folder in ("found", "known"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / f"T1__{file_name('ER exit site')}.csv"
        write_picks(path, picks_of("T1", "", [[1, 2, 3], [4, 5, 6]]))
    counted = stats(str(tmp_path / "found"), options=QUIET)
    assert [(row["tomogram"], row["class"], row["objects"]) for row in counted["classes"]] == [
        ("T1", "ER exit site", 2)
    ]
    scored = score(str(tmp_path / "found"), str(tmp_path / "known"), ScoreRecipe())
    assert scored["ER exit site"]["paired"] == 2
