"""What a page for looking finds, shows and serves; without a browser."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from web_results import BASE, HOSTILE, SHAPE

pytest.importorskip("starlette", reason="starlette is not installed (pip install 'volengine[web]')")

from asking import Client, entered

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.open import open_volume
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.view.find import find
from volengine.web.view.pyramid import Pyramid
from volengine.web.view.recipe import ViewRecipe
from volengine.web.view.routes import Views, view_routes
from volengine.web.view.saved import SavedViews
from volengine.web.view.state import check_state

SAME = {"sec-fetch-site": "same-origin"}


def _views(tmp_path: Path, *paths: Path | str, **values: Any) -> Views:
    recipe = ViewRecipe(**values)
    return Views(
        find([str(path) for path in paths], recipe.overlay, links=recipe.links), recipe, SavedViews(tmp_path / "views")
    )


def _client(views: Views) -> Client:
    return entered(make_app(Gate(base_path=BASE), view_routes(views), page="view.html"))


def _layers(views: Views, number: int = 0) -> dict[str, Any]:
    return {layer.name: layer for layer in views.scene(number).layers}


# -- what is found -----------------------------------------------------------------------------------------


def test_a_run_is_shown_with_everything_of_each_tomogram(run_folder: Path, tmp_path: Path) -> None:
    views = _views(tmp_path, run_folder)
    assert [one.name for one in views.tomograms] == [HOSTILE, "TS_01"]
    layers = _layers(views, 1)
    kinds = {name: layer.kind for name, layer in layers.items()}
    assert kinds == {
        "tomogram": "intensity",
        "core labels": "labels",
        "ribosome": "probability",
        "ribosome picks": "picks",
        "ribosome picks axes": "axes",
        "membrane surface": "surfaces",
        "truth membrane": "surfaces",
    }
    assert [layer.name for layer in layers.values() if not layer.visible] == ["core labels"]
    assert views.scene(1).notes == ()
    assert list(_layers(views, 0)) == ["tomogram"]


def test_single_paths_are_put_together(run_folder: Path, tmp_path: Path) -> None:
    stores = [run_folder / "tomograms" / "TS_01.ome.zarr", run_folder / "predictions" / "TS_01__ribosome.ome.zarr"]
    star = run_folder / "picks" / "TS_01__ribosome.star"
    for paths in ([*stores, star], [star, *reversed(stores)]):
        views = _views(tmp_path, *paths)
        assert [one.name for one in views.tomograms] == ["TS_01"]
        assert list(_layers(views)) == ["tomogram", "ribosome", "ribosome picks", "ribosome picks axes"]


def test_what_a_table_or_a_set_alone_states_is_its_grid(run_folder: Path, tmp_path: Path) -> None:
    for path, kinds in (
        ("picks/TS_01__ribosome.star", ["picks", "axes"]),
        ("surfaces/TS_01__membrane.surfaces", ["surfaces"]),
    ):
        scene = _views(tmp_path, run_folder / path, voxel_size=10.0).scene(0)
        assert [layer.kind for layer in scene.layers] == kinds
        assert scene.grid.voxel_size == (10.0, 10.0, 10.0)
        assert scene.name == "TS_01"


def test_overlays_lie_over_the_tomogram_whatever_their_name(run_folder: Path, tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "mask.mrc") as file:
        file.set_data(np.ones(SHAPE, np.int8))
        file.voxel_size = 10.0
    store = run_folder / "tomograms" / "TS_01.ome.zarr"
    views = _views(tmp_path, store, overlay=(str(tmp_path / "mask.mrc"),), overlay_kind="labels")
    assert {name: layer.kind for name, layer in _layers(views).items()}["mask labels"] == "labels"
    unsaid = _views(tmp_path, store, overlay=(str(tmp_path / "mask.mrc"),)).scene(0)
    assert len(unsaid.layers) == 1
    assert "--overlay-kind" in unsaid.notes[0]
    with pytest.raises(InputError, match="none of the 2 tomograms"):
        _views(tmp_path, run_folder, overlay=(str(tmp_path / "mask.mrc"),))


def test_manifests_folders_and_lists_are_collections(run_folder: Path, tmp_path: Path) -> None:
    store = run_folder / "tomograms" / "TS_01.ome.zarr"
    (tmp_path / "manifest.csv").write_text(f"source,name\n{store},cell_2\n")
    assert [one.name for one in find([str(tmp_path / "manifest.csv")])] == ["cell_2"]
    (tmp_path / "raw").mkdir()
    for name in ("TS_10", "TS_9", ".hidden"):
        with mrcfile.new(tmp_path / "raw" / f"{name}.mrc") as file:
            file.set_data(np.zeros((4, 4, 4), np.int8))
            file.voxel_size = 10.0
    assert [one.name for one in find([str(tmp_path / "raw")])] == ["TS_9", "TS_10"]
    (tmp_path / "list.txt").write_text("raw\n")
    assert [one.name for one in find([str(tmp_path / "list.txt")])] == ["TS_9", "TS_10"]


@pytest.mark.parametrize(
    "path", ["gone.ome.zarr", "gone.mrc", "gone.star", "gone.surfaces", "empty", "notes.md", "manifest.csv"]
)
def test_what_is_not_there_or_is_nothing_to_look_at_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").touch()
    with pytest.raises(InputError, match=path):
        _views(tmp_path, tmp_path / path).scene(0)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"TS_\xff.mrc")).touch()
    with pytest.raises(InputError, match="no text in UTF-8"):
        find([str(tmp_path)])


def test_what_cannot_be_shown_is_said_beside_what_can(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "picks" / "TS_01__actin.star").write_text("data_\n\nloop_\n_rlnNonsense #1\n1\n")
    (tmp_path / "run" / "predictions" / "TS_01__ribosome.ome.zarr" / "zarr.json").write_text("{")
    scene = _views(tmp_path, tmp_path / "run").scene(1)
    assert {layer.name for layer in scene.layers} >= {"tomogram", "core labels", "membrane surface"}
    assert len([note for note in scene.notes if note.startswith("Not shown: ")]) == 2
    assert all(any(name in note for note in scene.notes) for name in ("TS_01__actin.star", "TS_01__ribosome.ome.zarr"))


# -- what is served ----------------------------------------------------------------------------------------


def test_the_page_is_told_of_the_scene(run_folder: Path, tmp_path: Path) -> None:
    with _client(_views(tmp_path, run_folder)) as client:
        assert client.get(f"{BASE}/api/tomograms").json["tomograms"] == [HOSTILE, "TS_01"]
        scene = client.get("/api/tomograms/1").json
        assert (scene["shape"], scene["nm"]) == (list(SHAPE), [24.0, 40.0, 48.0])
        state = scene["state"]
        assert state["dimensions"] == {axis: [1e-9, "m"] for axis in "xyz"}
        by_name = {layer["name"]: layer for layer in state["layers"]}
        assert by_name["tomogram"]["source"].startswith("{data}/")
        low, high = by_name["tomogram"]["shaderControls"]["normalized"]["range"]
        assert 0 <= low < 0.1 < high <= 1
        assert "#009e73" in by_name["ribosome"]["shader"]
        assert by_name["ribosome"]["shaderControls"]["normalized"]["range"] == [0.0, 1.0]
        assert by_name["membrane surface"]["segments"] == ["1"]
        assert "prop_weight() < least_weight" in by_name["ribosome picks"]["shader"]
        for layer in state["layers"]:
            source = layer["source"].partition("|")[0].replace("{data}", "/data")
            name = "zarr.json" if layer["source"].endswith("zarr3:") else "info"
            assert client.get(f"{source}{name}").status == 200
        inverted = _views(tmp_path, run_folder, invert=True).scene(1)
        assert inverted.layers[0].window == (high, low)


@pytest.mark.parametrize(
    "target",
    [
        "/api/tomograms/2",
        "/api/tomograms/-1",
        "/api/tomograms/x",
        "/data/0123456789abcdef/info",
        "/data/{key}/../../etc/passwd",
        "/data/{key}/%2e%2e/%2e%2e/zarr.json",
        "/data/{key}/..%2fzarr.json",
        "/data/{key}//etc/passwd",
        "/data/{key}/0/c/0/0/0%00",
        "/data/{key}/0/c/99/0/0",
        "/data/{key}/",
        "/api/views/..%2f..%2fsecret",
        "/api/views/0123456789abcdef",
        "/api/tomograms/1/picture?axis=w&index=1",
        "/api/tomograms/1/picture?axis=z&index=99",
        "/api/tomograms/1/picture?axis=z&index=1%0a",
    ],
)
def test_nothing_else_is_served(run_folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "secret.json").write_text('{"format": "volengine view 1", "secret": 1}')
    views = _views(tmp_path, run_folder)
    with _client(views) as client:
        answer = client.get(target.replace("{key}", views.scene(1).layers[0].key))
    assert answer.status in (400, 404)
    assert "secret" not in answer.text.replace("/secret", "").replace("..%2fsecret", "").replace("'../../secret'", "")
    assert "root:" not in answer.text


def test_links_out_of_a_folder_are_not_followed_unless_it_is_said(run_folder: Path, tmp_path: Path) -> None:
    """And then what they lead to is read by its format: files are never sent as they are."""
    (tmp_path / "run" / "picks").mkdir(parents=True)
    (tmp_path / "run" / "tomograms").mkdir()
    (tmp_path / "passwords").write_text("root:x:0")
    (tmp_path / "run" / "picks" / "TS_01.star").symlink_to(tmp_path / "passwords")
    (tmp_path / "run" / "tomograms" / "TS_01.ome.zarr").symlink_to(run_folder / "tomograms" / "TS_01.ome.zarr")
    (tmp_path / "run" / "tomograms" / "TS_02.ome.zarr").symlink_to("TS_01.ome.zarr")
    with pytest.raises(InputError, match=r"link out of the folder.*link out of the folder"):
        _views(tmp_path, tmp_path / "run").scene(0)
    scene = _views(tmp_path, tmp_path / "run", links=True).scene(0)
    assert [layer.name for layer in scene.layers] == ["tomogram"]
    assert len(scene.notes) == 1
    inside = _views(tmp_path, run_folder).scene(1)  # the folder itself may be reached by a link
    (tmp_path / "by_link").symlink_to(run_folder)
    assert len(_views(tmp_path, tmp_path / "by_link").scene(1).layers) == len(inside.layers)


def test_stores_in_object_stores_are_read_by_the_server(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser asks the server alone, and needs no credentials."""
    from s3_server import serving, use_server

    s3fs = pytest.importorskip("s3fs")
    store = run_folder / "tomograms" / "TS_01.ome.zarr"
    with serving() as s3:
        files = [file for file in store.rglob("*") if file.is_file()]
        s3.buckets["bucket"] = {f"TS_01.ome.zarr/{file.relative_to(store)}": file.read_bytes() for file in files}
        use_server(monkeypatch, s3.endpoint)
        (layer,) = _views(tmp_path, "s3://bucket/TS_01.ome.zarr").scene(0).layers
        assert isinstance(layer.served, Pyramid)
        voxels = layer.served.voxels(0, (0, 1, 2))
        s3fs.S3FileSystem.clear_instance_cache()
    local = open_volume(store)
    np.testing.assert_array_equal(voxels, local.read((slice(0, 16), slice(16, 32), slice(32, 48))))


