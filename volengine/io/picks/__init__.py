"""Reading and writing picks in the coordinate formats of the field.

>>> import tempfile
>>> picks = Picks([[10, 20, 30]], voxel_size=(7.9, 7.9, 7.9), tomogram="TS_01", feature="ribosome")
>>> with tempfile.TemporaryDirectory() as folder:
...     write_picks(f"{folder}/TS_01.star", picks)
...     read_picks(f"{folder}/TS_01.star").position_vox.tolist()
[[10.0, 20.0, 30.0]]

The ending of the file's name determines the format, and for ``.star`` the columns do; the argument ``format`` overrides
both. If the file does not state something that is needed (voxel size, shape, name), an error asks for the argument. If
the given voxel size differs from the pixel size that the file states, coordinates are rescaled: voxel i of a tomogram
that was binned by b is pixel i × b, as in RELION. A file is written completely or not at all. ``docs/formats-picks.md``
states what each format keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.volume import Vector3
from volengine.io.picks import registry
from volengine.io.picks.formats import FORMATS
from volengine.io.picks.registry import Files
from volengine.io.picks.rows import Known, Rows, gather, listing, write_bytes
from volengine.io.stores import local_copy


def formats() -> dict[str, str]:
    """Return the formats by name, with one line about each."""
    return {name: one.about for name, one in FORMATS.items()}


def read_picks(
    path: PathLike,
    format: str | None = None,
    *,
    voxel_size: Vector3 | None = None,
    origin: Vector3 | None = None,
    shape: Index3 | None = None,
    tomogram: str | None = None,
    volume_origin: Vector3 | None = None,
) -> Picks:
    """Read the picks of one tomogram.

    Parameters
    ----------
    path
        The file, or its URL. For RELION's ``optimisation_set.star``, its particles and tomograms are read.
    format
        A name of :func:`formats`. Default: by the ending of the file's name and by its content.
    voxel_size, origin, shape
        The tomogram's grid: voxel size and position of the centre of the first voxel (angstrom, z, y, x), and shape
        (voxels z, y, x). They override what the file states. If neither states the origin, it is 0.
    tomogram
        Name of the tomogram to read, if the file has several; or its name, if the file states none.
    volume_origin
        Origin of the tomogram's volume. It counts where neither ``origin`` nor the file states one: for markers of
        ChimeraX and tables in angstrom, whose positions contain it.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged or of another format; the message names the line.
    InputError
        File and arguments together do not determine the picks, or the file has several tomograms and none was chosen.

    Examples
    --------
    >>> import volengine
    >>> picks = volengine.read_picks("TS_01__ribosome.star", shape=(16, 32, 32))
    >>> picks.position_vox.tolist()
    [[8.0, 8.0, 8.0], [8.0, 22.0, 20.0]]
    """
    known = Known(voxel_size, origin, shape, tomogram, volume_origin)
    path = path_text(path)
    with local_copy(path) as file:
        found = gather(_read(file, format, known), known)
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
    volume_origin: Vector3 | None = None,
) -> dict[str, Picks]:
    """Read the picks of all tomograms of a file, by name; arguments and errors are those of :func:`read_picks`."""
    known = Known(voxel_size, origin, shape, volume_origin=volume_origin)
    with local_copy(path_text(path)) as file:
        return gather(_read(file, format, known), known)


def write_picks(
    path: PathLike,
    picks: Picks | Sequence[Picks],
    format: str | None = None,
    *,
    pixel_size: float | None = None,
) -> None:
    """Write the picks of one or several tomograms to a file.

    Parameters
    ----------
    path
        The file; an existing one is replaced. Without ``format`` its ending determines the format (``.star``:
        ``relion``).
    picks
        One table, or several of different tomograms with the same columns. Files of many formats
        (``copick``, ``imod``, ``portal``) hold one tomogram.
    format
        A name of :func:`formats`.
    pixel_size
        For ``relion``, ``relion5`` and ``warp``: the pixel size that coordinates count, angstrom; for example the
        unbinned one of the tilt series, which RELION 4 expects. Default: the voxel size.

    Raises
    ------
    InputError
        The format cannot hold these picks; the message names the reason.

    Examples
    --------
    >>> import volengine
    >>> picks = volengine.Picks([[10, 20, 30]], voxel_size=(7.9, 7.9, 7.9), shape=(64, 64, 64), tomogram="TS_02")
    >>> volengine.write_picks("TS_02.csv", picks)
    >>> len(volengine.read_picks("TS_02.csv"))
    1
    """
    path = Path(path_text(path))
    for file, data in files_of(path, picks, format, pixel_size):
        write_bytes(file, data)


def replaced_beside(
    path: PathLike,
    picks: Picks | Sequence[Picks],
    format: str | None = None,
    *,
    pixel_size: float | None = None,
) -> list[Path]:
    """Return the files beside the one that is asked for which :func:`write_picks` would replace with other bytes.

    Dynamo's, STOPGAP's and TOM's tables have a map of names, ``NAME.doc``; a set of RELION has two files more.
    """
    *beside, _ = files_of(Path(path_text(path)), picks, format, pixel_size)
    return [file for file, data in beside if file.exists() and not (file.is_file() and file.read_bytes() == data)]


def check_picks(path: PathLike, picks: Picks, format: str | None = None) -> None:
    """Raise the error that :func:`write_picks` would raise for these picks, and write nothing."""
    where = path_text(path)
    files = files_of(Path(where), picks, format, None)
    if "://" in where and format_of(where, format) == "relion5-set":
        names = ", ".join(file.name for file, _ in files)
        raise InputError(
            f"{where}: a set of RELION is {len(files)} files ({names}); write it into a folder of this machine."
        )


def files_of(path: Path, picks: Picks | Sequence[Picks], format: str | None, pixel_size: float | None) -> Files:
    """The files of picks, and what is in them."""
    name = registry.to_write(path, format)
    tables = [picks] if isinstance(picks, Picks) else list(picks)
    if not tables:
        raise InputError(f"There are no picks to write into {path}.")
    names = [one.tomogram for one in tables]
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise InputError(f"{path}: tomogram {twice!r} comes twice; concatenate its picks, or write two files.")
    if not FORMATS[name].several and len(tables) > 1:
        raise InputError(f"{path}: a file of the format {name} holds one tomogram, not {len(tables)}.")
    if pixel_size is not None and not (FORMATS[name].counts_pixels and pixel_size > 0):
        counting = ", ".join(key for key, one in FORMATS.items() if one.counts_pixels)
        raise InputError(f"{path}: pixel_size ({pixel_size}) must be positive and is for {counting}, not {name}.")
    try:
        return registry.module_of(name).files(path, tables, name, pixel_size)
    except InputError as error:
        if str(path) not in str(error):  # what a format cannot hold is found without the file
            error.args = (f"{path}: {error}",)
        raise


def _read(path: Path, format: str | None, known: Known) -> Rows:
    name = registry.to_read(path, format)
    return registry.module_of(name).read(path, known, name)


def ending_of(format: str | None) -> str:
    """Return the ending of a format's files; for ``None`` that of RELION, ``.star``."""
    return ".star" if format is None else registry.named(format).endings[0]


def format_of(path: str | Path, format: str | None = None) -> str:
    """Return the name of the format to write: the given one, or that of the file's ending.

    Raises
    ------
    InputError
        The format or the ending is unknown, or the format is one that is only read.
    """
    return registry.to_write(path, format)
