"""The rows of the picks of a tree, brought from the order of cells into that of labels in bounded memory.

The rows of a cell have any labels. They go into a file without a name, in which each run of some labels has a
place of its own; then one run after the other is read and sorted. So each table is read once, and memory holds
the rows of one table, or of one run. The file has a row's bytes for each pick, and vanishes with the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import full_named
from volengine.core.block import Table
from volengine.core.errors import InputError, RunError

AGAIN = "Run the same command again, with --overwrite."


class RowFile:
    """Rows of picks with the labels 1 ... ``count``, in a file without a name.

    Parameters
    ----------
    folder
        Where the file is; beside the table that is written, as there must be space for it.
    count
        Number of picks.
    part
        Number of labels in a run.
    key
        Name of the column of labels.

    Raises
    ------
    InputError
        The folder cannot be written to.

    Examples
    --------
    >>> with RowFile(Path("."), 3, part=2) as rows:
    ...     rows.add({"label": np.array([3, 1]), "weight": np.array([0.5, 9.0])})
    ...     rows.add({"label": np.array([2]), "weight": np.array([4.0])})
    ...     [part["weight"].tolist() for part in rows.parts()]
    [[9.0, 4.0], [0.5]]
    """

    def __init__(self, folder: Path, count: int, part: int, key: str = "label") -> None:
        self.folder, self.count, self.part, self.key = folder, count, part, key
        self.row: np.dtype[Any] | None = None
        self.filled = np.zeros(-(-count // part), np.int64)

    def __enter__(self) -> Self:
        try:
            self._file = TemporaryFile(dir=self.folder, buffering=0)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written ({error.strerror}).") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the tables that were added."""
        return () if self.row is None else self.row.names or ()

    def add(self, table: Table) -> None:
        """Add the rows of a table: columns of one length, one of which is the ``key``.

        Raises
        ------
        RunError
            Its columns are others than those of the first table, or a label is there twice or is none of 1 ... count.
        """
        row = np.dtype([(key, column.dtype, column.shape[1:]) for key, column in sorted(table.items())])
        if self.row is None:
            self.row = row
        elif row != self.row:
            raise RunError(f"The cells hold rows of picks with the columns {row.names} and {self.row.names}. {AGAIN}")
        order = np.argsort(table[self.key], kind="stable")
        label = table[self.key][order]
        if label.size and not 1 <= label[0] <= label[-1] <= self.count:
            raise RunError(f"The cells hold picks {label[0]} to {label[-1]}, not 1 to {self.count}. {AGAIN}")
        runs, first = np.unique((label - 1) // self.part, return_index=True)
        for run, rows in zip(runs.tolist(), np.split(order, first[1:]), strict=False):
            self._put(run, rows, table)

    def _put(self, run: int, rows: NDArray[np.int64], table: Table) -> None:
        if self.filled[run] + rows.size > self._size(run):
            raise RunError(f"The cells hold more than {self.count} picks. {AGAIN}")
        data = np.empty(rows.size, self.row)
        for key, column in table.items():
            data[key] = column[rows]
        with full_named(self.folder):
            self._file.seek((run * self.part + int(self.filled[run])) * data.dtype.itemsize)
            left = memoryview(data.view(np.uint8).data)
            while left:  # a write without a buffer may write less
                left = left[self._file.write(left) :]
        self.filled[run] += rows.size

    def _size(self, run: int) -> int:
        return min(self.part, self.count - run * self.part)

    def parts(self) -> Iterator[Table]:
        """Give the rows by ascending label, run by run; without any pick one table without rows.

        Raises
        ------
        RunError
            A label is missing, or there twice.
        """
        if self.row is None or int(self.filled.sum()) != self.count:
            raise RunError(f"The cells hold {int(self.filled.sum())} picks, not {self.count}. {AGAIN}")
        for run in range(max(1, self.filled.size)):
            size = self._size(run)
            data = self._read(run * self.part * self.row.itemsize, size)
            data = data[np.argsort(data[self.key], kind="stable")]
            if not np.array_equal(data[self.key], np.arange(1, size + 1) + run * self.part):
                raise RunError(f"The cells do not hold each of {self.count} picks once. {AGAIN}")
            yield {key: np.ascontiguousarray(data[key]) for key in self.columns}

    def _read(self, start: int, size: int) -> NDArray[Any]:
        data = np.empty(size, self.row)
        self._file.seek(start)
        left = memoryview(data.view(np.uint8).data)
        while left:
            done = self._file.readinto(left)
            if not done:
                raise RunError(f"{self.folder}: the rows of the picks that were put there are gone. {AGAIN}")
            left = left[done:]
        return data
