"""Tilt series as STAR tables: those of RELION 5, and Warp's ``.tomostar``.

RELION 5 has one file for each tilt series, with a block of its name: ``rlnTomoNominalStageTiltAngle``, and after
alignment ``rlnTomoYTilt`` and ``rlnTomoZRot``; ``rlnMicrographPreExposure`` is the dose before an image;
``rlnDefocusU`` and ``V`` are in angstrom, ``rlnTomoNominalDefocus`` in µm, negative is underfocus. Warp's ``wrpDose``
is accumulated; its importer counts to the middle of an exposure. Warp's angles have the opposite sign of AreTomo's and
IMOD's.
"""

from __future__ import annotations

from pathlib import Path

from volengine.core.errors import FormatError
from volengine.io.picks.star import Table, read_star
from volengine.io.tilts.series import TiltSeries, file_name, lines_of, number

UM = 1e4


def read_relion(path: str) -> TiltSeries:
    """Read the images of one tilt series of RELION 5.

    The angles are ``rlnTomoYTilt`` if the series is aligned, else the nominal ones.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no STAR file, or a list of several tilt series, or has no angles.
    """
    table = _only(path, "rlnTomoNominalStageTiltAngle", "rlnTomoYTilt")
    aligned = _column(path, table, "rlnTomoYTilt")
    u, v = _column(path, table, "rlnDefocusU"), _column(path, table, "rlnDefocusV")
    nominal = _column(path, table, "rlnTomoNominalDefocus")
    axis = _column(path, table, "rlnTomoZRot") or _column(path, table, "rlnTomoNominalTiltAxisAngle")
    pixels = _column(path, table, "rlnTomoTiltSeriesPixelSize")
    pixels = pixels or _column(path, table, "rlnMicrographOriginalPixelSize")
    dose = _column(path, table, "rlnMicrographPreExposure")
    images = table.columns.get("rlnMicrographName") or table.columns.get("rlnMicrographMovieName")
    return TiltSeries(
        source=file_name(path),
        format="relion",
        angles=aligned or _column(path, table, "rlnTomoNominalStageTiltAngle") or (),
        dose=dose,
        dose_rule="" if dose is None else "before each image (rlnMicrographPreExposure)",
        defocus=None if u is None or v is None else tuple((a + b) / 2 for a, b in zip(u, v, strict=True)),
        nominal_defocus=None if nominal is None else tuple(-d * UM for d in nominal),
        axis_angle=axis,
        images=None if images is None else tuple(file_name(i) for i in images),
        pixel_size=pixels[0] if pixels else None,
        notes=("The angles are rlnTomoYTilt." if aligned else "The angles are nominal ones.",),
    ).check(path)


def read_tomostar(path: str) -> TiltSeries:
    """Read Warp's table of a tilt series.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no STAR file, or has no ``wrpAngleTilt``.
    """
    table = _only(path, "wrpAngleTilt")
    dose = _column(path, table, "wrpDose")
    images = table.columns.get("wrpMovieName")
    return TiltSeries(
        source=file_name(path),
        format="tomostar",
        angles=_column(path, table, "wrpAngleTilt") or (),
        dose=dose,
        dose_rule="" if dose is None else "accumulated (wrpDose)",
        axis_angle=_column(path, table, "wrpAxisAngle"),
        images=None if images is None else tuple(file_name(i) for i in images),
        notes=("The angles have Warp's sign, the opposite of IMOD's and AreTomo's.",),
    ).check(path)


def _only(path: str, *labels: str) -> Table:
    """The only block with one of these labels."""
    lines_of(path, "a STAR file")  # refuses what is too large, or no text
    tables, _ = read_star(Path(path))
    found = [t for t in tables.values() if any(label in t.columns for label in labels)]
    if not found:
        more = (
            " It is the list of all tilt series; give the file of one."
            if any("rlnTomoTiltSeriesStarFile" in t.columns for t in tables.values())
            else ""
        )
        raise FormatError(f"{path}: no block has {' or '.join(labels)}.{more}")
    if len(found) > 1:
        names = ", ".join(t.name for t in found)
        raise FormatError(f"{path}: holds {len(found)} tilt series ({names}); give a file of one.")
    return found[0]


def _column(path: str, table: Table, label: str) -> tuple[float, ...] | None:
    texts = table.columns.get(label)
    if texts is None:
        return None
    return tuple(number(text, path, at, label) for text, at in zip(texts, table.lines, strict=True))
