"""collection: make the manifest of many tomograms, add to it, leave some out, and see what became of each.

.. code-block:: console

    $ volengine collection new manifest.csv 'raw/*.mrc'
    $ volengine run recipe.yaml manifest.csv --out results
    $ volengine collection status manifest.csv --out results
    $ volengine collection add manifest.csv 'raw/*.mrc'      # those that are new

A manifest is a file that people edit (:mod:`volengine.tasks.collection.forms`); what its columns mean says
:mod:`volengine.tasks.collection.columns`. Progress is never written into it: that is in the run folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from volengine.core.atomic import replacing
from volengine.core.errors import InputError, VolengineError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.engine.census import Census, census
from volengine.engine.census import retry as clear
from volengine.tasks.collection.changed import changed
from volengine.tasks.collection.columns import is_note, target_of
from volengine.tasks.collection.forms import empty
from volengine.tasks.collection.manifest import SKIP, Collection, file_name_of, is_file
from volengine.tasks.common.inputs import expand

HEAD = ("source", "name", "voxel_size", "invert", "threshold", "group", "priority", "state", "note")
"""Columns of a new manifest; those that stay empty change nothing."""


def new_collection(
    manifest: PathLike, sources: PathsLike = (), values: Mapping[str, str] | None = None
) -> tuple[Collection, int]:
    """Write a new manifest.

    Parameters
    ----------
    manifest
        The file to write; its ending says its form: ``.csv``, ``.tsv``, ``.star``, ``.yaml`` or ``.yml``.
    sources
        Files, stores, folders, globs or ``.txt`` lists.
    values
        Cells of all rows by column, for example ``{"group": "grid 3", "voxel_size": "13.48"}``.

    Returns
    -------
    Collection, int
        The manifest as it was written, and the number of tomograms.

    Raises
    ------
    InputError
        The manifest exists, an ending or a column is none, or two sources have one name.
    """
    path = Path(path_text(manifest))
    if path.exists():
        raise InputError(f"{path} exists; 'volengine collection add' adds tomograms to it.")
    columns = [*HEAD, *(column for column in values or {} if column not in HEAD)]
    start = Collection.of(path, empty(path, columns).encode())
    rows = _rows(start, path_texts(sources), values or {}) if sources else []
    data = start.form.changed({}, rows).encode() if rows else start.data
    made = Collection.of(path, data)
    with replacing(path) as file:
        file.write(data)
    return made, len(rows)


def add_to_collection(
    manifest: PathLike, sources: PathsLike, values: Mapping[str, str] | None = None
) -> tuple[Collection, int]:
    """Add the tomograms that are not in a manifest yet, at its end; all else in it stays as it is.

    Parameters
    ----------
    manifest
        The manifest.
    sources, values
        As for :func:`new_collection`.

    Returns
    -------
    Collection, int
        The manifest as it is then, and the number of tomograms that were added.

    Raises
    ------
    InputError
        The manifest cannot be read, a column is none, or two sources have one name.
    """
    found = Collection.read(manifest)
    rows = _rows(found, path_texts(sources), values or {})
    return (found.write({}, rows), len(rows)) if rows else (found, 0)


def skip(manifest: PathLike, names: Sequence[str]) -> list[str]:
    """Mark tomograms of a manifest so that runs leave them out; what was made of them stays.

    Parameters
    ----------
    manifest
        The manifest.
    names
        Names of tomograms, or patterns (``TS_0*``).

    Returns
    -------
    list of str
        The names of those that are marked now.

    Raises
    ------
    InputError
        There is no such tomogram, or it comes from a glob, which has one row for all.
    """
    found = Collection.read(manifest)
    return _mark(found, [entry.name for entry in found.named(names)], SKIP)


def retry(manifest: PathLike, names: Sequence[str] = (), run_dir: PathLike = "", *, afresh: bool = False) -> list[str]:
    """Let tomograms wait for the next run again: those that have failed, and those that are left out.

    Parameters
    ----------
    manifest
        The manifest.
    names
        Names of tomograms, or patterns; none: all that have failed.
    run_dir
        The run folder; empty: only marks of :func:`skip` are taken away.
    afresh
        Compute all of these tomograms again, also what is finished; needs names.

    Returns
    -------
    list of str
        The names of those that wait now.

    Raises
    ------
    InputError
        There is no such tomogram, or names are missing.
    MissingError
        There is no such run folder.
    BusyError
        ``afresh``, and a driver works in the run folder.
    """
    found = Collection.read(manifest)
    if afresh and not names:
        raise InputError("--afresh computes tomograms again from the beginning: name them ('*' are all).")
    if not names and not run_dir:
        raise InputError("Say which tomograms, or where the run is (--out), whose failed ones are meant.")
    chosen = [e.name for e in (found.named(names) if names else found.entries) if names or not e.skip]
    place = path_text(run_dir) if run_dir else ""
    done = set(clear(place, chosen, afresh=afresh)) if place else set()
    if names:
        skipped = {entry.name for entry in found.skipped()} & set(chosen)
        _mark(found, [name for name in chosen if name in skipped], "")
        done |= skipped
    return [name for name in chosen if name in done or afresh]


def collection_status(manifest: PathLike, run_dir: PathLike) -> Census:
    """Say what became of each tomogram of a manifest.

    One that is finished has *changed* if its row has other parameters or another source than its run had, or its
    source is another file by its size, time or inode. The next run computes again what depends on that. The recipe is
    not known here, so that a change of it is not seen.

    Parameters
    ----------
    manifest
        The manifest.
    run_dir
        The run folder; if it does not exist yet, all tomograms wait, and ``there`` of the census is false.

    Raises
    ------
    InputError
        The manifest cannot be read.
    """
    found = Collection.read(manifest)
    names = [entry.name for entry in sorted(found.entries, key=lambda entry: -entry.priority)]
    entries = {entry.name: entry for entry in found.entries}
    skipped = [entry.name for entry in found.skipped()]
    return census(path_text(run_dir), names, skipped, lambda name, origin: changed(entries[name], origin))


def _mark(found: Collection, names: Iterable[str], state: str) -> list[str]:
    """Set the state of tomograms; those that have a row together with others are refused."""
    wanted = set(names)
    shared = [entry.row for entry in found.entries]
    changes: dict[int, dict[str, str]] = {}
    for entry in found.entries:
        if entry.name in wanted:
            if shared.count(entry.row) > 1 and not wanted >= {e.name for e in found.entries if e.row == entry.row}:
                raise InputError(
                    f"{entry.where}: {entry.name} is one of the matches of a glob, which have one row. Add it in a row "
                    "of its own, and mark that."
                )
            if entry.skip != (state == SKIP):
                changes[entry.row] = {"state": state}
    found.write(changes)
    return [entry.name for entry in found.entries if entry.name in wanted]


def _rows(found: Collection, sources: Sequence[str], values: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows of the sources that a manifest does not have yet."""
    for column in values:
        if column in ("source", "name"):
            raise InputError(f"--set {column}: is of one tomogram; write it into the manifest.")
        if target_of(column, "--set") is None and column not in HEAD and not is_note(column):
            raise InputError(f"--set {column}: there is no such column.")
    folder = Path(os.path.abspath(found.path.parent))  # noqa: PTH100  (links stay)
    there = {entry.source for entry in found.entries}
    rows = []
    for source in expand(sources):
        place = source if "://" in source else os.path.abspath(source)  # noqa: PTH100
        if place in there:
            continue
        near = Path(place).relative_to(folder) if "://" not in place and Path(place).is_relative_to(folder) else place
        rows.append({"source": str(near), "name": _name_of(source), **values})
    return rows


def _name_of(source: str) -> str:
    """The name that a verb gives to a source: a store states it itself; one that cannot be read, by its file's name."""
    if is_file(source):
        return file_name_of(source)
    from volengine.io.open import open_volume

    try:
        return open_volume(source).name
    except VolengineError:
        return file_name_of(source)
