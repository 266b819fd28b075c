"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table as lines of text, one per row, with columns of equal width.

    Parameters
    ----------
    head
        Titles of the columns.
    rows
        Cells; each is shown as ``str(cell)``. From the second column on, cells that begin with a digit are aligned to
        the right.
    """
    cells = [[str(c) for c in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for number, row in enumerate(cells):
        parts = [
            c.rjust(w) if i and (number == 0 or c[:1].isdigit()) else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)
