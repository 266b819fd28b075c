"""napari's reader: the layers of stores, run folders and picks; and napari itself with them, where it is installed.

napari brings pytest plugins that do not bear warnings as errors; where it is installed, run this file with
``xvfb-run python -m pytest -p no:npe2 -p no:napari tests/viewers``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import yaml

import volengine
from volengine.core.image import ImageSpec
from volengine.io.omezarr.image import create_image
from volengine.io.omezarr.levels import plan_levels
from volengine.viewers import napari as viewer

SHAPE = (24, 40, 48)
ORIGIN = (30.0, -20.0, 10.0)
OPTIONS = volengine.RunOptions(progress=False)
CENTRES = np.array([[6, 10, 10], [16, 28, 20], [12, 18, 38]])
GRID = {"scale": (10, 10, 10), "translate": ORIGIN, "units": ("angstrom",) * 3}


def _write(path: Path, voxels: np.ndarray) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(voxels)
        file.voxel_size = 10.0
        file.header.origin = (ORIGIN[2], ORIGIN[1], ORIGIN[0])
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run of two tomograms: converted, predicted (by hand), gated and picked."""
    folder = tmp_path_factory.mktemp("results")
    z, y, x = np.indices(SHAPE)
    near = [sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) <= 16 for centre in CENTRES]
    ball = np.where(np.any(near, axis=0), 1, 0).astype(np.float32)
    tomogram = _write(folder / "raw.mrc", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32) + ball)
    for name in ("TS_01", "TS_02"):
        _convert(tomogram, folder / "tomograms" / f"{name}.ome.zarr", name)
        for feature, voxels in (("ribosome", ball), ("membrane", (x < 5).astype(np.float32))):
            raw = _write(folder / f"{name}_{feature}.mrc", voxels)
            _convert(raw, folder / "predictions" / f"{name}__{feature}.ome.zarr", f"{name}__{feature}", "probability")
            raw.unlink()
        rule = volengine.Interact("ribosome", "membrane", "avoid", radius_nm=1)
        stores = {f: folder / "predictions" / f"{name}__{f}.ome.zarr" for f in ("ribosome", "membrane")}
        gated = volengine.interact(stores, folder / "gated", volengine.InteractRecipe(rules=(rule,)), OPTIONS)
        (folder / "picks").mkdir(exist_ok=True)
        recipe = volengine.PickRecipe(spacing_nm=1)
        volengine.pick(gated["ribosome"].url, folder / "picks" / f"{name}__ribosome.star", recipe, OPTIONS)
    tomogram.unlink()
    return folder


def _convert(source: Path, out: Path, name: str, kind: Any = "intensity") -> None:
    recipe = volengine.ConvertRecipe(name=name, kind=kind, chunk=(16, 16, 16), shard=(32, 32, 32), levels=2)
    volengine.convert(source, out, recipe, OPTIONS)


def _read(path: Path) -> dict[str, tuple[Any, dict[str, Any], str]]:
    reader = viewer.get_reader(str(path))
    assert reader is not None
    return {arguments["name"]: (data, arguments, kind) for data, arguments, kind in reader(str(path))}


# -- layers ------------------------------------------------------------------------------------------------


def test_a_tomogram_is_an_image_of_all_levels_at_its_place(results: Path) -> None:
    ((name, (data, arguments, kind)),) = _read(results / "tomograms" / "TS_01.ome.zarr").items()
    assert (name, kind) == ("TS_01", "image")
    assert [level.shape for level in data] == [(24, 40, 48), (12, 20, 24)]
    assert {key: arguments[key] for key in GRID} == GRID
    assert arguments["multiscale"] is True
    assert arguments["colormap"] == "gray"
    low, high = arguments["contrast_limits"]
    assert low < 0 < high
    volume = volengine.open_volume(results / "tomograms" / "TS_01.ome.zarr")
    np.testing.assert_array_equal(data[1][3].compute(), volume.read(3, level=1))


def test_a_prediction_has_its_colour_and_its_labels_beside_it(results: Path) -> None:
    layers = _read(results / "gated" / "TS_01__ribosome.ome.zarr")
    assert list(layers) == ["TS_01 ribosome", "TS_01 labels ribosome"]
    _, arguments, kind = layers["TS_01 ribosome"]
    assert (kind, arguments["colormap"], arguments["contrast_limits"]) == ("image", "#009E73", (0, 1))
    data, arguments, kind = layers["TS_01 labels ribosome"]
    assert kind == "labels"
    assert data.dtype == np.uint32
    assert set(np.unique(data.compute())) == {0, 1, 2, 3}
    assert {key: arguments[key] for key in GRID} == GRID


