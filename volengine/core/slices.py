"""Slices: the notation ``z=40`` of verbs that draw, and the voxel that it means.

A slice is perpendicular to an axis. Its place is the number of a voxel, from 0, a distance in nm (index × voxel size,
from the centre of the volume's first voxel), a share of the axis in per cent, or ``middle``.

>>> Slice.parse("z=40").index((100, 64, 64), (10.0, 10.0, 10.0), "TS_01.mrc")
40
>>> Slice.parse("y=12.4nm").index((100, 64, 64), (10.0, 10.0, 10.0), "TS_01.mrc")
12
>>> Slice.parse("x=middle").index((100, 64, 64), (10.0, 10.0, 10.0), "TS_01.mrc")
32
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.tiling import AXES
from volengine.core.units import NM_TO_ANGSTROM

Unit = Literal["", "nm", "%", "middle"]

_FORM = re.compile(r"([zyx])\s*=\s*(?:(middle)|([0-9]{1,12}(?:\.[0-9]{0,9})?)\s*(nm|%)?)")
_FORMS = "write z=40 (a voxel), z=120nm, z=25% or z=middle; y and x likewise"


@dataclass(frozen=True)
class Slice:
    """A slice as it is written, before its volume is known.

    Parameters
    ----------
    axis
        The axis to which it is perpendicular: 0, 1, 2 for z, y, x.
    at
        The number that was written.
    unit
        What the number counts.
    """

    axis: int
    at: float
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> Slice:
        """Read the notation.

        Raises
        ------
        InputError
            It is not of this notation, or a voxel's number is not whole.
        """
        match = _FORM.fullmatch(text.strip().lower())
        if match is None:
            raise InputError(f"The slice {text!r} is not understood; {_FORMS}.")
        axis, middle, number, unit = match.groups()
        if middle:
            return cls(AXES.index(axis), 0.0, "middle")
        if unit is None and "." in number:
            raise InputError(f"The slice {text!r} is no whole voxel; {_FORMS}.")
        if unit == "%" and float(number) > 100:
            raise InputError(f"The slice {text!r} lies beyond the axis; {_FORMS}.")
        kinds: dict[str | None, Unit] = {None: "", "nm": "nm", "%": "%"}
        return cls(AXES.index(axis), float(number), kinds[unit])

    def index(self, shape: Sequence[int], voxel_size: Sequence[float], where: str) -> int:
        """Return the voxel at which the slice lies: of the given one, or the nearest to the given place.

        Parameters
        ----------
        shape, voxel_size
            Of the volume, z, y, x; angstrom.
        where
            The volume's name, for messages.

        Raises
        ------
        InputError
            The slice lies outside of the volume.
        """
        size, step = shape[self.axis], voxel_size[self.axis]
        if self.unit == "middle":
            return size // 2
        at = {
            "": self.at,
            "nm": self.at * NM_TO_ANGSTROM / step,
            "%": self.at / 100 * (size - 1),
        }[self.unit]
        index = int(at + 0.5)
        if index >= size:
            end = (size - 1) * step / NM_TO_ANGSTROM
            raise InputError(
                f"{where}: has no slice {AXES[self.axis]}={self.at:g}{self.unit}; "
                f"{AXES[self.axis]} ends at {size - 1} ({end:.4g} nm)."
            )
        return index
