"""One run folder, several recipes or sources in turn: what comes back is made again, never taken from the other."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from engine_plans import result, simple, spec, stored
from scipy.ndimage import gaussian_filter

import volengine
from volengine.core.errors import FormatError, InputError, PlanError
from volengine.core.tiling import Tiling
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import run_plan
from volengine.engine.stage import ArrayInput, Output, Stage

QUIET = RunOptions(progress=False)


@pytest.fixture
def prediction(tmp_path: Path) -> Path:
    noise = gaussian_filter(np.random.default_rng(4).normal(size=(40, 48, 44)), 2) * 5 + 0.5
    mrcfile.write(tmp_path / "x.mrc", np.clip(noise, 0, 1).astype("f4"), voxel_size=10)
    return tmp_path / "x.mrc"


@pytest.mark.parametrize(
    ("labels", "block"), [(False, None), (False, (16, 32, 32)), (True, None), (True, (40, 48, 44))]
)
@pytest.mark.parametrize("order", [(0.6, 0.7, 0.6), (0.7, 0.6, 0.7), (0.6, 0.65, 0.7, 0.65, 0.6)])
def test_picks_of_a_recipe_that_comes_back_are_those_of_the_first_time(
    prediction: Path, labels: bool, block: tuple[int, int, int] | None, order: tuple[float, ...]
) -> None:
    options = QUIET.with_(block=block, keep_scratch=labels)
    found: dict[float, volengine.Picks] = {}
    for threshold in order:
        recipe = volengine.PickRecipe(threshold=threshold, spacing_nm=3, labels=labels)
        picks = volengine.pick(prediction, prediction.with_name("x.csv"), recipe, options)
        assert found.setdefault(threshold, picks) == picks
    assert len({len(picks) for picks in found.values()}) == len(found)


def test_scratch_of_another_source_is_not_taken_over(tmp_path: Path) -> None:
    """Two stages joined by a scratch array, for source A, then B, then A again."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 100, (16, 12, 20)).astype("int16") for name in "AB"}
    sources = {name: stored(tmp_path, array) for name, array in arrays.items()}

    def plan(name: str, tag: str) -> Plan:
        volume, place = sources[name], tmp_path / "run" / "plans" / "t" / "scratch" / "copy"
        scratch = spec(str(place), volume.shape, "int32", (4, 4, 4), scratch=True)
        last = simple(tmp_path, scratch.volume(), "fail_at", (4, 12, 20), params={"numbers": [], "marker": ""})
        first = Stage(
            f"copy-{tag}",
            "engine_kernels:fail_at",
            Tiling(volume.shape, (4, 12, 20)),
            params={"numbers": [], "marker": ""},
            arrays={"source": ArrayInput(volume)},
            outputs={"out": Output(scratch.volume())},
        )
        return Plan("t", (first, *last.stages), (scratch, *last.images))

    for name, tag in (("A", "x"), ("B", "x"), ("A", "x"), ("B", "y"), ("A", "x")):
        made = plan(name, tag)
        run_plan(made, str(tmp_path / "run"), QUIET.with_(keep_scratch=True, overwrite=True))
        assert np.array_equal(result(made), arrays[name])


def test_two_outputs_of_one_stage_at_one_place_are_refused(tmp_path: Path) -> None:
    source = stored(tmp_path, np.zeros((8, 8, 8), "int16"))
    whole = simple(tmp_path, source, "nothing", (8, 8, 8)).stages[0]
    with pytest.raises(PlanError, match=r"Stage 'nothing' writes .*t\.ome\.zarr/0 twice"):
        Stage(whole.name, whole.kernel, whole.tiling, outputs={**whole.outputs, "other": whole.outputs["out"]})


