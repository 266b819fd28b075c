"""`volengine env`: everything a bug report needs, and nothing that tells who somebody is."""

from __future__ import annotations

import getpass
import json
import platform
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest
from calling import Command

import volengine as ve
from volengine.cli.env import in_words
from volengine.tasks.env import requirements, without_folders

MODULES = {"dask": "dask", "numpy": "numpy", "scikit-image": "skimage", "torch": "torch"}
PRIVATE = ("SECRET_TOKEN", "/somebody/elsewhere")


def test_json_names_versions_processor_memory_and_gpus(volengine: Command) -> None:
    code, out, err = volengine("env", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts == ve.env()
    assert facts["volengine"] == ve.__version__
    assert facts["python"].endswith(platform.python_version())
    assert 0 < facts["processor"]["usable_cores"] <= facts["processor"]["cores"]
    assert 10**8 < facts["memory"]["limit_bytes"] <= facts["memory"]["machine_bytes"]
    assert facts["torch"]["version"] == import_module("torch").__version__
    assert facts["torch"]["threads"] >= 1


def test_versions_are_those_of_the_modules_that_are_imported() -> None:
    found = ve.env()["dependencies"]
    for name, module in MODULES.items():  # torch adds what it was built for: 2.13.0+cu130
        assert found[name].split("+")[0] == import_module(module).__version__.split("+")[0]
    assert None not in found.values()


def test_text_has_a_line_for_each_dependency_and_each_extra(volengine: Command) -> None:
    code, out, _ = volengine("env")
    assert code == 0
    facts = ve.env()
    assert {"fast", "s3", "membrain", "onnx"} <= set(facts["extras"])
    assert not {"test", "dev"} & set(facts["extras"])
    assert all(f"{name} {version}" in out for name, version in facts["dependencies"].items())
    assert all(f"{extra}: " in out for extra in facts["extras"])


def test_the_output_tells_nothing_about_the_user(volengine: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PRIVATE[0])
    monkeypatch.setenv("VOLENGINE_CACHE", PRIVATE[1])
    for words in (["env"], ["env", "--json"]):
        out = volengine(*words)[1]
        for private in (*PRIVATE, str(Path.home()), str(Path.cwd()), sys.prefix, platform.node()):
            assert private not in out
        assert getpass.getuser() not in out.split()


def test_requirements_are_sorted_by_extra_and_extras_of_extras_followed() -> None:
    lines = [
        "dask>=2026.3",
        "numcodecs!=0.17.0,>=0.16.1",
        'zarrs>=0.2.2; extra == "fast"',
        "onnx>=1.17; extra == 'onnx'",
        'volengine[fast,onnx]; extra == "all"',
        'volengine[all]; extra == "more"',
        'nibabel>=5.3; (python_version >= "3.11") and extra == "more"',
        'pytest>=8; extra == "test"',
        'volengine[test]; extra == "dev"',
    ]
    needed, extras = requirements(lines)
    assert needed == ["dask", "numcodecs"]
    assert extras == {
        "fast": ["zarrs"],
        "onnx": ["onnx"],
        "more": ["nibabel", "zarrs", "onnx"],
        "all": ["zarrs", "onnx"],
    }


def test_extras_that_name_each_other_end() -> None:
    assert requirements(['volengine[b]; extra == "a"', 'volengine[a]; extra == "b"', 'x; extra == "b"'])[1] == {
        "b": ["x"],
        "a": ["x"],
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/anna/.venv/lib/libtorch.so: cannot open", "libtorch.so: cannot open"),
        ("no '~/data/a b.so' there", "no 'a b.so' there"),
        (r"C:\Users\anna\torch.dll is missing", "torch.dll is missing"),
        ("(Triggered at /pytorch/c10/cuda/Functions.cpp:109.)", "(Triggered at Functions.cpp:109.)"),
        ("10 counts per second", "10 counts per second"),
    ],
)
def test_folders_are_cut_off_messages(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_a_torch_that_cannot_be_imported_is_reported(
    volengine: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after an update that broke its libraries: found on the path, fails when it is imported."""
    (tmp_path / "torch.py").write_text("raise OSError('/data/anna/lib/libcudart.so.12: cannot open shared object')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    code, out, _ = volengine("env")
    assert code == 0
    assert f"{metadata.version('torch')}, cannot be imported: OSError: libcudart.so.12: cannot open" in out
    assert "GPUs          none" in out


def test_missing_packages_are_named_with_what_to_install() -> None:
    facts = ve.env()
    facts["dependencies"]["edt"] = None
    facts["extras"]["onnx"]["onnxruntime"] = None
    words = in_words(facts)
    assert "edt MISSING" in words["dependencies"]
    assert "onnx: missing onnxruntime (pip install 'volengine[onnx]')" in words["extras"]


@pytest.mark.gpu
def test_gpus_are_listed_as_torch_sees_them(volengine: Command) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    assert [gpu["name"] for gpu in ve.env()["gpus"]] == names
    assert names[0] in volengine("env")[1]
