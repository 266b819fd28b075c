"""The live view of a collection: what it shows, in a real terminal beside a real driver, and as lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from many_volumes import finished_one, many
from rich.console import Console

from volengine.cli.live import AROUND, live_view
from volengine.engine.census import Census, Standing

DRIVER = """
import sys
from pathlib import Path
from volengine.engine.driver_lock import only_driver
with only_driver(Path(sys.argv[1]), None):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def drawn(found: Census, rows: int, width: int = 100) -> list[str]:
    console = Console(width=width, file=StringIO())
    console.print(live_view(found, "m.csv", rows))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def census_of(finished: int, waiting: int, failed: int = 1, running: int = 2) -> Census:
    volumes = [Standing(f"F{n:03d}", "finished", 4, 4, ended=float(n)) for n in range(finished)]
    volumes += [Standing(f"W{n:03d}", "waiting") for n in range(waiting)]
    volumes += [Standing(f"R{n}", "running", 1, 4, "segment 1/2") for n in range(running)]
    volumes += [Standing(f"B{n}", "failed", why=f"the [b]voxel[/b] {n} is no number") for n in range(failed)]
    volumes += [Standing("S", "skipped")]
    return Census("run", volumes, {"": "process 7 of me on node1"}, left_s=150.0)


def test_failures_come_first_and_what_does_not_fit_is_counted() -> None:
    """Of 100 tomograms, 60 finished and two begun by a quarter: 60.5 %; the skipped one does not count."""
    found = census_of(60, 37)
    lines = drawn(found, 10)
    text = "\n".join(lines)
    names = re.findall(r"^│ +([FWRB]\d+) ", text, re.MULTILINE)
    assert names[:3] == ["B0", "R0", "R1"]
    assert names[-1] == "F057"
    assert names[-3] == "F059"  # the last one that was finished
    assert len(names) == 10
    assert "60 of 100" in text
    assert re.search(r"\b60 %|\b61 %", text)
    assert "1 failed  2 running  37 waiting  60 finished  1 skipped" in text
    assert "about 2.5 min left" in text or "about 3 min left" in text or "about 2 min left" in text
    assert "  the [b]voxel[/b] 0 is no number" in text  # not read as words of rich
    assert "... and 90 more" in text
    assert "at work: process 7 of me on node1" in text
    assert len(lines) <= 10 + AROUND


def test_a_reason_begins_with_the_file_not_with_its_folders() -> None:
    found = census_of(0, 0, 0, 0)
    found.volumes += [Standing("TS_1", "failed", why="/data/of/lab/TS_1.mrc: cut short: see /data/x")]
    assert re.search(r"failed +TS_1\.mrc: cut short: see /data/x", "\n".join(drawn(found, 10)))


@pytest.mark.parametrize("finished", [0, 3])
def test_small_collections_and_narrow_terminals(finished: int) -> None:
    lines = drawn(census_of(finished, 0, 0, 0), 10, width=40)
    assert any(f"{finished} of {finished}" in line for line in lines)
    assert all(len(line) <= 40 for line in lines)
    assert not any("more" in line for line in lines)


def command(tmp_path: Path, *words: str) -> list[str]:
    many(finished_one(tmp_path), tmp_path / "run", finished=6, begun=1, failed=1)
    rows = "".join(f"{tmp_path}/v{n:04d}.mrc,v{n:04d}\n" for n in range(9))
    (tmp_path / "m.csv").write_text(f"source,name\n{rows}")
    main = "from volengine.cli.main import main; main()"
    where = ["collection", "status", str(tmp_path / "m.csv"), "--run-dir", str(tmp_path / "run")]
    return [sys.executable, "-c", main, *where, *words]


def test_in_a_terminal_until_the_driver_has_ended(tmp_path: Path) -> None:
    words = command(tmp_path, "--watch", "0.5")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "locked\n"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    watch = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while b"at work" not in seen:
        seen += os.read(ours, 4096)
    driver.communicate("\n")
    with contextlib.suppress(OSError):  # what Linux says when the other end is closed
        while piece := os.read(ours, 4096):
            seen += piece
    assert watch.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert re.search(r"v0007 +failed.* is bad", text)
    assert "6 of 9" in text
    assert "nobody is at work" in text
    assert b"\x1b[1A" in seen  # it was drawn in its place


def test_elsewhere_lines_are_printed(tmp_path: Path) -> None:
    """``--watch`` without a number, into a pipe."""
    done = subprocess.run(command(tmp_path, "--watch"), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("9 volumes: 1 failed, 1 stopped, 1 waiting, 6 finished")
    assert "\nfailed: v0007: is bad\n" in done.stdout
    assert "\x1b" not in done.stdout
