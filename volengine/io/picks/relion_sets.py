"""RELION's sets of files: ``optimisation_set.star``, which leads to the particles and the tomograms.

*Reading.* ``tomograms.star`` states the size of each tomogram in unbinned pixels, from half of which RELION 5 counts
(``tomogram_set.cpp``: ``centre = size / 2.0``), the unbinned pixel size, and the binning of the reconstruction, from
which the voxel size is made.

*Writing.* A set is three files, side by side: the set itself, ``..._particles.star`` with positions in angstrom from
the centre, and ``..._tomograms.star``, in the layout that has all in one file: a row for each tomogram in
``data_global``, and a table ``data_TOMOGRAM`` of its tilt images. These are not known here, so one row stands for them.
Each tomogram is an optics group, which has its name, as RELION makes the groups of particles that have none
(``ParticleSet::read``). RELION opens the set (``TomogramSet::read``, ``ParticleSet::read``); to extract from it, the
tomograms of the project are put in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import shown
from volengine.core.picks import Picks
from volengine.io.names import tomogram_name
from volengine.io.picks import relion_labels as k
from volengine.io.picks import rows as r
from volengine.io.picks.relion_particles import numbers, read_particles
from volengine.io.picks.relion_write import cubes, star_of
from volengine.io.picks.star import Table, read_star, star_text

SET = "optimisation_set"
_MICROSCOPE = {
    "rlnVoltage": "300.0",
    "rlnSphericalAberration": "2.7",
    "rlnAmplitudeContrast": "0.1",
    "rlnTomoHand": "-1.0",
}
"""What RELION needs of each tomogram and picks do not know: the values that its import of tilt series begins with."""
_NOTE = "# Voltage, aberration, contrast, hand: what RELION begins with, not measured. The tilt images are not known."


def is_set(blocks: dict[str, Table]) -> bool:
    """Whether a STAR file is an optimisation set."""
    return any(k.PARTICLES_FILE in table.columns for table in blocks.values())


def read_set(path: Path, blocks: dict[str, Table]) -> r.Rows:
    """Read the particles to which a set leads, and the shapes of its tomograms.

    Raises
    ------
    MissingError
        One of the files does not exist.
    FormatError
        One of them is damaged or no such file; the message quotes nothing of it.
    """
    table = next(t for t in blocks.values() if k.PARTICLES_FILE in t.columns)
    particles = _project_file(path, table.columns[k.PARTICLES_FILE])
    with _unquoted(path, particles):
        inner, text = read_star(particles)
        if is_set(inner):
            raise FormatError("an optimisation set leads to another one")
        rows = read_particles(particles, inner, text, None)
    if k.TOMOGRAMS_FILE in table.columns:
        there = _project_file(path, table.columns[k.TOMOGRAMS_FILE])
        names = set(rows.tomogram or ())
        with _unquoted(path, there):
            stated = {k: v for k, v in _tomograms(there).items() if k in names}
        rows.facts = {**stated, **rows.facts}
    return rows


@contextmanager
def _unquoted(path: Path, file: Path) -> Iterator[None]:
    """Replace the message of an error about a file that another file names.

    The set may be a stranger's and lead to any file of the user, so nothing of that file may be in a message.
    """
    try:
        yield
    except InputError:
        raise FormatError(
            f"{path} leads to {file}, which is not such a STAR file as RELION's, or is damaged. Read that file itself "
            "to see what is wrong with it."
        ) from None


def _project_file(path: Path, names: Sequence[str]) -> Path:
    """Find a file that RELION names relative to its project folder, which is one of the folders above.

    The nearest one that has the file counts, because volengine writes the files of a set side by side; the working
    folder only where none has it: a folder that has nothing to do with the set may have a file of the same name.
    """
    if len(names) != 1:
        raise FormatError(f"{path}: an optimisation set names one file of each kind, not {len(names)}.")
    here = path.parent.resolve()
    folders = [here, *here.parents, Path()]
    found = next((folder / names[0] for folder in folders if r.is_file(folder / names[0])), None)
    if found is None:
        raise MissingError(f"{path} leads to {shown(names[0])}, which is in no folder above it.")
    return found


def _tomograms(path: Path) -> dict[str, r.Facts]:
    """Read voxel size, shape and centre of each tomogram from RELION's ``tomograms.star``, whose sizes are unbinned."""
    blocks, _ = read_star(path)
    table = blocks.get("global") or next(iter(blocks.values()))
    if not {*k.SIZES, k.TILT_SERIES_PIXEL, "rlnTomoName"} <= set(table.columns):
        return {}
    sizes, pixel = numbers(table, k.SIZES, path), numbers(table, [k.TILT_SERIES_PIXEL], path)
    binning = np.ones_like(pixel)
    if "rlnTomoTomogramBinning" in table.columns:
        binning = numbers(table, ["rlnTomoTomogramBinning"], path)
    facts: dict[str, r.Facts] = {}
    for values in (sizes, pixel, binning):
        bad = np.flatnonzero(~((values > 0) & (values < 1e9)).all(axis=1))
        if len(bad):
            raise FormatError(f"{path}, line {table.lines[bad[0]]}: sizes, pixel size and binning must be positive.")
    for name, size, p, b in zip(table.columns["rlnTomoName"], sizes, pixel, binning, strict=True):
        facts[tomogram_name(name)] = {
            "voxel_size": [float(p[0] * b[0])] * 3,
            "pixel_size": [float(p[0])] * 3,
            "shape": [int(n) for n in np.rint(size / b)],
            "centre_a": (size / 2 * p).tolist(),
        }
    return facts


