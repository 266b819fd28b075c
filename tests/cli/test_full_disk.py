"""When no more can be written, messages name what was being written, and say what to do."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from calling import Command

import volengine as ve

LIMIT = 2**15


@contextmanager
def small_files() -> Iterator[None]:
    """Let the system refuse to write files beyond 32 kB, as a full disk and a quota do."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tomogram, as MRC and as a store, and a table of 200 picks in it."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    with mrcfile.new(folder / "t.mrc") as file:
        file.set_data(rng.normal(0, 1, (32, 32, 64)).astype(np.float32))
        file.voxel_size = 10
    ve.convert(folder / "t.mrc", folder / "t.ome.zarr", None, ve.RunOptions(progress=False))
    at = rng.uniform(8, 24, (2000, 3))
    ve.write_picks(folder / "t.csv", ve.Picks(at, (10.0,) * 3, shape=(32, 32, 64), tomogram="t"))
    return folder


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("picks convert t.csv --out out.star", "out.star"),
        ("picks convert t.csv --out folder/ --to csv", "folder/t.csv"),
        ("picks merge t.csv --out out.csv", "out.csv"),
        ("picks filter t.csv --out out.csv --number 1990", "out.csv"),
        ("picks extract t.csv t.mrc --out out.mrc --box 8", "out.mrc"),
        ("export t.ome.zarr --out out.mrc", "out.mrc"),
        ("export t.ome.zarr --out out.tif", "out.tif"),
        ("stats t.csv --out folder --no-plots", "folder/objects.csv"),
        ("convert t.mrc --out made.ome.zarr --no-progress", "made.ome.zarr#0"),
    ],
)
def test_the_message_names_what_was_written(
    data: Path, tmp_path: Path, volengine: Command, words: str, made: str
) -> None:
    given = [str(data / word) if (data / word).exists() else word for word in words.split()]
    with small_files():
        code, _, error = volengine(*given)
    assert code != 0
    assert f"{made}: " in error
    assert any(advice in error for advice in ("Files may not become so large here", "Free space"))
    assert "the file system" not in error
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    assert not [name for name in left if name == Path(made).name or name.startswith(".writing")]


def test_a_table_of_picks_that_cannot_be_written_wholly_is_named(data: Path, tmp_path: Path) -> None:
    """The verbs write each table into a temporary folder first, so they fail before they come here."""
    picks = ve.read_picks(data / "t.csv")
    with small_files(), pytest.raises(OSError, match="File too large") as error:
        ve.write_picks(tmp_path / "out.csv", picks)
    assert error.value.filename == str(tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []
