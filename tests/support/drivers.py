"""Drivers in processes of their own, over a plan of one slow stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from engine_plans import simple, stored

from volengine.core.volume import Volume
from volengine.engine.plan import Plan

SCRIPT = """
import signal
import sys
from pathlib import Path
from drivers import Work
from volengine.core.errors import VolengineError
from volengine.engine import lock as locks
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
if __name__ == "__main__":
    locks.BEAT_S, locks.STALE_S = 0.2, 5.0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work = Work(Path(sys.argv[1]))
    try:
        run_plan(work.plan(), str(work.folder / "run"), RunOptions.from_json(work.read(sys.argv[2])))
    except VolengineError as error:
        print(type(error).__name__, error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
"""


class Work:
    """A stage of 24 units that take ``seconds`` each, in a folder.

    Parameters
    ----------
    folder
        Where the volume, its copy, the run folder and the trace of the units lie.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.trace = folder / "trace"

    def prepare(self, seconds: float = 0.15) -> np.ndarray:
        """Store the source; return its voxels."""
        array = np.random.default_rng(1).integers(1, 100, (96, 4, 4)).astype("int16")
        source = stored(self.folder, array)
        facts = {"source": source.to_json(), "seconds": seconds}
        (self.folder / "work.json").write_text(json.dumps(facts))
        (self.folder / "driver.py").write_text(SCRIPT)
        return array

    def read(self, text: str) -> dict[str, Any]:
        return {"progress": False, **json.loads(text)}

    def plan(self) -> Plan:
        facts = json.loads((self.folder / "work.json").read_text())
        params = {"seconds": facts["seconds"], "trace": str(self.trace)}
        return simple(self.folder, Volume.from_json(facts["source"]), "slow_copy", (4, 4, 4), params=params)

    def start(self, **options: Any) -> subprocess.Popen[str]:
        """Start a driver with these options, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, str(self.folder / "driver.py"), str(self.folder), json.dumps(options)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_units(self, count: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many units have begun."""
        deadline = time.monotonic() + 60
        while not self.trace.exists() or len(self.trace.read_text().split()) < count:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline, "no progress in 60 s"
            time.sleep(0.02)
