"""``roi`` of every verb: what is written equals the inside of what the whole volume gives, at its place."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError, PlanError
from volengine.core.model import ModelFacts
from volengine.core.roi import roi_text
from volengine.core.rules import Compete, Interact
from volengine.engine.options import RunOptions
from volengine.io.open import open_volume
from volengine.io.picks import read_picks
from volengine.nets.checkpoint import load_model, save_model
from volengine.nets.registry import build, reach
from volengine.ops.pyramid import pyramid
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.interact.verb import interact
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.run import RunRecipe
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.segment.recipe import SegmentRecipe

SHAPE, VOXEL, ORIGIN = (20, 44, 60), (8.0, 10.0, 10.0), (40.0, -30.0, 0.0)
few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def boxes(draw, shape=SHAPE, least=1):
    sides = []
    for n in shape:
        start = draw(st.integers(0, n - least))
        sides.append((start, draw(st.integers(start + least, n))))
    return Box(tuple(a for a, _ in sides), tuple(b for _, b in sides))


def options(**given):
    return RunOptions(progress=False, durable=False, overwrite=True, **given)


def stores(folder):
    return {name: str(folder / f"predictions/TS_01__{name}.ome.zarr") for name in ("carbon", "membrane", "ribosome")}


def check_place(volume, box, whole):
    """The origin of a part, and of each level of its pyramid, by hand."""
    assert volume.shape == box.shape
    assert volume.voxel_size == whole.voxel_size
    first = [o + a * v for o, a, v in zip(whole.origin, box.start, whole.voxel_size, strict=True)]
    np.testing.assert_allclose(volume.origin, first)
    for level in range(len(volume.levels)):
        coarse = volume.at_level(level)
        # the centre of a coarse voxel is the middle of those that it spans
        factor = np.round(np.array(coarse.voxel_size) / volume.voxel_size)
        middle = np.array(first) + np.array(volume.voxel_size) * (factor - 1) / 2
        np.testing.assert_allclose(coarse.origin, middle)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roi")
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 1) * 4000 + 9 * np.arange(SHAPE[0])[:, None, None]
    with mrcfile.new(folder / "TS_01.mrc") as file:
        file.set_data(image.astype(np.int16))
        file.voxel_size = (VOXEL[2], VOXEL[1], VOXEL[0])
        file.header.origin = (ORIGIN[2], ORIGIN[1], ORIGIN[0])
    volengine.convert(folder / "TS_01.mrc", folder / "TS_01.ome.zarr", ConvertRecipe(levels=1), options())
    (folder / "predictions").mkdir()
    for name in ("carbon", "membrane", "ribosome"):
        smooth = ndimage.gaussian_filter(rng.random(SHAPE), 2)
        smooth = ((smooth - smooth.min()) / np.ptp(smooth) * 255).round().astype(np.uint8)
        with mrcfile.new(folder / f"{name}.mrc") as file:
            file.set_data(smooth.astype(np.float32) / 255)
            file.voxel_size = 10.0
            file.header.origin = (ORIGIN[2], ORIGIN[1], ORIGIN[0])
        volengine.convert(
            folder / f"{name}.mrc",
            folder / f"predictions/TS_01__{name}.ome.zarr",
            ConvertRecipe(kind="probability", chunk=(16,) * 3, shard=(16,) * 3, name="TS_01", levels=1),
            options(),
        )
    return folder


# -- convert, crop, export ---------------------------------------------------------------------------------


@few
@given(box=boxes(), ngff=st.sampled_from(["0.4", "0.5", "0.6"]), kind=st.sampled_from(["intensity", "labels"]))
def test_convert_writes_the_inside_with_its_own_pyramid(folder, box, ngff, kind):
    whole = open_volume(folder / "TS_01.mrc")
    source = folder / "TS_01.mrc"
    if kind == "labels":
        source = folder / "labels.mrc"
        if not source.exists():
            with mrcfile.new(source) as file:
                file.set_data((whole.read() % 5).astype(np.uint16))
                file.voxel_size = (VOXEL[2], VOXEL[1], VOXEL[0])
        whole = open_volume(source)
    recipe = ConvertRecipe(roi=roi_text(box), kind=kind, ngff=ngff, chunk=(8,) * 3, shard=(16,) * 3)
    part = volengine.convert(source, folder / "part.ome.zarr", recipe, options(block=(16, 32, 32)))
    check_place(part, box, whole)
    inside = whole[box.slices]
    factors = [
        tuple(round(v / w) for v, w in zip(part.at_level(n).voxel_size, VOXEL, strict=True))
        for n in range(len(part.levels))
    ]
    for level, wanted in enumerate(pyramid(inside, factors, kind)):
        np.testing.assert_array_equal(part.at_level(level).read(), wanted)
    step = part.facts["history"][-1].get("roi")
    if box != Box.of_shape(SHAPE):
        assert step == {"start": list(box.start), "stop": list(box.stop), "of": list(SHAPE)}


@few
@given(box=boxes(), ending=st.sampled_from([".ome.zarr", ".mrc", ".tif"]))
def test_crop_writes_one_in_each_format(folder, box, ending):
    whole = open_volume(folder / "TS_01.ome.zarr")
    part = volengine.crop(folder / "TS_01.ome.zarr", folder / f"cropped{ending}", {"roi": roi_text(box)}, options())
    np.testing.assert_array_equal(part.read(), whole[box.slices])
    if ending != ".tif":
        check_place(part, box, whole)


def test_a_cropped_mrc_file_is_what_another_reader_finds(folder):
    volengine.crop(folder / "TS_01.mrc", folder / "other.mrc", {"roi": "2nm:8nm,4nm:9nm,:3.5nm"}, options())
    with mrcfile.open(folder / "other.mrc") as file, mrcfile.open(folder / "TS_01.mrc") as whole:
        # z: places 0, 0.8, 1.6, 2.4 ... 7.2, 8.0 nm: voxels 3 to 9; y in nm is voxels 4 to 8, x 0 to 3.
        np.testing.assert_array_equal(file.data, whole.data[3:10, 4:9, :4])
        origin = file.header.origin
        assert (float(origin.z), float(origin.y), float(origin.x)) == (40.0 + 24.0, -30.0 + 40.0, 0.0)


def test_a_crop_of_a_crop_keeps_place_and_history(folder):
    volengine.crop(folder / "TS_01.ome.zarr", folder / "a.ome.zarr", {"roi": "4:18,6:40,10:50"}, options())
    part = volengine.crop(folder / "a.ome.zarr", folder / "b.ome.zarr", {"roi": "3:9,:10,5:"}, options())
    whole = open_volume(folder / "TS_01.ome.zarr")
    np.testing.assert_array_equal(part.read(), whole[7:13, 6:16, 15:50])
    check_place(part, Box((7, 6, 15), (13, 16, 50)), whole)
    assert [step["verb"] for step in part.facts["history"]] == ["convert", "crop", "crop"]


def test_a_cropped_prediction_stays_one_where_it_is_empty(folder, tmp_path):
    """Integers of 0 and 1 alone look like a mask; of a prediction that volengine has made they are none."""
    found = interact(
        stores(folder),
        tmp_path / "gated",
        {"rules": [{"interact": {"child": "ribosome", "parent": "membrane", "kind": "avoid", "radius_nm": 1}}]},
        options(),
    )
    values = found["ribosome"].read()
    z, y, x = np.argwhere(values == 0)[0]
    part = volengine.crop(
        found["ribosome"].url,
        tmp_path / "TS_01__ribosome.ome.zarr",
        {"roi": f"{z}:{z + 1},{y}:{y + 1},{x}:{x + 1}"},
        options(),
    )
    assert part.kind == "probability"
    picks = volengine.pick(part.url, tmp_path / "none.star", PickRecipe(labels=False), options())
    assert len(picks) == 0


def test_labels_in_a_store_are_cropped_as_labels(folder, tmp_path):
    volengine.pick(
        folder / "predictions/TS_01__ribosome.ome.zarr", tmp_path / "p.star", PickRecipe(feature="ribosome"), options()
    )
    url = f"{folder / 'predictions/TS_01__ribosome.ome.zarr'}#labels/ribosome"
    whole = open_volume(url)
    part = volengine.crop(url, tmp_path / "labels.ome.zarr", {"roi": "5:,10:40,:"}, options())
    assert part.kind == "labels"
    np.testing.assert_array_equal(part.read(), whole[5:, 10:40])


@pytest.mark.parametrize("verb", ["convert", "crop", "export", "segment", "interact", "pick"])
def test_a_part_that_leaves_the_volume_is_refused_with_both_numbers(folder, tmp_path, verb):
    roi, out = "0:21,:,:", tmp_path / "out.ome.zarr"
    tomogram, prediction = folder / "TS_01.ome.zarr", folder / "predictions/TS_01__ribosome.ome.zarr"
    calls = {
        "convert": lambda: volengine.convert(folder / "TS_01.mrc", out, ConvertRecipe(roi=roi), options()),
        "crop": lambda: volengine.crop(tomogram, out, {"roi": roi}, options()),
        "export": lambda: volengine.export(tomogram, tmp_path / "out.mrc", {"roi": roi}, progress=False),
        "segment": lambda: volengine.segment(tomogram, out, SegmentRecipe((net(folder, "flat"),), roi=roi), options()),
        "interact": lambda: interact(
            stores(folder),
            tmp_path / "o",
            {
                "rules": [{"interact": {"child": "ribosome", "parent": "membrane", "kind": "avoid", "radius_nm": 1}}],
                "roi": roi,
            },
            options(),
        ),
        "pick": lambda: volengine.pick(prediction, tmp_path / "p.star", PickRecipe(roi=roi), options()),
    }
    with pytest.raises(InputError, match=r"0 to 21 along z, but .* has 20 voxels"):
        calls[verb]()


# -- segment -----------------------------------------------------------------------------------------------

NETS = {
    "deep": ("unet3d", {"width": 2, "levels": 2}, {"patch": (8, 16, 16), "overlap": 0.5, "window": "gaussian"}),
    "odd": ("unet3d", {"width": 2, "levels": 2}, {"patch": (8, 12, 20), "overlap": 0.25, "window": "hann"}),
    "flat": (
        "unet2d",
        {"width": 2, "levels": 2, "context": 3},
        {"patch": (1, 16, 16), "context": 3, "overlap": 0.25, "normalisation": "per_slice"},
    ),
}


def net(folder, name):
    """A model file with random weights that answer between 0 and 1 all over."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        network, arguments, facts = NETS[name]
        torch.manual_seed(1)
        module = build(network, arguments).eval()
        field, stride = reach(module, network != "unet2d")
        noise = torch.randn((1, 1, 16, 16, 16) if name != "flat" else (1, 3, 32, 32))
        with torch.inference_mode():
            module.head.weight.mul_(1.5 / module(noise).std())
            module.head.bias.sub_(module(noise).mean())
        known = {"features": (name,), "voxel_size": VOXEL, "receptive_field": field, "stride": stride, **facts}
        save_model(path, module, ModelFacts.from_json({"network": network, "arguments": arguments, **known}))
    return str(path)


