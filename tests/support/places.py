"""Where the checkout, its references and the real sample data beside it lie."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
REFERENCES = TESTS / "references"
DATA = ROOT.parent / "shared" / "data"
"""Real sample data; tests that need it are skipped where it is not."""
