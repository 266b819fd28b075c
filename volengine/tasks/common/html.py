"""Pages: a template filled with values, as one HTML file that needs nothing else; text and pictures are all inside.

The templates lie in ``volengine/data/pages``: ``base.html`` holds the style, ``parts.html`` numbers, tables and
galleries. A page reads well on a telephone and on a wide screen, in a light and in a dark window, and without a
network: no script, no font and no picture is fetched from anywhere. Values are escaped; a missing one is an error.

>>> Page("demo.html", {"note": "A tomogram.", "found": found}).write("report.html")        # doctest: +SKIP
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.atomic import write_atomic
from volengine.ops.pictures import png

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """The templates; ``png`` makes an RGB array (y, x, 3; uint8) text that stands in a page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("volengine.data", "pages")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["png"] = lambda picture: base64.b64encode(png(picture)).decode()
    return made


@dataclass(frozen=True)
class Page:
    """The name of a template, and the values that it shows."""

    template: str
    values: Mapping[str, Any]

    def render(self) -> str:
        """The page's text."""
        return environment().get_template(self.template).render(self.values)

    def write(self, path: str | Path) -> None:
        """The file; it appears when it is complete."""
        write_atomic(path, self.render())
