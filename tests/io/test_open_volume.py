"""An open volume reads as NumPy, Dask and xarray arrays, shows itself, and stays the handle that it was."""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis.extra import numpy as shapes
from PIL import Image

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError, VolengineError
from volengine.core.volume import Volume
from volengine.io import notebook
from volengine.io.open import OpenVolume, open_volume

SHAPE = (20, 37, 41)
OPTIONS = volengine.RunOptions(progress=False)
ARRAY = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="module")
def mrc(folder: Path) -> OpenVolume:
    with mrcfile.new(folder / "TS_01.mrc") as file:
        file.set_data(ARRAY)
        file.voxel_size = 10.0
    return open_volume(folder / "TS_01.mrc")


@pytest.fixture(scope="module")
def store(folder: Path, mrc: OpenVolume) -> OpenVolume:
    recipe = volengine.ConvertRecipe(chunk=(16, 16, 16), shard=(64, 64, 64), levels=3)
    return volengine.convert(mrc.url, folder / "TS_01.ome.zarr", recipe, OPTIONS)


@pytest.fixture(scope="module")
def tiff(folder: Path) -> OpenVolume:
    tifffile.imwrite(folder / "TS_02.tif", ARRAY)
    return open_volume(folder / "TS_02.tif", voxel_size=(20, 10, 10))


@pytest.fixture(params=["mrc", "store", "tiff"])
def volume(request: pytest.FixtureRequest) -> OpenVolume:
    found: OpenVolume = request.getfixturevalue(request.param)
    return found


# -- NumPy -------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(key=shapes.basic_indices(SHAPE, allow_newaxis=False))
def test_an_index_reads_what_numpy_reads(volume: OpenVolume, key: Any) -> None:
    found = volume[key]
    np.testing.assert_array_equal(found, ARRAY[key], strict=True)


def test_a_box_or_a_tuple_of_slices_is_read(volume: OpenVolume) -> None:
    box = Box((1, 2, 3), (11, 36, 40))
    np.testing.assert_array_equal(volume.read(box), ARRAY[box.slices])
    np.testing.assert_array_equal(volume.read(box.slices), ARRAY[box.slices])
    np.testing.assert_array_equal(volume.read(), ARRAY)
    assert volume.read(Box((1, 1, 1), (1, 5, 5))).shape == (0, 4, 4)


def test_what_is_read_may_be_changed_and_is_not_the_file(volume: OpenVolume) -> None:
    part = volume[3]
    part[:] = 0
    np.testing.assert_array_equal(volume[3], ARRAY[3])


def test_steps_read_a_layer_of_chunks_at_a_time(store: OpenVolume) -> None:
    boxes: list[Box] = []

    def read(box: Box) -> Any:
        boxes.append(box)
        return ARRAY[box.slices]

    found = notebook.read_ranges(store, read, (range(19, -1, -3), range(0, 37, 5), range(4, 5)))
    np.testing.assert_array_equal(found, ARRAY[::-3, ::5, 4:5])
    assert [(b.start[0], b.stop[0]) for b in boxes] == [(16, 20), (1, 14)]


def test_a_number_outside_is_an_index_error(volume: OpenVolume) -> None:
    for key in (20, -21, (0, 37), (0, 0, -42)):
        with pytest.raises(IndexError, match="outside of axis"):
            volume[key]


def test_a_loop_goes_through_the_slices(volume: OpenVolume) -> None:
    assert len(volume) == len(list(volume)) == 20
    np.testing.assert_array_equal(np.stack(list(volume)), ARRAY)


def test_numpy_takes_the_voxels(volume: OpenVolume) -> None:
    np.testing.assert_array_equal(np.asarray(volume), ARRAY, strict=True)
    assert np.asarray(volume, dtype=np.float16).dtype == np.float16
    assert np.array(volume, copy=True).shape == SHAPE
    assert float(np.mean(volume)) == pytest.approx(float(ARRAY.mean()), abs=1e-6)
    with pytest.raises(ValueError, match="leave out copy=False"):
        np.array(volume, copy=False)


def test_numpy_does_not_take_more_than_two_gibibytes(store: OpenVolume) -> None:
    large = store.with_(shape=(1000, 1000, 1000))
    with pytest.raises(InputError, match=r"\(1000, 1000, 1000\) voxels, 4 GB as float32.*up to 2.15 GB.*to_dask"):
        np.asarray(large)
    assert store.with_(shape=(512, 1024, 1024)).nbytes == notebook.LARGEST_ARRAY
    notebook.check_size(store.with_(shape=(512, 1024, 1024)))


# -- levels ------------------------------------------------------------------------------------------------


def test_levels_are_read_by_number(store: OpenVolume) -> None:
    assert store.levels == ((20, 37, 41), (10, 19, 21), (10, 10, 11))
    coarse = store.at_level(1)
    assert isinstance(coarse, OpenVolume)
    assert coarse == open_volume(store.url, level=1)
    assert coarse.voxel_size == (20, 20, 20)
    assert coarse.origin == (5, 5, 5)
    np.testing.assert_array_equal(store.read((3, slice(2, 5)), level=1), coarse[3, 2:5])
    assert coarse.at_level(0) == store
    assert coarse.levels == store.levels
    with pytest.raises(InputError, match="levels 0 to 2; there is no level 3"):
        store.at_level(3)


