"""What a score of vertices is, and the patches of the tomogram that scores look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.ops.surfaces.patches import Cylinder, places_around
from volengine.tasks.surfaces.sampler import Sampler

Floats = NDArray[np.float64]
VALUES = 2_000_000
"""Values of the tomogram that are held at a time."""


@dataclass(frozen=True)
class Scored:
    """Scores of vertices.

    Parameters
    ----------
    score
        (n,), the higher the better; NaN where the tomogram does not reach.
    """

    score: Floats


Score = Callable[[Surface], Scored]


def patches(surface: Surface, grid: Cylinder, sample: Sampler) -> Iterator[tuple[slice, Floats]]:
    """The tomogram around the vertices of a surface with normals, some thousand vertices at a time."""
    assert surface.normals is not None
    rows = max(1, VALUES // int(np.prod(grid.shape)))
    for first in range(0, len(surface.vertices), rows):
        part = slice(first, first + rows)
        yield part, sample(places_around(surface.vertices[part], surface.normals[part], grid))
