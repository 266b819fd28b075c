"""A user's own architecture: run where it is named, and never because a model file names it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from volengine.core.errors import InputError, MissingError
from volengine.core.model import ModelFacts
from volengine.nets import registry
from volengine.nets.checkpoint import load_facts, load_model, save_model

TEXT = """
from pathlib import Path
from torch import nn

Path(__file__).with_suffix(".ran").touch()


class Net(nn.Module):
    def __init__(self, channels=1, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, channels, 1))

    def forward(self, x):
        return self.body(x)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(f"# {tmp_path}\n{TEXT}")  # so that no other test has loaded the same bytes
    return path


@pytest.fixture
def model(file: Path, tmp_path: Path) -> Path:
    """A model file whose facts name the own architecture, and no trace that it ran."""
    name = registry.own_name(f"{file}:Net")
    facts = ModelFacts(network=name, arguments={"width": 3}, features=("a",), voxel_size=(10, 10, 10), patch=(1, 8, 8))
    save_model(tmp_path / "m.safetensors", registry.build(name, {"width": 3}, own=f"{file}:Net"), facts)
    file.with_suffix(".ran").unlink()
    return tmp_path / "m.safetensors"


def test_a_model_file_alone_runs_nothing(model: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)  # the file even lies where its name says
    monkeypatch.syspath_prepend(str(file.parent))
    assert load_facts(model).network.startswith("mine.py:Net@")
    with pytest.raises(InputError, match=r"mine.py:Net@\w+' is somebody's own Python.*--network-file"):
        load_model(model)
    assert not file.with_suffix(".ran").exists()


def test_named_explicitly_it_is_loaded_from_wherever_it_lies(model: Path, file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed.py"
    moved.parent.mkdir()
    file.rename(moved)
    first, facts = load_model(model, network=f"{moved}:Net")
    again, _ = load_model(model, network=f"{moved}:Net")
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(first(x), again(x))
    assert facts.arguments == {"width": 3}


def test_a_changed_file_is_refused_unless_its_new_digest_is_given(model: Path, file: Path) -> None:
    file.write_text(file.read_text() + "\n# changed\n")
    with pytest.raises(
        InputError, match=r"has the digest \w{20}, but \w{20} is expected.*say so: .*mine.py:Net@\w{20}"
    ) as e:
        load_model(model, network=f"{file}:Net")
    assert not file.with_suffix(".ran").exists()
    said = str(e.value).rpartition("say so: ")[2].rstrip(".")
    module, _ = load_model(model, network=said)
    assert registry.parameters(module) == 3 * 9 + 3 + 3 + 1
    assert file.with_suffix(".ran").exists()


def test_a_wrong_digest_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match="0123456789 is expected"):
        registry.build("mine.py:Net", own=f"{file}:Net@0123456789")


def test_another_class_is_refused(model: Path, file: Path) -> None:
    with pytest.raises(InputError, match="another class"):
        load_model(model, network=f"{file}:Other")


@pytest.mark.parametrize(
    ("own", "error", "match"),
    [
        ("nowhere.py:Net", MissingError, "nowhere.py: no such file"),
        ("no.such.package:Net", MissingError, "no installed module 'no.such.package'"),
        (":Net", InputError, "folder/file.py:Class or package.module:Class"),
        ("a.py:not a name", InputError, "folder/file.py:Class or package.module:Class"),
    ],
)
def test_what_is_not_there(own: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        registry.own_name(own)


def test_a_file_without_the_class(file: Path) -> None:
    with pytest.raises(InputError, match="has no class 'Nothing'"):
        registry.build(registry.own_name(f"{file}:Nothing"), own=f"{file}:Nothing")


def test_a_file_that_fails_fails_again(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import a_module_that_is_not_there")
    for _ in range(2):  # a half-loaded module must not stay
        with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
            registry.build("bad.py:Net", own=f"{tmp_path / 'bad.py'}:Net")


def test_a_package_s_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my_networks_package").mkdir()
    (tmp_path / "my_networks_package" / "__init__.py").touch()
    (tmp_path / "my_networks_package" / "deep.py").write_text(TEXT)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = "my_networks_package.deep:Net"
    name = registry.own_name(spec)
    assert name.startswith(f"{spec}@")
    assert registry.parameters(registry.build(name, {"channels": 2}, own=spec)) == 40 + 10
    with pytest.raises(InputError, match="somebody's own"):
        registry.build(name)


def test_which_of_several_is_meant() -> None:
    specs = ("a/one.py:First", "b/two.py:Second@0123", "my.package:Third")
    assert registry.allowed("two.py:Second@4567", specs) == "b/two.py:Second@0123"
    assert registry.allowed("two.py:Fourth@4567", specs) is None
    assert registry.allowed("unet", specs) is None
    assert registry.located("my.package:Third@02", "three.py:Third") == "my.package:Third@02"
    assert registry.located("a/one.py:First@01", "one.py:First") == f"{Path.cwd()}/a/one.py:First@01"
    assert registry.located("a/one.py:First", "one.py:First@01") == f"{Path.cwd()}/a/one.py:First"


def test_a_file_that_no_digest_tells_from_its_other_states_gets_one(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("class First: pass\n")
    before = registry.located(f"{file}:First", "one.py:First")
    file.write_text("class First: other = 1\n")
    after = registry.located(f"{file}:First", "one.py:First")
    assert before != after
    assert registry.own_name(f"{file}:First").endswith(after.rpartition("@")[2])
