"""The last call of ``pick``: the table of many picks, its time and the driver's memory.

    python benchmarks/picks_written.py 10000000 picks.star

makes the tables that the tree leaves for that many picks in 640 cells, as files in a run folder, and writes the table
in a process of its own, whose largest resident memory is printed; the file may be of any format.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.tasks.pick.description import SPAN
from volengine.tasks.pick.finish import write_table

CELLS = 640
SHAPE = (4096, 16384, 16384)


class Tables(dict[int, None]):
    """The tables of a stage, read when asked for."""

    def __init__(self, folder: PlanFolder, stage: str) -> None:
        super().__init__(dict.fromkeys(range(CELLS if stage == "label" else 1)))
        self.folder, self.stage = folder, stage

    def __getitem__(self, number: int):
        return self.folder.read_table(self.stage, number)

    def values(self):
        return (self[number] for number in self)


def make(folder: PlanFolder, count: int) -> None:
    """Write the tables: the labels of a cell are any, as weights are."""
    rng = np.random.default_rng(0)
    order = rng.permutation(count)
    folder.write_table("space", 0, {"index": np.arange(count), "label": order + 1, "left": np.array([count], np.int64)})
    folder.write_table("span", 0, {SPAN: np.array([[0.0, 1.0]])})
    for number, rows in enumerate(np.array_split(order, CELLS)):
        table = {
            "pick.label": rows + 1,
            "pick.position_vox": rng.random((rows.size, 3)) * SHAPE,
            "pick.weight": (count - rows) / 255,
            "pick.size_vox": rng.integers(100, 5000, rows.size),
        }
        folder.write_table("label", number, table)


def peak_mb() -> float:
    """The largest resident memory of this process, which starts anew with each program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3


def main() -> None:
    """Make the tables and measure in a process of its own."""
    count, out = int(sys.argv[1]), sys.argv[2]
    if len(sys.argv) == 3:
        with tempfile.TemporaryDirectory(dir=".") as where:
            make(PlanFolder(where), count)
            subprocess.run([sys.executable, __file__, str(count), out, where], check=True)
        return
    folder = PlanFolder(sys.argv[3])
    volume = Volume("in.ome.zarr", SHAPE, "uint8", (10.0,) * 3, path="0", kind="probability", name="TS_01")
    before, started = peak_mb(), time.perf_counter()
    made = write_table(
        None,  # type: ignore[arg-type]
        lambda stage: Tables(folder, stage),
        "space",
        volume.to_json(),
        "ribosome",
        out,
        None,
        0.5,
        "",
        rows=["label"],
        span="span",
    )
    took, size = time.perf_counter() - started, Path(out).stat().st_size
    print(f"{made.said[-1]}; {took:.0f} s, {size / 1e6:.0f} MB, memory {before:.0f} -> {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
