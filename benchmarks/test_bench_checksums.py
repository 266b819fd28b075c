"""What the crc32c of every chunk costs: conversions with and without it, in turn, and reading what they have written.

Both write what they write to disk with the default codec; the one without is the same program with the checksum taken
out of the metadata of new arrays.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from measure import in_turn, noisy_mrc, size

CONVERT = """
import sys
from volengine.io.omezarr import node_files
if sys.argv[3] == "without":
    real = node_files.compressors
    node_files.compressors = lambda *args, **kwargs: [one for one in real(*args, **kwargs) if "Crc" not in repr(one)]
from volengine import RunOptions, convert
convert(sys.argv[1], sys.argv[2], options=RunOptions(progress=False))
"""

READ = """
import sys
from volengine.core.boxes import Box
from volengine.core.tiling import Tiling
from volengine.io.omezarr.arrays import ZarrSource
from volengine.io.omezarr.codecs import prefer_fast_codecs
from volengine.io.omezarr.read import open_image
prefer_fast_codecs()
volume = open_image(sys.argv[1])
source = ZarrSource(volume)
for _ in range(int(sys.argv[2])):
    for box in Tiling(volume.shape, (128, 128, 128)):
        source.read(box.grow((8, 8, 8)).clip(volume.shape))
"""


def test_checksums(benchmark, tmp_path):
    slices = size("VOLENGINE_BENCH_SLICES", 24, 256)
    rounds = size("VOLENGINE_BENCH_ROUNDS", 1, 9)
    turns = size("VOLENGINE_BENCH_TURNS", 1, 3)
    source = noisy_mrc(tmp_path / "source.mrc", slices)
    (tmp_path / "convert.py").write_text(CONVERT)
    (tmp_path / "read.py").write_text(READ)
    out = tmp_path / "out"
    kinds = ("with", "without")
    stores = {kind: str(tmp_path / f"{kind}.ome.zarr") for kind in kinds}
    converts = {
        kind: [sys.executable, str(tmp_path / "convert.py"), str(source), str(out / f"{kind}.ome.zarr"), kind]
        for kind in kinds
    }
    reads = {kind: [sys.executable, str(tmp_path / "read.py"), stores[kind], str(turns)] for kind in kinds}

    def reset() -> None:
        for kind in kinds:
            if (out / f"{kind}.ome.zarr").exists():
                shutil.rmtree(stores[kind], ignore_errors=True)
                (out / f"{kind}.ome.zarr").rename(stores[kind])
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    def both() -> tuple[dict, dict]:
        written = in_turn(converts, rounds, reset)
        reset()
        return written, in_turn(reads, rounds, lambda: None)

    written, read = benchmark.pedantic(both, rounds=1)
    bytes_of = {kind: sum(f.stat().st_size for f in Path(stores[kind]).rglob("*") if f.is_file()) for kind in kinds}
    assert 0 < bytes_of["with"] - bytes_of["without"] < 0.001 * bytes_of["without"]  # four bytes for a chunk
    for what, found in (("convert", written), ("read", read)):
        for kind in kinds:
            benchmark.extra_info[f"{what} {kind}"] = {
                "wall_s": round(found[kind].wall_s, 2),
                "cpu_s": round(found[kind].cpu_s, 2),
            }
        benchmark.extra_info[f"{what}_cpu_ratio"] = round(found["with"].cpu_s / found["without"].cpu_s, 3)
        benchmark.extra_info[f"{what}_wall_ratio"] = round(found["with"].wall_s / found["without"].wall_s, 3)
    print(benchmark.extra_info, file=sys.stderr)
