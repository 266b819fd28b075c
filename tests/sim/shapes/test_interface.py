"""Protein at the surfaces of the ice: as much as asked for, where the rays meet the surfaces, whatever the box."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.recipe.film import IceRecipe
from volengine.sim.seeds import stream
from volengine.sim.shapes.film import ice_surfaces
from volengine.sim.shapes.interface import CHAIN_V_A3, Interface, chains, draw_interface

SIZE = (600.0, 1500.0, 1500.0)
EVEN = IceRecipe(thickness_nm=90, roughness_nm=0, interface_per_nm2=0.03)


@settings(max_examples=6)
@given(tilt=st.floats(-60, 60), pixel=st.sampled_from([7.5, 10.0, 15.0]), seed=st.integers(0, 99))
def test_images_hold_as_much_protein_as_the_surfaces_that_they_see(tilt: float, pixel: float, seed: int) -> None:
    """Two surfaces of density d add 2 d / cos(tilt) chains per area of image, up to the number's fluctuation."""
    side = round(1500 / pixel)
    image = draw_interface(stream(seed), SIZE, EVEN, 60).projected(tilt, (side, side), pixel)
    per_a2 = 2 * 0.03 / 100 / math.cos(math.radians(tilt))
    chance = 5 / math.sqrt(per_a2 * 1500**2)
    assert image.mean() == pytest.approx(CHAIN_V_A3 * per_a2, rel=chance)
    assert image.dtype == np.float32


@pytest.mark.parametrize(("height", "inward"), [(450.0, -1.0), (-450.0, 1.0)])
def test_a_chain_is_where_the_ray_meets_its_surface(height: float, inward: float) -> None:
    """A chain at x = 200, y = 600: x cos + z sin on the detector; its core is a little nearer to the middle."""
    one = Interface(np.array([[height, 600, 200]], np.float32), np.array([inward], np.float32), seed=3)
    for tilt in (-50.0, 0.0, 30.0):
        image = one.projected(tilt, (120, 140), 10.0, shift_x_a=25.0).astype(float)
        assert image.sum() * 100 == pytest.approx(CHAIN_V_A3, rel=1e-5)
        y, x = (float((axis * image).sum() / image.sum()) * 10 for axis in np.indices(image.shape))
        turn = math.radians(tilt)
        wanted = 200 * math.cos(turn) + (height + 10 * inward) * math.sin(turn) + 25 + 695
        assert (y, x) == (pytest.approx(600, abs=20), pytest.approx(wanted, abs=20))


def test_chains_lie_on_the_drawn_surfaces_and_within_the_ice() -> None:
    rough = IceRecipe(thickness_nm=120, roughness_nm=3, interface_per_nm2=0.01)
    surfaces = ice_surfaces(stream(2, "ice"), SIZE, rough)
    found = draw_interface(stream(2), SIZE, rough, 60, surfaces)
    assert len(found.place) == chains(SIZE, rough, 60)
    z, y, x = found.place.astype(float).T
    low, high = surfaces.heights(y, x + 750)
    assert np.where(found.inward > 0, low, high) == pytest.approx(z, abs=1e-3)
    assert abs((found.inward > 0).mean() - 0.5) < 0.1
    assert z.std() > 590


def test_the_same_seed_gives_the_same_image_and_a_wider_one_the_same_part() -> None:
    one, two = (draw_interface(stream(5), SIZE, EVEN, 45) for _ in range(2))
    image = one.projected(20, (60, 60), 10.0)
    assert np.array_equal(image, two.projected(20, (60, 60), 10.0))
    wide = one.projected(20, (60, 100), 10.0)
    assert wide[:, 20:80] == pytest.approx(image, rel=1e-4, abs=1e-3)


def test_more_chains_than_fit_in_memory_are_refused_with_their_number() -> None:
    with pytest.raises(InputError, match=r"interface_per_nm2 0\.2 on two surfaces .* chains; at most 200000"):
        chains((2000.0, 20000.0, 20000.0), IceRecipe(interface_per_nm2=0.2), 60)