def test_a_feature_and_an_uncertainty_of_one_file_name_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from threshold_net import save_threshold_model

    array = np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float32)
    mrcfile.write(tmp_path / "TS_01.mrc", array, voxel_size=10)
    models = [
        str(save_threshold_model(tmp_path / f"{n}.safetensors", feature, patch=(8, 16, 16)))
        for n, feature in enumerate(("x", "x_uncertainty"))
    ]
    recipe = volengine.SegmentRecipe(models=tuple(models), uncertainty=True)
    with pytest.raises(InputError, match=r"'x uncertainty' and 'x_uncertainty' would be written to one file"):
        volengine.segment(tmp_path / "TS_01.mrc", tmp_path / "out", recipe, QUIET)
    options = QUIET.with_(device="cpu")
    volengine.segment(tmp_path / "TS_01.mrc", tmp_path / "out", volengine.SegmentRecipe(models=models[1:]), options)
    with pytest.raises(InputError, match="is the image of 'x_uncertainty', which an earlier call has written"):
        volengine.segment(tmp_path / "TS_01.mrc", tmp_path / "out", recipe.with_(models=tuple(models[:1])), options)


def test_a_handle_of_an_array_that_was_replaced_refuses_to_read(tmp_path: Path) -> None:
    volume = stored(tmp_path, np.arange(512, dtype="int16").reshape(8, 8, 8))
    assert volengine.OpenVolume.of(volume)[7, 7, 7] == 511
    for other in ({"shape": (8, 8, 9)}, {"dtype": "float32"}):
        with pytest.raises(FormatError, match=r"has been changed since\. Open it again"):
            volengine.OpenVolume.of(volume.with_(**other))[0]


def test_counts_of_another_part_of_a_volume_are_not_those_of_the_first(tmp_path: Path) -> None:
    """The part is no parameter of a kernel, and tables alone, without an image, name no recipe."""
    labels = np.zeros((24, 16, 16), "u1")
    labels[2:5, 4:8, 4:8], labels[14:20, 4:8, 4:8] = 1, 2
    mrcfile.write(tmp_path / "l.mrc", labels, voxel_size=10)
    for roi, sizes in (("0:12,:,:", [48]), ("12:24,:,:", [96]), ("", [48, 96]), ("0:12,:,:", [48])):
        recipe = volengine.StatsRecipe(kind="instances", roi=roi)
        found = volengine.stats(tmp_path / "l.mrc", tmp_path / "counts", recipe, QUIET.with_(overwrite=True))
        assert [row["voxels"] for row in found["objects"]] == sizes


def test_surfaces_are_closed_or_open_at_the_faces_as_the_last_recipe_says(tmp_path: Path) -> None:
    """What lies outside of the volume is no parameter of a kernel either."""
    mask = np.zeros((16, 16, 16), "i1")
    mask[:6, 4:12, 4:12] = 1
    mrcfile.write(tmp_path / "m.mrc", mask, voxel_size=10)
    for close in (False, True, False, True):
        recipe = volengine.SurfaceRecipe(close_at_faces=close)
        found = volengine.surface(tmp_path / "m.mrc", tmp_path / "m.surfaces", recipe, QUIET.with_(overwrite=True))
        assert [row["closed"] for row in found.rows] == [close]


def test_a_recipe_that_found_no_surface_leaves_none_to_the_next_one(tmp_path: Path) -> None:
    """The call at the end misses no files then, so the engine itself must see that the tables are another recipe's."""
    mask = np.zeros((16, 16, 16), "i1")
    mask[4:12, 4:12, 4:12] = 1
    mrcfile.write(tmp_path / "m.mrc", mask, voxel_size=10)
    found_none, found_one = volengine.SurfaceRecipe(side="outer", max_thickness_nm=2), volengine.SurfaceRecipe()
    for recipe, number in ((found_none, 0), (found_one, 1), (found_one.with_(min_area_nm2=1e6), 0), (found_one, 1)):
        found = volengine.surface(tmp_path / "m.mrc", tmp_path / "m.surfaces", recipe, QUIET.with_(overwrite=True))
        assert len(found.rows) == number
