"""Carbon weighs what carbon weighs, its noise knows no boxes; the ice's surfaces give the length of every ray."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.sim.atoms.scattering import ICE_POTENTIAL
from volengine.sim.recipe.film import FilmRecipe, IceRecipe
from volengine.sim.seeds import stream
from volengine.sim.shapes.film import (
    CARBON_DENSITY,
    CARBON_POTENTIAL,
    Film,
    carbon,
    draw_film,
    filled,
    ice_surfaces,
    noise,
)
from volengine.sim.shapes.surfaces import SmoothField

SIZE = (600.0, 2400.0, 2400.0)
SHAPE = (50, 200, 200)


@pytest.fixture(scope="module")
def film() -> Film:
    return draw_film(stream(1, "film"), SIZE, FilmRecipe(hole_radius_nm=300, cover=0.3))


def even(film: Film, **change: float) -> Film:
    """The film with even faces."""
    flat = SmoothField.random(stream(1, "flat"), (SIZE[1], SIZE[2]), 300.0, 0.0)
    return replace(film, lower=flat, upper=flat, **change)


# -- carbon ------------------------------------------------------------------------------------------------------


def test_carbon_has_the_potential_of_its_density() -> None:
    """12 V for isolated atoms at 2.0 g/cm^3, 7.5 V above ice."""
    assert pytest.approx(12.04, abs=0.02) == CARBON_POTENTIAL
    flat = even(draw_film(stream(1, "f"), SIZE, FilmRecipe(cover=1.0)), middle=300.0)
    box = Box.of_shape(SHAPE)
    deviation = CARBON_POTENTIAL / math.sqrt(CARBON_DENSITY * 12**3)  # of so many atoms at random places
    volts = carbon(flat, box, 12.0) - deviation * np.sqrt(filled(flat, box, 12.0)) * noise(flat.key, box)
    assert volts.max() == pytest.approx(CARBON_POTENTIAL - ICE_POTENTIAL)
    assert volts[:, 100, 100].sum() * 12 == pytest.approx(150 * (CARBON_POTENTIAL - ICE_POTENTIAL))


@given(voxel=st.sampled_from([5.0, 8.0, 12.0, 17.0]), jitter=st.floats(0, 0.5), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_the_films_thickness_is_kept_for_all_voxels(voxel: float, jitter: float, seed: int) -> None:
    recipe = FilmRecipe(thickness_nm=12, hole_radius_nm=300, cover=1.0)
    found = even(draw_film(stream(seed, "f"), SIZE, recipe), middle=300 + 600 * (jitter - 0.25) / 3)
    n = round(600 / voxel) + 2
    middle = round(1200 / voxel)
    column = filled(found, Box((-1, middle, middle), (n, middle + 1, middle + 1)), voxel)[:, 0, 0]
    assert column.sum() * voxel == pytest.approx(120, rel=1e-9)


@given(start=st.tuples(*[st.integers(-5, 30)] * 3), size=st.tuples(*[st.integers(1, 20)] * 3))
@settings(max_examples=25)
def test_carbon_depends_on_no_box(film: Film, start: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    whole = Box((-5, -5, -5), (50, 50, 50))
    z, y, x = (a + n for a, n in zip(start, size, strict=True))
    box = Box(start, (z, y, x))
    assert np.array_equal(carbon(film, box, 12.0), carbon(film, whole, 12.0)[box.slices_in(whole)])


def test_noise_is_normal_and_unlike_its_neighbours() -> None:
    drawn = noise(123, Box((-20, -20, -20), (60, 60, 60)))
    assert abs(drawn.mean()) < 5 / math.sqrt(drawn.size)
    assert drawn.var() == pytest.approx(1, abs=0.01)
    assert (drawn**4).mean() == pytest.approx(2.85, abs=0.05)
    for axis in range(3):
        one, two = np.moveaxis(drawn, axis, 0)[1:], np.moveaxis(drawn, axis, 0)[:-1]
        assert abs((one * two).mean()) < 5 / math.sqrt(one.size)
    assert abs((drawn * noise(124, Box((-20, -20, -20), (60, 60, 60)))).mean()) < 5 / math.sqrt(drawn.size)
    assert abs((drawn * drawn.transpose(1, 0, 2)).mean() - (np.eye(80)[:, :, None] * drawn**2).mean()) < 0.01


def test_the_hole_is_round_and_empty(film: Film) -> None:
    box = Box.of_shape(SHAPE)
    share = filled(film, box, 12.0)
    volts = carbon(film, box, 12.0)
    assert (volts[share == 0] == 0).all()
    column = share.max(0)
    y, x = np.indices(column.shape) * 12.0
    radius = np.hypot(y - film.hole[0], x - film.hole[1])
    assert (column[radius < film.radius - 50] == 0).all()
    assert (column[radius > film.radius + 50] == 1).all()
    assert 0.05 < (column > 0.5).mean() < 0.6


@pytest.mark.parametrize("seed", range(8))
def test_the_film_covers_the_box_as_far_as_asked(seed: int) -> None:
    found = even(draw_film(stream(seed, "f"), SIZE, FilmRecipe(cover=0.25)), middle=300.0)
    share = filled(found, Box((25, 0, 0), (26, 200, 200)), 12.0)[0]
    centre = np.array([1200.0, 1200.0])
    away = (centre - found.hole) / np.linalg.norm(centre - found.hole)
    line = centre + np.linspace(-1200, 1200, 400)[:, None] * away
    inside = ((line >= 0) & (line < 2388)).all(1)
    cells = np.rint(line[inside] / 12).astype(int)
    depth = (share[cells[:, 0], cells[:, 1]] > 0.5).mean() * inside.mean()
    assert depth == pytest.approx(0.25 - (1 - inside.mean()) / 2, abs=0.03)


@pytest.mark.parametrize("change", [{"thickness_nm": 0}, {"thickness_nm": 2}, {"cover": 2}, {"hole_radius_nm": -5}])
def test_films_that_make_no_sense_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError):
        FilmRecipe(**change)


@pytest.mark.parametrize("seed", range(8))
def test_the_films_middle_is_near_the_boxs(seed: int) -> None:
    heights = [draw_film(stream(seed, n, "f"), SIZE, FilmRecipe()).middle for n in range(40)]
    assert 0.2 * 600 <= min(heights) < 250
    assert 350 < max(heights) <= 0.8 * 600


def test_the_films_faces_are_uneven_by_their_roughness(film: Film) -> None:
    line = np.arange(0.0, SIZE[1], 10)
    assert film.lower(line, line).std() == pytest.approx(6, rel=0.25)
    assert film.upper(line, line).std() == pytest.approx(6, rel=0.25)


# -- ice ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tilt", [0.0, 30.0, -60.0])
def test_flat_ice_is_crossed_on_the_slant(tilt: float) -> None:
    ice = ice_surfaces(stream(1, "ice"), SIZE, IceRecipe(thickness_nm=50, roughness_nm=0))
    path = ice.thickness_map(tilt, (200, 200), 12.0)
    assert np.allclose(path, 500 / math.cos(math.radians(tilt)))


@pytest.mark.parametrize("tilt", [0.0, 45.0, -60.0])
def test_the_path_is_where_the_ray_is_in_the_ice(tilt: float) -> None:
    """Against small steps along the ray."""
    ice = ice_surfaces(stream(2, "ice"), SIZE, IceRecipe(roughness_nm=3, curtain_nm=0.8, taper_deg=1.5))
    cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    s = np.arange(-4000, 4000, 0.5)
    for y, u in ((300.0, -500.0), (1200.0, 0.0), (2000.0, 700.0)):
        x, z = u * cosine - s * sine, u * sine + s * cosine
        assert np.allclose(x * cosine + z * sine, u)
        low, high = ice.heights(np.full_like(x, y), x + SIZE[2] / 2)
        true = ((z > low) & (z < high)).sum() * 0.5
        assert ice.path([y], [u], tilt)[0, 0] == pytest.approx(true, abs=1.5)


def test_surfaces_have_their_roughness_taper_and_ridges() -> None:
    wide = (600.0, 40000.0, 40000.0)
    y, x = np.meshgrid(np.arange(0, 40000.0, 150), np.arange(0, 40000.0, 150), indexing="ij")
    low, high = ice_surfaces(stream(3, "ice"), wide, IceRecipe(thickness_nm=60, roughness_nm=3)).heights(y, x)
    assert low.std() == pytest.approx(30, rel=0.15)
    assert high.mean() - low.mean() == pytest.approx(600, abs=10)
    assert abs(np.corrcoef(low.ravel(), high.ravel())[0, 1]) < 0.2
    tapered = IceRecipe(roughness_nm=0, taper_deg=0.5)
    low, high = ice_surfaces(stream(3, "ice"), wide, tapered).heights(y, x)
    assert np.allclose((high - low)[200, 5] - (high - low)[140, 5], 60 * 150 * math.tan(math.radians(0.5)))
    milled = IceRecipe(roughness_nm=0, curtain_nm=2)
    low, high = ice_surfaces(stream(4, "ice"), wide, milled).heights(y, x)
    assert (low == low[:1]).all()
    assert low.std() == pytest.approx(20, rel=0.25)


def test_the_coarse_map_is_the_fine_one() -> None:
    ice = ice_surfaces(stream(5, "ice"), SIZE, IceRecipe())
    fine, coarse = (ice.thickness_map(50, (120, 133), 12.0, every=n) for n in (1, 8))
    assert fine.shape == coarse.shape == (120, 133)
    assert np.abs(fine - coarse).max() < 2.0
    assert fine.std() > 5


def test_ice_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="too steep"):
        IceRecipe(roughness_nm=30)
    with pytest.raises(InputError, match="too steep"):
        IceRecipe(curtain_nm=9)
    with pytest.raises(InputError, match="taper_deg"):
        IceRecipe(taper_deg=40)
    with pytest.raises(InputError, match=r"89\.5"):
        ice_surfaces(stream(1, "i"), SIZE, IceRecipe()).path([0.0], [0.0], 90)
    with pytest.raises(InputError, match=r"thickness_nm is 10000 nm; at most 1000"):
        IceRecipe(thickness_nm=10_000)
    with pytest.raises(InputError, match=r"interface_per_nm2 is 3; it must be from 0 to 0\.2"):
        IceRecipe(interface_per_nm2=3)


def test_the_ice_is_the_specimens_not_the_boxs() -> None:
    """150 nm unless the recipe says it or the box is deeper; the way through it grows with 1 / cos(tilt)."""
    assert [IceRecipe().mean_a(depth) for depth in (500.0, 600.0, 2000.0)] == [1500, 1500, 2000]
    assert IceRecipe(thickness_nm=40).mean_a(500.0) == 400
    for depth in (300.0, 900.0):
        ice = ice_surfaces(stream(1, "ice"), (depth, 2400.0, 2400.0), IceRecipe(roughness_nm=0))
        assert np.allclose(ice.thickness_map(60.0, (20, 20), 12.0), 3000)
