"""Sets of surfaces that somebody has changed: refused where they would be written again, and mended by overwrite."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.io.surfaces import FACTS, TABLE
from volengine.tasks.surface.recipe import SurfaceRecipe
from volengine.tasks.surface.verb import surface

QUIET = RunOptions(progress=False)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    at = np.stack(np.meshgrid(*[np.arange(16) - 7.5] * 3, indexing="ij"))
    with mrcfile.new(tmp_path / "TS_01__membrane.mrc") as mrc:
        mrc.set_data(((at**2).sum(0) < 25).astype(np.int8))
        mrc.voxel_size = 10.0
    return tmp_path / "TS_01__membrane.mrc"


@pytest.mark.parametrize("name", [TABLE, FACTS, "0001.ply"])
@pytest.mark.parametrize("same_size", [True, False])
def test_an_edited_file_of_a_set_is_refused_and_overwritten(
    mask: Path, tmp_path: Path, name: str, same_size: bool
) -> None:
    out = tmp_path / "a.surfaces"
    surface(mask, out, SurfaceRecipe(), QUIET)
    made = (out / name).read_bytes()
    (out / name).write_bytes(made[:-2] + b"7\n" if same_size else made + b"7\n")
    with pytest.raises(InputError, match="was changed after this run had written it"):
        surface(mask, out, SurfaceRecipe(vertex_area_nm2=9), QUIET)
    surface(mask, out, SurfaceRecipe(), QUIET.with_(overwrite=True))
    assert (out / name).read_bytes() == made


def test_objects_that_are_too_small_are_not_blamed_on_the_threshold(
    mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from click.testing import CliRunner

    from volengine.cli.main import cli

    ran = CliRunner().invoke(
        cli, ["surface", str(mask), "--out", str(tmp_path / "b.surfaces"), "--min-volume-nm3", "1000"]
    )
    assert ran.exit_code == 0, ran.output
    assert "of 1000 nm³ or more" in ran.output
    assert "threshold" not in ran.output
