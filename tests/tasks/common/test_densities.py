"""What is given as a tomogram: stores that say otherwise are refused, files that look like masks are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

import volengine
from volengine.core.errors import InputError
from volengine.tasks.common.densities import check_densities

NOISE = np.random.default_rng(0).normal(size=(20, 40, 30)).astype(np.float32)


def mrc(path: Path, values: np.ndarray) -> str:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = 10
    return str(path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (NOISE, ""),
        (np.zeros((20, 40, 30), np.int8), ""),  # a blank says nothing
        ((NOISE > 0).astype(np.int8), "nothing but 0 and 1 "),
        (np.where(NOISE > 0, np.float32(-2.5), np.float32(8)), "nothing but -2.5 and 8 "),
        ((NOISE > 0).astype(np.int8) + (NOISE > 1), ""),
    ],
)
def test_a_file_with_two_values_looks_like_a_mask(tmp_path: Path, values: np.ndarray, said: str) -> None:
    notes = check_densities(volengine.open_volume(mrc(tmp_path / "a.mrc", values)))
    assert len(notes) == bool(said)
    assert said in "".join(notes)


@pytest.mark.parametrize("kind", ["labels", "probability"])
def test_a_store_that_is_no_tomogram_is_refused(tmp_path: Path, kind: Any) -> None:
    source, out = mrc(tmp_path / "a.mrc", (NOISE > 0).astype(np.int8)), tmp_path / "a.ome.zarr"
    volengine.convert(source, out, {"kind": kind}, options=volengine.RunOptions(progress=False))
    with pytest.raises(InputError, match=r"by its own words, and no densities; give the tomogram \(--tomogram\)"):
        check_densities(volengine.open_volume(out))
