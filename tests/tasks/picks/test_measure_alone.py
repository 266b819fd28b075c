"""picks measure: what is damaged, vanished or unfit fails its own tomogram alone; the others are as without it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from shapes import ball

from volengine.cli.main import cli
from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.core.volume import Volume
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.picks import read_picks, write_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces
from volengine.tasks.common.images import StoreOptions, image_spec
from volengine.tasks.picks.measure import measure_picks

NAMES = ("TS_01", "TS_02", "TS_03")
SHAPE, SIZE = (24, 26, 28), (10.0, 10.0, 10.0)


def mrc(path: Path, values: np.ndarray) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = SIZE[0]
    return path


def tables(folder: Path) -> Path:
    """A table of picks of each tomogram."""
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        at = np.random.default_rng(seed).uniform(0, np.array(SHAPE) - 1, (40, 3))
        write_picks(folder / f"{name}.csv", Picks(at, SIZE, shape=SHAPE, tomogram=name), None)
    return folder


def slab(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 0.05, SHAPE).astype(np.float32)
    values[7:18] *= 40
    return values


def companions(folder: Path, option: str) -> list[Path]:
    """What an option takes, one for each tomogram."""
    folder.mkdir()
    made = []
    for seed, name in enumerate(NAMES):
        rng = np.random.default_rng(seed)
        if option == "surface":
            surface = Surface(ball(60.0, 2).vertices + 120, ball(60.0, 2).faces)
            facts = SurfaceFacts(name, "er", SIZE, (0.0, 0.0, 0.0), SHAPE)
            write_surfaces(folder / f"{name}__er.surfaces", [(surface, {})], facts)
            made.append(folder / f"{name}__er.surfaces")
            continue
        values = {
            "labels": (rng.random(SHAPE) > 0.98).astype(np.int16),
            "probability": rng.random(SHAPE).astype(np.float32),
            "value": rng.normal(size=SHAPE).astype(np.float32),
            "lamella": slab(seed),
        }[option]
        made.append(mrc(folder / f"{name}__er.mrc", values))
    return made


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4000])


def no_volume(path: Path) -> None:
    path.write_text("not a volume")


def vanished(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.mrc")


def other_shape(path: Path) -> None:
    mrc(path, np.zeros((24, 26, 60), np.float32))


def with_nan(path: Path) -> None:
    values = mrcfile.read(path).astype(np.float32)
    values[:, ::2] = np.nan
    mrc(path, values)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncated, "TS_02__er.mrc"),
    "no volume": (no_volume, "TS_02__er.mrc"),
    "vanished": (vanished, "TS_02__er.mrc"),
    "other shape": (other_shape, "TS_02__er.mrc measures"),
    "with NaN": (with_nan, "are NaN or infinite|no whole numbers"),
}


def run(command: list[str]) -> Any:
    return CliRunner().invoke(cli, [*command, "--to", "csv"])


def same_as_alone(folder: Path, source: Path, option: str, where: Path) -> None:
    """The tables of the others are those that they get alone."""
    assert sorted(path.name for path in folder.glob("*.csv")) == ["TS_01.csv", "TS_03.csv"]
    for name in ("TS_01", "TS_03"):
        alone = folder / "alone" / f"{name}.csv"
        alone.parent.mkdir(exist_ok=True)
        measure_picks(source / f"{name}.csv", alone, {option: (str(next(where.glob(f"{name}*"))),)})
        assert (folder / f"{name}.csv").read_bytes() == alone.read_bytes()


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("option", ["labels", "probability", "value", "lamella"])
def test_a_volume_that_cannot_be_used(tmp_path: Path, option: str, damage: str) -> None:
    source, where = tables(tmp_path / "picks"), tmp_path / "beside"
    spoil, word = DAMAGES[damage]
    if damage == "with NaN" and option == "value":
        pytest.skip("the value of a voxel is what is stored")
    if damage == "other shape" and option == "lamella":
        word = "measures"
    spoil(companions(where, option)[1])
    told = run(["picks", "measure", str(source), f"--{option}", str(where), "--out", str(tmp_path / "out")])
    assert told.exit_code != 0
    assert "1 of 3 failed" in str(told.exception)
    assert ("TS_02.csv, TS_02: " in str(told.exception)) == (damage != "with NaN")
    assert any(part in str(told.exception) for part in word.split("|")), told.exception
    assert f"Warning: {tmp_path}/out/TS_02.csv: not written, as TS_02 of {source}/TS_02.csv" in told.stderr
    same_as_alone(tmp_path / "out", source, option, where)
    companions(tmp_path / "again", option)  # mended, the same command does what was left
    shutil.rmtree(where)
    (tmp_path / "again").rename(where)
    told = run(["picks", "measure", str(source), f"--{option}", str(where), "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    assert (tmp_path / "out" / "TS_02.csv").exists()


def test_a_set_of_surfaces_that_cannot_be_used(tmp_path: Path) -> None:
    source, where = tables(tmp_path / "picks"), tmp_path / "beside"
    companions(where, "surface")[1].joinpath("surfaces.json").write_text("{")
    told = run(["picks", "measure", str(source), "--surface", str(where), "--out", f"{tmp_path}/out"])
    assert "1 of 3 failed:\n  TS_02.csv, TS_02: " in str(told.exception)
    same_as_alone(tmp_path / "out", source, "surface", where)


def atlas(url: Path, name: str, facts: dict[str, Any]) -> None:
    like = Volume(url=str(url), shape=SHAPE, dtype="uint8", voxel_size=SIZE, name=name)
    layout = StoreOptions((16,) * 3, (32,) * 3, levels=1)
    spec = image_spec(str(url), like, layout, dtype="uint8", kind="labels", facts=facts)
    omezarr.create_image(spec, token="input")
    labels = np.zeros(SHAPE, np.uint8)
    labels[:9], labels[12:20] = 3, 4
    ZarrSink(spec.volume(0)).write(Box.of_shape(SHAPE), labels)
    omezarr.finish_image(spec)


@pytest.mark.parametrize("stated", ["classes", "feature", "nothing"])
def test_a_store_that_cannot_say_what_it_holds(tmp_path: Path, stated: str) -> None:
    """Stores state their classes, or a feature; of one that cannot be read these are not known, and the others' are."""
    source, where = tables(tmp_path / "picks"), tmp_path / "beside"
    where.mkdir()
    facts = {"classes": {"a": 3, "b": 4}} if stated == "classes" else {"feature": "er"} if stated == "feature" else {}
    for name in NAMES:
        atlas(where / f"{name}__atlas.ome.zarr", name, facts)
    (where / "TS_02__atlas.ome.zarr" / "zarr.json").write_text("{")
    given = f"{'er=' if stated == 'nothing' else ''}{where}"
    told = run(["picks", "measure", str(source), "--labels", given, "--out", f"{tmp_path}/out"])
    assert "1 of 3 failed:\n  TS_02.csv, TS_02: " in str(told.exception)
    assert "TS_02__atlas.ome.zarr" in str(told.exception)
    for name in ("TS_01", "TS_03"):
        found = read_picks(tmp_path / "out" / f"{name}.csv").extra
        names = {column.partition(".")[0] for column in found if column.endswith(".distance_nm")}
        assert names == ({"a", "b"} if stated == "classes" else {"er"})


