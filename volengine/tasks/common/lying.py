"""How the voxels of one thing lie on those of another one of the same tomogram: one rule for every verb.

*The same voxels* (the same shape, or the same size but for rounded headers): voxel i of one is voxel i of the other.

*Other voxels.* Two grids over the same tomogram lie in one of two ways on each other. After binning by averaging
(IMOD's ``binvol`` and ``newstack``, the levels of OME-Zarr, ``segment --match``) they begin at the same *face*, so that
the centre of the coarser one's first voxel lies half the difference of the sizes behind that of the finer one. After
Fourier cropping, and in RELION's and Warp's reconstructions, the *centres* of the first voxels are the same place.
What the user says (``mask_grid``) is taken; else what the origins of both say, if they say one of the two; else the
same face, which :func:`lies_on` gives back as a line for the user.

Volumes, sets of surfaces and tables of picks that state a voxel size have such grids alike: a surface lies beside
picks where the mask lies that it was made from. Origins that fit neither way are refused or said as in
:mod:`volengine.tasks.common.origins`.

*A table of picks* on another table, a volume or surfaces: if both state the shape of their tomogram, their voxels are
those of two volumes, and the rule is the same. A table without a shape, as RELION, STOPGAP and Dynamo write it, counts
pixels, often those of a tilt series, to which positions were multiplied: then a pick is at the same place in both,
which are the *centres*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3
from volengine.tasks.common.origins import SIZE_TOLERANCE, origins_note

NEAR = 0.1
"""How far origins may be from what a way of lying says, in voxels; headers hold rounded numbers."""

How = Literal["faces", "centres"]


class Lattice(NamedTuple):
    """Voxels: how messages name what has them, the place of the first one's centre, their size (angstrom), number."""

    where: str
    origin: Vector3
    voxel_size: Vector3
    shape: Index3 | None = None


class Asked(NamedTuple):
    """What the user says of two grids: how one lies on the other, and whether other origins may be the same place."""

    grid: Literal["auto", "faces", "centres"] = "auto"
    any_origin: bool = False


class Grid(NamedTuple):
    """The voxels of a thing in the places of another: their size and the place of the first one's centre, angstrom.

    ``sure`` is whether the things, or the user, say how it lies.
    """

    voxel_size: Vector3
    offset: Vector3
    sure: bool = True

    def to_json(self) -> list[list[float]]:
        """Return size and offset as JSON values."""
        return [list(self.voxel_size), list(self.offset)]

    @classmethod
    def from_json(cls, values: Sequence[Sequence[float]]) -> Grid:
        """Make one from JSON values.

        >>> Grid.from_json([[2, 2, 2], [0.5, 0.5, 0.5]]).offset
        (0.5, 0.5, 0.5)
        """
        (a, b, c), (d, e, f) = values
        return cls((a, b, c), (d, e, f))


class Lies(NamedTuple):
    """How a thing lies on another: its grid, and lines for the user (or nothing) on the way and on the origins."""

    grid: Grid
    way: str
    origins: str

    @property
    def notes(self) -> list[str]:
        """What there is to say."""
        return [line for line in (self.way, self.origins) if line]


def lies_on(mine: Lattice, other: Lattice, asked: Asked, otherwise: How = "faces") -> Lies:
    """Return how the voxels of a thing lie on those of another.

    Parameters
    ----------
    mine
        The thing in whose places the other one is wanted: a place is index × voxel size.
    other
        The other thing.
    asked
        What the user says.
    otherwise
        The way where nothing says it.

    Returns
    -------
    Lies
        ``grid.offset`` is the place, in ``mine``, of the centre of the other one's first voxel: a place of the other
        is ``place + offset`` in ``mine``.

    Raises
    ------
    InputError
        Both state origins that do not fit, and ``asked.any_origin`` is not set.

    Examples
    --------
    >>> fine = Lattice("TS_01.mrc", (0.0, 0.0, 0.0), (10.0, 10.0, 10.0))
    >>> binned = Lattice("mask.mrc", (0.0, 0.0, 0.0), (40.0, 40.0, 40.0))
    >>> lies_on(fine, binned, Asked()).grid
    Grid(voxel_size=(40.0, 40.0, 40.0), offset=(15.0, 15.0, 15.0), sure=False)
    >>> lies_on(fine, binned, Asked("centres")).grid.offset
    (0.0, 0.0, 0.0)
    """
    if same_voxels(mine, other):
        return Lies(Grid(mine.voxel_size, (0.0, 0.0, 0.0)), "", _checked(mine, other, asked, np.zeros(3)))
    ways = offsets(mine, other)
    apart = np.subtract(other.origin, mine.origin)
    how = asked.grid if asked.grid != "auto" else _said_by_origins(mine, other, apart)
    near = min(ways.values(), key=lambda offset: float(np.abs(apart - offset).max()))
    said = _checked(mine, other, asked, ways[otherwise] if how is None else near)
    z, y, x = (float(v) for v in ways[how or otherwise])
    way = "" if how else _unsure(mine, other, otherwise)
    return Lies(Grid(other.voxel_size, (z, y, x), how is not None), way, said)


