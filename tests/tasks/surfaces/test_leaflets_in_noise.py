"""surfaces measure --tomogram: the noise of averaged profiles, and leaflets in tomograms with noise."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import ball

from volengine.core.surface import Surface
from volengine.io.open import open_volume
from volengine.ops.surfaces.neighbourhood import Links, neighbours_of
from volengine.tasks.surfaces.measure_density import averaged, eighths, leaflets
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.sampler import Sampler

SIDE, AWAY = 41, 10.0
SHAPE = (54, 54, 54)
CENTRE = 10 * (np.array(SHAPE) - 1) / 2


@pytest.fixture(scope="module")
def plane() -> tuple[np.ndarray, np.ndarray, Links]:
    """Vertices 10 apart on a plane, their normals, and what edges join."""
    u, v = (x.ravel() for x in np.indices((SIDE, SIDE)) * AWAY)
    at = np.stack([np.zeros(len(u)), u, v], axis=1)
    i = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)[:-1, :-1].ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + SIDE + 1], 1), np.stack([i, i + SIDE + 1, i + SIDE], 1)])
    return at, np.array([[1.0, 0, 0]] * len(at)), neighbours_of(faces, len(at))


@pytest.mark.parametrize("alike", [1, 2])
def test_the_noise_is_that_of_the_mean(plane: tuple[np.ndarray, np.ndarray, Links], alike: int) -> None:
    """Of independent profiles, and of profiles of which ``alike``² neighbours are the same, as those of a voxel are."""
    at, normals, links = plane
    rng, radius, rows = np.random.default_rng(0), 100.0, np.flatnonzero(np.all(np.abs(at[:, 1:] - 200) <= 60, axis=1))
    few = -(-SIDE // alike)
    own = 3 * rng.normal(size=(few, few, 40))
    profiles = np.repeat(np.repeat(own, alike, axis=0), alike, axis=1)[:SIDE, :SIDE].reshape(-1, 40)
    mean, noise = averaged(at, np.ones(len(at)), normals, links, profiles, radius, rows)
    count = (np.hypot(*(at - at[rows[0]])[:, 1:].T) <= radius).sum()
    true = 3 * alike / np.sqrt(count)
    assert np.median(noise) == pytest.approx(true, rel=0.15)
    assert noise.min() > 0.6 * true
    assert noise.max() < 1.5 * true
    near = np.hypot(*(at - at[rows[5]])[:, 1:].T) <= radius
    np.testing.assert_allclose(mean[5], profiles[near].mean(axis=0), rtol=1e-10)


def test_too_few_profiles_have_no_noise(plane: tuple[np.ndarray, np.ndarray, Links]) -> None:
    at, normals, links = plane
    profiles = np.full((len(at), 3), np.nan)
    profiles[[0, 1, SIDE]] = np.arange(9.0).reshape(3, 3)
    mean, noise = averaged(at, np.ones(len(at)), normals, links, profiles, 15.0, np.array([0, 500]))
    np.testing.assert_allclose(mean[0], [3, 4, 5])
    assert np.isnan(mean[1]).all()
    assert np.isnan(noise).all()


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda n: np.linalg.norm(n) > 0.1))
def test_eighths_are_equal_angles_around_any_normal(normal: tuple[float, float, float]) -> None:
    unit = np.array(normal) / np.linalg.norm(normal)
    one = np.cross(unit, [[1.0, 0, 0], [0, 1, 0]][int(abs(unit[0]) > 0.5)])
    one /= np.linalg.norm(one)
    turn = np.linspace(0, 2 * np.pi, 800, endpoint=False)[:, None] + 1e-4
    round_ = np.cos(turn) * one + np.sin(turn) * np.cross(unit, one) + 7 * unit * np.sin(5 * turn)
    part = eighths(round_, np.repeat(unit[None], 800, axis=0))
    assert np.bincount(part, minlength=8).tolist() == pytest.approx([100] * 8, abs=1)
    assert np.count_nonzero(np.diff(part)) <= 8


def measured(path: Path, dark: np.ndarray, noise: float) -> np.ndarray:
    """Thickness at the vertices of a ball with a radius of 18 voxels, nm."""
    with mrcfile.new(path) as file:
        file.set_data((noise * np.random.default_rng(7).normal(size=SHAPE) - dark).astype(np.float32))
        file.voxel_size = 10.0
    made = ball(180.0, 3)
    one = Surface(made.vertices + CENTRE, made.faces)
    rows = np.arange(len(one.vertices))
    normals = made.vertices / 180
    sample = Sampler(open_volume(str(path)), "cubic")
    return leaflets(one, rows, rows, normals, sample, SurfacesMeasureRecipe(reach_nm=8)).thickness / 10


def radius() -> np.ndarray:
    return np.sqrt(sum((x * 10.0 - c) ** 2 for x, c in zip(np.indices(SHAPE), CENTRE, strict=True))) / 10


@pytest.mark.parametrize(("width", "noise"), [(1.4, 0.3), (2.5, 1.0), (None, 0.3), (None, 1.0)])
def test_one_dark_band_has_no_thickness(tmp_path: Path, width: float | None, noise: float) -> None:
    away = radius() - 18
    band = (np.abs(away) <= 2) * 1.0 if width is None else np.exp(-((away / width) ** 2) / 2)
    assert np.isfinite(measured(tmp_path / "t.mrc", band, noise)).mean() <= 0.02


@pytest.mark.parametrize("apart", [4.0, 5.0])
def test_two_leaflets_keep_theirs(tmp_path: Path, apart: float) -> None:
    away = radius() - 18
    found = measured(
        tmp_path / "t.mrc", np.exp(-((away - apart / 2) ** 2) / 2) + np.exp(-((away + apart / 2) ** 2) / 2), 1.0
    )
    assert np.isfinite(found).mean() >= 0.8
    assert np.nanmedian(found) == pytest.approx(apart, rel=0.03)
