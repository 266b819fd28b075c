"""Test-time augmentation: predict several views of a patch, undo each view, and average the predictions.

=========  =====================================================================================================
``1``      the patch itself
``2..8``   Ais's order: quarter turns 0, 1, 2, 3 in the plane (``rot90``, y to x), then the same after a flip along x
``9..16``  these eight, then the same after a flip along z (3D networks; 2.5D networks: slices in reverse order)
``flips``  all combinations of flips along the axes: 4 in the plane, 8 for 3D and (odd) 2.5D networks
``flips4`` the combinations that flip an even number of axes: 4 for 3D and 2.5D networks, 2 in the plane; each axis is
           flipped in half of them
=========  =====================================================================================================

Flips and quarter turns only move voxels, so each view is undone exactly, without interpolation. A 2.5D network that
sees an even number of slices answers for one that is not in their middle: mirrored along z it would answer for another
slice. Its views are those of a network that sees one slice (:func:`mirrored_depth`).
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


def mirrored_depth(volumetric: bool, slices: int) -> int:
    """The number of slices that views may mirror along z; 1: none of them does.

    Parameters
    ----------
    volumetric
        Whether the network is 3D, and answers for all slices that it sees.
    slices
        Number of slices that a 2D or 2.5D network sees; it answers for slice ``slices // 2`` of them.
    """
    if volumetric:
        return FULL
    return slices if slices % 2 else 1


def views(tta: Tta, depth: int) -> tuple[View, ...]:
    """The views of an augmentation.

    Parameters
    ----------
    tta
        1 to 16, ``"flips"`` or ``"flips4"`` (see the module).
    depth
        Number of slices that views may mirror, see :func:`mirrored_depth`.

    Raises
    ------
    InputError
        The augmentation does not exist, or it flips z and ``depth`` is 1.
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
        flat = " for a network that sees one slice, or an even number of them, which have no middle" * (depth == 1)
        raise InputError(f"tta is {tta}; it must be from 1 to {most}{flat}, or flips.")
    every = [View(k, x, z) for z in (False, True) for x in (False, True) for k in range(4)]
    return tuple(every[:tta])
