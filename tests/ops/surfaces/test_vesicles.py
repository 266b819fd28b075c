"""Vesicles that touch: each gets its own inside and its own part of the outside."""

from __future__ import annotations

import numpy as np
from marched_shapes import OFF, area, grid, raw

from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.topology import parts_of, shape_of, volume_of
from volengine.ops.surfaces.vesicles import divided


def test_two_vesicles_whose_membranes_have_merged() -> None:
    z, y, x = grid(60)
    away = [np.sqrt(z**2 + y**2 + (x - c) ** 2) for c in (-13, 12)]
    bodies = [np.abs(a - r) < 2 for a, r in zip(away, (11, 12), strict=True)]
    places, faces = raw(bodies[0] | bodies[1])
    assert parts_of(faces, len(places)).max() == 2  # one outside, two insides
    at = smoothed(places, faces, 8.0) - (60 / 2 - OFF)
    found = divided(at, faces, 8.0)
    assert len(found) == 2
    for (vertices, corners), centre, radius in zip(found, (12, -13), (12, 11), strict=True):
        shape = shape_of(vertices, corners)
        assert (shape["islands"], shape["border_loops"]) == (2, 1)
        part = parts_of(corners, len(vertices))[corners[:, 0]]
        inside = min((corners[part == n] for n in (0, 1)), key=lambda f: area(vertices, f))
        assert np.isclose(-volume_of(vertices, inside), 4 / 3 * np.pi * (radius - 2) ** 3, rtol=0.02)
        assert (np.linalg.norm(vertices - [0, 0, centre], axis=1) < radius + 3.5).all()
    assert np.isclose(sum(area(*one) for one in found), area(at, faces))


def test_one_vesicle_a_sheet_and_a_small_hole_are_not_divided() -> None:
    z, y, x = grid(40)
    shell = np.abs(np.sqrt(z**2 + y**2 + x**2) - 13) < 2.5
    hole = np.sqrt((z - 13) ** 2 + y**2 + x**2) < 1.2
    for mask in (shell, shell & ~hole, np.abs(z) < 3):
        places, faces = raw(mask)
        found = divided(places, faces, 10.0)
        assert len(found) == 1
        assert np.array_equal(found[0][1], faces)
