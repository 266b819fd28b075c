"""Folders of models: what was shared is found by its name, and nothing else is ever taken for it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from s3_server import serving, use_server
from threshold_net import save_threshold_model

import volengine
from volengine import RunOptions, SegmentRecipe
from volengine.core.errors import FormatError, InputError, MissingError, UnreachedError
from volengine.io import patience, shared_models
from volengine.io.mrc.write import write_mrc
from volengine.io.shared_models import cache_folder, found_model, model_path
from volengine.nets.checkpoint import identity, load_facts, load_model
from volengine.nets.registry import build
from volengine.tasks.info import model_info
from volengine.tasks.models.recipe import ModelShareRecipe
from volengine.tasks.models.share import share_models
from volengine.tasks.models.share import shared_models as listed
from volengine.tasks.train.model import started_from

SHAPE = (8, 24, 24)


class Quiet(SimpleHTTPRequestHandler):
    """Of each request its path is kept, and nothing is printed."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *arguments: Any) -> None:
        self.asked.append(self.path)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shared_models, "_recent", {})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_threshold_model(tmp_path / "ball.safetensors", "ball", patch=SHAPE)


@pytest.fixture
def folder(tmp_path: Path, model: Path) -> Path:
    share_models(tmp_path / "shared", [model])
    return tmp_path / "shared"


@pytest.fixture
def web(folder: Path) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    Quiet.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", server
        server.shutdown()


def changed(folder: Path, **values: object) -> None:
    """Change the entry of the index (``version_`` and ``format_``: the index itself)."""
    index = json.loads((folder / "index.json").read_text())
    for name, value in values.items():
        (index if name.endswith("_") else index["models"]["ball"])[name.rstrip("_")] = value
    (folder / "index.json").write_text(json.dumps(index))


def test_a_folder_of_models(tmp_path: Path, model: Path, folder: Path) -> None:
    found = model_path(f"ball@{folder}")
    assert Path(found).read_bytes() == model.read_bytes()
    assert load_facts(found).features == ("ball",)
    assert str(model_info(f"ball@{folder}")["features"]) == "ball"
    other = save_threshold_model(tmp_path / "rod.safetensors", "rod", patch=SHAPE)
    share_models(folder, [other], ModelShareRecipe(name="rod-2", licence="CC-BY-4.0", authors=("A. Author",)))
    assert [(one.name, one.model.features) for one in listed(folder)] == [("ball", ("ball",)), ("rod-2", ("rod",))]
    card = (folder / "rod-2.md").read_text()
    assert "Licence: CC-BY-4.0" in card
    assert "A. Author" in card
    assert "rod-2@FOLDER" in card
    assert "fill in" in (folder / "ball.md").read_text()
    with pytest.raises(MissingError, match="Did you mean rod-2@"):
        model_path(f"rod2@{folder}")
    with pytest.raises(MissingError, match="is no folder of shared models"):
        model_path("ball@gone")
    for text in ("a/ball@x.safetensors", "ball.safetensors", "https://me@example.org/a.safetensors", "@x", "cytoplasm"):
        assert model_path(text) == text
    (tmp_path / "ball@here").touch()  # a file of this name is that file
    assert model_path(os.path.relpath(tmp_path / "ball@here")) == os.path.relpath(tmp_path / "ball@here")


