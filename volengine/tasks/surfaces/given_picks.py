"""Tables of picks beside sets of surfaces: which tables hold picks of a tomogram, and where these lie on its grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.names import same_tomogram
from volengine.io.surfaces import SurfaceFacts
from volengine.tasks.common.inputs import picks_files
from volengine.tasks.common.named import feature_in, tomogram_in
from volengine.tasks.common.set_read import grid_of_picks
from volengine.tasks.surfaces.table_of import TableOf

SHOWN = 8
"""Names that a message lists."""


def one_table(given: Sequence[str]) -> str | None:
    """The file, if one is named by its own path; ``None`` if there are several, or a folder or glob."""
    (only, *more) = given
    if more or Path(only).is_dir() or (has_magic(only) and not Path(only).exists()):
        return None
    return only


def tomogram_of_table(path: str) -> str | None:
    """The tomogram that a table is of, by its own words or the name of its file; ``None`` if it is of several."""
    names = _names_of(path)
    return next(iter(names)) if len(names) == 1 else None


def tables_of(given: Sequence[str], tomogram: str, facts: SurfaceFacts) -> list[TableOf]:
    """The tables of picks of a tomogram, among all files that paths, folders and globs name.

    Parameters
    ----------
    given
        Paths, folders, globs. One file that is named by its own path, and is of one tomogram, is taken whatever its
        name is; of others the tables of the tomogram's name, all of them.
    tomogram
        Name of the tomogram of the surfaces.
    facts
        What is known of the tomogram, for files that do not state it.

    Raises
    ------
    MissingError
        There is nothing.
    InputError
        No table is of the tomogram.
    """
    alone, found, seen = one_table(given), list[TableOf](), dict[str, None]()
    files = picks_files(given)
    for path in files:
        names = _names_of(path, tuple(grid_of_picks(facts).items()))
        fit = same_tomogram(tomogram, names)
        if fit is None and alone is not None and len(names) == 1:
            (fit,) = names
        seen |= dict.fromkeys(names)
        found += [] if fit is None else [TableOf(path, names[fit])]
    if not found and alone is not None:
        raise InputError(
            f"{alone}: has picks of the tomograms {_listed(seen)}, and the surfaces are those of {tomogram!r}; give a "
            "table with picks of it."
        )
    if not found:
        raise InputError(
            f"None of the {len(files)} tables of --picks {','.join(given)} is of tomogram {tomogram!r}; they are of "
            f"{_listed(seen)}. Where none were found, give a table without rows; if one is of this tomogram under "
            "another name, give it alone."
        )
    return found


def as_stated(table: TableOf, facts: SurfaceFacts) -> Picks | None:
    """The picks on the grid that their file states; ``None`` if it does not state all that it needs.

    Whoever reads them with the grid of the surfaces overrides their origin, so it is compared before.
    """
    try:
        return replace(table, own=True).read(facts)
    except InputError:
        return None


def _names_of(path: str, grid: tuple[tuple[str, Any], ...] = (("voxel_size", (1.0, 1.0, 1.0)),)) -> dict[str, str]:
    """The tomograms of a file, with their names in it; one that names none has its own, without ``__FEATURE``."""
    stat = Path(path).stat() if Path(path).exists() else None
    return _names(path, grid, None if stat is None else (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4096)
def _names(path: str, grid: tuple[tuple[str, Any], ...], state: tuple[int, int] | None) -> dict[str, str]:
    from volengine.io.picks import read_all

    names, stem = list(read_all(path, **dict(grid))), Path(path).stem
    feature = feature_in(stem)
    return {tomogram_in(one, feature) if one == stem and feature else one: one for one in names}


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, list(names)[:SHOWN])) + (" ..." if len(names) > SHOWN else "")
