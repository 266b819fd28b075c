"""The frames of a journal: pieces of bytes that are whole, or are not counted.

A journal is a file to which frames are only appended. A frame is a head (mark, kind, name of its transaction, length,
checksum) and a body. What a killed writer has left of one is passed over by looking for the next mark: nothing is cut
off, and what others append behind it counts.

>>> import io
>>> file = io.BytesIO(frame(COMMIT, bytes(8), b"{}") + b"left by a killed writer" + frame(BLOCK, bytes(8), b"voxels"))
>>> [(found.kind, found.body) for found in frames(file, 0)]
[(2, b'{}'), (3, b'voxels')]
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

MARK = b"\x93VOLANN\n"
HEADER, COMMIT, BLOCK = 1, 2, 3
"""Kinds of frames: the first one of a journal, the end of a transaction, and voxels of one block of a transaction."""

MOST_BYTES = 2**28
"""Largest body that is read. A block has some hundred bytes, the end of a transaction 20 for each block it touches."""

_HEAD = struct.Struct("<8sI8sII")
HEAD_BYTES = _HEAD.size
_LOOK_BYTES = 2**20
_AT_ONCE = 2048


@dataclass(frozen=True)
class Frame:
    """A frame that was read: its kind, the name of its transaction, its body, and where it lies in the file."""

    kind: int
    name: bytes
    body: bytes
    start: int
    end: int


def frame(kind: int, name: bytes, body: bytes) -> bytes:
    """Return the bytes of a frame; ``name`` are the 8 bytes that all frames of one transaction have in common."""
    return _HEAD.pack(MARK, kind, name, len(body), _checksum(kind, name, body)) + body


def _checksum(kind: int, name: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(kind.to_bytes(4) + name))


def frame_at(file: IO[bytes], start: int) -> Frame | None:
    """Read the frame that begins at a byte; ``None`` if none does, or if it is not whole."""
    file.seek(start)
    head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    mark, kind, name, length, checksum = _HEAD.unpack(head)
    if mark != MARK or length > MOST_BYTES:
        return None
    body = file.read(length)
    if len(body) < length or _checksum(kind, name, body) != checksum:
        return None
    return Frame(kind, name, body, start, start + HEAD_BYTES + length)


def body_at(number: int, start: int) -> bytes | None:
    """Read the body of a block's frame with one call of the system, or two; ``None`` if no such frame begins there.

    Parameters
    ----------
    number
        Of the open file.
    start
        First byte of the frame.
    """
    data = os.pread(number, _AT_ONCE, start)
    if len(data) < HEAD_BYTES:
        return None
    mark, kind, name, length, checksum = _HEAD.unpack_from(data)
    if mark != MARK or kind != BLOCK or length > MOST_BYTES:
        return None
    body = data[HEAD_BYTES : HEAD_BYTES + length]
    if len(body) < length:
        body += os.pread(number, length - len(body), start + len(data))
    return body if len(body) == length and _checksum(kind, name, body) == checksum else None


def frames(file: IO[bytes], start: int) -> Iterator[Frame]:
    """Read all whole frames from a byte on; bytes between them are passed over."""
    at = start
    while True:
        found = frame_at(file, at)
        if found is not None:
            yield found
            at = found.end
            continue
        next_mark = _look(file, at + 1)
        if next_mark is None:
            return
        at = next_mark


def _look(file: IO[bytes], start: int) -> int | None:
    """Return where the next mark begins, from a byte on."""
    while True:
        file.seek(start)
        data = file.read(_LOOK_BYTES)
        found = data.find(MARK)
        if found >= 0:
            return start + found
        if len(data) < _LOOK_BYTES:
            return None
        start += len(data) - len(MARK) + 1
