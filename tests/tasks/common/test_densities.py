"""What is given as a tomogram: stores that say otherwise are refused, files that look like masks or labels are said."""

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


def patches(dtype: str) -> np.ndarray:
    """Cells with a wall of 2 voxels between them, each with a number of its own."""
    _, y, x = np.indices((24, 40, 40))
    wall = ((y % 10) < 2) | ((x % 10) < 2)
    return np.where(wall, 0, 1 + (y // 10) + 4 * (x // 10)).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_a_file_with_few_whole_numbers_in_patches_looks_like_labels(tmp_path: Path, dtype: str) -> None:
    (line,) = check_densities(volengine.open_volume(mrc(tmp_path / "a.mrc", patches(dtype))))
    assert "17 whole numbers (0, 1, 2, 3, ...) in patches of equal voxels" in line
    assert "is it a label volume?" in line


@pytest.mark.parametrize("scale", [1.5, 4, 12])
def test_densities_in_few_steps_are_no_labels(tmp_path: Path, scale: float) -> None:
    """A tomogram that was stored as bytes with little contrast, with padding on two sides."""
    values = np.rint(NOISE * scale).astype(np.int8)
    values[:6], values[:, :12] = 0, 0
    assert len(np.unique(values)) < 120
    assert check_densities(volengine.open_volume(mrc(tmp_path / "a.mrc", values))) == []


@pytest.mark.parametrize("kind", ["labels", "probability"])
def test_a_store_that_is_no_tomogram_is_refused(tmp_path: Path, kind: Any) -> None:
    source, out = mrc(tmp_path / "a.mrc", (NOISE > 0).astype(np.int8)), tmp_path / "a.ome.zarr"
    volengine.convert(source, out, {"kind": kind}, options=volengine.RunOptions(progress=False))
    with pytest.raises(InputError, match=r"by its own words, and no densities; give the tomogram \(--tomogram\)"):
        check_densities(volengine.open_volume(out))