def test_slices_are_pictures_where_there_is_no_webgl(run_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    views = _views(tmp_path, run_folder)
    keys = [layer.key for layer in views.scene(1).layers]
    query = "axis=z&index=8&" + "&".join(f"layer={key}" for key in keys)
    with _client(views) as client:
        pictures = []
        for more in ("", "&invert=1"):
            answer = client.get(f"/api/tomograms/1/picture?{query}{more}")
            assert answer.headers["content-type"] == "image/png"
            pictures.append(np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB")).astype(int))
        plain = client.get("/api/tomograms/1/picture?axis=z&index=8")
    assert (pictures[0] != pictures[1]).mean() > 0.3
    assert plain.body != answer.body


# -- saved views -------------------------------------------------------------------------------------------


def test_a_view_is_saved_listed_and_opened_by_its_name(run_folder: Path, tmp_path: Path) -> None:
    views = _views(tmp_path, run_folder)
    with _client(views) as client:
        state = client.get("/api/tomograms/1").json["state"]
        body = json.dumps({"tomogram": "TS_01", "title": "the break", "state": state}).encode()
        made = client.ask("POST", f"{BASE}/api/views", SAME, body)
        again = client.ask("POST", "/api/views", SAME, body)
        name = made.json["name"]
        assert (made.status, again.json["name"]) == (201, name)
        assert client.get(f"/api/views/{name}").json["state"] == state
        (listed,) = client.get("/api/views").json["views"]
        assert (listed["name"], listed["title"]) == (name, "the break")
    with _client(_views(tmp_path, run_folder)) as client:  # another server, another time
        assert client.get(f"/api/views/{name}").json["state"] == state


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"tomogram": "a", "state": 1}', b'{"state": {"layers": []}}', b"[" * 5000]
)
def test_what_is_no_view_is_not_saved(run_folder: Path, tmp_path: Path, body: bytes) -> None:
    with _client(_views(tmp_path, run_folder)) as client:
        assert client.ask("POST", "/api/views", SAME, body).status == 400
    assert not (tmp_path / "views").exists()


