"""Montages of SerialEM: stacks of pieces with their coordinates, built byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mrc_files import write

SIZES = (2, 6, 4, 2, 2, 4, 2, 4, 2, 4, 2)


def extended(pieces: Sequence[tuple[int, int, int]], flags: int = 2, order: str = "<") -> bytes:
    """An extended header: for each piece (x, y, section) the flagged items in their order; others are 7."""
    found = b""
    for n, (x, y, z) in enumerate(pieces):
        for bit, size in enumerate(SIZES):
            if not flags >> bit & 1:
                continue
            if bit == 0:
                found += struct.pack(order + "h", 100 * n)
            elif bit == 1:
                found += struct.pack(order + "HHh", x % 65536, y % 65536, z)
            else:
                found += b"\7" * size
    return found


def montage(
    path: Path,
    stack: np.ndarray,
    pieces: Sequence[tuple[int, int, int]] | None = None,
    flags: int = 2,
    order: str = "<",
    bytes_per_image: int | None = None,
    **values: Any,
) -> Path:
    """An MRC stack of int16 with an extended header; ``pieces`` are x, y, section."""
    ext = b"" if pieces is None else extended(pieces, flags, order)
    values = {"stats": (float(stack.min()), float(stack.max()), float(stack.mean())), "exttyp": b"SERI"} | values
    write(path, stack, 1, order, ext=ext, **values)
    raw = bytearray(path.read_bytes())
    each = sum(size for bit, size in enumerate(SIZES) if flags >> bit & 1)
    struct.pack_into(order + "hh", raw, 128, each if bytes_per_image is None else bytes_per_image, flags)
    path.write_bytes(raw)
    return path


def mdoc(
    pieces: Sequence[tuple[int, int, int]], size: tuple[int, int], name: str = "m.st", **more: Sequence[str]
) -> str:
    """An ``.mdoc``; ``size`` is x, y; ``more`` are values of each piece."""
    text = f"PixelSpacing = 10\nImageFile = {name}\n[T = SerialEM: a montage]\n\n"
    text += f"ImageSize = {size[0]} {size[1]}\nMontage = 1\nDataMode = 1\n\n"
    for n, (x, y, z) in enumerate(pieces):
        text += f"[ZValue = {n}]\nPieceCoordinates = {x} {y} {z}\n"
        text += "".join(f"{key} = {values[n]}\n" for key, values in more.items()) + "\n"
    return text + "[MontSection = 0]\nFullMontSize = 1 1\n"


def cut(picture: np.ndarray, places: Sequence[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """Pieces of a picture: ``places`` are x, y, ``size`` is y, x."""
    return np.stack([picture[y : y + size[0], x : x + size[1]] for x, y in places])
