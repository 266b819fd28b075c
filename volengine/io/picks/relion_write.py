"""Writing the particles of a STAR file, in the dialects that :mod:`volengine.io.picks.relion_particles` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.picks import relion_labels as k
from volengine.io.picks import rows as r
from volengine.io.picks.checks import check_cubes
from volengine.io.picks.star import star_text


def star_of(
    picks: Sequence[Picks],
    dialect: str,
    pixel_size: float | None,
    centres: Sequence[Sequence[float]] | None = None,
    microscope: Mapping[str, str] | None = None,
) -> str:
    """Make the text of a STAR file.

    Parameters
    ----------
    picks
        One table of picks per tomogram, with the same columns.
    dialect
        One of the four dialects.
    pixel_size
        Pixel size that the coordinates count, angstrom; default: the voxel size.
    centres
        For ``relion5``: the place of the centre of each tomogram, angstrom, z, y, x; default: half the shape.
    microscope
        Further columns of ``data_optics``, the same for all groups. With them each tomogram is a group, which has its
        name; else all tomograms with one pixel size are.

    Raises
    ------
    InputError
        A tomogram has no name, its voxels are not cubes, the columns differ, ``relion5`` has no shape, or a text cannot
        be written in STAR.
    """
    table: dict[str, list[str]] = {}
    optics: dict[str, list[str]] = {"rlnOpticsGroup": [], "rlnOpticsGroupName": [], k.TILT_SERIES_PIXEL: []}
    comments = []
    for number, one in enumerate(picks):
        if not one.tomogram:
            raise InputError("STAR files need the tomogram's name: set it with picks.with_(tomogram=...).")
        centre = None if centres is None else centres[number]
        pixel = cubes(one, pixel_size)
        rescaled = None if pixel_size is None else [pixel] * 3
        comments.append(r.facts_line(one, rescaled if dialect in ("relion", "warp") else None, centre))
        group = str(_group(optics, pixel, "" if microscope is None else one.tomogram))
        columns = _labelled(one, dialect, pixel_size, centre) | _constant(one, dialect, pixel, group)
        if table and columns.keys() != table.keys():
            raise InputError(
                f"The picks of {picks[0].tomogram!r} and {one.tomogram!r} do not have the same columns: "
                f"{', '.join(sorted(columns.keys() ^ table.keys()))}."
            )
        for label, column in columns.items():
            table.setdefault(label, []).extend(column)
    if dialect == "warp":
        return star_text({"": table}, comments)
    optics |= {
        label: [value] * len(optics[k.GROUP]) for label, value in (microscope or {}).items() if "Tomo" not in label
    }
    blocks = {"particles": table} if dialect == "ais" else {"optics": optics, "particles": table}
    return star_text(blocks, comments)


def cubes(picks: Picks, pixel_size: float | None) -> float:
    """Return the pixel size that the coordinates count, angstrom; refuse voxels that are not cubes, as STAR has one."""
    check_cubes(picks, "STAR files know")
    return float(picks.voxel_size[2]) if pixel_size is None else float(pixel_size)


def _group(optics: dict[str, list[str]], pixel: float, name: str) -> int:
    """Return the number of the optics group: a new one if it has a name; else the one with this pixel size, or new."""
    sizes = optics[k.TILT_SERIES_PIXEL]
    if name or repr(pixel) not in sizes:
        sizes.append(repr(pixel))
        optics[k.GROUP].append(str(len(sizes)))
        optics["rlnOpticsGroupName"].append(name or f"opticsGroup{len(sizes)}")
        return len(sizes)
    return sizes.index(repr(pixel)) + 1


def _constant(picks: Picks, dialect: str, pixel: float, group: str) -> dict[str, list[str]]:
    """Return the columns with one value for all picks of a tomogram."""
    values = {
        "relion": {"rlnTomoName": picks.tomogram, "rlnOpticsGroup": group},
        "relion5": {"rlnTomoName": picks.tomogram, "rlnOpticsGroup": group},
        "warp": {"rlnMicrographName": f"{picks.tomogram}{k.WARP_FILE}", "rlnPixelSize": repr(pixel)},
        "ais": {"rlnMicrographName": picks.tomogram},
    }[dialect]
    return {label: [value] * len(picks) for label, value in values.items()}


def _labelled(
    picks: Picks, dialect: str, pixel_size: float | None, centre: Sequence[float] | None
) -> dict[str, list[str]]:
    position, labels = picks.position_vox, k.PIXEL
    if dialect == "relion5":
        if picks.shape is None:
            raise InputError(f"RELION 5 counts from the centre of {picks.tomogram!r}: set picks.with_(shape=...).")
        voxel_size, labels = np.asarray(picks.voxel_size), k.CENTRED
        if centre is None:
            position = (position - np.asarray(picks.shape) / 2) * voxel_size
        else:
            position = position * voxel_size - np.asarray(centre)
    elif pixel_size is not None and any(v != pixel_size for v in picks.voxel_size):
        position = position * np.asarray(picks.voxel_size) / pixel_size
    columns: dict[str, NDArray[Any]] = dict(zip(labels[::-1], position.T[::-1], strict=True))
    if picks.orientation is not None:
        columns |= dict(zip(k.ANGLES, picks.orientation.T, strict=True))
    score = "aisParticleSize" if dialect == "ais" else "rlnAutopickFigureOfMerit"
    for label, key in k.SINGLE.items():
        value = getattr(picks, key)
        if value is not None and (key != "weight" or label == score):
            columns[label] = value
    if picks.normal is not None:
        columns |= dict(zip(k.NORMAL, picks.normal.T, strict=True))
    meaning = {*k.PIXEL, *k.CENTRED, *k.ANGLES, *k.SUBTOMOGRAM, *k.SHIFT_A, *k.SHIFT_PIXEL, *k.NORMAL, *k.SINGLE}
    meaning |= {"rlnTomoName", k.GROUP, "rlnPixelSize"}
    meaning |= {"rlnMicrographName"} if dialect in ("warp", "ais") else set()
    for name, value in picks.extra.items():
        if name in meaning:
            raise InputError(f"The extra column {name!r} means something else in STAR files; rename it.")
        columns[name] = value
    return {label: r.texts(np.asarray(column)) for label, column in columns.items()}
