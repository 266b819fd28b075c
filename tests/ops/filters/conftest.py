"""Reference files of membrain-seg 0.0.10, made from ``in.mrc``."""

from __future__ import annotations

import mrcfile
import pytest
from places import DATA

CASES = DATA.parent / "cases" / "parity" / "membrain_preprocessing"


@pytest.fixture
def membrain():
    """``membrain(name)`` reads one of them as float64; tests are skipped where they are not."""
    if not CASES.is_dir():
        pytest.skip("the reference files of membrain-seg (shared/cases beside the checkout) are not here")
    return lambda name: mrcfile.read(CASES / f"{name}.mrc").astype(float)
