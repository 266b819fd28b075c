"""Names of volumes: the group of a store behind ``#``, and files whose own name holds one."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

import volengine
from volengine.core.errors import MissingError
from volengine.engine.options import RunOptions
from volengine.io.names import split_group

QUIET = RunOptions(progress=False)


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("a.ome.zarr", ("a.ome.zarr", "")),
        ("a.ome.zarr#labels/core", ("a.ome.zarr", "labels/core")),
        ("s3://bucket/a.zarr#labels/core", ("s3://bucket/a.zarr", "labels/core")),
        ("set#1/a.zarr#labels/core", ("set#1/a.zarr", "labels/core")),
        ("a#1.zarr#labels/core", ("a#1.zarr", "labels/core")),
        ("a#1.mrc", ("a#1.mrc", "")),
        ("set#1/a.mrc", ("set#1/a.mrc", "")),
        ("store#labels/core", ("store", "labels/core")),
    ],
)
def test_names_of_what_is_not_there(text: str, split: tuple[str, str]) -> None:
    assert split_group(text) == split


def test_what_exists_decides(tmp_path: Path) -> None:
    for name in ("a#1", "b", "b#1.zarr"):
        (tmp_path / name).mkdir()
    for text, group in (("a#1", ""), ("a#1#labels/x", "labels/x"), ("b#labels/x", "labels/x"), ("b#1.zarr", "")):
        whole = f"{tmp_path}/{text}"
        assert split_group(whole) == (whole.removesuffix(f"#{group}") if group else whole, group)


def test_verbs_take_files_with_such_names(tmp_path: Path) -> None:
    grid = np.indices((16, 20, 24))
    ball = (sum((g - 9) ** 2 for g in grid) < 16).astype(np.float32)
    source = tmp_path / "set#1" / "T#1__r.mrc"
    source.parent.mkdir()
    with mrcfile.new(source, data=ball) as mrc:
        mrc.voxel_size = 10
    store = source.with_name("T#1__r.ome.zarr")
    volengine.convert(source, store, {"kind": "probability"}, QUIET)
    picks = volengine.pick(store, source.with_name("T#1__r.csv"), options=QUIET)
    assert len(picks) == 1
    assert volengine.score(source, store, {"skeleton": "none"}, QUIET).rows[0]["dice"] == 1
    found = volengine.stats(source.with_name("T#1__r.csv"), None, {"plots": False}, QUIET)
    assert found["classes"][0]["objects"] == 1
    labels = f"{store}#labels/{picks.feature}"
    assert volengine.stats(labels, None, {"plots": False}, QUIET)["classes"][0]["objects"] == 1
    with pytest.raises(MissingError, match=r"T#2\.mrc"):
        volengine.convert(source.with_name("T#2.mrc"), tmp_path / "x.ome.zarr", None, QUIET)
