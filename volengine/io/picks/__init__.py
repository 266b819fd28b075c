"""Picks in and out: the coordinate formats of the field.

>>> from volengine.io.picks import read_picks, write_picks                      # doctest: +SKIP
>>> picks = read_picks("particles.star", tomogram="TS_01", shape=(500, 1440, 1024), voxel_size=(7.9, 7.9, 7.9))
>>> write_picks("TS_01.tbl", picks)

The format is taken from the file's name, and for ``.star`` from its columns; ``format`` decides otherwise. Whatever
the file does not say (voxel size, shape, name) is asked for by an error that names the argument. If the voxel size
given is not the pixel size that the file states, coordinates are rescaled: voxel i of a tomogram binned by b is pixel
i × b, as in RELION. Files are written whole or not at all. ``docs/formats-picks.md`` says what each format keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.volume import Vector3
from volengine.io.picks import copick, delimited, dynamo, relion
from volengine.io.picks.rows import Known, Rows, gather, listing, write_text

_FORMATS = {
    "relion": "RELION 4 STAR: pixels, 0-based (.star)",
    "relion5": "RELION 5 STAR: angstrom from the tomogram's centre (.star)",
    "warp": "Warp and M STAR: pixels, 0-based, NAME.tomostar (.star)",
    "ais": "Ais STAR: voxels, 0-based (.star)",
    "ais-tsv": "Ais TSV: x, y, z in whole voxels (.tsv, .txt)",
    "dynamo": "Dynamo table: pixels, 1-based (.tbl)",
    "dynamo0": "Dynamo table by programs that count from 0 (.tbl)",
    "csv": "volengine's CSV, everything kept (.csv)",
    "copick": "copick JSON: angstrom (.json)",
}
_ENDINGS = {
    ".star": "relion",
    ".tbl": "dynamo",
    ".csv": "csv",
    ".json": "copick",
    ".tsv": "ais-tsv",
    ".txt": "ais-tsv",
}
_STAR = ("relion", "relion5", "warp", "ais")
_SINGLE = ("ais-tsv", "copick")


def formats() -> dict[str, str]:
    """The formats by name, with a line about each."""
    return dict(_FORMATS)


def read_picks(
    path: PathLike,
    format: str | None = None,
    *,
    voxel_size: Vector3 | None = None,
    origin: Vector3 | None = None,
    shape: Index3 | None = None,
    tomogram: str | None = None,
) -> Picks:
    """The picks of one tomogram.

    Parameters
    ----------
    path
        The file. RELION's ``optimisation_set.star`` leads to its particles and tomograms.
    format
        A name of :func:`formats`; default: by the file's name and content.
    voxel_size, origin, shape
        The tomogram's grid, angstrom and voxels, z, y, x. What is given goes before what the file says. ``origin`` is
        0 where neither says it.
    tomogram
        Which tomogram, if the file has several; or its name, if the file has none.

    Raises
    ------
    MissingError
        If there is no such file.
    FormatError
        If the file is damaged or of another format; with the line.
    InputError
        If the file and the arguments together do not say enough, or if there are several tomograms.
    """
    known = Known(voxel_size, origin, shape, tomogram)
    path = path_text(path)
    found = gather(_read(Path(path), format, known), known)
    if len(found) > 1:
        raise InputError(
            f"{path} has picks of {len(found)} tomograms: {listing(found)}. "
            "Set tomogram to one of them, or use read_all."
        )
    return next(iter(found.values()))


def read_all(
    path: PathLike,
    format: str | None = None,
    *,
    voxel_size: Vector3 | None = None,
    origin: Vector3 | None = None,
    shape: Index3 | None = None,
) -> dict[str, Picks]:
    """The picks of all tomograms of a file, by name; arguments and errors as for :func:`read_picks`."""
    known = Known(voxel_size, origin, shape)
    return gather(_read(Path(path_text(path)), format, known), known)


def write_picks(
    path: PathLike,
    picks: Picks | Sequence[Picks],
    format: str | None = None,
    *,
    pixel_size: float | None = None,
) -> None:
    """Write picks, of one tomogram or of several (not ``ais-tsv`` and ``copick``, which hold one).

    Parameters
    ----------
    path
        The file; its ending chooses the format where ``format`` does not (``.star``: ``relion``).
    picks
        Of different tomograms, with the same columns.
    format
        A name of :func:`formats`.
    pixel_size
        ``relion``, ``relion5`` and ``warp`` only: the pixel size (angstrom) that coordinates count, for example the
        unbinned one of the tilt series, which RELION 4 expects. Default: the voxel size.

    Raises
    ------
    InputError
        If the format cannot hold these picks; the message says what is in the way.
    """
    path = Path(path_text(path))
    name = format_of(path, format)
    tables = [picks] if isinstance(picks, Picks) else list(picks)
    if not tables:
        raise InputError(f"There are no picks to write into {path}.")
    names = [one.tomogram for one in tables]
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise InputError(f"{path}: tomogram {twice!r} comes twice; concatenate its picks, or write two files.")
    if name in _SINGLE and len(tables) > 1:
        raise InputError(f"{path}: a file of the format {name} holds one tomogram, not {len(tables)}.")
    if pixel_size is not None and (name not in _STAR[:3] or not pixel_size > 0):
        raise InputError(
            f"{path}: pixel_size ({pixel_size}) must be positive and is for {', '.join(_STAR[:3])}, not {name}."
        )
    if name in _STAR:
        write_text(path, relion.text(tables, name, pixel_size))
    elif name == "csv":
        write_text(path, delimited.csv_text(tables))
    elif name == "ais-tsv":
        write_text(path, delimited.tsv_text(tables[0]))
    elif name == "copick":
        write_text(path, copick.text(tables[0]))
    else:
        table, names_file = dynamo.text(tables, first=1 if name == "dynamo" else 0)
        write_text(path.with_suffix(".doc"), names_file)
        write_text(path, table)


def _read(path: Path, format: str | None, known: Known) -> Rows:
    name = format_of(path, format)
    if name in _STAR:
        return relion.read(path, None if format is None else name)
    if name == "csv":
        return delimited.read_csv(path, known.origin)
    if name == "ais-tsv":
        return delimited.read_tsv(path)
    if name == "copick":
        return copick.read(path)
    return dynamo.read(path, first=1 if name == "dynamo" else 0)


def ending_of(format: str | None) -> str:
    """The ending of a format's files; ``None`` is RELION's."""
    if format is None or format_of("", format) in _STAR:
        return ".star"
    return next(ending for ending, name in _ENDINGS.items() if format.startswith(name))


def format_of(path: str | Path, format: str | None = None) -> str:
    """The format by its name, or by the file's ending.

    Raises
    ------
    InputError
        There is no such format, or the ending says none.
    """
    if format is not None:
        if format not in _FORMATS:
            raise InputError(f"There is no format {format!r} for picks; there are {', '.join(_FORMATS)}.")
        return format
    ending = Path(path).suffix.lower()
    if ending not in _ENDINGS:
        raise InputError(
            f"{path}: the ending {ending!r} does not say the format; set format to one of {', '.join(_FORMATS)}."
        )
    return _ENDINGS[ending]
