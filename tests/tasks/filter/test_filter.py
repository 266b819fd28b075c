"""filter through the engine: whatever the blocks, the values of the whole volume."""

from __future__ import annotations

import json
import tracemalloc

import mrcfile
import numpy as np
import pytest
from filtered_tomograms import QUIET, VOXEL, filtered, noise, tomogram, voxels
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import volengine as ve
from volengine.core.errors import InputError
from volengine.engine.stage import Stage
from volengine.ops.filters import local
from volengine.ops.filters.ctf import Lens, Ratio, wiener_gain
from volengine.ops.filters.gains import gain_of
from volengine.ops.filters.transforms import (
    filter_columns,
    filter_whole,
    forward_slices,
    inverse_slices,
    padded_grid,
)
from volengine.tasks.common.inputs import expand
from volengine.tasks.filter.plan import plan_filter
from volengine.tasks.filter.verb import request

HELD = {"defocus_um": 3, "highpass": 0.5}
"""A deconvolution whose kernel is short."""

# -- blocked equals whole ----------------------------------------------------------------------------------

steps_of_all_kinds = st.lists(
    st.sampled_from(
        [
            {"match_voxel_size": 14},
            {"match_voxel_size": {"to": [9, 12, 7], "method": "area"}},
            {"match_voxel_size": {"to": 15, "method": "linear"}},
            {"deconvolve": {"defocus_um": 4, "parametrisation": "membrain"}},
            {"deconvolve": {"defocus_um": [3, 5], "width_um": 0.5}},
            {"missing_wedge": {"tilts": [-50, 60]}},
            {"low_pass": 30},
            {"high_pass": 80},
            {"band_pass": {"coarse_a": 80, "fine_a": 40}},
            "normalise",
            {"normalise": "percentile"},
            {"median": 1},
            {"diffusion": {"kappa": 1.0, "iterations": 2}},
            {"bilateral": {"sigma_value": 1.0}},
            "invert",
        ]
    ),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=6,
    phases=(Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps_of_all_kinds, st.tuples(*[st.sampled_from([8, 16, 24, 64])] * 3), st.tuples(*[st.integers(9, 26)] * 3))
def test_whatever_the_blocks_the_bits_are_the_same(tmp_path, steps, block, shape):
    source = tomogram(tmp_path / "TS_01", noise(shape))
    faces = ("taper", "mirror", "periodic")[sum(shape) % 3]
    chosen = filtered(source, tmp_path / "a.ome.zarr", steps, faces=faces)
    again = filtered(source, tmp_path / "b.ome.zarr", steps, block, faces=faces)
    np.testing.assert_array_equal(voxels(again), voxels(chosen))
    one, two = (
        filtered(source, tmp_path / f"{k}.ome.zarr", steps, block if k else None, dtype="int16", scale=20)
        for k in range(2)
    )
    np.testing.assert_array_equal(voxels(one), voxels(two))
    assert one.dtype == "int16"


def test_the_spectrum_and_what_is_matched_to_it_do_not_depend_on_blocks(tmp_path):
    source, other = tomogram(tmp_path / "TS_01", noise()), tomogram(tmp_path / "TS_02", noise((16, 16, 16), 5))
    ve.filter(other, tmp_path / "t.tsv", {"spectrum": True}, QUIET)
    steps = [
        {"low_pass": 30},
        {"match_spectrum": {"target": str(tmp_path / "t.tsv"), "sectors": 3, "tilts": [-60, 60]}},
    ]
    found = {}
    for block in (None, (8, 8, 8), (16, 32, 8), (24, 16, 32)):
        name = str(block and block[1])
        volume = filtered(source, tmp_path / f"{name}.ome.zarr", steps, block, spectrum=True)
        found[name] = (voxels(volume).tobytes(), (tmp_path / f"{name}__spectrum.tsv").read_bytes())
    assert len(set(found.values())) == 1


def test_a_volume_matched_to_its_own_spectrum_stays_the_same(tmp_path):
    source = tomogram(tmp_path / "TS_01", noise())
    assert ve.filter(source, tmp_path / "own.tsv", {"spectrum": True}, QUIET) is None
    found = filtered(source, tmp_path / "a.ome.zarr", [{"match_spectrum": str(tmp_path / "own.tsv")}])
    assert np.corrcoef(voxels(found).ravel(), noise().ravel())[0, 1] > 0.999
    np.testing.assert_allclose(voxels(found), noise(), atol=1e-3)


@pytest.mark.parametrize("faces", ["taper", "mirror", "periodic"])
def test_a_chain_is_what_the_methods_give_on_whole_arrays(tmp_path, faces):
    """Median, then two gains and another grid in one transform, then a normalisation of the result."""
    source = tomogram(tmp_path / "TS_01", noise())
    steps = [{"median": 1}, {"deconvolve": 4}, {"match_voxel_size": 15}, "normalise", "invert"]
    found = filtered(source, tmp_path / "a.ome.zarr", steps, (8, 16, 8), faces=faces, pad_vox=12)
    grid = padded_grid((21, 34, 27), (17, 23, 18), VOXEL, (15.0,) * 3, (faces, 12))
    assert (found.shape, found.name, found.origin) == ((17, 23, 18), "TS_01", (50.0, -20.0, 0.0))
    assert found.voxel_size == pytest.approx(grid.out_voxel_size)
    if faces == "periodic":
        assert found.voxel_size == pytest.approx((21 * 12 / 17, 340 / 23, 270 / 18))
    else:  # a length with what is added to it that 15 angstrom divide
        assert found.voxel_size == pytest.approx((15, 15, 15), rel=0.005)
    middle = local.median(np.pad(noise(), 1, mode="reflect"), 1)

    def gain(columns):
        f = np.sqrt(columns.fz[:, None] ** 2 + columns.fy[0] ** 2 + columns.fx[None, :] ** 2)
        limits = [min(n, m) / 2 for n, m in zip(grid.shape, grid.out_shape, strict=True)]
        taper = gain_of(columns, [{"kind": "taper", "limits": limits, "width": 0.1}], {})
        return (wiener_gain(f, 1200 ** (1 / 3), Lens((4.0,)), Ratio()) * taper).astype(np.float32)

    whole = inverse_slices(filter_columns(forward_slices(middle, grid), grid, 0, 0, gain), grid).astype(float)
    np.testing.assert_allclose(voxels(found), -(whole - whole.mean()) / whole.std(), atol=3e-5)
    history = found.facts["history"]
    assert [step["verb"] for step in history] == ["convert", "filter"]
    assert history[-1]["recipe"]["steps"][1]["deconvolve"]["defocus_um"] == [4.0]


# -- odd shapes, types, parts ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 9, 11), (8, 9, 10), (1, 20, 21), (5, 1, 6)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "float32", "float16"])
def test_no_slice_is_lost_and_every_type_is_read(tmp_path, shape, dtype):
    array = (noise(shape) * 3).astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array.astype(np.uint16) if dtype == "uint8" else array)
        file.voxel_size = 10.0
    found = filtered(tmp_path / "a.mrc", tmp_path / "a.ome.zarr", [{"low_pass": 20.0 / 3**0.5 + 1e-6}])
    assert (found.shape, found.dtype) == (shape, "float32")
    kept = filtered(tmp_path / "a.mrc", tmp_path / "b.ome.zarr", ["invert"])
    np.testing.assert_array_equal(voxels(kept), -array.astype(np.float32))


