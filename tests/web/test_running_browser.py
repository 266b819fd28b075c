"""A run that is started, watched and looked at in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from threshold_net import save_threshold_model
from web_results import BASE, HOSTILE, write_mrc
from web_serving import watched, workbench

RECIPE = """\
convert: {chunk: [16, 16, 16], shard: [32, 32, 32], levels: 1}
segment: {models: [models/ball.safetensors], patch: [16, 32, 32]}
pick:
- {feature: ball, threshold: 0.5}
"""
SECONDS = 240_000
"""Milliseconds until a run must have ended, on a machine that does much else."""


def write_project(folder: Path) -> Path:
    """A folder of two tomograms with 3 bright balls, of which one cannot be run, and a network that sees them."""
    voxels = np.zeros((16, 40, 48), np.float32)
    for at in range(3):
        voxels[6:10, 4 + 12 * at : 8 + 12 * at, 20:24] = 1.0
    for name in ("TS_01", HOSTILE):
        write_mrc(folder / f"{name}.mrc", voxels)
    (folder / "models").mkdir()
    save_threshold_model(folder / "models" / "ball.safetensors", "ball", patch=(16, 32, 32))
    return folder


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A project, and the link of a workbench over it."""
    project = write_project(tmp_path_factory.mktemp("ran"))
    with workbench(project) as link:
        yield project, link


def test_a_run_is_started_watched_and_its_picks_are_in_the_gallery(browser: Any, link: tuple[Path, str]) -> None:
    project, address = link
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    wrong, asked = watched(page)
    page.set_default_timeout(SECONDS)
    page.goto(address)
    page.wait_for_selector("body[data-facts=all]")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("#noJobs:visible")
    page.click("#runNewRecipe")
    page.fill("#recipeName", "balls")
    page.fill("#recipeText", RECIPE)
    page.click("#recipeKeep")
    page.wait_for_selector("#runSteps:has-text('segment → pick ball')")
    assert "recipes/balls.yaml" in page.inner_text("#runCommand")
    assert f"'{project / 'TS_01.mrc'}'" in page.inner_text("#runCommand")
    page.click("#runStart")
    page.wait_for_selector("#job:has-text('balls: 2 tomograms')")
    page.wait_for_selector("body[data-job='1 done'], body[data-job='1 failed'], body[data-job='1 killed']")
    assert page.inner_text("#jobState") == "failed"  # one has a name that no run takes
    assert page.inner_text("#jobCounts").startswith("2 tomograms: 1 failed, 1 finished"), page.inner_text("#jobLog")
    assert f"{HOSTILE}.mrc: The tomogram's name" in page.locator("#jobFailed li").inner_text()
    assert "1 of 2 failed" in page.inner_text("#jobLog")
    assert f"--out {project}" in page.inner_text("#jobCommand")
    assert str(project / "run" / "report" / "index.html") in page.inner_text("#jobReport")
    page.get_by_role("button", name="Gallery", exact=True).click()
    page.wait_for_selector(".row:has-text('TS_01') >> text=ball 3")
    assert page.locator("#rows .row").count() == 2
    page.get_by_role("button", name="TS_01", exact=True).click()
    page.wait_for_selector("body[data-shown='TS_01']")
    assert "ball" in page.locator("#prediction option").all_text_contents()
    assert page.title() != "1"  # the hostile name is text
    assert wrong == []
    origin = urlsplit(address)
    assert all(urlsplit(one)[:2] == origin[:2] and urlsplit(one).path.startswith(BASE) for one in asked)
    context.close()