def test_nothing_can_be_opened_and_nothing_says_what_it_was(tmp_path: Path) -> None:
    """Then no tomogram may be measured without it."""
    source = tables(tmp_path / "picks")
    (tmp_path / "x.mrc").write_text("no volume")
    told = run(["picks", "measure", str(source), "--labels", str(tmp_path / "x.mrc"), "--out", f"{tmp_path}/out"])
    assert isinstance(told.exception, FormatError)
    assert "x.mrc" in str(told.exception)
    told = run(["picks", "measure", str(source), "--labels", f"er={tmp_path}/x.mrc", "--out", f"{tmp_path}/out"])
    assert "3 of 3 failed" in str(told.exception)
    assert not list((tmp_path / "out").glob("*.csv"))


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    source, where = tables(tmp_path / "picks"), tmp_path / "beside"
    companions(where, "labels")
    (source / "TS_02.csv").write_bytes(b"\xff\x00nothing")
    told = run(["picks", "measure", str(source), "--labels", str(where), "--out", str(tmp_path / "out")])
    assert f"1 of 3 failed:\n  {source}/TS_02.csv" in str(told.exception)
    assert f"Warning: {tmp_path}/out/TS_02.csv: not written, as {source}/TS_02.csv cannot be read" in told.stderr
    same_as_alone(tmp_path / "out", source, "labels", where)


def test_the_only_thing_of_another_name_is_of_one_tomogram_at_most(tmp_path: Path) -> None:
    """With one file of picks it is taken; with three, of three tomograms, it cannot be of each."""
    source = tables(tmp_path / "picks")
    labels = mrc(tmp_path / "labels.mrc", np.ones(SHAPE, np.int16))
    measure_picks(source / "TS_01.csv", tmp_path / "one.csv", {"labels": (f"er={labels}",)})
    told = run(["picks", "measure", str(source), "--labels", f"er={labels}", "--out", f"{tmp_path}/out"])
    assert "3 of 3 failed" in str(told.exception)


# Where tables go ---------------------------------------------------------------------------------------------------


def test_a_name_without_an_ending_is_a_folder_for_several(tmp_path: Path) -> None:
    source = tables(tmp_path / "picks")
    command = ["picks", "measure", str(source), "--neighbours-nm", "5", "--out"]
    for out in ("made", "slash/", "made"):  # the second call with one name finds its own
        told = run([*command, str(tmp_path / out) + "/" * out.endswith("/")])
        assert told.exit_code == 0, told.output
        assert sorted(path.name for path in (tmp_path / out).glob("*.csv")) == [f"{name}.csv" for name in NAMES]
    (tmp_path / "file").write_text("mine")
    for out, word in (("all.csv", "is one file"), ("file", "exists and is a file")):
        told = run([*command, str(tmp_path / out)])
        assert isinstance(told.exception, InputError)
        assert f"{word}, and there are 3 of picks; give a folder: {tmp_path}/" in str(told.exception)
    assert (tmp_path / "file").read_text() == "mine"


def test_no_table_replaces_another(tmp_path: Path) -> None:
    """Neither one of another person, nor one of the same command; both are known before anything is computed."""
    source = tables(tmp_path / "picks")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "TS_02.csv").write_text("mine")
    command = ["picks", "measure", str(source), "--neighbours-nm", "5", "--out", str(tmp_path / "out")]
    told = run(command)
    assert "TS_02.csv exists; give another name" in str(told.exception)
    assert [path.name for path in (tmp_path / "out").glob("*")] == ["TS_02.csv"]
    assert run([*command, "--overwrite"]).exit_code == 0
    shutil.copy(source / "TS_01.csv", source / "TS_01.star")
    told = run(command)
    assert "would both be written to" in str(told.exception)
