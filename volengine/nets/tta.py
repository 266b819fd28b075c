"""Test-time augmentation: predict several views of a patch, undo each view, and average the predictions.

=========  =====================================================================================================
``1``      the patch itself
``2..8``   Ais's order: quarter turns 0, 1, 2, 3 in the plane (``rot90``, y to x), then the same after a flip along x
``9..16``  these eight, then the same after a flip along z (3D networks; 2.5D networks: slices in reverse order)
``flips``  all combinations of flips along the axes: 4 in the plane, 8 for 3D and 2.5D networks
``flips4`` the combinations that flip an even number of axes: 4 for 3D and 2.5D networks, 2 in the plane; each axis is
           flipped in half of them
=========  =====================================================================================================

Flips and quarter turns only move voxels, so each view is undone exactly, without interpolation.
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
        """Which of the axes z, y, x the view flips; ``None`` if it is not a pure flip but an odd quarter turn."""
        if self.quarter_turns % 2:
            return None
        half = self.quarter_turns == 2
        return self.flip_z, half, self.flip_x != half

    def apply(self, batch: torch.Tensor) -> torch.Tensor:
        """Apply the view to a batch with axes ..., z (or slices as channels), y, x."""
        flipped = [axis for axis, flip in ((-3, self.flip_z), (-1, self.flip_x)) if flip]
        if flipped:
            batch = batch.flip(flipped)
        return batch.rot90(self.quarter_turns, (-2, -1)) if self.quarter_turns else batch

    def undo(self, result: torch.Tensor, has_z: bool) -> torch.Tensor:
        """Undo the view on the network's output; ``has_z``: whether axis -3 of the output is z (3D networks)."""
        if self.quarter_turns:
            result = result.rot90(-self.quarter_turns, (-2, -1))
        flipped = [axis for axis, flip in ((-3, self.flip_z and has_z), (-1, self.flip_x)) if flip]
        return result.flip(flipped) if flipped else result


def views(tta: Tta, depth: int) -> tuple[View, ...]:
    """The views of an augmentation.

    Parameters
    ----------
    tta
        1 to 16, ``"flips"`` or ``"flips4"`` (see the module).
    depth
        Number of slices that the network sees: the depth of the patch (3D), or the number of input slices (2D: 1).

    Raises
    ------
    InputError
        The augmentation does not exist, or it flips z and the network sees one slice.
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
