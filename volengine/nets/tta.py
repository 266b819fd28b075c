"""Test-time augmentation: look at a patch from several sides, turn the answers back, take the mean.

=========  =====================================================================================================
``1``      as it is
``2..8``   Ais's order: quarter turns 0, 1, 2, 3 in the plane (``rot90``, y to x), then the same after a flip along x
``9..16``  these eight, then the same after a flip along z (3D networks, and 2.5D ones: their slices in reverse)
``flips``  all combinations of flips along the axes: 4 in the plane, 8 for 3D and 2.5D networks
``flips4`` those of them that flip an even number of axes: 4 for 3D and 2.5D networks, 2 in the plane; each axis is
           flipped in half of them
=========  =====================================================================================================

Each view is undone exactly: flips and quarter turns move voxels, they do not interpolate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from volengine.core.errors import InputError

if TYPE_CHECKING:
    import torch

Tta = int | str
FULL = 16


@dataclass(frozen=True)
class View:
    """A flip along z, a flip along x, then quarter turns from y to x."""

    quarter_turns: int = 0
    flip_x: bool = False
    flip_z: bool = False

    @property
    def mirrors(self) -> tuple[bool, bool, bool] | None:
        """The axes z, y, x that it flips; ``None`` where it turns by a quarter and so is no flip."""
        if self.quarter_turns % 2:
            return None
        half = self.quarter_turns == 2
        return self.flip_z, half, self.flip_x != half

    def apply(self, batch: torch.Tensor) -> torch.Tensor:
        """The batch as seen from here; axes ..., z (or slices as channels), y, x."""
        flipped = [axis for axis, flip in ((-3, self.flip_z), (-1, self.flip_x)) if flip]
        if flipped:
            batch = batch.flip(flipped)
        return batch.rot90(self.quarter_turns, (-2, -1)) if self.quarter_turns else batch

    def undo(self, result: torch.Tensor, has_z: bool) -> torch.Tensor:
        """The network's answer turned back; ``has_z``: whether axis -3 of the answer is z (3D networks)."""
        if self.quarter_turns:
            result = result.rot90(-self.quarter_turns, (-2, -1))
        flipped = [axis for axis, flip in ((-3, self.flip_z and has_z), (-1, self.flip_x)) if flip]
        return result.flip(flipped) if flipped else result


def views(tta: Tta, depth: int) -> tuple[View, ...]:
    """The views of an augmentation.

    Parameters
    ----------
    tta
        1..16 or ``"flips"`` (see the module).
    depth
        Slices the network sees at once: patch depth (3D) or number of slices as channels (2.5D); 1 for 2D.

    Raises
    ------
    InputError
        No such augmentation, or one with z flips for a network that sees one slice.
    """
    if tta in ("flips", "flips4"):
        plane = [View(), View(flip_x=True), View(2, True), View(2)]
        flips = plane + [View(v.quarter_turns, v.flip_x, True) for v in plane] if depth > 1 else plane
        return tuple(v for v in flips if tta == "flips" or sum(v.mirrors or ()) % 2 == 0)
    if isinstance(tta, str):
        if not tta.isdecimal():
            raise InputError(f"tta is {tta!r}; it must be a number from 1 to {FULL}, flips or flips4.")
        tta = int(tta)
    most = FULL if depth > 1 else FULL // 2
    if not 1 <= tta <= most:
        seen = "one slice" if depth == 1 else f"{depth} slices"
        raise InputError(f"tta is {tta}; it must be from 1 to {most} for a network that sees {seen}, or flips.")
    every = [View(k, x, z) for z in (False, True) for x in (False, True) for k in range(4)]
    return tuple(every[:tta])
