"""Tilt-series metadata that a tomogram brings along: angles, dose, defocus, pixel size, thickness. They are only read.

>>> series = read_tilts("TS_01.aln")          # doctest: +SKIP
>>> series.summary()["angles"]                # doctest: +SKIP
[-60.0, 60.0]

==================  ==================================================================================================
``.mdoc``           SerialEM, Tomography 5
``.rawtlt .tlt``    IMOD: one angle on each line
``.aln``            AreTomo, AreTomo2, AreTomo3
``.star``           RELION 5: the images of one tilt series
``.tomostar``       Warp and WarpTools
``.xml``            Warp and WarpTools: ``TiltSeries``
==================  ==================================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from volengine.core.errors import InputError, MissingError
from volengine.core.paths import PathLike
from volengine.io.tilts.series import TiltSeries

SUFFIXES = (".mdoc", ".aln", ".xml", ".tomostar", ".star", ".tlt", ".rawtlt")
_PARTS = ("_Vol", "_EVN", "_ODD", "_2ND", "_rec", "_full_rec", "_Imod")
"""What programs put behind the name of a tilt series to name its tomograms."""


def read_tilts(path: PathLike) -> TiltSeries:
    """Read the metadata of one tilt series.

    Parameters
    ----------
    path
        The file; its format is known by its ending.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged, or of another format than its ending says; the message names the line.
    InputError
        The ending is none of those that are read.
    """
    text = os.fspath(path)
    suffix = Path(text).suffix.lower()
    readers: dict[str, Callable[[str], TiltSeries]] = {}
    if suffix in (".mdoc", ".tlt", ".rawtlt"):
        from volengine.io.tilts.serialem import read_angles, read_mdoc

        readers = {".mdoc": read_mdoc, ".tlt": read_angles, ".rawtlt": read_angles}
    elif suffix == ".aln":
        from volengine.io.tilts.aretomo import read_aln

        readers = {suffix: read_aln}
    elif suffix in (".star", ".tomostar"):
        from volengine.io.tilts.tables import read_relion, read_tomostar

        readers = {".star": read_relion, ".tomostar": read_tomostar}
    elif suffix == ".xml":
        from volengine.io.tilts.warp import read_warp_xml

        readers = {suffix: read_warp_xml}
    if suffix not in readers:
        raise InputError(f"{text}: metadata of tilt series end with one of {', '.join(SUFFIXES)}.")
    return readers[suffix](text)


def tilts_of(place: PathLike, name: str) -> str:
    """Find the file with the tilts of a tomogram.

    Parameters
    ----------
    place
        The file itself, or a folder in which exactly one file has the tomogram's name: ``NAME.mdoc``,
        ``NAME.mrc.mdoc``, ``NAME.aln`` ... Of ``TS_01_Vol`` and the like the name is ``TS_01``.
    name
        The tomogram's name.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        There are several; the message names them.
    """
    text = os.fspath(place)
    folder = Path(text)
    if not folder.is_dir():
        if not folder.exists():
            raise MissingError(f"{text}: there is no such file or folder.")
        return text
    names = {name, *(name.removesuffix(part) for part in _PARTS)}
    found = sorted(
        str(p) for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and _stem(p) in names
    )
    if not found:
        known = ", ".join(f"{name}{s}" for s in SUFFIXES[:3])
        raise MissingError(f"{text}: holds no metadata of the tilt series of {name!r} ({known} ...).")
    if len(found) > 1:
        raise InputError(f"{text}: holds several files for {name!r}: {', '.join(found)}. Give the one that is meant.")
    return found[0]


def series_name(path: PathLike) -> str:
    """Return the name of the tilt series of a file: of ``TS_01.mrc.mdoc`` it is ``TS_01``."""
    return _stem(Path(os.fspath(path)))


def _stem(path: Path) -> str:
    stem = path.name[: -len(path.suffix)]
    inner = Path(stem).suffix.lower()
    return stem[: -len(inner)] if inner in (".mrc", ".st", ".tif", ".tiff", ".eer", ".mrcs") else stem


__all__ = ["SUFFIXES", "TiltSeries", "read_tilts", "series_name", "tilts_of"]
