"""Pages: one file, complete, escaped, and with nothing to fetch."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

from volengine.engine.report import RunReport
from volengine.tasks.common.html import Page, environment

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


TEMPLATE = """
{% extends "base.html" %}
{% import "parts.html" as parts %}
{% block title %}{{ title }}{% endblock %}
{% block body %}
<p class="lead">{{ lead }}</p>
<h2>Score</h2>
{{ parts.numbers([("known centres", "2 of 2"), (covered, "97 %")]) }}
<p><a href="{{ address }}">{{ link }}</a></p>
{{ parts.table([("a<b", 1), ("c", 2.5)], head=("name", "value")) }}
{{ parts.key([((255, 153, 51), "shell"), ((77, 166, 255), "core")]) }}
<pre>{{ code }}</pre>
{{ parts.slices([("z", 4, [(picture, 'the "tomogram"'), (inverse, "labels")]), ("y", 7, [(picture, "alone")])]) }}
{% endblock %}
"""
VALUES = {
    "title": "Shells <and> cores",
    "lead": "A lead & more.",
    "covered": "x < 62 & 'covered'",
    "address": 'two/"report".html',
    "link": "To <two>",
    "code": '{"radius_nm": 48}\n  <tag>',
}


@pytest.fixture
def page(picture: np.ndarray) -> str:
    return environment().from_string(TEMPLATE).render({**VALUES, "picture": picture, "inverse": 255 - picture})


def test_everything_is_in_the_page_in_order_and_escaped(page: str):
    reader = read(page)
    text = "|".join(reader.words)
    wanted = (
        "Shells <and> cores",
        "A lead & more.",
        "Score",
        "2 of 2",
        "x < 62 & 'covered'",
        "To <two>",
        "name",
        "a<b",
    )
    wanted += ("2.5", "shell", '{"radius_nm": 48}\n  <tag>', "z = 4", 'the "tomogram"', "labels", "z down", "alone")
    places = [text.find(w) for w in wanted]
    assert -1 not in places
    assert places == sorted(places)
    assert "tag" not in reader.tags
    assert reader.tags.count("tr") == 3
    assert reader.tags.count("th") == 2
    down = "z = 4 (x to the right, y down)"
    assert reader.descriptions[:2] == [f'{down}: the "tomogram"', f"{down}: labels"]
    assert reader.addresses[0] == 'two/"report".html'


def test_pictures_are_inside_and_nothing_is_fetched(page: str, picture: np.ndarray):
    from PIL import Image

    reader = read(page)
    assert len(reader.addresses) == 4
    shown = []
    for address in reader.addresses[1:]:
        kind, data = address.split(",", 1)
        assert kind == "data:image/png;base64"
        shown.append(np.array(Image.open(io.BytesIO(base64.b64decode(data)))))
    for got, expected in zip(shown, (picture, 255 - picture, picture), strict=True):
        np.testing.assert_array_equal(got, expected)
    outside = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", outside)


def test_page_suits_small_and_dark_windows(page: str):
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert 'charset="utf-8"' in page


def test_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path):
    target = tmp_path / "new" / "report.html"
    Page("base.html", {}).write(target)
    assert target.read_text(encoding="utf-8") == Page("base.html", {}).render()
    report = RunReport({"plans": {}, "wall_seconds": 1.0, "options": {"workers": 2}})
    found = {"real": True, "extra_picks": []}
    values = {"note": "näher, Å", "second": "", "split_x": 62, "found": found, "score": [], "extra": [], "key": []}
    values |= {"erased": 1, "core": 2, "galleries": [], "report": report, "recipe": "{}"}
    Page("demo.html", values).write(str(target))
    assert "näher, Å" in target.read_text(encoding="utf-8")
    with pytest.raises(UndefinedError, match="'note' is undefined"):
        Page("demo.html", {k: v for k, v in values.items() if k != "note"}).write(target)
    assert "näher, Å" in target.read_text(encoding="utf-8")
    assert list(target.parent.iterdir()) == [target]
