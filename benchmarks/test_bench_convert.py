"""Conversion: MB/s and peak memory, against a plain read + compress + write of the same bytes, and against peers.

Peers are measured where they are installed: each in a virtual environment ``$PEERS/<name>`` (names: mrc2ome, ngff,
eubi), with the commands below.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from measure import in_turn, noisy_mrc, size

BASELINE = """
import sys, numpy as np, mrcfile, zarr
from zarr.codecs import BloscCodec
source = mrcfile.mmap(sys.argv[1], permissive=True).data
array = zarr.create_array(sys.argv[2], shape=source.shape, dtype=source.dtype, chunks=(64, 64, 64),
    shards=(128, 128, 128), compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"))
for z in range(0, source.shape[0], 128):
    array[z:z + 128] = source[z:z + 128]
"""


def peers(source: str, folder: Path) -> dict[str, list[str]]:
    """Commands of the peers that are installed."""
    root = os.environ.get("PEERS", "")
    commands = {
        "mrc2ome": ["bin/mrc2omezarr", "--mrc-path", source, "--zarr-path", str(folder / "mrc2ome.zarr")],
        "ngff": ["bin/ngff-zarr", "-i", source, "-o", str(folder / "ngff.zarr"), "--ome-zarr-version", "0.5"],
        "eubi": ["bin/eubi", "to_zarr", source, str(folder / "eubi"), "--zarr_format", "3"],
    }
    return {
        name: [str(Path(root) / name / c[0]), *c[1:]]
        for name, c in commands.items()
        if root and (Path(root) / name / c[0]).exists()
    }


def test_conversion(benchmark, tmp_path):
    slices = size("VOLENGINE_BENCH_SLICES", 24, 201)
    rounds = size("VOLENGINE_BENCH_ROUNDS", 1, 5)
    source = noisy_mrc(tmp_path / "source.mrc", slices)
    (tmp_path / "baseline.py").write_text(BASELINE)
    out = tmp_path / "out"
    commands = {
        "volengine": [
            sys.executable,
            "-m",
            "volengine.cli.main",
            "convert",
            str(source),
            "--out",
            str(out / "v.ome.zarr"),
        ],
        "plain": [sys.executable, str(tmp_path / "baseline.py"), str(source), str(out / "plain.zarr")],
        **peers(str(source), out),
    }

    def reset() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    found = benchmark.pedantic(lambda: in_turn(commands, rounds, reset), rounds=1)
    reset()
    megabytes = source.stat().st_size / 1e6
    for name, measured in found.items():
        benchmark.extra_info[name] = {
            "wall_s": round(measured.wall_s, 2),
            "cpu_s": round(measured.cpu_s, 2),
            "MB_per_s": round(megabytes / measured.wall_s, 1),
            "peak_MB": round(measured.peak_bytes / 1e6),
        }
    benchmark.extra_info["ratio_to_plain"] = round(found["volengine"].wall_s / found["plain"].wall_s, 2)
    benchmark.extra_info["input_MB"] = round(megabytes)
    print(benchmark.extra_info, file=sys.stderr)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(benchmark, tmp_path):
    """Peak memory of converting a file and one four times as large: the same within 150 MB."""
    from volengine.io.mrc.write import write_mrc

    peaks = []

    def both() -> None:
        for slices in (128, 512):
            shape = (slices, 512, 512)
            source = tmp_path / f"{slices}.mrc"
            slab = np.random.default_rng(0).standard_normal((8, 512, 512), "float32")
            write_mrc(source, (slab for _ in range(slices // 8)), shape, "float32", (10, 10, 10))
            out = str(tmp_path / f"{slices}.ome.zarr")
            command = [sys.executable, "-m", "volengine.cli.main", "convert", str(source), "--out", out]
            peaks.append(in_turn({"v": command}, 1, lambda: None)["v"].peak_bytes)
            source.unlink()

    benchmark.pedantic(both, rounds=1)
    benchmark.extra_info["peaks_MB"] = [round(p / 1e6) for p in peaks]
    assert peaks[1] < peaks[0] + 150e6
    assert peaks[1] < 500e6