def test_files_have_one_level(mrc: OpenVolume) -> None:
    assert mrc.levels == (SHAPE,)
    assert mrc.at_level(0) is mrc
    np.testing.assert_array_equal(mrc.read(level=0), ARRAY)
    with pytest.raises(InputError, match="level 0 only; there is no level 1"):
        mrc.read(level=1)


def test_a_given_voxel_size_and_name_hold_on_every_level(store: OpenVolume) -> None:
    other = open_volume(store.url, voxel_size=(30, 15, 15), name="mine")
    assert other.at_level(2).voxel_size == (60, 60, 60)
    assert other.at_level(2).name == "mine"
    assert other.at_level(1).at_level(2).voxel_size == (60, 60, 60)
    assert other.at_level(2).at_level(0).voxel_size == (30, 15, 15)


def test_levels_of_labels_inside_a_store(folder: Path, store: OpenVolume) -> None:
    prediction = np.zeros(SHAPE, np.float32)
    prediction[5:12, 10:20, 10:20] = 1
    with mrcfile.new(folder / "TS_01__ball.mrc", overwrite=True) as file:
        file.set_data(prediction)
        file.voxel_size = 10.0
    recipe = volengine.ConvertRecipe(kind="probability", chunk=(16, 16, 16))
    made = volengine.convert(folder / "TS_01__ball.mrc", folder / "TS_01__ball.ome.zarr", recipe, OPTIONS)
    volengine.pick(made.url, folder / "ball.star", volengine.PickRecipe(feature="ball"), OPTIONS)
    labels = open_volume(made.url, group="ball")
    assert labels.path == "labels/ball/0"
    assert labels.kind == "labels"
    assert set(np.unique(labels)) == {0, 1}
    assert labels.levels[0] == SHAPE
    assert "<img" in labels._repr_html_()


def test_bare_arrays_have_one_level(store: OpenVolume) -> None:
    bare = open_volume(f"{store.url}/1", voxel_size=20)
    assert bare.levels == ((10, 19, 21),)
    assert bare.at_level(0) is bare or bare.at_level(0) == bare
    np.testing.assert_array_equal(bare, store.at_level(1))


# -- Dask and xarray ---------------------------------------------------------------------------------------


def test_dask_sees_the_stored_chunks(store: OpenVolume) -> None:
    array = store.to_dask()
    assert array.chunks == ((16, 4), (16, 16, 5), (16, 16, 9))
    assert array.dtype == np.float32
    assert type(array._meta) is np.ndarray
    assert array._meta.shape == (0, 0, 0)
    np.testing.assert_array_equal(array.compute(), ARRAY)
    np.testing.assert_array_equal(array[3:9, ::2, -1].compute(), ARRAY[3:9, ::2, -1])
    assert array.name == store.to_dask().name != store.at_level(1).to_dask().name


def test_dask_sees_whole_slices_of_files(mrc: OpenVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mrc.to_dask().chunks == ((20,), (37,), (41,))
    monkeypatch.setattr(notebook, "UNCHUNKED_BYTES", 3 * 37 * 41 * 4)
    array = mrc.to_dask()
    assert array.chunks == ((3, 3, 3, 3, 3, 3, 2), (37,), (41,))
    np.testing.assert_array_equal(array.compute(), ARRAY)


def test_tasks_of_dask_can_go_to_other_processes(store: OpenVolume) -> None:
    array = store.to_dask().mean()
    assert float(array.compute(scheduler="processes", num_workers=1)) == pytest.approx(float(ARRAY.mean()), abs=1e-6)


def test_xarray_has_positions_in_angstrom(store: OpenVolume) -> None:
    pytest.importorskip("xarray")
    array = store.at_level(1).to_xarray()
    assert array.dims == ("z", "y", "x")
    assert array.name == "TS_01"
    np.testing.assert_array_equal(array.z, 5 + 20 * np.arange(10))
    assert array.x.attrs == {"units": "angstrom"}
    assert array.attrs["voxel_size"] == [20, 20, 20]
    assert array.attrs["kind"] == "intensity"
    assert array.chunks is not None
    near = array.sel(z=104, y=50, x=50, method="nearest")
    assert float(near) == store.at_level(1)[5, 2, 2]


def test_xarray_that_is_not_installed_is_named(store: OpenVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(ImportError, match=r"pip install 'volengine\[xarray\]'"):
        store.to_xarray()


# -- what it shows of itself -------------------------------------------------------------------------------


def test_the_repr_is_one_line(volume: OpenVolume) -> None:
    text = repr(volume)
    assert "\n" not in text
    assert len(text) < 140 + len(volume.url)
    for part in (volume.name, "(20, 37, 41)", "float32", "intensity", volume.url, "angstrom"):
        assert part in text


def _picture(html: str) -> Any:
    found = re.search(r"data:image/png;base64,([^\"]+)\"", html)
    assert found is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))


