"""A report as one HTML file that needs nothing else: text, tables and pictures are all inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volengine.ops.pictures import Picture

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .8rem; text-align: left; }
tr { border-bottom: 1px solid var(--line); } td:not(:first-child) { font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } figure { margin: 1rem 0; } img { max-width: 100%; image-rendering: pixelated; }
figcaption { font-size: .9rem; opacity: .85; } pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
.key { display: inline-block; width: .9em; height: .9em; border-radius: 50%; vertical-align: -.1em; margin: 0 .25em; }
"""


class Report:
    """Collects parts from top to bottom and writes them as one file."""

    def __init__(self, title: str):
        self.title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph of plain text."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def key(self, entries: Sequence[tuple[tuple[int, int, int], str]]) -> None:
        """What the colours mean."""
        items = [f'<span class="key" style="background:rgb{colour}"></span>{html.escape(t)}' for colour, t in entries]
        self._parts.append(f"<p>{' &nbsp; '.join(items)}</p>")

    def table(self, rows: Sequence[Sequence[Any]], head: Sequence[str] = ()) -> None:
        cells = [f"<tr>{''.join(f'<td>{html.escape(str(c))}</td>' for c in row)}</tr>" for row in rows]
        if head:
            cells.insert(0, f"<tr>{''.join(f'<th>{html.escape(h)}</th>' for h in head)}</tr>")
        self._parts.append(f'<div class="wide"><table>{"".join(cells)}</table></div>')

    def code(self, text: str) -> None:
        """Text as it is, in a fixed-width font."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def picture(self, picture: Picture, caption: str) -> None:
        """An RGB array (y, x, 3), uint8."""
        data = base64.b64encode(png(picture)).decode()
        source = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
        self._parts.append(f"<figure>{source}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def write(self, path: str | Path) -> None:
        """The file; it appears when it is complete."""
        title = html.escape(self.title)
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>{''.join(self._parts)}</html>\n"
        )
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_text(page, encoding="utf-8")
        part.replace(target)


def png(picture: Picture) -> bytes:
    """A picture as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
