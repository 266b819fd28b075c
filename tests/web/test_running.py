"""Runs that are started in the page: what is refused and starts nothing, and what is read."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Client, Reply, entered
from web_results import write_mrc

from volengine.engine.driver_lock import only_driver
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe
from volengine.web.workbench.routes import bench_routes

RECIPE = """\
convert: {chunk: [16, 16, 16], shard: [32, 32, 32], levels: 1}
segment: {models: [models/ball.safetensors], patch: [16, 32, 32]}
pick:
- {feature: ball, threshold: 0.5}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[tuple[Bench, Client]]:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("TS_01", "TS_02"):
        write_mrc(project / f"{name}.mrc", np.zeros((4, 8, 8), np.float32))
    bench = Bench(Project(project, WorkbenchRecipe(user="ada")))
    app = make_app(Gate(), bench_routes(bench), page="workbench.html")
    with entered(app, **{"sec-fetch-site": "same-origin"}) as client:
        yield bench, client
    bench.annotating.close()


def post(client: Client, path: str, value: Any) -> Reply:
    return client.ask("POST", path, {"content-type": "application/json"}, json.dumps(value).encode())


def keep(client: Client, text: str, name: str = "mine", **more: Any) -> Reply:
    return post(client, "/api/runs/recipes", {"name": name, "text": text, **more})


def test_a_recipe_is_kept_if_it_is_one_of_the_project(bench: tuple[Bench, Client], tmp_path: Path) -> None:
    made, client = bench
    folder = made.project.folder / "recipes"
    (made.project.folder / "led.safetensors").symlink_to(tmp_path / "elsewhere")
    for text, why in (
        ("", "YAML"),
        ("- a", "names and values"),
        ("a: [", "no valid YAML"),
        ("pick: [{feature: a}]", "segment step"),
        ("segment: {models: [a], threshold: 1}", "threshold"),
        ("segment: {models: [/etc/passwd]}", "beyond the project"),
        ("segment: {models: [../m.safetensors]}", "beyond the project"),
        ("segment: {models: [~/m.safetensors]}", "beyond the project"),
        ("segment: {models: ['https://example.org/m']}", "beyond the project"),
        ("segment: {models: [led.safetensors]}", "beyond the project"),
        ("segment: {models: [a], network_files: ['x.py:Net']}", "runs code"),
    ):
        reply = keep(client, text)
        assert (reply.status, why in reply.json["error"]) == (400, True), (text, reply.json)
    assert keep(client, RECIPE, "../x").status == 400
    assert not folder.exists()
    assert keep(client, RECIPE).json["steps"] == ["segment", "pick ball"]
    assert (folder / "mine.yaml").read_text() == RECIPE
    assert "there is a recipe" in keep(client, RECIPE).json["error"]
    assert keep(client, "segment: {models: [cytoplasm]}", replace=True).status == 201
    (folder / "bad.yaml").write_text("segment: 1")
    (folder / "secret.yaml").symlink_to("/etc/passwd")
    found = {one["name"]: one for one in client.get("/api/runs").json["recipes"]}
    assert sorted(found) == ["bad", "mine"]
    assert "error" in found["bad"]
    for name in ("secret", "../recipes/mine", "gone"):
        assert client.get(f"/api/runs/recipes?name={name}").status == 404


def test_names_of_a_recipe_are_checked_when_it_is_kept(bench: tuple[Bench, Client]) -> None:
    _, client = bench
    step = "{feature: ribosome, threshold: 0.5}"
    assert keep(client, f"segment: {{models: [cytoplasm]}}\npick: [{step}]").status == 201
    for model, feature, why in (
        ("cytoplasma", "ribosome", "Did you mean 'cytoplasm'?"),
        ("cytoplasm", "ribosom", "Did you mean 'ribosome'?"),
        ("cytoplasm", "zzz", "the models predict actin"),
    ):
        refused = keep(client, f"segment: {{models: [{model}]}}\npick: [{{feature: {feature}, threshold: 0.5}}]", "b")
        assert (refused.status, why in refused.json["error"]) == (400, True), refused.json
    rule = "{interact: {child: ribosome, parent: membran, kind: avoid, radius_nm: 5}}"
    refused = keep(client, f"segment: {{models: [cytoplasm]}}\ninteract: {{rules: [{rule}]}}\npick: [{step}]", "b")
    assert (refused.status, "Did you mean 'membrane'?" in refused.json["error"]) == (400, True), refused.json


def test_a_full_disk_is_said_in_words_of_a_page(bench: tuple[Bench, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "recipes/mine.yaml")

    monkeypatch.setattr(bench[0].running, "keep_recipe", full)
    said = keep(bench[1], RECIPE).json["error"]
    assert "No space left" in said
    assert "do it again here" in said
    assert "command" not in said


def test_what_cannot_be_run_is_refused_and_starts_nothing(bench: tuple[Bench, Client]) -> None:
    made, client = bench
    project = made.project.folder
    keep(client, RECIPE)
    keep(client, "convert: {}", "nothing")
    (project / "lists").mkdir()
    (project / "lists" / "others.txt").write_text("/data/TS_09.mrc\n")
    (project / "lists" / "torn.txt").write_bytes(b"\xff\n")
    assert client.get("/api/runs").json["unread"] == [
        f"{project}/lists/torn.txt: cannot be read as a list (is no text in UTF-8)."
    ]
    good = {"recipe": "mine", "tomograms": "all"}
    for change, why in (
        ({"recipe": "gone"}, "no recipe"),
        ({"recipe": ["mine"]}, "no recipe"),
        ({"recipe": "nothing"}, "no steps"),
        ({"tomograms": {"list": "gone"}}, "no list"),
        ({"tomograms": {"list": "others"}}, "not in the project"),
        ({"tomograms": []}, "Nothing is selected"),
        ({"tomograms": [7]}, "no number 7"),
        ({"tomograms": "/etc"}, "numbers"),
        ({"workers": -1}, "workers"),
        ({"workers": "2; rm"}, "workers"),
        ({"cluster": "/tmp/x.yaml"}, "cluster"),
        ({"cluster": ["slurm"]}, "cluster"),
    ):
        reply = post(client, "/api/runs", {**good, **change})
        assert reply.status in (400, 404), (change, reply.json)
        assert why in reply.json["error"]
    (project / "run").mkdir()
    with only_driver(project / "run", None):
        assert "another driver works" in post(client, "/api/runs", good).json["error"]
    assert client.get("/api/jobs").json == {"jobs": [], "count": 0}
    assert client.get("/api/jobs?watched=3").status == 404
    assert post(client, "/api/jobs/3/stop", {}).status == 404
    assert post(client, "/api/jobs/3/again", {}).status == 404


def test_tomograms_keep_numbers_and_files_while_results_come(bench: tuple[Bench, Client]) -> None:
    made, client = bench
    project = made.project.folder
    (project / "tomograms").mkdir()
    (project / "tomograms" / "TS_02.ome.zarr").mkdir()  # being written by a run
    (project / "picks").mkdir()
    write_mrc(project / "TS_00.mrc", np.zeros((4, 8, 8), np.float32))
    assert client.get("/api/project").json["tomograms"] == ["TS_01", "TS_02", "TS_00"]
    assert made.project.source(1) == os.path.join(project, "TS_02.mrc")
    assert made.project.base(1).shape == (4, 8, 8)
    assert [thing.folder for thing in made.project.tomogram(1).things] == ["tomograms", ""]
    fresh = Project(project)
    assert [one.name for one in fresh.tomograms] == ["TS_00", "TS_01", "TS_02"]
