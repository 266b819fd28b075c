"""MRC files, built byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}


def header_bytes(shape: tuple[int, int, int], mode: int, order: str = "<", **values: Any) -> bytes:
    """A header by struct alone (MRC2014's byte table). Triples are columns, rows, sections or x, y, z."""
    nz, ny, nx = shape
    field = {
        "nstart": (0, 0, 0), "grid": (nx, ny, nz), "cell": (10.0 * nx, 10.0 * ny, 10.0 * nz), "axes": (1, 2, 3),
        "stats": (0.0, -1.0, -2.0), "nsymbt": 0, "exttyp": b"", "imod": (0, 0), "origin": (0.0, 0.0, 0.0),
        "map": b"MAP ", "stamp": b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0", "labels": (), "ispg": 1,
    } | values  # fmt: skip
    raw = bytearray(1024)
    struct.pack_into(
        order + "10i6f", raw, 0, nx, ny, nz, mode, *field["nstart"], *field["grid"], *field["cell"], 90, 90, 90
    )
    struct.pack_into(order + "3i3f2i", raw, 64, *field["axes"], *field["stats"], field["ispg"], field["nsymbt"])
    struct.pack_into(order + "4si", raw, 104, field["exttyp"], 20141)
    struct.pack_into(order + "2i", raw, 152, *field["imod"])
    struct.pack_into(order + "3f4s4s", raw, 196, *field["origin"], field["map"], field["stamp"])
    struct.pack_into(order + "fi", raw, 216, -1.0, len(field["labels"]))
    for i, label in enumerate(field["labels"]):
        raw[224 + 80 * i : 304 + 80 * i] = label.ljust(80).encode()
    return bytes(raw)


def write(path: Path, stored: np.ndarray, mode: int, order: str = "<", ext: bytes = b"", **values: Any) -> Path:
    """A file of an array as stored (sections, rows, columns)."""
    head = header_bytes(stored.shape, mode, order, nsymbt=len(ext), **values)
    if mode == 101:
        rows = np.zeros((*stored.shape[:2], (stored.shape[2] + 1) // 2 * 2), "u1")
        rows[..., : stored.shape[2]] = stored
        body = (rows[..., ::2] + 16 * rows[..., 1::2]).astype("u1").tobytes()
    else:
        body = stored.astype(order + DTYPES[mode]).tobytes()
    path.write_bytes(head + ext + body)
    return path


def ramp(shape: tuple[int, int, int] = (4, 5, 6), dtype: str = "i2") -> np.ndarray:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)
