"""The documentation as a site: ``make site`` builds it into ``site/`` with Sphinx.

The pages are those that people read in the repository, from its root on, so that their links hold in both places.
Signatures, fields and options are in them already: :mod:`generated` writes these parts from the docstrings.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "https://github.com/volengine/volengine/tree/main/"
MENU = {
    "Begin": [
        *("docs/tutorial", "docs/tutorial-browser", "docs/how-to-run", "docs/how-to-recipe", "docs/how-to-tune"),
        "docs/reliability",
    ],
    "Volumes and looking": [
        *("docs/how-to-filter", "docs/how-to-montage", "docs/how-to-look", "docs/how-to-report", "docs/how-to-view"),
        *("docs/how-to-workbench", "docs/notebooks"),
    ],
    "Networks": [
        "docs/how-to-annotate",
        "docs/how-to-teach",
        "docs/how-to-train",
        "docs/model-cytoplasm",
        "docs/how-to-models",
        "docs/experiments",
    ],
    "Particles and scores": ["docs/how-to-picks", "docs/how-to-curate", "docs/how-to-stats", "docs/how-to-score"],
    "Membranes": ["docs/how-to-membranes", "docs/how-to-membranes-measures", "docs/how-to-membranes-picking"],
    "Simulation": ["docs/simulate", "docs/realism"],
    "Clusters": ["docs/how-to-cluster", "deploy/README", "deploy/local"],
    "Reference": ["docs/api", "docs/formats", "docs/glossary", "docs/design", "docs/benchmarks", "CHANGELOG"],
    "Project": ["CONTRIBUTING", "docs/release"],
}
"""The pages in the order of the site's menu; :func:`with_menu` adds those of ``docs`` that it does not name."""

sys.path.insert(0, str(ROOT))
import volengine  # noqa: E402

project = "volengine"
author = "The volengine developers"
version = release = volengine.__version__

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "deploy/*.md"]
myst_heading_anchors = 4
templates_path = ["templates"]

html_theme = "furo"
html_title = f"volengine {version}"
html_additional_pages = {"index": "to_readme.html"}
html_copy_source = False
copybutton_prompt_text = r"\$ |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"


def with_menu(text: str) -> str:
    """The first page and the site's menu, which only the site needs."""
    named = [page for pages in MENU.values() for page in pages]
    found = [f"docs/{path.stem}" for path in sorted((ROOT / "docs").glob("*.md"))]
    menu = {**MENU, "Reference": [*MENU["Reference"], *(page for page in found if page not in named)]}
    trees = (
        "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])
        for caption, pages in menu.items()
    )
    return text + "\n" + "\n".join(trees)


def with_folders_elsewhere(text: str, folder: str) -> str:
    """The page with its links to folders of the repository, of which the site has no page, leading there."""

    def elsewhere(found: re.Match[str]) -> str:
        target = (ROOT / folder / found[1]).resolve()
        return f"]({SOURCE}{target.relative_to(ROOT)})" if target.is_dir() else found[0]

    return re.sub(r"\]\(([\w./-]+/)\)", elsewhere, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = with_folders_elsewhere(source[0], str(Path(name).parent))
    if name == root_doc:
        source[0] = with_menu(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
