"""The workbench in a real browser: gallery, drawing with the mouse and with keys, two pages, nothing of elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from web_results import BASE, HOSTILE, SHAPE, write_mrc, write_results
from web_serving import watched, workbench

import volengine
from volengine.core.boxes import Box
from volengine.ops.strokes import brush

SECONDS = 90_000
"""Milliseconds until something must have come, on a machine that does much else."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def link(project: Path) -> Iterator[str]:
    """The link of a workbench under a base path."""
    with workbench(project) as link:
        yield link


class Page:
    """A page of the workbench, what it has said, and what it has asked for."""

    def __init__(self, context: Any, link: str):
        self.page = context.new_page()
        self.wrong, self.asked = watched(self.page)
        self.page.goto(link)
        self.wait("body[data-facts=all]")

    def wait(self, selector: str) -> None:
        self.page.wait_for_selector(selector, timeout=SECONDS)

    def open(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()
        self.wait(f"body[data-shown='{name}']")

    def settled(self) -> None:
        """Wait until the server has everything, and the page shows it."""
        self.page.wait_for_timeout(30)
        self.wait("body[data-waiting='0']")

    def add(self, feature: str) -> None:
        self.page.fill("#newFeature", feature)
        self.page.keyboard.press("Enter")
        self.wait(f"#features button.pickable[aria-checked=true]:has-text('{feature}')")

    @property
    def frame(self) -> tuple[float, float, float]:
        """Where the first voxel begins on the page, and pixels of a voxel, from what the page says of the pointer."""
        box = self.page.locator("#canvas").bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        scale = float(self.page.inner_text("#zoom").split()[0]) / 100
        return middle[0], middle[1], scale

    def under(self, x: float, y: float) -> tuple[int, int]:
        """The row and the column that the page names when the pointer is there."""
        self.page.mouse.move(x, y)
        found = re.search(r"· y (\d+) · x (\d+)", self.page.inner_text("#at"))
        assert found, self.page.inner_text("#at")
        return int(found[1]), int(found[2])


@pytest.fixture
def page(browser: Any, link: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    made = Page(context, link)
    yield made
    assert made.wrong == []
    origin = urlsplit(link)
    assert all(urlsplit(one)[:2] == origin[:2] and urlsplit(one).path.startswith(BASE) for one in made.asked)
    context.close()


def labels(project: Path, feature: str, index: int, name: str = "TS_01") -> np.ndarray:
    with volengine.Annotations(project / "annotations" / f"{name}.annotations") as store:
        plane: np.ndarray = store.labels(feature, Box((index, 0, 0), (index + 1, *SHAPE[1:])))[0]
        return plane


def test_the_gallery_is_searched_sorted_tagged_and_selected(page: Page, project: Path) -> None:
    p = page.page
    rows = p.locator("#rows .row:visible")
    assert rows.count() == 2
    assert p.locator("#rows .title").all_text_contents() == [HOSTILE, "TS_01"]
    assert p.title() != "1"  # the hostile name is text
    p.fill("#search", "ribosome>1")
    assert rows.locator(".title").all_text_contents() == ["TS_01"]
    p.click("#rows .row:visible button[title='Tags and note']")
    p.fill("#tags", "good, thin ice")
    p.fill("#note", "<b>look</b>")
    p.click("#keepNote")
    p.wait_for_selector("#noting", state="hidden", timeout=SECONDS)
    p.fill("#search", "tag:good look")
    assert rows.count() == 1
    assert "<b>look</b>" in rows.text_content()
    p.fill("#search", "")
    p.select_option("#sort", "picks")
    assert p.locator("#rows .title").all_text_contents() == [HOSTILE, "TS_01"]
    p.click("#order")
    assert p.locator("#rows .title").all_text_contents() == ["TS_01", HOSTILE]
    p.get_by_label("Select TS_01", exact=True).check()
    p.click("#saveList")
    p.fill("#listName", "best")
    p.click("#keepList")
    p.wait_for_selector("#listSaid:has-text('best.txt')", timeout=SECONDS)
    assert (project / "lists" / "best.txt").read_text() == f"{project / 'tomograms' / 'TS_01.ome.zarr'}\n"
    natural = p.locator("#rows img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert natural == SHAPE[2]
    p.keyboard.press("Escape")
    p.set_viewport_size({"width": 800, "height": 800})  # half a screen: nothing lies beyond its edge
    for section in ("picks", "tune", "annotate", "teach", "models", "run", "gallery"):
        p.click(f"nav [data-section={section}]")
        p.wait_for_selector(f"main#{section}:visible", timeout=SECONDS)
        beyond = "e => Math.max(...[e, ...e.querySelectorAll('aside')].map(o => o.scrollWidth - o.clientWidth))"
        assert p.locator(f"main#{section}").evaluate(beyond) <= 0
        assert p.evaluate("document.documentElement.scrollWidth") <= 800


def test_columns_of_tables_and_pictures_of_features(page: Page) -> None:
    p = page.page
    rows = p.locator("#rows .row:visible")
    p.click("#columns")
    p.fill("#columnSearch", "membrane")
    p.get_by_label("membrane.area_nm2", exact=True).check()
    p.keyboard.press("Escape")
    p.get_by_role("button", name="membrane.area_nm2").click()  # its head: sorted by it, what has none comes last
    assert p.locator("#rows .title").all_text_contents() == ["TS_01", HOSTILE]
    p.click("#order")
    assert p.locator("#rows .title").all_text_contents() == ["TS_01", HOSTILE]
    p.fill("#search", "membrane.area_nm2>1e1 ribosome.picks<3")
    assert rows.locator(".title").all_text_contents() == ["TS_01"]
    assert rows.locator(".extra").all_text_contents() == ["96"]
    p.fill("#search", "membrane.area_nm2<1")  # that of the other one is not known
    assert rows.count() == 0
    p.reload()
    page.wait("body[data-facts=all]")
    assert p.locator("#rows .extra").all_text_contents() == ["", "96"]  # what was chosen is kept
    p.select_option("#pictured", "ribosome")
    image = p.locator("#rows .row:has-text('TS_01') img")
    assert "feature=ribosome" in image.get_attribute("src")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == SHAPE[2]
    other = p.locator("#rows .row img").first
    assert "feature" not in other.get_attribute("src")


def test_strokes_lie_where_the_pointer_went(page: Page, project: Path) -> None:
    p = page.page
    page.open("TS_01")
    page.add("membrane")
    p.locator("#size").fill("6")
    for zoomed in (False, True):
        if zoomed:
            p.keyboard.press("End")  # another slice
            page.wait(f"body[data-slice='z={SHAPE[0] - 1}']")
            box = p.locator("#canvas").bounding_box()
            p.mouse.move(box["x"] + 300, box["y"] + 250)
            p.keyboard.down("Control")
            p.mouse.wheel(0, -100)
            p.mouse.wheel(0, -100)
            p.keyboard.up("Control")
            p.mouse.down(button="middle")
            p.mouse.move(box["x"] + 337, box["y"] + 231, steps=3)
            p.mouse.up(button="middle")
        x, y, scale = page.frame
        begin, end = (x - 3 * scale, y - 2 * scale), (x + 4 * scale, y + 3 * scale)
        (r0, c0), (r1, c1) = page.under(*begin), page.under(*end)
        assert (r1 - r0, c1 - c0) == pytest.approx((5, 7), abs=1)
        p.mouse.move(*begin)
        p.mouse.down()
        p.mouse.move(*end, steps=7)
        p.mouse.up()
        page.settled()
        found = labels(project, "membrane", SHAPE[0] - 1 if zoomed else SHAPE[0] // 2)
        wide = brush([(r0, c0), (r1, c1)], 3 + 0.75, SHAPE[1:]).whole(SHAPE[1:])  # a pointer is within half a voxel
        thin = brush([(r0, c0), (r1, c1)], 3 - 0.75, SHAPE[1:]).whole(SHAPE[1:])
        assert found[thin].all()
        assert not found[~wide].any()
    # a dab in the middle of a voxel covers a disc around its centre, exactly
    p.keyboard.press("Home")
    page.wait("body[data-slice='z=0']")
    p.keyboard.press("0")
    x, y, scale = page.frame
    p.mouse.move(x + scale / 2, y + scale / 2)  # an even number of voxels: the middle of the slice is a corner
    p.mouse.down()
    p.mouse.up()
    page.settled()
    middle = SHAPE[1] // 2, SHAPE[2] // 2
    rows, columns = np.indices(SHAPE[1:])
    assert np.array_equal(labels(project, "membrane", 0), np.hypot(rows - middle[0], columns - middle[1]) <= 3)


def test_undo_redo_boxes_points_keys_and_reload(page: Page, project: Path) -> None:
    p = page.page
    p.evaluate("() => { location.hash = '#annotate=TS_01'; }")
    page.wait("body[data-shown='TS_01']")
    page.add("ribosome")
    p.locator("#canvas").focus()
    p.keyboard.press("ArrowRight")
    index = SHAPE[0] // 2 + 1
    page.wait(f"body[data-slice='z={index}']")
    p.keyboard.press("b")
    for key in ("Alt+ArrowRight", "Alt+Shift+ArrowDown", "Enter"):  # from the middle, without a mouse
        p.keyboard.press(key)
    page.settled()
    drawn = labels(project, "ribosome", index)
    assert drawn[SHAPE[1] // 2 + 10, SHAPE[2] // 2 + 1] == 1
    p.keyboard.press("Control+z")
    page.settled()
    assert not labels(project, "ribosome", index).any()
    p.keyboard.press("Control+y")
    page.settled()
    assert np.array_equal(labels(project, "ribosome", index), drawn)
    x, y, scale = page.frame
    p.keyboard.press("p")
    row, column = page.under(x + 5.5 * scale, y + 5.5 * scale)
    p.mouse.click(x + 5.5 * scale, y + 5.5 * scale)
    p.keyboard.press("r")
    p.mouse.move(x - 5.5 * scale, y - 5.5 * scale)
    p.mouse.down()
    p.mouse.move(x - 2.5 * scale, y - 1.5 * scale, steps=3)
    p.mouse.up()
    page.settled()
    with volengine.Annotations(project / "annotations" / "TS_01.annotations") as store:
        (point,), ((_, box),) = store.points("ribosome"), store.boxes("ribosome")
    assert point.facts["position"] == [index, row, column]
    middle = SHAPE[1] // 2, SHAPE[2] // 2
    assert box == Box((index, middle[0] - 6, middle[1] - 6), (index + 1, middle[0] - 1, middle[1] - 2))
    p.reload()
    page.wait("body[data-shown='TS_01']")
    p.get_by_role("radio", name="ribosome").click()
    p.keyboard.press(".")  # the slice drawn on
    page.wait(f"body[data-slice='z={index}']")
    assert "1 slice " in p.inner_text("#drawnOn")
    p.keyboard.press("r")
    p.mouse.click(x - 4 * scale, y - 4 * scale, button="right")
    page.settled()
    with volengine.Annotations(project / "annotations" / "TS_01.annotations") as store:
        assert store.boxes("ribosome") == []


def test_what_others_draw_is_seen_and_refusals_are_said(page: Page, link: str, project: Path) -> None:
    name = f"#annotate={quote(HOSTILE)}"
    other = page.page.context.new_page()
    for one in (page.page, other):
        one.goto(f"{link.split('?')[0]}{name}")
        one.wait_for_selector("body[data-slice]", timeout=SECONDS)
    other.fill("#user", "bob")
    other.locator("#user").blur()
    page.add("actin")
    other.wait_for_selector("#features:has-text('actin')", timeout=SECONDS)  # by asking for the version alone
    version = int(other.get_attribute("body", "data-version") or 0)
    box = page.page.locator("#canvas").bounding_box()
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.settled()
    other.wait_for_selector(f"body[data-version='{version + 1}']", timeout=SECONDS)
    assert other.locator("#undo").is_disabled()  # it is ada's
    store = project / "annotations" / f"{HOSTILE}.annotations"
    before = labels(project, "actin", SHAPE[0] // 2, HOSTILE)
    journal = store / "journal"
    journal.rename(store / "elsewhere")
    page.page.mouse.click(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2)
    page.wait("body[data-state=wrong]")
    (store / "elsewhere").rename(journal)
    assert np.array_equal(labels(project, "actin", SHAPE[0] // 2, HOSTILE), before)
    page.wrong = [text for text in page.wrong if "Failed to load resource" not in text]  # the refusal
    other.close()


def test_predictions_and_interpolation(page: Page, project: Path) -> None:
    p = page.page
    page.open("TS_01")
    page.add("core")
    p.select_option("#prediction", label="ribosome")
    p.locator("#index").fill("7")
    page.wait("body[data-slice='z=7']")
    p.click("#takeSlice")
    page.settled()
    assert labels(project, "core", 7).sum() == 16
    p.locator("#index").fill("9")
    page.wait("body[data-slice='z=9']")
    p.click("#takeSlice")
    page.settled()
    p.locator("#index").fill("8")
    page.wait("body[data-slice='z=8']")
    p.keyboard.press("Shift+I")
    p.wait_for_selector("#confirm:visible", timeout=SECONDS)
    assert not labels(project, "core", 8).any()  # it is a preview
    p.click("#confirm")
    page.settled()
    assert np.array_equal(labels(project, "core", 8), labels(project, "core", 7))


def test_a_tomogram_that_cannot_be_read_has_a_plain_place_and_the_reason(browser: Any, tmp_path: Path) -> None:
    (tmp_path / ("torn" * 9 + ".mrc")).write_bytes(b"no volume" * 200)
    write_mrc(tmp_path / "TS_01.mrc", np.zeros((4, 8, 8), np.float32))
    with workbench(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        try:
            page.goto(address)
            place = page.wait_for_selector(".noPicture:visible[title*=mrc]", timeout=SECONDS)
            assert place.get_attribute("aria-label").startswith("No picture of torn")
            assert page.locator(".row img:visible").count() == 1
            fault = page.wait_for_selector("#rows .fault", timeout=SECONDS)
            assert fault.evaluate(
                "one => one.scrollWidth <= one.clientWidth && one.offsetWidth <= one.parentElement.offsetWidth"
            )
        finally:
            page.close()
