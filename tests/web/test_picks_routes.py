"""What the section for picks is answered: places against a formula, pictures against NumPy and SciPy, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Client, Reply, entered
from scipy import ndimage
from web_results import HOSTILE, SHAPE, write_results

import volengine
from volengine.ops.pick_pictures import along_axes
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe
from volengine.web.workbench.routes import bench_routes

PLACES = np.array([[12.0, 30.0, 40.0], [4.0, 8.0, 6.5]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = write_results(tmp_path)
    picks = volengine.read_picks(found / "picks" / "TS_01__ribosome.star")
    binned = picks.with_(position_vox=(PLACES + 0.5) / 2 - 0.5, voxel_size=(20.0,) * 3, shape=(12, 20, 24))
    volengine.write_picks(found / "picks" / "TS_01__binned.csv", binned)
    volengine.write_picks(found / "picks" / "TS_01__other.csv", picks.with_(shape=(99, 99, 99)))
    return found


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    bench = Bench(Project(folder, WorkbenchRecipe(user="ada")))
    with entered(
        make_app(Gate(), bench_routes(bench), page="workbench.html"), **{"sec-fetch-site": "same-origin"}
    ) as one:
        yield one
    bench.annotating.close()
    bench.curating.close()


def post(client: Client, path: str, value: Any) -> Reply:
    return client.ask("POST", path, {"content-type": "application/json"}, json.dumps(value).encode())


def table(client: Client, name: str) -> str:
    number = next(one["number"] for one in client.get("/api/picks").json if one["name"] == f"picks/{name}")
    return f"/api/picks/{number}"


def number_of(client: Client) -> int:
    number: int = client.get("/api/project").json["tomograms"].index("TS_01")
    return number


def test_tables_lie_on_the_tomogram_by_the_one_rule(client: Client) -> None:
    number = number_of(client)
    for name in ("TS_01__ribosome.star", "TS_01__binned.csv"):
        where = table(client, name)
        assert np.allclose(client.get(f"{where}/places?tomogram={number}").json["places"], PLACES)
        (one,) = client.get(where).json["tomograms"]
        assert (one["number"], one["count"], bool(one["notes"])) == (number, 2, "binned" in name)  # the way is said
    other = table(client, "TS_01__other.csv")
    (one,) = client.get(other).json["tomograms"]
    assert one["number"] is None
    assert "measures" in one["notes"][0]
    assert client.get(f"{other}/places?tomogram={number}").status == 400
    assert set(client.get(f"{other}/pictures?ids=0,1&side=8").body) == {0}


def test_added_picks_of_the_page_are_voxels_of_the_table(client: Client, folder: Path) -> None:
    where, number = table(client, "TS_01__binned.csv"), number_of(client)
    state = client.get(where).json
    add = {"op": "add", "number": number, "position": [5, 6, 7]}
    done = post(client, f"{where}/operations", {"operation": add, "digest": state["digest"], "user": "ada"})
    assert done.status == 201
    assert client.get(f"{where}/places?tomogram={number}").json["places"][-1] == [5, 6, 7]
    assert post(client, f"{where}/write", {"name": "out.csv", "poses": "zero"}).status == 201
    assert volengine.read_picks(folder / "curated" / "out.csv").position_vox[-1].tolist() == [2.25, 2.75, 3.25]


def test_pictures_are_the_voxels_around_picks(client: Client, folder: Path) -> None:
    voxels = volengine.open_volume(folder / "tomograms" / "TS_01.ome.zarr").read().astype(np.float64)
    where, number = table(client, "TS_01__ribosome.star"), number_of(client)
    low, high = client.get(f"/api/tomograms/{number}").json["contrast"]
    padded = np.pad(np.clip((voxels - low) / (high - low), 0, 1), 8)
    for axis, across in zip("zyx", range(3), strict=True):
        reply = client.get(f"{where}/pictures?ids=1,0&axis={axis}&side=12&mean=1")
        found = np.frombuffer(reply.body, np.uint8).reshape(2, 12, 12)
        for picture, place in zip(found, PLACES[::-1], strict=True):
            start = np.rint(place).astype(int) + 8 - 6
            box = [slice(s, s + 12) for s in start]
            box[across] = slice(start[across] + 6, start[across] + 7)
            assert np.abs(picture / 255 - padded[tuple(box)].squeeze(across)).max() <= 0.51 / 255
    assert len(client.get(f"{where}/pictures?ids=0&axis=own&side=12&mean=3").body) == 144
    for wrong in ("ids=0&side=161", "ids=0&side=12&mean=2", "ids=-1&side=12", "ids=0&side=12&axis=w"):
        assert client.get(f"{where}/pictures?{wrong}").status == 400


def test_a_slice_along_an_axis_of_the_particle_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    values, turn = rng.normal(size=(15, 15, 15)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found = along_axes(values, (7.2, 7, 6.9), turn, 5, 3)
    expected = np.zeros((5, 5))
    for row in range(5):
        for column in range(5):
            for layer in (-1, 0, 1):
                place = (
                    np.array([7.2, 7, 6.9]) + (column - 2) * turn[:, 0] + (row - 2) * turn[:, 1] + layer * turn[:, 2]
                )
                expected[row, column] += ndimage.map_coordinates(values, place[:, None], order=1, mode="nearest")[0] / 3
    assert np.allclose(found, expected)


def test_the_page_never_speaks_of_other_picks_and_never_leaves_the_project(client: Client, folder: Path) -> None:
    where = table(client, "TS_01__ribosome.star")
    digest = client.get(where).json["digest"]
    accept = {"operation": {"op": "accept", "ids": [0]}, "digest": digest}
    assert post(client, f"{where}/operations", accept).status == 201
    grid = client.get(f"{where}/grid?sort=weight&order=down").json
    assert [(one["id"], one["value"], one["accepted"]) for one in grid["picks"]] == [(1, 5, 0), (0, 2, 1)]
    assert [one["id"] for one in client.get(f"{where}/grid?show=accepted").json["picks"]] == [0]
    assert client.get(f"{where}/histogram?column=weight").json["counts"]["accepted"][0] == 1
    for name in ("../x.star", "a/b.star", "/tmp/x.star", "x", "", f"{HOSTILE}.star", "TS_01__ribosome.star.curation"):
        assert post(client, f"{where}/write", {"name": name, "poses": "drop"}).status == 400
    assert not (folder / "x.star").exists()
    file = folder / "picks" / "TS_01__ribosome.star"
    picks = volengine.read_picks(file)
    volengine.write_picks(file, picks[[1, 0]])  # another run
    assert "written anew" in client.get(where).json["changed"]
    for path in ("grid", f"places?tomogram={number_of(client)}", "pictures?ids=0&side=8"):
        assert client.get(f"{where}/{path}").status == 409
    assert post(client, f"{where}/operations", accept).status == 409
    assert post(client, f"{where}/carry", {"within_nm": 1}).json["found"] == 1
    assert post(client, f"{where}/operations", accept).status == 409  # the page still shows the earlier picks
    grid = client.get(f"{where}/grid?sort=weight").json
    assert [(one["id"], one["value"], one["accepted"]) for one in grid["picks"]] == [(1, 2, 1), (0, 5, 0)]
    assert picks.shape == SHAPE
