"""The values that viewers show: from the voxels alone, and in the metadata where napari looks for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from volengine.core.boxes import Box
from volengine.core.image import ImageSpec
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.display import CUBE_VOX, PERCENTILES, DisplayRange, _percentiles, display_range
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.levels import plan_levels
from volengine.io.omezarr.ngff import ome_part
from volengine.io.omezarr.nodes import read_node


def stored(path, array, *, kind="intensity", chunk=(16, 16, 16), ngff="0.5", facts=None) -> ImageSpec:
    levels = plan_levels(array.shape, chunk=chunk, shard=chunk, ngff=ngff, levels=1)
    spec = ImageSpec(
        str(path), "tomo", array.dtype.name, kind, (10.0, 10.0, 10.0), levels, ngff=ngff, facts=facts or {}
    )
    create_image(spec, token="a")
    unit = spec.levels[0].shards or spec.levels[0].chunks
    sink = ZarrSink(spec.volume())
    for index in np.ndindex(*[-(-n // u) for n, u in zip(array.shape, unit, strict=True)]):
        start = tuple(i * u for i, u in zip(index, unit, strict=True))
        stop = tuple(min(s + u, n) for s, u, n in zip(start, unit, array.shape, strict=True))
        box = Box(start, stop)
        sink.write(box, array[box.slices])
    finish_image(spec)
    return spec


def window(spec: ImageSpec) -> dict[str, float] | None:
    node = read_node(spec.url)
    assert node is not None
    omero = ome_part(node.attributes).get("omero")
    return omero["channels"][0]["window"] if omero else None


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint16"])
@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_a_small_volume_is_looked_at_whole(tmp_path, dtype, ngff):
    rng = np.random.default_rng(1)
    array = np.clip(rng.normal(50, 10, (20, 50, 40)), 0, 120).astype(dtype)
    array[3, 4, 5] = 127  # one bright voxel of 40,000 does not change what is shown
    spec = stored(tmp_path / "a.zarr", array, ngff=ngff)
    low, high = np.percentile(array.astype(np.float64), (0.1, 99.9))
    assert window(spec) == {"min": float(array.min()), "max": 127.0, "start": low, "end": high}
    assert high < 90


def test_the_range_does_not_depend_on_chunks(tmp_path):
    array = np.random.default_rng(2).standard_normal((70, 200, 150), "float32")
    one = window(stored(tmp_path / "a.zarr", array, chunk=(16, 16, 16)))
    assert one == window(stored(tmp_path / "b.zarr", array, chunk=(48, 32, 80)))
    assert one["start"] == pytest.approx(-3.09, abs=0.2)
    assert one["end"] == pytest.approx(3.09, abs=0.2)


def test_cubes_lie_at_the_thirds_of_each_axis(tmp_path):
    array = np.zeros((CUBE_VOX, 7 * CUBE_VOX, 4 * CUBE_VOX), np.uint8)
    for y in (2, 4):
        for x in (1, 2):
            array[:, y * CUBE_VOX : (y + 1) * CUBE_VOX, x * CUBE_VOX : (x + 1) * CUBE_VOX] = 10 * y + x
    spec = stored(tmp_path / "a.zarr", array, chunk=(64, 64, 64))
    assert display_range(spec.volume()) == DisplayRange(21, 42, 21, 42)


def test_what_is_not_finite_is_left_out(tmp_path):
    array = np.linspace(-1, 1, 8000, dtype=np.float32).reshape(20, 20, 20)
    array[0] = np.nan
    array[1, 0] = np.inf
    array[1, 1] = -np.inf
    low, high = np.percentile(array[np.isfinite(array)].astype(np.float64), (0.1, 99.9))
    found = window(stored(tmp_path / "a.zarr", array))
    assert (found["start"], found["end"]) == (low, high)
    array[:] = np.nan
    assert window(stored(tmp_path / "b.zarr", array)) is None


@given(
    st.sampled_from(["int8", "uint8", "int16", "uint16", "float16", "float32", "float64"]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            st.integers(1, 3000),
            elements=arrays.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False, max_value=100),
            fill=arrays.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False, max_value=100),
        )
    )
)
@settings(deadline=None)
def test_percentiles_are_those_of_numpy_in_double_precision(values):
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.percentile(values.astype(np.float64), PERCENTILES)
    found = np.array(_percentiles(values))
    assert np.array_equal(found, expected, equal_nan=True)


def test_few_points_are_shown_and_a_constant_has_no_range(tmp_path):
    array = np.zeros((20, 20, 20), np.float32)
    assert window(stored(tmp_path / "a.zarr", array)) is None
    array[10, 10, 10] = 7
    found = window(stored(tmp_path / "b.zarr", array))
    assert (found["start"], found["end"]) == (0, 7)


def test_labels_have_none_and_predictions_theirs(tmp_path):
    array = np.random.default_rng(3).integers(0, 9, (20, 20, 20)).astype(np.uint8)
    assert window(stored(tmp_path / "a.zarr", array, kind="labels")) is None
    assert window(stored(tmp_path / "b.zarr", array, kind="probability"))["end"] == 255


def test_the_channel_is_named_after_the_feature(tmp_path):
    array = np.ones((20, 20, 20), np.uint8)
    labels = []
    for number, facts in enumerate(({"feature": "membrane"}, {})):
        node = read_node(stored(tmp_path / f"{number}.zarr", array, kind="probability", facts=facts).url)
        labels.append(ome_part(node.attributes)["omero"]["channels"][0]["label"])
    assert labels == ["membrane", "tomo"]
