"""The run folder: plan, ledger of receipts, tables, scratch. It lies beside the outputs, never inside of them.

A *receipt* is one JSON line; it proves that a unit is finished. Every process that runs units appends to a file of its
own, so no locks are needed. A torn last line means that the unit is not done. Progress is kept here and not in the
output stores: a copy of a store carries no progress, and the progress of a store that was replaced is dropped, because
its token no longer matches.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import replacing, write_atomic, write_json
from volengine.core.block import Table
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_json

Receipt = dict[str, Any]
"""Keys: stage, number (of the block), identity, seconds, read and written (bytes), counts, peak_rss (bytes), host, pid,
time (seconds since 1970)."""


def read_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a JSON-lines file; torn lines are skipped. A file that does not exist has no lines."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for line in text.split(b"\n"):
        if line:
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue


def is_receipt(value: Any) -> bool:
    """Whether a line of a ledger is a receipt. Any other one, torn or damaged, means that its unit is not done."""
    if not isinstance(value, dict):
        return False
    number = value.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        return False
    if not isinstance(value.get("stage"), str) or not isinstance(value.get("identity"), str):
        return False
    return all(_is_amount(value.get(key, 0)) for key in ("seconds", "time", "read", "written", "peak_rss"))


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18


class PlanFolder:
    """The part of a run folder that belongs to one plan (one tomogram)."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def scratch(self) -> Path:
        """Folder of the scratch arrays."""
        return self.path / "scratch"

    # -- receipts ------------------------------------------------------------------------------------------

    def append(self, receipts: Iterable[Receipt]) -> None:
        """Append receipts to the ledger file of this process."""
        folder = self.path / "ledger"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        text = "".join(json.dumps(r) + "\n" for r in receipts).encode()
        with path.open("ab") as file:
            if file.tell() and not _ends_with_newline(path):
                file.write(b"\n")  # a killed process with the same number left a torn line
            file.write(text)

    def receipts(self) -> list[Receipt]:
        """Return all receipts, file by file in the order of the files' names."""
        files = sorted((self.path / "ledger").glob("*.jsonl"), key=lambda p: p.name)
        return [r for f in files for r in read_lines(f) if is_receipt(r)]

    def done(self, identities: Mapping[str, str]) -> dict[str, set[int]]:
        """Return the numbers of the finished blocks by stage name.

        Only receipts with the identity that ``identities`` gives for their stage count.
        """
        found: dict[str, set[int]] = {name: set() for name in identities}
        for receipt in self.receipts():
            if identities.get(receipt["stage"]) == receipt["identity"]:
                found[receipt["stage"]].add(int(receipt["number"]))
        return found

    def forget(self, stages: Iterable[str]) -> None:
        """Delete the receipts of these stages, because their results no longer exist."""
        names = set(stages)
        self._keep([r for r in self.receipts() if r["stage"] not in names])

    def forget_others(self, identities: Mapping[str, str]) -> None:
        """Delete the receipts of stages of these names that have another identity.

        Tables and scratch arrays are stored under the names of their stages. A plan that is about to run overwrites
        those of an earlier recipe or source, so the earlier receipts must not be believed when that recipe comes back.
        """
        receipts = self.receipts()
        kept = [r for r in receipts if identities.get(r["stage"], r["identity"]) == r["identity"]]
        if len(kept) < len(receipts):
            self._keep(kept)

    def _keep(self, receipts: Iterable[Receipt]) -> None:
        """Replace all receipts by these."""
        text = "".join(json.dumps(r) + "\n" for r in receipts).encode()
        merged = self.path / "ledger" / "0-kept.jsonl"
        write_atomic(merged, text)
        for file in (self.path / "ledger").glob("*.jsonl"):
            if file != merged:
                file.unlink(missing_ok=True)

    # -- tables --------------------------------------------------------------------------------------------

    def _table_path(self, stage: str, number: int) -> Path:
        return self.path / "tables" / stage / f"{number // 1000:04d}" / f"{number}.npz"

    def write_table(self, stage: str, number: int, table: Table) -> int:
        """Store the table of a unit; returns the bytes of its columns."""
        path = self._table_path(stage, number)
        with replacing(path, parents=True, durable=False) as file:
            np.savez(file, **table)  # type: ignore[arg-type]
        return sum(column.nbytes for column in table.values())

    def read_table(self, stage: str, number: int) -> Table:
        """Read the table of a unit.

        Raises
        ------
        MissingError
            The unit has written no table.
        """
        path = self._table_path(stage, number)
        try:
            with np.load(path, allow_pickle=False) as data:
                return {key: data[key] for key in data.files}
        except FileNotFoundError:
            raise MissingError(f"{path}: the table of unit {number} of stage {stage!r} is not there.") from None
        except (OSError, ValueError, LookupError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise FormatError(f"{path}: the table of unit {number} of stage {stage!r} is damaged ({error}).") from error

    def remove_tables(self, stage: str) -> None:
        """Delete the tables of all units of a stage."""
        shutil.rmtree(self.path / "tables" / stage, ignore_errors=True)

    # -- state ---------------------------------------------------------------------------------------------

    def token(self) -> str:
        """Return the random name of this folder, which the stores that it fills carry in their attributes.

        It is created when it is first asked for.
        """
        path = self.path / "token"
        if not path.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("x") as file:
                    file.write(uuid.uuid4().hex)
            except FileExistsError:  # another part was faster
                pass
        for _ in range(100):
            text = path.read_text()
            if text:
                return text
            time.sleep(0.05)
        raise MissingError(f"{path} is empty; remove the run folder and start again.")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of this folder; ``None`` if it does not exist.

        Raises
        ------
        FormatError
            It is no JSON.
        """
        try:
            return parse_json((self.path / name).read_bytes(), str(self.path / name))
        except FileNotFoundError:
            return None

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of this folder, atomically."""
        write_json(self.path / name, value)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


class RunFolder:
    """The folder of a run: one :class:`PlanFolder` per tomogram, the log and the report.

    Raises
    ------
    InputError
        The path is a URL; a run folder must be on a local or shared disk.
    """

    def __init__(self, path: str | Path):
        if "://" in str(path):
            raise InputError(f"--run-dir {path} is a URL; a run is kept in a local folder, or one on a shared disk.")
        self.path = Path(path).absolute()

    def plan(self, name: str) -> PlanFolder:
        """Return the folder of a plan by its name."""
        return PlanFolder(self.path / "plans" / name)

    def plans(self) -> list[PlanFolder]:
        """Return the folders of all plans that were started, sorted by name."""
        return [PlanFolder(p.parent) for p in sorted(self.path.glob("plans/*/plan.json"))]

    @property
    def log(self) -> Path:
        """Path of the log."""
        return self.path / "log.jsonl"

    @property
    def report(self) -> Path:
        """Path of the report."""
        return self.path / "report.json"