WHOLE = {}
"""Results of the whole volume, by what was asked for."""


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    box=boxes(),
    how=st.sampled_from(
        [
            ("deep", {}),
            ("odd", {"margin_vox": 2}),
            ("odd", {"tta": "flips4", "tta_of": "volume"}),
            ("flat", {"patch": (1, 16, 16)}),
            ("flat", {"patch": "slice"}),
            ("deep", {"uncertainty": True, "tta": 2}),
            ("deep", {"exact": True}),
        ]
    ),
    block=st.sampled_from([None, (32, 32, 32)]),
)
def test_segment_gives_the_same_bytes_inside(folder, box, how, block):
    name, more = how
    recipe = SegmentRecipe((net(folder, name),), dtype="float32", levels=1, **more)
    store = folder / "TS_01.ome.zarr"
    if repr(how) not in WHOLE:
        found = volengine.segment(store, folder / "whole", recipe, options())
        WHOLE[repr(how)] = {key: volume.read() for key, volume in found.items()}
    try:
        part = volengine.segment(store, folder / "part", recipe.with_(roi=roi_text(box)), options(block=block))
    except PlanError as error:
        if block is None or "is not a multiple of shard" not in str(error):
            raise
        return  # a part of 33 voxels has a shard of 33, and blocks of 32 are refused
    assert set(part) == set(WHOLE[repr(how)])
    for key, volume in part.items():
        check_place(volume, box, open_volume(store))
        np.testing.assert_array_equal(volume.read(), WHOLE[repr(how)][key][box.slices])


