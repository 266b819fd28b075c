"""Teaching by the workbench's routes: models, what they answer on a slice, and what a training is started with."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from asking import Client, Reply, entered
from click.testing import CliRunner
from threshold_net import save_threshold_model
from web_results import HOSTILE, OPTIONS, SHAPE, write_mrc, write_results

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.core.yaml_recipes import read_yaml
from volengine.tasks.train.sources import open_sources
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.jobs import Job
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


def test_models_are_scored_on_the_boxes_of_now(
    client: Client, bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/api/scores").json == {"job": None, "of": None, "rows": []}
    job = post(client, "/api/scores", {}).json["number"]
    assert ended(bench, job) == "done", bench.jobs.job(job).log_tail()
    found = client.get("/api/scores").json
    table = volengine.score_models(folder / "annotations", folder / "models" / "bright.safetensors")
    (wanted,) = table.rows  # of the feature of another model nothing is drawn
    (row,) = found["rows"]
    assert {name: row[name] for name in ("feature", "boxes", "dice")} == {
        name: str(wanted[name]) for name in ("feature", "boxes", "dice")
    }
    assert (row["model"], row["new_boxes"]) == ("models/bright.safetensors", "")
    assert "not known" in found["of"]["said"][0]
    cd, command = found["job"]["command"].splitlines()
    assert shlex.split(cd) == ["cd", str(folder)]
    monkeypatch.chdir(folder)
    told = CliRunner().invoke(cli, shlex.split(command)[1:], catch_exceptions=False)
    assert f"{wanted['dice']:.4f}" in told.stdout


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
    assert (plain.network, plain.patch) == ("unet3d", (16, 32, 32))  # the tomograms have 24 slices


def test_the_commands_of_a_training_work_in_the_project(
    bench: Bench, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = bench.teaching._recipe(folder / "training" / "a b", ["membrane"], {"network": "unet2d"})
    job = Job(1, "train", "Train", tmp_path, "done", facts={"model": "a b", "features": ["membrane"]})
    told = bench.teaching._told(job)["commands"]
    train, export = ([shlex.split(line) for line in text.splitlines()] for text in told)
    assert train[0] == export[0] == ["cd", str(folder)]
    monkeypatch.chdir(folder)
    program, verb, file, option, out = train[1]
    assert (program, verb, option, out) == ("volengine", "train", "--out", "models/a b.safetensors")
    assert volengine.TrainRecipe.from_json(read_yaml(file)) == recipe
    assert export[1][:4] == ["volengine", "annotate", "export", "annotations/*.annotations"]
    places = sorted(map(str, Path("annotations").glob("*.annotations")))
    kept = Path(file).read_bytes()
    done = CliRunner().invoke(cli, ["annotate", "export", *places, *export[1][4:]])
    assert done.exit_code == 0, done.output
    assert Path(file).read_bytes() == kept  # the export lies beside it
    shutil.rmtree(folder / "training")


def small(folder: Path, shape: tuple[int, int, int]) -> Bench:
    """A project of one small tomogram, of which four whole slices are annotated."""
    source = write_mrc(folder / "TS_01.mrc", np.random.default_rng(0).normal(size=shape).astype(np.float32))
    (folder / "annotations").mkdir()
    with volengine.new_annotations(source, folder / "annotations" / "TS_01.annotations", ("core",)) as made:
        made.do({"op": "brush", "feature": "core", "slice": 2, "points": [[20, 20]], "radius": 4})
        for z in range(4):
            made.do({"op": "box", "feature": "core", "box": f"{z}:{z + 1},0:{shape[1]},0:{shape[2]}"})
    return Bench(Project(folder))


@pytest.mark.parametrize(("network", "patch"), [("", (1, 40, 40)), ("unet2d", (1, 40, 40)), ("unet3d", (8, 32, 32))])
def test_the_patch_of_a_training_fits_small_tomograms(network: str, patch: Any, tmp_path: Path) -> None:
    bench = small(tmp_path, (12, 80, 40))
    recipe = bench.teaching._recipe(tmp_path / "new", ["core"], {"network": network})
    assert recipe == volengine.TrainRecipe.from_json(read_yaml(tmp_path / "new" / "recipe.yaml"))
    assert recipe.patch == patch  # two lie side by side in 80 rows: one is for validation
    (source,) = open_sources(recipe.samples, recipe.rules())  # as train, which refuses what does not fit
    assert len(source.validation())
    bench.annotating.close()


def test_tomograms_that_are_too_small_are_refused_at_once(tmp_path: Path) -> None:
    bench = small(tmp_path, (12, 40, 24))
    with pytest.raises(InputError, match="Patches of 1 x 32 x 32 voxels do not fit: take larger tomograms"):
        bench.teaching.start({"name": "new", "features": ["core"]})
    assert not (tmp_path / "training" / "new").exists()
    assert not bench.jobs.every()
    bench.annotating.close()


# -- where next --------------------------------------------------------------------------------------------------------

DEPTH, SIDE = 4, 8


@pytest.fixture(scope="module")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two tomograms with predictions of which a part is unsure, and those of a model for the first one."""
    folder = tmp_path_factory.mktemp("unsure")
    for name in ("models", "answers/bright", "predictions"):
        (folder / name).mkdir(parents=True)
    save_threshold_model(folder / "models" / "bright.safetensors", "core", **FACTS)
    for number in (1, 2):
        write_mrc(folder / f"TS_0{number}.mrc", np.random.default_rng(number).normal(size=(21, 37, 50)).astype("f4"))
        for place, at in (("predictions", 10), ("answers/bright", 20)):
            values = np.zeros((21, 37, 50), np.uint8)
            values[9:11, at : at + 8, 12 * number : 12 * number + 9] = 128
            raw = write_mrc(folder / "raw.mrc", values.astype(np.float32) / 255)
            recipe = volengine.ConvertRecipe(name=f"TS_0{number}__core", kind="probability", levels=1)
            if number == 1 or place == "predictions":
                volengine.convert(raw, folder / place / f"TS_0{number}__core.ome.zarr", recipe, OPTIONS)
            raw.unlink()
    return folder


