"""The section Models: what is listed, what may come in, what goes out; in a real browser once."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from asking import Client, Reply, entered
from PIL import Image
from threshold_net import save_threshold_model
from web_results import HOSTILE, write_mrc, write_results
from web_serving import watched, workbench

from volengine.core.errors import VolengineError
from volengine.io.shared_models import model_path
from volengine.nets.checkpoint import load_facts
from volengine.nets.facts_apart import facts_apart
from volengine.nets.formats.bioimage_read import read_package
from volengine.tasks.models.exchange import export_model, import_model
from volengine.web.app import make_app
from volengine.web.guard import Gate
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.project import Project
from volengine.web.workbench.routes import bench_routes

PATCH = (8, 16, 16)
SECONDS = 90_000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model, one of a hostile name with a picture, and one that is damaged."""
    folder = write_results(tmp_path_factory.mktemp("models"))
    models = folder / "models"
    models.mkdir()
    save_threshold_model(models / "ball.safetensors", HOSTILE, patch=PATCH)
    save_threshold_model(models / f"{HOSTILE.replace('/', '')}.safetensors", "rod", patch=PATCH)
    (models / "bad.safetensors").write_bytes(b"no model")
    (models / "ball.safetensors.training").mkdir()
    Image.new("RGB", (40, 20), (200, 10, 10)).save(models / "ball.safetensors.training" / "validation.png")
    outside = folder.parent / "outside.safetensors"
    save_threshold_model(outside, "secret", patch=PATCH)
    (models / "link.safetensors").symlink_to(outside)
    return folder


@pytest.fixture
def client(project: Path) -> Iterator[Client]:
    bench = Bench(Project(project))
    with entered(
        make_app(Gate(), bench_routes(bench), page="workbench.html"), **{"sec-fetch-site": "same-origin"}
    ) as it:
        yield it
    bench.annotating.close()


def upload(client: Client, name: str, data: bytes) -> Reply:
    return client.ask("POST", f"/api/models?name={quote(name)}", {"content-type": "application/octet-stream"}, data)


def names(client: Client) -> list[str]:
    return [one["name"] for one in client.get("/api/models").json["models"]]


def test_the_list(client: Client, project: Path) -> None:
    told = {one["name"]: one for one in client.get("/api/models").json["models"]}
    assert set(told) == {"ball.safetensors", f"{HOSTILE.replace('/', '')}.safetensors", "bad.safetensors"}
    assert told["ball.safetensors"]["features"] == [HOSTILE]
    assert told["ball.safetensors"]["voxel_size"] == "10 angstrom"
    assert "no .safetensors model file" in told["bad.safetensors"]["fault"]
    assert "<img" not in told["ball.safetensors"]["card"].replace(r"\<img", "")
    picture = client.get("/api/models/ball.safetensors/picture")
    assert Image.open(io.BytesIO(picture.body)).format == "WEBP"
    file = project / "models" / "ball.safetensors.training" / "validation.png"
    before = file.read_bytes()
    file.write_bytes(b"<svg onload=alert(1)>")
    assert client.get("/api/models/ball.safetensors/picture").status == 400
    file.write_bytes(before)
    for name in ("link.safetensors", "gone.safetensors", "..%2f..%2foutside.safetensors"):
        assert client.get(f"/api/models/{name}/export?format=onnx").status in (400, 404)


def test_what_comes_in_can_be_used_and_replaces_nothing(client: Client, project: Path, tmp_path: Path) -> None:
    good = save_threshold_model(tmp_path / "good.safetensors", "disc", patch=PATCH).read_bytes()
    before = (project / "models" / "ball.safetensors").read_bytes()
    assert upload(client, "ball.safetensors", good).status == 400
    assert (project / "models" / "ball.safetensors").read_bytes() == before
    for name in ("../x.safetensors", "a/b.safetensors", ".x.safetensors", "x.py", "x.h5", "", HOSTILE, "a b.onnx"):
        assert upload(client, name, good).status == 400
    for data in (b"", good[:-1], b"PK\x03\x04"):
        for ending in ("safetensors", "onnx", "scnm", "zip"):
            refused = upload(client, f"broken.{ending}", data)
            assert refused.status == 400
            assert "models/." not in refused.json["error"]  # where it lay meanwhile
    assert not [name for name in names(client) if name.startswith("broken")]
    large = b"x" * 2_100_000  # more than other routes take
    assert upload(client, "large.safetensors", large).status == 400
    assert (
        client.ask("POST", "/api/models/ball.safetensors/share", {"content-type": "application/json"}, large).status
        == 413
    )
    made = upload(client, "disc.safetensors", good)
    assert made.status == 201
    assert made.json["features"] == ["disc"]
    assert (project / "models" / "disc.safetensors").read_bytes() == good
    assert not [path for path in (project / "models").iterdir() if path.name.startswith(".")]
    shared = client.ask("POST", "/api/models/disc.safetensors/share", {"content-type": "application/json"}, b"{}")
    assert Path(model_path(shared.json["use"])).read_bytes() == good
    odd = json.dumps({"name": "../x"}).encode()
    assert (
        client.ask("POST", "/api/models/disc.safetensors/share", {"content-type": "application/json"}, odd).status
        == 400
    )
    (project / "models" / "disc.safetensors").unlink()


