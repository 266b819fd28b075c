"""Options, masks, manifests and products of filter."""

from __future__ import annotations

import json

import mrcfile
import numpy as np
import pytest
from filtered_tomograms import QUIET, filtered, noise, tomogram, voxels

import volengine as ve
from volengine.core.errors import InputError
from volengine.core.recipe import field_texts
from volengine.ops.filters import local
from volengine.tasks.filter.steps import STEPS, step_of_text
from volengine.tasks.filter.verb import FILTER, outputs_for


def test_options_are_steps_in_the_order_of_the_help(tmp_path, volengine):
    source = tomogram(tmp_path / "TS_01", noise())
    told = (
        "--normalise",
        "std",
        "--match-voxel-size",
        "to=14,method=area",
        "--deconvolve",
        "defocus_um=4,5,strength=0.8",
    )
    code, _, err = volengine("filter", source, *told, "--invert", "--out", "out", "--no-progress")
    assert code == 0, err
    found = ve.open_volume("out/TS_01__filtered.ome.zarr")
    steps = [
        {"match_voxel_size": {"to": 14, "method": "area"}},
        {"deconvolve": {"defocus_um": [4, 5], "strength": 0.8}},
        "normalise",
        "invert",
    ]
    np.testing.assert_array_equal(voxels(found), voxels(filtered(source, tmp_path / "b.ome.zarr", steps)))
    (tmp_path / "steps.yaml").write_text(json.dumps({"filter": {"steps": steps}}))
    code, _, err = volengine("filter", source, "--steps", "steps.yaml", "--out", "c.ome.zarr", "--no-progress")
    assert code == 0, err
    np.testing.assert_array_equal(voxels(ve.open_volume("c.ome.zarr")), voxels(found))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            ("--low-pass", "forty"),
            "resolution_a is 'forty'; it must be a number. For example --low-pass 40",
        ),
        (("--deconvolve", "abc"), "--deconvolve abc: defocus_um is 'abc'; it must be a list of numbers. For example"),
        (("--missing-wedge", "60"), "a list of 2 numbers. For example --missing-wedge -60,60 or"),
        (("--median", "90"), "--median 90: radius must be from 1 to 10 voxels, not 90. For example"),
        (("--low-pass", "edge=0.1"), "'resolution_a' is missing"),
        (("--deconvolve", "defocus_um=4,defocus_um=5"), "given twice"),
        (("--steps", "steps.yaml", "--invert"), "not both"),
        (("--steps", "steps.yaml"), "no such recipe"),
        ((), "has no step"),
    ],
)
def test_wrong_options_say_what_to_do(tmp_path, volengine, told, said):
    source = tomogram(tmp_path / "TS_01", noise((8, 8, 8)))
    code, _, err = volengine("filter", source, *told, "--out", "out", "--no-progress")
    assert code == 2
    assert said in err


def test_the_names_of_the_products():
    some, none = ve.FilterRecipe(steps=["invert"]), ve.FilterRecipe(spectrum=True)
    assert outputs_for("TS_01", "out", some).store == "out/TS_01__filtered.ome.zarr"
    assert outputs_for("TS_01", "a/b.ome.zarr", some).table == "a/b__spectrum.tsv"
    assert outputs_for("TS_01", "out", none).store == ""
    assert outputs_for("TS_01", "out/x.tsv", none).table == "out/x.tsv"
    assert FILTER.is_product("x.tsv")


@pytest.mark.parametrize("how", ["std", "percentile"])
def test_only_what_a_mask_names_counts_for_a_normalisation(tmp_path, how):
    """An empty border would lower the deviation, and be among the percentiles."""
    array, mask = noise(), np.zeros((21, 34, 27), np.int8)
    mask[5:15, 3:30, 4:20] = 1
    array[mask == 0] = 0
    source = tomogram(tmp_path / "TS_01", array)
    with mrcfile.new(tmp_path / "mask.mrc") as file:
        file.set_data(mask)
    steps = [{"median": 1}, {"normalise": {"how": how, "mask": str(tmp_path / "mask.mrc")}}]
    found = voxels(filtered(source, tmp_path / "a.ome.zarr", steps))
    values = local.median(np.pad(array, 1, mode="reflect"), 1).astype(float)
    inside = values[mask == 1]
    low, high = np.percentile(inside, [1, 99])
    shift, scale = (inside.mean(), inside.std()) if how == "std" else (low, high - low)
    np.testing.assert_allclose(found, (values - shift) / scale, atol=1e-5)
    again = filtered(source, tmp_path / "b.ome.zarr", steps, (16, 8, 24))
    np.testing.assert_array_equal(voxels(again), found)


