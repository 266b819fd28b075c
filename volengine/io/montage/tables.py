"""Coordinates of pieces in the extended header of an MRC file, and in a list of pieces (``.pl``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError, MissingError
from volengine.core.paths import PathLike, path_text
from volengine.io.montage.document import WHOLE
from volengine.io.montage.pieces import Coordinates
from volengine.io.mrc.header import MrcHeader
from volengine.io.tilts.series import lines_of

ITEM_BYTES = (2, 6, 4, 2, 2, 4, 2, 4, 2, 4, 2)
"""Bytes of the items of an extended header, by flag: tilt, piece, stage, magnification, intensity, dose, others."""
TILT, PIECE = 1, 2
OTHER_TYPES = ("FEI1", "FEI2", "AGAR", "CCP4", "MRCO", "HDF5")
"""Types of extended headers that are of another form for certain."""
DELTAVISION = -16224
"""``creatid`` of DeltaVision's files, whose numbers at these bytes mean something else."""


def pieces_of_header(
    header: MrcHeader,
) -> tuple[list[Coordinates], tuple[float, ...] | None] | None:
    """Read the coordinates of pieces from an extended header.

    Parameters
    ----------
    header
        The header.

    Returns
    -------
    list, tuple
        Section, y, x of each image, and its tilt angle in degrees (``None`` if the header has none); ``None`` if the
        extended header holds no coordinates.

    Raises
    ------
    FormatError
        It is shorter than the images need.
    """
    order = header.byte_order
    each, flags = (int(v) for v in np.frombuffer(header.raw, order + "i2", 2, 128))
    creatid = int(np.frombuffer(header.raw, order + "i2", 1, 96)[0])
    if not header.ext_header or header.ext_type in OTHER_TYPES or creatid == DELTAVISION:
        return None
    if flags < 0 or flags >= 1 << len(ITEM_BYTES) or not flags & PIECE:
        return None
    if each != sum(size for n, size in enumerate(ITEM_BYTES) if flags >> n & 1):
        return None
    count = header.file_shape[0]
    if len(header.ext_header) < each * count:
        raise FormatError(
            f"{header.path}: is a montage by its extended header, which has the coordinates of "
            f"{len(header.ext_header) // each} pieces, but there are {count} images. Give a list of pieces: "
            "--montage --pieces FILE.pl."
        )
    rows = np.frombuffer(header.ext_header, np.uint8, each * count).reshape(count, each)
    at = ITEM_BYTES[0] if flags & TILT else 0
    xy = np.ascontiguousarray(rows[:, at : at + 4]).view(order + "u2").astype(int)
    z = np.ascontiguousarray(rows[:, at + 4 : at + 6]).view(order + "i2").astype(int)[:, 0]
    pieces = [(s, y, x) for s, (x, y) in zip(z.tolist(), xy.tolist(), strict=True)]
    if not flags & TILT:
        return pieces, None
    hundredths = np.ascontiguousarray(rows[:, :2]).view(order + "i2")[:, 0]
    return pieces, tuple(round(float(v) / 100, 2) for v in hundredths)


def read_pieces(path: PathLike) -> list[Coordinates]:
    """Read a list of pieces (``.pl``): ``x y section`` on each line, free format.

    Returns
    -------
    list of (section, y, x)

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        A line has anything else than three whole numbers.
    """
    name = path_text(path)
    if not Path(name).exists():
        raise MissingError(f"{name}: there is no such list of pieces.")
    found = []
    for at, raw in enumerate(lines_of(name, "a list of pieces"), 1):
        words = raw.replace(",", " ").split()
        if not words:
            continue
        if len(words) != 3 or not all(WHOLE.fullmatch(word) for word in words):
            raise FormatError(
                f"{name}, line {at}: {raw.strip()[:40]!r}; x, y and section of a piece were expected, three whole "
                "numbers."
            )
        x, y, z = map(int, words)
        found.append((z, y, x))
    if not found:
        raise FormatError(f"{name}: has no piece.")
    return found
