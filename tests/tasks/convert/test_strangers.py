"""What somebody has added to a converted store is not deleted when the store is made anew."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr

from volengine import ConvertRecipe, RunOptions, convert
from volengine.core.errors import InputError

QUIET = RunOptions(progress=False)
OLD = np.random.default_rng(0).integers(0, 100, (8, 12, 10)).astype("int16")


@pytest.mark.parametrize("group", ["labels/by_hand", "notes"])
def test_labels_drawn_by_hand_are_not_deleted_because_the_input_was_touched(tmp_path: Path, group: str) -> None:
    source, store = tmp_path / "a.mrc", str(tmp_path / "a.ome.zarr")
    mrcfile.write(source, OLD, voxel_size=10)
    convert(str(source), store, options=QUIET)
    zarr.open_group(store, mode="a").create_group(group).create_array("0", data=OLD)
    convert(str(source), store, options=QUIET)  # nothing has changed: no alarm
    mrcfile.write(source, OLD + 1000, voxel_size=10, overwrite=True)
    with pytest.raises(InputError, match=rf"also holds {group}, which no run .*--overwrite deletes it"):
        convert(str(source), store, options=QUIET)
    image = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(image[f"{group}/0"][:], OLD)
    np.testing.assert_array_equal(image["0"][:], OLD)
    with pytest.raises(InputError, match=rf"also holds {group}"):
        convert(str(source), store, ConvertRecipe(voxel_size=12), QUIET)
    convert(str(source), store, options=QUIET.with_(overwrite=True))
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["0"][:], OLD + 1000)
    assert group not in zarr.open_group(store, mode="r")