def ended(bench: Bench, number: int) -> str:
    end = time.monotonic() + 300
    while bench.jobs.job(number).going:
        assert time.monotonic() < end
        time.sleep(0.2)
    return bench.jobs.job(number).state


def test_where_next_is_what_annotate_suggest_finds(unsure: Path, tmp_path: Path) -> None:
    bench = Bench(Project(unsure))
    with entered(
        make_app(Gate(), bench_routes(bench), page="workbench.html"), **{"sec-fetch-site": "same-origin"}
    ) as client:
        facts = client.get("/api/suggestions").json
        assert {one["key"]: one["features"] for one in facts["sources"]} == {
            "": {"core": 2},
            "bright.safetensors": {"core": 1},
        }
        for given, said in (
            ({"source": "", "feature": "actin"}, "no prediction of actin"),
            ({"source": "../x", "feature": "core"}, "no model"),
            ({"source": "", "feature": "core", "other": ""}, "two different"),
            ({"source": "", "feature": "core", "side": 0}, "--patch must be positive"),
            ({"source": "", "feature": "core", "count": 10**6}, "at most 1000"),
            ({"source": "", "feature": "core", "out": "/tmp"}, "has no 'out'"),
        ):
            reply = post(client, "/api/suggestions", given)
            assert said in reply.json["error"]
        assert not (unsure / "jobs").exists()
        asked = {"source": "", "feature": "core", "depth": DEPTH, "side": SIDE, "count": 7}
        job = post(client, "/api/suggestions", asked).json["number"]
        assert ended(bench, job) == "done", bench.jobs.job(job).log_tail()
        recipe = volengine.SuggestRecipe(feature="core", patch=(DEPTH, SIDE, SIDE), count=7)
        expected = sorted(
            (int(rank), one.tomogram, *(int(v) for v in place))
            for one in volengine.suggest(unsure / "predictions", tmp_path / "next", recipe, OPTIONS)
            for rank, place in zip(one.extra["rank"], one.position_vox, strict=True)
        )
        half = SIDE // 2
        patches = client.get("/api/suggestions").json["patches"]
        assert [
            (one["rank"], one["tomogram"], one["slice"], one["box"][1] + half, one["box"][2] + half) for one in patches
        ] == expected
        assert [one["done"] for one in patches] == [False] * len(expected)
        # a picture is what lies in the box that is proposed
        first = patches[0]
        values = volengine.open_volume(unsure / f"{first['tomogram']}.mrc").read()
        low, high = bench.slices.contrast(bench.project.base(first["number"]))
        z, y, x = first["box"][:3]
        own = values[z, y : y + SIDE, x : x + SIDE].astype(float)
        reply = client.get(f"/api/suggestions/{job}/pictures?ranks={first['rank']},99")
        pictures = np.frombuffer(reply.body, np.uint8).reshape(2, SIDE, SIDE)
        assert np.abs(pictures[0] - np.clip((own - low) / (high - low), 0, 1) * 255).max() <= 1
        assert not pictures[1].any()
        # a box anywhere in the patch, also in another slice, ticks it; its neighbour along z stays
        start = 21 % DEPTH // 2 + (z - 21 % DEPTH // 2) // DEPTH * DEPTH
        other = next(at for at in range(start, start + DEPTH) if at != z)
        bench.annotating.do(first["number"], {"op": "feature", "feature": "core"}, "ada")
        bench.annotating.do(
            first["number"],
            {"op": "box", "feature": "core", "slice": other, "centre": [y + half, x + half], "side": 2},
            "ada",
        )
        again = client.get("/api/suggestions").json["patches"]
        assert [one["rank"] for one in again if one["done"]] == [first["rank"]]
        # two models: the second one says nothing of TS_02
        job = post(client, "/api/suggestions", {**asked, "source": "bright.safetensors", "other": ""}).json["number"]
        assert ended(bench, job) == "failed"
        assert "TS_02: there is no other prediction" in bench.jobs.job(job).log_tail()
        assert client.get(f"/api/suggestions/{job + 7}/pictures?ranks=1").status == 404
    bench.annotating.close()
