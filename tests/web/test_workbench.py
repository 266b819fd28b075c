"""What the workbench's routes answer: slices against the reader, labels against the store, and what is refused."""

from __future__ import annotations

import io
import json
import os
import shlex
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from asking import Client, Reply, entered
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from starlette.routing import Route
from web_results import HOSTILE, OPTIONS, SHAPE, write_mrc, write_results

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.ops.slice_values import filtered, sixteen_bits
from volengine.tasks.annotate.verb import recorded
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.notes import Notes
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe
from volengine.web.workbench.routes import bench_routes
from volengine.web.workbench.slices import Slices
from volengine.web.workbench.thumbnails import webp
from volengine.web.workbench.verb import _beside_others

HERE = {"sec-fetch-site": "same-origin"}
STROKE = {"op": "brush", "feature": "membrane", "slice": 4, "points": [[8, 8], [8, 20]], "radius": 2}


def bench_of(folder: Path, **more: Any) -> tuple[Bench, Client]:
    bench = Bench(Project(folder, WorkbenchRecipe(user="ada", **more)))
    return bench, entered(make_app(Gate(), bench_routes(bench), page="workbench.html"), **HERE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("project"))


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    bench, client = bench_of(folder)
    with client:
        yield client
    bench.annotating.close()


def post(client: Client, path: str, value: Any) -> Reply:
    return client.ask("POST", path, {"content-type": "application/json"}, json.dumps(value).encode())


def draw(client: Client, operation: Any, user: str = "ada", number: int = 1) -> Reply:
    return post(client, f"/api/tomograms/{number}/operations", {"operation": operation, "user": user})


def number_of(client: Client, name: str) -> int:
    number: int = client.get("/api/project").json["tomograms"].index(name)
    return number


def planes(reply: Reply) -> tuple[dict[str, Any], np.ndarray]:
    (length,) = struct.unpack_from("<I", reply.body)
    head = json.loads(reply.body[4 : 4 + length])
    found = np.frombuffer(zlib.decompress(reply.body[4 + length :]), np.uint8)
    return head, found.reshape(-1, *head["shape"])


def grey(reply: Reply) -> np.ndarray:
    """The values of a slice, from 16 bits and the range that they cover."""
    low, high = float(reply.headers["x-low"]), float(reply.headers["x-high"])
    shape = int(reply.headers["x-rows"]), int(reply.headers["x-columns"])
    values: np.ndarray = np.frombuffer(reply.body, "<u2").reshape(shape) / 65535 * (high - low) + low
    return values


# -- slices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", "zyx")
def test_slices_are_those_of_the_reader(client: Client, folder: Path, axis: str) -> None:
    voxels = volengine.open_volume(folder / "tomograms" / "TS_01.ome.zarr").read()
    across = "zyx".index(axis)
    for index in (0, 11, SHAPE[across] - 1):
        reply = client.get(f"/api/tomograms/1/slice?axis={axis}&index={index}")
        low, high = float(reply.headers["x-low"]), float(reply.headers["x-high"])
        expected = np.clip(np.take(voxels, index, across), low, high)
        assert np.abs(grey(reply) - expected).max() <= (high - low) / 65535
    assert low < voxels.min()
    assert voxels.max() > 0.9
    assert client.get(f"/api/tomograms/1/slice?axis={axis}&index={SHAPE[across]}").status == 400


def test_filters_and_means_are_those_of_scipy(client: Client, folder: Path) -> None:
    voxels = volengine.open_volume(folder / "tomograms" / "TS_01.ome.zarr").read().astype(np.float64)
    reply = client.get("/api/tomograms/1/slice?axis=z&index=8")
    voxels = np.clip(voxels, float(reply.headers["x-low"]), float(reply.headers["x-high"]))
    smooth = ndimage.gaussian_filter(voxels[8], 1.5, mode="nearest")
    reply = client.get("/api/tomograms/1/slice?axis=z&index=8&filter=gaussian&sigma=1.5")
    assert np.allclose(grey(reply), smooth, atol=1e-4)
    slopes = np.hypot(ndimage.sobel(voxels[8], 0, mode="nearest"), ndimage.sobel(voxels[8], 1, mode="nearest")) / 8
    reply = client.get("/api/tomograms/1/slice?axis=z&index=8&filter=sobel&sigma=0")
    assert np.allclose(grey(reply), np.minimum(slopes, float(reply.headers["x-high"])), atol=1e-4)
    reply = client.get("/api/tomograms/1/slice?axis=x&index=1&mean=5")
    assert np.allclose(grey(reply), voxels[:, :, 0:4].mean(axis=2), atol=1e-4)


