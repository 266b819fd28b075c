"""Receipts: proofs that units are finished, as JSON lines, and what each unit has written.

Every process that runs units appends to a file of its own, so no locks are needed. A torn last line means that the unit
is not done. A receipt is appended only when what it claims is on the disk.
"""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSet
from pathlib import Path
from typing import Any

from volengine.core.atomic import flush, write_atomic

Receipt = dict[str, Any]
"""Keys: stage, number (of the block), identity, seconds, read and written (bytes), counts, peak_rss (bytes), host, pid,
time (seconds since 1970); and what the unit has written:

wrote
    For each output its objects by their keys in the array: ``[size, crc32c]``, or ``None`` if there are only zeros and
    nothing is stored.
table
    ``[size, crc32c]`` of its table; only if the stage emits tables.
files
    Sizes of other files in the scratch folder by their path in it; only if there are any.
halo
    The halo with which its inputs were read; only if the kernel asked for a wider one.
"""

Stored = tuple[int, int]
"""Size in bytes and crc32c of an object or a file."""

CLAIMS = {"wrote", "table"}
"""Every unit has written one of these; receipts of versions that did not say what was written do not count."""

AMOUNTS = ("seconds", "time", "read", "written", "peak_rss")

PIECE = 2**20
"""Bytes of a ledger that are read at a time."""

SMALL = 2**16
"""Largest ledger file, in bytes, whose receipts are kept once they were read: a plan of some units asks many times."""

MOST_UNITS = 2**28
"""Largest number of units of a stage; :class:`Numbers` takes a byte for each."""


class Numbers(MutableSet[int]):
    """A set of block numbers that takes one byte for each block.

    >>> numbers = Numbers([2, 0])
    >>> 2 in numbers, 1 in numbers, len(numbers), numbers == {0, 2}
    (True, False, 2, True)
    """

    def __init__(self, numbers: Iterable[int] = ()):
        self._flags = bytearray()
        self._count = 0
        for number in numbers:
            self.add(number)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and 0 <= number < len(self._flags) and bool(self._flags[number])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return (number for number, flag in enumerate(self._flags) if flag)

    def add(self, value: int) -> None:
        """Add a number, 0 or more."""
        if value >= len(self._flags):
            self._flags.extend(bytes(max(value + 1 - len(self._flags), len(self._flags))))
        self._count += not self._flags[value]
        self._flags[value] = 1

    def discard(self, value: int) -> None:
        """Remove a number; nothing happens if it is not there."""
        if value in self:
            self._flags[value] = 0
            self._count -= 1


