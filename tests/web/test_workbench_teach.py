"""Teaching by the workbench's routes: models, what they answer on a slice, and what a training is started with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from asking import Client, Reply, entered
from threshold_net import save_threshold_model
from web_results import HOSTILE, OPTIONS, SHAPE, write_results

import volengine
from volengine.core.yaml_recipes import read_yaml
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe
from volengine.web.workbench.routes import bench_routes

FACTS = {"patch": (8, 32, 32), "overlap": 0.5, "window": "hann", "normalisation": "volume"}
"""Of a model whose answer needs slices around, blending, and the whole tomogram."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_results(tmp_path_factory.mktemp("taught"))
    (made / "models").mkdir()
    save_threshold_model(made / "models" / "bright.safetensors", "membrane", **FACTS)
    save_threshold_model(made / "models" / f"{HOSTILE}.safetensors", HOSTILE, voxel_size=(14, 14, 14))
    (made / "models" / "torn.safetensors").write_bytes(b"\0" * 100)
    (made / "models" / "bright.safetensors.training").mkdir()
    (made / "models" / "elsewhere.safetensors").symlink_to(made / "models" / "bright.safetensors")
    return made


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    made = Bench(Project(folder, WorkbenchRecipe(user="ada")))
    for number, (feature, boxes) in enumerate((("membrane", 1), ("membrane", 2))):
        made.annotating.do(number, {"op": "feature", "feature": feature}, "ada")
        for z in range(boxes):
            stroke = {"op": "brush", "feature": feature, "slice": 4 + z, "points": [[20, 20]], "radius": 4}
            for operation in (
                stroke,
                {"op": "box", "feature": feature, "slice": 4 + z, "centre": [20, 20], "side": 32},
            ):
                made.annotating.do(number, operation, "ada")
    made.annotating.do(0, {"op": "feature", "feature": "actin"}, "ada")
    yield made
    made.annotating.close()


@pytest.fixture(scope="module")
def client(bench: Bench) -> Iterator[Client]:
    with entered(
        make_app(Gate(), bench_routes(bench), page="workbench.html"), **{"sec-fetch-site": "same-origin"}
    ) as made:
        yield made


def post(client: Client, path: str, value: Any) -> Reply:
    return client.ask("POST", path, {"content-type": "application/json"}, json.dumps(value).encode())


def answer(client: Client, number: int, **query: Any) -> Reply:
    return client.get(f"/api/tomograms/{number}/answer?" + "&".join(f"{k}={quote(str(v))}" for k, v in query.items()))


def test_models_are_files_of_the_project_alone(client: Client) -> None:
    found = {one["name"]: one for one in client.get("/api/teach/models").json}
    assert set(found) == {"bright.safetensors", f"{HOSTILE}.safetensors", "torn.safetensors"}
    assert [one["name"] for one in found["bright.safetensors"]["features"]] == ["membrane"]
    assert found["bright.safetensors"]["voxel_size"] == [10, 10, 10]
    assert "cut off" in found["torn.safetensors"]["wrong"]
    for name in ("elsewhere.safetensors", "../tomograms/TS_01.ome.zarr", "", "bright.safetensors.training"):
        assert answer(client, 0, model=name, feature="membrane", index=3).status == 404


def test_an_answer_has_the_numbers_of_segment(client: Client, folder: Path, tmp_path: Path) -> None:
    source = folder / "tomograms" / "TS_01.ome.zarr"
    number = client.get("/api/project").json["tomograms"].index("TS_01")
    recipe = volengine.SegmentRecipe(models=(str(folder / "models" / "bright.safetensors"),))
    whole = volengine.segment(source, tmp_path / "out", recipe, OPTIONS)["membrane"].read()
    assert whole.max() > whole.min()
    for axis, index in (("z", 10), ("y", 17), ("x", 33)):
        reply = answer(client, number, model="bright.safetensors", feature="membrane", axis=axis, index=index)
        expected = np.take(whole, index, "zyx".index(axis))
        assert np.array_equal(np.frombuffer(reply.body, "<u2").reshape(expected.shape), expected * np.uint16(257))
    command = unquote(reply.headers["x-command"])
    assert command.startswith(f"volengine segment {source} --models {folder}/models/bright.safetensors --roi ")
    assert answer(client, number, model="bright.safetensors", feature="core", index=3).status == 404
    assert answer(client, number, model="bright.safetensors", feature="membrane", index=SHAPE[0]).status == 400


def test_another_voxel_size_is_refused_until_it_is_said_what_to_do(client: Client) -> None:
    asked = {"model": f"{HOSTILE}.safetensors", "feature": HOSTILE, "index": 3}
    reply = answer(client, 0, **asked)
    assert reply.status == 400
    assert "14 angstrom" in reply.json["error"]
    replies = {sizes: answer(client, 0, **asked, sizes=sizes) for sizes in ("any", "isotropic")}
    assert {one.status for one in replies.values()} == {200}
    assert "--match isotropic" in unquote(replies["isotropic"].headers["x-command"])
    assert replies["any"].body != replies["isotropic"].body
    assert answer(client, 0, **asked, sizes="--help").status == 400


def test_what_can_be_trained_is_what_has_boxes(client: Client) -> None:
    facts = client.get("/api/teach").json
    assert [(one["name"], one["boxes"], one["tomograms"]) for one in facts["features"]] == [("membrane", 3, 2)]
    assert {"unet", "unet2d", "unet3d"} <= set(facts["networks"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "../out"}, "no name of a model"),
        ({"name": "bright"}, "give another name"),
        ({"features": []}, "Choose one or more"),
        ({"features": ["actin"]}, "No tomogram has a training box of actin"),
        ({"network": "mine.py:Net"}, "is no network of volengine"),
        ({"network": "unet", "epochs": 0}, "--epochs must be 1 or more"),
        ({"epochs": "many"}, "epochs"),
        ({"samples": []}, "has no 'samples'"),
        ({"start": "torn.safetensors"}, "cut off"),
        ({"start": "nobody.safetensors"}, "There is no model"),
    ],
)
def test_what_a_training_refuses_leaves_nothing(client: Client, folder: Path, given: Any, said: str) -> None:
    reply = post(client, "/api/trainings", {"name": "new-1", "features": ["membrane"], **given})
    assert reply.status in (400, 404)
    assert said in reply.json["error"]
    assert not (folder / "training" / "new-1").exists()
    assert client.get("/api/trainings").json == []


def test_the_recipe_of_a_training_is_what_was_asked_for(bench: Bench, folder: Path, tmp_path: Path) -> None:
    given = {"name": "new-2", "features": ["membrane"], "start": "bright.safetensors", "epochs": 3, "steps": 2}
    recipe = bench.teaching._recipe(tmp_path / "new-2", ["membrane"], given)
    assert recipe == volengine.TrainRecipe.from_json(read_yaml(tmp_path / "new-2" / "recipe.yaml"))
    assert (recipe.network, recipe.patch, recipe.epochs, recipe.steps) == ("unet3d", (8, 32, 32), 3, 2)
    assert recipe.start == str(folder / "models" / "bright.safetensors")
    assert [(len(sample.labels), sample.box_vox) for sample in recipe.samples] == [(1, 32), (1, 32)]
    plain = bench.teaching._recipe(tmp_path / "new-3", ["membrane"], {"network": "unet3d"})
    assert (plain.network, plain.patch) == ("unet3d", (32, 32, 32))
