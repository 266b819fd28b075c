"""NGFF 0.6: coordinate systems and transformations are read, or refused by name; others read what is written."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from places import DATA, ROOT

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.core.image import ImageSpec
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.check import check_store
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.levels import plan_levels
from volengine.io.omezarr.ngff import angstrom_geometry, parse_multiscale
from volengine.io.omezarr.nodes import read_node
from volengine.io.omezarr.read import list_groups, open_image
from volengine.ops.pyramid import pyramid

CASES = ROOT.parent / "shared" / "cases" / "formats"
SCHEMAS = Path(os.environ.get("VOLENGINE_NGFF_06_SCHEMAS", DATA / "real" / "ngff" / "0.6" / "schemas"))
"""The folder ``schemas`` of github.com/ome/ngff-spec."""

Json = dict[str, Any]


def image(*steps: Json, axes: str = "zyx", unit: str = "nanometer", version: str = "0.6", **more: Any) -> Json:
    """Attributes of a group with one level for each transformation, which all lead into the system ``physical``."""
    kinds = {"c": "channel", "t": "time"}
    named = [{"name": a, "type": kinds.get(a, "space")} | ({"unit": unit} if a in "zyx" and unit else {}) for a in axes]
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [{"input": {"path": str(number)}, "output": {"name": "physical"}} | step],
        }
        for number, step in enumerate(steps)
    ]
    entry = {"coordinateSystems": [{"name": "physical", "axes": named}], "datasets": datasets} | more
    return {"ome": {"version": version, "multiscales": [entry]}}


def sequence(scale: list[float], translation: list[float]) -> Json:
    return {
        "type": "sequence",
        "transformations": [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": translation},
        ],
    }


def geometry(attributes: Json, level: int = 0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = parse_multiscale(attributes, "a.zarr")
    assert found is not None
    return angstrom_geometry(found, level, "a.zarr")


def test_the_case_of_the_field(tmp_path: Path) -> None:
    """Voxels of 1 nm; the first one's centre lies at z, y, x = -5, 3, 0 nm."""
    if not CASES.is_dir():
        pytest.skip("the cases are not at hand")
    store = shutil.copytree(CASES / "ngff_06.zarr", tmp_path / "ngff_06.zarr")
    volume = open_image(str(store))
    assert volume.voxel_size == (10.0, 10.0, 10.0)
    assert volume.origin == (-50.0, 30.0, 0.0)
    voxels = ZarrSource(volume).read(Box.of_shape(volume.shape))
    np.testing.assert_array_equal(voxels, np.load(CASES / "voxels.npy"))


