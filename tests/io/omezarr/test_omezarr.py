"""Images that volengine writes: metadata that validators accept, voxels where they belong, one writer per shard."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError, MissingError, PlanError
from volengine.core.image import ImageSpec, Level
from volengine.core.tiling import Tiling, check_multiple
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.check import check_image
from volengine.io.omezarr.display import display_range
from volengine.io.omezarr.image import create_image, finish_image, is_complete, remove, reopen_image, store_token
from volengine.io.omezarr.levels import block_unit, plan_levels
from volengine.io.omezarr.read import list_groups, open_image
from volengine.ops.pyramid import pyramid

SCHEMAS = DATA / "real" / "ngff"
SHAPE = (37, 70, 101)
VOXEL = (14.0, 12.0, 10.0)
ORIGIN = (-100.0, 0.0, 55.5)
BOTH = pytest.mark.parametrize("ngff", ["0.4", "0.5"])


def spec_of(url, *, ngff="0.5", dtype="float32", kind="intensity", group="", **more) -> ImageSpec:
    levels = plan_levels(SHAPE, chunk=(16, 16, 16), shard=(64, 64, 64), ngff=ngff, smallest=20)
    return ImageSpec(str(url), "tomo", dtype, kind, VOXEL, levels, ORIGIN, group, ngff, **more)


def voxels_of(dtype="float32", shape=SHAPE) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(0, 30, shape).astype(dtype) if dtype != "uint8" else rng.integers(0, 200, shape, "uint8")


def write(spec: ImageSpec, array: np.ndarray, token="token") -> None:
    """As an engine would: block by block, every level of a block at once."""
    create_image(spec, token=token)
    sinks = [ZarrSink(spec.volume(number)) for number in range(len(spec.levels))]
    steps = [level.factor for level in spec.levels]
    for box in Tiling(SHAPE, block_unit(spec.levels)):
        for sink, level, part in zip(sinks, spec.levels, pyramid(array[box.slices], steps, spec.kind), strict=True):
            sink.write(box.coarsen(level.factor).clip(level.shape), part)
    finish_image(spec)


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int16", "uint16", "float16"])
def test_every_level_is_read_as_it_was_written(tmp_path, ngff, dtype):
    spec, array = spec_of(tmp_path / "a.zarr", ngff=ngff, dtype=dtype), voxels_of(dtype)
    write(spec, array)
    for number, expected in enumerate(pyramid(array, [level.factor for level in spec.levels])):
        volume = open_image(spec.url, level=number)
        assert volume.shape == expected.shape
        assert volume.dtype == dtype
        assert ZarrSource(volume).read(Box.of_shape(volume.shape)).tobytes() == expected.tobytes()
    assert volume.chunks == spec.levels[-1].chunks
    assert volume.shards == spec.levels[-1].shards


@BOTH
def test_golden_voxels_through_plain_zarr(tmp_path, ngff):
    """No flip, no wrong axis, no dark edge, and positions that survive: checked without volengine's reader."""
    spec, array = spec_of(tmp_path / "a.zarr", ngff=ngff), np.full(SHAPE, 5, np.float32)
    array[36, 2, 100] = 1000  # a bead at the far z, near y, far x corner
    write(spec, array)
    group = zarr.open_group(spec.url, mode="r", use_consolidated=False)
    attributes = dict(group.attrs)
    multiscale = (attributes["ome"] if ngff == "0.5" else attributes)["multiscales"][0]
    assert [a["name"] for a in multiscale["axes"]] == ["z", "y", "x"]
    assert {a["unit"] for a in multiscale["axes"]} == {"angstrom"}
    assert multiscale["type"] == "mean"
    bead = np.array(ORIGIN) + np.array([36, 2, 100]) * VOXEL
    assert len(multiscale["datasets"]) == 3
    for number, dataset in enumerate(multiscale["datasets"]):
        stored = group[dataset["path"]][:]
        scale, translation = (t[t["type"]] for t in dataset["coordinateTransformations"])
        assert scale == [v * f for v, f in zip(VOXEL, spec.levels[number].factor, strict=True)]
        brightest = np.unravel_index(stored.argmax(), stored.shape)
        assert (np.abs(bead - (np.array(translation) + brightest * np.array(scale))) <= np.array(scale) / 2).all()
        assert stored.min() == 5  # no dark edge
        # The first voxel's own corner stays where it was: centre minus half a voxel.
        np.testing.assert_allclose(np.array(translation) - np.array(scale) / 2, np.array(ORIGIN) - np.array(VOXEL) / 2)
    if ngff == "0.5":
        assert group["0"].shards == (48, 64, 64)
        assert group["0"].metadata.dimension_names == ("z", "y", "x")
    else:
        assert group["0"].metadata.dimension_separator == "/"


