"""Time and memory of converting an MRC file of 100 GB, which is sparse: a header, four slabs, and holes.

    python benchmarks/big_mrc.py --sections 1600 --side 4096 --folder /disk

The values of the slabs lie across the offsets of 2^31, 2^32 and 10^11 bytes of the file, written by seeking there, so
that where they are in the volume follows by hand; they are read back from the store. The peak is that of the sum of the
resident memory of all processes of the command, asked 20 times a second. The disk needs some MB; the file is removed.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

HEADER = 1024
RUN = 8
"""Values on both sides of each offset together."""


def make(path: Path, sections: int, side: int) -> dict[int, int]:
    """Write the file, float32; return for each marked offset in bytes the first value of the run around it."""
    head = bytearray(HEADER)
    struct.pack_into("<4i", head, 0, side, side, sections, 2)
    struct.pack_into("<3i", head, 28, side, side, sections)
    struct.pack_into("<6f", head, 40, side * 10.0, side * 10.0, sections * 10.0, 90, 90, 90)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    struct.pack_into("<i", head, 108, 20141)
    head[208:216] = b"MAP \x44\x44\0\0"
    size = HEADER + 4 * sections * side * side
    marks = {at: 1 + 100 * n for n, at in enumerate((2**31, 2**32, 10**11, size - 4 * RUN // 2)) if at < size}
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
        for at, first in marks.items():
            file.seek(at - 4 * RUN // 2)
            file.write(np.arange(first, first + RUN, dtype="<f4").tobytes())
    return marks


def check(url: str, side: int, marks: dict[int, int]) -> None:
    """Compare the voxels around each offset with what was written there; a run may go on in the next row."""
    import volengine

    volume = volengine.open_volume(url)
    for at, first in marks.items():
        for n in range(RUN):
            index = (at - 4 * RUN // 2 - HEADER) // 4 + n
            place = (index // side**2, index // side % side, index % side)
            found = volume[place[0] : place[0] + 1, place[1] : place[1] + 1, place[2] : place[2] + 1].item()
            if found != first + n:
                raise SystemExit(f"offset {at}: voxel {place} is {found}, not {first + n}")


def watched(words: list[str]) -> tuple[float, float, int]:
    """Run a command; return its seconds, its processor's seconds, and the peak of its tree of processes in bytes."""
    began, peak, cpu = time.perf_counter(), 0, 0.0
    with subprocess.Popen(words) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                tree = [root, *root.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in tree))
                cpu = max(cpu, sum(sum(one.cpu_times()[:2]) for one in tree))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return time.perf_counter() - began, cpu, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", type=int, default=1600)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--folder", default=None, help="where the file and the store are made; default: /tmp")
    parser.add_argument("--wait-s", type=float, default=61, help="the file's age from which on its holes are skipped")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path, out = Path(folder, "big.mrc"), Path(folder, "big.ome.zarr")
        marks = make(path, given.sections, given.side)
        time.sleep(given.wait_s)
        words = [sys.executable, "-m", "volengine.cli.main", "convert", str(path), "--out", str(out), "--no-progress"]
        wall, cpu, peak = watched(words)
        check(str(out), given.side, marks)
        report = json.loads(Path(f"{out}.run", "report.json").read_text())
        (plan,) = report["plans"].values()
        size = path.stat().st_size
        stored = sum(p.stat().st_blocks * 512 for p in out.rglob("*"))
        told = {
            "file_bytes": size,
            "file_bytes_on_disk": path.stat().st_blocks * 512,
            "read_bytes": sum(stage["read_bytes"] for stage in plan["stages"]),
            "store_bytes_on_disk": stored,
            "units": plan["units"],
            "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1),
            "peak_mb": round(peak / 1e6),
            "checked_offsets": sorted(marks),
        }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
