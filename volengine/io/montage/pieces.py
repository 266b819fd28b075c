"""The pieces of a montage, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.io.mrc.rules import MAX_LENGTH_VOX

ALIGNED = ("AlignedPieceCoordsVS", "AlignedPieceCoords")
"""Keys of an ``.mdoc``, the preferred one first."""
LEAST_COVERED = 1e-3
"""Share of a montage that its pieces must cover; damaged coordinates make huge ones."""
LARGEST_OVERLAP = 0.45
"""Pieces of a montage overlap by less than this share of their sides, along one axis at least."""

Coordinates = tuple[int, int, int]
"""Section, y, x of a piece."""


@dataclass(frozen=True)
class Piece:
    """One image of a montage.

    Parameters
    ----------
    index
        Number of the image in its file, from 0.
    section
        Number of the picture that it is a piece of.
    y, x
        Voxel index of its first row and column in the picture; may be negative.
    """

    index: int
    section: int
    y: int
    x: int


@dataclass(frozen=True)
class Montage:
    """The pieces of a file.

    Parameters
    ----------
    path
        The file.
    size
        Rows and columns of a piece.
    pieces
        The pieces, in the order of the file.
    source
        Where their coordinates are from, for messages.
    aligned
        y, x of each piece as SerialEM has aligned them; ``None`` if no file has them.
    tilt_angles
        Of each piece, degrees; ``None`` if unknown.
    """

    path: str
    size: tuple[int, int]
    pieces: tuple[Piece, ...]
    source: str
    aligned: tuple[tuple[float, float], ...] | None = None
    tilt_angles: tuple[float, ...] | None = None

    @property
    def sections(self) -> tuple[int, ...]:
        """The numbers of the sections, sorted."""
        return tuple(sorted({piece.section for piece in self.pieces}))

    def of_section(self, section: int) -> tuple[Piece, ...]:
        """Return the pieces of a section, in the order of the file."""
        return tuple(piece for piece in self.pieces if piece.section == section)

    def angle_of(self, section: int) -> float | None:
        """Return the tilt angle of a section: that of its first piece, degrees."""
        return None if self.tilt_angles is None else self.tilt_angles[self.of_section(section)[0].index]

    def frame(self) -> Box:
        """Return the box around the pieces of all sections; z is 0 to 1."""
        ys, xs = [p.y for p in self.pieces], [p.x for p in self.pieces]
        return Box((0, min(ys), min(xs)), (1, max(ys) + self.size[0], max(xs) + self.size[1]))

    def at_aligned(self) -> Montage:
        """Return the montage with its pieces where SerialEM has aligned them, rounded to whole voxels.

        Raises
        ------
        InputError
            The file's ``.mdoc`` does not have the aligned coordinates of all pieces.
        """
        if self.aligned is None:
            raise InputError(
                f"{self.path}: no .mdoc of it has aligned coordinates ({' or '.join(ALIGNED)}) of all pieces. Take "
                "--montage-shifts correlate, or none."
            )
        moved = tuple(
            replace(piece, y=round(y), x=round(x)) for piece, (y, x) in zip(self.pieces, self.aligned, strict=True)
        )
        return replace(self, pieces=moved).check()

    def check(self) -> Montage:
        """Refuse coordinates that no montage has; return the montage.

        Raises
        ------
        FormatError
            Two pieces have one place, or the pieces are so far from each other that the coordinates must be damaged.
        """
        places: dict[tuple[int, int, int], int] = {}
        for p in self.pieces:
            other = places.setdefault((p.section, p.y, p.x), p.index)
            if other != p.index:
                raise FormatError(
                    f"{self.path}: pieces {other} and {p.index} have the same place by {self.source}: x y section = "
                    f"{p.x} {p.y} {p.section}. Mend it, or give a list of pieces (--pieces FILE.pl)."
                )
        frame = self.frame().shape
        voxels = frame[1] * frame[2] * len(self.sections)
        covered = len(self.pieces) * self.size[0] * self.size[1]
        if max(frame) > MAX_LENGTH_VOX or covered < LEAST_COVERED * voxels:
            raise FormatError(
                f"{self.path}: by {self.source} its {len(self.pieces)} pieces of {self.size[0]} x {self.size[1]} "
                f"voxels lie in a picture of {frame[1]} x {frame[2]}, almost all of it empty; the coordinates are "
                "damaged. Mend them, or give a list of pieces (--pieces FILE.pl)."
            )
        return self

    def said(self) -> str:
        """What it is, for people: its pieces, sections, size, and where that is from."""
        _, height, width = self.frame().shape
        sections = f"{len(self.sections)} section{'s' if len(self.sections) > 1 else ''}"
        return (
            f"{len(self.pieces)} pieces of {self.size[0]} x {self.size[1]} voxels (y, x) in {sections} of "
            f"{height} x {width} (by {self.source})"
        )


def on_each_other(montage: Montage) -> tuple[Piece, Piece] | None:
    """Find two pieces of a section that lie on each other as pieces of a montage do not.

    A piece whose coordinate began again from 0 lies within a row of others, or exactly on one: less than half of the
    distance of two neighbours from the nearer one.

    Parameters
    ----------
    montage
        The montage.

    Returns
    -------
    tuple of Piece
        The first two; ``None`` if there are none.

    Examples
    --------
    >>> pieces = (Piece(0, 0, 0, 0), Piece(1, 0, 0, 90), Piece(2, 0, 0, 40))
    >>> [piece.index for piece in on_each_other(Montage("m.st", (100, 100), pieces, "a list"))]
    [0, 2]
    """
    apart = (1 - LARGEST_OVERLAP) * np.array(montage.size)
    for section in montage.sections:
        pieces = montage.of_section(section)
        places = np.array([(piece.y, piece.x) for piece in pieces])
        for n, place in enumerate(places[:-1]):
            close = (np.abs(places[n + 1 :] - place) < apart).all(axis=1)
            if close.any():
                return pieces[n], pieces[n + 1 + int(close.argmax())]
    return None