@given(st.integers(-300, 300), st.integers(1, 1000))
def test_sixteen_bits_hold_small_integers_exactly(low: int, width: int) -> None:
    values = np.arange(low, low + width + 1)
    back = sixteen_bits(values, (low, low + width)) / 65535 * width + low
    assert np.array_equal(np.rint(back), values)


def test_a_slope_has_its_own_gradient() -> None:
    plane = np.add.outer(3.0 * np.arange(9), 4.0 * np.arange(9))
    assert np.allclose(filtered(plane, "sobel", 0)[1:-1, 1:-1], 5.0)


def test_an_mrc_file_is_read_like_a_store(tmp_path: Path) -> None:
    voxels = np.random.default_rng(1).integers(-100, 100, (6, 20, 24)).astype(np.int8)
    write_mrc(tmp_path / "TS_07.mrc", voxels)
    _, client = bench_of(tmp_path)
    with client:
        for axis in "zyx":
            reply = client.get(f"/api/tomograms/0/slice?axis={axis}&index=3")
            assert np.array_equal(np.rint(grey(reply)), np.take(voxels, 3, "zyx".index(axis)))


# -- annotations -----------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[tuple[Client, Path]]:
    """A project of its own, in which ada has the feature ``membrane``."""
    voxels = np.random.default_rng(2).normal(size=(12, 40, 48)).astype(np.float32)
    for name in ("TS_01", "TS_02"):
        write_mrc(tmp_path / f"{name}.mrc", voxels)
    bench, client = bench_of(tmp_path)
    with client:
        assert draw(client, {"op": "feature", "feature": "membrane"}).status == 201
        yield client, tmp_path / "annotations" / "TS_02.annotations"
    bench.annotating.close()


def test_strokes_are_in_the_store_and_on_the_slice(drawn: tuple[Client, Path]) -> None:
    client, folder = drawn
    assert draw(client, STROKE).json["version"] == 2
    assert draw(client, {**STROKE, "axis": "x", "slice": 10, "value": "ignore"}, user="bob").status == 201
    with volengine.Annotations(folder) as store:
        whole = store.labels("membrane", Box((0, 0, 0), (12, 40, 48)))
    rows, columns = np.indices((40, 48))
    way = np.hypot(rows - 8, np.maximum(np.abs(columns - 14) - 6, 0)) <= 2
    assert np.array_equal(whole[4] == 1, way & (whole[4] != 2))
    for axis, index in (("z", 4), ("y", 8), ("x", 10)):
        head, found = planes(client.get(f"/api/tomograms/1/labels?axis={axis}&index={index}"))
        assert head["version"] == 3
        assert head["features"] == ["membrane"]
        assert np.array_equal(found[0], np.take(whole, index, "zyx".index(axis)))
    head, found = planes(client.get("/api/tomograms/1/labels?axis=z&index=0"))
    assert head["features"] == []
    assert found.shape[0] == 0
    assert planes(client.get("/api/tomograms/0/labels?axis=z&index=0"))[0]["version"] == 0


def test_everybody_undoes_own_strokes(drawn: tuple[Client, Path]) -> None:
    client, _ = drawn
    draw(client, STROKE)
    draw(client, {**STROKE, "slice": 5}, user="bob")
    states = {user: client.get(f"/api/tomograms/1/annotations?user={user}").json for user in ("ada", "bob", "eve")}
    assert [states[user]["undo"] for user in ("ada", "bob", "eve")] == [True, True, False]
    assert states["ada"]["features"][0]["slices"] == {"z": [4, 5]}
    assert draw(client, {"op": "undo"}).json["of"] == 2
    assert draw(client, {"op": "undo"}, user="eve").status == 400
    state = client.get("/api/tomograms/1/annotations?user=ada").json
    assert state["redo"]
    assert state["features"][0]["slices"] == {"z": [5]}
    assert client.get("/api/tomograms/1/version").json == {"version": 4}