def test_a_mask_that_does_not_fit_or_is_empty_is_refused(tmp_path):
    source = tomogram(tmp_path / "TS_01", noise())
    for name, shape in (("other", (5, 6, 7)), ("empty", (21, 34, 27))):
        with mrcfile.new(tmp_path / f"{name}.mrc") as file:
            file.set_data(np.zeros(shape, np.int8))
    for name, said in (
        ("other", r"has \(5, 6, 7\) voxels, and what is normalised has \(21, 34, 27\)"),
        ("empty", "0 everywhere"),
    ):
        for how in ("std", "percentile"):
            step = {"normalise": {"how": how, "mask": str(tmp_path / f"{name}.mrc")}}
            with pytest.raises(InputError, match=said):
                filtered(source, tmp_path / f"{name}{how}.ome.zarr", [step])


def test_a_manifest_gives_each_tomogram_a_defocus_of_its_own(tmp_path):
    for k in (1, 2):
        with mrcfile.new(tmp_path / f"TS_0{k}.mrc") as file:
            file.set_data(noise(seed=k))
            file.voxel_size = 10.0
    manifest = tmp_path / "m.csv"
    manifest.write_text("source,filter.deconvolve.defocus_um\nTS_01.mrc,3\nTS_02.mrc,\n")
    recipe = ve.RunRecipe.from_json({"filter": {"steps": [{"deconvolve": 5}]}})
    ve.run(manifest, tmp_path / "out", recipe, QUIET)
    for k, defocus in ((1, 3), (2, 5)):
        wanted = filtered(tmp_path / f"TS_0{k}.mrc", tmp_path / f"{k}.ome.zarr", [{"deconvolve": defocus}])
        found = ve.open_volume(tmp_path / f"out/filtered/TS_0{k}.ome.zarr")
        np.testing.assert_array_equal(voxels(found), voxels(wanted))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("filter.deconvolve.defocus", "Did you mean 'defocus_um'"),
        ("filter.defocus_um", "filter.STEP.FIELD names a step"),
        ("filter.low_pass.resolution_a", "the recipe has no filter 'low_pass'"),
    ],
)
def test_a_wrong_column_of_a_filter_is_refused(tmp_path, column, said):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"source,{column}\nTS_01.mrc,3\n")
    with pytest.raises(InputError, match=said):
        ve.run(manifest, tmp_path / "out", ve.RunRecipe.from_json({"filter": {"steps": [{"deconvolve": 5}]}}), QUIET)


def test_the_examples_in_messages_are_taken():
    for name, kind in STEPS.items():
        assert kind.shown or not field_texts(kind), name
        for text in kind.shown:
            assert isinstance(step_of_text(name, text), kind)


def test_a_run_ends_with_what_was_made(tmp_path, volengine):
    source = tomogram(tmp_path / "TS_01", noise())
    told = ("--low-pass", "40", "--match-voxel-size", "15")
    code, out, err = volengine("filter", source, *told, "--out", "out", "--no-progress")
    assert code == 0, err
    made = next(line for line in (out + err).splitlines() if "out/TS_01__filtered.ome.zarr: " in line)
    assert "TS_01__filtered.ome.zarr: (17, 23, 18) voxels of 15 angstrom, float32; " in made
    assert made.endswith("low_pass resolution_a=40.0")


def test_a_voxel_size_is_given_to_files_that_state_none(tmp_path, volengine):
    with mrcfile.new(tmp_path / "z.mrc") as file:
        file.set_data(noise((8, 9, 10)))
        file.voxel_size = 0
    code, _, err = volengine("filter", "z.mrc", "--low-pass", "40", "--out", "a.ome.zarr", "--no-progress")
    assert code == 2
    assert "--voxel-size" in err
    told = ("--low-pass", "40", "--voxel-size", "12,10,10", "--out", "a.ome.zarr", "--no-progress")
    code, _, err = volengine("filter", "z.mrc", *told)
    assert code == 0, err
    found = ve.open_volume("a.ome.zarr")
    assert found.voxel_size == (12, 10, 10)
    same = filtered(tomogram(tmp_path / "b", noise((8, 9, 10))), tmp_path / "c.ome.zarr", [{"low_pass": 40}])
    np.testing.assert_array_equal(voxels(found), voxels(same))