def read_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a JSON-lines file; torn lines are skipped. A file that does not exist has no lines."""
    try:
        with path.open("rb") as file:
            yield from _values(file)
    except FileNotFoundError:
        return


def _values(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue


def _line(receipt: Receipt) -> bytes:
    return json.dumps(receipt, separators=(",", ":")).encode() + b"\n"


def _receipts(lines: Iterable[bytes]) -> Iterator[Receipt]:
    for value in _values(lines):
        if is_receipt(value):
            yield value


def is_receipt(value: Any) -> bool:
    """Whether a line of a ledger is a receipt. Any other one, torn or damaged, means that its unit is not done."""
    if not isinstance(value, dict) or not CLAIMS & value.keys():
        return False
    number = value.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < MOST_UNITS:
        return False
    if not isinstance(value.get("stage"), str) or not isinstance(value.get("identity"), str):
        return False
    for key in AMOUNTS:
        if not _is_amount(value.get(key, 0)):
            return False
    return _are_claims(value)


def _are_claims(value: Mapping[str, Any]) -> bool:
    """Whether what a receipt says of its results and counts is of the kinds of :data:`Receipt`."""
    wrote, table, files = value.get("wrote", {}), value.get("table"), value.get("files", {})
    counts, halo = value.get("counts", {}), value.get("halo", [0, 0, 0])
    if not (isinstance(wrote, dict) and isinstance(files, dict) and isinstance(counts, dict)):
        return False
    for objects in wrote.values():
        if not isinstance(objects, dict) or not all(map(_is_stored, objects.values())):
            return False
    if not isinstance(halo, list) or len(halo) != 3:
        return False
    if not all(isinstance(count, int) for count in counts.values()):
        return False
    return _is_stored(table) and all(map(_is_whole, (*files.values(), *halo)))


def _is_stored(value: Any) -> bool:
    """Whether a value is size and checksum of an object, or says that there is none."""
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value)))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18


def _new_name(what: str) -> str:
    """Return a name that no ledger file has had: those who follow the files know by their names what is new."""
    return f"{what}-{uuid.uuid4().hex[:12]}.jsonl"


def _own_name() -> str:
    host = re.sub(r"[^\w.-]", "-", socket.gethostname())
    return _new_name(f"{host}-{os.getpid()}")


_own_files: dict[tuple[Path, int], Path] = {}
"""For each ledger and process (which may have been forked), the file to which it appends."""


class Receipts:
    """The receipts in a folder. An object of this class follows the files: it reads only what is new.

    Parameters
    ----------
    folder
        The folder ``ledger`` of a plan.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, int] = {}
        self._kept: dict[str, tuple[int, list[Receipt]]] = {}
        """Of small files their size when they were read, and their receipts: names are never used again, files grow."""

    def append(self, receipts: Iterable[Receipt], *, durable: bool = True) -> None:
        """Append receipts to the file of this process; ``durable``: they are on the disk when this returns."""
        # the line break before them ends a torn line, which a full disk may have left
        text = b"\n" + b"".join(_line(r) for r in receipts)
        path, number, new = self._open()
        try:
            done = os.write(number, text)
            if done < len(text):  # the disk is full; the torn line is not believed
                os.write(number, text[done:])
            if durable:
                os.fsync(number)
        finally:
            os.close(number)
        if durable and new:
            flush([path], root=self.folder.parent)

    def _open(self) -> tuple[Path, int, bool]:
        """Open the file of this process; if it was withdrawn, another one, because names are never used again."""
        key = (self.folder, os.getpid())
        path = _own_files.get(key)
        if path is not None:
            try:
                return path, os.open(path, os.O_WRONLY | os.O_APPEND), False
            except FileNotFoundError:
                pass
        self.folder.mkdir(parents=True, exist_ok=True)
        path = _own_files[key] = self.folder / _own_name()
        return path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666), True

    def files(self) -> list[Path]:
        """Return the files of all processes, by name."""
        return sorted(self.folder.glob("*.jsonl"), key=lambda path: path.name)

    def __iter__(self) -> Iterator[Receipt]:
        for path in self.files():
            try:
                with path.open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    if size > SMALL:
                        yield from _receipts(file)
                        continue
                    known = self._kept.get(path.name)
                    if known is None or known[0] != size:
                        data = file.read()
                        known = self._kept[path.name] = len(data), list(_receipts(data.split(b"\n")))
            except FileNotFoundError:
                continue
            yield from known[1]

    def news(self) -> tuple[bool, list[Receipt]]:
        """Read what was appended since the last call.

        Returns
        -------
        bool, list of Receipt
            Whether receipts were withdrawn, so that the list has all receipts that are left; and the new receipts.
        """
        afresh, new = self.stream()
        return afresh, list(new)

    def stream(self) -> tuple[bool, Iterator[Receipt]]:
        """Like :meth:`news`, but the receipts are read while they are asked for: there may be millions."""
        found: dict[Path, int] = {}
        for path in self.files():
            try:
                found[path] = path.stat().st_size
            except FileNotFoundError:
                continue
        afresh = not self._read.keys() <= {path.name for path in found}
        if afresh:
            self._read = {}
        for path in found:
            self._read.setdefault(path.name, 0)
        return afresh, self._new([path for path, size in found.items() if size > self._read[path.name]])

    def _new(self, paths: Iterable[Path]) -> Iterator[Receipt]:
        for path in paths:
            for lines, offset in _tail(path, self._read[path.name]):
                yield from _receipts(lines)
                self._read[path.name] = offset

    def keep(self, wanted: Callable[[Receipt], bool], *, durable: bool = True) -> int:
        """Withdraw all receipts but the wanted ones; return the number of those that were withdrawn.

        One that another process appends meanwhile may be lost, too; its unit is then run again.
        """
        kept, lost = [], 0
        before = self.files()
        for receipt in self:
            if wanted(receipt):
                kept.append(_line(receipt))
            else:
                lost += 1
        if lost:
            write_atomic(self.folder / _new_name("0-kept"), b"".join(kept), durable=durable)
            for file in before:
                file.unlink(missing_ok=True)
        return lost


def _tail(path: Path, offset: int) -> Iterator[tuple[list[bytes], int]]:
    """Read the whole lines of a file from an offset on, some at a time, each time with the offset behind them."""
    rest = b""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while piece := file.read(PIECE):
                rest += piece
                end = rest.rfind(b"\n") + 1
                if end:
                    offset += end
                    yield rest[:end].split(b"\n"), offset
                    rest = rest[end:]
    except FileNotFoundError:
        return
