"""Regions of interest: the notation ``z0:z1,y0:y1,x0:x1`` of every verb, and the box of voxels that it means.

Each axis is written as a Python slice without a step: ``start:stop``, the stop is not included, and an empty end is
that of the volume. Whole numbers are voxels, counted from 0. With the unit ``nm`` numbers are places (index × voxel
size, from the centre of the volume's first voxel, whatever its origin): a voxel belongs to ``start:stop`` if its place
is at least the start and below the stop. So regions that share an end share no voxel, in either unit. The unit stands
behind every number, or once at the end for all of them.

>>> roi_box("10:20,:,5:", (32, 64, 64), (10.0, 10.0, 10.0), "TS_01.mrc")
Box(start=(10, 0, 5), stop=(20, 64, 64))
>>> roi_box("10nm:20nm,:,:6.4nm", (32, 64, 64), (10.0, 10.0, 10.0), "TS_01.mrc")
Box(start=(10, 0, 0), stop=(20, 64, 7))
>>> roi_box("10:20,:,:6.4 nm", (32, 64, 64), (10.0, 10.0, 10.0), "TS_01.mrc").shape
(10, 64, 7)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.units import NM_TO_ANGSTROM

AXES = "zyx"
_FORMS = (
    "write z0:z1,y0:y1,x0:x1 in voxels (10:20,:,5:) or in nm (100nm:400nm,:,: or, one unit for all, 100:400,:,:50nm)"
)
_NUMBER = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*(nm)?")
_NEAR = Fraction(1, 1_000_000)
"""Places that are nearer to a voxel's than this, in voxels, are at it: 7.84 angstrom is no binary number."""

End = Fraction | None


@dataclass(frozen=True)
class Roi:
    """A region of interest as it is written, before its volume is known.

    Parameters
    ----------
    text
        As it was given, for messages.
    ends
        Start and stop of each axis, z, y, x; ``None``: the end of the volume.
    in_nm
        Whether the numbers are nm, and not voxels.
    """

    text: str
    ends: tuple[tuple[End, End], ...]
    in_nm: bool

    @classmethod
    def parse(cls, text: str, option: str = "--roi") -> Roi:
        """Read the notation.

        Parameters
        ----------
        text
            The region, for example ``"10:20,:,5:"``.
        option
            How messages name it.

        Raises
        ------
        InputError
            It is not of this notation, its units are mixed, voxels are not whole, or it is empty for any volume.
        """
        parts = text.strip().split(",")
        once = _once_for_all(parts)
        if once:
            parts[-1] = parts[-1].rstrip().removesuffix("nm")
        if len(parts) != 3:
            raise InputError(f"{option} {_short(text)} names {len(parts)} axes instead of 3; {_FORMS}.")
        ends, units = [], set[bool]()
        for axis, part in zip(AXES, parts, strict=True):
            sides = part.split(":")
            if len(sides) != 2:
                raise InputError(f"{option} {_short(text)}: {_short(part)} is no start:stop along {axis}; {_FORMS}.")
            low, high = (_end(side, text, axis, option, units) for side in sides)
            ends.append((low, high))
        if len(units) > 1:
            raise InputError(f"{option} {_short(text)}: some numbers have the unit nm and some have none; {_FORMS}.")
        in_nm = once or True in units
        for axis, pair in zip(AXES, ends, strict=True):
            _check(pair, text, axis, option, in_nm=in_nm)
        return cls(text.strip(), tuple(ends), in_nm)

    def box(self, shape: Sequence[int], voxel_size: Sequence[float], where: str, option: str = "--roi") -> Box:
        """The box of voxels that the region means in a volume.

        Parameters
        ----------
        shape, voxel_size
            Of the volume, z, y, x; voxels and angstrom.
        where, option
            How messages name the volume and the region.

        Raises
        ------
        InputError
            The region leaves the volume, or holds no voxel of it.
        """
        starts, stops = [], []
        for axis, n, size, (low, high) in zip(AXES, shape, voxel_size, self.ends, strict=True):
            start = 0 if low is None else self._voxel(low, size)
            stop = n if high is None else self._voxel(high, size)
            if start >= n or stop > n:
                raise InputError(f"{self._said(option, axis, start, stop)}, but {where} has {_length(n, size)} there.")
            if start >= stop:
                raise InputError(
                    f"{self._said(option, axis, start, stop)}: there is no voxel in it, because those of {where} "
                    f"are {size / NM_TO_ANGSTROM:g} nm apart."
                )
            starts.append(start)
            stops.append(stop)
        return Box(index3(starts), index3(stops))

    def _voxel(self, end: Fraction, size: float) -> int:
        """The first voxel whose place is not below a number of nm; a number of voxels is returned as it is."""
        if not self.in_nm:
            return int(end)
        return ceil(end * int(NM_TO_ANGSTROM) / Fraction(size) - _NEAR)

    def _said(self, option: str, axis: str, start: int, stop: int) -> str:
        low, high = self.ends[AXES.index(axis)]
        if not self.in_nm:
            return f"{option} {_short(self.text)} is {start} to {stop} along {axis}"
        given = f"{'' if low is None else f'{float(low):g}'}:{'' if high is None else f'{float(high):g}'} nm"
        return f"{option} {_short(self.text)} is {given} along {axis}, voxels {start} to {stop}"


