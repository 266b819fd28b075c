"""Wall time of ``volengine status`` for a run folder of 1,000 volumes, the median of some calls.

    python benchmarks/status_of_many.py [CALLS]

The folder is as a run leaves it: 900 volumes are finished, 20 begun, 30 have failed, 50 were not begun.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from many_volumes import finished_one, many


def main(calls: str = "5") -> None:
    """Make the folder, and call the command some times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many(finished_one(folder), folder / "run", finished=900, begun=20, failed=30)
        command = [str(Path(sys.executable).parent / "volengine"), "status", str(folder / "run")]
        seconds = []
        for _ in range(int(calls)):
            began = time.perf_counter()
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds.append(time.perf_counter() - began)
        print(said.splitlines()[0])
        print(f"{statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
