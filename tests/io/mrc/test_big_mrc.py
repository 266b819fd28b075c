"""Files beyond 2^31 and 2^32 bytes: sparse, with values at offsets that are counted by hand."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from calling import Command
from threshold_net import save_threshold_model

from volengine.core.boxes import Box
from volengine.io import rawfile
from volengine.io.open import open_volume

SIDE, SECTIONS = 4096, 66
ROW = {2**31: (31, 4095, 3840), 2**32: (63, 4095, 3840)}
"""Voxel whose first byte is at an offset. A section of 4096 x 4096 float32 has 2^26 bytes, so after the header of 1024
bytes (256 voxels) byte 2^31 is 256 voxels before the end of section 31, and byte 2^32 before the end of section 63."""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4.4 GB of holes and two runs of eight values, 1 to 8, four of them before each offset. Some kB on the disk."""
    path = tmp_path_factory.mktemp("big") / "big.mrc"
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, SIDE, SIDE, SECTIONS, 2)
    struct.pack_into("<3i", head, 28, SIDE, SIDE, SECTIONS)
    struct.pack_into("<6f", head, 40, SIDE * 10.0, SIDE * 10.0, SECTIONS * 10.0, 90, 90, 90)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    head[208:216] = b"MAP \x44\x44\0\0"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(1024 + 4 * SECTIONS * SIDE * SIDE)
        for offset in ROW:
            file.seek(offset - 16)
            file.write(np.arange(1, 9, dtype="<f4").tobytes())
    return path


def check(url: str | Path, shift: tuple[int, int, int] = (0, 0, 0)) -> None:
    """The runs are where they were counted to be, and nothing else is around them."""
    volume = open_volume(url)
    for z, y, x in ROW.values():
        z, y, x = z - shift[0], y - shift[1], x - shift[2]
        found = np.asarray(volume[max(0, z - 1) : z + 2, y - 3 : y + 1, x - 8 : x + 8])
        assert found[-2 if found.shape[0] > 2 else -1, -1].tolist() == [0] * 4 + list(range(1, 9)) + [0] * 4
        assert np.count_nonzero(found) == 8


@pytest.mark.slow
@pytest.mark.parametrize("settled", [False, True])
def test_parts_and_exports_beyond_two_to_the_32(
    big: Path, tmp_path: Path, volengine: Command, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    """From the file itself, whose holes are read or skipped."""
    monkeypatch.setattr(rawfile, "SETTLED_S", -1.0 if settled else 10.0**9)
    monkeypatch.chdir(tmp_path)
    check(big)
    roi = "--roi", "28:66,4000:4096,3700:4000"
    code, _, said = volengine("crop", str(big), *roi, "--out", "part.mrc", "--no-progress")
    assert code == 0, said
    check("part.mrc", (28, 4000, 3700))
    code, _, said = volengine("export", str(big), "part.tif", *roi)
    assert code == 0, said
    check("part.tif", (28, 4000, 3700))
    model = save_threshold_model(tmp_path / "ball.safetensors", "ball")
    words = ["segment", str(big), "--model", str(model), *roi, "--out", "p", "--levels", "1", "--no-progress"]
    code, _, said = volengine(*words)
    assert code == 0, said
    found = np.argwhere(np.asarray(open_volume("p/big__ball.ome.zarr")) > 127)
    z, y, x = np.array(ROW[2**32]) - (28, 4000, 3700)
    assert [z, y, x] in found.tolist()
    assert set(map(tuple, found[:, :2].tolist())) == {(31 - 28, 95), (63 - 28, 95)}


CONVERT = """
import sys, volengine
from volengine.io import rawfile
rawfile.SETTLED_S = -1.0
volengine.convert(sys.argv[1], "big.ome.zarr", None, volengine.RunOptions(progress=False))
"""


@pytest.mark.slow
def test_convert_beyond_two_to_the_32(
    big: Path, tmp_path: Path, volengine: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one pass, below 500 MB: as many bytes are read as the file has; zeros are not stored."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", CONVERT, str(big)], check=True)
    (plan,) = json.loads(Path("big.ome.zarr.run/report.json").read_text())["plans"].values()
    assert sum(stage["read_bytes"] for stage in plan["stages"]) == big.stat().st_size - 1024
    assert 0 < max(stage["peak_rss_bytes"] for stage in plan["stages"]) < 500e6
    check("big.ome.zarr")
    shards = [p for p in Path("big.ome.zarr/0/c").rglob("*") if p.is_file()]
    assert 2 <= len(shards) <= 8
    code, _, said = volengine("export", "big.ome.zarr", "back.mrc", "--roi", "60:66,:,3800:3900")
    assert code == 0, said
    back = open_volume("back.mrc")
    assert np.asarray(back[3, 4095, 36:44]).tolist() == list(range(1, 9))
    assert np.count_nonzero(back[:]) == 8


def test_holes_are_zeros_and_bytes_beside_them_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file system is asked for holes or not, for a file with data in the middle of its windows."""
    path = tmp_path / "a.raw"
    values = np.zeros((40, 64, 64), "<f4")
    values[20, 30, 40] = 7
    with path.open("wb") as file:
        file.truncate(values.nbytes)
        file.seek(4 * ((20 * 64 + 30) * 64 + 40))
        file.write(b"\0\0\xe0\x40")  # 7.0
    os.sync()
    layout = rawfile.RawLayout(0, values.shape, "<f4")
    monkeypatch.setattr(rawfile, "WINDOW_BYTES", 4 * 64 * 64)
    for settled in (-1.0, 10.0**9):
        monkeypatch.setattr(rawfile, "SETTLED_S", settled)
        for box in ((0, 0, 0, 40, 64, 64), (19, 29, 39, 22, 32, 42), (0, 0, 0, 20, 64, 64), (25, 1, 1, 39, 5, 5)):
            part = Box(box[:3], box[3:])
            assert np.array_equal(rawfile.read_raw(str(path), layout, part), values[part.slices])
