"""The rows as Markdown and as JSON."""

from __future__ import annotations

import json
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from rows import Row


def write_tables(rows: list[Row], out: Path) -> str:
    """Write ``gpu.md`` and ``gpu.json`` to a folder; return the Markdown."""
    when = time.strftime("%Y-%m-%d")
    (out / "gpu.json").write_text(json.dumps({"date": when, "rows": [row.to_json() for row in rows]}, indent=1) + "\n")
    sections = [f"### {part}\n\n{table(list(each))}" for part, each in groupby(rows, key=lambda row: row.part)]
    text = "\n\n".join([f"Measured {when} by `benchmarks/gpu.sh`.", *sections]) + "\n"
    (out / "gpu.md").write_text(text)
    return text


def table(rows: list[Row]) -> str:
    """A table of the rows of a part: one column for each figure."""
    columns = list(dict.fromkeys(name for row in rows for name in row.figures))
    notes = any(row.note for row in rows)
    lines = [["what", "result", *(name.replace("_", " ") for name in columns), *["note"][:notes]]]
    lines.append(["---", "---", *("---:" for _ in columns), *["---"][:notes]])
    for row in rows:
        figures = [shown(row.figures.get(name, "")) for name in columns]
        lines.append([row.what, row.result, *figures, *[row.note][:notes]])
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in line)} |" for line in lines
    )


def shown(value: Any) -> str:
    """A figure as text: three digits, or thousands with commas."""
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