def test_integers_are_rounded_cut_off_and_counted(tmp_path, volengine):
    array = np.zeros((8, 8, 8), np.float32)  # 2 of 512 are beyond
    array[0, 0] = [0.5, 1.5, -0.26, 3, 4, -3, -4, 0.24]
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        file.voxel_size = 10.0
    code, _, err = volengine("filter", "a.mrc", "--invert", "--dtype", "int8", "--scale", "40", "--out", "a.ome.zarr")
    assert code == 0, err
    assert voxels(ve.open_volume("a.ome.zarr"))[0, 0].tolist() == [-20, -60, 10, -120, -128, 120, 127, -10]
    report = json.loads((tmp_path / "a.ome.zarr.run/report.json").read_text())
    assert '"voxels beyond the type": 2' in json.dumps(report)


def test_a_scale_that_cuts_off_much_is_refused_and_nothing_is_called_done(tmp_path):
    source = tomogram(tmp_path / "TS_01", noise())
    with pytest.raises(InputError, match=r"of 19278 voxels .* times the scale 20 are beyond int8.*smaller --scale"):
        filtered(source, tmp_path / "a.ome.zarr", ["invert"], (8, 8, 8), dtype="int8", scale=20)
    with pytest.raises(InputError):
        ve.open_volume(tmp_path / "a.ome.zarr")