def test_boxes_and_points_come_and_go(drawn: tuple[Client, Path]) -> None:
    client, _ = drawn
    draw(client, {"op": "box", "feature": "membrane", "box": "4:5,8:24,0:16"})
    draw(client, {"op": "point", "feature": "membrane", "position": [4, 20, 30], "radius": 3})
    state = client.get("/api/tomograms/1/annotations").json
    assert [one["box"] for one in state["boxes"]] == [[4, 8, 0, 5, 24, 16]]
    assert [(one["position"], one["radius"]) for one in state["points"]] == [([4, 20, 30], 3)]
    facts = client.get("/api/facts?start=0&count=9").json
    assert facts[1]["annotated"] == {"membrane": {"slices": 0, "boxes": 1, "points": 1}}
    assert facts[0]["annotated"] == {}
    draw(client, {"op": "remove", "item": state["boxes"][0]["item"]})
    assert client.get("/api/tomograms/1/annotations").json["boxes"] == []


def test_the_preview_of_an_interpolation_is_what_is_drawn(drawn: tuple[Client, Path]) -> None:
    client, folder = drawn
    assert client.get("/api/tomograms/1/between?feature=membrane&axis=z&index=5").status == 400
    for index, radius in ((2, 3), (8, 6)):
        draw(client, {**STROKE, "slice": index, "points": [[20, 20]], "radius": radius})
    head, found = planes(client.get("/api/tomograms/1/between?feature=membrane&axis=z&index=5"))
    assert head["between"] == [2, 8]
    assert len(found) == 5
    draw(client, {"op": "interpolate", "feature": "membrane", "between": head["between"]})
    with volengine.Annotations(folder) as store:
        assert np.array_equal(store.labels("membrane", Box((3, 0, 0), (8, 40, 48))), found)


def test_predictions_are_shown_and_taken_by_their_keys(client: Client, folder: Path) -> None:
    facts = client.get("/api/tomograms/1").json
    assert facts["name"] == "TS_01"
    assert [one["name"] for one in facts["predictions"]] == ["ribosome"]
    key = facts["predictions"][0]["key"]
    stored = volengine.open_volume(folder / "predictions" / "TS_01__ribosome.ome.zarr").read()
    reply = client.get(f"/api/tomograms/1/slice?axis=z&index=7&prediction={key}")
    assert np.allclose(grey(reply), stored[7] / (255 if stored.dtype.kind == "u" else 1), atol=1e-4)
    draw(client, {"op": "feature", "feature": "ribosome"})
    take = {"op": "take", "feature": "ribosome", "prediction": key, "above": 0.5, "box": "7:8,:,:"}
    assert draw(client, take).status == 201
    _, found = planes(client.get("/api/tomograms/1/labels?axis=z&index=7"))
    assert np.array_equal(found[0] == 1, stored[7] > 0)
    assert found.sum() == 16
    path = str(folder / "predictions" / "TS_01__ribosome.ome.zarr")
    assert draw(client, {**take, "prediction": path}).status == 404  # paths are no keys
    assert draw(client, {"op": "labels", "feature": "ribosome", "volume": path}).status == 400


def test_what_was_drawn_can_be_drawn_again_by_commands(drawn: tuple[Client, Path], tmp_path: Path) -> None:
    client, folder = drawn
    for operation in (
        STROKE,
        {**STROKE, "axis": "y", "slice": 9, "points": [[5, 10], [6, 30]], "value": "ignore"},
        {"op": "polygon", "feature": "membrane", "slice": 4, "points": [[2, 2], [2, 30], [30, 20]]},
        {"op": "undo"},
        {"op": "fill", "feature": "membrane", "slice": 6, "seed": [20, 20], "radius": 8, "band": 2},
    ):
        assert draw(client, operation).status == 201
    again = tmp_path / "again.annotations"
    volengine.new_annotations(tmp_path / "TS_02.mrc", again).close()
    volengine.annotate(again, recorded(folder), images=False)
    box = Box((0, 0, 0), (12, 40, 48))
    with volengine.Annotations(folder) as one, volengine.Annotations(again) as other:
        assert np.array_equal(one.labels("membrane", box), other.labels("membrane", box))
        assert one.labels("membrane", box).any()


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden", "a\x00b", "a\\b"])
def test_names_of_tomograms_that_are_none_of_files_are_not_annotated(tmp_path: Path, name: str) -> None:
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    bench, client = bench_of(tmp_path)
    bench.project.tomograms[0].name = name
    with client:
        assert draw(client, {"op": "feature", "feature": "a"}, number=0).status == 400
    assert [one.name for one in tmp_path.iterdir()] == ["TS_01.mrc"]