def table_on(mine: Lattice, other: Lattice, asked: Asked, reach_nm: float | None = None) -> Lies:
    """Return how the voxels that a table of picks counts lie on those of another table, of the same tomogram.

    Parameters
    ----------
    mine, other, asked
        As for :func:`lies_on`, which says what is returned.
    reach_nm
        The largest distance at which picks of both belong together, where there is one.

    Raises
    ------
    InputError
        The tomograms have other extents or origins; or nothing says how the tables lie on each other, and it decides
        which picks belong together: the two ways are farther apart than ``reach_nm``.

    Examples
    --------
    >>> of_tomogram = Lattice("found.csv", (0.0, 0.0, 0.0), (10.0, 10.0, 10.0), (200, 400, 400))
    >>> of_tilt_series = Lattice("truth.star", (0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    >>> table_on(of_tomogram, of_tilt_series, Asked()).grid.offset
    (0.0, 0.0, 0.0)
    """
    check_extent(mine, other)
    lies = lies_on(mine, other, asked, unless_said(mine, other))
    apart_nm = float(np.linalg.norm(offsets(mine, other)["faces"])) / NM_TO_ANGSTROM
    if not lies.grid.sure and reach_nm is not None and apart_nm > reach_nm:
        raise InputError(
            f"{_sizes(mine, other)}: whether they begin at the same face or at the same centre moves picks by "
            f"{apart_nm:.3g} nm, farther than the {reach_nm:g} nm within which they belong together. Say it: "
            "--mask-grid faces (after binning by averaging), or centres (if positions were multiplied)."
        )
    return lies


def unless_said(mine: Lattice, other: Lattice) -> How:
    """The way in which a table of picks lies on something, or that on it, where nothing says it: by its shape."""
    return "faces" if mine.shape is not None and other.shape is not None else "centres"


def lattice_of(picks: Picks, where: str) -> Lattice:
    """The voxels that a table of picks counts; ``where`` is its name for messages."""
    return Lattice(where, picks.origin, picks.voxel_size, picks.shape)


def check_extent(mine: Lattice, other: Lattice) -> None:
    """Refuse two things of which one does not cover the other: they are not of one tomogram, or one is a part of it.

    Extents may differ by two voxels of the coarser one, because binning cuts off what does not fill a voxel; those of
    the same shape as much as headers round voxel sizes.

    Raises
    ------
    InputError
        Both state a shape, and their extents differ.

    Examples
    --------
    >>> whole = Lattice("TS_01.mrc", (0, 0, 0), (10.0, 10.0, 10.0), (101, 203, 200))
    >>> check_extent(whole, Lattice("binned.mrc", (0, 0, 0), (40.0, 40.0, 40.0), (25, 50, 50)))
    """
    if mine.shape is None or other.shape is None:
        return
    if mine.shape == other.shape and np.allclose(other.voxel_size, mine.voxel_size, rtol=SIZE_TOLERANCE, atol=0):
        return
    ours, theirs = np.multiply(mine.shape, mine.voxel_size), np.multiply(other.shape, other.voxel_size)
    if (np.abs(ours - theirs) > 2 * np.maximum(mine.voxel_size, other.voxel_size)).any():
        raise InputError(
            f"{other.where} measures {nanometres(theirs)} nm (z, y, x), and {mine.where} {nanometres(ours)} nm: is a "
            "voxel size wrong, or is one of another tomogram, or a part of it?"
        )


def nanometres(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Format three lengths in angstrom for a message, in nanometres.

    >>> nanometres((400, 500, 601.2))
    '40 x 50 x 60.12'
    """
    return " x ".join(f"{v / NM_TO_ANGSTROM:.5g}" for v in values)


def same_voxels(mine: Lattice, other: Lattice) -> bool:
    """Whether two things have the same voxels; their sizes are rounded in headers."""
    alike = mine.shape is not None and mine.shape == other.shape
    return alike or np.allclose(other.voxel_size, mine.voxel_size, rtol=1e-3, atol=0)


def offsets(mine: Lattice, other: Lattice) -> dict[How, NDArray[np.float64]]:
    """Places in ``mine`` of the centre of the other one's first voxel, angstrom, z, y, x, in either way."""
    return {"faces": np.subtract(other.voxel_size, mine.voxel_size) / 2, "centres": np.zeros(3)}


def _said_by_origins(mine: Lattice, other: Lattice, apart: NDArray[np.float64]) -> How | None:
    """The way that the origins say; an origin of 0 is one if the other thing states one."""
    if any(other.origin) or any(mine.origin):
        for how, offset in offsets(mine, other).items():
            if (np.abs(apart - offset) <= NEAR * np.asarray(mine.voxel_size)).all():
                return how
    return None


def _checked(mine: Lattice, other: Lattice, asked: Asked, offset: NDArray[np.float64]) -> str:
    """What there is to say of the origins beyond the offset of the grids; two that are stated and differ are refused.

    Raises
    ------
    InputError
        Both are stated, and ``asked.any_origin`` is not set.
    """
    if (np.abs(np.subtract(other.origin, mine.origin) - offset) <= 0.5 * np.asarray(mine.voxel_size)).all():
        return ""
    stated = any(mine.origin) + any(other.origin)
    if stated < 2:  # then nothing is refused
        return origins_note(mine[:3], other[:3]) if stated else ""
    z, y, x = (float(v) for v in np.subtract(other.origin, offset))
    return origins_note(mine[:3], (other.where, (z, y, x), other.voxel_size), accept=asked.any_origin)


def _unsure(mine: Lattice, other: Lattice, taken: How) -> str:
    if taken == "centres":
        return (
            f"{_sizes(mine, other)}, and not both state a shape: the centres of their first voxels were taken for the "
            "same place, as after multiplying positions by the ratio of the sizes; after binning by averaging, give "
            "--mask-grid faces."
        )
    return (
        f"{_sizes(mine, other)}: both were taken to begin at the same face, as after binning by averaging; after "
        "Fourier cropping, or if positions were multiplied by the ratio of the sizes, give --mask-grid centres."
    )


def _sizes(mine: Lattice, other: Lattice) -> str:
    return f"{other.where} has voxels of {max(other.voxel_size):g} A, {mine.where} of {max(mine.voxel_size):g} A"
