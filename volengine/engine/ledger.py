"""The run folder: plan, ledger of receipts, tables, scratch. It lies beside the outputs, never inside of them.

Progress is kept here (:mod:`volengine.engine.receipts`) and not in the output stores: a copy of a store carries no
progress, and the progress of a store that was replaced is dropped, because its token no longer matches.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import time
import uuid
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import flush, replacing, write_json
from volengine.core.block import Table
from volengine.core.errors import DamagedError, InputError, MissingError
from volengine.core.json_text import parse_json
from volengine.engine.receipts import Numbers, Receipts, Stored
from volengine.io.names import StoredObject
from volengine.io.omezarr.objects import crc32c
from volengine.io.stores import stored_objects


class PlanFolder:
    """The part of a run folder that belongs to one plan (one tomogram)."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def scratch(self) -> Path:
        """Folder of the scratch arrays."""
        return self.path / "scratch"

    # -- receipts ------------------------------------------------------------------------------------------

    @cached_property
    def receipts(self) -> Receipts:
        """The receipts of the units."""
        return Receipts(self.path / "ledger")

    def done(self, identities: Mapping[str, str]) -> dict[str, Numbers]:
        """Return the numbers of the finished blocks by stage name.

        Only receipts with the identity that ``identities`` gives for their stage count.
        """
        found: dict[str, Numbers] = {name: Numbers() for name in identities}
        for receipt in self.receipts:
            if identities.get(receipt["stage"]) == receipt["identity"]:
                found[receipt["stage"]].add(int(receipt["number"]))
        return found

    def forget(self, stages: Iterable[str]) -> None:
        """Withdraw the receipts of these stages, because their results no longer exist."""
        names = set(stages)
        self.receipts.keep(lambda r: r["stage"] not in names)

    def forget_units(self, units: Mapping[str, Collection[int]]) -> None:
        """Withdraw the receipts of these units, by stage name."""
        self.receipts.keep(lambda r: r["number"] not in units.get(r["stage"], ()))

    def forget_others(self, identities: Mapping[str, str]) -> None:
        """Withdraw the receipts of stages of these names that have another identity.

        Tables and scratch arrays are stored under the names of their stages. A plan that is about to run overwrites
        those of an earlier recipe or source, so the earlier receipts must not be believed when that recipe comes back.
        """
        self.receipts.keep(lambda r: identities.get(r["stage"], r["identity"]) == r["identity"])

    # -- tables --------------------------------------------------------------------------------------------

    def _table_path(self, stage: str, number: int) -> Path:
        return self.path / self.tables_of(stage) / self.table_key(number)

    def write_table(self, stage: str, number: int, table: Table) -> tuple[int, Stored]:
        """Store the table of a unit; returns the bytes of its columns, and size and checksum of the file."""
        buffer = io.BytesIO()
        np.savez(buffer, **table)  # type: ignore[arg-type]
        data = buffer.getvalue()
        with replacing(self._table_path(stage, number), parents=True, durable=False) as file:
            file.write(data)
        return sum(column.nbytes for column in table.values()), (len(data), crc32c(data))

    def flush_tables(self, stage: str, numbers: Iterable[int]) -> None:
        """Make the tables of these units durable."""
        flush([self._table_path(stage, number) for number in numbers], root=self.path)

    def read_table(self, stage: str, number: int) -> Table:
        """Read the table of a unit.

        Raises
        ------
        DamagedError
            The unit has written no table, or it cannot be read.
        """
        path = self._table_path(stage, number)
        try:
            with np.load(path, allow_pickle=False) as data:
                return {key: data[key] for key in data.files}
        except FileNotFoundError:
            what = "is not there"
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
            what = f"is damaged ({error})"
        message = f"{path}: the table of unit {number} of stage {stage!r} {what}; run the same command again."
        raise DamagedError(message, str(self.path), self.tables_of(stage), (self.table_key(number),))

    def table_bytes(self, stage: str, number: int) -> int:
        """Return the size of the file of a unit's table, bytes; 0 if there is none."""
        try:
            return self._table_path(stage, number).stat().st_size
        except OSError:
            return 0

    @staticmethod
    def tables_of(stage: str) -> str:
        """Return the folder of a stage's tables, inside of this folder."""
        return f"tables/{stage}"

    @staticmethod
    def table_key(number: int) -> str:
        """Return the name of the table of a unit in :meth:`tables_of`."""
        return f"{number // 1000:04d}/{number}.npz"

    def stored_tables(self, stage: str) -> dict[str, StoredObject]:
        """List the tables of a stage by :meth:`table_key`."""
        return stored_objects(str(self.path), self.tables_of(stage))

    def remove_tables(self, stage: str) -> None:
        """Delete the tables of all units of a stage."""
        shutil.rmtree(self.path / self.tables_of(stage), ignore_errors=True)

    # -- state ---------------------------------------------------------------------------------------------

    def token(self) -> str:
        """Return the random name of this folder, which the stores that it fills carry in their attributes.

        It is created when it is first asked for.
        """
        path = self.path / "token"
        for _ in range(100):
            try:
                text = path.read_text()
            except FileNotFoundError:
                self.path.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError), path.open("x") as file:  # another part may be faster
                    file.write(uuid.uuid4().hex)
                continue
            if text:
                return text
            time.sleep(0.05)
        raise MissingError(f"{path} is empty; remove the run folder and start again.")

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Write the plan, and where this folder is, so that it is noticed when the folder was moved."""
        self.write_json("plan.json", {**plan, "folder": str(self.path.absolute())})

    def home(self, *, now: bool = False) -> str:
        """Return where this folder was when its plan was written, or where it is ``now``; empty if it is not known."""
        return str(self.path.absolute()) if now else str((self.read_json("plan.json") or {}).get("folder", ""))

    def moved_from(self) -> str:
        """Return where this folder was when its plan was written; empty if it is there, also by a link."""
        before = self.home()
        with contextlib.suppress(OSError, ValueError):
            if Path(before).samefile(self.path):
                return ""
        return "" if before == str(self.path.absolute()) else before

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

    def write_json(self, name: str, value: Any, *, durable: bool = True) -> None:
        """Write a JSON file of this folder, atomically; ``durable``: it is on the disk when this returns."""
        write_json(self.path / name, value, durable=durable, lines=False)


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
