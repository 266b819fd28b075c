"""Benchmarks see the tests' support modules and their own."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "tests" / "support"):
    sys.path.insert(0, str(folder))
