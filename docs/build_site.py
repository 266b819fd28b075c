"""Build the documentation as a site and check it: ``python docs/build_site.py [FOLDER]`` (``make site``; ``site/``).

Any warning of Sphinx is an error. The pages that came out are then read once more: each link within the site must lead
to a file and a heading that exist, and no page may load anything from elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.cmd.build import main as sphinx

ROOT = Path(__file__).resolve().parents[1]
LOADS = {"script": "src", "img": "src", "link": "href", "source": "srcset", "iframe": "src", "video": "src"}


class Page(HTMLParser):
    """The links, the loaded files and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each element."""
        named = {name: value or "" for name, value in attrs}
        self.anchors.add(named.get("id", ""))
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        if tag in LOADS and LOADS[tag] in named and not (tag == "link" and named.get("rel") == "canonical"):
            self.loads.append(named[LOADS[tag]])


def faults(folder: Path) -> Iterator[str]:
    """What is wrong with the pages in a folder: links that lead nowhere, files from elsewhere."""
    read = {path.resolve(): Page(path.read_text()) for path in folder.rglob("*.html")}
    for path, page in read.items():
        where = path.relative_to(folder.resolve())
        for link in page.loads:
            if urlsplit(link).netloc:
                yield f"{where}: loads {link} from elsewhere"
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                yield f"{where}: {link} does not exist"
            elif parts.fragment and target in read and unquote(parts.fragment) not in read[target].anchors:
                yield f"{where}: {link}: there is no such place on that page"


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    kept = folder / ".doctrees"
    if code := sphinx(["-W", "--keep-going", "-q", "-c", str(ROOT / "docs"), "-d", str(kept), str(ROOT), str(folder)]):
        return code
    found = list(faults(folder))
    print("\n".join(found) if found else f"{len(list(folder.rglob('*.html')))} pages in {folder}: all links hold.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
