"""A copick project on the page: its runs, picks and segmentations are shown, and nothing is written into it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from asking import entered
from copick_projects import make_project, write_config

from volengine.core.errors import InputError, MissingError
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.view.find import find
from volengine.web.view.recipe import ViewRecipe
from volengine.web.view.routes import Views
from volengine.web.view.saved import SavedViews
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.project import Project
from volengine.web.workbench.routes import bench_routes


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_runs_are_tomograms(tmp_path: Path) -> None:
    config = make_project(tmp_path)
    before = files(tmp_path)
    project = Project(config)
    assert project.name == "config"
    assert [one.name for one in project.tomograms] == ["TS_1", "TS_2"]
    first = project.base(0)
    assert np.array_equal(np.asarray(first[...]), np.arange(12 * 16 * 20).reshape(12, 16, 20) / 2)  # denoised
    assert any("wbp at 20" in note for note in project.tomogram(0).notes)
    bench = Bench(project)
    with entered(
        make_app(Gate(), bench_routes(bench), page="workbench.html"), **{"sec-fetch-site": "same-origin"}
    ) as it:
        facts = it.get("/api/facts?start=0&count=2").json
        assert [one["picks"] for one in facts] == [{"ribosome": 2}, {"ribosome": 1}]
        stroke = {"op": "brush", "feature": "membrane", "slice": 4, "points": [[8, 8]], "radius": 2}
        for operation in ({"op": "feature", "feature": "membrane"}, stroke):
            body = json.dumps({"operation": operation, "user": "ada"}).encode()
            assert (
                it.ask("POST", "/api/tomograms/0/operations", {"content-type": "application/json"}, body).status == 201
            )
        assert bench.annotating.labels(0, "z", 4)
    bench.annotating.close()
    assert (tmp_path / "config.volengine" / "annotations" / "TS_1.annotations").is_dir()
    after = {path: data for path, data in files(tmp_path).items() if "config.volengine" not in path}
    assert after == before


def test_what_view_is_given(tmp_path: Path) -> None:
    config = make_project(tmp_path)
    first, second = find([str(config)])
    roles = [(Path(thing.path).name, thing.role) for thing in first.things]
    assert ("denoised.zarr", "volume") in roles
    assert ("10.000_bob_1_membrane.zarr", "volume") in roles
    assert ("author_7_ribosome.json", "picks") in roles
    assert [thing.role for thing in second.things] == ["volume", "picks"]
    scene = Views([first, second], ViewRecipe(), SavedViews(tmp_path / "views")).scene(0)
    kinds = {layer.name: layer.kind for layer in scene.layers}
    assert (kinds["tomogram"], kinds["ribosome picks"], kinds["membrane labels"]) == ("intensity", "picks", "labels")
    assert all("tomo=wbp" in note for note in scene.notes)


def test_projects_that_are_not_here(tmp_path: Path) -> None:
    config = make_project(tmp_path)
    other = json.loads(config.read_text()) | {"overlay_root": "s3://bucket/x"}
    config.write_text(json.dumps(other))
    with pytest.raises(InputError, match="s3://"):
        Project(config)
    (tmp_path / "none").mkdir()
    with pytest.raises(MissingError, match="tomogram"):
        Project(write_config(tmp_path / "empty.json", tmp_path / "none"))
    assert not (tmp_path / "empty.volengine").exists()
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="copick"):
        Project(tmp_path / "x.json")
