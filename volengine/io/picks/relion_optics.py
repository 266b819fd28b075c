"""The size of the pixels that the coordinates of a STAR file count.

RELION 4 and 5 count pixels of the tilt series, ``rlnTomoTiltSeriesPixelSize``, whatever the binning of the images
(``ParticleSet::getPosition``). RELION 3.1 counts pixels of the tomogram from which the particles were cut,
``rlnMicrographPixelSize``, whatever the size of the pixels of the particles, ``rlnImagePixelSize``.

WarpTools' export of 2D stacks is the exception: it counts pixels of the images that it writes
(``--output_angpix``, ``rlnImagePixelSize``), also where ``rlnTomoTiltSeriesPixelSize`` beside it is that of the tilt
series (``ts_export_particles`` up to dev39). Since dev40 the two are the same. Names of tomograms that end in
``.tomostar`` tell these files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError
from volengine.core.json_text import shown
from volengine.io.picks import relion_labels as k
from volengine.io.picks import rows as r
from volengine.io.picks.star import Table

_DETECTOR, _MAGNIFICATION = "rlnDetectorPixelSize", "rlnMagnification"
_COLUMNS = (k.TILT_SERIES_PIXEL, "rlnPixelSize", k.MICROGRAPH_PIXEL, _DETECTOR, k.IMAGE_PIXEL)
"""Labels in the table of particles, the one that counts first."""


def pixel_size(table: Table, blocks: Mapping[str, Table], path: Path) -> r.Floats | None:
    """Return the size of the pixels that the coordinates of each particle count.

    Parameters
    ----------
    table
        The particles.
    blocks
        All blocks of the file.
    path
        The file, for messages.

    Returns
    -------
    (n,) angstrom; ``None`` if the file does not state it, or states several sizes and not which one counts.

    Raises
    ------
    FormatError
        A size is no positive number, or the optics group of a particle does not exist.
    """
    optics = blocks.get("optics")
    if optics is not None and optics.lines:
        found = _of_optics(table, optics, path)
        if found is not None:
            return found
    columns = table.columns
    label = next((one for one in _COLUMNS if one in columns), None)
    if label is None:
        return None
    size = r.numbers(columns[label], label, path, table.lines)
    if label == _DETECTOR and _MAGNIFICATION in columns:  # micrometre on the detector
        with np.errstate(divide="ignore", invalid="ignore"):
            size = size * 1e4 / r.numbers(columns[_MAGNIFICATION], _MAGNIFICATION, path, table.lines)
    return _positive(size, "the pixel size", table, path)


def _of_optics(table: Table, optics: Table, path: Path) -> r.Floats | None:
    there = optics.columns
    if k.IMAGE_PIXEL in there and _by_warp(table):
        return _by_group(table, optics, k.IMAGE_PIXEL, path)
    for label in (k.TILT_SERIES_PIXEL, k.MICROGRAPH_PIXEL):
        if label in there:
            return _by_group(table, optics, label, path)
    if k.IMAGE_PIXEL not in there:
        return None
    image = _by_group(table, optics, k.IMAGE_PIXEL, path)
    if k.BINNING in there:
        return image / _by_group(table, optics, k.BINNING, path)
    if k.ORIGINAL_PIXEL in there and not np.allclose(_by_group(table, optics, k.ORIGINAL_PIXEL, path), image):
        return None  # of the movies, and of the particles: that of the tomogram is either of them, or neither
    return image


def _by_warp(table: Table) -> bool:
    """Whether the particles are an export of WarpTools, which names tilt series by their files."""
    label = next((one for one in k.TOMOGRAM if one in table.columns), None)
    names = set(table.columns[label]) if label else set()
    return bool(names) and all(name.endswith(k.WARP_FILE) for name in names)


def _by_group(table: Table, optics: Table, label: str, path: Path) -> r.Floats:
    sizes = _positive(r.numbers(optics.columns[label], label, path, optics.lines), label, optics, path)
    groups, group = optics.columns.get(k.GROUP), table.columns.get(k.GROUP)
    if groups is None or group is None:
        if len(set(sizes.tolist())) > 1:
            raise FormatError(f"{path} has several optics groups, but its particles do not say theirs.")
        return np.full(len(table.lines), sizes[0])
    by_name: dict[str, float] = {}
    for name, size, line in zip(map(_group, groups), sizes.tolist(), optics.lines, strict=True):
        if by_name.setdefault(name, size) != size:
            raise FormatError(
                f"{path}, line {line}: optics group {shown(name)} is there twice, with two values of {label}."
            )
    for name, line in zip(group, table.lines, strict=True):
        if _group(name) not in by_name:
            raise FormatError(f"{path}, line {line}: there is no optics group {name} in data_optics.")
    return np.array([by_name[_group(name)] for name in group])


def _group(text: str) -> str:
    """The number of an optics group, which programs that keep tables of numbers write as ``1.000000``."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def _positive(sizes: r.Floats, what: str, table: Table, path: Path) -> r.Floats:
    bad = np.flatnonzero(~((sizes > 0) & np.isfinite(sizes)))
    if len(bad):
        raise FormatError(f"{path}, line {table.lines[bad[0]]}: {what} is {sizes[bad[0]]} angstrom.")
    return sizes
