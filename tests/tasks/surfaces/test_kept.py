"""What users put into sets stays; what is no tomogram, and thresholds without a meaning, are refused."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner, Result
from oriented_surfaces import ball

import volengine
from volengine.cli.main import cli
from volengine.io.surfaces import SurfaceFacts, open_surfaces, write_surfaces

SHAPE, SIZE = (24, 24, 24), (10.0, 10.0, 10.0)
CENTRE = (120.0, 120.0, 120.0)


@pytest.fixture
def surfaces(tmp_path: Path) -> str:
    where = tmp_path / "TS_01.surfaces"
    write_surfaces(where, [(ball(60.0, CENTRE, 2), {})], SurfaceFacts("TS_01", "membrane", SIZE, shape=SHAPE))
    return str(where)


def run(verb: str, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["surfaces", verb, *map(str, arguments), "--no-progress"])


def mrc(path: Path, voxels: np.ndarray, size: float = 10.0) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(voxels.astype("f4") if voxels.dtype.kind == "f" else voxels)
        file.voxel_size = size
    return path


def test_files_of_others_in_a_set_outlive_what_replaces_it(tmp_path: Path, surfaces: str) -> None:
    out = tmp_path / "out.surfaces"
    assert run("measure", surfaces, "--out", out, "--measures", "nearest").exit_code == 0
    (out / "seeds_by_hand.star").write_text("precious")
    (out / "figures").mkdir()
    (out / "figures" / "a.svg").write_text("drawn")
    told = run("measure", surfaces, "--out", out, "--measures", "curvature", "--radius-nm", 5)
    assert told.exit_code == 0, told.output
    assert "mean_curvature_per_nm" in next(iter(open_surfaces(out))).columns
    assert (out / "seeds_by_hand.star").read_text() == "precious"
    assert (out / "figures" / "a.svg").read_text() == "drawn"


def test_tables_are_not_written_into_a_set(tmp_path: Path, surfaces: str) -> None:
    before = sorted(path.name for path in Path(surfaces).iterdir())
    told = run("sample", surfaces, "--out", surfaces, "--spacing-nm", 4)
    assert told.exit_code != 0
    assert "is a set of surfaces" in f"{told.output}{told.exception}"
    assert [name for name in sorted(path.name for path in Path(surfaces).iterdir()) if "run" not in name] == before


def test_scores_without_spread_have_no_threshold(tmp_path: Path, surfaces: str) -> None:
    tomogram = mrc(tmp_path / "TS_01.mrc", np.zeros(SHAPE))
    told = run("pick", surfaces, "--tomogram", tomogram, "--out", tmp_path / "p.star", "--spacing-nm", 4)
    assert told.exit_code != 0
    assert "--min-score" in f"{told.output}{told.exception}"
    assert not (tmp_path / "p.star").exists()
    given = run(
        "pick", surfaces, "--tomogram", tomogram, "--out", tmp_path / "q.star", "--spacing-nm", 4, "--min-score", 0
    )
    assert given.exit_code == 0, given.output


def test_labels_are_no_tomogram(tmp_path: Path, surfaces: str) -> None:
    store = str(tmp_path / "TS_01.ome.zarr")
    source = mrc(tmp_path / "labels.mrc", np.ones(SHAPE, np.int16))
    volengine.convert(source, store, volengine.ConvertRecipe(kind="labels", name="TS_01"))
    told = run("profile", surfaces, "--tomogram", store, "--out", tmp_path / "p.surfaces")
    assert told.exit_code != 0
    assert "holds labels by its own words" in f"{told.output}{told.exception}"


def test_a_header_without_a_voxel_size_has_that_of_the_set(tmp_path: Path, surfaces: str) -> None:
    voxels = np.random.default_rng(0).normal(size=SHAPE)
    for name, size in (("with", 10.0), ("without", 0.0)):
        tomogram = mrc(tmp_path / f"{name}.mrc", voxels, size)
        told = run("profile", surfaces, "--tomogram", tomogram, "--out", tmp_path / f"{name}.surfaces")
        assert told.exit_code == 0, told.output
    one, other = (next(iter(open_surfaces(tmp_path / f"{name}.surfaces"))) for name in ("with", "without"))
    assert all(np.array_equal(one.columns[name], other.columns[name], equal_nan=True) for name in one.columns)
