"""Images of other programs: every version, order of axes, unit, and what is missing from them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import zarr
from places import DATA

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.omezarr import codecs
from volengine.io.omezarr.arrays import ZarrSource
from volengine.io.omezarr.check import check_image
from volengine.io.omezarr.ngff import parse_multiscale
from volengine.io.omezarr.read import list_groups, open_image

EXAMPLES = DATA / "real" / "ngff"
ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.fixture(params=["zarr-python", "zarrs"], autouse=True)
def pipeline(request, monkeypatch):
    """Stores of others are read by both codec pipelines."""
    monkeypatch.setattr(codecs, "_settings", {})
    if request.param == "zarrs":
        pytest.importorskip("zarrs")
        codecs.use_fast_codecs()


def foreign(path, array=ARRAY, axes="zyx", *, unit="nanometer", scale=1.5, version="0.5", more=None, **how) -> str:
    """A store as another program would write it; returns its path."""
    zarr_format = 3 if version == "0.5" else 2
    group = zarr.create_group(str(path), zarr_format=zarr_format)
    names = {"c": "channel", "t": "time"}
    entries = [
        {"name": a, "type": names.get(a, "space")} | ({"unit": unit} if a.lower() in "zyx" and unit else {})
        for a in axes
    ]
    dataset = {"path": "s0"}
    if scale is not None:
        scales = [scale if a in "zyx" else 1.0 for a in axes] if isinstance(scale, float) else list(scale)
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": scales}]
    multiscale = {"datasets": [dataset], **(more or {})}
    if version not in ("0.1", "0.2"):
        multiscale["axes"] = list(axes) if version == "0.3" else entries
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    else:
        group.attrs["multiscales"] = [multiscale | {"version": version}]
    if zarr_format == 2:
        how = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} | how
    group.create_array("s0", data=array, **how)
    return str(path)


def read(volume) -> np.ndarray:
    return ZarrSource(volume).read(Box.of_shape(volume.shape))


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yzx", "cxyz", "tczyx", "czyx", "zyxc", "ZYX"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_order_of_axes_reads_as_zyx(tmp_path, axes, version):
    order = [a for a in axes.lower() if a in "zyx"]
    stored = ARRAY.transpose(["zyx".index(a) for a in order])
    for at, axis in enumerate(axes):
        if axis in "tc":
            stored = np.expand_dims(stored, at)
    scale = [{"z": 3.0, "y": 2.0, "x": 1.0}.get(a, 1.0) for a in axes.lower()]
    volume = open_image(foreign(tmp_path / "a.zarr", stored, axes, scale=scale, version=version))
    assert volume.shape == ARRAY.shape
    assert volume.voxel_size == (30.0, 20.0, 10.0)
    assert volume.axes == axes.lower()
    assert volume.name == "a"
    np.testing.assert_array_equal(read(volume), ARRAY)
    part = Box((1, 2, 3), (3, 5, 4))
    voxels = ZarrSource(volume).read(part)
    np.testing.assert_array_equal(voxels, ARRAY[part.slices])
    assert voxels.flags.c_contiguous


@pytest.mark.parametrize(
    ("unit", "scale", "angstrom"),
    [
        ("angstrom", 13.48, 13.48),
        ("nanometer", 1.348, 13.48),
        ("micrometer", 0.001348, 13.48),
        ("Å", 2.0, 2.0),
        ("picometer", 250.0, 2.5),
        ("meter", 1e-9, 10.0),
    ],
)
def test_lengths_in_any_unit_become_angstrom(tmp_path, unit, scale, angstrom):
    volume = open_image(foreign(tmp_path / "a.zarr", unit=unit, scale=scale))
    assert volume.voxel_size == (angstrom,) * 3


@pytest.mark.parametrize(
    ("unit", "scale", "text"),
    [
        ("", 1.0, "no unit"),
        ("pixel", 1.0, "'pixel'"),
        ("nanometer", 0.0, "scale of 0"),
        ("nanometer", None, "no scale"),
    ],
)
def test_a_missing_voxel_size_is_asked_for(tmp_path, unit, scale, text):
    url = foreign(tmp_path / "a.zarr", unit=unit, scale=scale)
    with pytest.raises(InputError, match=rf"{text}.*--voxel-size"):
        open_image(url)
    assert open_image(url, voxel_size=8.0).voxel_size == (8.0, 8.0, 8.0)
    assert open_image(url, voxel_size=(3.0, 2.0, 1.0)).voxel_size == (3.0, 2.0, 1.0)
    assert list_groups(url)[0].voxel_size is None


@pytest.mark.parametrize("voxel_size", [None, 8.0])
def test_an_axis_that_runs_backwards_is_refused(tmp_path, voxel_size):
    url = foreign(tmp_path / "a.zarr", unit="nanometer", scale=-1.0)
    with pytest.raises(InputError, match=r"axis z has a scale of -1: it runs backwards.*positive scale"):
        open_image(url, voxel_size=voxel_size)
    assert list_groups(url)[0].voxel_size is None


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_old_versions_without_scale(tmp_path, version):
    array = ARRAY[None, None]
    url = foreign(tmp_path / "a.zarr", array, "tczyx", version=version, scale=None)
    with pytest.raises(InputError, match="--voxel-size"):
        open_image(url)
    np.testing.assert_array_equal(read(open_image(url, voxel_size=5.0)), ARRAY)


def test_a_given_voxel_size_reaches_coarse_levels(tmp_path):
    url = foreign(tmp_path / "a.zarr", unit="", scale=1.0)
    group = zarr.open_group(url)
    group.create_array("s1", data=ARRAY[::2, ::2, ::2])
    ome = dict(group.attrs["ome"])
    coarse = [{"type": "scale", "scale": [2.0] * 3}, {"type": "translation", "translation": [0.5] * 3}]
    ome["multiscales"][0]["datasets"].append({"path": "s1", "coordinateTransformations": coarse})
    group.attrs["ome"] = ome
    volume = open_image(url, level=1, voxel_size=(30.0, 20.0, 10.0))
    assert volume.voxel_size == (60.0, 40.0, 20.0)
    assert volume.origin == (15.0, 10.0, 5.0)
    del ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    del ome["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    group.attrs["ome"] = ome
    bare = open_image(url, level=1, voxel_size=(30.0, 20.0, 10.0))
    assert (bare.voxel_size, bare.origin) == (volume.voxel_size, volume.origin)
    with pytest.raises(InputError, match="levels 0 to 1"):
        open_image(url, level=2, voxel_size=1.0)


def test_transformations_of_the_image_come_after_the_level(tmp_path):
    outer = [{"type": "scale", "scale": [2.0, 2.0, 2.0]}, {"type": "translation", "translation": [1.0, 0.0, 0.0]}]
    url = foreign(tmp_path / "a.zarr", scale=3.0, unit="angstrom", more={"coordinateTransformations": outer})
    volume = open_image(url)
    assert volume.voxel_size == (6.0, 6.0, 6.0)
    assert volume.origin == (1.0, 0.0, 0.0)


def test_channels_are_asked_for(tmp_path):
    array = np.stack([ARRAY, ARRAY + 1000])
    url = foreign(tmp_path / "a.zarr", array, "czyx")
    with pytest.raises(InputError, match=r"2 channels.*--channel 0 to 1"):
        open_image(url)
    np.testing.assert_array_equal(read(open_image(url, channel=1)), ARRAY + 1000)
    assert open_image(url, channel=0).identity != open_image(url, channel=1).identity
    assert list_groups(url)[0].channels == 2
    with pytest.raises(InputError, match="no channel 2"):
        open_image(url, channel=2)
    with pytest.raises(InputError, match="no channels"):
        open_image(foreign(tmp_path / "b.zarr"), channel=1)
    with pytest.raises(InputError, match="2 time points"):
        open_image(foreign(tmp_path / "c.zarr", array, "tzyx"))


def test_a_single_slice_has_three_axes(tmp_path):
    volume = open_image(foreign(tmp_path / "a.zarr", ARRAY[0], "yx"))
    assert volume.shape == (1, 5, 6)
    assert volume.voxel_size == (15.0, 15.0, 15.0)
    np.testing.assert_array_equal(read(volume), ARRAY[:1])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_without_metadata_are_opened_with_a_given_voxel_size(tmp_path, zarr_format):
    store = zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=zarr_format)
    names = {"dimension_names": ("x", "y", "z")} if zarr_format == 3 else {}
    data = ARRAY.transpose(2, 1, 0) if names else ARRAY
    array = store.create_array("deep/er", data=data, **names)
    if zarr_format == 2:
        array.attrs["other"] = 1
    with pytest.raises(InputError, match="--voxel-size"):
        open_image(str(tmp_path / "a.zarr" / "deep" / "er"))
    for url, group in ((tmp_path / "a.zarr" / "deep" / "er", ""), (tmp_path / "a.zarr", "deep/er")):
        np.testing.assert_array_equal(read(open_image(str(url), group=group, voxel_size=10.0)), ARRAY)


def test_big_endian_bool_sharded_and_dotted(tmp_path):
    big = foreign(tmp_path / "big.zarr", ARRAY.astype(">i2"), version="0.4")
    np.testing.assert_array_equal(read(open_image(big)), ARRAY)
    assert read(open_image(big)).dtype == np.dtype("int16")
    mask = open_image(foreign(tmp_path / "mask.zarr", ARRAY > 50))
    assert mask.dtype == "uint8"
    np.testing.assert_array_equal(read(mask), (ARRAY > 50).astype(np.uint8))
    sharded = open_image(foreign(tmp_path / "s.zarr", chunks=(2, 2, 2), shards=(4, 4, 6)))
    assert (sharded.chunks, sharded.shards) == ((2, 2, 2), (4, 4, 6))
    np.testing.assert_array_equal(read(sharded), ARRAY)
    dots = {"name": "v2", "separator": "."}
    dotted = foreign(tmp_path / "d.zarr", version="0.4", chunks=(2, 2, 2), chunk_key_encoding=dots)
    np.testing.assert_array_equal(read(open_image(dotted)), ARRAY)
    with pytest.raises(FormatError, match="complex64"):
        open_image(foreign(tmp_path / "c.zarr", ARRAY.astype("complex64")))


def test_images_of_a_collection(tmp_path):
    root = zarr.create_group(str(tmp_path / "all.zarr"), zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    foreign(tmp_path / "all.zarr" / "0", version="0.4")
    np.testing.assert_array_equal(read(open_image(str(tmp_path / "all.zarr"))), ARRAY)
    foreign(tmp_path / "all.zarr" / "1", version="0.4")
    with pytest.raises(InputError, match=r"2 images: 0, 1.*--group"):
        open_image(str(tmp_path / "all.zarr"))
    assert open_image(str(tmp_path / "all.zarr"), group="1").path == "1/s0"


def test_identity_follows_the_content(tmp_path):
    first, second = foreign(tmp_path / "a.zarr"), foreign(tmp_path / "b.zarr")
    assert open_image(first).identity == open_image(first).identity
    assert open_image(first).identity != open_image(second).identity
    assert open_image(first).identity != open_image(foreign(tmp_path / "c.zarr", scale=2.0)).identity


def test_what_is_no_image(tmp_path):
    with pytest.raises(MissingError, match="no such file or store"):
        open_image(str(tmp_path / "none.zarr"))
    with pytest.raises(MissingError):
        list_groups(str(tmp_path / "none.zarr"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.txt").write_text("x")
    with pytest.raises(FormatError, match="no Zarr store"):
        open_image(str(tmp_path / "folder"))
    zarr.create_group(str(tmp_path / "g.zarr"))
    with pytest.raises(FormatError, match="multiscales"):
        open_image(str(tmp_path / "g.zarr"))
    url = foreign(tmp_path / "a.zarr")
    with pytest.raises(MissingError, match="no image 'labels/x'"):
        open_image(url, group="labels/x")
    (tmp_path / "a.zarr" / "s0" / "zarr.json").unlink()
    with pytest.raises(FormatError, match="no such array"):
        open_image(url)
    (tmp_path / "a.zarr" / "zarr.json").write_text("{ torn")
    with pytest.raises(FormatError, match="damaged"):
        open_image(url)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"axes": [{"name": "z"}, {"name": "q"}, {"name": "x"}]}, "'q'"),
        ({"axes": [{"name": "z"}, {"name": "x"}, {"name": "x"}]}, "each once"),
        ({"axes": [{"name": "z"}, {"name": "x"}]}, "no y and x"),
        ({"datasets": []}, "no datasets"),
        ({"coordinateTransformations": [{"type": "affine", "affine": []}]}, "affine"),
        ({"coordinateTransformations": [{"type": "scale", "scale": [1.0]}]}, "1 numbers for 3 axes"),
        ({"axes": None, "coordinateSystems": [{}]}, "states version 0.5"),
    ],
)
def test_metadata_that_contradict_themselves(change, text):
    entry = {"axes": [{"name": a} for a in "zyx"], "datasets": [{"path": "0"}]} | change
    with pytest.raises(FormatError, match=text):
        parse_multiscale({"ome": {"version": "0.5", "multiscales": [entry]}}, "a.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_examples_of_the_specification(version):
    folder = EXAMPLES / version / "examples" / "multiscales_strict"
    if not folder.is_dir():
        pytest.skip("the NGFF examples are not at hand")
    for name, axes in (("multiscales_example", "tczyx"), ("multiscales_transformations", "yx")):
        data = json.loads(re.sub(r"(?m)//.*$", "", (folder / f"{name}.json").read_text()))
        image = parse_multiscale(data.get("attributes", data), name)
        assert image is not None
        assert (image.version, image.axes) == (version, axes)
        assert all(d.scale is not None for d in image.datasets)
    assert image.datasets[0].scale == (10.0, 10.0)


def test_check_reads_foreign_images(tmp_path):
    assert check_image(foreign(tmp_path / "a.zarr", ARRAY.transpose(2, 1, 0), "xyz")) == []
    assert check_image(foreign(tmp_path / "b.zarr", ARRAY[None, None], "tczyx", version="0.4")) == []
