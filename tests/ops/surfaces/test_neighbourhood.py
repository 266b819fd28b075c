"""Parts of surfaces: what is computed of some vertices has the bytes that it has among all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import ball, torus

from volengine.core.surface import Surface
from volengine.ops.surfaces.curvature import curvature
from volengine.ops.surfaces.neighbourhood import cut_out, discs, neighbours_of
from volengine.ops.surfaces.thickness import thickness


def shaken(surface: Surface, seed: int) -> Surface:
    noise = np.random.default_rng(seed).normal(size=surface.vertices.shape)
    order = np.random.default_rng(seed).permutation(len(surface.vertices))  # neighbours are not near by number
    back = np.argsort(order)
    return Surface((surface.vertices + 0.5 * noise)[order], back[surface.faces])


SURFACES = {"ball": shaken(ball(60.0, 3), 0), "torus": shaken(torus(60.0, 20.0, 6.0)[0], 1)}
ROWS = st.sets(st.integers(0, 400), max_size=30)


@given(name=st.sampled_from(sorted(SURFACES)), rows=ROWS, radius=st.floats(1, 60))
@settings(deadline=None, max_examples=40)
def test_neighbourhoods_in_a_part(name: str, rows: set[int], radius: float) -> None:
    surface, wanted = SURFACES[name], np.array(sorted(rows), np.int64)
    at, links = surface.vertices, neighbours_of(surface.faces, len(surface.vertices))
    normals = at / np.linalg.norm(at, axis=1, keepdims=True)
    whole = [(c, n) for pairs in discs(at, normals, links, radius, wanted) for c, n in zip(*pairs, strict=True)]
    part, inner = cut_out(at, surface.faces, wanted, radius)
    inside = np.searchsorted(part, wanted)
    found = discs(at[part], normals[part], inner, radius, inside)
    assert [(part[c], part[n]) for pairs in found for c, n in zip(*pairs, strict=True)] == whole


@pytest.mark.parametrize("name", sorted(SURFACES))
def test_a_part_is_much_smaller_than_the_surface(name: str) -> None:
    surface = SURFACES[name]
    part, _ = cut_out(surface.vertices, surface.faces, np.array([5]), 12.0)
    assert 1 < len(part) < len(surface.vertices) / 5


@given(name=st.sampled_from(sorted(SURFACES)), rows=ROWS)
@settings(deadline=None, max_examples=20)
def test_curvature_and_thickness_of_some_vertices(name: str, rows: set[int]) -> None:
    surface, wanted = SURFACES[name], np.array(sorted(rows), np.int64)
    whole, some = curvature(surface, 15.0), curvature(surface, 15.0, wanted)
    for field in ("k1", "k2", "normals", "heights"):
        assert getattr(some, field).tobytes() == getattr(whole, field)[wanted].tobytes()
    both, few = thickness(surface, 60.0, whole.normals), thickness(surface, 60.0, some.normals, wanted)
    assert few.thickness.tobytes() == both.thickness[wanted].tobytes()
    assert few.gap.tobytes() == both.gap[wanted].tobytes()
