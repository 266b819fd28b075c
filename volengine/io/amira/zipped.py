"""Lattices that Amira has compressed with HxZip: all voxels in one stream of zlib.

A stream can only be read from its begin. So it is read once, which also shows that it is whole, and the state of the
decompression is kept at some slices (at most :data:`KEPT`, each with zlib's window of 32 KiB), from which others are
read.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from volengine.core.errors import FormatError

KEPT = 128
"""States that are kept of a file."""
STEP = 2**20
"""Bytes that are made at a time."""
MOST = 1032
"""Bytes that one byte of such a stream can make at most (zlib, "Maximum Compression Factor")."""


@dataclass
class State:
    """Where a stream is: the decompression, and the next compressed byte."""

    inflate: Any
    at: int

    def copy(self) -> State:
        """A state that goes on by itself."""
        return State(self.inflate.copy(), self.at)


def states_of(path: str, start: int, stop: int, page: int, pages: int) -> tuple[int, list[State]]:
    """Read a stream, and return the states at the begin of some pages.

    Parameters
    ----------
    path
        The file.
    start, stop
        First byte of the stream, and the byte behind its last one.
    page, pages
        Bytes of a page, and their number.

    Returns
    -------
    The distance of the states in pages, and the states.

    Raises
    ------
    FormatError
        The stream is damaged, or makes another number of bytes.
    """
    every = -(-pages // KEPT)
    states: list[State] = []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # noqa: PTH123
        state = State(zlib.decompressobj(), start)
        for number in range(pages):
            if number % every == 0:
                states.append(state.copy())
            if _made(path, data, state, stop, page, keep=False)[1] != page:
                raise FormatError(f"{path}: its stream (HxZip) ends in slice {number} of {pages}; it is cut off.")
        more = _made(path, data, state, stop, 1, keep=False)[1]
    if more or not state.inflate.eof:
        raise FormatError(f"{path}: its stream (HxZip) does not end with its {pages} slices; it is damaged.")
    return every, states


def pages_of(path: str, found: tuple[int, list[State]], stop: int, page: int, first: int, last: int) -> Iterator[bytes]:
    """Read the pages from ``first`` to the one before ``last``, one after the other.

    Parameters
    ----------
    path
        The file.
    found
        What :func:`states_of` has returned.
    stop
        The byte behind the stream.
    page
        Bytes of a page.
    first, last
        Numbers of pages.

    Raises
    ------
    FormatError
        The stream is damaged.
    """
    every, states = found
    if last <= first:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # noqa: PTH123
        state = states[first // every].copy()
        for _ in range(first % every):
            _made(path, data, state, stop, page, keep=False)
        for _ in range(first, last):
            made, count = _made(path, data, state, stop, page, keep=True)
            if count != page:
                raise FormatError(f"{path} has changed while it was read: its stream (HxZip) is cut off.")
            yield made


def _made(path: str, data: Any, state: State, stop: int, count: int, *, keep: bool) -> tuple[bytes, int]:
    """Make the next bytes of a stream, at most ``count``: the bytes, if they are kept, and how many there are."""
    parts, made = [], 0
    while made < count and not state.inflate.eof:
        piece = data[state.at : min(state.at + STEP, stop)]
        try:
            out = state.inflate.decompress(piece, min(STEP, count - made))
        except zlib.error as error:
            raise FormatError(f"{path}: its stream (HxZip) is damaged ({error}). Copy the file again.") from error
        state.at += len(piece) - len(state.inflate.unconsumed_tail) - len(state.inflate.unused_data)
        if not out and not piece:
            break
        made += len(out)
        if keep:
            parts.append(out)
    return b"".join(parts), made
