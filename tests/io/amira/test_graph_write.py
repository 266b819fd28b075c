"""Spatial graphs that are written come back; what the file says for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volengine.io.amira.graph import read_spatial_graph
from volengine.io.amira.graph_write import write_spatial_graph


def test_a_graph_comes_back(tmp_path: Path) -> None:
    vertices = [[1.5, 2, 3], [10, 20, 30], [5, 5, 5]]
    lines = [np.array([[1.5, 2, 3], [4, 5, 6.25], [10, 20, 30]]), np.array([[5.0, 5, 5], [10, 20, 30]])]
    columns = {"EDGE": {"length_nm": np.array([3.75, 1 / 3])}}
    write_spatial_graph(tmp_path / "g.am", vertices, [[0, 1], [2, 1]], lines, columns)
    found = read_spatial_graph(tmp_path / "g.am")
    np.testing.assert_array_equal(found.vertices, vertices)
    assert found.edges.tolist() == [[0, 1], [2, 1]]
    assert found.angstrom == 1.0
    for line, back in zip(lines, found.lines, strict=True):
        np.testing.assert_array_equal(back, line)
    np.testing.assert_allclose(found.columns["EDGE"]["length_nm"], [3.75, 1 / 3], rtol=1e-8)


def test_other_programs_find_x_first_and_the_unit(tmp_path: Path) -> None:
    write_spatial_graph(tmp_path / "g.am", [[3, 2, 1], [6, 5, 4]], [[0, 1]], [np.array([[3, 2, 1], [6, 5, 4]])])
    text = (tmp_path / "g.am").read_text()
    assert text.startswith("# AmiraMesh 3D ASCII 2.0\n")
    assert 'Coordinates "angstrom"' in text
    assert 'ContentType "HxSpatialGraph"' in text
    assert "@1\n1.000 2.000 3.000\n4.000 5.000 6.000\n" in text


def test_nothing_is_a_graph_as_well(tmp_path: Path) -> None:
    write_spatial_graph(tmp_path / "g.am", np.zeros((0, 3)), np.zeros((0, 2)), [])
    assert read_spatial_graph(tmp_path / "g.am").lines == ()
