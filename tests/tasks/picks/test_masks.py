"""picks filter --mask with a mask of other voxels: half a voxel decides. Values by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrc_files import write
from picks_files import VOXEL

import volengine as ve
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks
from volengine.tasks.picks.convert import filter_picks

SHAPE = (16, 8, 8)


def mask_of(path: Path, sections: list[int], size: float, origin: float = 0.0) -> str:
    """A mask of 16 voxels of 10 A along z in voxels of ``size``, 1 in some sections."""
    n = 160 / size
    array = np.zeros((round(n), round(80 / size), round(80 / size)), "i2")
    array[sections] = 1
    z, y, x = array.shape
    write(path, array, 1, cell=(size * x, size * y, size * z), origin=(origin, origin, origin))
    return str(path)


def column(origin: float = 0.0) -> Picks:
    """A pick in each voxel of a column along z."""
    at = [[z, 4, 4] for z in range(SHAPE[0])]
    return Picks(at, VOXEL, origin=(origin,) * 3, shape=SHAPE, tomogram="TS_01")


def kept(folder: Path, picks: Picks, **recipe: object) -> tuple[list[int], str]:
    write_picks(folder / "in.csv", picks)
    made = filter_picks(folder / "in.csv", folder / "out.csv", {"overwrite": True, **recipe})
    return read_picks(made.files[0]).position_vox[:, 0].tolist(), " ".join(made.notes)


def test_a_mask_that_was_binned_by_averaging_begins_at_the_same_face(tmp_path: Path) -> None:
    """Section 2 of a mask binned by 4 holds the sections 8 to 11: those, and no others."""
    found, said = kept(tmp_path, column(), mask=mask_of(tmp_path / "m.mrc", [2], 40.0))
    assert found == [8, 9, 10, 11]
    assert "3 picks lie so near to the rim" in said  # 6 and 7, and not 11, if the centres are the same
    assert "--mask-grid centres" in said


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
def test_a_mask_that_is_nan_at_a_pick_says_nothing(tmp_path: Path) -> None:
    """Far from the picks it does not matter."""
    values = np.ones(SHAPE, "f4")
    values[3, 4, 4], values[9, 0, 0] = np.nan, np.nan
    write(tmp_path / "m.mrc", values, 2, cell=(80, 80, 160))
    with pytest.raises(InputError, match="is NaN at 1 of 16 picks, which are neither in nor out"):
        kept(tmp_path, column(), mask=str(tmp_path / "m.mrc"))
    assert kept(tmp_path, column()[column().position_vox[:, 0] > 3], mask=str(tmp_path / "m.mrc"))[0] == [*range(4, 16)]


def test_a_threshold_of_integers_that_nothing_describes(tmp_path: Path) -> None:
    """0.5 is half of 1, or of 255: refused where this decides, and taken by what the user says, or the volume."""
    values = np.zeros(SHAPE, "i2")
    values[4:8], values[8:] = 90, 255
    write(tmp_path / "m.mrc", values, 1, cell=(80, 80, 160))
    given = {"mask": str(tmp_path / "m.mrc"), "threshold": 0.5}
    with pytest.raises(
        InputError, match=r"integers up to 255 .* about 4 of 16 picks.*--threshold 127.5.*--threshold 0"
    ):
        kept(tmp_path, column(), **given)
    assert kept(tmp_path, column(), **given | {"threshold": 127.5})[0] == [*range(8, 16)]
    assert kept(tmp_path, column(), **given | {"threshold": 0.0})[0] == [*range(4, 16)]
    for kind, first in (("probability", 8), ("labels", 4)):
        ve.convert(tmp_path / "m.mrc", tmp_path / f"{kind}.ome.zarr", {"kind": kind})
        stated = given | {"mask": str(tmp_path / f"{kind}.ome.zarr")}
        assert kept(tmp_path, column(), **stated)[0] == [*range(first, 16)]
    write(tmp_path / "one.mrc", (values > 90).astype("i2"), 1, cell=(80, 80, 160))
    ve.convert(tmp_path / "one.mrc", tmp_path / "one.ome.zarr", {"kind": "probability"})
    with pytest.raises(InputError, match=r"integers up to 1 .* about 8 of 16 picks\. Of labels or a mask give"):
        kept(tmp_path, column(), mask=str(tmp_path / "one.ome.zarr"), threshold=0.5)
    assert kept(tmp_path, column(), mask=str(tmp_path / "one.ome.zarr"))[0] == [*range(8, 16)]
    values[4:8] = 255  # a mask of 0 and 255, whatever 1 is
    write(tmp_path / "m.mrc", values, 1, cell=(80, 80, 160))
    assert kept(tmp_path, column(), **given)[0] == [*range(4, 16)]


def test_a_mask_after_fourier_cropping_begins_at_the_same_centre(tmp_path: Path) -> None:
    """Voxel i is pixel 4 i: section 2 is at pixel 8, and pixels 7 to 9 are nearest to it (6 and 10 lie between)."""
    found, said = kept(tmp_path, column(), mask=mask_of(tmp_path / "m.mrc", [2], 40.0), mask_grid="centres")
    assert set(found) >= {7, 8, 9}
    assert set(found) <= {6, 7, 8, 9, 10}
    assert "rim" not in said


@pytest.mark.parametrize(
    ("origin", "mask_origin", "want"),
    [
        (0, 15, [8, 9, 10, 11]),  # (40 - 10) / 2: what binning by averaging makes of an origin of 0
        (500, 515, [8, 9, 10, 11]),
        (500, 515.4, [8, 9, 10, 11]),
    ],
)
def test_origins_say_how_the_mask_lies(tmp_path: Path, origin: float, mask_origin: float, want: list[int]) -> None:
    mask = mask_of(tmp_path / "m.mrc", [2], 40.0, mask_origin)
    found, said = kept(tmp_path, column(origin), mask=mask)
    assert found == want
    assert "rim" not in said


def test_the_same_origin_means_the_same_centre(tmp_path: Path) -> None:
    found, said = kept(tmp_path, column(500), mask=mask_of(tmp_path / "m.mrc", [2], 40.0, 500))
    assert set(found) >= {7, 8, 9}
    assert set(found) <= {6, 7, 8, 9, 10}
    assert "rim" not in said


@pytest.mark.parametrize("size", [10.0, 40.0])
def test_a_mask_with_another_origin_is_refused(tmp_path: Path, size: float) -> None:
    mask = mask_of(tmp_path / "m.mrc", [2], size, 900)
    with pytest.raises(InputError, match=r"origin.*--any-origin"):
        kept(tmp_path, column(500), mask=mask)
    found, _ = kept(tmp_path, column(500), mask=mask, any_origin=True)
    assert found == ([2] if size == 10 else [8, 9, 10, 11])


def test_a_level_of_a_pyramid_gives_what_the_volume_gives(tmp_path: Path) -> None:
    """volengine's own levels state their origin; a mask of whole cells says the same on every level."""
    full = mask_of(tmp_path / "full.mrc", [4, 5, 6, 7], 10.0)
    quiet = ve.RunOptions(progress=False)
    ve.convert(
        full, tmp_path / "m.ome.zarr", {"levels": 2, "kind": "labels", "chunk": (4, 4, 4), "shard": (8, 8, 8)}, quiet
    )
    coarse = ve.open_volume(tmp_path / "m.ome.zarr", level=1)
    array = np.asarray(coarse)
    z, y, x = array.shape
    cell = tuple(20.0 * n for n in (x, y, z))
    write(tmp_path / "half.mrc", array.astype("i2"), 1, cell=cell, origin=coarse.origin[::-1])
    want, _ = kept(tmp_path, column(), mask=full)
    assert want == [4, 5, 6, 7]
    assert kept(tmp_path, column(), mask=str(tmp_path / "half.mrc"))[0] == want


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.booleans(), min_size=4, max_size=4), st.sampled_from([1, 2, 4]))
def test_a_binned_mask_of_whole_cells_keeps_what_the_full_one_keeps(
    tmp_path: Path, cells: list[bool], factor: int
) -> None:
    full = [z for z in range(16) if cells[z // 4]]
    binned = sorted({z // factor for z in full})
    want, _ = kept(tmp_path, column(), mask=mask_of(tmp_path / "full.mrc", full, 10.0))
    assert want == full
    assert kept(tmp_path, column(), mask=mask_of(tmp_path / "m.mrc", binned, 10.0 * factor))[0] == full


def test_a_region_reaches_to_the_end(tmp_path: Path) -> None:
    picks = column()
    assert kept(tmp_path, picks, region=(9, 0, 0, -1, -1, -1))[0] == [*range(9, 16)]
    assert kept(tmp_path, picks, region=(9, 0, 0, -1, 4, -1))[0] == []
    beyond = picks.with_(position_vox=np.add(picks.position_vox, [3, 0, 0]))
    assert kept(tmp_path, beyond, region=(9, 0, 0, -1, -1, -1))[0] == [*range(9, 16)]
    assert kept(tmp_path, beyond.with_(shape=None), region=(9, 0, 0, -1, -1, -1))[0] == [*range(9, 19)]


def test_a_filter_needs_a_condition(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no condition.*--min-weight"):
        kept(tmp_path, column())
    assert not (tmp_path / "out.csv").exists()
