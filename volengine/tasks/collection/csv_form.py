"""A manifest as CSV: what a spreadsheet opens.

The separator is the comma, semicolon or tab that the line of names has. Lines that begin with ``#``, and empty ones,
are comments. Spreadsheets fill rows up with empty cells, put quotes where they like, write TRUE and FALSE, and put a
byte order mark before the text: all that is read. A row with fewer cells than there are names is refused, because a
file that was cut off looks like that.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volengine.core.csv_cells import guarded, plain
from volengine.core.errors import FormatError
from volengine.tasks.collection.table import Changes, Table

SEPARATORS = (",", ";", "\t")


@dataclass
class Record:
    """One row of the file: its text with the line end, its cells (``None``: a comment), and its line."""

    raw: str
    cells: list[str] | None
    line: int

    @property
    def end(self) -> str:
        """The line end; empty at the end of a file that has none."""
        return self.raw[len(self.raw.rstrip("\r\n")) :]


class CsvForm:
    """A manifest as CSV.

    Parameters
    ----------
    text
        The text of the file.
    path
        Its name, for messages.

    Raises
    ------
    FormatError
        It is no CSV, has no names of columns, or a row has too few or too many cells.
    """

    def __init__(self, text: str, path: Path):
        self.path = path
        self.mark = "\ufeff" if text.startswith("\ufeff") else ""
        lines = list(io.StringIO(text.removeprefix(self.mark), newline=""))
        self.separator = _separator(lines)
        try:
            self.records = list(self._records(lines))
        except csv.Error as error:
            raise FormatError(f"{path} is no CSV ({error}).") from None
        self.rows = [n for n, record in enumerate(self.records) if record.cells is not None]
        if not self.rows:
            raise FormatError(f"{path}: is empty; its first line names the columns, for example source,name.")
        self.head = self.records[self.rows.pop(0)]
        names = list(self.head.cells or [])
        while names and not names[-1]:
            names.pop()
        self.table = Table(names)
        for number in self.rows:
            self._add(self.records[number])

    def _records(self, lines: list[str]) -> Iterator[Record]:
        at = 0
        while at < len(lines):
            if not lines[at].strip() or lines[at].lstrip().startswith("#"):
                yield Record(lines[at], None, at + 1)
                at += 1
                continue
            reader = csv.reader(iter(lines[at:]), delimiter=self.separator, strict=True, skipinitialspace=True)
            try:
                cells = [plain(cell.strip()) for cell in next(reader)]
            except csv.Error as error:
                raise FormatError(f"{self.path}, line {at + 1}: is no CSV ({error}).") from None
            raw = "".join(lines[at : at + reader.line_num])
            comment = not any(cells) or cells[0].startswith("#")
            yield Record(raw, None if comment else cells, at + 1)
            at += reader.line_num

    def _add(self, record: Record) -> None:
        cells, names = record.cells or [], self.table.columns
        if len(cells) < len(names) or any(cells[len(names) :]):
            raise FormatError(
                f"{self.path}, line {record.line}: has {len(cells)} cells, but the first line names {len(names)} "
                f"columns; put a {_said(self.separator)} for each cell that is empty, and texts with one into quotes."
            )
        self.table.rows.append({name: cell for name, cell in zip(names, cells, strict=False) if cell})
        self.table.where.append(f"line {record.line}")

    def changed(self, changes: Changes, added: Sequence[Mapping[str, str]]) -> str:
        """Return the text with some cells changed, and with rows added at its end."""
        records = [Record(r.raw, None if r.cells is None else list(r.cells), r.line) for r in self.records]
        head = records[self.records.index(self.head)]
        names = list(self.table.columns)
        for name in dict.fromkeys(n for values in (*changes.values(), *added) for n in values):
            if name not in names:
                for record in (head, *(records[n] for n in self.rows)):
                    self._put(record, len(names), name if record is head else "")
                names.append(name)
        for row, values in changes.items():
            for name, value in values.items():
                self._put(records[self.rows[row]], names.index(name), value)
        end = head.end or "\n"
        if added and records[-1].raw and not records[-1].end:
            records[-1].raw += end
        text = self.mark + "".join(record.raw for record in records)
        width = max(len(names), len(head.cells or []))
        more = [[row.get(name, "") for name in names] + [""] * (width - len(names)) for row in added]
        return text + "".join(self._line(cells) + end for cells in more)

    def _put(self, record: Record, at: int, value: str) -> None:
        """Set a cell of a row, or add one behind the last."""
        cells, end = record.cells or [], record.end
        if at < len(cells):
            if cells[at] != value:
                cells[at] = value
                record.raw = self._line(cells) + end
        else:
            cells.append(value)
            body = record.raw[: len(record.raw) - len(end)]
            record.raw = f"{body}{self.separator}{self._line([value]) if value else ''}{end}"

    def _line(self, cells: Sequence[str]) -> str:
        out = io.StringIO()
        csv.writer(out, delimiter=self.separator, lineterminator="").writerow([guarded(cell) for cell in cells])
        return out.getvalue()


def _separator(lines: Sequence[str]) -> str:
    """The separator of the line of names: the one that it has most of."""
    head = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    return max(SEPARATORS, key=head.count)


def _said(separator: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab"}[separator]