def test_a_licence_for_a_card_that_is_kept_is_refused(model: Path, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    said = ModelShareRecipe(licence="CC-BY-4.0", authors=("A. Author",))
    with pytest.raises(InputError, match=r"ball\.md is there and says something else"):
        share_models(folder, [model], said)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    share_models(folder, [model], ModelShareRecipe(licence="CC-BY-4.0", authors=("A. Author",), overwrite=True))
    assert "Licence: CC-BY-4.0" in (folder / "ball.md").read_text()
    share_models(folder, [model], said)  # it says so already


def test_another_model_of_the_name_is_not_replaced_unasked(tmp_path: Path, model: Path, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "ball.md").write_text("filled in by hand")
    share_models(folder, [model])  # the same one again
    assert (folder / "ball.md").read_text() == "filled in by hand"
    (tmp_path / "o").mkdir()
    other = save_threshold_model(tmp_path / "o" / "ball.safetensors", "rod", patch=SHAPE)
    with pytest.raises(InputError, match="--overwrite"):
        share_models(folder, [other])
    with pytest.raises(InputError, match="--name"):
        share_models(folder, [other], ModelShareRecipe(name="BALL"))
    with pytest.raises(InputError, match="would be called"):
        share_models(folder, [model, other], ModelShareRecipe(overwrite=True))
    assert (folder / "index.json").read_bytes() == before["index.json"]
    share_models(folder, [other], ModelShareRecipe(overwrite=True))
    assert load_facts(model_path(f"ball@{folder}")).features == ("rod",)
    assert set(before) <= {path.name for path in folder.iterdir()}  # who reads the former index finds its file
    for name in ("../x", "a/b", ".hidden", "a b", "<img>", "", "x" * 81):
        if name:
            with pytest.raises(InputError, match="is no name"):
                share_models(folder, [model], ModelShareRecipe(name=name))
    (tmp_path / "bad.safetensors").write_bytes(model.read_bytes()[:-1])
    with pytest.raises(FormatError, match="cut off"):
        share_models(folder, [tmp_path / "bad.safetensors"])
    for place in ("s3://bucket/models", "memory://models", "https://example.org/models"):
        with pytest.raises(InputError, match="share into a folder"):
            share_models(place, [model])
    with pytest.raises(InputError, match="models import"):
        share_models(folder, ["weights.h5"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"file": "../ball.safetensors"}, "no plain name"),
        ({"file": "/etc/passwd"}, "no plain name"),
        ({"file": "..\\ball.safetensors"}, "no plain name"),
        ({"file": "ball.py"}, "model files end with"),
        ({"card": "../../x.md"}, "no plain name"),
        ({"sha256": ""}, "without checksum"),
        ({"sha256": "0" * 64}, "is not the file of the index"),
        ({"size": -1}, "bytes"),
        ({"features": "ball"}, "features"),
        ({"version_": 2}, "Update volengine"),
        ({"version_": "1"}, "damaged"),
        ({"format_": "other"}, "no index"),
        ({"models_": []}, "damaged"),
    ],
)
def test_what_an_index_may_not_say(folder: Path, values: dict[str, object], said: str) -> None:
    changed(folder, **values)
    with pytest.raises(FormatError, match=said):
        model_path(f"ball@{folder}")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 5}, "size "),
        ({"features": ["ribosome"]}, "features "),
        ({"voxel_size": [1, 2, 3]}, "voxel_size "),
        ({"network": "other"}, "network "),
    ],
)
def test_an_entry_that_says_something_else_than_the_file_is_refused(
    folder: Path, web: tuple[str, ThreadingHTTPServer], values: dict[str, object], said: str
) -> None:
    found_model(f"ball@{web[0]}")  # it is in the cache from now on
    shared_models._recent.clear()
    changed(folder, **values)
    for place in (folder, web[0]):
        with pytest.raises(FormatError, match=f"differs from the index: {said}"):
            found_model(f"ball@{place}")
    with pytest.raises(FormatError, match="differs from the index"):
        listed(folder)


