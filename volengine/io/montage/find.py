"""Montages of SerialEM: stacks whose sections are overlapping pieces of larger pictures, and where each piece lies.

A piece has the coordinates ``x y section``: the voxel index of its first column and first row in the montage, and the
number of the picture that it belongs to. Rows count upwards in both, the montage and the file, so array row ``y + j``
of the montage is row ``j`` of the piece. Three places state them:

- the extended header of the MRC file. It has as many bytes per section as the two-byte number at byte 128 says, and the
  items that the flags at byte 130 name, in their order: tilt angle (2 bytes), piece (6: ``uint16`` x and y, ``int16``
  section), stage position (4), and others. It is of this form only if the bytes of the flagged items add up to the
  bytes per section (IMOD's ``extraIsNbytesAndFlags`` and ``iiMRCcheckPCoord``, whatever the type of the header);
- the ``.mdoc`` beside it: ``Montage = 1``, and ``PieceCoordinates`` of each ``[ZValue = n]``. It may also have aligned
  coordinates, for which SerialEM has correlated the overlaps: ``AlignedPieceCoordsVS`` (preferred, as in IMOD) or
  ``AlignedPieceCoords``;
- a list of pieces (``.pl``): ``x y section`` on each line.

>>> montage = find_montage("M.st")                               # doctest: +SKIP
>>> len(montage.pieces), montage.sections                          # doctest: +SKIP
(6, (0,))
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from volengine.core.boxes import Index3
from volengine.core.errors import FormatError, InputError
from volengine.core.paths import PathLike, path_text
from volengine.io.montage.document import Document, are_pieces, read_document
from volengine.io.montage.pieces import Coordinates, Montage, Piece, on_each_other
from volengine.io.montage.tables import pieces_of_header, read_pieces
from volengine.io.mrc.header import MrcHeader, read_header
from volengine.io.names import PACKED_SUFFIXES
from volengine.io.tilts.series import file_name

COUNTED = 2**16
"""Coordinates in the extended header are counted up to here, and then again from 0."""
HEADER = "its extended header"


def find_montage(path: PathLike, header: MrcHeader | None = None, pieces: PathLike = "") -> Montage | None:
    """Find the pieces of an MRC file.

    Parameters
    ----------
    path
        The file.
    header
        Its header, if it has been read.
    pieces
        A list of pieces (``.pl``), which counts instead of all others.

    Returns
    -------
    Montage
        ``None`` if nothing says that the file is a montage.

    Raises
    ------
    FormatError
        It is one, and its coordinates are missing, damaged, of another file, or contradict each other.
    """
    name = path_text(path)
    header = header or read_header(name)
    if path_text(pieces):
        listed = read_pieces(pieces)
        return _montage(name, header, listed, file_name(path_text(pieces)))
    stated = pieces_of_header(header)
    angles = None if stated is None else stated[1]
    found = None if stated is None else stated[0]
    doc = _document(name, header.file_shape)
    if doc is None or not doc.is_montage(found):
        if found is None or not are_pieces(found):
            return None
        return _of_header(name, header, found, angles)
    told = doc.pieces(header.file_shape)
    if told is None:
        if found is None:
            raise FormatError(
                f"{name}: is a montage of SerialEM by {doc.name}, which has no PieceCoordinates; nor has the extended "
                "header. Give its list of pieces: --montage --pieces FILE.pl."
            )
        return _of_header(name, header, found, angles)
    if found is not None:
        _check_same(name, doc.name, told, found)
    return _montage(name, header, told, doc.name, doc.aligned(told), doc.tilt_angles() or angles)


def refuse_montage(path: str, header: MrcHeader) -> None:
    """Refuse a file that is a montage: its sections are no slices of a volume.

    Raises
    ------
    InputError
        It is one.
    FormatError
        It is one, and damaged.
    """
    montage = find_montage(path, header)
    if montage is not None:
        raise InputError(
            f"{path}: is a montage of SerialEM, not a volume: {montage.said()}. Place and blend its pieces first: "
            f"volengine convert {shlex.quote(str(path))} --montage --out FOLDER"
        )


def refuse_stack(path: str, shape: Index3) -> None:
    """Refuse a stack of another format than MRC that is a montage by the ``.mdoc`` beside it.

    Raises
    ------
    InputError
        It is one.
    """
    doc = _document(path, shape)
    if doc is not None and doc.is_montage(None):
        raise InputError(
            f"{path}: is a montage of SerialEM by {doc.name}: its sections are pieces, not slices. Montages are read "
            "from MRC files, in which the order of the rows is sure: convert it first (IMOD: newstack, tif2mrc)."
        )


def _montage(
    path: str,
    header: MrcHeader,
    pieces: Sequence[Coordinates],
    source: str,
    aligned: tuple[tuple[float, float], ...] | None = None,
    angles: tuple[float, ...] | None = None,
) -> Montage:
    if header.map_order != (1, 2, 3):
        raise FormatError(
            f"{path}: its axis order mapc, mapr, maps is {header.map_order}; the pieces of a montage need 1, 2, 3."
        )
    nz, ny, nx = header.file_shape
    if len(pieces) != nz:
        raise FormatError(
            f"{path}: has {nz} images, but {source} has the coordinates of {len(pieces)} pieces; it is of another "
            "file, or damaged. Give the right list of pieces: --pieces FILE.pl."
        )
    found = tuple(Piece(n, z, y, x) for n, (z, y, x) in enumerate(pieces))
    return Montage(path, (ny, nx), found, source, aligned, angles).check()


def _of_header(path: str, header: MrcHeader, found: Sequence[Coordinates], angles: tuple[float, ...] | None) -> Montage:
    """A montage whose coordinates the extended header alone states; those that begin again from 0 are refused."""
    montage = _montage(path, header, found, HEADER, angles=angles)
    frame = montage.frame()
    if max(frame.stop) <= COUNTED:
        return montage
    pair = on_each_other(montage)
    if pair is not None:
        one, other = pair
        raise FormatError(
            f"{path}: by {HEADER} pieces {one.index} and {other.index} lie on each other, at x y section = {one.x} "
            f"{one.y} {one.section} and {other.x} {other.y} {other.section}: it counts coordinates up to {COUNTED - 1} "
            "and then again from 0. Put the .mdoc beside it, which has all of them, or give a list of pieces: "
            "--montage --pieces FILE.pl."
        )
    return montage


def _check_same(path: str, doc: str, told: Sequence[Coordinates], found: list[Coordinates]) -> None:
    """Refuse an ``.mdoc`` and an extended header that contradict each other."""
    for n, (one, other) in enumerate(zip(told, found, strict=True)):
        if any((a - b) % COUNTED for a, b in zip(one, other, strict=True)):
            raise FormatError(
                f"{path}: x y section of piece {n} are {one[2]} {one[1]} {one[0]} in {doc}, but {other[2]} {other[1]} "
                f"{other[0]} in the extended header. If {doc} is of another file, move it away; else give a list of "
                "pieces: --pieces FILE.pl."
            )


def _document(path: str, shape: Index3) -> Document | None:
    """The ``.mdoc`` of a file: ``FILE.mdoc``, or one with the file's stem that names the file."""
    bare = next((path[: -len(end)] for end in PACKED_SUFFIXES if path.lower().endswith(end)), path)
    stem = bare[: len(bare) - len(Path(bare).suffix)]
    for place in dict.fromkeys((f"{path}.mdoc", f"{bare}.mdoc", f"{stem}.mdoc")):
        try:
            if not Path(place).is_file():
                continue
        except OSError:  # a name that is too long
            continue
        doc = read_document(place)
        if doc is None or doc.of_other_file(shape):
            continue
        named = doc.head.get("ImageFile", ("", 0))[0]
        of_file = file_name(named) in (file_name(path), file_name(bare)) or "ImageFile" in doc.contradictions
        if place != f"{stem}.mdoc" or of_file:
            return doc
    return None
