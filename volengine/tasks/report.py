"""A report as one HTML file that needs nothing else: text, tables and pictures are all inside.

>>> import numpy as np
>>> report = Report("A tomogram", "What was found in it.")
>>> report.heading("Score")
>>> report.table([("known centres found", "2 of 2")])
>>> black = np.zeros((20, 30, 3), np.uint8)
>>> report.gallery([(black, "tomogram"), (black, "labels")], "z = 4")
>>> report.write("report.html")                                                              # doctest: +SKIP

It reads well on a telephone and on a wide screen, in a light and in a dark window, and without a network: no script, no
font and no picture is fetched from anywhere. All text is escaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volengine.ops.pictures import Colour, Picture, png

STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --paper: #fdfdfc; --line: #8885; --soft: #8881; --strong: #0b6e8f; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe6ec; --paper: #12181e; --strong: #6cc7e6; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 0 auto; padding: 1rem clamp(1rem, 4vw, 3rem) 4rem; }
h1 { line-height: 1.2; margin-bottom: .4rem; }
h2 { margin-top: 2.4rem; padding-bottom: .2rem; border-bottom: 2px solid var(--line); }
a { color: var(--strong); }
.lead { font-size: 1.1rem; max-width: 46rem; } p { max-width: 52rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.numbers div { background: var(--soft); border-radius: .5rem; padding: .7rem 1rem; }
.numbers b { display: block; font-size: 1.7rem; line-height: 1.2; color: var(--strong); }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
tr { border-bottom: 1px solid var(--line); } td { font-variant-numeric: tabular-nums; }
figure { margin: 1.2rem 0; } figcaption { font-size: .9rem; opacity: .85; }
figure > figcaption { font-weight: 600; opacity: 1; margin-bottom: .3rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(13rem, 44%), 1fr)); gap: .6rem; }
.gallery figure { margin: 0; } .gallery figcaption { font-weight: 400; opacity: .85; margin: .2rem 0 0; }
img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: .25rem; }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.key { display: inline-block; width: .9em; height: .9em; border-radius: 50%; vertical-align: -.1em;
  margin-right: .4em; }
pre { background: var(--soft); padding: .9rem; border-radius: .5rem; overflow-x: auto; font-size: .85rem; }
"""


class Report:
    """Collects parts from top to bottom and writes them as one file.

    Parameters
    ----------
    title, lead
        The heading, and a paragraph in larger letters below it.
    """

    def __init__(self, title: str, lead: str = ""):
        self.title = title
        self._parts: list[str] = [f'<p class="lead">{html.escape(lead)}</p>'] if lead else []

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph of plain text."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def link(self, text: str, href: str) -> None:
        """A paragraph that leads to another page, given relative to this one."""
        self._parts.append(f'<p><a href="{html.escape(href)}">{html.escape(text)}</a></p>')

    def numbers(self, entries: Sequence[tuple[str, str]]) -> None:
        """Numbers to see first: (number, what it is)."""
        items = [f"<div><b>{html.escape(n)}</b>{html.escape(t)}</div>" for n, t in entries]
        self._parts.append(f'<div class="numbers">{"".join(items)}</div>')

    def key(self, entries: Sequence[tuple[Colour, str]]) -> None:
        """What the colours mean."""
        items = [
            f'<span><span class="key" style="background:rgb({r},{g},{b})"></span>{html.escape(text)}</span>'
            for (r, g, b), text in entries
        ]
        self._parts.append(f'<p class="keys">{"".join(items)}</p>')

    def table(self, rows: Sequence[Sequence[Any]], head: Sequence[str] = ()) -> None:
        cells = [f"<tr>{''.join(f'<td>{html.escape(str(c))}</td>' for c in row)}</tr>" for row in rows]
        if head:
            cells.insert(0, f"<tr>{''.join(f'<th>{html.escape(h)}</th>' for h in head)}</tr>")
        self._parts.append(f'<div class="wide"><table>{"".join(cells)}</table></div>')

    def code(self, text: str) -> None:
        """Text as it is, in a fixed-width font."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def picture(self, picture: Picture, caption: str) -> None:
        """An RGB array (y, x, 3), uint8, with a caption above it."""
        self._parts.append(
            f"<figure><figcaption>{html.escape(caption)}</figcaption>{_image(picture, caption)}</figure>"
        )

    def gallery(self, pictures: Sequence[tuple[Picture, str]], caption: str) -> None:
        """Pictures side by side, in as many rows as the window needs: (RGB array, what it shows)."""
        items = [
            f"<figure>{_image(p, f'{caption}: {t}')}<figcaption>{html.escape(t)}</figcaption></figure>"
            for p, t in pictures
        ]
        grid = f'<div class="gallery">{"".join(items)}</div>'
        self._parts.append(f"<figure><figcaption>{html.escape(caption)}</figcaption>{grid}</figure>")

    def render(self) -> str:
        """The page."""
        title = html.escape(self.title)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )

    def write(self, path: str | Path) -> None:
        """The file; it appears when it is complete."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_text(self.render(), encoding="utf-8")
        part.replace(target)


def _image(picture: Picture, description: str) -> str:
    data = base64.b64encode(png(picture)).decode()
    height, width = picture.shape[:2]
    return (
        f'<img width="{width}" height="{height}" alt="{html.escape(description)}" src="data:image/png;base64,{data}">'
    )
