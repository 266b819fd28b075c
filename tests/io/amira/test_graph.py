"""Spatial graphs of Amira, against bytes put together by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from volume_files import amira_bytes, graph_bytes, ramp

from volengine.core.errors import FormatError
from volengine.io.amira.graph import read_spatial_graph


@pytest.mark.parametrize("form", ["BINARY-LITTLE-ENDIAN 3.0", "BINARY 2.0", "3D ASCII 2.0"])
def test_lines_in_order(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.am").write_bytes(graph_bytes(form))
    graph = read_spatial_graph(tmp_path / "a.am")
    assert (graph.unit, graph.angstrom) == ("nm", 10.0)
    assert graph.vertices.tolist() == [[3, 2, 1], [3, 2, 7], [9, 8, 1]]  # z, y, x
    assert graph.edges.tolist() == [[0, 1], [0, 2]]
    assert [line.tolist() for line in graph.lines] == [[[3, 2, 1], [3, 2.5, 4], [3, 2, 7]], [[3, 2, 1], [9, 8, 1]]]
    assert graph.columns["EDGE"]["Filament"].tolist() == [11, 12]
    assert graph.columns["POINT"]["thickness"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("form", ["BINARY-LITTLE-ENDIAN 3.0", "BINARY 2.0"])
def test_zipped_blocks_are_those_of_the_plain_file(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.am").write_bytes(graph_bytes(form))
    (tmp_path / "b.am").write_bytes(graph_bytes(form, zipped=True))
    plain, zipped = read_spatial_graph(tmp_path / "a.am"), read_spatial_graph(tmp_path / "b.am")
    assert zipped.vertices.tolist() == plain.vertices.tolist() == [[3, 2, 1], [3, 2, 7], [9, 8, 1]]
    assert [line.tolist() for line in zipped.lines] == [line.tolist() for line in plain.lines]
    assert zipped.edges.tolist() == plain.edges.tolist()
    assert zipped.columns["POINT"]["thickness"].tolist() == [1, 2, 3, 4, 5]


def test_a_unit_may_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.am").write_bytes(graph_bytes(unit=""))
    assert read_spatial_graph(tmp_path / "a.am").angstrom is None


def test_blocks_are_found_by_size_though_their_bytes_look_like_a_mark(tmp_path: Path) -> None:
    data = graph_bytes()
    mark = np.frombuffer(b"\n@2\n", "<f4")[0]
    at = data.index(np.array([1, 2, 3], "<f4").tobytes())
    (tmp_path / "a.am").write_bytes(data[:at] + mark.tobytes() + data[at + 4 :])
    graph = read_spatial_graph(tmp_path / "a.am")
    assert graph.vertices[0, 2] == mark
    assert graph.edges.tolist() == [[0, 1], [0, 2]]


def _with(old: list[int], new: list[int]) -> bytes:
    return graph_bytes().replace(np.array(old, "<i4").tobytes(), np.array(new, "<i4").tobytes(), 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (graph_bytes()[:-20], "truncated|no block"),
        (_with([3, 2], [3, 3]), "6 points.*are 5"),
        (graph_bytes().replace(b"define POINT 5", b"define POINT 999999"), "truncated"),
        (_with([0, 1], [0, 9]), "vertex 9"),
        (graph_bytes("3D ASCII 2.0").replace(b"2.5", b"two"), "no numbers"),
        (graph_bytes("3D ASCII 2.0").replace(b"2.5", b"inf"), "not finite"),
        (graph_bytes("3D ASCII 2.0").replace(b"@3\n3", b"@3\n1e999"), "NumEdgePoints holds numbers that are not whole"),
        (graph_bytes("3D ASCII 2.0").replace(b"@3\n3", b"@3\n2.5"), "NumEdgePoints holds numbers that are not whole"),
        (graph_bytes().replace(np.float32(2.5).tobytes(), b"\x01\x00\xa0\x7f"), "not finite"),  # a signalling NaN
        (
            graph_bytes().replace(b"int NumEdgePoints", b"float NumEdgePoints"),
            "NumEdgePoints holds numbers that are not whole",
        ),
        (graph_bytes("3D ASCII 2.0").replace(b"2.5", b""), "14 numbers, 15 were announced"),
        (graph_bytes().replace(b"{ int Filament } @6", b"{ int Filament } @6(HxByteRLE,12)"), "compressed"),
        (graph_bytes().replace(b"{ int Filament } @6", b"{ int Filament } @6(HxZip,8)"), "HxZip.* is damaged"),
        (graph_bytes("3D ASCII 2.0").replace(b"{ int Filament } @6", b"{ int Filament } @6(HxZip,8)"), "compressed"),
        (graph_bytes(zipped=True).replace(b"define POINT 5", b"define POINT 4"), "makes more of 48 bytes"),
        (graph_bytes(zipped=True).replace(b"define POINT 5", b"define POINT 6"), "makes 60 of 72 bytes"),
        (graph_bytes(zipped=True).replace(b"define POINT 5", b"define POINT 99999"), "cannot make the 1199988 bytes"),
        (graph_bytes(zipped=True)[:-12], "truncated|no block"),
        (amira_bytes(ramp(dtype="uint8"), "byte"), "no spatial graph"),
    ],
)  # fmt: skip
def test_damaged_graphs_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.am").write_bytes(data)
    with pytest.raises(FormatError, match=said):
        read_spatial_graph(tmp_path / "a.am")
