"""What a format of picks loses: found by writing a table, reading it again and comparing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import EXTRA, Picks
from volengine.tasks.common.in_plane import KNOWN, lost_note

MOVED_VOX = 1e-3
"""Largest distance, in voxels, by which a format may move a pick, unless it holds whole voxels only."""
TURNED_DEG = 1e-2
"""Largest angle by which a format may turn a pick."""


def lost_by(tables: Sequence[Picks], format: str, wanted: Path, pixel_size: float | None = None) -> list[str]:
    """Write tables of picks into a folder of our own, read them again, and say what is lost.

    Messages name the file that is ``wanted``, and not the one in that folder.

    Parameters
    ----------
    tables
        One table of picks per tomogram.
    format
        Name of the format.
    wanted
        The file that is to be written afterwards.
    pixel_size
        As for :func:`volengine.io.picks.write_picks`.

    Returns
    -------
    list of str
        Sentences for the user: what the format rounds, writes in another way, or drops.

    Raises
    ------
    InputError
        Picks are missing, moved or turned, or that folder is full.
    """
    from volengine.io.picks import write_picks
    from volengine.io.picks.formats import FORMATS

    with TemporaryDirectory() as folder:
        path = Path(folder) / wanted.name
        try:
            write_picks(path, tables, format, pixel_size=pixel_size)
            if not FORMATS[format].reads:
                return []
            notes: dict[str, None] = {}
            for number, picks in enumerate(tables):
                back = _back(path, tables, number, format)
                if back is not None:
                    notes |= dict.fromkeys(_differences(picks, back, format))
            return [*notes, *_facts_lost(path, tables, format)]
        except InputError as error:
            error.args = (str(error).replace(str(path.parent / "_")[:-1], str(wanted.parent / "_")[:-1]),)
            raise
        except OSError as error:
            raise InputError(
                f"{wanted}: is written into {Path(folder).parent} first, to see what comes back, and that failed "
                f"({error.strerror or error}). Free space there, or set TMPDIR to a folder with more room."
            ) from error


def _back(path: Path, tables: Sequence[Picks], number: int, format: str) -> Picks | None:
    """The picks of a tomogram as they come back; ``None`` for an empty one, which not every format holds."""
    from volengine.io.picks import read_all, read_picks

    picks = tables[number]
    known = {"voxel_size": picks.voxel_size, "origin": picks.origin, "shape": picks.shape}
    try:
        return read_picks(path, format, tomogram=picks.tomogram or None, **known)  # type: ignore[arg-type]
    except (FormatError, MissingError):
        raise
    except InputError:
        if not len(picks):
            return None
        found = list(read_all(path, format, **known).values())  # type: ignore[arg-type]  # names became numbers
        full = [one for one in tables if len(one)]
        if len(found) != len(full):
            raise
        return found[next(i for i, one in enumerate(full) if one is picks)]


def _differences(picks: Picks, back: Picks, format: str) -> list[str]:
    from volengine.io.picks.formats import FORMATS

    if len(back) != len(picks):
        raise InputError(f"{format} would keep {len(back)} of {len(picks)} picks of {picks.tomogram!r}; use another.")
    notes = []
    moved = np.abs(back.position_vox - picks.position_vox).max(initial=0)
    if moved > MOVED_VOX and not FORMATS[format].whole:
        raise InputError(f"{format} would move picks of {picks.tomogram!r} by {moved:.3g} voxels; use another.")
    if moved > MOVED_VOX:
        notes.append(f"Positions are rounded to whole voxels: moved by up to {moved:.2f} voxels.")
    if picks.orientation is not None and back.orientation is not None:
        turned = _angles(picks.orientation, back.orientation).max(initial=0)
        if turned > TURNED_DEG:
            raise InputError(f"{format} would turn picks of {picks.tomogram!r} by {turned:.3g} degrees; use another.")
    lost = [key for key, value in picks.columns.items() if key not in back.columns and _says(value)]
    if "normal" in lost and back.euler is not None:
        lost.remove("normal")
        notes.append("Normals are written as angles.")
    if EXTRA + "filament" in lost and np.array_equal(picks.extra["filament"], back.extra.get("contour", [])):
        lost.remove(EXTRA + "filament")
        notes.append("Filaments are written as contours.")
    if EXTRA + "feature" in lost and np.array_equal(picks.extra["feature"], back.extra.get("object_name", [])):
        lost.remove(EXTRA + "feature")
        notes.append("Features are written as names of objects.")
    if unknown := lost_note(picks, back.columns, format):
        lost = [key for key in lost if key != EXTRA + KNOWN]
        notes.append(unknown)
    if lost:
        notes.append(f"Dropped, because {format} does not hold it: {', '.join(k.removeprefix(EXTRA) for k in lost)}.")
    if back.tomogram != picks.tomogram and picks.tomogram:
        notes.append(f"{format} does not hold the names of tomograms: {picks.tomogram!r} is {back.tomogram!r}.")
    return notes


def _says(column: np.ndarray) -> bool:
    """Whether a column says something; formats with fixed columns count zeros as nothing, and so are empty texts."""
    return bool((column != "").any() if column.dtype.kind == "U" else column.any())


def _angles(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """(n,) angles between orientations, degrees."""
    a, b = euler_to_matrix(one), euler_to_matrix(other)
    apart = np.linalg.norm(a - b, axis=(1, 2)) / np.sqrt(8)  # sine of half the angle
    return np.asarray(2 * np.degrees(np.arcsin(np.clip(apart, 0, 1))))


def _facts_lost(path: Path, tables: Sequence[Picks], format: str) -> list[str]:
    from volengine.io.picks import read_all

    try:
        found = list(read_all(path, format).values())
    except (FormatError, MissingError):
        raise
    except InputError as error:
        what = "shape" if "shape" in str(error) else "voxel size"
        return [f"The file does not say the {what}: state it when the file is read."]
    stated = found[0].facts() if found else {}
    full = next((one for one in tables if len(one)), tables[0]).facts()
    empty = {"shape": None, "feature": "", "origin": [0.0, 0.0, 0.0]}
    lost = [key for key, nothing in empty.items() if full[key] != nothing and stated.get(key) == nothing]
    return [f"The file does not say: {', '.join(lost)}."] if lost else []
