"""Teaching in a real browser: boxes, a training that is watched, and its model on the slice in view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from web_results import BASE, HOSTILE, OPTIONS, write_mrc
from web_serving import watched, workbench

import volengine
from volengine.core.boxes import Box
from volengine.io.picks import read_all

SHAPE = (10, 80, 112)
SECONDS = 400_000
"""Milliseconds until something must have come, on a machine that does much else."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tomogram, in which a feature has six training boxes."""
    folder = tmp_path_factory.mktemp("school")
    (folder / "annotations").mkdir()
    voxels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    voxels[:, 36:44] -= 2.0
    source = write_mrc(folder / "TS_01.mrc", voxels)
    with volengine.new_annotations(source, folder / "annotations" / "TS_01.annotations", ("core",)) as made:
        for z in (2, 7):
            made.do(
                {"op": "polygon", "feature": "core", "slice": z, "points": [[36, 0], [36, 111], [43, 111], [43, 0]]}
            )
            for x in (16, 56, 96):  # the outer ones are kept for validation
                made.do({"op": "box", "feature": "core", "slice": z, "centre": [40, x], "side": 32})
    (folder / "models").mkdir()
    (folder / "models" / f"{HOSTILE}.safetensors").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def link(project: Path) -> Iterator[str]:
    with workbench(project) as link:
        yield link


