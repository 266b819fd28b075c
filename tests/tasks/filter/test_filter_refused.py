"""filter: wrong input is refused, with what, where and what to do."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from filtered_tomograms import QUIET, filtered, noise, tomogram

import volengine as ve
from volengine.core.errors import InputError
from volengine.engine.ledger import RunFolder
from volengine.tasks.filter.description import FilterOutputs
from volengine.tasks.filter.plan import plan_filter


@pytest.mark.parametrize(
    "steps", [["invert"], [{"low_pass": 40}], ["normalise"], [{"normalise": "percentile"}],
              [{"match_voxel_size": {"to": 20, "method": "area"}}]],
)  # fmt: skip
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:Data array contains:RuntimeWarning")  # of mrcfile, which writes it
@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract:RuntimeWarning")  # and its statistics
def test_voxels_that_are_not_finite_are_refused(tmp_path, steps, bad):
    array = noise()
    array[5, 6, 7] = bad
    source = tomogram(tmp_path / "TS_01", array)
    with pytest.raises(InputError, match="not finite"):
        filtered(source, tmp_path / "a.ome.zarr", steps)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"lowpass": 40}], "no step 'lowpass'. Did you mean 'low_pass'"),
        ([{"low_pass": {"resolution": 40}}], "there is no 'resolution'. Did you mean 'resolution_a'"),
        ([{"low_pass": -4}], "resolution_a must be a positive number, not -4"),
        ([{"low_pass": {}}], "'resolution_a' is missing"),
        ([{"deconvolve": 50000}], "micrometre, positive for underfocus"),
        ([{"deconvolve": {"defocus_um": 5, "voltage_kv": 300000}}], "in kV"),
        ([{"deconvolve": {"defocus_um": 5, "amplitude_contrast": 7}}], "share below 1"),
        ([{"missing_wedge": {"tilts": [60, -60]}}], "lowest and the highest"),
        ([{"band_pass": {"coarse_a": 40, "fine_a": 100}}], "coarse resolution is the larger"),
        ([{"normalise": {"how": "percentile", "low": 99, "high": 1}}], "0 <= low < high <= 100"),
        ([{"median": 0}], "1 to 10"),
        ([{"invert": 3}], "takes no value"),
        ([{"low_pass": 40, "invert": {}}], "must be one step"),
        ([["invert"]], "must be one step"),
        ([{"match_spectrum": ""}], "target is empty"),
    ],
)
def test_a_wrong_step_is_an_error_that_says_where(steps, said):
    with pytest.raises(InputError, match=r"steps\[0\]") as error:
        ve.FilterRecipe(steps=["invert", *steps][1:])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"match_voxel_size": 500}], "is 500 meant in angstrom"),
        ([{"low_pass": 4}], "finer than anything in voxels"),
        ([{"low_pass": 4000}], "would leave nothing but the mean"),
        ([{"high_pass": 4000}], "more than the volume's longest side, 340 angstrom"),
        ([{"match_spectrum": "no.tsv"}], "no such file"),
        ([{"deconvolve": {"defocus_um": -2, "parametrisation": "membrain"}}], "has no first zero"),
    ],
)
def test_what_does_not_fit_the_tomogram_is_refused_while_planning(tmp_path, steps, said):
    source = tomogram(tmp_path / "TS_01", noise())
    with pytest.raises(InputError, match=said):
        filtered(source, tmp_path / "a.ome.zarr", steps)
    assert not (tmp_path / "a.ome.zarr").exists()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"deconvolve": 5}], r"\(wiener\) would differ by 0\.\d+ of their largest gain.*--transform whole"),
        ([{"high_pass": 300}], r"\(high\) would differ"),
        ([{"missing_wedge": [-60, 60]}], r"\(wedge\) would differ"),
        ([{"match_voxel_size": 15}], "method=area or method=linear"),
        ([{"match_spectrum": "no.tsv"}], "spectrum of the whole volume"),
    ],
)
def test_filters_that_look_far_are_refused_in_blocks(tmp_path, steps, said):
    source = tomogram(tmp_path / "TS_01", noise())
    with pytest.raises(InputError, match=said):
        filtered(source, tmp_path / "a.ome.zarr", steps, transform="blocks")
    assert not (tmp_path / "a.ome.zarr").exists()


def test_numbers_of_the_transform_are_checked():
    with pytest.raises(InputError, match="pad_vox must be from 0 to 4096 voxels, not -1"):
        ve.FilterRecipe(steps=["invert"], pad_vox=-1)
    with pytest.raises(InputError, match="mirrored at the volume's faces"):
        ve.FilterRecipe(steps=["invert"], transform="blocks", faces="periodic")
    with pytest.raises(InputError, match="tolerance is a share above 0"):
        ve.FilterRecipe(steps=["invert"], tolerance=0)


def test_other_wrong_input(tmp_path):
    source = tomogram(tmp_path / "TS_01", noise())
    with pytest.raises(InputError, match="is the source itself"):
        filtered(source, source, ["invert"])
    with pytest.raises(InputError, match="has no step"):
        ve.filter(source, tmp_path / "a", ve.FilterRecipe(), QUIET)
    with pytest.raises(InputError, match="without steps only the spectrum"):
        ve.filter(source, tmp_path / "a.ome.zarr", {"spectrum": True}, QUIET)
    with pytest.raises(InputError, match="is a table"):
        ve.filter(source, tmp_path / "a.tsv", {"steps": ["invert"]}, QUIET)
    with pytest.raises(InputError, match="integers need a scale"):
        ve.FilterRecipe(steps=["invert"], dtype="int8")
    labels = tomogram(tmp_path / "labels", np.ones((8, 8, 8), np.int16), kind="labels")
    with pytest.raises(InputError, match="filters are for tomograms, and this holds labels"):
        filtered(labels, tmp_path / "a.ome.zarr", ["invert"])
    flat = tomogram(tmp_path / "flat", np.full((8, 8, 8), 4, np.int16))
    for how in ("std", "percentile"):
        with pytest.raises(InputError, match="cannot be normalised"):
            filtered(flat, tmp_path / f"{how}.ome.zarr", [{"normalise": how}])


def test_a_worker_that_is_too_small_is_refused_with_both_numbers(tmp_path):
    with mrcfile.new_mmap(tmp_path / "a.mrc", (4, 9000, 9000), 1) as file:
        file.voxel_size = 10.0
    with pytest.raises(ve.VolengineError, match=r"needs .* per worker .*whole slices.*--transform blocks") as error:
        ve.filter(
            tmp_path / "a.mrc", tmp_path / "a.ome.zarr", {"steps": [{"low_pass": 40}]}, QUIET.with_(memory_limit="1GB")
        )
    assert "--block" not in str(error.value)  # no slab is smaller than a slice


def test_what_may_be_meant_otherwise_is_said(tmp_path):
    labels = np.zeros((16, 32, 32), np.int16)
    labels[4:9, 8:20, 6:20], labels[10:14, 20:30, 8:30] = 1, 7
    with mrcfile.new(tmp_path / "labels.mrc") as file:
        file.set_data(labels)
        file.voxel_size = 10.0
    request = ve.FilterRecipe(steps=["invert", {"deconvolve": {"defocus_um": [-5]}}])
    source, out = ve.open_volume(tmp_path / "labels.mrc"), FilterOutputs(str(tmp_path / "a.ome.zarr"))
    said = " ".join(plan_filter(source, request, out, RunFolder(str(tmp_path / "run")).plan("labels"), QUIET).notes)
    assert "3 whole numbers (0, 1, 7)" in said
    assert "overfocus: is the sign meant?" in said