def test_the_html_shows_the_middle_slice_and_the_facts(volume: OpenVolume) -> None:
    html = volume._repr_html_()
    assert _picture(html).shape == (37, 41, 3)
    for part in ("20 x 37 x 41 voxels", "angstrom", "intensity, float32", "<b>TS_0"):
        assert part in html
    assert ("20 x 37 x 41; 10 x 19 x 21; 10 x 10 x 11" in html) == (volume.path != "")
    assert html.count("<div") == html.count("</div>")


def test_the_picture_shows_the_range_that_the_store_keeps(store: OpenVolume) -> None:
    low, high = store.display_range or (0, 0)
    assert low < high
    wanted = np.clip((ARRAY[10] - low) / (high - low), 0, 1) * 255
    np.testing.assert_array_equal(_picture(store._repr_html_())[..., 0], wanted.astype(np.uint8))


def test_large_slices_are_binned_and_the_coarsest_fitting_level_is_taken() -> None:
    plane = np.repeat(np.repeat(np.arange(12.0).reshape(3, 4), 100, axis=0), 100, axis=1)
    picture = np.asarray(Image.open(io.BytesIO(notebook.thumbnail(plane, "intensity", (0, 11)))))
    assert picture.shape == (150, 200, 3)
    assert picture[0, 0, 0] == 0
    assert picture[-1, -1, 0] == 255
    pyramid = [(100, 2000, 1000), (50, 1000, 500), (25, 500, 250), (12, 250, 125), (6, 125, 62)]
    assert notebook.thumbnail_level(pyramid) == 3
    assert notebook.thumbnail_level(pyramid[-1:]) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_slices_without_contrast_have_a_picture(value: float) -> None:
    plane = np.full((30, 30), value, np.float32)
    picture = np.asarray(Image.open(io.BytesIO(notebook.thumbnail(plane, "intensity", None))))
    assert len(np.unique(picture)) == 1


def test_a_volume_that_is_gone_still_shows_its_facts(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "gone.mrc") as file:
        file.set_data(ARRAY)
        file.voxel_size = 10.0
    volume = open_volume(tmp_path / "gone.mrc")
    (tmp_path / "gone.mrc").unlink()
    html = volume._repr_html_()
    assert "no picture" in html
    assert "20 x 37 x 41 voxels" in html


def test_a_file_that_is_compressed_as_a_whole_says_what_to_do(tmp_path: Path, mrc: OpenVolume) -> None:
    (tmp_path / "packed.mrc.gz").write_bytes(gzip.compress(Path(mrc.url).read_bytes()))
    volume = open_volume(tmp_path / "packed.mrc.gz")
    assert "no picture" in volume._repr_html_()
    with pytest.raises(InputError, match=r"Unpack it first \(gunzip, bunzip2\), or .*volengine convert"):
        volume[0]


def test_names_cannot_break_the_html(mrc: OpenVolume) -> None:
    assert "<script>" not in mrc.with_(name="<script>alert(1)</script>")._repr_html_()


# -- it is the handle that it was --------------------------------------------------------------------------


def _described(volume: Volume) -> Volume:
    return Volume(**volume.to_json())


def test_an_open_volume_equals_its_description(volume: OpenVolume) -> None:
    described = _described(volume)
    assert type(described) is Volume
    assert volume == described
    assert described == volume
    assert hash(volume) == hash(described)
    assert {volume: 1}[described] == 1  # type: ignore[index]
    assert volume != described.with_(name="other")
    assert volume == described.with_(facts={"other": 1})
    assert volume != "volume"


def test_json_and_pickle_keep_it(volume: OpenVolume) -> None:
    data = json.loads(json.dumps(volume.to_json()))
    assert set(data) == set(Volume.__dataclass_fields__)
    assert OpenVolume.from_json(data) == volume
    again = pickle.loads(pickle.dumps(volume))
    assert again == volume
    np.testing.assert_array_equal(again[4], ARRAY[4])
    np.testing.assert_array_equal(OpenVolume.of(_described(volume))[4], ARRAY[4])
    assert isinstance(volume.with_(name="x"), OpenVolume)


def test_what_can_be_read_is_what_verbs_return(folder: Path, store: OpenVolume) -> None:
    verbs: dict[str, Callable[[], Any]] = {
        "open_volume": lambda: open_volume(store.url),
        "export": lambda: volengine.export(store.url, folder / "again.mrc", progress=False),
        "convert": lambda: store,
    }
    for name, verb in verbs.items():
        found = verb()
        assert isinstance(found, volengine.OpenVolume), name
        np.testing.assert_array_equal(found, ARRAY)


def test_what_the_repr_names_can_be_opened(store: OpenVolume) -> None:
    assert store.place == store.url
    assert open_volume(store.place) == store
    with pytest.raises(VolengineError, match="labels/core"):
        open_volume(f"{store.url}#labels/core")
    with pytest.raises(InputError, match="names the group 'a', but group is 'b'"):
        open_volume(f"{store.url}#a", group="b")
