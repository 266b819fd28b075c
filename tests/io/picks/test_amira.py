"""Points of Amira's spatial graphs, at places derived by hand from bytes put together by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from volume_files import graph_bytes

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.picks import read_picks
from volengine.tasks.picks.convert import convert_picks

HERE: dict[str, Any] = {"voxel_size": (20.0, 20.0, 20.0), "origin": (0.0, 0.0, 0.0), "tomogram": "TS_01"}


def graph(path: Path, form: str = "BINARY-LITTLE-ENDIAN 3.0", unit: str = "nm") -> Path:
    path.write_bytes(graph_bytes(form, unit=unit) if unit != "nm" else graph_bytes(form))
    return path


@pytest.mark.parametrize("form", ["BINARY-LITTLE-ENDIAN 3.0", "BINARY 2.0", "3D ASCII 2.0"])
def test_points_of_edges_are_contours_in_order(tmp_path: Path, form: str) -> None:
    # Points z, y, x in nm (3, 2, 1), (3, 2.5, 4), (3, 2, 7); (3, 2, 1), (9, 8, 1): divided by voxels of 2 nm.
    picks = read_picks(graph(tmp_path / "a.am", form), **HERE)
    assert picks.position_vox.tolist() == [[1.5, 1, 0.5], [1.5, 1.25, 2], [1.5, 1, 3.5], [1.5, 1, 0.5], [4.5, 4, 0.5]]
    assert picks.extra["contour"].tolist() == [1, 1, 1, 2, 2]
    assert (picks.tomogram, picks.orientation) == ("TS_01", None)


def test_places_count_from_the_origin_of_the_tomogram(tmp_path: Path) -> None:
    here = HERE | {"origin": (10.0, -20.0, 40.0)}
    picks = read_picks(graph(tmp_path / "a.am"), **here)
    assert picks.position_vox[0].tolist() == [(30 - 10) / 20, (20 + 20) / 20, (10 - 40) / 20]
    with pytest.raises(InputError, match="give the volume, or set origin"):
        read_picks(graph(tmp_path / "a.am"), voxel_size=(20.0, 20.0, 20.0))


def test_units_of_the_header_count(tmp_path: Path) -> None:
    for unit, factor in (("angstrom", 0.1), ("um", 1000.0)):
        picks = read_picks(graph(tmp_path / "a.am", unit=unit), **HERE)
        np.testing.assert_allclose(picks.position_vox[0], np.array([1.5, 1, 0.5]) * factor)


def test_without_a_unit_angstrom_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"states no unit of length. If it counts angstrom, read it as amira-angstrom"):
        read_picks(graph(tmp_path / "a.am", unit=""), **HERE)
    picks = read_picks(tmp_path / "a.am", "amira-angstrom", **HERE)
    np.testing.assert_allclose(picks.position_vox[0], [0.15, 0.1, 0.05])
    with pytest.raises(InputError, match="counts 'furlong', which is no unit"):
        read_picks(graph(tmp_path / "a.am", unit="furlong"), **HERE)
    with pytest.raises(InputError, match="states that it counts 'nm', not angstrom"):
        read_picks(graph(tmp_path / "b.am"), "amira-angstrom", **HERE)


def test_vertices_without_an_edge_are_contours_of_their_own(tmp_path: Path) -> None:
    data = graph_bytes()
    old, new = (np.array(edges, "<i4").tobytes() for edges in ([0, 1, 0, 2], [0, 1, 0, 1]))
    assert data.count(old) == 1
    (tmp_path / "a.am").write_bytes(data.replace(old, new))
    picks = read_picks(tmp_path / "a.am", **HERE)
    assert picks.extra["contour"].tolist() == [1, 1, 1, 2, 2, 3]
    assert picks.position_vox[-1].tolist() == [4.5, 4, 0.5]  # the vertex at (9, 8, 1) nm


def test_a_graph_becomes_an_imod_model_by_its_volume(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "TS_01.mrc", data=np.zeros((20, 20, 20), np.float32)) as mrc:
        mrc.voxel_size = 20
    made = convert_picks(graph(tmp_path / "a.am"), tmp_path / "a.mod", {"volume": str(tmp_path / "TS_01.mrc")})
    assert made.counts == {"TS_01": 5}
    back = read_picks(tmp_path / "a.mod", voxel_size=(20.0, 20.0, 20.0))
    np.testing.assert_allclose(back.position_vox[1], [1.5, 1.25, 2], atol=1e-5)
    assert back.extra["contour"].tolist() == [1, 1, 1, 2, 2]


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        read_picks(tmp_path / "none.am", **HERE)
    for data in (b"", b"# AmiraMesh BINARY-LITTLE-ENDIAN 3.0\n", graph_bytes()[:-9]):
        (tmp_path / "a.am").write_bytes(data)
        with pytest.raises(FormatError):
            read_picks(tmp_path / "a.am", **HERE)
