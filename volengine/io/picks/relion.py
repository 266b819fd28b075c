"""STAR files of particles: RELION 4 and 5, Warp and M, Ais.

Each of them is one table, ``data_particles`` or the only table with coordinates, in one of four dialects:

``relion``
    ``rlnCoordinateX/Y/Z``: pixels, 0-based, first pixel's centre at 0. RELION 4 counts pixels of the *tilt series*
    (``rlnTomoTiltSeriesPixelSize`` in ``data_optics``), also when the tomogram is binned: a coordinate is then
    index × voxel size / pixel size.
``relion5``
    ``rlnCenteredCoordinateX/Y/ZAngst``: angstrom from the tomogram's centre. RELION 5 (``particle_set.cpp``,
    ``getParticleCoordDecenteredPixel``, and ``tomogram_set.cpp``: ``centre = size / 2.0``) takes half the size, for odd
    sizes too: index = coordinate / voxel size + shape / 2. (RELION's own Python picker subtracts one pixel of the tilt
    series more; see its issue 1137.)
``warp``
    ``rlnCoordinateX/Y/Z``: pixels of a tomogram, "starting from zero at the center of the first voxel" (WarpTools
    documentation, "Tomogram particle files"), one table ``data_``, ``rlnMicrographName`` = ``NAME.tomostar``. Warp asks
    for the pixel size when the file is used (``--coords_angpix``); here ``rlnPixelSize`` states it, too.
``ais``
    ``rlnCoordinateX/Y/Z``: voxels, 0-based; ``rlnMicrographName`` is the tomogram's name, ``aisParticleSize`` the
    score.

Refined positions are combined as in RELION: position = coordinate - A_subtomogram · origin, orientation = A_subtomogram
· A_particle (``ParticleSet::getPosition`` and ``getMatrix3x3``). RELION's tomograms have no origin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import shown
from volengine.core.orientation import euler_to_matrix, matrix_to_euler
from volengine.core.picks import EXTRA, Picks
from volengine.io.picks import rows as r
from volengine.io.picks.star import Table, read_star, star_text

PIXEL = ("rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX")
CENTRED = ("rlnCenteredCoordinateZAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateXAngst")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SUBTOMOGRAM = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
SHIFT_A = ("rlnOriginZAngst", "rlnOriginYAngst", "rlnOriginXAngst")
SHIFT_PIXEL = ("rlnOriginZ", "rlnOriginY", "rlnOriginX")
NORMAL = ("volengineNormalZ", "volengineNormalY", "volengineNormalX")
SINGLE = {
    "rlnAutopickFigureOfMerit": "weight",
    "aisParticleSize": "weight",
    "volengineLabel": "label",
    "volengineVolumeA3": "volume_a3",
    "volengineSizeVox": "size_vox",
}
WARP_FILE = ".tomostar"
_FILES = (WARP_FILE, ".mrc", ".rec", ".map", ".st")


# Reading -----------------------------------------------------------------------------------------------------------


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a STAR file.

    Parameters
    ----------
    path
        The file: particles, or an ``optimisation_set.star``, whose particles may be of any of the dialects.
    known
        What the caller states.
    format
        One of the four dialects.

    Raises
    ------
    MissingError
        The file, or one that it refers to, does not exist.
    FormatError
        It is no STAR file, or has no coordinates of this dialect, or a line is damaged; the message names the line.
    """
    blocks, text = read_star(path)
    if any("rlnTomoParticlesFile" in t.columns for t in blocks.values()):
        return _optimisation_set(path, blocks)
    return _read(path, blocks, text, format)


def _read(path: Path, blocks: dict[str, Table], text: str, dialect: str | None) -> r.Rows:
    """Read the particles of a STAR file of a dialect; ``None``: recognise it by the columns."""
    table = _particles(blocks, path)
    facts = r.read_facts(text, path)
    centred = set(CENTRED) <= set(table.columns) and dialect in (None, "relion5")
    wanted = CENTRED if centred or dialect == "relion5" else PIXEL
    missing = [label for label in wanted if label not in table.columns]
    if missing:
        raise FormatError(f"{path}: data_{table.name} has no {', '.join(missing)}, which {dialect or 'STAR'} needs.")
    rows = r.Rows(
        path=path,
        coordinate=_numbers(table, wanted, path),
        angstrom=centred,
        centred=centred,
        pixel_size=_pixel_size(table, blocks, path),
        facts=facts,
    )
    used = {*PIXEL, *CENTRED, "rlnOpticsGroup", "rlnPixelSize"}
    rows.tomogram = _names(table, facts, used)
    _poses(rows, table, used)
    _columns(rows, table, used)
    return r.finite(rows, table.lines)


