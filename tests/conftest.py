"""Shared by all tests: kernels that worker processes can import, and the folder of real data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each; before NumPy and torch are read
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

settings.register_profile(
    "volengine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("volengine")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sample data beside the checkout; tests that need it are skipped where it is not."""
    path = Path(__file__).parents[1].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the folder of real sample data (shared/data beside the checkout) is not here")
    return path


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Networks that a test builds without a seed begin alike in every run, whatever ran before."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
