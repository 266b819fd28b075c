"""``roi`` of pick, score, train and run: objects inside, counts inside, and which step takes a part."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from roi_volumes import SHAPE, boxes, check_place, few, make_volumes, net, options
from scipy import ndimage

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.roi import roi_text
from volengine.io.open import open_volume
from volengine.io.picks import read_picks
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.run import RunRecipe
from volengine.tasks.score.recipe import ScoreRecipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roi")
    make_volumes(folder)
    return folder


WHOLE = {}
"""Results of the whole volume, by what was asked for."""

# -- pick --------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    box=boxes(least=3),
    block=st.sampled_from([None, (16, 16, 16)]),
    how=st.sampled_from([{}, {"position": "maximum"}, {"mode": "2d"}, {"orient": "long-axis", "connectivity": 6}]),
)
def test_objects_inside_are_picked_as_in_the_whole(folder, box, block, how):
    prediction = folder / "predictions/TS_01__ribosome.ome.zarr"
    recipe = PickRecipe(feature="ribosome", threshold=0.62, spacing_nm=0, seed_distance_nm=2, **how)
    if repr(how) not in WHOLE:
        picks = volengine.pick(prediction, folder / "whole.csv", recipe, options())
        WHOLE[repr(how)] = picks, open_volume(f"{prediction}#labels/ribosome").read()
    picks, labels = WHOLE[repr(how)]
    part = volengine.pick(prediction, folder / "part.csv", recipe.with_(roi=roi_text(box)), options(block=block))
    made = open_volume(f"{folder / 'part.csv'}.ome.zarr#labels/ribosome")
    check_place(made, box, open_volume(prediction))
    found = made.read()
    np.testing.assert_array_equal(found > 0, labels[box.slices] > 0)

    # Objects: components; of those that lie inside every region is the same, and so is every row of the table.
    near = ndimage.generate_binary_structure(3, {6: 1, 26: 3}[how.get("connectivity", 26)])
    if how.get("mode") == "2d":
        near[[0, 2]] = False
    component, _ = ndimage.label(labels > 0, near)
    outside = component.copy()
    outside[box.slices] = 0
    whole_inside = ~np.isin(component, np.unique(outside)) & (component > 0)
    kept = [k for k, label in enumerate(picks.label.tolist()) if whole_inside[labels == label].all()]
    rows = {tuple(row): k for k, row in enumerate(part.position_vox.tolist())}
    for k in kept:
        row = rows[tuple(picks.position_vox[k].tolist())]
        assert part.weight[row] == picks.weight[k]
        own = found == part.label[row]
        np.testing.assert_array_equal(own, (labels == picks.label[k])[box.slices])
        if "orient" in how:
            np.testing.assert_array_equal(part.normal[row], picks.normal[k])
    # and no pick lies outside
    inside = (part.position_vox >= box.start) & (part.position_vox <= np.array(box.stop) - 1)
    assert inside.all()


def test_the_table_of_a_part_counts_the_voxels_of_the_whole(folder, tmp_path):
    prediction = np.zeros((16, 32, 32), np.float32)
    prediction[10:13, 20:23, 5:8] = 1
    prediction[2:5, 2:5, 2:5] = 1
    with mrcfile.new(tmp_path / "TS_02__blob.mrc") as file:
        file.set_data(prediction)
        file.voxel_size = 10.0
    for out in ("a.star", "a.csv"):
        picks = volengine.pick(tmp_path / "TS_02__blob.mrc", tmp_path / out, PickRecipe(roi="8:,8:,:20"), options())
        assert picks.position_vox.tolist() == [[11, 21, 6]]
        assert read_picks(tmp_path / out, voxel_size=(10.0,) * 3).position_vox.tolist() == [[11, 21, 6]]


def test_filaments_inside_are_those_of_the_whole(folder, tmp_path):
    prediction = np.zeros((16, 32, 64), np.float32)
    prediction[7:10, 7:10, 10:50] = prediction[3:6, 22:25, 4:60] = 1
    with mrcfile.new(tmp_path / "TS_02__actin.mrc") as file:
        file.set_data(prediction)
        file.voxel_size = 10.0
    recipe = PickRecipe(filament=True, spacing_nm=4, min_length_nm=10)
    source = tmp_path / "TS_02__actin.mrc"
    whole = volengine.pick(source, tmp_path / "w.csv", recipe, options())
    part = volengine.pick(source, tmp_path / "p.csv", recipe.with_(roi="2:,4:14,5:58"), options())
    own = whole.position_vox[:, 1] < 15
    np.testing.assert_array_equal(part.position_vox, whole.position_vox[own])


def test_a_copick_project_takes_no_labels_of_a_part_and_compat_ais_no_part():
    with pytest.raises(InputError, match="knows no parts of volumes"):
        PickRecipe(compat="ais", roi="0:4,:,:")


# -- score, train, run -------------------------------------------------------------------------------------


@few
@given(box=boxes(least=4), skeleton=st.sampled_from(["none", "2d", "3d"]), block=st.sampled_from([None, (64, 64, 64)]))
def test_scores_of_a_part_are_those_of_the_region(folder, box, skeleton, block):
    truth = folder / "truth.mrc"
    whole = open_volume(folder / "predictions/TS_01__ribosome.ome.zarr").read()
    if not truth.exists():
        with mrcfile.new(truth) as file:
            file.set_data((np.roll(whole, 2, 1) > 0.5).astype(np.int8))
            file.voxel_size = 10.0
    recipe = ScoreRecipe(("ribosome",), skeleton=skeleton, roi=roi_text(box))
    block = (8, *SHAPE[1:]) if skeleton == "2d" else block
    prediction = folder / "predictions/TS_01__ribosome.ome.zarr"
    found = volengine.score(prediction, truth, recipe, options(block=block))["ribosome"]
    a, b = (whole > 0.5)[box.slices], (np.roll(whole, 2, 1) > 0.5)[box.slices]
    if a.any() or b.any():
        assert found["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    again = volengine.score(prediction, truth, recipe, options(block=None))["ribosome"]
    np.testing.assert_equal(found, again)


def test_surface_dice_of_all_parts_together_is_that_of_the_whole(folder):
    """Skeletons see beyond the part: their voxels add up."""
    from volengine.ops.skeleton import surface_skeleton

    mask = open_volume(folder / "predictions/TS_01__membrane.ome.zarr").read() > 0.6
    whole = Box.of_shape(SHAPE)
    all_of_it = surface_skeleton(mask, whole, whole, SHAPE)
    part = Box((3, 5, 20), (15, 40, 50))
    np.testing.assert_array_equal(surface_skeleton(mask, whole, part, SHAPE), all_of_it[part.slices])


def test_picks_are_not_scored_by_part(tmp_path):
    (tmp_path / "a.csv").write_text("z,y,x\n1,2,3\n")
    with pytest.raises(InputError, match="--roi is for volumes"):
        volengine.score(tmp_path / "a.csv", tmp_path / "a.csv", ScoreRecipe(voxel_size=10.0, roi="0:4,:,:"))


def test_regions_of_samples_have_the_same_notation(folder):
    from volengine.tasks.train.samples import TrainSample
    from volengine.tasks.train.volumes import region_of

    volume = open_volume(folder / "TS_01.ome.zarr")
    box = Box((3, 0, 10), (20, 40, 60))
    for region in ("3:,:40,10:", "2nm:,:40nm,9.5nm:", (3, 0, 10, -1, 40, -1)):
        assert region_of(TrainSample("v", labels=("l",), region=region), volume) == box
    with pytest.raises(InputError, match="names 2 axes"):
        TrainSample("v", labels=("l",), region="3:,4:")
    with pytest.raises(InputError, match=r"0 to 99 along z, but .* has 20 voxels"):
        region_of(TrainSample("v", labels=("l",), region="0:99,:,:"), volume)


def test_a_run_gives_a_part_to_its_last_step_or_to_the_first(folder, tmp_path):
    rules = [{"interact": {"child": "deep", "parent": "deep", "kind": "avoid", "radius_nm": 1}}]
    steps = {"segment": {"models": [net(folder, "deep")], "roi": "0:4,:,:"}}
    for more in ({"pick": [{"feature": "deep"}]}, {"interact": {"rules": rules}}):
        with pytest.raises(InputError, match="what lies around the part would be missing"):
            RunRecipe.from_json({**steps, **more})
    with pytest.raises(InputError, match=r"interact: roi .* Give roi to pick"):
        RunRecipe.from_json(
            {
                "segment": {"models": ["m"]},
                "interact": {"rules": rules, "roi": "0:4,:,:"},
                "pick": [{"feature": "deep"}],
            }
        )
    recipe = RunRecipe.from_json(
        {
            "segment": {"models": [net(folder, "deep")], "levels": 1},
            "pick": [{"feature": "deep", "threshold": 0.5, "format": "csv", "roi": "4:16,:,20:50"}],
        }
    )
    volengine.run([folder / "TS_01.mrc"], tmp_path / "out", recipe, options())
    labels = open_volume(tmp_path / "out/picks/TS_01__deep.csv.ome.zarr#labels/deep")
    assert (labels.shape, labels.origin) == ((12, 44, 30), (40.0 + 32, -30.0, 200.0))
    part = RunRecipe.from_json({"convert": {"roi": "4:16,:,20:50"}, "segment": {"models": [net(folder, "deep")]}})
    volengine.run([folder / "TS_01.mrc"], tmp_path / "cut", part, options())
    found = open_volume(tmp_path / "cut/predictions/TS_01__deep.ome.zarr")
    assert (found.shape, found.origin) == ((12, 44, 30), (40.0 + 32, -30.0, 200.0))
    with pytest.raises(InputError, match="OME-Zarr image already"):
        volengine.run([folder / "TS_01.ome.zarr"], tmp_path / "no", part, options()).check()