def _particles(blocks: dict[str, Table], path: Path) -> Table:
    fit = [t for t in blocks.values() if set(PIXEL) <= set(t.columns) or set(CENTRED) <= set(t.columns)]
    named = [t for t in fit if t.name == "particles"]
    if len(named or fit) == 1:
        return (named or fit)[0]
    there = ", ".join(f"data_{t}" for t in ([t.name for t in fit] or blocks))
    what = "more than one table with coordinates" if fit else "no table with rlnCoordinateX/Y/Z"
    raise FormatError(f"{path} has {what}; there is {there}.")


def _numbers(table: Table, labels: Sequence[str], path: Path) -> r.Floats:
    columns = [r.numbers(table.columns[label], label, path, table.lines) for label in labels]
    return np.stack(columns, axis=-1)


def _names(table: Table, facts: dict[str, r.Facts], used: set[str]) -> list[str] | None:
    label = next((k for k in ("rlnTomoName", "rlnMicrographName") if k in table.columns), None)
    if label is None:
        return None
    used.add(label)
    if label == "rlnTomoName":
        return list(table.columns[label])
    own = {f"{name}{ending}": name for name in facts for ending in (WARP_FILE, "")}
    return [own.get(text, _stem(text)) for text in table.columns[label]]


def _stem(name: str) -> str:
    """``tomostar/TS_01.tomostar`` -> ``TS_01``."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return next((base.removesuffix(end) for end in _FILES if base.endswith(end) and base != end), base)


def _pixel_size(table: Table, blocks: dict[str, Table], path: Path) -> r.Floats | None:
    """Return the size of the pixels that coordinates count, (n,) angstrom; ``None`` if the file does not state it."""
    optics = blocks.get("optics")
    if optics is not None:
        for label in ("rlnTomoTiltSeriesPixelSize", "rlnImagePixelSize"):
            if label in optics.columns and optics.lines:
                return _by_group(table, optics, label, path)
    columns = table.columns
    detector, magnification = "rlnDetectorPixelSize", "rlnMagnification"
    size: r.Floats | None = None
    for label in ("rlnTomoTiltSeriesPixelSize", "rlnPixelSize", detector, "rlnImagePixelSize"):
        if label in columns:
            size = r.numbers(columns[label], label, path, table.lines)
            if label == detector and magnification in columns:  # micrometre on the detector
                size = size * 1e4 / r.numbers(columns[magnification], magnification, path, table.lines)
            break
    if size is not None and not (size > 0).all():
        raise FormatError(f"{path}, line {table.lines[int(np.argmin(size))]}: the pixel size is {size.min()} angstrom.")
    return size


def _by_group(table: Table, optics: Table, label: str, path: Path) -> r.Floats:
    sizes = r.numbers(optics.columns[label], label, path, optics.lines)
    if not (sizes > 0).all():
        raise FormatError(f"{path}, line {optics.lines[int(np.argmin(sizes))]}: {label} is {sizes.min()} angstrom.")
    groups, group = optics.columns.get("rlnOpticsGroup"), table.columns.get("rlnOpticsGroup")
    if groups is None or group is None:
        if len(set(sizes.tolist())) > 1:
            raise FormatError(f"{path} has several optics groups, but its particles do not say theirs.")
        return np.full(len(table.lines), sizes[0])
    by_name = dict(zip(groups, sizes.tolist(), strict=True))
    for name, line in zip(group, table.lines, strict=True):
        if name not in by_name:
            raise FormatError(f"{path}, line {line}: there is no optics group {name} in data_optics.")
    return np.array([by_name[name] for name in group])


def _poses(rows: r.Rows, table: Table, used: set[str]) -> None:
    """Read angles and refined shifts, and combine them as RELION does."""

    def take(labels: Sequence[str]) -> r.Floats | None:
        if not set(labels) <= set(table.columns):
            return None
        used.update(labels)
        return _numbers(table, labels, rows.path)

    euler, subtomogram = take(ANGLES), take(SUBTOMOGRAM)
    shift_a = take(SHIFT_A)
    shift = None if rows.centred else take(SHIFT_PIXEL)
    if subtomogram is not None:
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
    normal = take(NORMAL)
    if normal is not None:
        rows.columns["normal"] = normal


def _columns(rows: r.Rows, table: Table, used: set[str]) -> None:
    known = r.kinds(rows.facts)
    for label, texts in table.columns.items():
        if label in used:
            continue
        key = SINGLE.get(label, EXTRA + label)
        kind = r.column_kind(key) or known.get(key)
        if key == "weight" and key in rows.columns:
            key, kind = EXTRA + label, None
        rows.columns[key] = r.typed(texts, kind, label, rows.path, table.lines)


def _optimisation_set(path: Path, blocks: dict[str, Table]) -> r.Rows:
    """Read the particles to which RELION's ``optimisation_set.star`` refers, and the shapes of its tomograms."""
    table = next(t for t in blocks.values() if "rlnTomoParticlesFile" in t.columns)
    particles = _project_file(path, table.columns["rlnTomoParticlesFile"])
    with _unquoted(path, particles):
        inner, text = read_star(particles)
        if any("rlnTomoParticlesFile" in t.columns for t in inner.values()):
            raise FormatError("an optimisation set leads to another one")
        rows = _read(particles, inner, text, None)
    if "rlnTomoTomogramsFile" in table.columns:
        there = _project_file(path, table.columns["rlnTomoTomogramsFile"])
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
    """Find a file that RELION names relative to its project folder, which is one of the folders above."""
    if len(names) != 1:
        raise FormatError(f"{path}: an optimisation set names one file of each kind, not {len(names)}.")
    folders = [Path(), *path.absolute().parents]
    found = next((folder / names[0] for folder in folders if r.is_file(folder / names[0])), None)
    if found is None:
        raise MissingError(f"{path} leads to {shown(names[0])}, which is in no folder above it.")
    return found