def test_two_servers_draw_at_once(tmp_path: Path) -> None:
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((8, 40, 48), np.float32))
    benches = [bench_of(tmp_path)[0] for _ in range(2)]
    benches[0].annotating.do(0, {"op": "feature", "feature": "membrane"}, "")

    def work(bench: Bench, user: str) -> None:
        for n in range(4):
            bench.annotating.do(0, {**STROKE, "slice": n}, user)

    threads = [threading.Thread(target=work, args=(b, u)) for b, u in zip(benches, ("ada", "bob"), strict=True)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [bench.annotating.version(0) for bench in benches] == [9, 9]
    for bench in benches:
        bench.annotating.close()


def test_annotations_of_other_voxels_are_refused(drawn: tuple[Client, Path]) -> None:
    _client, folder = drawn
    (folder.parents[1] / "TS_01.mrc").unlink()
    write_mrc(folder.parents[1] / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    os.rename(folder, folder.with_name("TS_01.annotations"))
    bench, other = bench_of(folder.parents[1])
    with other:
        reply = other.get("/api/tomograms/0/annotations")
        assert reply.status == 400
        assert "(12, 40, 48)" in reply.json["error"]
    bench.annotating.close()


# -- gallery ---------------------------------------------------------------------------------------------------


def test_the_gallery_lists_what_there_is(client: Client) -> None:
    project = client.get("/api/project").json
    assert project["tomograms"] == [HOSTILE, "TS_01"]
    assert project["user"] == "ada"
    assert project["writable"]
    facts = client.get("/api/facts?start=0&count=50").json
    assert [one["number"] for one in facts] == [0, 1]
    assert facts[1]["shape"] == list(SHAPE)
    assert facts[1]["voxel_size"] == [10.0] * 3
    assert facts[1]["picks"] == {"ribosome": 2}
    assert facts[0]["picks"] == {}
    assert client.get("/api/facts?start=1&count=1").json == facts[1:]


def test_thumbnails_are_small_and_kept(client: Client, folder: Path) -> None:
    from PIL import Image

    reply = client.get("/api/tomograms/1/thumbnail")
    assert reply.headers["content-type"] == "image/webp"
    assert len(reply.body) <= 12_000
    assert Image.open(io.BytesIO(reply.body)).size == (SHAPE[2], SHAPE[1])
    kept = folder / ".workbench" / "thumbnails"
    assert [one.read_bytes() for one in kept.iterdir()].count(reply.body) >= 1
    assert client.get("/api/tomograms/1/thumbnail", if_none_match=reply.headers["etag"]).status == 304
    noise = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)
    assert len(webp(noise)) <= 12_000


def test_notes_and_lists_are_kept_in_the_project(tmp_path: Path) -> None:
    for name in ("TS_01", "TS_02", "TS_03"):
        write_mrc(tmp_path / f"{name}.mrc", np.zeros((4, 8, 8), np.float32))
    _, client = bench_of(tmp_path)
    with client:
        assert post(client, "/api/tomograms/1/note", {"tags": ["good", "good"], "note": "thin"}).status == 200
        assert client.get("/api/project").json["notes"] == {"TS_02": {"tags": ["good"], "note": "thin"}}
        assert Notes(tmp_path / "annotations" / "notes.json").read() == {"TS_02": {"tags": ["good"], "note": "thin"}}
        chosen = {"name": "thin ones", "tomograms": [2, 0]}
        kept = post(client, "/api/lists", chosen).json
        assert kept["file"] == str(tmp_path / "lists" / "thin ones.txt")
        assert kept["tomograms"] == 2
        assert shlex.split(kept["command"]) == ["volengine", "segment", kept["file"], "…"]
        assert client.get("/api/lists").json == {"thin ones": [0, 2]}
        assert post(client, "/api/lists", chosen).status == 400  # it is there
        assert post(client, "/api/lists", {**chosen, "tomograms": [1], "replace": True}).status == 201
    from volengine.tasks.common.inputs import expand

    assert expand([kept["file"]]) == [str(tmp_path / "TS_02.mrc")]


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 65, "<b>", ".hidden", "a\x00b", 7])
def test_hostile_names_are_refused_everywhere(client: Client, folder: Path, name: Any) -> None:
    before = sorted(folder.rglob("*"))
    assert draw(client, {"op": "feature", "feature": name}).status == 400
    assert post(client, "/api/lists", {"name": name, "tomograms": [1]}).status == 400
    assert post(client, "/api/tomograms/1/note", {"tags": [name], "note": ""}).status == 400
    if name:
        assert draw(client, {**STROKE}, user=name).status == 400
    new = {one.name for one in sorted(folder.rglob("*")) if one not in before}
    assert not {one for one in new if "membrane" in one or "hidden" in one or one == "x"}