def test_a_file_that_is_another_one_is_not_used(folder: Path) -> None:
    (file,) = folder.glob("ball-*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(FormatError, match="checksum"):
        model_path(f"ball@{folder}")
    with pytest.raises(FormatError, match="checksum"):
        listed(folder)
    file.unlink()
    with pytest.raises(MissingError, match="gone"):
        model_path(f"ball@{folder}")


def test_over_http_it_is_read_once_and_without_a_network_again(
    model: Path, folder: Path, web: tuple[str, ThreadingHTTPServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = web
    text = f"ball@{url}"
    found = Path(model_path(text))
    assert found.read_bytes() == model.read_bytes()
    assert found.is_relative_to(cache_folder())
    (file,) = folder.glob("ball-*.safetensors")
    first = sum(file.name in path for path in Quiet.asked)
    monkeypatch.setattr(shared_models, "_recent", {})
    assert Path(model_path(text)) == found
    assert sum(file.name in path for path in Quiet.asked) == first > 0
    found.write_bytes(b"damaged in the cache")
    assert Path(model_path(text)).read_bytes() == model.read_bytes()
    file.write_bytes(file.read_bytes()[:-1] + b"x")  # another file on the server, and none in the cache
    shutil.rmtree(found.parent)
    with pytest.raises(FormatError, match="not the file of the index"):
        model_path(text)
    assert not any(path.is_file() for path in found.parent.glob("*"))
    file.write_bytes(model.read_bytes())
    model_path(text)
    server.shutdown()
    server.server_close()
    monkeypatch.setattr(shared_models, "_recent", {})
    monkeypatch.setattr(patience, "ATTEMPTS", 1)
    offline = found_model(text)
    assert offline.path == str(found)
    assert "does not answer" in offline.note
    shutil.rmtree(cache_folder())
    monkeypatch.setattr(shared_models, "_recent", {})
    with pytest.raises(UnreachedError):
        model_path(text)


def test_in_an_object_store(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    with serving() as server:
        use_server(monkeypatch, server.endpoint, "shared-models")
        server.buckets["bucket"] = {f"m/{path.name}": path.read_bytes() for path in folder.iterdir()}
        assert Path(model_path("ball@s3://bucket/m/")).read_bytes() == model.read_bytes()
        with pytest.raises(MissingError):
            model_path("ball@s3://bucket/other")


def test_a_folder_that_was_moved_computes_nothing_anew(
    tmp_path: Path, folder: Path, web: tuple[str, ThreadingHTTPServer]
) -> None:
    array = np.zeros(SHAPE, "float32")
    array[2:6, 8:16, 8:16] = 1
    write_mrc(tmp_path / "a.mrc", [array], SHAPE, "float32", (10.0,) * 3)
    options = RunOptions(progress=False, durable=False, device="cpu")

    def units(place: str) -> int:
        recipe = SegmentRecipe(models=(f"ball@{place}",), levels=1)
        volengine.segment(tmp_path / "a.mrc", tmp_path / "pred", recipe, options)
        (report,) = (tmp_path / "pred").rglob("report.json")
        plans = json.loads(report.read_text())["plans"]
        return sum(stage["run"] for plan in plans.values() for stage in plan["stages"])

    assert units(str(folder)) > 0
    assert units(web[0]) == 0
    shutil.move(folder, tmp_path / "elsewhere")
    assert units(str(tmp_path / "elsewhere")) == 0
    found = volengine.open_volume(tmp_path / "pred" / "a__ball.ome.zarr")
    assert (np.asarray(found[...]) > 127).sum() == array.sum()


def test_a_training_starts_from_a_shared_model(folder: Path) -> None:
    facts = load_facts(model_path(f"ball@{folder}"))
    module = build(facts.network, facts.arguments)
    new, told = started_from(module, facts.with_(history=({"recipe": {}},)), f"ball@{folder}", None)
    assert all(torch.equal(a, b) for a, b in zip(new.parameters(), _weights(folder), strict=True))
    assert told.history[-1]["begun_anew"] == []


def _weights(folder: Path) -> list[torch.Tensor]:
    return list(load_model(model_path(f"ball@{folder}"))[0].parameters())


def test_the_command(volengine: Any, tmp_path: Path, model: Path) -> None:
    code, out, err = volengine("models", "share", str(tmp_path / "s"), str(model), "--name", "b1")
    assert code == 0
    assert f"b1@{tmp_path / 's'}: ball at 10 angstrom" in out + err
    code, out, err = volengine("models", "show", f"b1@{tmp_path / 's'}")
    assert code == 0
    assert "ball" in out
    assert volengine("models", "export", f"b1@{tmp_path / 's'}", "--out", str(tmp_path / "x.py"))[0] != 0
    code, out, err = volengine("models", "share", str(tmp_path / "s"))
    assert code == 0
    assert "b1@" in out + err
    assert identity(model_path(f"b1@{tmp_path / 's'}")) == identity(model)
