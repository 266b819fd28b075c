"""Patches about the normal: places by hand, and the angle about the normal against turned densities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from volengine.core.errors import InputError
from volengine.core.orientation import euler_to_matrix, normal_to_euler
from volengine.ops.surfaces.patches import Cylinder, correlations, places_around

GRID = Cylinder(tuple(np.arange(-6.0, 7)), tuple(np.arange(0.0, 7)), 24)


def density(xyz: np.ndarray) -> np.ndarray:
    """A particle without symmetry, in its own frame."""
    blobs = [((0, 0, 0), 2.0, 1.0), ((4, 0, 2), 1.5, 1.5), ((0, 3, -3), 1.2, -1.0)]
    return sum(w * np.exp(-((xyz - np.array(c)) ** 2).sum(-1) / (2 * s * s)) for c, s, w in blobs)


def test_places_of_a_particle_that_stands_upright() -> None:
    """By hand: normal +z, rot = tilt = psi = 0: the particle's x axis is x, its angles turn from x to y."""
    grid = Cylinder((0.0, 5.0), (0.0, 2.0), 4)
    at = places_around(np.array([[10.0, 20, 30]]), np.array([[1.0, 0, 0]]), grid)[0]
    assert at[0, 1].tolist() == [pytest.approx(p) for p in ([10, 20, 32], [10, 22, 30], [10, 20, 28], [10, 18, 30])]
    assert at[1, 0, 0].tolist() == pytest.approx([15, 20, 30])


def test_places_of_a_particle_that_lies_along_x() -> None:
    """By hand: normal +x is tilt 90, psi 180; A takes the reference's x axis to -z ... and its y axis to -y."""
    at = places_around(np.zeros((1, 3)), np.array([[0.0, 0, 1]]), Cylinder((0.0,), (0.0, 1.0), 4))[0, 0, 1]
    assert normal_to_euler([[0, 0, 1]]).tolist() == [pytest.approx([0, 90, 180])]
    matrix = euler_to_matrix([[0, 90, 180]])[0]
    assert (matrix @ [0, 0, 1])[::-1].tolist() == pytest.approx([0, 0, 1])
    assert at[0] == pytest.approx((matrix @ [1, 0, 0])[::-1], abs=1e-12)
    assert at[1] == pytest.approx([0, -1, 0], abs=1e-12)
    assert at[0] == pytest.approx([1, 0, 0], abs=1e-12)  # psi 180 turns the tilted x axis (-z) over


@pytest.mark.parametrize("rot_step", [0, 1, 7, 23])
@pytest.mark.parametrize("axis", [(1, 0, 0), (-1, 0, 0), (0, 0, 1), (0.3, -0.8, 0.5)])
def test_the_angle_about_the_normal_is_found(rot_step: int, axis: tuple[float, float, float]) -> None:
    """A copy of the particle is turned by Euler angles as RELION means them: value at p is that at A^T (p - c)."""
    normal = np.array([axis]) / np.linalg.norm(axis)
    euler = normal_to_euler(normal)
    euler[:, 0] = rot_step * 15
    centre = np.array([20.3, 21.1, 19.6])
    grid = np.moveaxis(np.indices((41, 41, 41)), 0, -1) - centre
    volume = density(grid[..., ::-1] @ euler_to_matrix(euler)[0])  # rows times A is A^T times columns
    at = places_around(centre[None], normal, GRID)
    patch = map_coordinates(volume, np.moveaxis(at, -1, 0).reshape(3, -1), order=3).reshape(1, *GRID.shape)
    found = correlations(patch, density(GRID.offsets()), GRID.volumes())[0]
    assert int(np.argmax(found)) == rot_step
    assert found.max() > 0.98
    assert np.sort(found)[-3] < 0.97


def test_correlations_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    patch, template = rng.normal(size=(3, *GRID.shape)) * 5 + 2, rng.normal(size=GRID.shape)
    weights = GRID.volumes()
    found = correlations(patch, template, weights)
    for n in range(3):
        for k in (0, 5, 23):
            turned = np.roll(template, -k, axis=2)  # T at the angle + k steps
            p, t = (v - (weights * v).sum() for v in (patch[n], turned))
            truth = (weights * p * t).sum() / np.sqrt((weights * p**2).sum() * (weights * t**2).sum())
            assert found[n, k] == pytest.approx(truth)


def test_patches_without_contrast_or_known_values_have_none() -> None:
    template, weights = density(GRID.offsets()), GRID.volumes()
    flat, gone = np.full((1, *GRID.shape), 3.0), np.full((1, *GRID.shape), np.nan)
    assert np.abs(correlations(flat, template, weights)).max() < 1e-6
    assert np.isnan(correlations(gone, template, weights)).all()
    with pytest.raises(InputError, match="leaves nothing"):
        correlations(flat, template, 0 * weights)


def test_the_shares_of_space_are_those_of_rings() -> None:
    """By hand: radii 0 and 1 are a disc of radius 1/2 and a ring to 3/2: areas 1/4 and 2 of pi."""
    found = Cylinder((0.0,), (0.0, 1.0), 2).volumes()
    assert found[0, :, 0].tolist() == pytest.approx([1 / 9 / 2, 8 / 9 / 2])
    with pytest.raises(InputError):
        Cylinder((), (0.0,), 4)
