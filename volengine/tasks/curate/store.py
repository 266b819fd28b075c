"""A curation, ``NAME.curation``: what people say of the picks of a table, beside the table, which is never changed.

It is a journal as annotations have it (:mod:`volengine.io.annotations.journal`): an edit is one transaction, which is
on the disk wholly or not at all, several processes and people may work at once, and everybody undoes own edits. The
first transaction holds where the picks of the table were. A table that was written anew, with other picks, is refused
until what was said is carried over to the picks at the same places; a number never means another pick.

>>> curation = new_curation("TS_01__ribosome.star", "ribosome.curation")
>>> curation.do({"op": "reject", "where": "x_vox > 10"}, user="ada").version
1
>>> curation.counts()
{'accepted': 0, 'rejected': 1, 'undecided': 1, 'deleted': 0}
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volengine.core.conditions import fulfils
from volengine.core.errors import ChangedError, InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM
from volengine.engine.lock import critical
from volengine.io.annotations.folder import check_name
from volengine.io.annotations.history import History, Transaction
from volengine.io.annotations.journal import Committed, Journal, Transcribed, create_journal
from volengine.io.names import is_remote, same_tomogram
from volengine.ops.score import pair_picks
from volengine.tasks.annotate.store import own_name
from volengine.tasks.common.lying import Asked, table_on
from volengine.tasks.curate.operations import checked
from volengine.tasks.curate.rows import Rows
from volengine.tasks.curate.state import ACCEPTED, REJECTED, UNDECIDED, Edit, State, from_json, to_json
from volengine.tasks.curate.table import Base, matched, read_base
from volengine.tasks.picks.recipe import PicksRecipe

ENDING = ".curation"
MaskGrid = Literal["auto", "faces", "centres"]


@dataclass(frozen=True)
class Carried:
    """What became of what was said of an earlier table's picks.

    Parameters
    ----------
    picks
        Number of picks of which something was said.
    found
        How many of them have a pick of the new table at their place.
    before
        The file that keeps the curation as it was.
    notes
        Sentences for the user.
    """

    picks: int
    found: int
    before: str
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """Number of picks of which something was said, and that the new table does not have."""
        return self.picks - self.found


class Curation:
    """The curation of one table of picks.

    All methods may be called from several threads; each of them first reads what other processes have done.

    Parameters
    ----------
    path
        The file ``NAME.curation``, made by :func:`new_curation`.

    Raises
    ------
    MissingError
        There is none.
    FormatError
        It is damaged.
    """

    def __init__(self, path: PathLike):
        self.path = local_file(path)
        self._threads = threading.RLock()
        self._journal = Journal(self.path)
        self._read: tuple[tuple[int, int], list[Picks]] | None = None
        self._rows: Rows | None = None
        self.refresh()

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def __enter__(self) -> Curation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading -----------------------------------------------------------------------------------------------

    def refresh(self) -> int:
        """Read what other processes have done; return the last version."""
        with self._threads:
            other, new = self._journal.refresh()
            if other:
                self._history, self._read = History(), None
            self._take(new)
            return self._history.version

    def _take(self, new: list[Committed]) -> None:
        toggled = False
        for committed in new:
            self._history.add(committed, str(self.path))
            kind = committed.facts["kind"]
            if kind == "base":
                self.base = Base.unpacked(committed.facts, self._journal.body(committed.blocks[0]), self.path)
                self._state = self.base.state()
            toggled |= kind in ("undo", "redo")
            if kind == "edit" and not toggled:
                self._state.do(from_json(committed.facts))
        if toggled:
            every = self._history.transactions.values()
            counting = [one for one in every if one.kind == "edit" and self._history.counts(one.version)]
            self._state.replay([*self.base.edits, *(from_json(one.facts) for one in counting)])
        if new:
            self._rows = None

    @property
    def version(self) -> int:
        """The last version."""
        return self.refresh()

    @property
    def table(self) -> str:
        """Path of the table."""
        return self.base.table

    def tables(self) -> list[Picks]:
        """The picks of the table as it is, a table for each tomogram.

        Raises
        ------
        MissingError
            It is not there any more.
        ChangedError
            It has other picks than those of which something was said.
        """
        with self._threads:
            self.refresh()
            stamp = _stamp(self.base.table)
            if self._read is None or self._read[0] != stamp:
                now, tables, _ = read_base(self.base.table, self.base.reading)
                if now.digest != self.base.digest:
                    raise ChangedError(
                        f"{self.base.table} has other picks than those that {self.path.name} is of: it was written "
                        f"anew ({counted(len(self.base.position_vox), 'pick')} then, "
                        f"{counted(len(now.position_vox), 'pick')} now). Carry over what was said of them, by their "
                        f"places: volengine curate carry {self.path} --within-nm 2"
                    )
                self._read, self._rows = (stamp, tables), None
            return self._read[1]

    def rows(self) -> Rows:
        """The picks as they are now; errors as of :meth:`tables`."""
        with self._threads:
            tables = self.tables()
            if self._rows is None:
                self._rows = Rows(tables, self._state)
            return self._rows

    def counts(self) -> dict[str, int]:
        """Number of picks that are accepted, rejected, undecided, and deleted."""
        with self._threads:
            self.refresh()
            return counts_of(self._state)

    def tags(self) -> dict[str, int]:
        """Number of picks with each tag."""
        with self._threads:
            self.refresh()
            found = {tag: int((values & ~self._state.deleted).sum()) for tag, values in self._state.tags.items()}
            return {tag: count for tag, count in sorted(found.items()) if count}

    def transactions(self, user: str | None = None) -> list[tuple[Transaction, bool]]:
        """The transactions that can be undone, and those that undo; and whether each counts now."""
        with self._threads:
            self.refresh()
            ones = [one for one in self._history.transactions.values() if user in (None, one.user)]
            return [(one, self._history.counts(one.version)) for one in ones]

    def asked(self, transaction: Transaction) -> dict[str, Any]:
        """The operation of a transaction as it was asked for."""
        with self._threads:
            self.refresh()
            return dict(self._journal.facts(transaction.at)["what"])

    def may(self, user: str) -> tuple[bool, bool]:
        """Whether a user has anything to undo, and to redo."""
        with self._threads:
            self.refresh()
            found = []
            for what in (self._history.to_undo, self._history.to_redo):
                try:
                    what(user)
                    found.append(True)
                except InputError:
                    found.append(False)
            return found[0], found[1]

    # -- changing ----------------------------------------------------------------------------------------------

    def do(self, operation: Mapping[str, Any], user: str = "", *, digest: str = "") -> Transaction:
        """Carry out one operation as one transaction, which is on the disk when this returns.

        Parameters
        ----------
        operation
            See :mod:`volengine.tasks.curate.operations`.
        user
            Who does it; default: the name of the process's user.
        digest
            That of the picks whose numbers the operation names (``base.digest``), if somebody looked them up earlier.

        Raises
        ------
        InputError
            It cannot be done; nothing was changed.
        ChangedError
            The table has other picks now.
        """
        asked, who = checked(operation), check_name(user or own_name(), "user")
        self._check_writable()
        with self._threads, critical(lock_of(self.path)):
            self.refresh()
            if digest and digest != self.base.digest:
                raise ChangedError(
                    f"{self.path.name} was carried over to other picks meanwhile, and numbers mean others now; nothing "
                    "was done. Load the table again."
                )
            facts = self._prepared(asked, who)
            said = {
                "version": self._history.version + 1,
                "user": who,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "what": asked,
                **facts,
            }
            self._take(self._journal.append(said))
            return self._history.transactions[self._history.version]

    def _check_writable(self) -> None:
        if not os.access(self.path, os.W_OK) or not os.access(self.path.absolute().parent, os.W_OK):
            raise InputError(f"{self.path}: cannot be written to; copy it to a place of yours, or ask for the right.")

    def _prepared(self, asked: Mapping[str, Any], user: str) -> dict[str, Any]:
        name = asked["op"]
        if name in ("undo", "redo"):
            find = self._history.to_undo if name == "undo" else self._history.to_redo
            return {"kind": name, "of": find(user, asked.get("version")).version}
        self.tables()  # refused, if it has other picks
        if name == "add":
            tomogram = self._tomogram(asked.get("tomogram"))
            self._check_inside(tomogram, asked["position"], name)
            number = self._state.count + self._history.version + 1
            edit = Edit(name, [number], tomogram, asked["position"])
        elif name == "move":
            (row,) = self._present(name, [asked["id"]])
            self._check_inside(int(self._state.tomogram[row]), asked["position"], name)
            edit = Edit(name, [asked["id"]], 0, asked["position"])
        else:
            ids = asked["ids"] if "ids" in asked else self._fulfilling(asked["where"])
            self._present(name, ids)
            edit = Edit(name, ids, tag=asked.get("tag", ""))
        return {"kind": "edit", **to_json(edit)}

    def _tomogram(self, name: str | None) -> int:
        names = [str(one["tomogram"]) for one in self.base.facts]
        if name is None and len(names) == 1:
            return 0
        known = same_tomogram(name, names) if name else None
        if known is None:
            raise InputError(
                f"add: {self.base.table} has picks of {', '.join(names[:8])}; "
                + (f"{name!r} is none of them." if name else "say which 'tomogram'.")
            )
        return names.index(known)

    def _check_inside(self, tomogram: int, position: list[float], name: str) -> None:
        shape = self.base.facts[tomogram]["shape"]
        wrong = shape is not None and not all(-0.5 <= p <= n - 0.5 for p, n in zip(position, shape, strict=True))
        if wrong or not all(abs(p) < 1e7 for p in position):
            raise InputError(f"{name}: {position} (z, y, x) lies outside of the {shape or 'tomogram'} voxels.")

    def _present(self, name: str, ids: list[int]) -> list[int]:
        rows = self._state.rows(ids)
        if len(rows) < len(ids):
            gone = sorted({*ids} - {*self._state.ids[rows].tolist()})
            raise InputError(f"{name}: there is no pick {gone[0]}.")
        deleted = rows[self._state.deleted[rows]]
        if len(deleted):
            raise InputError(f"{name}: pick {self._state.ids[deleted[0]]} was deleted; undo that first.")
        return [int(row) for row in rows]

    def _fulfilling(self, condition: str) -> list[int]:
        rows = self.rows()
        found: list[int] = np.sort(rows.ids[fulfils(condition, rows.columns(), len(rows))]).tolist()
        if not found:
            raise InputError(f"No pick fulfils {condition!r}; nothing was done.")
        return found

    # -- another table -----------------------------------------------------------------------------------------

    def carry(self, within_nm: float, user: str = "", *, mask_grid: MaskGrid = "auto") -> Carried:
        """Carry over what was said to the picks of the table as it is now, at the same places.

        Of each tomogram, picks of then and now are paired one to one, no farther apart than the distance, as many as
        possible and of these the smallest sum. What was said of a pick without partner does not count any more; picks
        that were added by hand stay. Earlier edits cannot be undone afterwards; the curation as it was is kept beside.

        Parameters
        ----------
        within_nm
            The largest distance, nm.
        user
            Who does it.
        mask_grid
            How a new table of other voxels lies on the earlier one, as of ``picks merge``: ``faces`` or ``centres``,
            where they do not say it.

        Raises
        ------
        InputError
            The table has the same picks, a tomogram of added picks is gone, or nothing says how it lies.
        """
        if not (0 < within_nm < 1e4):
            raise InputError(f"within_nm is {within_nm:g}; it is a distance above 0 nm.")
        who = check_name(user or own_name(), "user")
        self._check_writable()
        with self._threads, critical(lock_of(self.path)):
            self.refresh()
            now, _, notes = read_base(self.base.table, self.base.reading)
            if now.digest == self.base.digest:
                raise InputError(f"{self.base.table} has the same picks as before; there is nothing to carry over.")
            state, found, picks = self._on(now, within_nm, Asked(mask_grid), notes)
            made = replace(now, edits=tuple(state.edits()))
            before = self.path.with_name(f"{self.path.name}.{self._history.version}")
            if before.exists():
                raise InputError(f"{before} exists; move it away: the curation as it was is kept there.")
            shutil.copy2(self.path, before)
            version = self._history.version + 1
            create_journal(self.path, [_first(made, self.path, version, who)])
            self.refresh()
            return Carried(picks, found, str(before), tuple(notes))

    def _on(self, now: Base, within_nm: float, asked: Asked, notes: list[str]) -> tuple[State, int, int]:
        """The state on the picks of another table, for how many picks, and for how many there was something to say."""
        old, then = self._state, self.base.lattices()
        state, there = now.state(), now.lattices()
        names, all_then = list(there), list(then)
        said = old.said() & (old.ids < old.count)
        edits: list[Edit] = []
        partner = np.full(len(old.ids), -1)
        for number, (name, known) in enumerate(zip(all_then, matched(self.base, now), strict=True)):
            mine = old.tomogram == number
            if known is None:
                added = int((mine & ~old.deleted & (old.ids >= old.count)).sum())
                if added:
                    raise InputError(f"{now.table}: has no picks of {name} any more, of which {added} were added.")
                continue
            lies = table_on(then[name], there[known], asked, within_nm)
            notes += lies.notes
            size = np.asarray(there[known].voxel_size)
            rows = np.flatnonzero(mine & (old.ids < old.count))
            given = self.base.position_vox[old.ids[rows]] * np.asarray(then[name].voxel_size)
            fresh = np.flatnonzero(state.tomogram == names.index(known))
            places = state.position_vox[fresh] * size + np.asarray(lies.grid.offset)
            pairs = pair_picks(given, places, within_nm * NM_TO_ANGSTROM).pairs
            partner[rows[pairs[:, 0]]] = fresh[pairs[:, 1]]
            moves = np.flatnonzero(mine & (old.moved | (old.ids >= old.count)))
            to = (old.position_vox[moves] * np.asarray(then[name].voxel_size) - np.asarray(lies.grid.offset)) / size
            for row, position in zip(moves.tolist(), to.tolist(), strict=True):
                if old.ids[row] >= old.count:
                    partner[row] = now.state().count + old.ids[row] - old.count
                    edits.append(Edit("add", [int(partner[row])], names.index(known), position))
                elif partner[row] >= 0:
                    edits.append(Edit("move", [int(partner[row])], 0, position))
        for one in old.edits():
            if one.op not in ("add", "move"):
                ids = partner[old.rows(one.ids)]
                if (ids >= 0).any():
                    edits.append(Edit(one.op, np.sort(ids[ids >= 0]).tolist(), tag=one.tag))
        state.replay(edits)
        return state, int((said & (partner >= 0)).sum()), int(said.sum())


def counts_of(state: State) -> dict[str, int]:
    """Number of picks that are accepted, rejected, undecided, and deleted."""
    there = state.decision[~state.deleted]
    named = {"accepted": ACCEPTED, "rejected": REJECTED, "undecided": UNDECIDED}
    found = {name: int((there == value).sum()) for name, value in named.items()}
    return {**found, "deleted": int(state.deleted.sum())}


def _first(base: Base, path: Path, version: int, user: str) -> Transcribed:
    facts, body = base.packed(path.parent)
    said = {"version": version, "kind": "base", "user": user, "layers": [["", ""]], "kept": [], **facts}
    said["time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    return said, [((0, 0, 0), body)]


def lock_of(path: Path) -> Path:
    """The lock of a curation, which is there only while somebody appends."""
    return path.with_name(f".{path.name}.lock")


def _stamp(table: str) -> tuple[int, int]:
    try:
        facts = Path(table).stat()
    except OSError:  # gone: reading it says so
        return 0, 0
    return facts.st_mtime_ns, facts.st_size


def new_curation(
    table: PathLike, path: PathLike, reading: PicksRecipe | Mapping[str, Any] | None = None, *, user: str = ""
) -> Curation:
    """Begin the curation of a table of picks.

    Parameters
    ----------
    table
        A file of picks of any format; it is read only.
    path
        The file to make, whose name ends with ``.curation``.
    reading
        What the table does not state.
    user
        Who begins it; default: the name of the process's user.

    Raises
    ------
    MissingError, FormatError
        The table does not exist or is damaged.
    InputError
        The file is there already, or a fact about the table is missing.

    Examples
    --------
    >>> import volengine
    >>> with volengine.new_curation("TS_01__ribosome.star", "TS_01.curation") as curation:
    ...     done = curation.do({"op": "accept", "ids": [1]}, user="ada")
    ...     curation.counts()
    {'accepted': 1, 'rejected': 0, 'undecided': 1, 'deleted': 0}
    """
    file, where, who = local_file(path), path_text(table), check_name(user or own_name(), "user")
    if not file.name.endswith(ENDING) or file.name == ENDING:
        raise InputError(f"{file}: the name of a curation ends with {ENDING}, as in TS_01__ribosome{ENDING}.")
    base, _, _ = read_base(where, PicksRecipe.of(reading))
    file.parent.mkdir(parents=True, exist_ok=True)
    with critical(lock_of(file)):
        if file.exists():
            raise InputError(f"{file} is there already; give another name.")
        create_journal(file, [_first(base, file, 0, who)])
    return Curation(file)


def local_file(path: PathLike) -> Path:
    """The file of a curation.

    Raises
    ------
    InputError
        It is a URL: a journal is appended to, which object stores cannot.
    """
    text = path_text(path)
    if is_remote(text):
        raise InputError(f"{text}: a curation lies on a disk; object stores cannot append.")
    return Path(text)