def test_formats_of_others_go_out_and_come_in_again(client: Client, project: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("bioimageio.spec")
    package = export_model(project / "models" / "ball.safetensors", tmp_path / "ball.bioimage.zip").path
    given = client.get("/api/models/ball.safetensors/export?format=bioimage")
    assert given.status == 200
    assert given.headers["content-disposition"].endswith("ball.bioimage.zip")
    assert onnx_of_bytes(given.body, tmp_path) == read_package(package).weights
    assert client.get("/api/models/ball.safetensors/export?format=exe").status == 400
    made = upload(client, "zoo.bioimage.zip", given.body)
    assert made.status == 201, made.body
    assert made.json["name"] == "zoo.onnx"
    assert made.json["features"] == [HOSTILE]
    facts = import_model(package, tmp_path / "again.onnx")
    assert facts.features == load_facts(project / "models" / "zoo.onnx").features
    (project / "models" / "zoo.onnx").unlink()


def onnx_of_bytes(data: bytes, folder: Path) -> bytes:
    (folder / "given.zip").write_bytes(data)
    return read_package(folder / "given.zip").weights


@pytest.fixture
def link(project: Path) -> Iterator[str]:
    """The link of a workbench under a base path."""
    with workbench(project) as link:
        yield link


def test_in_a_browser(browser: Any, link: str, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    wrong, _ = watched(page)
    page.goto(link)
    page.wait_for_selector("body[data-facts=all]", timeout=SECONDS)
    page.get_by_role("button", name="Models", exact=True).click()
    page.wait_for_selector("body[data-models='3']", timeout=SECONDS)
    page.locator("#modelRows button", has_text="ball.safetensors").press("Enter")
    assert page.inner_text("#modelName") == "ball.safetensors"
    assert HOSTILE in page.inner_text("#modelFacts")
    assert page.locator("#models img").count() == 1  # our own
    assert page.inner_text("#modelText h3") == "ball"
    assert HOSTILE in page.inner_text("#modelText p >> nth=0")
    assert page.locator("#modelText table").count() == 1
    assert page.locator("#modelPicture").evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
    assert "volengine segment TOMOGRAM --model" in page.inner_text("#modelCommands")
    file = save_threshold_model(tmp_path / "disc.safetensors", "disc", patch=PATCH)
    page.set_input_files("#modelFile", str(file))
    page.wait_for_selector("#message:has-text('disc.safetensors is in the project')", timeout=SECONDS)
    assert page.inner_text("#modelName") == "disc.safetensors"
    page.get_by_role("button", name="Share in the project").click()
    page.wait_for_selector("#message:has-text('disc@')", timeout=SECONDS)
    with page.expect_download(timeout=SECONDS) as got:
        page.get_by_role("button", name="Download for ONNX").click()
    assert load_facts(got.value.path().rename(tmp_path / "got.onnx")).features == ("disc",)
    page.screenshot(path=str(tmp_path / "models.png"))
    assert wrong == []
    context.close()


def test_listing_loads_no_pytorch_into_the_server(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    save_threshold_model(models / "a.safetensors", "rod", patch=PATCH)
    export_model(models / "a.safetensors", models / "b.onnx")
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    code = f"""
import json, sys
from pathlib import Path
from volengine.web.workbench.bench import Bench
from volengine.web.workbench.project import Project
bench = Bench(Project(Path({str(tmp_path)!r})))
told, taught = bench.models.listed()["models"], bench.teaching.facts()["models"]
print(json.dumps([told, taught, "torch" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told, taught, loaded = json.loads(done.stdout)
    assert not loaded
    assert [one["features"] for one in told] == [["rod"], ["rod"]]
    expected = {name: load_facts(models / name).network for name in ("a.safetensors", "b.onnx")}
    assert {one["name"]: one["network"] for one in taught} == expected


def test_what_cannot_be_read_apart_says_the_same(tmp_path: Path) -> None:
    for name in ("torn.scnm", "torn.safetensors", "missing.onnx"):
        if "torn" in name:
            (tmp_path / name).write_bytes(b"\\0" * 50)
        with pytest.raises(VolengineError) as wanted:
            load_facts(tmp_path / name)
        with pytest.raises(VolengineError) as found:
            facts_apart(tmp_path / name)
        assert str(found.value) == str(wanted.value)
