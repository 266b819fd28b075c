"""What follows from the edits of a curation, in their order: of each pick its decision, tags and position.

The picks of the table have the numbers 0 to n - 1, in its order; a pick that version v has added has the number n + v.
An edit that was undone is as if it had never been made: what it says of a pick is what the latest edit that counts says
of it, and what others say of a pick that is not there any more counts when it is there again.

>>> state = State(np.zeros((3, 3)), np.zeros(3, int))
>>> state.replay([Edit("reject", [0, 1]), Edit("accept", [1]), Edit("add", [7], 0, (1.0, 2.0, 3.0))])
>>> state.ids.tolist(), state.decision.tolist()
([0, 1, 2, 7], [-1, 1, 0, 0])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNDECIDED, ACCEPTED, REJECTED = 0, 1, -1
DECISIONS = {"accept": ACCEPTED, "reject": REJECTED, "undecide": UNDECIDED}


@dataclass(frozen=True)
class Edit:
    """One edit: what is done, to which picks, and with which value.

    Parameters
    ----------
    op
        As of :mod:`volengine.tasks.curate.operations`, but for undo and redo.
    ids
        Numbers of the picks; of ``add`` that of the new one.
    tomogram
        Of ``add``: the number of the table's tomogram.
    position
        Of ``add`` and ``move``: voxels of the table's grid, z, y, x.
    tag
        Of ``tag`` and ``untag``.
    """

    op: str
    ids: Sequence[int]
    tomogram: int = 0
    position: Sequence[float] = ()
    tag: str = ""


class State:
    """Picks of a table with what people have said of them.

    Parameters
    ----------
    position_vox
        (n, 3) of the table, all of its tomograms one after the other, voxels, z, y, x.
    tomogram
        (n,) the number of the tomogram of each.

    Attributes
    ----------
    ids
        (m,) numbers of the picks, rising; those that were added come last.
    decision
        (m,) :data:`ACCEPTED`, :data:`REJECTED` or :data:`UNDECIDED`.
    deleted, moved
        (m,) truth values.
    tags
        (m,) truth values by tag.
    """

    def __init__(self, position_vox: ArrayLike, tomogram: ArrayLike):
        self._given = np.asarray(position_vox, np.float64).reshape(-1, 3), np.asarray(tomogram, np.int64)
        self._begin()

    @property
    def count(self) -> int:
        """Number of picks of the table."""
        return len(self._given[0])

    def _begin(self) -> None:
        n = self.count
        self.ids: NDArray[np.int64] = np.arange(n)
        self.position_vox: NDArray[np.float64] = self._given[0].copy()
        self.tomogram: NDArray[np.int64] = self._given[1].copy()
        self.decision: NDArray[np.int64] = np.zeros(n, np.int64)
        self.deleted: NDArray[np.bool_] = np.zeros(n, bool)
        self.moved: NDArray[np.bool_] = np.zeros(n, bool)
        self.tags: dict[str, NDArray[np.bool_]] = {}

    def replay(self, edits: Iterable[Edit]) -> None:
        """Begin with the table, and do these edits."""
        self._begin()
        every = list(edits)
        for one in every:
            if one.op == "add":
                self.do(one)
        for one in every:
            if one.op != "add":
                self.do(one)

    def do(self, edit: Edit) -> None:
        """Do one more edit; picks that are not there are passed over."""
        if edit.op == "add":
            self._add(edit)
            return
        rows = self.rows(edit.ids)
        if edit.op in DECISIONS:
            self.decision[rows] = DECISIONS[edit.op]
        elif edit.op == "delete":
            self.deleted[rows] = True
        elif edit.op == "move":
            self.position_vox[rows], self.moved[rows] = edit.position, True
        else:
            tagged = self.tags.setdefault(edit.tag, np.zeros(len(self.ids), bool))
            tagged[rows] = edit.op == "tag"

    def _add(self, edit: Edit) -> None:
        at = int(np.searchsorted(self.ids, edit.ids[0]))
        self.ids = np.insert(self.ids, at, edit.ids[0])
        self.position_vox = np.insert(self.position_vox, at, edit.position, axis=0)
        self.tomogram = np.insert(self.tomogram, at, edit.tomogram)
        self.decision = np.insert(self.decision, at, UNDECIDED)
        self.deleted, self.moved = np.insert(self.deleted, at, False), np.insert(self.moved, at, False)
        self.tags = {tag: np.insert(values, at, False) for tag, values in self.tags.items()}

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of those picks of these numbers that are there, deleted ones included."""
        wanted = np.asarray(ids, np.int64)
        at = np.searchsorted(self.ids, wanted)
        there = np.zeros(len(wanted), bool)
        inside = at < len(self.ids)
        there[inside] = self.ids[at[inside]] == wanted[inside]
        found: NDArray[np.int64] = at[there]
        return found

    def said(self) -> NDArray[np.bool_]:
        """Which picks somebody has said anything of, or has added."""
        found: NDArray[np.bool_] = (self.decision != UNDECIDED) | self.deleted | self.moved | (self.ids >= self.count)
        for tagged in self.tags.values():
            found |= tagged
        return found

    def edits(self) -> list[Edit]:
        """Edits that lead here from the table alone."""
        found = [
            Edit("add", [int(i)], int(t), tuple(map(float, p)))
            for i, t, p in zip(self.ids, self.tomogram, self.position_vox, strict=True)
            if i >= self.count
        ]
        moved = np.flatnonzero(self.moved & (self.ids < self.count))
        found += [Edit("move", [int(self.ids[r])], 0, tuple(map(float, self.position_vox[r]))) for r in moved]
        for op, decision in (("accept", ACCEPTED), ("reject", REJECTED)):
            found += self._of(op, self.decision == decision)
        found += self._of("delete", self.deleted)
        for tag, tagged in self.tags.items():
            found += self._of("tag", tagged, tag)
        return found

    def _of(self, op: str, rows: NDArray[np.bool_], tag: str = "") -> list[Edit]:
        return [Edit(op, self.ids[rows].tolist(), tag=tag)] if rows.any() else []


def to_json(edit: Edit) -> dict[str, Any]:
    """An edit as JSON values, without what it does not have."""
    found: dict[str, Any] = {"edit": edit.op, "ids": list(edit.ids)}
    if edit.op == "add":
        found["tomogram"] = edit.tomogram
    if edit.position:
        found["position"] = list(edit.position)
    if edit.tag:
        found["tag"] = edit.tag
    return found


def from_json(value: Any) -> Edit:
    """The edit that :func:`to_json` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        It is something else.
    """
    ids = [int(one) for one in value["ids"]]
    position = [float(v) for v in value.get("position", ())]
    return Edit(str(value["edit"]), ids, int(value.get("tomogram", 0)), position, str(value.get("tag", "")))
