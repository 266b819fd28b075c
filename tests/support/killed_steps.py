"""Kill a task at a step of the file system: in a fork of a fresh process that has no other threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = {"open", "os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
"""Events of Python's audit hooks (PEP 578) that are steps."""


def forked(task: Callable[[], Any]) -> int:
    """Run a task in a fork; returns its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        task()
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)
    os._exit(0)


def killed(task: Callable[[], Any], step: int, folder: Path) -> int:
    """Run a task in a fork that ends with code 9 after so many steps; files are opened in ``folder`` if they count."""
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        # not every path is absolute: names in an open folder are none
        if event in STEPS and (event != "open" or str(folder) in str(arguments[0])):
            seen += 1
            if seen > step:
                os._exit(9)

    def run() -> None:
        sys.addaudithook(count)
        task()

    return forked(run)


def steps_of(script: str, folder: Path, *arguments: str) -> int:
    """Run a script that kills something at its steps in a process of its own; returns the step that it prints last."""
    path = folder / "script.py"
    path.write_text(script)
    places = folder / "places"
    places.mkdir()
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(path), str(places), *arguments]
    env = {**os.environ, "PYTHONPATH": here}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=env)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return int(ran.stdout.split()[-1])
