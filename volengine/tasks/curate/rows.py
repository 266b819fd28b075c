"""The picks of a curated table as they are now: tables, and columns for conditions, sorting and writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.picks import Picks
from volengine.tasks.curate.state import State
from volengine.tasks.picks.tables import with_same_columns

JOIN = "+"
"""What stands between several tags in a cell, as conditions read it."""
OWN = ("accepted", "tags", "added", "moved")
"""Columns that a curation adds."""


class Rows:
    """The picks of all tomograms, one after the other, without the deleted ones.

    Parameters
    ----------
    tables
        The table as it was read.
    state
        What was said of its picks.

    Attributes
    ----------
    ids, tomogram, position_vox
        (n,), (n,) and (n, 3): number of the pick, of its table, and where it is now.
    """

    def __init__(self, tables: Sequence[Picks], state: State):
        there = np.flatnonzero(~state.deleted)
        order = there[np.argsort(state.tomogram[there], kind="stable")]
        self.ids: NDArray[np.int64] = state.ids[order]
        self.tomogram: NDArray[np.int64] = state.tomogram[order]
        self.position_vox: NDArray[np.float64] = state.position_vox[order]
        self.decision: NDArray[np.int64] = state.decision[order]
        self.added: NDArray[np.bool_] = self.ids >= state.count
        self.moved: NDArray[np.bool_] = state.moved[order] & ~self.added
        self.tags = {tag: values[order] for tag, values in sorted(state.tags.items()) if values[order].any()}
        self.tables, self.lost = with_same_columns(list(tables)) if tables else ([], [])
        self._columns: dict[str, NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def picks(self, chosen: NDArray[np.bool_] | None = None) -> list[Picks]:
        """Tables of the picks, or of the chosen ones, with the columns that all tomograms have.

        Of picks that were added by hand, numbers are NaN, or 0 where a column has whole ones, and texts empty.

        Parameters
        ----------
        chosen
            (n,) truth values.
        """
        first = np.cumsum([0, *(len(one) for one in self.tables)])
        found = []
        for number, one in enumerate(self.tables):
            mine = self.tomogram == number
            if chosen is not None:
                mine &= chosen
            old = self.ids[mine & ~self.added] - first[number]
            fresh = int((mine & self.added).sum())
            columns = {name: _longer(values[old], fresh) for name, values in one.columns.items()}
            columns["position_vox"] = self.position_vox[mine]
            found.append(Picks.from_table(columns, one.facts()))
        return found

    def own(self) -> dict[str, NDArray[Any]]:
        """The columns that the curation adds."""
        joined: NDArray[Any] = np.full(len(self), "", dtype=object)
        for tag, values in self.tags.items():
            joined[values] = [f"{text}{JOIN}{tag}" if text else tag for text in joined[values]]
        texts = joined.astype(str) if len(joined) else np.zeros(0, "U1")
        return {"accepted": self.decision, "tags": texts, "added": self.added, "moved": self.moved}

    def columns(self) -> dict[str, NDArray[Any]]:
        """One value for each pick and column, as in :mod:`volengine.core.flat`, with tomogram, feature and own ones."""
        if self._columns is None:
            tables = self.picks()
            flat = [one.with_(extra={k: v for k, v in one.extra.items() if k not in OWN}).flat() for one in tables]
            names = list(flat[0]) if flat else []
            found = {name: np.concatenate([one[name] for one in flat]) for name in names}
            for key in ("tomogram", "feature"):
                if key not in found:
                    said = [np.full(len(one), getattr(one, key)) for one in tables]
                    found[key] = np.concatenate(said) if said else np.zeros(0, "U1")
            self._columns = {**found, **self.own()}
        return self._columns


def _longer(values: NDArray[Any], by: int) -> NDArray[Any]:
    """A column with more rows, of which nothing is known."""
    if not by:
        return values
    kind = values.dtype.kind
    fill: Any = np.nan if kind == "f" else "" if kind == "U" else 0
    return np.concatenate([values, np.full((by, *values.shape[1:]), fill, values.dtype)])


def with_own(tables: Sequence[Picks], columns: dict[str, NDArray[Any]]) -> list[Picks]:
    """Tables with further columns, (n,) values of all of them one after the other."""
    found, at = [], 0
    for one in tables:
        part = slice(at, at + len(one))
        at += len(one)
        extra = {name: values for name, values in one.extra.items() if name not in columns}
        found.append(one.with_(extra={**extra, **{name: values[part] for name, values in columns.items()}}))
    return found
