"""The tomogram and the feature of picks, from the names of files of other programs."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

import volengine
from volengine import ConvertRecipe
from volengine.core.errors import VolengineError
from volengine.engine.options import RunOptions

QUIET = RunOptions(progress=False)


def ball(path: Path) -> str:
    grid = np.indices((20, 24, 28))
    far = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, (8, 10, 12), strict=True)))
    with mrcfile.new(path, data=(far < 4.5).astype(np.float32)) as mrc:
        mrc.voxel_size = 10
    return str(path)


@pytest.mark.parametrize(
    ("file", "given", "tomogram", "feature"),
    [
        ("TS_01__ribosome.mrc", "", "TS_01", "ribosome"),
        ("TS_01__ER~20membrane.mrc", "", "TS_01", "ER membrane"),
        ("TS__01__ribosome.mrc", "", "TS__01", "ribosome"),
        ("TS_01__ribosome.mrc", "80S", "TS_01", "80S"),
        ("TS_01.mrc", "80S", "TS_01", "80S"),
        ("TS_01.mrc", "", "TS_01", "TS_01"),
        ("__ribosome.mrc", "", "__ribosome", "__ribosome"),
    ],
)
def test_a_file_names_tomogram_and_feature(tmp_path: Path, file: str, given: str, tomogram: str, feature: str) -> None:
    source = ball(tmp_path / file)
    picks = volengine.pick(source, tmp_path / "out", {"feature": given}, QUIET)
    assert (picks.tomogram, picks.feature, len(picks)) == (tomogram, feature, 1)
    (table,) = (tmp_path / "out").glob("*.star")
    assert table.stem.rpartition("__")[0] == tomogram
    (labels,) = (tmp_path / "out").glob("*.ome.zarr")
    assert volengine.open_volume(labels).name == tomogram


def test_picks_with_other_parameters_leave_the_labels_alone(tmp_path: Path) -> None:
    """The label image of a prediction has one place: the message says how a second table is made."""
    source, kind = ball(tmp_path / "TS_01__ribosome.mrc"), ConvertRecipe(kind="probability")
    store = volengine.convert(source, tmp_path / "p", kind, QUIET).url
    assert len(volengine.pick(store, tmp_path / "one", {"feature": "80S"}, QUIET)) == 1
    with pytest.raises(VolengineError, match=r"labels/80S exists\..*--overwrite.*--feature.*--no-labels"):
        volengine.pick(store, tmp_path / "two", {"feature": "80S", "threshold": 0.4}, QUIET)
    recipe = {"feature": "80S", "threshold": 0.4, "labels": False}
    assert len(volengine.pick(store, tmp_path / "two", recipe, QUIET)) == 1
