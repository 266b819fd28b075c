"""Reading a page as a browser would: its elements, addresses and texts."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "input"}
DRAWN = {"path", "line", "circle", "rect", "image"}


@dataclass
class Element:
    """An element: its name, attributes, and the text directly in it."""

    tag: str
    attrs: dict[str, str]
    text: str = ""


@dataclass
class Seen(HTMLParser):
    """A page: its elements in their order. Elements must be closed in order."""

    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(one)
        if tag not in VOID:
            self._open.append(one)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1].text += data

    def of(self, tag: str) -> list[Element]:
        """The elements of a name."""
        return [one for one in self.elements if one.tag == tag]

    def meta(self, name: str) -> str:
        """A fact of the page."""
        return next(one.attrs["content"] for one in self.of("meta") if one.attrs.get("name") == name)

    @property
    def words(self) -> str:
        """What can be read."""
        return "\n".join(one.text for one in self.elements if one.tag not in ("style", "script"))


def seen(path: Path) -> Seen:
    """Read a page."""
    found = Seen()
    found.feed(path.read_text(encoding="utf-8"))
    found.close()
    assert found._open == []
    return found


def check_alone(page: Seen, folder: Path) -> None:
    """Check that a page names nothing outside of its folder, and that its policy allows only what is in it."""
    policy = next(one.attrs["content"] for one in page.of("meta") if one.attrs.get("http-equiv"))
    for kind in ("style", "script"):
        digests = {base64.b64encode(hashlib.sha256(one.text.encode()).digest()).decode() for one in page.of(kind)}
        allowed = re.search(rf"{kind}-src ([^;]*)", policy)
        assert allowed is not None
        assert set(re.findall(r"'sha256-([^']*)'", allowed[1])) == digests
        assert "unsafe" not in allowed[1]
    assert "default-src 'none'" in policy
    for one in page.elements:
        assert not {name for name in one.attrs if name.startswith("on") or name == "style"}, one
        for name in ("src", "href", "data", "action", "srcset", "xlink:href"):
            place = one.attrs.get(name, "")
            if place and not place.startswith("data:image/"):
                from urllib.parse import unquote, urlsplit

                assert not urlsplit(place).scheme
                assert not urlsplit(place).netloc
                assert (folder / unquote(place)).exists(), place
        assert one.tag not in ("link", "iframe", "object", "embed", "base", "form")
    for style in page.of("style"):
        assert not re.search(r"url\(|@import", style.text)
