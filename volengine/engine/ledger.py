"""The run folder: plan, ledger of receipts, tables, scratch. It lies beside the outputs, never in them.

A *receipt* is one JSON line that proves a finished unit. Every process that runs units appends to a file of its
own, so there are no locks; a torn last line means *not done*. A store that is copied away carries no progress,
because its progress lies here; a store that is replaced loses it, because its token no longer matches.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import replacing, write_atomic, write_json
from volengine.core.block import Table
from volengine.core.errors import InputError, MissingError

Receipt = dict[str, Any]
"""Keys: stage, number, identity, seconds, read, written, counts, peak_rss, host, pid, time."""


def read_lines(path: Path) -> Iterator[Any]:
    """The JSON lines of a file; a torn line is left out."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for line in text.split(b"\n"):
        if line:
            try:
                yield json.loads(line)
            except ValueError:
                continue


class PlanFolder:
    """The part of a run folder that belongs to one plan (one tomogram)."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"

    # -- receipts ------------------------------------------------------------------------------------------

    def append(self, receipts: Iterable[Receipt]) -> None:
        """Add receipts to this process's own ledger file."""
        folder = self.path / "ledger"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        text = "".join(json.dumps(r) + "\n" for r in receipts).encode()
        with path.open("ab") as file:
            if file.tell() and not _ends_with_newline(path):
                file.write(b"\n")  # a torn line of a killed process that had our number
            file.write(text)

    def receipts(self) -> list[Receipt]:
        """All receipts, oldest ledger file first."""
        files = sorted((self.path / "ledger").glob("*.jsonl"), key=lambda p: p.name)
        return [r for f in files for r in read_lines(f) if isinstance(r, dict) and "stage" in r]

    def done(self, identities: Mapping[str, str]) -> dict[str, set[int]]:
        """Block numbers that are finished, by stage name, for stages with these identities."""
        found: dict[str, set[int]] = {name: set() for name in identities}
        for receipt in self.receipts():
            if identities.get(receipt["stage"]) == receipt["identity"]:
                found[receipt["stage"]].add(int(receipt["number"]))
        return found

    def forget(self, stages: Iterable[str]) -> None:
        """Drop the receipts of these stages: their results are gone."""
        names = set(stages)
        kept = [r for r in self.receipts() if r["stage"] not in names]
        text = "".join(json.dumps(r) + "\n" for r in kept).encode()
        merged = self.path / "ledger" / "0-kept.jsonl"
        write_atomic(merged, text)
        for file in (self.path / "ledger").glob("*.jsonl"):
            if file != merged:
                file.unlink(missing_ok=True)

    # -- tables --------------------------------------------------------------------------------------------

    def _table_path(self, stage: str, number: int) -> Path:
        return self.path / "tables" / stage / f"{number // 1000:04d}" / f"{number}.npz"

    def write_table(self, stage: str, number: int, table: Table) -> int:
        """Store a unit's table; returns its bytes."""
        path = self._table_path(stage, number)
        with replacing(path, parents=True, durable=False) as file:
            np.savez(file, **table)  # type: ignore[arg-type]
        return sum(column.nbytes for column in table.values())

    def read_table(self, stage: str, number: int) -> Table:
        path = self._table_path(stage, number)
        try:
            with np.load(path, allow_pickle=False) as data:
                return {key: data[key] for key in data.files}
        except FileNotFoundError:
            raise MissingError(f"{path}: the table of unit {number} of stage {stage!r} is not there.") from None

    def remove_tables(self, stage: str) -> None:
        shutil.rmtree(self.path / "tables" / stage, ignore_errors=True)

    # -- state ---------------------------------------------------------------------------------------------

    def token(self) -> str:
        """The name of this folder's progress; stores that it fills carry it in their attributes."""
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
        """A JSON file of this folder, or ``None``."""
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None

    def write_json(self, name: str, value: Any) -> None:
        write_json(self.path / name, value)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


class RunFolder:
    """The folder of a run: one :class:`PlanFolder` per tomogram, the log and the report."""

    def __init__(self, path: str | Path):
        if "://" in str(path):
            raise InputError(f"--run-dir {path} is a URL; a run is kept in a local folder, or one on a shared disk.")
        self.path = Path(path).absolute()

    def plan(self, name: str) -> PlanFolder:
        return PlanFolder(self.path / "plans" / name)

    def plans(self) -> list[PlanFolder]:
        """Folders of all plans that were started, by name."""
        return [PlanFolder(p.parent) for p in sorted(self.path.glob("plans/*/plan.json"))]

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.json"