def validate(ngff: str, schema: str, attributes: dict) -> None:
    import jsonschema
    from referencing import Registry, Resource

    if not SCHEMAS.is_dir():
        pytest.skip("the NGFF schemas are not at hand")
    contents = [json.loads(f.read_text()) for f in (SCHEMAS / ngff / "schemas").glob("*.schema")]
    default = "https://json-schema.org/draft/2020-12/schema"
    known = Registry().with_resources(
        (c["$id"], Resource.from_contents(c | {"$schema": c.get("$schema", default)})) for c in contents
    )
    wanted = next(c for c in contents if c["$id"].endswith(f"/{schema}.schema"))
    jsonschema.Draft202012Validator(wanted, registry=known).validate(attributes)


@BOTH
def test_metadata_are_valid_by_the_schemas_of_ngff(tmp_path, ngff):
    import ome_zarr_models

    spec = spec_of(tmp_path / "a.zarr", ngff=ngff)
    write(spec, voxels_of())
    labels = spec_of(spec.url, ngff=ngff, dtype="uint8", kind="labels", group="labels/core")
    write(labels, voxels_of("uint8") // 100)
    shell = spec_of(spec.url, ngff=ngff, dtype="uint8", kind="probability", group="predictions/shell")
    write(shell, voxels_of("uint8"))
    root = zarr.open_group(spec.url, mode="r", use_consolidated=False)
    validate(ngff, "strict_image", dict(root.attrs))
    validate(ngff, "strict_image", dict(root["labels/core"].attrs))
    validate(ngff, "label", dict(root["labels/core"].attrs))
    validate(ngff, "strict_image", dict(root["predictions/shell"].attrs))
    models = ome_zarr_models.v05 if ngff == "0.5" else ome_zarr_models.v04
    listed = models.Image.from_zarr(root).labels.attributes
    assert (listed.ome if ngff == "0.5" else listed).labels == ["core"]
    label = models.ImageLabel.from_zarr(root["labels/core"]).attributes
    assert (label.ome if ngff == "0.5" else label).image_label.source.image == "../../"
    models.Image.from_zarr(root["predictions/shell"])
    assert root["predictions/shell"].attrs["volengine"]["one"] == 255


def test_the_schemas_can_refuse(tmp_path):
    import jsonschema

    spec = spec_of(tmp_path / "a.zarr")
    write(spec, voxels_of())
    attributes = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]
    del attributes["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    with pytest.raises(jsonschema.ValidationError):
        validate("0.5", "strict_image", attributes)


@BOTH
def test_the_reference_reader_agrees(tmp_path, ngff):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    spec, array = spec_of(tmp_path / "a.zarr", ngff=ngff), voxels_of()
    write(spec, array)
    write(spec_of(spec.url, ngff=ngff, dtype="uint16", kind="labels", group="labels/core"), array.astype("uint16"))
    nodes = list(Reader(parse_url(spec.url))())
    image = nodes[0]
    np.testing.assert_array_equal(np.asarray(image.data[0]), array)
    shown = display_range(spec.volume())
    assert image.metadata["contrast_limits"] == [[shown.low, shown.high]]
    assert [node.zarr.basename() for node in nodes[1:]] == ["labels", "core"]
    assert nodes[-1].data[0].dtype == np.uint16
    assert check_image(spec.url) == []
    assert check_image(spec.url, "core") == []


def test_check_finds_the_usual_mistakes(tmp_path):
    spec, array = spec_of(tmp_path / "a.zarr"), voxels_of() + np.float32(100)
    write(spec, array)
    path = tmp_path / "a.zarr" / "zarr.json"
    good = path.read_text()

    def findings_with(change) -> str:
        attributes = json.loads(good)
        change(attributes["attributes"]["ome"]["multiscales"][0]["datasets"])
        path.write_text(json.dumps(attributes))
        found = " ".join(check_image(spec.url))
        path.write_text(good)
        return found

    def swap(datasets):
        datasets[1]["coordinateTransformations"][0]["scale"] = [20.0, 24.0, 28.0]

    def no_shift(datasets):
        datasets[1]["coordinateTransformations"][1]["translation"] = list(ORIGIN)

    assert "scale grows" in findings_with(swap)
    assert "half-voxel" in findings_with(no_shift)
    for change, expected in (
        (lambda a: a[::-1], "not the mean"),
        (lambda a: np.where(np.arange(a.shape[2]) == a.shape[2] - 1, a * 0.7, a), "end of the volume"),
        (lambda a: array[::2, ::2, ::2], "single voxels"),
    ):
        level = zarr.open_array(f"{spec.url}/1", mode="r+")
        right = level[:]
        level[:] = change(right)
        assert expected in " ".join(check_image(spec.url))
        level[:] = right
    assert check_image(spec.url) == []


def test_an_image_opens_only_when_finished(tmp_path):
    spec = spec_of(tmp_path / "a.zarr", facts={"feature": "shell"})
    create_image(spec, token="one")
    assert (store_token(spec.url), is_complete(spec.url)) == ("one", False)
    with pytest.raises(InputError, match="not finished"):
        open_image(spec.url)
    assert not list_groups(spec.url)[0].complete
    finish_image(spec)
    assert is_complete(spec.url)
    first = open_image(spec.url)
    assert first.facts["feature"] == "shell"
    assert pickle.loads(pickle.dumps(first)) == first
    reopen_image(spec)
    with pytest.raises(InputError, match="not finished"):
        open_image(spec.url)
    finish_image(spec)
    assert open_image(spec.url).identity != first.identity  # its voxels may be others now
    assert (store_token(str(tmp_path / "none.zarr")), is_complete(str(tmp_path / "none.zarr"))) == ("", False)


def test_the_same_token_goes_on_and_another_is_refused(tmp_path):
    spec, array = spec_of(tmp_path / "a.zarr"), voxels_of()
    write(spec, array, token="one")
    create_image(spec, token="one", overwrite=True)
    assert ZarrSource(spec.volume()).read(Box.of_shape(SHAPE)).tobytes() == array.tobytes()
    with pytest.raises(InputError, match="exists"):
        create_image(spec, token="two")
    with pytest.raises(InputError, match="planned differently"):
        create_image(spec_of(spec.url, dtype="uint8"), token="one")
    create_image(spec, token="two", overwrite=True)
    assert not ZarrSource(spec.volume()).read(Box.of_shape(SHAPE)).any()
    assert store_token(spec.url) == "two"


def test_a_creation_that_was_killed_is_completed(tmp_path):
    spec = spec_of(tmp_path / "a.zarr")
    create_image(spec, token="one")
    shutil.rmtree(tmp_path / "a.zarr" / "2")
    create_image(spec, token="one")
    write(spec, voxels_of(), token="one")
    assert check_image(spec.url) == []


def test_a_second_creator_that_comes_late_harms_nothing(tmp_path, monkeypatch):
    """Two parts of a run look at the same moment and both find nothing; one is slow, the other already writes."""
    spec, array = spec_of(tmp_path / "a.zarr"), voxels_of()
    write(spec, array, token="one")
    real, seen = omezarr.read_node, []

    def stale(url, path=""):
        seen.append(path)
        return None if seen.count(path) <= 1 else real(url, path)

    monkeypatch.setattr(omezarr, "read_node", stale)
    monkeypatch.setattr(omezarr, "exists", lambda url: False)
    create_image(spec, token="one")
    seen.clear()
    with pytest.raises(InputError, match="another run"):
        create_image(spec, token="two")
    monkeypatch.undo()
    assert ZarrSource(spec.volume()).read(Box.of_shape(SHAPE)).tobytes() == array.tobytes()
    assert store_token(spec.url) == "one"


def test_what_is_no_store_is_never_deleted(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.mrc").write_bytes(b"1")
    spec = spec_of(tmp_path / "data")
    for overwrite in (False, True):
        with pytest.raises(InputError):
            create_image(spec, token="one", overwrite=overwrite)
    with pytest.raises(InputError, match="no Zarr store"):
        remove(spec.url)
    assert (tmp_path / "data" / "precious.mrc").exists()
    (tmp_path / "empty").mkdir()
    create_image(spec_of(tmp_path / "empty"), token="one")


@BOTH
def test_labels_are_listed_and_unlisted(tmp_path, ngff):
    spec = spec_of(tmp_path / "a.zarr", ngff=ngff)
    write(spec, voxels_of())
    for name in ("core", "shell"):
        write(spec_of(spec.url, ngff=ngff, dtype="uint8", kind="labels", group=f"labels/{name}"), voxels_of("uint8"))
    assert [(g.group, g.kind, len(g.levels)) for g in list_groups(spec.url)] == [
        ("", "intensity", 3),
        ("labels/core", "labels", 3),
        ("labels/shell", "labels", 3),
    ]
    remove(spec.url, "labels/core")
    attributes = dict(zarr.open_group(spec.url, path="labels", mode="r").attrs)
    assert attributes.get("ome", attributes)["labels"] == ["shell"]
    assert open_image(spec.url, group="shell").kind == "labels"
    with pytest.raises(MissingError, match="'labels/shell'"):
        open_image(spec.url, group="core")


def test_formats_are_not_mixed(tmp_path):
    spec = spec_of(tmp_path / "a.zarr", ngff="0.4")
    write(spec, voxels_of())
    with pytest.raises(InputError, match=r"--ngff 0\.4"):
        create_image(spec_of(spec.url, dtype="uint8", kind="labels", group="labels/core"), token="a")
    with pytest.raises(InputError, match="shards"):
        create_image(replace(spec_of(tmp_path / "b.zarr"), ngff="0.4"), token="a")
    with pytest.raises(InputError, match="integers"):
        create_image(spec_of(tmp_path / "c.zarr", kind="labels"), token="a")


def scratch_of(url, shape=SHAPE, path="0", group="") -> ImageSpec:
    level = Level(path, shape, (1, 1, 1), (16, 16, 16), (32, 32, 32))
    return ImageSpec(str(url), "sums", "float32", "probability", VOXEL, (level,), group=group, scratch=True)


@pytest.mark.parametrize("path", ["0", ""])
def test_scratch_arrays_are_bare_and_replaced(tmp_path, path):
    spec = scratch_of(tmp_path / "s.zarr", path=path)
    create_image(spec, token="one")
    assert store_token(spec.url) == "one"
    box = Box((0, 0, 0), (32, 32, 32))
    ZarrSink(spec.volume()).write(box, np.ones(box.shape, np.float32))
    create_image(spec, token="one")
    assert ZarrSource(spec.volume()).read(box).all()
    assert "multiscales" not in json.dumps([json.loads(f.read_text()) for f in tmp_path.rglob("zarr.json")])
    finish_image(spec)
    remove(spec.url)
    create_image(scratch_of(spec.url, (64, 64, 64), path), token="one")
    assert ZarrSource(scratch_of(spec.url, (64, 64, 64), path).volume()).read(box).shape == (32, 32, 32)


def test_two_scratch_arrays_share_a_store(tmp_path):
    a, b = scratch_of(tmp_path / "s.zarr", path="a"), scratch_of(tmp_path / "s.zarr", (64, 64, 64), path="b")
    box = Box((0, 0, 0), (32, 32, 32))
    create_image(a, token="one")
    ZarrSink(a.volume()).write(box, np.ones(box.shape, np.float32))
    create_image(b, token="one")
    assert ZarrSource(a.volume()).read(box).all()
    assert not ZarrSource(b.volume()).read(box).any()


@BOTH
def test_one_writer_per_shard(tmp_path, ngff):
    spec = spec_of(tmp_path / "a.zarr", ngff=ngff)
    create_image(spec, token="a")
    sink = ZarrSink(spec.volume())
    good = Box((0, 0, 0), sink.unit).clip(SHAPE)
    z, y, x = good.shape
    for box in (good.shift((0, y // 2, 0)), Box((0, 0, 0), (z, y, x - 1)), Box((0, 0, 0), (99, y, x))):
        with pytest.raises(PlanError, match=r"cuts a shard|leaves the volume"):
            sink.write(box, np.zeros(box.shape, np.float32))
    with pytest.raises(PlanError, match="does not fill"):
        sink.write(good, np.zeros(good.shape, np.float64))
    with pytest.raises(PlanError, match="does not fill"):
        sink.write(good, np.zeros((z, y, x + 1), np.float32))
    with pytest.raises(PlanError, match="leaves the volume"):
        ZarrSource(spec.volume()).read(good.shift((0, 0, -1)))
    with pytest.raises(PlanError, match="planned were"):
        ZarrSink(spec.volume().with_(dtype="int16")).write(good, np.zeros(good.shape, np.int16))


def test_torn_shards_are_overwritten_and_litter_is_swept(tmp_path):
    spec, array = spec_of(tmp_path / "a.zarr"), voxels_of()
    write(spec, array)
    for shard in (tmp_path / "a.zarr" / "0" / "c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:100])
    (tmp_path / "a.zarr" / "0" / "c" / "0" / "0" / "0.abc.partial").write_bytes(b"half")
    for box in Tiling(SHAPE, (64, 64, 64)):
        ZarrSink(spec.volume()).write(box, array[box.slices])
    finish_image(spec)
    np.testing.assert_array_equal(ZarrSource(spec.volume()).read(Box.of_shape(SHAPE)), array)
    assert not list(tmp_path.rglob("*.partial"))


def test_empty_shards_are_not_stored(tmp_path):
    spec = spec_of(tmp_path / "a.zarr")
    write(spec, np.zeros(SHAPE, np.float32))
    assert not list((tmp_path / "a.zarr" / "0").rglob("c/*"))
    assert not ZarrSource(open_image(spec.url)).read(Box.of_shape(SHAPE)).any()


sizes = st.tuples(st.integers(1, 300), st.integers(1, 700), st.integers(1, 5000))


@given(
    sizes,
    st.sampled_from([None, (16, 16, 16), (32, 64, 64), (64, 64, 64), (24, 24, 24)]),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from(["0.4", "0.5"]),
)
@settings(deadline=None, max_examples=60)
def test_planned_levels_have_one_writer_per_shard(shape, chunk, times, ngff):
    shard = "auto" if chunk is None else index3(c * times for c in chunk)
    levels = plan_levels(shape, chunk=chunk, shard=shard, ngff=ngff)
    unit = block_unit(levels)
    assert levels[0].factor == (1, 1, 1)
    for above, level in zip((levels[0], *levels), levels, strict=False):
        assert level.shape == index3(-(-n // f) for n, f in zip(shape, level.factor, strict=True))
        assert all(f in (g, 2 * g) for f, g in zip(level.factor, above.factor, strict=True))
        assert (level.shards is None) == (ngff == "0.4")
        if level.shards:
            assert all(s % c == 0 for s, c in zip(level.shards, level.chunks, strict=True))
            assert np.prod([s // c for s, c in zip(level.shards, level.chunks, strict=True)]) <= 512
        # Blocks of one and of two units write whole shards of this level.
        for core in (unit, index3(2 * u for u in unit)):
            check_multiple(core, index3(u * f for u, f in zip(level.unit, level.factor, strict=True)), shape)
            for box in Tiling(shape, core):
                part = box.coarsen(level.factor).clip(level.shape)
                for a, b, s, n in zip(part.start, part.stop, level.unit, level.shape, strict=True):
                    assert a % s == 0
                    assert b % s == 0 or b == n


def test_planned_levels_of_usual_volumes():
    levels = plan_levels((400, 1000, 1000))
    assert [level.shape for level in levels] == [(400, 1000, 1000), (200, 500, 500), (100, 250, 250), (50, 125, 125)]
    assert [level.unit for level in levels] == [(256,) * 3, (128,) * 3, (64,) * 3, (32,) * 3]
    assert block_unit(levels) == (256, 256, 256)
    montage = plan_levels((1, 20000, 20000))
    assert montage[0].chunks == (1, 512, 512)
    assert max(montage[-1].shape) <= 20000 / 2**5
    assert len(plan_levels((400, 1000, 1000), levels=1)) == 1


def test_impossible_levels_are_refused():
    with pytest.raises(PlanError, match="use 64 or 128"):
        plan_levels((400, 400, 400), chunk=(64, 64, 64), shard=(100, 128, 128))
    with pytest.raises(PlanError, match="holds 4096 chunks"):
        plan_levels((400, 400, 400), chunk=(16, 16, 16), shard=(256, 256, 256))
    with pytest.raises(PlanError, match="Use 3 levels or larger shards"):
        plan_levels((4000, 4000, 4000), chunk=(64, 64, 64), shard=(64, 64, 64), levels=5)
    with pytest.raises(PlanError, match="at most 2"):
        plan_levels((100, 100, 100), levels=5)