@pytest.mark.parametrize("given", [b"", b"[]", b"{", b'{"operation": 3}', b'{"operation": {"op": "run"}}', b"\xff"])
def test_what_is_no_operation_changes_nothing(tmp_path: Path, given: bytes) -> None:
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    _, client = bench_of(tmp_path)
    with client:
        assert client.ask("POST", "/api/tomograms/0/operations", {}, given).status == 400
    assert not (tmp_path / "annotations").exists()


def test_other_sites_and_strangers_cannot_draw(folder: Path) -> None:
    bench = Bench(Project(folder))
    app = make_app(Gate(), bench_routes(bench), page="workbench.html")
    body = json.dumps({"operation": {"op": "feature", "feature": "evil"}}).encode()
    where = "/api/tomograms/1/operations"
    with entered(app, **{"sec-fetch-site": "cross-site"}) as other:
        assert other.ask("POST", where, {}, body).status == 403
    with entered(app, origin="https://evil.example") as old:
        assert old.ask("POST", where, {}, body).status == 403
    with Client(app, {"host": "localhost:8000", **HERE}) as stranger:
        assert stranger.ask("POST", where, {}, body).status == 403
        assert stranger.get("/api/project").status == 403


@pytest.mark.parametrize("name", ["TS_01.mrc", "TS_01.zarr"])
def test_a_tomogram_that_is_written_anew_is_shown_anew(tmp_path: Path, name: str) -> None:
    """Also with the same metadata, and without the gallery being asked."""

    def write(values: NDArray[np.float32]) -> None:
        if name.endswith(".mrc"):
            (tmp_path / name).unlink(missing_ok=True)
            write_mrc(tmp_path / name, values)
            return
        made = zarr.create_array(tmp_path / name, shape=values.shape, chunks=(4, 8, 8), dtype="float32", overwrite=True)
        made[:] = values

    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(8, 16, 16)).astype(np.float32) for _ in range(2))
    write(first)
    _bench, client = bench_of(tmp_path, voxel_size=10.0)
    with client:
        for values in (first, second, first):
            write(values)
            for axis, index in (("z", 3), ("y", 5)):
                reply = client.get(f"/api/tomograms/0/slice?axis={axis}&index={index}")
                low, high = (float(reply.headers[f"x-{end}"]) for end in ("low", "high"))
                seen = low + (high - low) * np.frombuffer(reply.body, "<u2").reshape(-1, 16) / 65535
                np.testing.assert_allclose(seen, np.take(values, index, "zyx".index(axis)), atol=1e-3)


