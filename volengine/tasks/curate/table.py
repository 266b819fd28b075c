"""The table that a curation is of: its picks as they were, by which they are known again, and as they are now."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.io.names import same_tomogram, tomogram_key
from volengine.tasks.common.lying import Lattice, lattice_of
from volengine.tasks.curate.state import Edit, State, from_json, to_json
from volengine.tasks.picks.recipe import PicksRecipe
from volengine.tasks.picks.tables import read_tables


@dataclass(frozen=True)
class Base:
    """What a curation knows of its table, and what was said of its picks before the first transaction.

    Parameters
    ----------
    table
        Path of the table.
    reading
        How it is read.
    facts
        Of each tomogram, as :meth:`volengine.Picks.facts` has them, and the number of picks (``count``).
    position_vox
        (n, 3) of all picks, in the order of the table.
    edits
        What was carried over from an earlier table.
    """

    table: str
    reading: PicksRecipe
    facts: tuple[Mapping[str, Any], ...]
    position_vox: NDArray[np.float64]
    edits: tuple[Edit, ...] = ()

    @classmethod
    def of(cls, table: str, reading: PicksRecipe, tables: Sequence[Picks]) -> Base:
        """Of the picks of a table."""
        facts = tuple({**one.facts(), "count": len(one)} for one in tables)
        return cls(table, reading, facts, np.concatenate([np.zeros((0, 3)), *(one.position_vox for one in tables)]))

    def state(self) -> State:
        """The state before the first transaction."""
        numbers = np.repeat(np.arange(len(self.facts)), [one["count"] for one in self.facts])
        state = State(self.position_vox, numbers)
        state.replay(self.edits)
        return state

    @property
    def digest(self) -> str:
        """A digest of tomograms and positions: tables with the same one have the same picks in the same order."""
        said = json.dumps([[one[key] for key in ("tomogram", "feature", "voxel_size", "count")] for one in self.facts])
        return sha256(said.encode() + np.ascontiguousarray(self.position_vox, "<f8").tobytes()).hexdigest()

    def lattices(self) -> dict[str, Lattice]:
        """The voxels that the table counts, by the name of the tomogram."""
        return {
            str(one["tomogram"]): lattice_of(
                Picks(np.zeros((0, 3)), **{k: v for k, v in one.items() if k != "count"}), self.table
            )
            for one in self.facts
        }

    def packed(self, folder: Path) -> tuple[dict[str, Any], bytes]:
        """Facts and bytes for a journal in a folder, of which the table's path counts if it is near."""
        facts = {
            "table": _from(self.table, folder),
            "reading": self.reading.to_json(),
            "tomograms": [dict(one) for one in self.facts],
            "edits": [to_json(one) for one in self.edits],
            "digest": self.digest,
        }
        return facts, zlib.compress(np.ascontiguousarray(self.position_vox, "<f8").tobytes(), 1)

    @classmethod
    def unpacked(cls, facts: Mapping[str, Any], body: bytes, where: Path) -> Base:
        """What :meth:`packed` made.

        Raises
        ------
        FormatError
            It is something else.
        """
        try:
            positions = np.frombuffer(zlib.decompress(body), "<f8").reshape(-1, 3).astype(np.float64)
            table = os.path.normpath(where.absolute().parent / str(facts["table"]))
            reading = PicksRecipe.from_json(facts["reading"])
            edits = tuple(from_json(one) for one in facts["edits"])
            made = cls(table, reading, tuple(facts["tomograms"]), positions, edits)
            if made.digest != facts["digest"] or sum(one["count"] for one in made.facts) != len(positions):
                raise ValueError("other picks than it says")
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise FormatError(f"{where} is damaged: it holds {error}. Restore it from a copy.") from error
        return made


def _from(table: str, folder: Path) -> str:
    """The path of a table as a journal keeps it: from its folder, if both lie in one project."""
    absolute = Path(table).absolute()
    project = folder.absolute().parent
    return os.path.relpath(absolute, folder.absolute()) if absolute.is_relative_to(project) else str(absolute)


def matched(then: Base, now: Base) -> list[str | None]:
    """The names in another table of the tomograms of a table; ``None`` where it has none of it.

    Raises
    ------
    InputError
        A name may mean more than one, or two mean the same one.
    """
    for base in (then, now):
        every = [str(one["tomogram"]) for one in base.facts]
        twice = next((name for name in every if every.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{base.table}: has two tomograms of the name {twice!r}; give each a name of its own.")
    names, found = [str(one["tomogram"]) for one in now.facts], dict[str, str | None]()
    for name in (str(one["tomogram"]) for one in then.facts):
        known = same_tomogram(name, names)
        alike = [one for one in names if tomogram_key(one) == tomogram_key(name)]
        if known is None and alike:
            raise InputError(
                f"{now.table}: {name}, as it was called, may be any of {', '.join(alike)} there. Name it {name} there."
            )
        if known is not None and known in found.values():
            other = next(one for one, of in found.items() if of == known)
            raise InputError(
                f"{now.table}: {other} and {name}, as they were, would both be {known} there. Name them as before."
            )
        found[name] = known
    return list(found.values())


def read_base(table: str, reading: PicksRecipe) -> tuple[Base, list[Picks], list[str]]:
    """Read a table; also what there is to say of it.

    Raises
    ------
    VolengineError
        As of :func:`volengine.tasks.picks.tables.read_tables`.
    """
    tables, notes = read_tables(table, reading)
    return Base.of(table, reading, tables), tables, notes
