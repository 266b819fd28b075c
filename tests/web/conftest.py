"""A folder of results, a server over it, and a real browser, each once for all tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_results import write_results
from web_serving import serving


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder: a tomogram with a mark, a prediction, labels, picks with orientations, and a surface."""
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def server(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The link of a server under a base path."""
    state = tmp_path_factory.mktemp("state") / "views"
    with serving("view", run_folder, "--state", str(state)) as link:
        yield link


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium; of one module, because Playwright keeps an event loop running in this thread meanwhile."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (volengine[test])")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here (Debian: apt install chromium)")
    with api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=program, args=["--enable-unsafe-swiftshader"])
        yield made
        made.close()
