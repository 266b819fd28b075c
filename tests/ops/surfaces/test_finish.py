"""What is made of a mesh: sizes by formula, and the same topology, after every option."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from marched_shapes import grid, raw

from volengine.ops.surfaces.finish import Wanted, finished
from volengine.ops.surfaces.topology import shape_of

VOXEL = np.array([1.5, 1.0, 1.0])


def _torus(at: Any, x: float = 0.0) -> Any:
    return np.hypot(np.hypot(at[1], at[2] - x) - 14, at[0]) < 6


SHAPES: dict[str, tuple[Any, int, float, float]] = {
    # mask, genus, area and volume by formula
    "ball": (lambda at: (at**2).sum(0) < 16**2, 0, 4 * np.pi * 16**2, 4 / 3 * np.pi * 16**3),
    "torus": (_torus, 1, 4 * np.pi**2 * 14 * 6, 2 * np.pi**2 * 14 * 36),
}


@pytest.mark.parametrize("smooth", [8.0, 5.0])
@pytest.mark.parametrize("vertex_area", [None, 1.0, 5.0])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_area_and_volume_of_voxels_that_are_no_cubes(
    name: str, smooth: float, vertex_area: float | None, split: bool
) -> None:
    mask, genus, area, volume = SHAPES[name]
    places, faces = raw(mask(grid(52, tuple(VOXEL))))
    wanted = Wanted(smooth=smooth, vertex_area=vertex_area, split=split, max_thickness=10.0)
    (one,) = finished(places * VOXEL, faces, wanted)
    found = shape_of(*one)
    assert found["manifold"]
    assert (found["closed"], found["islands"], found["genus"]) == (True, 1, genus)
    assert np.isclose(found["area"], area, rtol=0.02)
    # triangles are chords: around a tube of radius 6 edges of 2.4 make a polygon of 16 sides, whose area is 2.6 % less
    assert np.isclose(found["volume"], volume, rtol=0.03 if vertex_area == 5 else 0.02)


@pytest.mark.parametrize("vertex_area", [None, 4.0])
def test_two_handles_and_bodies_that_touch_keep_their_topology(vertex_area: float | None) -> None:
    at = grid(70)
    eight = _torus(at, -13.0) | _torus(at, 13.0)
    balls = [((at - np.array([0, 0, x])[:, None, None, None]) ** 2).sum(0) < 12**2 for x in (-11.8, 11.8)]
    for mask, genus in ((eight, 2), (balls[0] | balls[1], 0)):
        places, faces = raw(mask)
        before = shape_of(places, faces)
        (one,) = finished(places, faces, Wanted(smooth=8.0, vertex_area=vertex_area))
        after = shape_of(*one)
        assert after["manifold"]
        assert all(after[name] == before[name] for name in ("closed", "islands", "border_loops", "genus"))
        assert after["genus"] >= genus  # where bodies touch in a voxel's corner there may be one more
        assert np.isclose(after["volume"], before["volume"], rtol=0.02)
