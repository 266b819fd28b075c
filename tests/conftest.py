"""Shared by all tests: kernels that worker processes can import, and the folder of real data."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each; before NumPy and torch are read
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from calling import Answer, Command

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

settings.register_profile(
    "volengine",
    deadline=None,
    derandomize="SAME_EXAMPLES" in os.environ,  # a check before landing depends on the change, not on what is drawn
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("volengine")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sample data beside the checkout; tests that need it are skipped where it is not."""
    from places import DATA

    if not DATA.is_dir():
        pytest.skip("the folder of real sample data (shared/data beside the checkout) is not here")
    return DATA


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Networks that a test builds without a seed begin alike in every run, whatever ran before."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture
def volengine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the command as the shell would, in this process and the test's folder: exit code, output, messages."""
    from volengine.cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["volengine", *args])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call