def roi_box(text: str, shape: Sequence[int], voxel_size: Sequence[float], where: str, option: str = "--roi") -> Box:
    """The box of voxels that a region of interest means in a volume; see :meth:`Roi.parse` and :meth:`Roi.box`."""
    return Roi.parse(text, option).box(shape, voxel_size, where, option)


def roi_text(box: Box) -> str:
    """The notation of a box, in voxels.

    >>> roi_text(Box((10, 0, 5), (20, 64, 32)))
    '10:20,0:64,5:32'
    """
    return ",".join(f"{a}:{b}" for a, b in zip(box.start, box.stop, strict=True))


def check_roi(text: str, option: str = "--roi") -> None:
    """Refuse a text that is no region of interest; an empty one is none, and is accepted."""
    if text:
        Roi.parse(text, option)


def moved(origin: Sequence[float], voxel_size: Sequence[float], start: Index3) -> tuple[float, float, float]:
    """The origin of the part of a volume that begins at a voxel: origin + start × voxel size, angstrom z, y, x."""
    z, y, x = (o + a * v for o, a, v in zip(origin, start, voxel_size, strict=True))
    return z, y, x


def _once_for_all(parts: list[str]) -> bool:
    """Whether the unit stands once, at the end, for more than the last number."""
    last = parts[-1].rstrip()
    return last.endswith("nm") and "nm" not in ",".join([*parts[:-1], last.removesuffix("nm")])


def _end(side: str, text: str, axis: str, option: str, units: set[bool]) -> End:
    side = side.strip()
    if not side:
        return None
    match = _NUMBER.fullmatch(side)
    if match is None:
        what = (
            "is negative: ends count from the first voxel" if side.startswith("-") else "is no number of voxels or nm"
        )
        raise InputError(f"{option} {_short(text)}: {_short(side)} along {axis} {what}; {_FORMS}.")
    units.add(match[2] is not None)
    return Fraction(match[1])


def _check(pair: tuple[End, End], text: str, axis: str, option: str, *, in_nm: bool) -> None:
    if not in_nm:
        for end in pair:
            if end is not None and end.denominator != 1:
                raise InputError(
                    f"{option} {_short(text)}: {float(end):g} along {axis} is no whole number of voxels; is it nm? "
                    f"Then {_FORMS}."
                )
    low, high = pair
    if high is not None and high <= (low or 0):
        raise InputError(
            f"{option} {_short(text)}: along {axis} it ends at {float(high):g} and starts at {float(low or 0):g}, so "
            "there is nothing in it; the stop is larger than the start."
        )


def _length(n: int, size: float) -> str:
    return f"{n} voxels ({n * size / NM_TO_ANGSTROM:g} nm)"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
