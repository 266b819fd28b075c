"""A small network for patches on a cylinder about the normal of a surface: is there a particle in the middle?

Filters go around the ring of angles as on a circle, and the answer is taken over all angles at the end. So a patch that
is turned by whole steps of the angle gets the same answer; no rotation has to be learnt.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class SurfaceRings(nn.Module):
    """Logit of a particle in the middle of a patch.

    Parameters
    ----------
    heights, radii
        Number of values along the normal, and from the axis outwards.
    width
        Number of channels.
    depth
        Number of convolutions over radius and angle.
    """

    def __init__(self, heights: int, radii: int, width: int = 24, depth: int = 3):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(heights if k == 0 else width, width, 3) for k in range(depth))
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(depth))
        self.middle = nn.Linear(2 * width * radii, 2 * width)
        self.last = nn.Linear(2 * width, 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """(n, heights, radii, angles) normalised patches to (n,) logits."""
        x = patches
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.pad(x, (1, 1, 0, 0), mode="circular")
            x = functional.pad(x, (0, 0, 1, 1))
            x = functional.relu(norm(layer(x)))
        around = torch.cat([x.mean(dim=3), x.amax(dim=3)], dim=1).flatten(1)
        logits: torch.Tensor = self.last(functional.relu(self.middle(around)))
        return logits[:, 0]