@pytest.mark.parametrize(
    "state",
    [
        {"layers": [{"source": "https://evil.example/a|zarr3:"}]},
        {"layers": [{"source": [{"url": "s3://bucket/a"}]}]},
        {"layers": [{"source": "//evil.example/a"}]},
        {"layers": [{"source": "/data/x"}]},
        {"layers": [], "more": {"deep": ["gs://a"]}},
        {"layers": "{data}"},
    ],
)
def test_saved_views_ask_for_nothing_of_elsewhere(tmp_path: Path, state: Any) -> None:
    with pytest.raises(InputError):
        SavedViews(tmp_path).save("TS_01", "", state)
    text = {"format": "volengine view 1", "tomogram": "a", "title": "", "saved": "", "state": state}
    (tmp_path / f"{'0' * 16}.json").write_text(json.dumps(text))
    with pytest.raises(InputError):
        SavedViews(tmp_path).read("0" * 16)
    assert SavedViews(tmp_path).listed() == []


def test_what_users_mark_is_part_of_a_view() -> None:
    state = {"layers": [{"source": "local://annotations", "annotations": [{"point": [1, 2, 3]}]}]}
    assert check_state(state) == state


def test_damaged_views_are_refused_and_the_others_listed(tmp_path: Path) -> None:
    views = SavedViews(tmp_path)
    name = views.save("TS_01", "", {"layers": []})
    (tmp_path / f"{'1' * 16}.json").write_text("{")
    with pytest.raises(FormatError, match="damaged"):
        views.read("1" * 16)
    with pytest.raises(MissingError):
        views.read("../secret")
    assert [one["name"] for one in views.listed()] == [name]


# -- the command -------------------------------------------------------------------------------------------


def test_the_command_refuses_before_it_serves(volengine: Any, run_folder: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (("gone.mrc",), "gone.mrc"),
        ((str(run_folder), "--host", "0.0.0.0"), "insecure"),
        ((str(run_folder), "--base-path", "https://a"), "base_path"),
        ((str(run_folder), "--napari", "--invert"), "--napari"),
    ):
        code, _, error = volengine("view", *arguments)
        assert code == 2
        assert said in error