@pytest.mark.parametrize(
    ("step", "size", "origin"),
    [
        ({"type": "scale", "scale": [3, 2.0, 1.0]}, (30, 20, 10), (0, 0, 0)),
        ({"type": "identity"}, (10, 10, 10), (0, 0, 0)),
        ({"type": "translation", "translation": [1.0, 0.0, -2.0]}, (10, 10, 10), (10, 0, -20)),
        (sequence([3, 2, 1], [1, 2, 3]), (30, 20, 10), (10, 20, 30)),
        # (index + 5) * 2, and not index * 2 + 5: the order of a sequence counts
        (
            {
                "type": "sequence",
                "transformations": [
                    {"type": "translation", "translation": [5, 0, 0]},
                    {"type": "scale", "scale": [2, 2, 2]},
                ],
            },
            (20, 20, 20),
            (100, 0, 0),
        ),
        ({"type": "affine", "affine": [[3, 0, 0, 7], [0, 2, 0, 0], [0, 0, 1, -1]]}, (30, 20, 10), (70, 0, -10)),
    ],
)
def test_transformations_that_place_parallel_voxels(step: Json, size: tuple, origin: tuple) -> None:
    assert geometry(image(step)) == (size, origin)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ({"type": "rotation", "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "'rotation'"),
        ({"type": "mapAxis", "mapAxis": [2, 1, 0]}, "'mapAxis'"),
        ({"type": "byDimension", "transformations": []}, "'byDimension'"),
        ({"type": "projectAxis", "droppedInputs": [0]}, "'projectAxis'"),
        ({"type": "displacements", "path": "d"}, "'displacements'"),
        ({"type": "bijection", "forward": {}, "inverse": {}}, "'bijection'"),
        ({"type": "affine", "affine": [[3, 0, 0.1, 7], [0, 2, 0, 0], [0, 0, 1, -1]]}, "turns, shears"),
        ({"type": "affine", "affine": [[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]}, "exchanges axes"),
        ({"type": "affine", "path": "matrix"}, "stored in an array, 'matrix'"),
        ({"type": "affine", "affine": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "rows of 4 numbers"),
        ({"type": "scale", "path": "numbers"}, "stored in an array"),
        ({"type": "scale", "scale": [1, 1]}, "scale of 2 numbers for 3 axes"),
        ({"type": "scale", "scale": [1, 1, "1"]}, "no number"),
        ({"type": "scale", "scale": [1, 1, True]}, "no number"),
        ({"type": "scale", "scale": [1, 1, float("nan")]}, "no number"),
        ({"type": "sequence", "transformations": []}, "no transformations"),
        ({"type": "sequence", "transformations": [{"type": "mapAxis", "mapAxis": [0, 1, 2]}]}, "'mapAxis'"),
        ({"type": "scale", "scale": [1, 1, 1], "output": {"name": "world"}}, r"'world', but there are 'physical'"),
        ({}, "type None"),
    ],
)
def test_what_is_not_read_is_named(step: Json, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_multiscale(image(step), "a.zarr")


def test_the_intrinsic_system_is_the_one_into_which_the_levels_lead() -> None:
    attributes = image(sequence([2, 2, 2], [0, 0, 0]))
    entry = attributes["ome"]["multiscales"][0]
    world = {"name": "world", "axes": [{"name": a, "type": "space", "unit": "micrometer"} for a in "xyz"]}
    entry["coordinateSystems"].insert(0, world)
    turn = {"type": "rotation", "rotation": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]}
    entry["coordinateTransformations"] = [turn | {"input": {"name": "physical"}, "output": {"name": "world"}}]
    found = parse_multiscale(attributes, "a.zarr")
    assert found is not None
    assert found.axes == "zyx"
    assert geometry(attributes) == ((20, 20, 20), (0, 0, 0))
    step = entry["datasets"][0]["coordinateTransformations"][0]
    del step["output"]  # with two systems it is not known which is meant
    with pytest.raises(FormatError, match="None, but there are 'world', 'physical'"):
        parse_multiscale(attributes, "a.zarr")


def test_levels_that_contradict_each_other_are_refused() -> None:
    first, second = sequence([1, 1, 1], [0, 0, 0]), sequence([2, 2, 2], [0.5, 0.5, 0.5])
    assert geometry(image(first, second), 1) == ((20, 20, 20), (5, 5, 5))
    exchanged = image(first | {"input": {"path": "1"}}, second)
    with pytest.raises(FormatError, match=r"level '0': its transformation is that of level '1'"):
        parse_multiscale(exchanged, "a.zarr")
    two = image(first, second | {"output": {"name": "world"}})
    two["ome"]["multiscales"][0]["coordinateSystems"].append({"name": "world", "axes": [{"name": a} for a in "zyx"]})
    with pytest.raises(FormatError, match="'physical', 'world'"):
        parse_multiscale(two, "a.zarr")
    more = image(first)
    more["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"] *= 2
    with pytest.raises(FormatError, match="has 2 coordinate transformations"):
        parse_multiscale(more, "a.zarr")


@pytest.mark.parametrize("version", ["0.6", "0.6rc0", "0.6.dev4", "0.6dev2"])
def test_drafts_of_the_version(version: str) -> None:
    assert geometry(image({"type": "scale", "scale": [3, 2, 1]}, version=version)) == ((30, 20, 10), (0, 0, 0))
    early = image({"type": "scale", "scale": [3, 2, 1], "input": "0", "output": "physical"}, version=version)
    assert geometry(early) == ((30, 20, 10), (0, 0, 0))


@pytest.mark.parametrize(
    ("version", "text"),
    [("0.5", "states version 0.5"), ("0.7", "NGFF 0.7 is not read"), ("1.0", "NGFF 1.0 is not read"), ("", "0.5")],
)
def test_other_versions_are_refused(version: str, text: str) -> None:
    with pytest.raises(FormatError, match=text):
        parse_multiscale(image({"type": "identity"}, version=version), "a.zarr")


def test_systems_that_are_missing_or_double() -> None:
    good = image({"type": "identity"})
    for systems, text in (
        ([], "without coordinateSystems"),
        ([{"name": "physical", "axes": []}], "no axes"),
        (good["ome"]["multiscales"][0]["coordinateSystems"] * 2, "two coordinate systems"),
    ):
        attributes = copy.deepcopy(good)
        attributes["ome"]["multiscales"][0]["coordinateSystems"] = systems
        with pytest.raises(FormatError, match=text):
            parse_multiscale(attributes, "a.zarr")
    axes = image({"type": "identity"})
    entry = axes["ome"]["multiscales"][0]
    entry["axes"] = entry.pop("coordinateSystems")[0]["axes"]
    with pytest.raises(FormatError, match="without coordinateSystems"):
        parse_multiscale(axes, "a.zarr")


def test_no_unit_asks_for_the_voxel_size() -> None:
    with pytest.raises(InputError, match="--voxel-size"):
        geometry(image({"type": "scale", "scale": [1, 1, 1]}, unit=""))


@given(
    st.permutations("zyx"),
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3),
)
def test_every_order_of_axes(order: list[str], scale: list[float], shift: list[float]) -> None:
    steps = sequence([2.0, *scale], [9.0, *shift])
    size, origin = geometry(image(steps, axes="c" + "".join(order), unit="angstrom"))
    for at, axis in enumerate("zyx"):
        assert size[at] == pytest.approx(scale[order.index(axis)], rel=1e-12)
        assert origin[at] == pytest.approx(shift[order.index(axis)], rel=1e-12, abs=1e-12)


# -- writing ---------------------------------------------------------------------------------------------------------

SHAPE, VOXEL, ORIGIN = (20, 40, 48), (14.0, 12.0, 10.0), (5.0, -6.0, 7.5)


def write(url: Path, array: np.ndarray, **more: Any) -> ImageSpec:
    levels = plan_levels(array.shape, chunk=(8, 16, 16), shard=(16, 32, 32), ngff="0.6", smallest=24)
    kind = more.pop("kind", "intensity")
    spec = ImageSpec(str(url), "t", array.dtype.name, kind, VOXEL, levels, ORIGIN, ngff="0.6", **more)
    create_image(spec, token="t")
    for number, voxels in enumerate(pyramid(array, [level.factor for level in levels], spec.kind)):
        ZarrSink(spec.volume(number)).write(Box.of_shape(voxels.shape), voxels)
    finish_image(spec)
    return spec


@pytest.fixture
def store(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).normal(5, 2, SHAPE).astype("float32")
    spec = write(tmp_path / "t.ome.zarr", array)
    write(tmp_path / "t.ome.zarr", (array > 5).astype("uint8"), kind="labels", group="labels/core")
    assert len(spec.levels) == 2
    return tmp_path / "t.ome.zarr"


def test_what_is_written_is_what_is_read(store: Path) -> None:
    for number in range(2):
        volume = open_image(str(store), level=number)
        factor = 2**number
        assert volume.facts["ngff"] == "0.6"
        assert volume.voxel_size == tuple(v * factor for v in VOXEL)
        assert volume.origin == tuple(o + v * (factor - 1) / 2 for o, v in zip(ORIGIN, VOXEL, strict=True))
        assert volume.shards is not None
    assert [info.group for info in list_groups(str(store))] == ["", "labels/core"]
    assert check_store(str(store)) == {"": [], "labels/core": []}


def test_the_metadata_by_hand(store: Path) -> None:
    """The second level's first voxel covers two fine ones: its centre is half a fine voxel behind the first."""
    ome = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    entry = ome["multiscales"][0]
    assert ome["version"] == "0.6"
    assert "axes" not in entry
    assert entry["coordinateSystems"] == [
        {"name": "physical", "axes": [{"name": a, "type": "space", "unit": "angstrom"} for a in "zyx"]}
    ]
    assert entry["datasets"][1]["coordinateTransformations"] == [
        {
            "type": "sequence",
            "input": {"path": "1"},
            "output": {"name": "physical"},
            "transformations": [
                {"type": "scale", "scale": [28.0, 24.0, 20.0]},
                {"type": "translation", "translation": [12.0, 0.0, 12.5]},
            ],
        }
    ]
    labels = json.loads((store / "labels" / "zarr.json").read_text())["attributes"]["ome"]
    assert labels == {"version": "0.6", "labels": ["core"]}


def test_a_store_has_one_version(store: Path, tmp_path: Path) -> None:
    levels = plan_levels(SHAPE, chunk=(8, 16, 16), ngff="0.5")
    other = ImageSpec(str(store), "t", "uint8", "labels", VOXEL, levels, group="labels/x", ngff="0.5")
    with pytest.raises(InputError, match=r"is NGFF 0\.6; NGFF 0\.5 cannot be added. Use --ngff 0\.6"):
        create_image(other, token="t")
    assert read_node(str(store), "labels/x") is None


def test_the_released_schemas_accept_what_is_written(store: Path) -> None:
    import jsonschema
    from referencing import Registry, Resource

    if not SCHEMAS.is_dir():
        pytest.skip("the schemas of NGFF 0.6 are not at hand (VOLENGINE_NGFF_06_SCHEMAS)")
    contents = [json.loads(file.read_text()) for file in SCHEMAS.glob("*.schema")]
    known = Registry().with_resources((c["$id"], Resource.from_contents(c)) for c in contents)
    (version,) = next(c for c in contents if c["$id"].endswith("/_version.schema"))["enum"]
    for group, names in (("", ["strict_image"]), ("labels/core", ["strict_image", "label"])):
        attributes = json.loads((store / group / "zarr.json").read_text())["attributes"]
        attributes["ome"]["version"] = version  # the schemas of a release candidate know that alone
        for name in names:
            schema = next(c for c in contents if c["$id"].endswith(f"/{name}.schema"))
            check = jsonschema.Draft202012Validator(schema, registry=known)
            check.validate(attributes)
            broken = copy.deepcopy(attributes)
            if name == "strict_image":
                broken["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"] *= 2
                with pytest.raises(jsonschema.ValidationError):
                    check.validate(broken)


def test_another_reader_sees_the_same(store: Path) -> None:
    ngff_zarr = pytest.importorskip("ngff_zarr", reason="ngff-zarr, another reader of NGFF 0.6, is not installed")
    found = ngff_zarr.from_ngff_zarr(str(store))
    assert len(found.images) == 2
    for number, seen in enumerate(found.images):
        volume = open_image(str(store), level=number)
        assert tuple(seen.scale[a] for a in "zyx") == volume.voxel_size
        assert tuple(seen.translation[a] for a in "zyx") == volume.origin
        voxels = ZarrSource(volume).read(Box.of_shape(volume.shape))
        np.testing.assert_array_equal(np.asarray(seen.data), voxels)


def test_plain_zarr_reads_the_voxels(store: Path) -> None:
    volume = open_image(str(store))
    voxels = ZarrSource(volume).read(Box.of_shape(volume.shape))
    np.testing.assert_array_equal(zarr.open_array(str(store / "0"), mode="r")[:], voxels)
