"""The command line, called in the process of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from calling import Answer, Command

from volengine.cli.main import main


@pytest.fixture
def volengine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the command as the shell would, in the test's folder: exit code, output, messages."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["volengine", *args])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call
