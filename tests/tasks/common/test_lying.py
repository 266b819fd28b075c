"""How voxels of other sizes lie on each other, against volumes that were binned and sampled here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.tasks.common.lying import Asked, Lattice, check_extent, lies_on, table_on

Shape = tuple[int, int, int] | None
ZERO = (0.0, 0.0, 0.0)


def lattice(size: float, origin: float = 0.0, shape: tuple[int, int, int] | None = None, name: str = "a") -> Lattice:
    return Lattice(name, (origin,) * 3, (size,) * 3, shape)


sizes = st.sampled_from([1.35, 4.0, 7.84, 10.0])


@given(sizes, st.sampled_from([2, 3, 4, 8]))
def test_binning_by_averaging_puts_voxels_where_faces_say(size: float, factor: int) -> None:
    """The mean of the places of the voxels that a coarse one holds is its place."""
    binned = (np.arange(8 * factor) * size).reshape(8, factor).mean(axis=1)
    grid = lies_on(lattice(size), lattice(size * factor), Asked("faces")).grid
    np.testing.assert_allclose(np.arange(8) * grid.voxel_size[0] + grid.offset[0], binned, rtol=1e-12, atol=1e-9)


@given(sizes, st.sampled_from([2, 3, 4, 8]))
def test_sampling_every_nth_voxel_puts_voxels_where_centres_say(size: float, factor: int) -> None:
    sampled = (np.arange(8 * factor) * size)[::factor]
    grid = lies_on(lattice(size), lattice(size * factor), Asked("centres")).grid
    np.testing.assert_allclose(np.arange(8) * grid.voxel_size[0] + grid.offset[0], sampled, rtol=1e-12)


@given(sizes, sizes, st.sampled_from(["auto", "faces", "centres"]), st.sampled_from([0.0, 500.0]))
def test_what_lies_on_another_is_where_that_one_says(one: float, two: float, way: str, origin: float) -> None:
    """A place that goes to the other grid and back has not moved."""
    mine, other = lattice(one, origin), lattice(two, origin, name="b")
    there, back = (lies_on(a, b, Asked(way)).grid for a, b in ((mine, other), (other, mine)))
    np.testing.assert_array_equal(there.offset, -np.array(back.offset))
    assert there.sure == back.sure


@pytest.mark.parametrize(
    ("origin", "other", "offset", "sure"),
    [
        (0.0, 0.0, 15.0, False),  # nothing is stated
        (0.0, 15.0, 15.0, True),  # what binning by averaging makes of an origin of 0
        (500.0, 515.4, 15.0, True),
        (500.0, 500.0, 0.0, True),
        (500.0, 0.0, 15.0, False),
    ],
)
def test_origins_say_the_way(origin: float, other: float, offset: float, sure: bool) -> None:
    lies = lies_on(lattice(10.0, origin), lattice(40.0, other, name="b.mrc"), Asked())
    assert lies.grid == ((40.0,) * 3, (offset,) * 3, sure)
    assert ("same face" in lies.way) is not sure
    assert ("first voxel of each" in lies.origins) is (other == 0 and origin != 0)


@pytest.mark.parametrize("way", ["auto", "faces", "centres"])
@pytest.mark.parametrize("size", [10.0, 40.0])
def test_other_boxes_of_the_specimen_are_refused_in_every_way(size: float, way: str) -> None:
    mine, other = lattice(10.0, 500.0), lattice(size, 900.0, name="b.mrc")
    with pytest.raises(InputError, match="--any-origin"):
        lies_on(mine, other, Asked(way))
    lies = lies_on(mine, other, Asked(way, any_origin=True))
    assert lies.grid.offset == ((15.0,) * 3 if size == 40 and way != "centres" else ZERO)
    assert "first voxel of each" in lies.origins


def test_the_same_voxels_have_no_offset() -> None:
    shape = (8, 9, 10)
    for other in (lattice(10.0001), lattice(10.3, shape=shape)):
        grid = lies_on(lattice(10.0, shape=shape), other, Asked("faces")).grid
        assert grid == ((10.0,) * 3, ZERO, True)


@pytest.mark.parametrize(
    ("shapes", "way", "offset", "said"),
    [
        (((64,) * 3, (16,) * 3), "auto", 15.0, "same face"),
        (((64,) * 3, None), "auto", 0.0, "centres of their first voxels"),
        ((None, None), "auto", 0.0, "centres of their first voxels"),
        ((None, None), "faces", 15.0, ""),
        (((64,) * 3, (16,) * 3), "centres", 0.0, ""),
    ],
)
def test_tables_lie_as_their_shapes_say(shapes: tuple[Shape, Shape], way: str, offset: float, said: str) -> None:
    lies = table_on(lattice(10.0, shape=shapes[0]), lattice(40.0, shape=shapes[1]), Asked(way), 100.0)
    assert lies.grid.offset == (offset,) * 3
    assert said in lies.way
    assert bool(lies.way) is bool(said)


def test_tables_whose_pairs_depend_on_how_they_lie_are_refused() -> None:
    mine, other = lattice(10.0), lattice(40.0)
    with pytest.raises(InputError, match=r"moves picks by 2.6 nm, farther than the 2 nm .*--mask-grid"):
        table_on(mine, other, Asked(), 2.0)
    assert table_on(mine, other, Asked("faces"), 2.0).grid.sure
    assert table_on(lattice(10.0, 500.0), lattice(40.0, 515.0), Asked(), 2.0).grid.sure


@pytest.mark.parametrize(
    ("shape", "other", "size", "fits"),
    [
        ((65, 64, 64), (16, 16, 16), 40.0, True),
        ((64, 64, 64), (16, 16, 14), 40.0, True),
        ((64, 64, 64), (16, 16, 13), 40.0, False),
        ((900, 64, 64), (900, 64, 64), 10.04, True),  # a rounded header
        ((64, 64, 64), (64, 64, 64), 13.0, False),
    ],
)
def test_what_does_not_cover_is_refused(shape: Shape, other: Shape, size: float, fits: bool) -> None:
    things = lattice(10.0, shape=shape), lattice(size, shape=other, name="b.mrc")
    if fits:
        check_extent(*things)
        return
    with pytest.raises(InputError, match=r"b.mrc measures .* nm \(z, y, x\), and a "):
        check_extent(*things)