def test_a_project_that_cannot_be_written_to_is_only_looked_at(tmp_path: Path, monkeypatch: Any) -> None:
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    _bench, client = bench_of(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with client:
        assert not client.get("/api/project").json["writable"]
        assert client.get("/api/tomograms/0/thumbnail").status == 200
        assert "cannot be written" in draw(client, {"op": "feature", "feature": "a"}, number=0).json["error"]
    assert [one.name for one in tmp_path.iterdir()] == ["TS_01.mrc"]


def test_a_second_server_says_that_there_is_a_first_one(tmp_path: Path) -> None:
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    project, said = Project(tmp_path), list[str]()
    with _beside_others(project, said.append):
        assert said == []
        with _beside_others(project, said.append):
            assert len(said) == 1
            assert "Another server" in said[0]
            assert f"process {os.getpid()}" in said[0]
    assert not (tmp_path / ".workbench" / "server.lock").exists()


def test_links_out_of_the_project_are_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    write_mrc(inside / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    (inside / "TS_02.mrc").symlink_to(write_mrc(outside / "TS_02.mrc", np.zeros((4, 8, 8), np.float32)))
    assert [one.name for one in Project(inside).tomograms] == ["TS_01"]
    assert "TS_02" in Project(inside).notes[0]
    assert len(Project(inside, WorkbenchRecipe(links=True))) == 2


@pytest.mark.parametrize("path", ["nothing", "file.mrc", "s3://bucket/project"])
def test_what_is_no_project_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "file.mrc").write_bytes(b"")
    with pytest.raises(InputError):
        Project(path if "://" in path else tmp_path / path)


@pytest.mark.parametrize(("shape", "chunk"), [((13, 30, 22), (4, 7, 5)), ((5, 9, 40), (5, 2, 3))])
def test_slices_do_not_depend_on_cells(tmp_path: Path, monkeypatch: Any, shape: Any, chunk: Any) -> None:
    """Walking through a volume in small cells, with layers read ahead, gives what one read of it gives."""
    voxels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    raw = write_mrc(tmp_path / "raw.mrc", voxels)
    recipe = volengine.ConvertRecipe(name="T", chunk=chunk, shard=chunk, levels=1)
    volengine.convert(raw, tmp_path / "T.ome.zarr", recipe, OPTIONS)
    volume = volengine.open_volume(tmp_path / "T.ome.zarr")
    monkeypatch.setattr("volengine.web.workbench.slices.AHEAD", 2)
    for cell in (1, 200, 4_000_000):
        monkeypatch.setattr("volengine.web.workbench.slices.CELL", cell)
        slices = Slices()
        span = slices.span(volume)
        for across, axis in enumerate("zyx"):
            for index in range(shape[across]):
                found, _ = slices.grey(volume, axis, index)
                assert np.array_equal(found, sixteen_bits(np.take(voxels, index, across), span))


def test_no_route_hides_another(tmp_path: Path) -> None:
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    bench = Bench(Project(tmp_path, WorkbenchRecipe(user="ada")))
    routes = [one for one in bench_routes(bench) if isinstance(one, Route)]
    every = [(one.path, method) for one in routes for method in one.methods or ()]
    bench.annotating.close()
    assert len(every) > 40
    assert sorted(every) == sorted(set(every))


@pytest.mark.parametrize("name", ["annotations", "lists", ".workbench", "curated", "models", "run"])
def test_folders_that_lead_out_of_the_project_are_refused_before_and_while_it_is_served(
    name: str, tmp_path: Path
) -> None:
    project, outside = tmp_path / "project", tmp_path / "outside"
    project.mkdir()
    outside.mkdir()
    write_mrc(project / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    bench = Bench(Project(project))
    with entered(make_app(Gate(), bench_routes(bench), page="workbench.html"), **HERE) as client:
        assert client.get("/api/project").status == 200
        (project / name).symlink_to(outside)
        answers = [
            client.get("/api/project"),
            client.ask("POST", "/api/lists", body=b'{"name": "L", "tomograms": [0]}'),
        ]
        answers.append(client.ask("POST", "/api/tomograms/0/note", body=b'{"tags": ["a"], "note": ""}'))
        assert {answer.status for answer in answers} == {400}
        assert all("leads out of the project" in answer.text for answer in answers)
    with pytest.raises(InputError, match="leads out of the project"):
        Project(project)
    assert list(outside.iterdir()) == []
    assert len(Project(project, WorkbenchRecipe(links=True))) == 1
