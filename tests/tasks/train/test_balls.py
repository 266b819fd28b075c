"""Balls around points: the truth of a training whose particles are known by their centres."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.open import open_volume
from volengine.io.picks import write_picks
from volengine.tasks.train.labels import LabelPoints


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), beyond=st.sampled_from([None, 0.0, 13.0]), radius=st.floats(0.5, 30))
def test_balls_are_the_voxels_within_the_radius_of_a_point(seed: int, beyond: float | None, radius: float) -> None:
    rng = np.random.default_rng(seed)
    size = np.array([10.0, 5.0, 8.0])
    points = [rng.uniform(-3, 15, (int(rng.integers(0, 12)), 3)) for _ in range(2)]
    start = rng.integers(0, 8, 3)
    box = Box(tuple(start.tolist()), tuple((start + rng.integers(1, 9, 3)).tolist()))
    far = None if beyond is None else radius + beyond
    got = LabelPoints(points, [radius, 2 * radius], size, None if far is None else 2 * far).read(box)
    places = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)], indexing="ij"))
    for labels, some, r in zip(got, points, (radius, 2 * radius), strict=True):
        want = np.zeros(box.shape, np.uint8)
        apart = [np.sqrt((((places.T - p) * size) ** 2).sum(-1)).T for p in some]
        nearest = np.min(apart, axis=0) if apart else np.full(box.shape, np.inf)
        if far is not None:
            want[nearest <= 2 * far] = 2
        want[nearest <= r] = 1
        np.testing.assert_array_equal(labels, want)


def test_balls_that_are_wider_than_the_box_cost_no_more_than_the_box() -> None:
    """A radius of 1e5 voxels: a cube around each ball would have 8e15 voxels."""
    points = [np.array([[3.0, 4, 5], [-50_000, 4, 5]]), np.array([[3.0, 4, 99_995]])]
    labels = LabelPoints(points, [1e6, 999_930.0], (10.0, 10.0, 10.0), 1e6)
    got = labels.read(Box((0, 0, 0), (4, 5, 6)))
    assert (got[0] == 1).all()
    assert got[1, 3, 4].tolist() == [2, 2, 1, 1, 1, 1]  # 99,995 to 99,990 voxels away


def test_a_ball_that_covers_the_tomogram_is_refused(tmp_path: Path) -> None:
    """Two sides of 40 voxels and one of 20 have a diagonal of 60; of 10 angstrom, 60 nm."""
    with mrcfile.new(tmp_path / "T.mrc", data=np.zeros((20, 40, 40), "f4")) as mrc:
        mrc.voxel_size = 10
    write_picks(tmp_path / "T.star", Picks([[1, 2, 3]], voxel_size=(10,) * 3, tomogram="T"))
    volume = open_volume(tmp_path / "T.mrc")
    LabelPoints.from_files([str(tmp_path / "T.star")], [599.0], volume)
    with pytest.raises(InputError, match=r"has 20 x 40 x 40 nm .*a ball of radius_nm 60 covers all of it.*in nm"):
        LabelPoints.from_files([str(tmp_path / "T.star")], [600.0], volume)


def test_balls_do_not_depend_on_the_box() -> None:
    points = [np.random.default_rng(0).uniform(0, 20, (200, 3))]
    labels = LabelPoints(points, [17.0], (10.0, 10.0, 10.0), 25.0)
    whole = labels.read(Box((0, 0, 0), (20, 20, 20)))
    part = Box((3, 7, 11), (14, 9, 20))
    np.testing.assert_array_equal(labels.read(part), whole[(slice(None), *part.slices)])
    assert set(np.unique(whole)) == {0, 1, 2}
