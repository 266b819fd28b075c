"""Drivers and workers of a collection of small tomograms, which go out as chains, are killed at random moments."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ball_tomograms import SHAPE, products, tomogram
from threshold_net import save_threshold_model

COMMAND = """
from volengine.cli.start import main
from volengine.engine import chains
chains.BUNDLE_SECONDS = 1e6  # also on a busy machine each plan is a chain, as soon as it is known what stages take
main()
"""
OPTIONS = ["--workers", "2", "--retries", "100", "--memory-limit", "4GB"]


class Collection:
    """Tomograms, and the command that converts, segments and picks them."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.out = folder, folder / "out"
        (folder / "raw").mkdir()
        self.sources = [tomogram(folder / "raw" / f"TS_{n:02d}.mrc", n) for n in range(count)]
        model = save_threshold_model(folder / "ball.safetensors", "ball", patch=SHAPE)
        recipe = {"segment": {"models": [str(model)]}, "pick": [{"feature": "ball", "spacing_nm": 8}]}
        (folder / "recipe.yaml").write_text(json.dumps(recipe))

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", COMMAND, "run", str(self.folder / "recipe.yaml"), *self.sources]
        return subprocess.Popen(
            [*command, "--out", str(self.out), *OPTIONS],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "said").open("ab"),
            start_new_session=True,
        )

    def ended(self, process: subprocess.Popen[bytes], seconds: float = 400) -> None:
        assert process.wait(seconds) == 0, (self.folder / "said").read_text()[-3000:]

    @property
    def receipts(self) -> int:
        """Number of lines of all ledgers: how far a run is."""
        files = self.out.glob("run/plans/*/ledger/*.jsonl")
        return sum(1 for file in files for line in file.read_bytes().split(b"\n") if line)


def family(process: subprocess.Popen[bytes]) -> list[int]:
    """Processes that a driver has started, and those that these have started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == process.pid and int(folder.name) != process.pid and fields[0] != "Z":
            found.append(int(folder.name))
    return sorted(found)


def said(folder: Path) -> dict[str, Any]:
    """All metadata of the stores, without the name and the times of the run that has made them."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        if "run" in path.relative_to(folder).parts:
            continue
        value = json.loads(path.read_text())
        ours = value.get("attributes", {}).get("volengine", {})
        for key in ("token", "finished"):
            ours.pop(key, None)
        found[str(path.relative_to(folder))] = value
    return found


def disturb(collection: Collection, kills: int, chance: random.Random) -> dict[str, int]:
    """Kill drivers, their workers, or all at once, until so many were killed, and start the command again."""
    counts = {"driver": 0, "worker": 0, "all": 0, "ended": 0}
    process = collection.start()
    before = collection.receipts
    whom = ["worker", "driver", "worker", "all"] * -(-kills // 4)
    chance.shuffle(whom)
    for what in whom[:kills]:
        began, wait = time.monotonic(), chance.uniform(0.0, 0.5)
        # while workers start, while plans go stage by stage, and mostly later, when small plans go as chains
        wanted = before + chance.choice([int(what == "worker"), 1, 10, 30, 40, 50])
        while process.poll() is None and time.monotonic() - began < 60 and collection.receipts < wanted:
            time.sleep(0.02)
        time.sleep(wait)
        if process.poll() is not None:  # all was done: it begins anew with what is there
            assert process.returncode == 0, (collection.folder / "said").read_text()[-3000:]
            counts["ended"] += 1
            process = collection.start()
            time.sleep(wait)
        before = collection.receipts
        if what == "worker" and (others := family(process)):
            os.kill(chance.choice(others), signal.SIGKILL)
        else:
            if what == "all":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                what = "driver"
                process.kill()  # its workers live on for a moment
            process.wait()
            process = collection.start()
        counts[what] += 1
    collection.ended(process)
    return counts


def check(folder: Path, tomograms: int, kills: int, seed: int) -> dict[str, int]:
    """Compare what is left after so many kills with what an undisturbed run has made in the same place."""
    collection = Collection(folder, tomograms)
    collection.ended(collection.start())
    collection.out.rename(folder / "calm")
    counts = disturb(collection, kills, random.Random(seed))
    collection.ended(collection.start())  # nothing is left to do, or it is done
    report = json.loads((collection.out / "run" / "report.json").read_text())
    assert not report["failed"]
    assert not report["refused"]
    assert sum(stage["run"] for plan in report["plans"].values() for stage in plan["stages"]) == 0
    assert len(products(folder / "calm")) > 3 * tomograms
    assert products(collection.out) == products(folder / "calm")
    assert said(collection.out) == said(folder / "calm")
    verify = [sys.executable, "-m", "volengine", "verify", str(collection.out / "run")]
    assert subprocess.run(verify, capture_output=True, timeout=300, check=False).returncode == 0
    assert not [path for path in collection.out.rglob(".writing-*") if "run" not in path.parts]
    return {**counts, "by one worker": by_one(collection.out / "run")}


def by_one(run: Path) -> int:
    """Number of plans whose units were all run by one process: of two workers that take stages in turn, one in 64."""
    count = 0
    for ledger in run.glob("plans/*/ledger"):
        lines = [line for file in ledger.glob("*.jsonl") for line in file.read_text().splitlines() if line]
        count += len({json.loads(line)["pid"] for line in lines}) == 1
    return count


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_drivers_and_workers_leave_the_bytes_of_an_undisturbed_run(tmp_path):
    counts = check(tmp_path, tomograms=24, kills=4, seed=1)
    assert counts["driver"] + counts["all"] >= 2
    assert counts["worker"] >= 1
    assert counts["by one worker"] >= 3, "no chains"