def test_picks_are_points_at_the_places_of_the_particles(results: Path) -> None:
    path = results / "picks" / "TS_01__ribosome.star"
    ((name, (data, arguments, kind)),) = _read(path).items()
    assert (name, kind) == ("TS_01 picks ribosome", "points")
    assert arguments["border_color"] == "#009E73"
    assert arguments["scale"] == (10, 10, 10)
    assert {tuple(row) for row in np.rint(data).astype(int).tolist()} == {tuple(c) for c in CENTRES.tolist()}
    assert set(arguments["features"]) >= {"weight"}
    assert all(len(column) == 3 for column in arguments["features"].values())
    assert 3 <= arguments["size"] <= 12


def test_a_run_folder_shows_everything_of_its_first_tomogram(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        layers = _read(results)
    assert list(layers) == [
        *("TS_01", "TS_01 membrane", "TS_01 ribosome", "TS_01 ribosome gated", "TS_01 labels ribosome"),
        "TS_01 picks ribosome",
    ]
    assert "has 2 tomograms; TS_01 is shown. The others: TS_02" in caplog.text
    assert [arguments["visible"] for _, arguments, _ in [*layers.values()][:4]] == [True, True, False, True]
    assert layers["TS_01 membrane"][1]["colormap"] == "#F0E442"
    for _, arguments, _ in layers.values():
        assert {key: arguments[key] for key in GRID} == GRID, arguments["name"]


def test_the_run_folder_beside_the_outputs_leads_to_them(results: Path) -> None:
    store = results / "tomograms" / "TS_01.ome.zarr"
    assert list(_read(Path(f"{store}.run"))) == ["TS_01"]
    assert list(_read(results / "gated" / "interact.run")) == list(_read(results / "gated"))


def test_predictions_bring_the_tomogram_that_they_were_made_from(results: Path, tmp_path: Path) -> None:
    """``segment`` writes no tomogram; its plan says which one it has read."""
    pytest.importorskip("torch")
    from threshold_net import save_threshold_model

    model = save_threshold_model(tmp_path / "m.safetensors", "ribosome", patch=(8, 16, 16))
    tomogram = results / "tomograms" / "TS_02.ome.zarr"
    options = OPTIONS.with_(device="cpu")
    recipe = volengine.SegmentRecipe(models=model)  # type: ignore[arg-type]
    volengine.segment(tomogram, tmp_path / "predictions", recipe, options)
    assert list(_read(tmp_path / "predictions")) == ["TS_02", "TS_02 ribosome"]
    assert list(_read(tmp_path / "predictions" / "segment.run")) == ["TS_02", "TS_02 ribosome"]


def test_the_folder_of_the_verb_run_is_shown(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from threshold_net import save_threshold_model

    model = save_threshold_model(tmp_path / "m.safetensors", "ribosome", patch=(8, 16, 16), colour=(1, 0, 0))
    recipe = volengine.RunRecipe.from_json(
        {"segment": {"models": str(model)}, "pick": [{"feature": "ribosome", "min_volume_nm3": 50}]}
    )
    raw = _write(tmp_path / "TS_03.mrc", np.where(np.indices(SHAPE)[2] < 9, 1, 0).astype(np.float32))
    volengine.run(raw, tmp_path / "out", recipe, OPTIONS.with_(device="cpu"))
    for place in (tmp_path / "out", tmp_path / "out" / "run"):
        layers = _read(place)
        assert list(layers) == ["TS_03", "TS_03 ribosome", "TS_03 labels ribosome", "TS_03 picks ribosome"]
        assert layers["TS_03 ribosome"][1]["colormap"] == "#FF0000"
        assert layers["TS_03 picks ribosome"][1]["border_color"] == "#FF0000"


def test_a_plain_file_is_an_image(tmp_path: Path) -> None:
    path = _write(tmp_path / "TS_09.mrc", np.zeros(SHAPE, np.float32))
    ((name, (data, arguments, kind)),) = _read(path).items()
    assert (name, kind, data.shape, arguments["scale"]) == ("TS_09", "image", SHAPE, (10, 10, 10))
    assert "multiscale" not in arguments


def test_several_paths_are_read_one_after_the_other(results: Path) -> None:
    paths = [str(results / "tomograms" / f"TS_0{k}.ome.zarr") for k in (1, 2)]
    reader = viewer.get_reader(paths)
    assert reader is not None
    assert [arguments["name"] for _, arguments, _ in reader(paths)] == ["TS_01", "TS_02"]


def test_what_is_not_ours_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    for path in (tmp_path / "empty", tmp_path / "notes.txt", tmp_path / "picture.png"):
        assert viewer.get_reader(str(path)) is None
    assert viewer.get_reader([]) is None


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    reader = viewer.get_reader(str(tmp_path / "gone.mrc"))
    assert reader is not None
    with pytest.raises(volengine.VolengineError, match=r"gone\.mrc"):
        reader(str(tmp_path / "gone.mrc"))


def test_images_that_are_not_finished_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = ImageSpec(str(tmp_path / "half.ome.zarr"), "half", "uint8", "intensity", (10, 10, 10), plan_levels(SHAPE))
    create_image(spec, token="x")
    assert _read(tmp_path / "half.ome.zarr") == {}
    assert "not finished" in caplog.text


# -- the manifest ------------------------------------------------------------------------------------------


def _manifest() -> Path:
    return Path(viewer.__file__).with_name("napari.yaml")


def test_the_manifest_leads_to_the_reader() -> None:
    manifest = yaml.safe_load(_manifest().read_text())
    assert manifest["name"] == "volengine"
    (command,) = manifest["contributions"]["commands"]
    module, _, name = command["python_name"].partition(":")
    assert module == viewer.__name__
    assert getattr(viewer, name) is viewer.get_reader
    (reader,) = manifest["contributions"]["readers"]
    assert reader["command"] == command["id"]
    assert reader["accepts_directories"] is True


def test_the_manifest_names_all_suffixes_that_the_reader_takes() -> None:
    (reader,) = yaml.safe_load(_manifest().read_text())["contributions"]["readers"]
    patterns = reader["filename_patterns"]
    for pattern in patterns:
        assert viewer.get_reader(f"x{pattern[1:]}") is not None, pattern
    for suffix in (".zarr", ".mrc", ".rec", ".map", ".st", ".ali", *viewer.PICKS):
        assert any(fnmatch(f"x{suffix}", pattern) for pattern in patterns), suffix


def test_the_package_says_where_its_manifest_is() -> None:
    (entry,) = [e for e in metadata.entry_points(group="napari.manifest") if e.name == "volengine"] or [None]
    if entry is None:
        pytest.skip("volengine was installed before it had the entry point; install it again")
    module, _, name = entry.value.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    assert (Path(spec.submodule_search_locations[0]) / name).is_file()


def test_the_manifest_is_one_of_npe2() -> None:
    npe2 = pytest.importorskip("npe2", reason="npe2 comes with napari (pip install 'volengine[napari]')")
    manifest = npe2.PluginManifest.from_file(_manifest())
    assert manifest.name == "volengine"
    assert manifest.contributions.readers is not None


# -- napari itself -----------------------------------------------------------------------------------------


@pytest.fixture(params=["model", "window"])
def window(request: pytest.FixtureRequest) -> Iterator[Any]:
    """napari's viewer without a window; and with one that is not shown, where there is a display for its OpenGL."""
    napari = pytest.importorskip("napari", reason="napari is not installed (pip install 'volengine[napari]')")
    if request.param == "model":
        importlib.import_module("npe2").PluginManager.instance().discover()  # a window does it itself
        yield napari.components.ViewerModel()
        return
    if not os.environ.get("DISPLAY"):
        pytest.skip("a window of napari needs a display (xvfb-run makes one)")
    made = napari.Viewer(show=False)
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore")  # of napari and its libraries
def test_napari_opens_a_run_folder(window: Any, results: Path) -> None:
    layers = {layer.name: layer for layer in window.open(str(results), plugin="volengine")}
    assert list(layers) == [
        *("TS_01", "TS_01 membrane", "TS_01 ribosome", "TS_01 ribosome gated", "TS_01 labels ribosome"),
        "TS_01 picks ribosome",
    ]
    for layer in layers.values():
        np.testing.assert_allclose(layer.scale, 10)
        np.testing.assert_allclose(layer.translate, ORIGIN)
    labels, points = layers["TS_01 labels ribosome"], layers["TS_01 picks ribosome"]
    places = [labels.world_to_data(points.data_to_world(point)) for point in points.data]
    found = {int(labels.data[tuple(np.rint(place).astype(int))]) for place in places}
    assert found == {1, 2, 3}  # every point lies in a particle of its own
    np.testing.assert_allclose(
        layers["TS_01 membrane"].colormap.colors[-1][:3], np.array([240, 228, 66]) / 255, atol=0.01
    )
    np.testing.assert_allclose(points.border_color[0][:3], np.array([0, 158, 115]) / 255, atol=0.01)
    assert tuple(layers["TS_01 membrane"].contrast_limits) == (0, 1)
    assert layers["TS_01"].multiscale
    assert set(map(str, layers["TS_01"].units)) == {"angstrom"}


@pytest.mark.filterwarnings("ignore")
def test_napari_opens_a_store_and_a_table(window: Any, results: Path) -> None:
    window.open(str(results / "tomograms" / "TS_02.ome.zarr"), plugin="volengine")
    window.open(str(results / "picks" / "TS_02__ribosome.star"), plugin="volengine")
    image, points = window.layers
    assert (image.name, points.name) == ("TS_02", "TS_02 picks ribosome")
    volume = volengine.open_volume(results / "tomograms" / "TS_02.ome.zarr")
    np.testing.assert_array_equal(np.asarray(image.data[0]), volume)
    assert len(points.data) == 3
    assert list(points.features["weight"]) == sorted(points.features["weight"], reverse=True)
