"""Marching cubes: a manifold for any mask, the same for any blocks, at the right places."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marched_shapes import area, ball, grid, raw
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from volengine.core.boxes import Box, index3
from volengine.core.tiling import Tiling
from volengine.ops.surfaces.components import regions_of
from volengine.ops.surfaces.marching import NEAREST, cases, pieces_of
from volengine.ops.surfaces.merge import merge_pieces
from volengine.ops.surfaces.topology import parts_of, shape_of, volume_of

Array = NDArray[Any]


@st.composite
def masks(draw: st.DrawFn, highest: int = 1) -> Array:
    shape = draw(st.tuples(*[st.integers(2, 7)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    filled = rng.random(shape) < draw(st.floats(0.05, 0.95))
    return np.where(filled, rng.integers(1, highest + 1, shape), 0).astype(np.int32)


def test_a_complement_has_the_same_polygons_except_where_a_face_is_ambiguous() -> None:
    corners, starts = cases()
    assert len(starts) == 257
    assert starts[1] == 0
    assert starts[256] == starts[255] == len(corners) == 820  # the full and the empty cube have none
    assert starts[2] - starts[1] == 1  # one corner: one triangle


@settings(max_examples=150)
@given(masks())
def test_every_edge_of_any_closed_mesh_has_two_faces_in_opposite_senses(mask: Array) -> None:
    places, faces = raw(mask)
    if not mask.any():
        assert not len(faces)
        return
    found = shape_of(places, faces)
    assert found["closed"]
    assert found["manifold"]
    assert found["volume"] > 0
    around = [np.unique(faces[(faces == v).any(1)]).size - 1 == (faces == v).any(1).sum() for v in range(len(places))]
    assert all(around)  # as many neighbours as faces: one fan around each vertex


@settings(max_examples=60)
@given(masks())
def test_open_meshes_end_at_the_faces_of_the_volume_only(mask: Array) -> None:
    places, faces = raw(mask, closed=False)
    if not len(faces):
        return
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, count = np.unique(sides, axis=0, return_counts=True)
    assert count.max() <= 2
    ends = places[edges[count == 1]]
    last = np.array(mask.shape) - 1
    assert (((ends == 0) | (ends == last)).all(axis=1)).any(axis=1).all()


def _blocked(objects: Array, core: Any, closed: bool, **more: Any) -> dict[int, list[Any]]:
    """Pieces by object, from blocks in an unusual order."""
    shape = index3(objects.shape)
    tiling = Tiling(shape, index3(core))
    padded = np.pad(objects, 1)
    found: dict[int, list[Any]] = {}
    for number in reversed(range(len(tiling))):
        box = tiling.box(number)
        crop = box.grow((1, 1, 1)) if closed else box.grow((1, 1, 1)).clip(shape)
        part = padded[crop.shift((1, 1, 1)).slices]
        piece = pieces_of(
            part, crop, box, shape, **{k: np.pad(v, 1)[crop.shift((1, 1, 1)).slices] for k, v in more.items()}
        )
        for one in np.unique(piece["objects"]).tolist():
            rows = np.flatnonzero(piece["objects"] == one)
            mine = piece["objects"][piece["faces"][:, 0]] == one
            local = np.searchsorted(rows, piece["faces"][mine])
            found.setdefault(one, []).append(
                {"keys": piece["keys"][rows], "places": piece["places"][rows], "faces": local}
            )
    return found


@settings(max_examples=80)
@given(masks(highest=3), st.tuples(*[st.integers(1, 8)] * 3), st.booleans())
def test_numbered_objects_have_the_same_meshes_for_any_blocks(objects: Array, core: Any, closed: bool) -> None:
    found = _blocked(objects, core, closed)
    for number in np.unique(objects[objects > 0]).tolist():
        whole = raw(objects == number, closed=closed)
        if not len(whole[1]):
            assert number not in found
            continue
        places, faces = merge_pieces(found[number])
        assert np.array_equal(places, whole[0])
        assert np.array_equal(faces, whole[1])


@settings(max_examples=40)
@given(masks(), st.tuples(*[st.integers(1, 8)] * 3), st.integers(0, 2**32))
def test_interpolated_places_are_the_same_bytes_for_any_blocks(mask: Array, core: Any, seed: int) -> None:
    values = np.random.default_rng(seed).random(mask.shape).astype(np.float32)
    found = _blocked((values > 0.5).astype(np.int32), core, False, values=values)
    whole = raw(values > 0.5, closed=False, values=values)
    if not len(whole[1]):
        assert not found
        return
    places, faces = merge_pieces(found[1])
    assert places.tobytes() == whole[0].tobytes()
    assert np.array_equal(faces, whole[1])


def test_components_of_a_mask_are_told_apart_by_their_numbers() -> None:
    mask = np.zeros((6, 6, 12), np.uint8)
    mask[2:4, 2:4, 2:4] = mask[1:5, 1:5, 7:10] = 1
    numbers = np.array([0, 7, 0], np.int32)[regions_of(mask)]
    box = Box.of_shape(mask.shape)
    piece = pieces_of(mask, box, box, (6, 6, 12), numbers=numbers)
    assert set(piece["objects"].tolist()) == {7}
    assert piece["places"][:, 2].min() > 5  # the first voxel is that of the larger one


def test_places_are_hand_derived() -> None:
    """Along x the prediction rises 0.2, 0.8: the threshold 0.5 lies half way from index 3 to 4; 0.35 a quarter."""
    values = np.full((3, 3, 8), 0.2)
    values[:, :, 4:] = 0.8
    for level, x in ((0.5, 3.5), (0.35, 3.25)):
        places, faces = raw(values > level, closed=False, values=values, level=level)
        assert np.allclose(places[:, 2], x, atol=1e-12)
        assert np.isclose(area(places, faces), 4.0)  # from centre to centre of 3 x 3 voxels
    # closed at the faces: half a voxel beyond the outermost centres, 3 x 3 x 4 voxels
    places, _ = raw(np.ones((3, 3, 4)))
    assert places.min(axis=0).tolist() == [-0.5, -0.5, -0.5]
    assert places.max(axis=0).tolist() == [2.5, 2.5, 3.5]


def test_two_voxels_that_touch_at_a_corner_of_a_face_are_joined_and_those_across_a_cube_are_not() -> None:
    edge, across = np.zeros((2, 4, 4, 4), bool)
    edge[1, 1, 1] = edge[1, 2, 2] = True
    across[1, 1, 1] = across[2, 2, 2] = True
    islands = [int(parts_of(faces, len(places)).max()) + 1 for places, faces in map(raw, (edge, across))]
    assert islands == [1, 2]


def test_the_mesh_is_that_of_skimage_where_no_face_is_ambiguous() -> None:
    at = grid(40)
    values = 1 / (1 + np.exp(np.sqrt((at**2).sum(0)) - 14.2))
    places, faces = raw(values > 0.5, closed=False, values=values)
    theirs, their_faces, _, _ = marching_cubes(values, 0.5)
    assert len(places) == len(theirs)
    off, nearest = cKDTree(theirs).query(places)
    assert off.max() <= NEAREST  # ours keep away from the ends of edges
    assert (off < 1e-4).mean() > 0.95
    assert len(np.unique(nearest)) == len(theirs)
    assert np.isclose(area(places, faces), area(theirs, their_faces), rtol=1e-3)


def test_area_and_volume_of_a_ball_from_a_prediction() -> None:
    at = grid(60)
    values = 1 / (1 + np.exp(np.sqrt((at**2).sum(0)) - 22))
    places, faces = raw(values > 0.5, values=values)
    assert np.isclose(area(places, faces), 4 * np.pi * 22**2, rtol=2e-3)
    assert np.isclose(volume_of(places, faces), 4 / 3 * np.pi * 22**3, rtol=2e-3)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_normals_point_out_of_the_object_for_any_order_of_axes(axes: tuple[int, int, int]) -> None:
    mask = np.zeros((5, 6, 8), bool)
    mask[1:4, 1:5, 1:7] = True
    places, faces = raw(mask.transpose(axes))
    assert volume_of(places, faces) > 0.8 * mask.sum()


def test_steps_of_a_mask_add_a_twelfth_to_the_area() -> None:
    """The bias that smoothing takes away (``test_smooth``)."""
    places, faces = ball(20)
    assert 1.07 < area(places, faces) / (4 * np.pi * 400) < 1.1