def test_a_part_runs_only_the_patches_that_reach_it(folder):
    from volengine.engine.ledger import RunFolder
    from volengine.tasks.segment.plan import plan_segment

    source = open_volume(folder / "TS_01.ome.zarr")
    recipe = SegmentRecipe((net(folder, "deep"),), roi="0:4,0:4,0:4")
    plan = plan_segment(source, recipe, str(folder / "few"), RunFolder(str(folder / "run")).plan("TS_01"), options())
    assert any("1 patches of" in note for note in plan.notes)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    box=boxes(),
    how=st.sampled_from([("deep", "isotropic", (8.0, 12.0, 12.0)), ("flat", "xy", (8.0, 7.0, 7.0))]),
    block=st.sampled_from([None, (32, 64, 64)]),
)
def test_segment_gives_the_same_bytes_inside_where_it_resamples(folder, box, how, block):
    name, match, size = how
    store = folder / f"{match}.ome.zarr"
    if not store.exists():
        volengine.convert(folder / "TS_01.mrc", store, {"voxel_size": size}, options())
    recipe = SegmentRecipe((net(folder, name),), dtype="float32", levels=1, match=match)
    if repr(how) not in WHOLE:
        WHOLE[repr(how)] = volengine.segment(store, folder / "match", recipe, options())[name].read()
    part = volengine.segment(store, folder / "part", recipe.with_(roi=roi_text(box)), options(block=block))[name]
    check_place(part, box, open_volume(store))
    np.testing.assert_array_equal(part.read(), WHOLE[repr(how)][box.slices])


