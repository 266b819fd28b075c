"""The journal of annotations: transactions that are wholly there or not at all.

A transaction is some frames with voxels (:mod:`volengine.io.annotations.frames`) and a last one that commits it: JSON
with its version, its user, what was done, and the name of the transaction before it. One that has no commit does not
count; so a writer that is killed in the middle of a stroke loses this stroke and nothing else.

Transactions are a chain. A writer that was asleep while another one took its place (a laptop that was closed) appends a
transaction behind an older one than the last: this does not count, and the writer finds that out and says so. If a
transaction follows one that is not there, the file was damaged in the middle, and nothing is read from it.

Whoever appends must be alone (a lock of :mod:`volengine.engine.lock`); reading needs no lock.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from volengine.core.atomic import full_named, replacing
from volengine.core.boxes import Index3
from volengine.core.errors import FormatError, MissingError, TakenOverError
from volengine.core.json_text import parse_object
from volengine.io.annotations.frames import BLOCK, COMMIT, HEADER, Frame, body_at, frame, frame_at, frames

FORMAT = 1
PART_BYTES = 2**22
"""Bytes of a large transaction that are written at a time."""


Transcribed = tuple[Mapping[str, Any], Iterable[tuple[Index3, bytes]]]
"""Facts of a transaction, and index and body of each of its blocks."""


@dataclass(frozen=True)
class Committed:
    """A transaction of a journal: its facts, and where its blocks and its last frame lie in the file."""

    facts: Mapping[str, Any]
    blocks: tuple[int, ...]
    at: int


class Journal:
    """A journal that is open for reading and appending.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    MissingError, FormatError
        It is not there, or it is none.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file: IO[bytes] | None = None
        self._first = b""  # the name in the first frame: another one, another file
        self._last = b""
        self._names: set[str] = set()
        self._end = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> tuple[bool, list[Committed]]:
        """Read what was appended since the last call.

        Returns
        -------
        bool
            Whether the file is another one than at the last call, so that all that was known before is void.
        list
            The new transactions; of another file all of them.

        Raises
        ------
        FormatError
            It was damaged in the middle, or cut.
        """
        try:
            file = self.path.open("rb")  # anew: that is when a file server is asked for what others have appended
        except FileNotFoundError:
            raise MissingError(f"{self.path}: no such file; the folder holds no annotations.") from None
        self.close()
        self._file = file
        first = frame_at(file, 0)
        if first is None or first.kind != HEADER:
            raise FormatError(f"{self.path} is no journal of annotations, or its beginning is damaged.")
        said = parse_object(first.body, str(self.path)).get("format")
        if said != FORMAT:
            raise FormatError(f"{self.path} is a journal of format {said!r}; format {FORMAT} can be read.")
        other = first.name != self._first
        if other:
            self._first = self._last = first.name
            self._names, self._end = {first.name.hex()}, first.end
        elif os.fstat(file.fileno()).st_size < self._end:
            raise FormatError(f"{self.path} was cut: it is shorter than a moment ago. Restore it from a copy.")
        return other, list(self._new(file))

    def _new(self, file: IO[bytes]) -> Iterator[Committed]:
        waiting: dict[bytes, list[Frame]] = {}
        for found in frames(file, self._end):
            if found.kind == BLOCK:
                waiting.setdefault(found.name, []).append(Frame(BLOCK, found.name, b"", found.start, found.end))
            elif found.kind == COMMIT:
                facts = parse_object(found.body, f"{self.path}, byte {found.start}")
                blocks = tuple(one.start for one in waiting.pop(found.name, ()))
                after, listed = facts.get("after"), facts.get("blocks")
                if after != self._last.hex():
                    if not isinstance(after, str) or after not in self._names:
                        raise self._damaged(found.start)
                    continue  # of a writer that was asleep: it does not count
                whole = isinstance(listed, list) and len(listed) == len(blocks)
                if not whole or found.name.hex() in self._names:
                    raise self._damaged(found.start)
                self._last, self._end = found.name, found.end
                self._names.add(found.name.hex())
                yield Committed(facts, blocks, found.start)

    def _damaged(self, byte: int) -> FormatError:
        return FormatError(
            f"{self.path} is damaged: what the transaction at byte {byte} follows is not there. Restore the file from "
            "a copy; nothing was changed."
        )

    def body(self, start: int) -> bytes:
        """Return the body of a block's frame that a transaction names.

        Raises
        ------
        FormatError
            It is damaged.
        """
        assert self._file is not None
        body = body_at(self._file.fileno(), start)
        if body is None:
            raise FormatError(f"{self.path} is damaged at byte {start}. Restore the file from a copy.")
        return body

    def facts(self, at: int) -> dict[str, Any]:
        """Read the facts of a transaction again, from its last frame.

        Raises
        ------
        FormatError
            It is damaged.
        """
        assert self._file is not None
        found = frame_at(self._file, at)
        if found is None or found.kind != COMMIT:
            raise FormatError(f"{self.path} is damaged at byte {at}. Restore the file from a copy.")
        facts = parse_object(found.body, f"{self.path}, byte {at}")
        return {key: value for key, value in facts.items() if key not in ("after", "blocks")}

    def append(self, facts: Mapping[str, Any], blocks: Iterable[tuple[Index3, bytes]] = ()) -> list[Committed]:
        """Append a transaction, wait until it is on the disk, and return what :meth:`refresh` finds then.

        Call :meth:`refresh` before, under the same lock.

        Parameters
        ----------
        facts
            JSON values.
        blocks
            Index and body of each of its blocks; they are written as they come.

        Raises
        ------
        OSError
            The disk is full, for example; the transaction does not count.
        TakenOverError
            Another process has appended meanwhile; the transaction does not count.
        """
        name = uuid.uuid4().bytes[:8]
        number = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            with full_named(self.path):
                parts: list[bytes] = []
                waiting = 0
                indices = []
                for index, body in blocks:
                    indices.append(index)
                    parts.append(frame(BLOCK, name, body))
                    waiting += len(body)
                    if waiting > PART_BYTES:
                        _write(number, parts)
                        waiting = 0
                _write(number, [*parts, _commit(name, facts, indices, self._last)])
                os.fsync(number)
        finally:
            os.close(number)
        other, new = self.refresh()
        if other or self._last != name:
            raise TakenOverError(
                f"{self.path}: another process has written while this one was asleep, so this transaction does not "
                "count. Do it again."
            )
        return new


def _commit(name: bytes, facts: Mapping[str, Any], blocks: Iterable[Index3], after: bytes) -> bytes:
    said = {**facts, "blocks": list(blocks), "after": after.hex()}
    return frame(COMMIT, name, json.dumps(said, separators=(",", ":")).encode())


def _write(number: int, parts: list[bytes]) -> None:
    """Append all parts, in one call where the system does it, and forget them."""
    data = memoryview(b"".join(parts))
    parts.clear()
    while data:
        data = data[os.write(number, data) :]


def create_journal(path: Path, transactions: Iterable[Transcribed] = ()) -> None:
    """Write a new journal with some transactions; it takes the place of one that is there in one step.

    Parameters
    ----------
    path
        The file.
    transactions
        Facts of each, and index and body of each of its blocks.
    """
    last = uuid.uuid4().bytes[:8]
    with replacing(path) as file:
        file.write(frame(HEADER, last, json.dumps({"format": FORMAT}).encode()))
        for facts, blocks in transactions:
            name = uuid.uuid4().bytes[:8]
            indices = []
            for index, body in blocks:
                indices.append(index)
                file.write(frame(BLOCK, name, body))
            file.write(_commit(name, facts, indices, last))
            last = name