def test_a_model_is_trained_watched_and_asked(browser: Any, link: str, project: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    p = context.new_page()
    wrong, asked = watched(p)
    p.goto(link)
    p.get_by_role("button", name="TS_01", exact=True).click()
    p.wait_for_selector("body[data-shown='TS_01']", timeout=SECONDS)
    p.get_by_role("button", name="Teach", exact=True).click()
    p.wait_for_selector("body[data-teach=ready]", timeout=SECONDS)
    assert p.locator("#teachFeatures input").is_checked()  # there is one
    assert "6 boxes in 1" in p.inner_text("#teachFeatures")
    assert p.input_value("#teachName") == "core-1"
    for field, value in (("#teachEpochs", "2"), ("#teachSteps", "8"), ("#teachBatch", "1")):
        p.fill(field, value)
    p.locator("#teachForm button").press("Enter")
    p.wait_for_selector(".training[data-model='core-1']", timeout=SECONDS)
    p.wait_for_selector(".training[data-state=done]", timeout=SECONDS)
    card = p.locator(".training")
    assert "epoch 2 of 2" in card.inner_text()
    assert card.locator("polyline").count() == 2
    assert "validation" in card.locator("svg").get_attribute("aria-label")
    assert card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    card.locator("summary").click()
    train, export = (card.locator("pre").nth(n).inner_text().splitlines() for n in (0, 1))
    assert train == [f"cd {project}", "volengine train training/core-1/recipe.yaml --out models/core-1.safetensors"]
    assert export[0] == train[0]
    assert export[1].endswith("--features core --out training/core-1 --overwrite")
    model = project / "models" / "core-1.safetensors"
    assert model.is_file()
    card.get_by_role("button", name="Look at slices").click()
    p.wait_for_selector("body[data-answer^='z=']", timeout=SECONDS)
    assert p.locator("#prediction option:checked").inner_text() == "core by core-1.safetensors"
    assert "volengine segment" in p.inner_text("#answerSaid")
    # the model may have been trained on when one comes back: the same slice is asked for anew
    p.get_by_role("button", name="Teach", exact=True).click()
    with p.expect_response(lambda one: "/answer?" in one.url, timeout=SECONDS) as again:
        card.get_by_role("button", name="Look at slices").click()
    assert again.value.ok
    p.wait_for_selector("body[data-answer^='z=']", timeout=SECONDS)
    index = int(p.input_value("#index"))
    recipe = volengine.SegmentRecipe(models=(str(model),))
    stored = volengine.segment(project / "TS_01.mrc", project / "whole", recipe, OPTIONS)["core"].read()[index]
    parts = {above: (stored * 257.0 > round(655.35 * above)).mean() for above in range(1, 100)}
    above = min(parts, key=lambda one: abs(parts[one] - 0.5))
    p.locator("#above").fill(f"{above / 100}")
    p.click("#takeSlice")
    p.wait_for_timeout(50)
    p.wait_for_selector("body[data-waiting='0']", timeout=SECONDS)
    expected = stored * 257.0 > round(655.35 * above)
    with volengine.Annotations(project / "annotations" / "TS_01.annotations") as made:
        found = made.labels("core", Box((index, 0, 0), (index + 1, *SHAPE[1:])))[0]
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(found, expected)
    with volengine.Annotations(project / "annotations" / "TS_01.annotations") as made:
        before = made.boxes("core")
    # where next: its answers to all tomograms, looked through; a box is taken by a key, and ticked
    p.get_by_role("button", name="Teach", exact=True).click()
    p.wait_for_selector("body[data-teach=ready]", timeout=SECONDS)
    p.select_option("#nextSource", "core-1.safetensors")
    assert p.locator("#nextFind").is_disabled()  # nothing is predicted yet
    p.click("#nextPredict")
    p.wait_for_selector("#nextJobs li[data-state=done]", timeout=SECONDS)
    assert "volengine segment" in p.inner_text("#nextJobs pre")
    for field, value in (("#nextDepth", "2"), ("#nextSide", "16"), ("#nextCount", "30")):
        p.fill(field, value)
    p.click("#nextFind")
    p.wait_for_selector("body[data-suggested]", timeout=SECONDS)
    p.wait_for_selector("#nextList button >> nth=0", timeout=SECONDS)
    picture = p.locator("#nextList canvas >> nth=0")
    for _ in range(SECONDS // 100):  # it comes after the list
        if picture.evaluate("canvas => canvas.width") == 16:
            break
        p.wait_for_timeout(100)
    else:
        pytest.fail("the first patch has no picture")
    p.locator("#nextList button >> nth=0").press("Enter")
    p.wait_for_selector("body[data-proposed='1']", timeout=SECONDS)
    assert "Patch 1: core, slice" in p.inner_text("#proposalSaid")
    p.focus("#canvas")
    p.keyboard.press("t")
    p.wait_for_timeout(50)
    p.wait_for_selector("body[data-waiting='0']", timeout=SECONDS)
    found = read_all(next(project.glob("jobs/*-suggest/next/suggested.star")))["TS_01"]
    z, y, x = found.position_vox[found.extra["rank"].tolist().index(1)].astype(int).tolist()
    with volengine.Annotations(project / "annotations" / "TS_01.annotations") as made:
        (box,) = [box for one, box in made.boxes("core") if one not in [known for known, _ in before]]
    assert box == Box((z, y - 8, x - 8), (z + 1, y + 8, x + 8))
    p.keyboard.press("t")  # once
    p.get_by_role("button", name="Next patch").click()
    p.wait_for_selector("body[data-proposed]:not([data-proposed='1'])", timeout=SECONDS)
    p.get_by_role("button", name="Teach", exact=True).click()
    p.wait_for_selector("#nextList button[data-rank='1'][data-done=true]", timeout=SECONDS)
    with volengine.Annotations(project / "annotations" / "TS_01.annotations") as made:
        assert len(made.boxes("core")) == len(before) + 1
    assert p.title() != "1"  # a hostile name is text
    assert wrong == []
    origin = urlsplit(link)
    assert all(urlsplit(one)[:2] == origin[:2] and urlsplit(one).path.startswith(BASE) for one in asked)
    context.close()


@pytest.mark.slow
def test_a_training_is_stopped_and_goes_on(browser: Any, link: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    p = context.new_page()
    p.goto(f"{link}#teach")
    p.wait_for_selector("body[data-teach=ready]", timeout=SECONDS)
    p.fill("#teachName", "long")
    p.locator("#teachFeatures input").check()
    for field, value in (("#teachEpochs", "1000"), ("#teachSteps", "1"), ("#teachBatch", "1")):
        p.fill(field, value)
    p.locator("#teachForm button").click()
    card = p.locator(".training[data-model='long']")
    p.wait_for_selector(".training[data-model='long'][data-state=running]:not([data-epochs='0'])", timeout=SECONDS)
    card.get_by_role("button", name="Stop").click()
    p.wait_for_selector(".training[data-model='long'][data-state=stopped]", timeout=SECONDS)
    epochs = int(card.get_attribute("data-epochs") or 0)
    assert 0 < epochs < 1000
    card.get_by_role("button", name="Go on").click()
    more = "".join(f":not([data-epochs='{n}'])" for n in range(epochs + 1))
    p.wait_for_selector(f".training[data-model='long'][data-state=running]{more}", timeout=SECONDS)
    card.get_by_role("button", name="Stop").click()
    p.wait_for_selector(".training[data-model='long'][data-state=stopped]", timeout=SECONDS)
    assert int(card.get_attribute("data-epochs") or 0) > epochs
    context.close()
