"""The report: one file, complete, escaped, and with nothing to fetch."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from volengine.tasks.report import Report

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed in order; collects addresses, text and picture descriptions."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.descriptions: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]
        self.descriptions += [value or "" for name, value in attrs if name == "alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)


@pytest.fixture
def report(picture: np.ndarray) -> Report:
    report = Report("Shells <and> cores", "A lead & more.")
    report.heading("Score")
    report.numbers([("2 of 2", "known centres"), ("97 %", "covered")])
    report.text("x < 62 & 'quoted'")
    report.table([("a<b", 1), ("c", 2.5)], head=("name", "value"))
    report.key([((255, 153, 51), "shell"), ((77, 166, 255), "core")])
    report.code('{"radius_nm": 48}\n  <tag>')
    report.picture(picture, 'z = 4 "slice"')
    report.gallery([(picture, "tomogram"), (255 - picture, "labels")], "y = 7")
    return report


def test_everything_is_in_the_page_in_order_and_escaped(report: Report):
    reader = read(report.render())
    text = "|".join(reader.words)
    wanted = ("Shells <and> cores", "A lead & more.", "Score", "2 of 2", "covered", "x < 62 & 'quoted'", "name", "a<b")
    wanted += ("2.5", "shell", '{"radius_nm": 48}\n  <tag>', 'z = 4 "slice"', "y = 7", "tomogram", "labels")
    places = [text.find(w) for w in wanted]
    assert -1 not in places
    assert places == sorted(places)
    assert "tag" not in reader.tags
    assert reader.tags.count("tr") == 3
    assert reader.tags.count("th") == 2
    assert reader.descriptions == ['z = 4 "slice"', "y = 7: tomogram", "y = 7: labels"]


def test_pictures_are_inside_and_nothing_is_fetched(report: Report, picture: np.ndarray):
    from PIL import Image

    page = report.render()
    reader = read(page)
    assert len(reader.addresses) == 3
    shown = []
    for address in reader.addresses:
        kind, data = address.split(",", 1)
        assert kind == "data:image/png;base64"
        shown.append(np.array(Image.open(io.BytesIO(base64.b64decode(data)))))
    for got, expected in zip(shown, (picture, picture, 255 - picture), strict=True):
        np.testing.assert_array_equal(got, expected)
    outside = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", outside)


def test_page_suits_small_and_dark_windows(report: Report):
    page = report.render()
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert 'charset="utf-8"' in page


def test_file_is_written_whole_and_leaves_nothing_beside_it(report: Report, tmp_path: Path):
    target = tmp_path / "new" / "report.html"
    report.write(target)
    assert target.read_text(encoding="utf-8") == report.render()
    report.text("näher, Å")
    report.write(str(target))
    assert "näher, Å" in target.read_text(encoding="utf-8")
    assert list(target.parent.iterdir()) == [target]


def test_a_link_is_relative_and_escaped():
    report = Report("One")
    report.link("To <two>", 'two/"report".html')
    assert '<a href="two/&quot;report&quot;.html">To &lt;two&gt;</a>' in report.render()