def test_ensembles_on_several_grids_are_refused_for_a_part(folder, tmp_path):
    path = tmp_path / "other.safetensors"
    module, facts = load_model(net(folder, "deep"))
    save_model(path, module, facts.with_(voxel_size=(8.0, 12.0, 12.0)))
    with torch.no_grad():
        module.head.bias.add_(0.1)
    save_model(tmp_path / "third.safetensors", module, facts)
    models = (str(path), str(tmp_path / "third.safetensors"))
    recipe = SegmentRecipe(models, ensemble=True, match="isotropic", roi="0:4,:,:")
    with pytest.raises(InputError, match=r"see .* on different grids, which is not done for a part"):
        volengine.segment(folder / "TS_01.ome.zarr", tmp_path / "out", recipe, options())


# -- interact ----------------------------------------------------------------------------------------------

RULES = (
    Compete(("carbon", "membrane"), ("carbon", "membrane")),
    Interact("membrane", "carbon", "avoid", 2.0),
    Interact("ribosome", "membrane", "colocalize", 3.0, 0.5, "3d"),
)


@few
@given(box=boxes(), block=st.sampled_from([None, (32, 32, 32)]))
def test_interact_sees_what_lies_around(folder, box, block):
    if "rules" not in WHOLE:
        found = interact(stores(folder), folder / "gated", InteractRecipe(RULES), options())
        WHOLE["rules"] = {key: volume.read() for key, volume in found.items()}
    recipe = InteractRecipe(RULES, roi=roi_text(box))
    part = interact(stores(folder), folder / "gated_part", recipe, options(block=block))
    for key, volume in part.items():
        check_place(volume, box, open_volume(folder / f"predictions/TS_01__{key}.ome.zarr"))
        np.testing.assert_array_equal(volume.read(), WHOLE["rules"][key][box.slices])


def test_predictions_of_different_parts_are_not_put_together(folder, tmp_path):
    """They have the same shape, so nothing else tells them apart."""
    there = stores(folder)
    mixed = {}
    for name, roi in (("carbon", "2:12,:,:"), ("membrane", "2:12,:,:"), ("ribosome", "3:13,:,:")):
        mixed[name] = volengine.crop(
            there[name], tmp_path / f"TS_01__{name}.ome.zarr", {"roi": roi, "name": "TS_01"}, options()
        ).url
    same = {"rules": [{"interact": {"child": "membrane", "parent": "carbon", "kind": "avoid", "radius_nm": 1}}]}
    other = {"rules": [{"interact": {"child": "ribosome", "parent": "carbon", "kind": "avoid", "radius_nm": 1}}]}
    assert interact(mixed, tmp_path / "gated", same, options())["membrane"].shape == (10, *SHAPE[1:])
    with pytest.raises(InputError, match=r"begins at voxel \(3, 0, 0\) of its tomogram .* at \(2, 0, 0\)"):
        interact(mixed, tmp_path / "gated2", other, options())
    with pytest.raises(InputError, match=r"begins at voxel \(3, 0, 0\) of its tomogram .* at \(2, 0, 0\)"):
        volengine.score(mixed["ribosome"], mixed["carbon"], ScoreRecipe(("ribosome",), any_origin=True), options())


def test_histories_of_others_say_nothing_of_parts():
    from volengine.core.volume import Volume
    from volengine.tasks.common.roi import begin_in_whole

    def volume(history):
        return Volume("v.zarr", (4, 4, 4), "uint8", VOXEL, facts={"history": history})

    ours = {"verb": "crop", "roi": {"start": [1, 2, 3], "stop": [4, 5, 6], "of": [9, 9, 9]}}
    assert begin_in_whole(volume([{"verb": "convert"}])) == (0, 0, 0)
    assert begin_in_whole(volume([ours, {"verb": "segment"}, ours])) == (2, 4, 6)
    for strange in (
        7,
        "x",
        ["x"],
        [{"roi": 3}],
        [{"roi": {}}],
        [{"roi": {"start": [1, 2]}}],
        [{"roi": {"start": "abc"}}],
    ):
        assert begin_in_whole(volume(strange)) in (None, (0, 0, 0))
    assert begin_in_whole(volume([])) is None


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
    older = ScoreRecipe(("ribosome",), skeleton=skeleton, region=(*box.start, *box.stop))
    again = volengine.score(prediction, truth, older, options(block=None))["ribosome"]
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
    for part in ({"roi": "0:4,:,:"}, {"region": (0, 0, 0, 4, -1, -1)}):
        with pytest.raises(InputError, match="--roi is for volumes"):
            volengine.score(tmp_path / "a.csv", tmp_path / "a.csv", ScoreRecipe(voxel_size=10.0, **part))
    with pytest.raises(InputError, match="say the same thing"):
        ScoreRecipe(roi="0:4,:,:", region=(0, 0, 0, 4, -1, -1))


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
