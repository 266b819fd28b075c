"""``roi`` of every verb: what is written equals the inside of what the whole volume gives, at its place."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from roi_volumes import SHAPE, VOXEL, boxes, check_place, few, make_volumes, net, options, stores

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError, PlanError
from volengine.core.roi import roi_text
from volengine.core.rules import Compete, Interact
from volengine.io.open import open_volume
from volengine.nets.checkpoint import load_model, save_model
from volengine.ops.pyramid import pyramid
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.interact.verb import interact
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.segment.recipe import SegmentRecipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roi")
    make_volumes(folder)
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
