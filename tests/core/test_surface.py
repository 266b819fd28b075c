"""Surfaces: areas and borders against formulas; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from volengine.core.errors import InputError
from volengine.core.surface import Surface


def test_the_areas_and_borders_of_a_sphere_and_of_its_half_are_those_of_trimesh() -> None:
    ball = trimesh.creation.icosphere(3, 50.0)
    whole = Surface(ball.vertices[:, ::-1], ball.faces)
    assert whole.closed
    assert len(whole.borders) == 0
    assert whole.areas == pytest.approx(ball.area_faces)
    assert whole.vertex_areas.sum() == pytest.approx(ball.area)
    half = Surface(ball.vertices[:, ::-1], ball.faces[ball.triangles_center[:, 2] > 0])
    outline = trimesh.Trimesh(ball.vertices, half.faces, process=False).outline()
    assert not half.closed
    assert len(half.borders) == sum(len(e.points) - 1 for e in outline.entities)


def test_a_surface_without_faces_is_open_and_has_no_area() -> None:
    empty = Surface(np.empty((0, 3)), np.empty((0, 3), int))
    assert not empty.closed
    assert empty.vertex_areas.dtype == np.float64
    assert empty.areas.sum() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": [[0, 0, np.nan], [0, 0, 1], [0, 1, 0]]}, "not three finite numbers"),
        ({"faces": [[0, 1, 3]]}, "the faces name vertices 0 to 3; there are 3, from 0"),
        ({"normals": [[1, 0, 0]]}, r"\(1, 3\) normals for 3 vertices"),
        ({"columns": {"score": [1, 2]}}, "column 'score' has the shape"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, object], message: str) -> None:
    parts: dict[str, object] = {"vertices": [[0, 0, 0], [0, 0, 1], [0, 1, 0]], "faces": [[0, 1, 2]], "number": 4}
    with pytest.raises(InputError, match=f"Surface 4: .*{message}"):
        Surface(**{**parts, **change})  # type: ignore[arg-type]
