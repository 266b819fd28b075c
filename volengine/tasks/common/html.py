"""Fill a template with values and write it as one HTML page, which contains all its text and pictures.

The templates lie in ``volengine/data/pages``: ``base.html`` holds the style, ``parts.html`` numbers, tables and
galleries. A page adapts to the width of the screen and to light and dark mode, and needs no network: it loads no
script or font, and pictures only from beside it. Its policy lets a browser use nothing but what was written into it:
styles and scripts are named by their digests. Values are escaped; a missing value is an error.

>>> Page("demo.html", {"note": "A tomogram.", "found": found}).write("report.html")        # doctest: +SKIP
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.atomic import write_atomic
from volengine.ops.figures import hexadecimal
from volengine.ops.pictures import png

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY, NONE = "@policy@", "'none'"
"""What stands in ``base.html`` for the policy; what it says where nothing is allowed."""


@cache
def environment() -> Environment:
    """The Jinja2 environment of the templates; its filter ``png`` turns an RGB array (y, x, 3) uint8 into text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("volengine.data", "pages")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["png"] = lambda picture: base64.b64encode(png(picture)).decode()
    made.globals["hexadecimal"] = hexadecimal
    return made


@dataclass(frozen=True)
class Page:
    """A template, by name, and the values that it shows."""

    template: str
    values: Mapping[str, Any]

    def render(self) -> str:
        """The page as HTML text."""
        return with_policy(environment().get_template(self.template).render(self.values))

    def write(self, path: str | Path) -> None:
        """Write the page; the file appears when it is complete."""
        write_atomic(path, self.render())


def with_policy(page: str) -> str:
    """Put the digests of a page's styles and scripts into its policy, which stands before them."""
    allowed = {
        kind: " ".join(f"'sha256-{_digest(text)}'" for text in re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL))
        for kind in ("style", "script")
    }
    policy = (
        "default-src 'none'; img-src 'self' data: file:; base-uri 'none'; form-action 'none'; "
        f"style-src {allowed['style'] or NONE}; script-src {allowed['script'] or NONE}"
    )
    return page.replace(POLICY, policy, 1)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
