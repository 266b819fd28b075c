"""The section Tune: what its routes answer and refuse, and its flow in a real browser."""

from __future__ import annotations

import json
import shlex
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import mrcfile
import numpy as np
import pytest
from asking import Client, Reply, entered
from click.testing import CliRunner
from web_results import HOSTILE, OPTIONS, SHAPE, VOXEL, write_mrc, write_results
from web_serving import workbench

import volengine
from volengine.cli.main import cli
from volengine.tasks.run import RunRecipe
from volengine.tasks.tune.recipes import read_recipe
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.project import Project
from volengine.web.workbench.recipe import WorkbenchRecipe
from volengine.web.workbench.routes import bench_routes

BASE_RECIPE = """segment: {models: [balls.safetensors]}
pick: [{feature: balls, threshold: 0.5, spacing_nm: 3}]
"""
PEAKS = (0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with a prediction of seven balls, each as bright as its peak all over, a truth, and a recipe."""
    folder = write_results(tmp_path_factory.mktemp("tune"))
    grid = np.indices(SHAPE)
    centres = [(12, 10 + 20 * (k % 2), 6 + 11 * (k // 2)) for k in range(len(PEAKS))]
    balls = np.zeros(SHAPE, np.float32)
    for centre, peak in zip(centres, PEAKS, strict=True):
        balls[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 9] = peak
    recipe = volengine.ConvertRecipe(name="TS_01__balls", kind="probability", chunk=(16, 16, 16), shard=(32, 32, 32))
    store = folder / "predictions" / "TS_01__balls.ome.zarr"
    volengine.convert(write_mrc(folder / "raw.mrc", balls), store, recipe, OPTIONS)
    (folder / "raw.mrc").unlink()
    known = volengine.Picks(np.array(centres[4:], float), (VOXEL,) * 3, (0.0,) * 3, SHAPE, "TS_01", "balls")
    volengine.write_picks(folder / "picks" / "TS_01__balls.star", known)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "base.yaml").write_text(BASE_RECIPE)
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    bench = Bench(Project(folder, WorkbenchRecipe(user="ada")))
    app = make_app(Gate(), bench_routes(bench), page="workbench.html")
    with entered(app, **{"sec-fetch-site": "same-origin"}) as client:
        yield client
    bench.annotating.close()


def post(client: Client, path: str, value: Any) -> Reply:
    return client.ask("POST", path, {"content-type": "application/json"}, json.dumps(value).encode())


def planes(reply: Reply) -> tuple[dict[str, Any], np.ndarray]:
    (length,) = struct.unpack_from("<I", reply.body)
    head = json.loads(reply.body[4 : 4 + length])
    found = np.frombuffer(zlib.decompress(reply.body[4 + length :]), np.uint8)
    return head, found.reshape(-1, *head["shape"])


def asked(threshold: Any = 0.5, **more: Any) -> dict[str, Any]:
    pick = {"feature": "balls", "threshold": threshold, "spacing_nm": 3}
    return {"settings": {"rules": [], "pick": [pick]}, "roi": "0:24,0:40,0:48", "z": 12} | more


def test_routes_answer_and_refuse(client: Client, folder: Path) -> None:
    number = client.get("/api/project").json["tomograms"].index("TS_01")
    at = f"/api/tomograms/{number}/tune"
    facts = client.get(at).json
    assert [one["name"] for one in facts["features"]] == ["balls", "ribosome"]
    assert facts["region"] == [[0, 0, 0], list(SHAPE)]
    assert facts["recipes"] == ["base"]
    key = next(one["key"] for one in facts["truth"] if "balls" in one["name"])
    truth = {"feature": "balls", "key": key, "radius_nm": 1}
    balls = volengine.open_volume(folder / "predictions" / "TS_01__balls.ome.zarr").read()
    for level in (0.3, 0.5, 0.8):
        head, (plane,) = planes(post(client, at, asked(level, truth=truth)))
        (found,) = head["features"]
        expected = [peak for peak in PEAKS if peak > level]
        assert found["picks"] == len(expected) == post(client, f"{at}/count", asked(level)).json["balls"]["picks"]
        right = sum(peak in PEAKS[4:] for peak in expected)
        assert found["score"]["precision"] == right / len(expected)
        assert found["score"]["recall"] == right / 3
        assert sum(found["sizes"]["kept"]) == len(expected)
        assert np.array_equal(plane, balls[12] > level)
    rule = {"interact": {"child": "balls", "parent": "ribosome", "kind": "avoid", "radius_nm": 7, "shape": "3d"}}
    settings = {"rules": [rule], "pick": [{"feature": "balls", "threshold": 0.4}]}
    head, (plane,) = planes(post(client, at, asked(settings=settings)))
    assert np.array_equal(plane > 0, balls[12] > 0.4)
    assert set(np.unique(plane)) == {0, 1, 2}
    assert head["commands"][0] == f"cd {folder}"
    assert head["commands"][3].startswith("volengine interact /")
    refused = post(client, at, asked(7))
    assert refused.status == 400
    assert refused.json["refused"] == {"part": "pick", "number": 0, "field": "threshold"}
    for wrong in ({}, [], asked(roi="0:99,:,:"), asked(roi=""), asked(truth={**truth, "radius_nm": -1})):
        assert post(client, at, wrong).status == 400
    assert post(client, at, asked(truth={**truth, "key": "../x"})).status == 404
    for name in ("../base", "a/../../x", "", 3):
        assert post(client, f"{at}/recipe", asked(name=name, base="base")).status == 400
    assert post(client, f"{at}/recipe", asked(name="new")).status == 400  # nothing says which models
    assert client.get("/api/tune/recipes/none").status == 404
    (folder / "recipes" / "out.yaml").symlink_to(folder.parent / "out.yaml")
    assert client.get("/api/tune/recipes/out").status == 400
    (folder / "recipes" / "out.yaml").unlink()
    saved = post(client, f"{at}/recipe", asked(0.6, name="new", base="base", part=True))
    assert saved.status == 200
    there, run, sweep = map(shlex.split, saved.json["commands"])
    assert there == ["cd", str(folder)]
    assert run[:3] == ["volengine", "run", "recipes/new.yaml"]
    assert Path(run[3]).exists()
    assert sweep[:4] == ["volengine", "sweep", "recipes/new.yaml", "predictions"]
    assert post(client, f"{at}/recipe", asked(name="new", base="base")).status == 400
    recipe = read_recipe(folder / "recipes", "new")
    assert recipe.segment == RunRecipe.from_json({"segment": {"models": ["balls.safetensors"]}}).segment
    assert (recipe.pick[0].threshold, recipe.pick[0].roi) == (0.6, "0:24,0:40,0:48")
    assert client.get("/api/tune/recipes/new").json["roi"] == "0:24,0:40,0:48"
    (folder / "recipes" / "new.yaml").unlink()


def test_a_prediction_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    write_mrc(tmp_path / "TS_01.mrc", np.zeros(SHAPE, np.float32))
    store = tmp_path / "predictions" / "TS_01__balls.ome.zarr"
    recipe = volengine.ConvertRecipe(name="TS_01__balls", kind="probability", chunk=(16, 16, 16), shard=(32, 32, 32))
    bench = Bench(Project(tmp_path, WorkbenchRecipe(user="ada")))
    with entered(
        make_app(Gate(), bench_routes(bench), page="workbench.html"), **{"sec-fetch-site": "same-origin"}
    ) as one:
        for count in (1, 3):  # as a run with another model writes it
            shutil.rmtree(store, ignore_errors=True)
            balls = np.zeros(SHAPE, np.float32)
            for at in range(count):
                balls[8:12, 8:12, 4 + 10 * at : 8 + 10 * at] = 0.9
            write_mrc(tmp_path / "raw__balls.mrc", balls)
            volengine.convert(tmp_path / "raw__balls.mrc", store, recipe, OPTIONS)
            (tmp_path / "raw__balls.mrc").unlink()
            assert one.get("/api/tomograms/0").status == 200  # so the page begins
            assert planes(post(one, "/api/tomograms/0/tune", asked()))[0]["features"][0]["picks"] == count
    bench.annotating.close()


def test_what_is_offered_for_voxels_that_are_no_cubes_works(tmp_path: Path) -> None:
    """The command and the recipe write a table that such voxels can be in, and why is said."""
    balls = np.zeros(SHAPE, np.float32)
    balls[8:12, 8:12, 4:8] = 0.9
    for name, kind in (("tomograms/TS_01", "intensity"), ("predictions/TS_01__balls", "probability")):
        with mrcfile.new(tmp_path / "raw.mrc", overwrite=True) as file:
            file.set_data(balls)
            file.voxel_size = (10.0, 10.0, 20.0)
        recipe = volengine.ConvertRecipe(name=Path(name).name, kind=kind, chunk=(16, 16, 16), shard=(32, 32, 32))
        volengine.convert(tmp_path / "raw.mrc", tmp_path / f"{name}.ome.zarr", recipe, OPTIONS)
    (tmp_path / "raw.mrc").unlink()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "base.yaml").write_text(BASE_RECIPE)
    bench = Bench(Project(tmp_path, WorkbenchRecipe(user="ada")))
    app = make_app(Gate(), bench_routes(bench), page="workbench.html")
    with entered(app, **{"sec-fetch-site": "same-origin"}) as one:
        head, _ = planes(post(one, "/api/tomograms/0/tune", asked()))
        saved = post(one, "/api/tomograms/0/tune/recipe", asked(name="new", base="base")).json
    bench.annotating.close()
    assert [text for text in head["why"] if "20 x 10 x 10" in text]
    assert saved["why"] == head["why"]
    (step,) = read_recipe(tmp_path / "recipes", "new").pick
    assert step.format == "csv"
    words = shlex.split(head["commands"][-1])
    words[words.index("--out") + 1] = str(tmp_path / "tuned")
    done = CliRunner().invoke(cli, words[1:])
    assert done.exit_code == 0, done.output
    (table,) = (tmp_path / "tuned").glob("*.csv")
    assert len(volengine.read_picks(table)) == 1


def test_plain_files_in_the_folders_of_results_are_taken(tmp_path: Path) -> None:
    """Tomograms that lie in ``tomograms`` alone, and a prediction that another program has written."""
    balls = np.zeros(SHAPE, np.float32)
    balls[8:12, 8:12, 4:8] = 0.9
    (tmp_path / "tomograms").mkdir()
    for name in ("TS_01.mrc", "TS_02.mrc"):
        write_mrc(tmp_path / "tomograms" / name, np.zeros(SHAPE, np.float32))
    alone = Project(tmp_path, WorkbenchRecipe(user="ada"))
    assert [one.name for one in alone.tomograms] == ["TS_01", "TS_02"]
    assert alone.source(1) == str(tmp_path / "tomograms" / "TS_02.mrc")
    (tmp_path / "predictions").mkdir()
    write_mrc(tmp_path / "predictions" / "TS_01__balls.mrc", balls)
    write_mrc(tmp_path / "predictions" / "TS_01__wide.mrc", balls * 10)
    bench = Bench(Project(tmp_path, WorkbenchRecipe(user="ada")))
    assert len(bench.project) == 2
    app = make_app(Gate(), bench_routes(bench), page="workbench.html")
    with entered(app, **{"sec-fetch-site": "same-origin"}) as one:
        assert [each["name"] for each in one.get("/api/tomograms/0/tune").json["features"]] == ["balls", "wide"]
        head, (plane,) = planes(post(one, "/api/tomograms/0/tune", asked(z=10)))
        wide = {"rules": [], "pick": [{"feature": "wide", "threshold": 0.5}]}
        refused = post(one, "/api/tomograms/0/tune", asked(settings=wide))
    bench.annotating.close()
    assert head["features"][0]["picks"] == 1
    assert np.array_equal(plane, balls[10] > 0.5)
    assert refused.status == 400
    assert "TS_01__wide" in refused.json["error"]
    assert "--scale" in refused.json["error"] or "probabilit" in refused.json["error"]


@pytest.fixture
def link(folder: Path) -> Iterator[str]:
    with workbench(folder) as link:
        yield link


def test_tuned_in_a_browser_and_picked_by_the_verb(browser: Any, link: str, folder: Path, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    wrong: list[str] = []
    where: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: where.append(request.url))
    page.set_default_timeout(120_000)
    ready = "body[data-tune=ready]"
    try:
        page.goto(link)
        page.wait_for_selector("body[data-facts=all]")
        page.get_by_role("button", name="TS_01", exact=True).click()
        page.get_by_role("button", name="Tune", exact=True).click()
        page.wait_for_selector(ready)
        page.wait_for_selector("#tuneCount:text-is('5')")
        page.fill("#tuneRecipe", "base")
        page.get_by_role("button", name="Load", exact=True).click()
        page.wait_for_selector("#tuneSaved:has-text('Loaded')")
        slider = page.locator("#tune-threshold-slide")
        slider.focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        page.wait_for_selector("#tuneCount:text-is('3')")
        assert page.input_value("#tune-threshold") == "0.7"
        page.fill("#tune-threshold", "7")
        page.wait_for_selector("#tune-threshold-fault:has-text('probability')")
        page.fill("#tune-threshold", "1e999")  # JSON has no such number; it is not taken as "not given"
        page.wait_for_selector("#tune-threshold-fault:has-text('must be a number')")
        page.fill("#tune-threshold", "0.7")
        page.wait_for_selector("#tuneCount:text-is('3')")
        page.fill("#tune-y0", "30")
        page.keyboard.press("Tab")
        page.wait_for_selector("#tuneCount:text-is('1')")
        page.reload()  # what was set is still there
        page.wait_for_selector("#tuneCount:text-is('1')")
        assert (page.input_value("#tune-threshold"), page.input_value("#tune-y0")) == ("0.7", "30")
        page.fill("#tune-y0", "")  # an empty field is not 0
        page.keyboard.press("Tab")
        page.wait_for_selector("#message.wrong:has-text('along y')")
        page.fill("#tune-y0", "0")
        page.keyboard.press("Tab")
        page.wait_for_selector("#tuneCount:text-is('3')")
        page.get_by_role("button", name="Draw the curve").click()
        page.wait_for_selector("#tuneCurve circle:nth-of-type(19)")
        page.fill("#tuneRecipe", "mine")
        page.get_by_role("button", name="Save recipe").click()
        page.wait_for_selector("#tuneSaved:has-text('Saved, with')")
        assert "volengine run recipes/mine.yaml" in page.inner_text("#tuneCommand")
        damaged = folder / "predictions" / f"{HOSTILE}__rod.ome.zarr"
        damaged.mkdir()
        (damaged / "zarr.json").write_text("{")
        page.goto(f"{link.partition('?')[0]}#tune={quote(HOSTILE)}")
        page.wait_for_selector("#tuneEmpty:has-text('no prediction')")
        page.wait_for_selector("#tuneEmpty:has-text('__rod.ome.zarr')")  # there is one, and why it is not shown
        assert page.title() != "1"
    finally:
        page.close()
    assert wrong == []
    assert all(urlsplit(one)[:2] == urlsplit(link)[:2] for one in where)
    (one,) = read_recipe(folder / "recipes", "mine").pick
    assert one.threshold == 0.7
    store = folder / "predictions" / "TS_01__balls.ome.zarr"
    assert len(volengine.pick(store, tmp_path / "picks.csv", one.with_(labels=False), OPTIONS)) == 3