def _tomograms(path: Path) -> dict[str, r.Facts]:
    """Read voxel size, shape and centre of each tomogram from RELION's ``tomograms.star``, whose sizes are unbinned."""
    blocks, _ = read_star(path)
    table = blocks.get("global") or next(iter(blocks.values()))
    size_labels = ("rlnTomoSizeZ", "rlnTomoSizeY", "rlnTomoSizeX")
    pixel_label = "rlnTomoTiltSeriesPixelSize"
    if not {*size_labels, pixel_label, "rlnTomoName"} <= set(table.columns):
        return {}
    sizes, pixel = _numbers(table, size_labels, path), _numbers(table, [pixel_label], path)
    binning = np.ones_like(pixel)
    if "rlnTomoTomogramBinning" in table.columns:
        binning = _numbers(table, ["rlnTomoTomogramBinning"], path)
    facts: dict[str, r.Facts] = {}
    for values in (sizes, pixel, binning):
        bad = np.flatnonzero(~((values > 0) & (values < 1e9)).all(axis=1))
        if len(bad):
            raise FormatError(f"{path}, line {table.lines[bad[0]]}: sizes, pixel size and binning must be positive.")
    for name, size, p, b in zip(table.columns["rlnTomoName"], sizes, pixel, binning, strict=True):
        facts[name] = {
            "voxel_size": [float(p[0] * b[0])] * 3,
            "shape": [int(n) for n in np.rint(size / b)],
            "centre_a": (size / 2 * p).tolist(),
        }
    return facts


