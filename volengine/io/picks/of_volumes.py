"""Reading the picks of tomograms whose volumes are there: a table's rows are chosen by their names.

What the table does not state comes from the volume of each tomogram: its voxel size; its shape, which formats need that
count from the tomogram's centre; and its origin, from which markers of ChimeraX and tables in angstrom count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.io.names import another_of_series, same_tomogram
from volengine.io.picks import registry
from volengine.io.picks.rows import Known, Rows, groups_of, listing, numbers_hint, picks_at


def read_of(
    path: PathLike, volumes: Mapping[str, Known], format: str | None = None, *, required: bool = True
) -> tuple[dict[str, Picks], str]:
    """Read the picks of some tomograms.

    Parameters
    ----------
    path
        The file. Of several tomograms in it those are read that have the name of a volume, whatever programs add to
        names (:func:`~volengine.io.names.same_tomogram`). The only tomogram of a file is that of the only volume also
        under another name, unless the names differ in their numbers alone.
    volumes
        Voxel size, shape and origin of each tomogram, by its name.
    format
        A format of picks, if the file does not show it.
    required
        Whether a file without rows of these tomograms is an error; else it gives no picks.

    Returns
    -------
    dict, str
        The picks by the names of the volumes, and a sentence that says which rows of the file they are.

    Raises
    ------
    MissingError, FormatError
        The file does not exist, or is damaged.
    InputError
        It has no rows of these tomograms (the message lists the names that are in it), or two of its names mean the
        same one.

    Examples
    --------
    >>> volumes = {"TS_01": Known((10.0, 10.0, 10.0), shape=(16, 32, 32))}
    >>> tables, said = read_of("TS_01__ribosome.star", volumes)
    >>> len(tables["TS_01"]), said
    (2, "TS_01__ribosome.star: all 2 rows, as those of 'TS_01'.")
    """
    file = Path(path_text(path))
    name = registry.to_read(file, format)
    rows = registry.module_of(name).read(file, _of_file(file, volumes), name)
    groups, facts = groups_of(rows)
    chosen = _chosen(rows, list(groups), volumes)
    if not chosen and required:
        raise InputError(
            f"{file} has no rows of {listing(volumes)}; there are those of {listing(groups)}. Give the volume of one "
            f"of these, or a table with rows of that name.{numbers_hint(file, groups)}"
        )
    if not chosen:
        return {}, f"{file.name}: no rows of {listing(volumes)}."
    tables = {
        volume: picks_at(rows, group, groups[group], facts.get(group, {}), volumes[volume]).with_(tomogram=volume)
        for volume, group in chosen.items()
    }
    taken, total = sum(map(len, tables.values())), len(rows.coordinate)
    share = f"all {total} rows" if taken == total else f"{taken} of {total} rows"
    others = [group for volume, group in chosen.items() if group not in ("", volume, file.stem)]
    called = f" (there {listing(others)})" if others else ""
    return tables, f"{file.name}: {share}, as those of {listing(tables)}{called}."


def names_tomograms(path: PathLike, format: str | None, known: Known) -> bool:
    """Whether a file of picks states the names of its tomograms, or volengine has written it with all its facts.

    Else the picks are of one tomogram, which has the name of the file.
    """
    file = Path(path_text(path))
    name = registry.to_read(file, format)
    rows = registry.module_of(name).read(file, known, name)
    return rows.tomogram is not None or any("columns" in facts for facts in rows.facts.values())


def _of_file(file: Path, volumes: Mapping[str, Known]) -> Known:
    """What is known before the file is read, for formats of one tomogram: the volume of its name, or the only one."""
    fit = _named_so(file.stem, volumes)
    if fit is None and len(volumes) == 1:
        fit = next(iter(volumes))
    return Known() if fit is None else volumes[fit]


def _named_so(name: str, volumes: Mapping[str, Known]) -> str | None:
    """The volume of a tomogram, or of a file ``TOMOGRAM__FEATURE`` or ``TOMOGRAM_info``; ``None`` if there is none."""
    for one in (name, name.rpartition("__")[0], name.removesuffix("_info")):
        fit = same_tomogram(one, volumes) if one else None
        if fit is not None:
            return fit
    return None


def _chosen(rows: Rows, names: list[str], volumes: Mapping[str, Known]) -> dict[str, str]:
    """The name in the file of each volume that has rows there."""
    chosen: dict[str, str] = {}
    for name in names:
        fit = _named_so(name, volumes)
        if fit is None:
            continue
        if fit in chosen:
            raise InputError(f"{rows.path}: {chosen[fit]!r} and {name!r} both mean {fit!r}; keep the rows of one.")
        chosen[fit] = name
    if not chosen and len(names) == len(volumes) == 1:
        (volume,) = volumes
        stated = rows.tomogram is not None and rows.named
        if not (stated and another_of_series(names[0], volume)):
            return {volume: names[0]}
    return chosen
