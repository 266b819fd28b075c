"""A server of pages as a process of its own, as users start and end it, and what a page has said and asked for."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from web_results import BASE

SECONDS = 60
"""Until a server that was asked to end must have ended, on a machine that does much else."""


@contextmanager
def serving(verb: str, place: Path, *more: str) -> Iterator[str]:
    """Yield the link of a server under a base path; Ctrl-C ends it in order."""
    program = Path(sys.executable).with_name("volengine")
    command = [str(program), verb, str(place), "--no-browser", "--base-path", BASE, *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = next(filter(None, (re.match(r"Open (\S+)", line) for line in process.stdout)), None)
        try:
            assert found is not None, f"the server ended with {process.wait(SECONDS)}"
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            ended = process.wait(SECONDS)
    assert ended == 0


def workbench(project: Path) -> Any:
    """As :func:`serving`, of the workbench; Ada draws."""
    return serving("workbench", project, "--user", "ada")


def watched(page: Any) -> tuple[list[str], list[str]]:
    """Two lists that grow: errors and warnings of a page, and the addresses that it asks for."""
    wrong: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    return wrong, asked