def test_in_blocks_the_bits_do_not_depend_on_how_the_volume_is_cut(tmp_path):
    """An axis with two blocks, one that is shorter than the halo, and what comes before and after."""
    source = tomogram(tmp_path / "TS_01", noise((5, 100, 40)), (20.0, 10.0, 10.0))
    steps = [{"median": 1}, {"deconvolve": HELD}, "normalise", {"low_pass": {"resolution_a": 60, "edge": 1}}]
    found = {}
    for block in (None, (8, 8, 8), (8, 48, 16)):
        volume = filtered(source, tmp_path / f"{len(found)}.ome.zarr", steps, block, transform="blocks", tolerance=0.05)
        found[block] = voxels(volume)
        np.testing.assert_array_equal(found[block], found[None])
    part = filtered(source, tmp_path / "part.ome.zarr", steps, transform="blocks", tolerance=0.05, roi="1:4,53:90,:")
    np.testing.assert_array_equal(voxels(part), found[None][1:4, 53:90])
    bounds = volume.facts["history"][-1]["bounds"]
    assert len(bounds) == 2
    assert all(0 < bound["gain"] <= 0.05 for bound in bounds)


@settings(deadline=None, max_examples=8, phases=(Phase.reuse, Phase.generate))
@given(st.data())
def test_a_part_that_few_blocks_make_has_the_values_of_the_whole(tmp_path_factory, data):
    """Local filters, filters of frequencies in blocks, another voxel size, in any order."""
    folder = tmp_path_factory.mktemp("part")
    source = tomogram(folder / "TS_01", noise((20, 66, 40)), (10.0,) * 3)
    low = {"low_pass": {"resolution_a": 60, "edge": 1}}
    options = [
        {"median": 1},
        low,
        {"match_voxel_size": {"to": 12, "method": "area"}},
        {"bilateral": {"sigma_value": 1.0}},
    ]
    steps = data.draw(st.lists(st.sampled_from(options), min_size=2, max_size=3, unique_by=str))
    box = []
    for side in (20, 66, 40):
        first = data.draw(st.integers(0, side - 3))
        box.append((first, data.draw(st.integers(first + 2, side))))
    roi = ",".join(f"{a}:{b}" for a, b in box)
    how = {"transform": "blocks", "tolerance": 0.05}
    whole = filtered(source, folder / "a.ome.zarr", steps, (8, 16, 16), **how)
    part = filtered(source, folder / "b.ome.zarr", steps, (8, 16, 16), **how, roi=roi)
    begin = part.facts["history"][-1]["roi"]["start"] if part.shape != whole.shape else (0, 0, 0)
    there = tuple(slice(a, a + n) for a, n in zip(begin, part.shape, strict=True))
    np.testing.assert_array_equal(voxels(part), voxels(whole)[there])


def test_a_small_part_takes_few_blocks(tmp_path):
    source = tomogram(tmp_path / "TS_01", noise((64, 64, 64)), (10.0,) * 3)
    steps, units = [{"median": 1}, {"match_voxel_size": {"to": 20, "method": "area"}}, {"median": 1}], {}
    for roi in ("", "20:24,20:24,20:24"):
        out = tmp_path / f"{len(units)}.ome.zarr"
        filtered(source, out, steps, (16, 16, 16), roi=roi)
        (file,) = (tmp_path / f"{out.name}.run" / "plans").glob("*/plan.json")
        stages = json.loads(file.read_text())["stages"]
        units[roi] = [len(Stage.from_json(stage).tiling) for stage in stages]
    assert units[""] == [64, 8, 8]
    assert units["20:24,20:24,20:24"] == [27, 1, 1]  # a block of the second grid covers 32 voxels, and 3 behind them


def test_in_blocks_the_result_is_near_that_of_the_whole(tmp_path):
    """Of the volume and its mirrors, which is that of --faces mirror with a pad as wide as the volume."""
    source = tomogram(tmp_path / "TS_01", noise((30, 100, 41)), (10.0,) * 3)
    steps = [{"deconvolve": HELD}]
    whole = voxels(filtered(source, tmp_path / "a.ome.zarr", steps, faces="mirror", pad_vox=100))
    blocks = filtered(source, tmp_path / "b.ome.zarr", steps, transform="blocks")
    bound = blocks.facts["history"][-1]["bounds"][0]
    wrong = np.abs(voxels(blocks) - whole)
    assert wrong.max() <= bound["most"] * np.ptp(noise((30, 100, 41))) / 2
    assert 0 < wrong.std() < bound["rms"] * 3
    assert wrong.std() < 0.02 * whole.std()


