"""picks extract: the voxels of each subvolume, in the order of the table beside them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr
from calling import Command

import volengine
from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks
from volengine.tasks.picks.extract import extract_picks

SHAPE = (20, 24, 28)
POSITIONS = [[10, 11, 12], [2.4, 3.6, 4], [1, 10, 10], [17.4, 21, 25], [17.6, 21, 25]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).integers(-99, 99, SHAPE).astype("i2")
    with mrcfile.new(tmp_path / "T1.mrc") as file:
        file.set_data(voxels)
        file.voxel_size = 10
    np.save(tmp_path / "voxels.npy", voxels)
    volengine.convert(tmp_path / "T1.mrc", tmp_path / "T1.ome.zarr", options=volengine.RunOptions(progress=False))
    picks = Picks(POSITIONS, voxel_size=(10, 10, 10), tomogram="T1", shape=SHAPE, euler=[[1, 2, 3]] * 5)
    write_picks(tmp_path / "in.star", picks)
    return tmp_path


@pytest.mark.parametrize("source", ["T1.mrc", "T1.ome.zarr"])
@pytest.mark.parametrize("box", [4, 5])
def test_subvolumes_are_the_voxels_around_the_picks(folder: Path, source: str, box: int) -> None:
    """Of a box of 4 voxel 2 is the pick's, of 5 voxel 2 as well: z 17.6 is voxel 18, whose box ends at 20 or 21."""
    voxels = np.load(folder / "voxels.npy")
    starts = {4: [(8, 9, 10), (0, 2, 2), (15, 19, 23), (16, 19, 23)], 5: [(8, 9, 10), (0, 2, 2), (15, 19, 23)]}[box]
    made = extract_picks(folder / "in.star", folder / source, folder / "out.mrc", {"box": box})
    assert (made.number, made.dropped) == (len(starts), 5 - len(starts))
    with mrcfile.open(folder / "out.mrc") as file:
        assert file.is_volume_stack()
        assert file.data.shape == (len(starts), box, box, box)
        assert float(file.voxel_size.z) == pytest.approx(10)
        for found, (z, y, x) in zip(file.data, starts, strict=True):
            np.testing.assert_array_equal(found, voxels[z : z + box, y : y + box, x : x + box])
    assert mrcfile.validate(folder / "out.mrc")
    table = read_picks(made.table)
    assert table.position_vox.tolist() == [POSITIONS[i] for i in ([0, 1, 3, 4] if box == 4 else [0, 1, 3])]
    assert table.euler is not None
    extract_picks(folder / "in.star", folder / source, folder / "out.zarr", {"box": box, "overwrite": True})
    group = zarr.open_group(folder / "out.zarr", mode="r")
    with mrcfile.open(folder / "out.mrc") as file:
        np.testing.assert_array_equal(group["0"][:], file.data)
    from ome_zarr_models.v05 import Image

    assert [axis.name for axis in Image.from_zarr(group).attributes.ome.multiscales[0].axes] == list("czyx")


def test_refusals_leave_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match="None of the 5 picks has a box of 40 voxels"):
        extract_picks(folder / "in.star", folder / "T1.mrc", folder / "out.mrc", {"box": 40})
    with pytest.raises(InputError, match=r"subvolumes are written as .mrc"):
        extract_picks(folder / "in.star", folder / "T1.mrc", folder / "out.png", {"box": 4})
    with pytest.raises(MissingError, match="does not exist"):
        extract_picks(folder / "in.star", folder / "T1.mrc", folder / "no" / "out.mrc", {"box": 4})
    with pytest.raises(InputError, match="box is 0"):
        extract_picks(folder / "in.star", folder / "T1.mrc", folder / "out.mrc", {"box": 0})
    assert sorted(folder.iterdir()) == before
    (folder / "out.csv").write_text("mine")
    with pytest.raises(InputError, match=r"out.csv exists"):
        extract_picks(folder / "in.star", folder / "T1.mrc", folder / "out.mrc", {"box": 4})


def test_a_full_disk_is_noticed_before_the_file_is_mapped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that do not fit would end the process by a signal; so the space is taken first."""
    before = sorted(folder.iterdir())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device") as info:
        extract_picks(folder / "in.star", folder / "T1.mrc", folder / "out.mrc", {"box": 4})
    assert info.value.filename
    assert sorted(folder.iterdir()) == before


def test_the_command(volengine: Command, folder: Path) -> None:
    code, out, _ = volengine("picks", "extract", "in.star", "T1.mrc", "out.mrc", "--box", "4")
    assert code == 0
    assert out.splitlines() == [
        "out.mrc: 4 subvolumes of 4 voxels; their picks: out.csv",
        "  1 pick is left out, whose box reaches beyond the volume",
    ]


@pytest.mark.parametrize(("picks", "out"), [("in.csv", "in.mrc"), ("in.star", "T1.mrc"), ("in.csv", "in.zarr")])
def test_what_is_cut_is_never_replaced(folder: Path, picks: str, out: str) -> None:
    """Not by the subvolumes, and not by the table beside them, which has fewer picks; even with overwrite."""
    write_picks(folder / "in.csv", read_picks(folder / "in.star"))
    before = {name: (folder / name).read_bytes() for name in ("in.csv", "T1.mrc")}
    with pytest.raises(InputError, match=r"would replace the (picks|volume) from which it is made"):
        extract_picks(folder / picks, folder / "T1.mrc", folder / out, {"box": 4, "overwrite": True})
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_what_was_assumed_about_the_picks_is_said(folder: Path, volengine: Command) -> None:
    (folder / "T1.mrc").rename(folder / "cell.mrc")
    code, said, _ = volengine("picks", "extract", "in.star", "cell.mrc", "--out", "o.mrc", "--box", "4")
    assert code == 0
    assert "The picks of 'T1' are written as those of 'cell'." in said


def test_a_place_that_cannot_be_written_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / ".private"))

    monkeypatch.setattr(mrcfile, "new_mmap", denied)  # root may write everywhere
    with pytest.raises(InputError, match=r"out\.mrc: cannot be written \(Permission denied\)"):
        extract_picks(folder / "in.star", folder / "T1.mrc", folder / "out.mrc", {"box": 4})
