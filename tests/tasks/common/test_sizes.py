"""Sizes of sources before they are opened: for the time left only, so what is not known at once has none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from volengine import ConvertRecipe, convert
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.common.sizes import sizes_of
from volengine.tasks.convert.verb import CONVERT


def mrc(path: Path, side: int) -> str:
    data = np.zeros((side, side, side), np.float32)
    return str(write_mrc(path, [data], data.shape, data.dtype, (10.0, 10.0, 10.0)))


def test_files_count_by_their_bytes(tmp_path: Path) -> None:
    paths = [mrc(tmp_path / f"{side}.mrc", side) for side in (8, 16)]
    assert sizes_of(paths) == [1024 + 4 * 8**3, 1024 + 4 * 16**3]
    jobs, _ = jobs_of(CONVERT, paths, str(tmp_path / "out"), ConvertRecipe(), RunOptions())
    assert [job.size for job in jobs] == sizes_of(paths)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_stores_count_by_the_voxels_of_their_finest_level(tmp_path: Path, ngff: str) -> None:
    store = str(tmp_path / "a.ome.zarr")
    convert(mrc(tmp_path / "a.mrc", 12), store, {"ngff": ngff}, RunOptions(progress=False))
    assert sizes_of([store, store]) == [12**3, 12**3]


def test_unknown_sizes_are_unknown_for_all(tmp_path: Path) -> None:
    known = mrc(tmp_path / "a.mrc", 8)
    damaged = tmp_path / "d.zarr"
    damaged.mkdir()
    for content in ("{", "[" * 100_000, json.dumps({"shape": ["a"]}), json.dumps({"shape": [0, 1, 1]}), "{}", "[]"):
        (damaged / "zarr.json").write_text(content)
        assert sizes_of([known, str(damaged)]) == [None, None]
    (damaged / "zarr.json").write_text(json.dumps({"shape": [4, 4, 4]}))
    assert sizes_of([str(damaged)]) == [64]
    for other in ("s3://b/a.zarr", str(tmp_path / "none.mrc"), str(tmp_path), 3, ("a", "b"), f"{damaged}#labels/a"):
        assert sizes_of([known, other]) == [None, None]
    assert sizes_of([known, str(damaged)]) == [None, None]  # bytes and voxels
    assert sizes_of([]) == []