def test_a_run_folder_that_is_used_again_gives_the_same(tmp_path):
    """After its source was made anew, and after another recipe: tables that were deleted are not needed."""
    for steps in (["invert"], [{"low_pass": 40}, "normalise", {"median": 1}], ["invert"], ["invert"]):
        source = tomogram(tmp_path / "TS_01", noise())
        found = filtered(source, tmp_path / "a.ome.zarr", steps, (8, 16, 24), dtype="int16", scale=20, spectrum=True)
        again = filtered(source, tmp_path / "b.ome.zarr", steps, dtype="int16", scale=20)
        np.testing.assert_array_equal(voxels(found), voxels(again))


def test_a_part_is_cut_out_of_the_whole_result(tmp_path):
    source = tomogram(tmp_path / "TS_01", noise())
    steps = [{"deconvolve": 4}, {"diffusion": 1.0}]
    whole = voxels(filtered(source, tmp_path / "a.ome.zarr", steps))
    part = filtered(source, tmp_path / "b.ome.zarr", steps, roi="3:20,10:,:9")
    np.testing.assert_array_equal(voxels(part), whole[3:20, 10:, :9])
    assert part.origin == (50 + 3 * 12, -20 + 10 * 10, 0)
    assert part.facts["history"][-1]["roi"]["start"] == [3, 10, 0]


def test_a_part_of_another_grid_has_the_voxels_whose_places_lie_in_it(tmp_path):
    """Along y 34 voxels of 10 angstrom become 17 of 20: voxels 5 to 9 lie at 100 to 180, within 95 to 185 angstrom."""
    source = tomogram(tmp_path / "TS_01", noise())
    steps = [{"match_voxel_size": {"to": [12, 20, 10]}}]
    whole = voxels(filtered(source, tmp_path / "a.ome.zarr", steps))
    part = filtered(source, tmp_path / "b.ome.zarr", steps, roi=":,10:19,:")
    np.testing.assert_array_equal(voxels(part), whole[:, 5:10])
    assert part.origin == (50, -20 + 5 * 20, 0)


# -- science -----------------------------------------------------------------------------------------------


def test_deconvolution_brings_blobs_seen_through_a_lens_nearer_to_what_they_are(tmp_path):
    """Blobs seen through the lens of 5 micrometre underfocus, in noise: the correlation with the blobs rises."""
    shape, voxel = (40, 60, 50), 10.0
    rng = np.random.default_rng(8)
    ideal = np.zeros(shape, np.float32)
    for centre in rng.uniform(5, 35, (40, 3)) * np.array([1, 1.6, 1.3]):
        at = sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True))
        ideal += np.exp(-at / (2 * 2.5**2)).astype(np.float32)
    lens = Lens((5.0,))

    def ctf(columns):
        from volengine.ops.filters.ctf import ctf_mean

        f = np.sqrt(columns.fz[:, None] ** 2 + columns.fy[0] ** 2 + columns.fx[None, :] ** 2)
        return ctf_mean(f, lens).astype(np.float32)

    seen = filter_whole(ideal, gain=ctf, voxel_size=(voxel,) * 3)
    seen += (rng.normal(size=shape) * 0.3 * seen.std()).astype(np.float32)
    source = tomogram(tmp_path / "TS_01", seen, (voxel,) * 3)
    before = np.corrcoef(seen.ravel(), ideal.ravel())[0, 1]
    for steps, least in (
        ([{"deconvolve": 5}], 0.15),
        ([{"deconvolve": {"defocus_um": 5, "parametrisation": "membrain"}}], 0.15),
        ([{"deconvolve": {"defocus_um": 5, "mode": "flip"}}], 0.0),
    ):
        found = voxels(filtered(source, tmp_path / "a.ome.zarr", steps))
        assert np.corrcoef(found.ravel(), ideal.ravel())[0, 1] > before + least


