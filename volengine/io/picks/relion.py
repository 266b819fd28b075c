"""STAR files of particles: RELION 3 to 5, Warp and M, Ais; and RELION 5's sets.

The conventions are in :mod:`volengine.io.picks.relion_particles` and :mod:`volengine.io.picks.relion_sets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volengine.core.picks import Picks
from volengine.io.picks import rows as r
from volengine.io.picks.relion_particles import read_particles
from volengine.io.picks.relion_sets import is_set, read_set, set_files
from volengine.io.picks.relion_write import star_of
from volengine.io.picks.star import read_star


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a STAR file.

    Parameters
    ----------
    path
        The file: particles, or an ``optimisation_set.star``, whose particles may be of any of the dialects.
    known
        What the caller states.
    format
        One of the four dialects, or ``relion5-set``.

    Raises
    ------
    MissingError
        The file, or one that it refers to, does not exist.
    FormatError
        It is no STAR file, or has no coordinates of this dialect, or a line is damaged; the message names the line.
    """
    blocks, text = read_star(path)
    if is_set(blocks):
        return read_set(path, blocks)
    if format == "relion5-set":
        raise r.foreign(path, "as an optimisation set of RELION it has no rlnTomoParticlesFile")
    return read_particles(path, blocks, text, format)


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a STAR file, or the three files of a set.

    Parameters
    ----------
    path
        The file.
    tables
        One table of picks per tomogram, with the same columns.
    format
        One of the four dialects, or ``relion5-set``.
    pixel_size
        Pixel size that the coordinates count, angstrom; default: the voxel size.

    Raises
    ------
    InputError
        A tomogram has no name, its voxels are not cubes, the columns differ, ``relion5`` has no shape, or a text cannot
        be written in STAR.
    """
    if format == "relion5-set":
        return set_files(path, tables, pixel_size)
    return [(path, star_of(tables, format, pixel_size).encode())]
