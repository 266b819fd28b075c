"""What lies beside surfaces: one that is damaged, or holds NaN, fails its own set alone, and is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from shapes import ball

import volengine as ve
from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.volume import Volume
from volengine.io.open import open_volume
from volengine.io.surfaces import SurfaceFacts, write_surfaces
from volengine.tasks.surfaces.measure import measure_surfaces
from volengine.tasks.surfaces.sampler import Sampler

NAMES = ("TS_01", "TS_02", "TS_03")
SHAPE, SIZE = (30, 31, 32), (10.0, 10.0, 10.0)
MORE = {"measure": ("--measures", "curvature", "--radius-nm", "6", "--reach-nm", "4", "--min-bilayer-nm", "1")}


def volume(path: Path, values: np.ndarray) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = SIZE[0]
    return path


def surfaces(folder: Path, feature: str, radius: float) -> list[Path]:
    folder.mkdir()
    for name in NAMES:
        one = Surface(ball(radius, 2).vertices + 150, ball(radius, 2).faces)
        facts = SurfaceFacts(name, feature, SIZE, shape=SHAPE)
        write_surfaces(folder / f"{name}_{feature}.surfaces", [(one, {})], facts)
    return sorted(folder.iterdir())


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4000])


def vanished(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.mrc")


def with_nan(path: Path) -> None:
    values = mrcfile.read(path).astype(np.float32)
    values[15] = np.nan
    volume(path, values)


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
@pytest.mark.parametrize(
    ("spoil", "word"), [(truncated, "truncated"), (vanished, "no such file"), (with_nan, "NaN or inf|no whole numbers")]
)
@pytest.mark.parametrize("verb", ["measure", "profile", "pick", "labels"])
def test_a_volume_of_a_folder(tmp_path: Path, verb: str, spoil: Callable[[Path], None], word: str) -> None:
    surfaces(tmp_path / "sets", "er", 80.0)
    where = tmp_path / "volumes"
    where.mkdir()
    for seed, name in enumerate(NAMES):
        values = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
        volume(where / f"{name}.mrc", (values > 0).astype(np.int16) if verb == "labels" else values)
    spoil(where / "TS_02.mrc")
    option, verb = ("--labels", "measure") if verb == "labels" else ("--tomogram", verb)
    command = ["surfaces", verb, str(tmp_path / "sets"), option, str(where), "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(cli, [*command, *MORE.get(verb, ())])
    assert told.exit_code != 0
    said = str(told.exception)
    assert said.startswith("1 of 3 failed")
    assert "TS_02.mrc" in said
    assert any(one in said for one in word.split("|")), said
    made = {path.name.partition(".")[0] for path in (tmp_path / "out").iterdir() if path.name.startswith("TS")}
    assert made == {"TS_01_er", "TS_03_er"}


def test_another_set_of_a_folder(tmp_path: Path) -> None:
    """Its name says whose it is, or the error names it."""
    surfaces(tmp_path / "sets", "er", 80.0)
    others = surfaces(tmp_path / "others", "golgi", 50.0)
    others[1].joinpath("surfaces.json").write_text("{")
    command = ["surfaces", "measure", str(tmp_path / "sets"), "--others", str(tmp_path / "others")]
    for out, name in (("a", others[1]), ("b", others[1].with_name("TS_02__golgi.surfaces"))):
        others[1].rename(name)
        others[1] = name
        told = CliRunner().invoke(cli, [*command, "--measures", "nearest", "--out", str(tmp_path / out)])
        assert str(told.exception).startswith("1 of 3 failed")
        assert f"{name.name}/surfaces.json: is damaged" in str(told.exception)


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
def test_values_are_refused_by_the_place_alone(tmp_path: Path) -> None:
    """NaN far from the places does not matter, outside of the volume it is the answer; parts agree with the whole."""
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    values[15, 15, 15], values[3, 3, 3] = np.nan, np.inf
    read: Volume = open_volume(str(volume(tmp_path / "a.mrc", values)))
    places = np.random.default_rng(1).uniform(-20, 330, (500, 3))
    apart = np.abs(places[:, None] / 10 - [[15, 15, 15], [3, 3, 3]]).max(axis=2).min(axis=1)
    outside = ((places < 0) | (places > 10 * (np.array(SHAPE) - 1))).any(axis=1)
    sample = Sampler(read, "cubic")
    fine = sample(places[apart > 2])
    assert np.isnan(fine[outside[apart > 2]]).all()
    assert np.isfinite(fine[~outside[apart > 2]]).all()
    near = np.full((1, 3), 151.0)
    for part in (near, np.concatenate([places[apart > 2], near])):
        for order in ("linear", "cubic"):
            with pytest.raises(InputError, match=r"a\.mrc: near 1 of \d+ places .* first near voxel \(15, 15, 15\)"):
                Sampler(read, order)(part)


def test_a_prediction_has_no_labels(tmp_path: Path) -> None:
    sets = surfaces(tmp_path / "sets", "er", 80.0)
    path = volume(tmp_path / "TS_01__er.mrc", np.random.default_rng(0).random(SHAPE).astype(np.float32))
    ve.convert(path, tmp_path / "TS_01__er.ome.zarr", {"kind": "probability"})
    with pytest.raises(InputError, match="is a prediction, which has no labels"):
        measure_surfaces(sets[0], tmp_path / "out.surfaces", {"labels": str(tmp_path / "TS_01__er.ome.zarr")})
    with pytest.raises(InputError, match="no whole numbers"):
        measure_surfaces(sets[0], tmp_path / "out.surfaces", {"labels": str(path)})