def test_deconvolution_of_a_simulated_tilt_series_shows_its_ideal(tmp_path):
    """A tomogram by the simulator, with lens, damage, noise and missing wedge: from 0.31 to more than 0.7."""
    recipe = {
        "name": "s",
        "specimen": {
            "shape": [30, 64, 72],
            "voxel_size": 12.0,
            "vesicles": [{"count": 1, "radius_nm": [12, 14], "bare": 0}],
            "layers": [{"species": [{"structure": "globule-900", "name": "big", "count": 8}]}],
            "classes": {"membrane": 1, "big": 7},
        },
        "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 3, "order": "dose-symmetric"},
        "dose": {"total_e_per_a2": 120},
        "exposure": {"optics": {"defocus_um": 5}},
        "keep": {"ideal": True},
    }
    ve.simulate(recipe, tmp_path, 1, QUIET)
    ideal = voxels(ve.open_volume(tmp_path / "ideal/s_0001.ome.zarr")).ravel()
    seen = tmp_path / "tomograms/s_0001.ome.zarr"
    assert np.corrcoef(voxels(ve.open_volume(seen)).ravel(), ideal)[0, 1] < 0.4
    for how in ({"defocus_um": 5}, {"defocus_um": 5, "parametrisation": "membrain"}):
        found = filtered(seen, tmp_path / "a.ome.zarr", [{"deconvolve": how}])
        assert np.corrcoef(voxels(found).ravel(), ideal)[0, 1] > 0.7


def test_the_defocus_and_the_tilts_are_those_of_the_tilt_series(tmp_path):
    """Of a .tomostar of three tilts, which states no defocus."""
    star = "data_\nloop_\n_wrpMovieName #1\n_wrpAngleTilt #2\n_wrpDose #3\n" + "".join(
        f"m{k}.tif {a} {k}\n" for k, a in enumerate((-50, 0, 60))
    )
    (tmp_path / "TS_01.tomostar").write_text(star)
    source = tomogram(tmp_path / "TS_01", noise(), tilts=str(tmp_path / "TS_01.tomostar"))
    found = filtered(source, tmp_path / "a.ome.zarr", ["missing_wedge"])
    same = filtered(source, tmp_path / "b.ome.zarr", [{"missing_wedge": {"tilts": [-50, 60]}}])
    np.testing.assert_array_equal(voxels(found), voxels(same))
    assert found.facts["tilt_series"]["angles"] == [-50, 0, 60]
    with pytest.raises(InputError, match=r"TS_01\.tomostar states no measured defocus; give it, in micrometre"):
        filtered(source, tmp_path / "c.ome.zarr", ["deconvolve"])
    bare = tomogram(tmp_path / "TS_02", noise())
    with pytest.raises(InputError, match=r"defocus_um is not given, and the store keeps no tilt series"):
        filtered(bare, tmp_path / "c.ome.zarr", ["deconvolve"])


# -- the command, and run ----------------------------------------------------------------------------------


def test_run_segments_the_filtered_tomogram(tmp_path):
    """Dark balls at 20 angstrom, and a network for bright ones at 10: inverted and resampled on the way."""
    from threshold_net import save_threshold_model

    centres = [(10, 10, 12), (12, 24, 30)]
    array = np.zeros((22, 36, 44), np.float32)
    for centre in centres:
        array[sum((g - c) ** 2 for g, c in zip(np.indices(array.shape), centre, strict=True)) <= 16] = -1
    with mrcfile.new(tmp_path / "TS_01.mrc") as file:
        file.set_data(array)
        file.voxel_size = 20.0
    model = save_threshold_model(tmp_path / "ball.safetensors", "ball", patch=(16, 32, 32))
    recipe = {
        "filter": {"steps": [{"match_voxel_size": {"to": 10, "method": "linear"}}, "invert"]},
        "segment": {"models": [str(model)]},
        "pick": [{"feature": "ball", "threshold": 0.5}],
    }
    ve.run(tmp_path / "TS_01.mrc", tmp_path / "out", ve.RunRecipe.from_json(recipe), QUIET)
    assert ve.open_volume(tmp_path / "out/filtered/TS_01.ome.zarr").shape == (44, 72, 88)
    assert ve.open_volume(tmp_path / "out/filtered/TS_01.ome.zarr", group="labels/ball").shape == (44, 72, 88)
    picks = ve.read_picks(tmp_path / "out/picks/TS_01__ball.star", voxel_size=(10,) * 3, shape=(44, 72, 88))
    found = sorted(map(tuple, np.round(picks.position_vox / 2, 1).tolist()))
    assert found == [pytest.approx(c, abs=0.1) for c in centres]  # places stay: voxel 2 i is where voxel i was
    with pytest.raises(InputError, match="filter: roi"):
        ve.RunRecipe.from_json({**recipe, "filter": {**recipe["filter"], "roi": "1:,:,:"}})
    with pytest.raises(InputError, match="has no steps"):
        ve.RunRecipe.from_json({**recipe, "filter": {}})


