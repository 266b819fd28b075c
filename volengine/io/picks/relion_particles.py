"""Reading the particles of a STAR file: RELION 3 to 5, Warp and M, Ais.

Each file has one table of particles, ``data_particles`` or the only table with coordinates, in one of four dialects:

``relion``
    ``rlnCoordinateX/Y/Z``: pixels, 0-based, first pixel's centre at 0. RELION 4 counts pixels of the *tilt series*
    (``rlnTomoTiltSeriesPixelSize`` in ``data_optics``), also when the tomogram is binned: a coordinate is then
    index × voxel size / pixel size. :mod:`volengine.io.picks.relion_optics` says which pixels other programs count.
``relion5``
    ``rlnCenteredCoordinateX/Y/ZAngst``: angstrom from the tomogram's centre. RELION 5 (``particle_set.cpp``,
    ``getParticleCoordDecenteredPixel``, and ``tomogram_set.cpp``: ``centre = size / 2.0``) takes half the *unbinned*
    size, for odd sizes too: index = coordinate / voxel size + shape / 2, if the binning divides the size. (RELION's own
    Python picker subtracts one pixel of the tilt series more; see its issue 1137.)
``warp``
    ``rlnCoordinateX/Y/Z``: pixels of a tomogram, "starting from zero at the center of the first voxel" (WarpTools
    documentation, "Tomogram particle files"), one table ``data_``, ``rlnMicrographName`` = ``NAME.tomostar``. Warp asks
    for the pixel size when the file is used (``--coords_angpix``); here ``rlnPixelSize`` states it, too.
``ais``
    ``rlnCoordinateX/Y/Z``: voxels, 0-based; ``rlnMicrographName`` is the tomogram's name, ``aisParticleSize`` the
    score.

Refined positions are combined as in RELION: position = coordinate - A_subtomogram · origin, orientation = A_subtomogram
· A_particle (``ParticleSet::getPosition`` and ``getMatrix3x3``). RELION's tomograms have no origin. Filaments are the
same: their ``rlnTomoSubtomogram...`` angles turn the axis, and the priors, which count from these, are left out with
them. A table with some of the three angles alone is refused; RELION takes no notice of tilt and psi without rot.

Warp's template matching writes fractions of the tomogram's size, 0 to 1, under the same labels. They are refused,
because the size in unbinned pixels is needed to convert them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError
from volengine.core.orientation import euler_to_matrix, matrix_to_euler
from volengine.core.picks import EXTRA
from volengine.io.picks import relion_labels as k
from volengine.io.picks import rows as r
from volengine.io.picks.relion_optics import pixel_size
from volengine.io.picks.star import Table


def read_particles(path: Path, blocks: dict[str, Table], text: str, dialect: str | None) -> r.Rows:
    """Read the particles of a STAR file.

    Parameters
    ----------
    path
        The file, for messages.
    blocks, text
        Its blocks by name, and its text.
    dialect
        One of the four dialects; ``None``: recognise it by the columns.

    Raises
    ------
    FormatError
        There are no coordinates of this dialect, they are fractions of the tomogram's size, or a value is damaged; the
        message names the line.
    """
    table = _particles(blocks, path)
    facts = r.read_facts(text, path)
    centred = set(k.CENTRED) <= set(table.columns) and dialect in (None, "relion5")
    wanted = k.CENTRED if centred or dialect == "relion5" else k.PIXEL
    missing = [label for label in wanted if label not in table.columns]
    if missing:
        raise FormatError(f"{path}: data_{table.name} has no {', '.join(missing)}, which {dialect or 'STAR'} needs.")
    rows = r.Rows(
        path=path,
        coordinate=numbers(table, wanted, path),
        angstrom=centred,
        centred=centred,
        pixel_size=pixel_size(table, blocks, path),
        facts=facts,
    )
    used = {*k.PIXEL, *k.CENTRED, k.GROUP, "rlnPixelSize"}
    label = next((one for one in k.TOMOGRAM if one in table.columns), None)
    if label is not None:
        used.add(label)
        rows.tomogram = r.tomogram_names(table.columns[label], facts, path)
    _poses(rows, table, used)
    _columns(rows, table, used)
    r.finite(rows, table.lines)
    if not centred and not facts:
        _refuse_fractions(rows.coordinate, path)
    return rows


def _refuse_fractions(coordinate: r.Floats, path: Path) -> None:
    """Refuse coordinates of which all are between 0 and 1 and not all are whole numbers."""
    inside = ((coordinate >= 0) & (coordinate <= 1)).all()
    if len(coordinate) and inside and (coordinate != np.rint(coordinate)).any():
        raise FormatError(
            f"{path}: all coordinates of the {len(coordinate)} picks are between 0 and 1 (the largest is "
            f"{coordinate.max():g}). These are no pixels, but fractions of the tomogram's size, as Warp's template "
            "matching writes them. Export the picks with WarpTools (--normalized_coords), or multiply each coordinate "
            "by (size of the unbinned tomogram in pixels - 1) and give the unbinned pixel size."
        )


def _particles(blocks: dict[str, Table], path: Path) -> Table:
    fit = [t for t in blocks.values() if set(k.PIXEL) <= set(t.columns) or set(k.CENTRED) <= set(t.columns)]
    named = [t for t in fit if t.name == "particles"]
    if len(named or fit) == 1:
        return (named or fit)[0]
    names = [f"data_{name}" for name in ([t.name for t in fit] or blocks)]
    there = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if fit:
        raise FormatError(f"{path} has more than one table with coordinates; there is {there}.")
    raise r.foreign(path, f"as STAR it has no table with rlnCoordinateX/Y/Z; there is {there}")


def numbers(table: Table, labels: Sequence[str], path: Path) -> r.Floats:
    """Return columns of numbers side by side, (n, number of labels)."""
    columns = [r.numbers(table.columns[label], label, path, table.lines) for label in labels]
    return np.stack(columns, axis=-1)


def _poses(rows: r.Rows, table: Table, used: set[str]) -> None:
    """Read angles and refined shifts, and combine them as RELION does."""

    def take(labels: Sequence[str]) -> r.Floats | None:
        there = [label for label in labels if label in table.columns]
        if not there:
            return None
        if len(there) < len(labels):
            missing = ", ".join(f"_{label}" for label in labels if label not in there)
            raise FormatError(
                f"{rows.path}: data_{table.name} has {', '.join(f'_{label}' for label in there)}, but not {missing}. "
                "RELION takes such particles for not turned at all: add what is missing (an angle that is not known is "
                "0), or remove them."
            )
        used.update(labels)
        return numbers(table, labels, rows.path)

    def shifts(labels: Sequence[str]) -> r.Floats | None:
        there = [label for label in labels if label in table.columns]
        used.update(there)
        found = np.zeros((len(table.lines), 3))
        for label in there:  # an axis that the table does not have is not shifted (ParticleSet::getParticleOffset)
            found[:, labels.index(label)] = numbers(table, [label], rows.path)[:, 0]
        return found if there else None

    euler, subtomogram = take(k.ANGLES), take(k.SUBTOMOGRAM)
    shift_a = shifts(k.SHIFT_A)
    shift = None if rows.centred else shifts(k.SHIFT_PIXEL)
    if subtomogram is not None:
        used.update(k.PRIORS)
        turn = euler_to_matrix(subtomogram)
        euler = matrix_to_euler(turn if euler is None else turn @ euler_to_matrix(euler))
        if shift_a is not None:
            shift_a = np.einsum("nij,nj->ni", turn, shift_a[:, ::-1])[:, ::-1]
    if euler is not None:
        rows.columns["euler"] = euler
    if shift_a is not None:
        rows.shift_a = -shift_a
    elif shift is not None:
        rows.coordinate = rows.coordinate - shift
    normal = take(k.NORMAL)
    if normal is not None:
        rows.columns["normal"] = normal


def _columns(rows: r.Rows, table: Table, used: set[str]) -> None:
    known = r.kinds(rows.facts)
    for label, texts in table.columns.items():
        if label in used:
            continue
        key = k.SINGLE.get(label, EXTRA + label)
        kind = r.column_kind(key) or known.get(key)
        if key == "weight" and key in rows.columns:
            key, kind = EXTRA + label, None
        rows.columns[key] = r.typed(texts, kind, label, rows.path, table.lines)
