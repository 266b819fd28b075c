"""curate: carry out operations on the picks of a table, and write the picks that are left in any format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.io.annotations.history import Transaction
from volengine.tasks.annotate.operations import telling_done
from volengine.tasks.curate.operations import checked
from volengine.tasks.curate.recipe import CurateRecipe
from volengine.tasks.curate.rows import Rows, with_own
from volengine.tasks.curate.state import ACCEPTED, REJECTED
from volengine.tasks.curate.store import Curation
from volengine.tasks.picks.recipe import PicksConvertRecipe
from volengine.tasks.picks.tables import Written, write_tables


def curate(path: PathLike, operations: Iterable[Mapping[str, Any]], user: str = "") -> list[Transaction]:
    """Carry out operations on the picks of a table, each as one transaction.

    Parameters
    ----------
    path
        The curation, ``NAME.curation`` (:func:`volengine.new_curation` begins it).
    operations
        What to do, in order, as JSON objects: accept, reject, undecide, tag, untag, add, move, delete, undo, redo.
    user
        Who does it; default: the name of the process's user.

    Returns
    -------
    list
        The transactions.

    Raises
    ------
    InputError
        An operation cannot be carried out; those before it are done, and the message says how many.
    ChangedError
        The table was written anew with other picks.

    Examples
    --------
    >>> import volengine
    >>> volengine.new_curation("TS_01__ribosome.star", "TS_01.curation").close()
    >>> done = volengine.curate("TS_01.curation", [{"op": "reject", "ids": [0]}, {"op": "undo"}], user="ada")
    >>> [one.version for one in done]
    [1, 2]
    """
    done: list[Transaction] = []
    with Curation(path) as curation, telling_done(done):
        for operation in operations:
            done.append(curation.do(operation, user))  # noqa: PERF401  # errors tell what is done so far
    return done


def recorded(path: PathLike, user: str | None = None) -> list[dict[str, Any]]:
    """Return the operations that were done since the curation was begun or carried over, as they can be done again."""
    with Curation(path) as curation:
        found = []
        for one, _ in curation.transactions(user):
            asked = curation.asked(one)
            if one.kind in ("undo", "redo"):
                asked["version"] = one.of
            found.append(checked(asked))
        return found


def write_curated(path: PathLike, out: PathLike, recipe: CurateRecipe | Mapping[str, Any] | None = None) -> Written:
    """Write the picks of a curated table: moved, with those that were added, without the deleted ones.

    Parameters
    ----------
    path
        The curation.
    out
        The file to write, whose ending says the format; or a folder, for a file of each tomogram.
    recipe
        Which picks are written, and the format.

    Returns
    -------
    Written
        The files, the number of picks of each tomogram, and what there is to say: what the format does not hold.

    Raises
    ------
    ChangedError
        The table was written anew with other picks.
    InputError
        A file exists or is the table itself, no pick is left, or the format cannot hold them.

    Examples
    --------
    >>> import volengine
    >>> with volengine.new_curation("TS_01__ribosome.star", "TS_01.curation") as curation:
    ...     done = curation.do({"op": "move", "id": 1, "position": [8, 21, 20]}, user="ada")
    >>> made = volengine.write_curated("TS_01.curation", "curated.csv")
    >>> volengine.read_picks(made.files[0]).position_vox.tolist()
    [[8.0, 8.0, 8.0], [8.0, 21.0, 20.0]]
    """
    recipe, where = CurateRecipe.of(recipe), path_text(out)
    with Curation(path) as curation:
        table = Path(curation.table)
        if table.exists() and Path(where).is_file() and table.samefile(where):
            raise InputError(f"{where} is the table that was curated; it is never changed. Give another name.")
        tables, notes = kept_picks(curation.rows(), recipe)
    writing = PicksConvertRecipe(to=recipe.to, pixel_size=recipe.pixel_size, overwrite=recipe.overwrite)
    return write_tables(where, tables, writing, notes)


def kept_picks(rows: Rows, recipe: CurateRecipe) -> tuple[list[Picks], list[str]]:
    """The picks that a recipe keeps, with columns of their own, and what there is to say of them.

    Raises
    ------
    InputError
        None is left.
    """
    chosen: NDArray[np.bool_] = np.ones(len(rows), bool)
    if recipe.keep == "accepted":
        chosen = rows.decision == ACCEPTED
    elif recipe.keep == "unrejected":
        chosen = rows.decision != REJECTED
    if not chosen.any():
        raise InputError(f"No pick is left: keep is {recipe.keep}, of {counted(len(rows), 'pick')}.")
    own = {name: values[chosen] for name, values in rows.own().items()}
    own = {
        name: values
        for name, values in own.items()
        if (name == "accepted" and recipe.keep == "all")
        or (name == "tags" and rows.tags)
        or (name in ("added", "moved") and values.any())
    }
    notes = [f"Dropped, because not all tomograms have it: {', '.join(rows.lost)}."] if rows.lost else []
    added, moved = int((rows.added & chosen).sum()), int((rows.moved & chosen).sum())
    if added and any(set(one.columns) - {"position_vox"} for one in rows.tables):
        notes.append(
            f"{counted(added, 'pick')} added by hand: NaN in the columns of the table, 0 where numbers are whole, "
            "and no text."
        )
    if moved:
        notes.append(f"{counted(moved, 'pick')} moved by hand: the other columns are those of the old place.")
    posed = _posed(rows.picks(chosen), rows, chosen, recipe, notes)
    return [one for one in with_own(posed, own) if len(one)], notes


def _posed(
    tables: list[Picks], rows: Rows, chosen: NDArray[np.bool_], recipe: CurateRecipe, notes: list[str]
) -> list[Picks]:
    """The tables with a pose for each pick, or for none."""
    added = rows.added[chosen]
    if not added.any() or all(one.euler is None and one.normal is None for one in tables):
        return tables
    count = counted(int(added.sum()), "pick")
    if recipe.poses == "refuse":
        raise InputError(
            f"{count} added by hand without angles, and the others have some. Say what is written (poses): zero, "
            "for the angles 0, 0, 0, or drop, to leave the angles of all picks out; or reject them."
        )
    if recipe.poses == "drop":
        notes.append(f"Angles and normals are left out, because of {count} added by hand without any.")
        return [one.with_(euler=None, normal=None) for one in tables]
    notes.append(f"{count} added by hand: the angles are 0, 0, 0, which nobody has measured.")
    found = []
    for number, one in enumerate(tables):
        mine = rows.added[chosen & (rows.tomogram == number)]
        euler = None if one.euler is None else np.where(mine[:, None], 0.0, one.euler)
        normal = None if one.normal is None else np.where(mine[:, None], [1.0, 0.0, 0.0], one.normal)
        found.append(one.with_(euler=euler, normal=normal))
    return found


def curation_facts(path: PathLike) -> dict[str, Any]:
    """Return what a curation holds, as JSON values: the table, counts, tags, users, versions."""
    with Curation(path) as curation:
        transactions = curation.transactions()
        return {
            "table": curation.table,
            "picks": len(curation.base.position_vox),
            "tomograms": [str(one["tomogram"]) for one in curation.base.facts],
            "version": curation.version,
            "undone": sum(one.undoable and not counts for one, counts in transactions),
            **curation.counts(),
            "tags": curation.tags(),
            "users": sorted({one.user for one, _ in transactions}),
        }