# Writing -----------------------------------------------------------------------------------------------------------


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a STAR file.

    Parameters
    ----------
    path
        The file.
    tables
        One table of picks per tomogram, with the same columns.
    format
        One of the four dialects.
    pixel_size
        Pixel size that the coordinates count, angstrom; default: the voxel size.

    Raises
    ------
    InputError
        A tomogram has no name, its voxels are not cubes, the columns differ, ``relion5`` has no shape, or a text cannot
        be written in STAR.
    """
    return [(path, _text(tables, format, pixel_size).encode())]


def _text(picks: Sequence[Picks], dialect: str, pixel_size: float | None) -> str:
    """Make the text of a STAR file of a dialect."""
    table: dict[str, list[str]] = {}
    optics: dict[str, list[str]] = {"rlnOpticsGroup": [], "rlnOpticsGroupName": [], "rlnTomoTiltSeriesPixelSize": []}
    comments = []
    for one in picks:
        if not one.tomogram:
            raise InputError("STAR files need the tomogram's name: set it with picks.with_(tomogram=...).")
        pixel = _one_pixel(one, pixel_size)
        rescaled = None if pixel_size is None else [pixel] * 3
        comments.append(r.facts_line(one, rescaled if dialect in ("relion", "warp") else None))
        group = str(_group(optics, pixel))
        columns = _labelled(one, dialect, pixel_size) | _constant(one, dialect, pixel, group)
        if table and columns.keys() != table.keys():
            raise InputError(
                f"The picks of {picks[0].tomogram!r} and {one.tomogram!r} do not have the same columns: "
                f"{', '.join(sorted(columns.keys() ^ table.keys()))}."
            )
        for label, column in columns.items():
            table.setdefault(label, []).extend(column)
    if dialect == "warp":
        return star_text({"": table}, comments)
    blocks = {"particles": table} if dialect == "ais" else {"optics": optics, "particles": table}
    return star_text(blocks, comments)


def _one_pixel(picks: Picks, pixel_size: float | None) -> float:
    """Return the pixel size of a tomogram; refuse voxels that are not cubes, because STAR has one pixel size only."""
    size = np.asarray(picks.voxel_size)
    if size.max() > size.min() * 1.001:
        raise InputError(
            f"The voxels of {picks.tomogram!r} are {picks.voxel_size} angstrom (z, y, x), but STAR files know one "
            "pixel size only: bring the picks onto a grid of cubes with picks.on_grid(...), or write CSV."
        )
    return float(size[2]) if pixel_size is None else float(pixel_size)


def _group(optics: dict[str, list[str]], pixel: float) -> int:
    """Return the number of the optics group with this pixel size; a new group is added if there is none."""
    sizes = optics["rlnTomoTiltSeriesPixelSize"]
    if repr(pixel) not in sizes:
        sizes.append(repr(pixel))
        optics["rlnOpticsGroup"].append(str(len(sizes)))
        optics["rlnOpticsGroupName"].append(f"opticsGroup{len(sizes)}")
    return sizes.index(repr(pixel)) + 1


def _constant(picks: Picks, dialect: str, pixel: float, group: str) -> dict[str, list[str]]:
    """Return the columns with one value for all picks of a tomogram."""
    values = {
        "relion": {"rlnTomoName": picks.tomogram, "rlnOpticsGroup": group},
        "relion5": {"rlnTomoName": picks.tomogram, "rlnOpticsGroup": group},
        "warp": {"rlnMicrographName": f"{picks.tomogram}.tomostar", "rlnPixelSize": repr(pixel)},
        "ais": {"rlnMicrographName": picks.tomogram},
    }[dialect]
    return {label: [value] * len(picks) for label, value in values.items()}


def _labelled(picks: Picks, dialect: str, pixel_size: float | None) -> dict[str, list[str]]:
    position, labels = picks.position_vox, PIXEL
    if dialect == "relion5":
        if picks.shape is None:
            raise InputError(f"RELION 5 counts from the centre of {picks.tomogram!r}: set picks.with_(shape=...).")
        position, labels = (position - np.asarray(picks.shape) / 2) * np.asarray(picks.voxel_size), CENTRED
    elif pixel_size is not None and any(v != pixel_size for v in picks.voxel_size):
        position = position * np.asarray(picks.voxel_size) / pixel_size
    columns: dict[str, NDArray[Any]] = dict(zip(labels[::-1], position.T[::-1], strict=True))
    if picks.orientation is not None:
        columns |= dict(zip(ANGLES, picks.orientation.T, strict=True))
    score = "aisParticleSize" if dialect == "ais" else "rlnAutopickFigureOfMerit"
    for label, key in SINGLE.items():
        value = getattr(picks, key)
        if value is not None and (key != "weight" or label == score):
            columns[label] = value
    if picks.normal is not None:
        columns |= dict(zip(NORMAL, picks.normal.T, strict=True))
    meaning = {*PIXEL, *CENTRED, *ANGLES, *SUBTOMOGRAM, *SHIFT_A, *SHIFT_PIXEL, *NORMAL, *SINGLE}
    meaning |= {"rlnTomoName", "rlnOpticsGroup", "rlnPixelSize"}
    meaning |= {"rlnMicrographName"} if dialect in ("warp", "ais") else set()
    for name, value in picks.extra.items():
        if name in meaning:
            raise InputError(f"The extra column {name!r} means something else in STAR files; rename it.")
        columns[name] = value
    return {label: r.texts(np.asarray(column)) for label, column in columns.items()}
