"""A run with its pages."""

from __future__ import annotations

import pytest
from report_runs import Ran, make_run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run of two tomograms with its pages; tests of this module do not change it."""
    return make_run(tmp_path_factory.mktemp("run"), "a", "b")