# Writing -----------------------------------------------------------------------------------------------------------


def set_files(path: Path, tables: Sequence[Picks], pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make the three files of a set.

    Parameters
    ----------
    path
        The set; with ``NAME_optimisation_set.star`` the others are ``NAME_particles.star`` and ``NAME_tomograms.star``.
    tables
        One table of picks per tomogram, with the same columns.
    pixel_size
        The unbinned pixel size of the tilt series, angstrom; default: the voxel size.

    Raises
    ------
    InputError
        As for other STAR files, or a tomogram has no shape, or its voxels are smaller than the pixels.
    """
    stem = path.name[: -len(path.suffix)] if path.suffix else path.name
    stem = stem.removesuffix(SET).rstrip("_")
    beside = {
        what: path.with_name(f"{stem}_{what}.star" if stem else f"{what}.star") for what in ("particles", "tomograms")
    }
    rows: dict[str, list[str]] = {}
    centres = []
    for one in tables:
        pixel = cubes(one, pixel_size)
        if one.shape is None:
            raise InputError(f"RELION 5 counts from the centre of {one.tomogram!r}: set picks.with_(shape=...).")
        binning = one.voxel_size[2] / pixel
        if binning < 1 - 1e-6:
            raise InputError(
                f"The voxels of {one.tomogram!r} are {one.voxel_size[2]:g} angstrom, smaller than the pixel size "
                f"{pixel:g}; give the unbinned pixel size of the tilt series."
            )
        size = np.rint(np.asarray(one.shape) * binning).astype(int)
        centres.append((size / 2 * pixel).tolist())
        row = {
            "rlnTomoName": one.tomogram,
            **_MICROSCOPE,
            k.TILT_SERIES_PIXEL: repr(pixel),
            **{label: str(n) for label, n in zip(k.SIZES[::-1], size[::-1], strict=True)},
            "rlnOpticsGroupName": one.tomogram,
            "rlnTomoTomogramBinning": repr(float(binning)),
        }
        for label, value in row.items():
            rows.setdefault(label, []).append(value)
    particles = star_of(tables, "relion5", pixel_size, centres, _MICROSCOPE)
    image = {"rlnMicrographPreExposure": ["0.0"]}  # RELION takes the next block for a row of an empty table
    tomograms = star_text({"global": rows, **{one.tomogram: image for one in tables}}, [_NOTE])
    leads = f"data_\n\n_{k.PARTICLES_FILE} {beside['particles'].name}\n_{k.TOMOGRAMS_FILE} {beside['tomograms'].name}\n"
    return [
        (beside["particles"], particles.encode()),
        (beside["tomograms"], tomograms.encode()),
        (path, leads.encode()),
    ]
