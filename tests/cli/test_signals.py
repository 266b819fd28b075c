"""Ctrl-C and SIGTERM in the middle of imports, and in places that swallow them: the command ends in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
"""

AT = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{number})
        return None

sys.meta_path.insert(0, Finder())
import volengine.cli
volengine.cli.__path__.insert(0, ".")
sys.argv = ["volengine", "env"]
from volengine.cli.start import main
main()
"""

WAITS = """
import threading
import click
import numpy
command = click.Command("env", callback=lambda: threading.Event().wait(60))
"""
"""A module in place of that of a verb, which waits for a signal."""

SWALLOWING = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
except BaseException:
    pass
"""

LATER = """
from volengine.cli.signals import take_signals
take_signals()
class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        import time
        time.sleep(0.1)
try:
    {act}
    import threading
    threading.Event().wait(60)
except KeyboardInterrupt:
    print("stopped")
"""


def run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BEGIN + text]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)


@pytest.mark.parametrize("name", ["click", "volengine.cli.env", "numpy"])
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_during_an_import_stops_the_command_with_one_line(
    tmp_path: Path, name: str, number: str, code: int
) -> None:
    (tmp_path / "env.py").write_text(WAITS)
    done = run(AT.format(name=name, number=number), tmp_path)
    assert done.stderr.split() == ["Stopped."]
    assert done.returncode == code


@pytest.mark.parametrize("act", ["import swallowing", "Closing()"])
def test_a_signal_that_is_swallowed_comes_again(tmp_path: Path, act: str) -> None:
    (tmp_path / "swallowing.py").write_text(SWALLOWING)
    done = run("sys.path.insert(0, '.')" + LATER.format(act=act), tmp_path)
    assert done.stdout.split() == ["stopped"]
    assert done.stderr == ""
    assert done.returncode == 0


def test_ctrl_c_stays_ignored_where_it_was(tmp_path: Path) -> None:
    text = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
from volengine.cli.signals import take_signals
take_signals()
os.kill(os.getpid(), signal.SIGINT)
print("goes on")
"""
    assert run(text, tmp_path).stdout.split() == ["goes", "on"]


def test_the_package_is_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "volengine", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("volengine, version")