# -- memory ------------------------------------------------------------------------------------------------


def test_a_block_and_its_gain_need_no_more_memory_than_is_planned(tmp_path):
    """In blocks, once with the gain still to be computed, which stays, and once without."""
    from volengine.core.block import Block
    from volengine.engine.ledger import RunFolder
    from volengine.ops.filters import short

    source = tomogram(tmp_path / "TS_01", noise((60, 80, 72)), (10.0,) * 3)
    for steps in ([{"low_pass": {"resolution_a": 60, "edge": 1}}], [{"deconvolve": HELD}]):
        recipe = ve.FilterRecipe(steps=steps, transform="blocks")
        asked = request(expand([source])[0], str(tmp_path / "o.ome.zarr"), recipe, QUIET)
        plan = plan_filter(asked.source, recipe, asked.out, RunFolder(str(tmp_path / "run")).plan("TS_01"), QUIET)
        stage = plan.stages[0]
        box = stage.tiling.box(0)
        boxes = {name: given.region(box, (0, 0, 0), stage.tiling.shape) for name, given in stage.arrays.items()}
        arrays = {name: noise(b.shape) for name, b in boxes.items()}
        block = Block(0, (0, 0, 0), box, stage.tiling.shape, arrays, boxes, {})
        stage.run(block)  # what is imported stays
        short._transfer.cache_clear()
        for kept in (stage.fixed_bytes, 0):
            tracemalloc.start()
            result = stage.run(block)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            outputs = sum(a.nbytes for a in result.arrays.values())
            assert peak <= outputs + stage.kernel_bytes + kept + 2**20, (steps, kept, stage.kernel_bytes)


def test_kernels_need_no_more_memory_than_is_planned(tmp_path):
    """Each unit of a plan of all kinds, run here, with what the kernel allocates besides inputs and outputs."""
    from volengine.core.block import Block
    from volengine.engine.ledger import RunFolder

    ve.filter(tomogram(tmp_path / "t", noise((16, 16, 16))), tmp_path / "t.tsv", {"spectrum": True}, QUIET)
    source = tomogram(tmp_path / "TS_01", noise((48, 80, 72)))
    steps = [
        {"deconvolve": 4},
        {"match_spectrum": {"target": str(tmp_path / "t.tsv"), "sectors": 2}},
        {"match_voxel_size": {"to": 14, "method": "area"}},
        {"normalise": "percentile"},
        {"nlm": {"strength": 1, "search": 1}},
        "normalise",
        {"median": 1},
        {"bilateral": 1.0},
        {"diffusion": 1.0},
    ]
    recipe = ve.FilterRecipe(steps=steps)
    asked = request(expand([source])[0], str(tmp_path / "o.ome.zarr"), recipe, QUIET)
    plan = plan_filter(asked.source, recipe, asked.out, RunFolder(str(tmp_path / "run")).plan("TS_01"), QUIET)
    rng, tables = np.random.default_rng(0), {}
    for stage in plan.stages:
        index = (0, 0, 0)
        box = stage.tiling.box(0)
        boxes = {name: given.region(box, index, stage.tiling.shape) for name, given in stage.arrays.items()}
        arrays = {name: rng.normal(size=b.shape).astype(np.float32) for name, b in boxes.items()}
        read = {
            name: dict.fromkeys(range(len(plan.stage(t.stage).tiling)), tables[t.stage])
            for name, t in stage.tables.items()
        }
        block = Block(0, index, box, stage.tiling.shape, arrays, boxes, read)
        stage.run(block)  # what is imported stays
        tracemalloc.start()
        result = stage.run(block)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        tables[stage.name] = result.table
        outputs = sum(a.nbytes for a in result.arrays.values())
        assert peak <= outputs + stage.kernel_bytes + 2**20, stage.name
