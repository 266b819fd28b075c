"""Picks in a real browser: add, move and delete on a slice, reject in the grid, write, read by another reader."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import starfile
from web_results import BASE, HOSTILE, write_results
from web_serving import watched, workbench

import volengine

SECONDS = 90_000


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = write_results(tmp_path)
    shutil.copy(made / "picks" / "TS_01__ribosome.star", made / "picks" / f"{HOSTILE}.star")
    return made


@pytest.fixture
def link(project: Path) -> Iterator[str]:
    with workbench(project) as link:
        yield link


def test_picks_are_added_moved_deleted_rejected_and_written(browser: Any, link: str, project: Path) -> None:
    table = (project / "picks" / "TS_01__ribosome.star").read_bytes()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    wrong, asked = watched(page)

    def wait(selector: str) -> None:
        page.wait_for_selector(selector, timeout=SECONDS)

    def settled(version: int) -> None:
        wait(f"body[data-picks-version='{version}'][data-picks-waiting='0']")

    page.goto(link)
    wait("body[data-facts=all]")
    page.click("nav [data-section=picks]")
    wait("body[data-table]")
    page.select_option("#pkTable", label="picks/TS_01__ribosome.star")
    wait("body[data-table='picks/TS_01__ribosome.star'][data-pictures='2']")
    # the grid, sorted by weight: reject the first with keys, tag it, undo the tag, accept both by the threshold
    assert page.locator(".pk-words").all_text_contents() == ["#02", "#15"]
    page.click(".pk-cell[data-id='1']")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("r")
    settled(1)
    wait(".pk-cell[data-id='0'][data-said='-1']")
    page.fill("#pkNewTag", "edge")
    page.keyboard.press("Enter")
    settled(2)
    assert "edge" in page.inner_text(".pk-cell[data-id='0']")
    page.click("#pkUndo")
    settled(3)
    page.locator("#pkThreshold").fill("500")
    page.click("#pkAcceptAbove")
    settled(4)
    assert page.locator("#pkCounts span").all_text_contents()[:4] == ["✓ accepted", "1", "✕ rejected", "1"]
    shots = os.environ.get("VOLENGINE_SHOTS")
    if shots:
        page.screenshot(path=f"{shots}/grid.png")
    # the slice: the pick of z 4 lies on it; move it, add one, delete the other
    page.locator(".pk-cell[data-id='1']").dblclick()
    wait("body[data-pick-slice='z=4'][data-places='4:2']")
    box = page.locator("#pkCanvas").bounding_box()
    scale = 0.97 * min(box["width"] / 48, box["height"] / 40)
    page.wait_for_function(
        "s => Math.abs(Number(document.body.dataset.pickScale) / s - 1) < 0.01", arg=scale, timeout=SECONDS
    )

    def at(row: float, column: float) -> tuple[float, float]:
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        return middle[0] + (column + 0.5 - 24) * scale, middle[1] + (row + 0.5 - 20) * scale

    page.locator("#pkRadius").fill("2")
    page.mouse.move(*at(8, 6.5))
    page.mouse.down()
    page.mouse.move(*at(12, 11.5), steps=4)
    page.mouse.up()
    settled(5)
    page.click("#pkAdding")
    page.mouse.click(*at(30, 25))
    settled(6)
    wait("body[data-places='6:3']")
    page.keyboard.press("Alt+ArrowRight")  # the new one is chosen
    settled(7)
    assert '{"op":"move","id":8,"position":[4,30,' in page.inner_text("#pkCommand")
    # what others say is seen, and what is chosen stays chosen
    with volengine.Curation(project / "curated" / "TS_01__ribosome.star.curation") as other:
        other.do({"op": "accept", "ids": [8]}, user="another")
    settled(8)
    wait("body[data-places='8:3']")
    assert page.inner_text("#pkChosen") == "1 pick chosen"
    if shots:
        page.screenshot(path=f"{shots}/slice.png")
        page.click("#theme")
        page.screenshot(path=f"{shots}/light.png")
    page.keyboard.press("ArrowDown")
    assert "pick 0" in page.inner_text("#pkAt")
    page.keyboard.press("Delete")
    settled(9)
    wait("body[data-places='9:2']")
    # written, and refused where something is missing
    page.fill("#pkName", "mine.star")
    page.locator("#pkWrite button").click()
    wait("body[data-state=wrong]")
    assert "angles" in page.inner_text("#message")
    page.select_option("#pkPoses", "zero")
    page.locator("#pkWrite button").click()
    wait("#pkWritten:has-text('curated/mine.star')")
    found = starfile.read(project / "curated" / "mine.star")["particles"]
    places = found[["rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX"]].to_numpy()
    assert places == pytest.approx(np.array([[4, 12, 11.5], [4, 30, 26]]), abs=1.5 / scale)
    assert (project / "picks" / "TS_01__ribosome.star").read_bytes() == table
    # a table of a hostile name is a text
    page.select_option("#pkTable", label=f"picks/{HOSTILE}.star")
    wait(f"body[data-table={json.dumps(f'picks/{HOSTILE}.star')}]")
    assert page.title() != "1"
    assert [text for text in wrong if "400" not in text] == []
    origin = urlsplit(link)
    assert all(urlsplit(one)[:2] == origin[:2] and urlsplit(one).path.startswith(BASE) for one in asked)
    context.close()
