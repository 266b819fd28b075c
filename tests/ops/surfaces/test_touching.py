"""Membranes that touch fall apart into as many as there are, each of its own area; what is one membrane stays one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from marched_shapes import area, grid, raw
from numpy.typing import NDArray

from volengine.ops.surfaces.finish import Wanted, finished
from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.topology import shape_of
from volengine.ops.surfaces.touching import parts_that_touch

Mask = NDArray[np.bool_]
SIDE = 70
THICK = 4.0
TURN, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))


def _vesicle(at: Any, x: float, radius: float, y: float = 0.0) -> Mask:
    return np.asarray(np.abs(np.sqrt(at[0] ** 2 + (at[1] - y) ** 2 + (at[2] - x) ** 2) - radius) < THICK / 2)


def _disc(at: Any, x: float, radius: float, bend: float = 0.0) -> Mask:
    """A sheet across x, of which the middle lies at ``x``; with ``bend`` a cap that opens to larger x."""
    away = at[0] ** 2 + at[1] ** 2
    return np.asarray((np.abs(at[2] - x - bend * away) < THICK / 2) & (away < radius**2))


def several(at: Any) -> dict[str, list[Mask]]:
    """Bodies that touch."""
    inside = [np.sqrt(at[0] ** 2 + at[1] ** 2 + (at[2] - x) ** 2) < 12 for x in (-11.5, 11.5)]
    return {
        "two vesicles at a spot": [_vesicle(at, -13, 11), _vesicle(at, 13.5, 12)],
        "two vesicles, walls merged": [_vesicle(at, -13, 11), _vesicle(at, 12, 12)],
        "three vesicles": [_vesicle(at, -13, 11), _vesicle(at, 13.5, 12), _vesicle(at, 0.0, 9, 20.0)],
        "a vesicle on a sheet": [_vesicle(at, 15, 11), _disc(at, 0, 28)],
        "a sheet and a cap": [_disc(at, 0, 26), _disc(at, 4.4, 26, 0.02)],
        "two balls": inside,
    }


def single(at: Any) -> dict[str, Mask]:
    """One membrane each."""
    z, y, x = at
    ring = np.hypot(np.hypot(y, x) - 18, z)
    holes = np.min([np.hypot(a - 6, b + 5) for a, b in ((z, y), (y, x))], axis=0) < 3
    return {
        "vesicle": _vesicle(at, 0, 20),
        "small vesicle": _vesicle(at, 0, 8),
        "vesicle with holes": _vesicle(at, 0, 18) & ~holes,
        "hollow torus": np.abs(ring - 8) < THICK / 2,
        "torus": ring < 7,
        "tube": (np.abs(np.hypot(y, z) - 8) < THICK / 2) & (np.abs(x) < 32),
        "rod": (np.hypot(y, z) < 4) & (np.abs(x) < 32),
        "strip": (np.abs(z) < THICK / 2) & (np.abs(y) < 9) & (np.abs(x) < 33),
        "wave": (np.abs(z - 5 * np.sin(x / 5)) < 2.5) & (np.abs(y) < 12) & (np.abs(x) < 32),
        "sheet of one voxel": (np.abs(z) < 0.6) & (np.abs(y) < 20) & (np.abs(x) < 32),
        "ball with a bump": (z**2 + y**2 + x**2 < 14**2) | (z**2 + y**2 + (x - 15) ** 2 < 4**2),
    }


def at_of(turned: bool) -> Any:
    at = grid(SIDE)
    return np.tensordot(TURN, at, 1) if turned else at


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", sorted(several(np.zeros((3, 1, 1, 1)))))
def test_membranes_that_touch_come_apart_with_their_areas(name: str, turned: bool) -> None:
    bodies = several(at_of(turned))[name]
    places, faces = raw(np.any(bodies, axis=0))
    found = finished(places, faces, Wanted(smooth=8.0, max_thickness=8.0, split=True, touch=30.0))
    assert len(found) == len(bodies)
    alone = []
    for body in bodies:
        vertices, corners = raw(body)
        alone.append(area(smoothed(vertices, corners, 8.0), corners))
    # each has lost the spot where it touches, 6 % of these small vesicles at most
    assert np.allclose([area(*one) for one in found], sorted(alone, reverse=True), rtol=0.075)
    assert all(shape_of(*one)["manifold"] for one in found)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", sorted(single(np.zeros((3, 1, 1, 1)))))
def test_one_membrane_stays_one(name: str, turned: bool) -> None:
    places, faces = raw(single(at_of(turned))[name])
    assert not parts_that_touch(places, faces, 8.0, 30.0).any()


def test_what_touches_over_a_wide_place_is_not_divided() -> None:
    places, faces = raw(np.any(several(grid(SIDE))["a vesicle on a sheet"], axis=0))
    assert len(np.unique(parts_that_touch(places, faces, 8.0, 30.0))) == 2
    assert len(np.unique(parts_that_touch(places, faces, 8.0, 5.0))) == 1


def test_rough_membranes_come_apart_and_are_not_cut_elsewhere() -> None:
    from scipy import ndimage

    at = grid(SIDE)
    rough = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(SIDE,) * 3), 2.0)
    rough *= 0.5 / rough.std()
    away = [np.abs(np.sqrt(at[0] ** 2 + at[1] ** 2 + (at[2] - x) ** 2) - 13) - 2.5 for x in (-14.5, 15)]
    for fields, count in ((away, 2), ([away[0]], 1)):
        places, faces = raw(np.min(fields, axis=0) + rough < 0)
        assert len(np.unique(parts_that_touch(places, faces, 12.0, 40.0))) == count
