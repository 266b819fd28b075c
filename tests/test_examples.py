"""Examples in docstrings run, each in a folder of its own with the files that they name."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import pkgutil
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_files import make_example_files

import volengine

ROOMS = ("", "cli", "core", "engine", "io", "nets", "ops", "sim", "tasks", "web")
"""Of the package; the first is the package itself."""

STARTED_ALONE = {"volengine.core.apart_child"}
"""A program, not a module to import."""

PUBLIC = [name for name in volengine.__all__ if callable(getattr(volengine, name)) and name != "VolengineError"]


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    make_example_files(folder)
    return folder


def modules(room: str) -> Iterator[str]:
    """The names of all modules of a room."""
    if not room:
        yield "volengine"
        return
    package = importlib.import_module(f"volengine.{room}")
    yield package.__name__
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name not in STARTED_ALONE:
            yield module.name


@pytest.mark.parametrize("room", ROOMS)
def test_examples_give_what_they_show(
    room: str, example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder, said = doctest.DocTestFinder(exclude_empty=True), io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    found = [test for name in modules(room) for test in finder.find(importlib.import_module(name)) if test.examples]
    for number, test in enumerate(found):
        folder = tmp_path / str(number)
        shutil.copytree(example_files, folder)
        monkeypatch.chdir(folder)
        runner.run(test, out=said.write)
        shutil.rmtree(folder, ignore_errors=True)
    assert runner.failures == 0, said.getvalue()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    thing = getattr(volengine, name)
    doc = f"{inspect.getdoc(thing)}\n{inspect.getmodule(thing).__doc__}"
    assert ">>>" in doc, f"volengine.{name} has no example"
    assert not re.search("doctest: *[+]SKIP", doc), f"the example of volengine.{name} is not run"
