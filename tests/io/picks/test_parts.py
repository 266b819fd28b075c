"""Picks that are written part by part: the bytes of the whole, and nothing where a part cannot be written."""

from __future__ import annotations

from itertools import pairwise

import pytest
from full_picks import make_picks
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.io.picks import write_picks
from volengine.io.picks.formats import FORMATS
from volengine.io.picks.parts import write_parts, writes_parts

WRITTEN = [name for name, one in FORMATS.items() if one.writes]
CUBES = {"voxel_size": (10.0,) * 3}


def made(n, format):
    """Picks that a format can hold; IMOD's models have no column whose values it does not know."""
    return make_picks(n, **CUBES, **({"extra": {}} if format.startswith("imod") else {}))


@pytest.mark.parametrize("format", WRITTEN)
@settings(max_examples=12, deadline=None)
@given(n=st.integers(0, 9), cuts=st.lists(st.integers(0, 9), max_size=4))
def test_parts_give_the_bytes_of_the_whole(tmp_path_factory, format, n, cuts):
    folder = tmp_path_factory.mktemp(format)
    one = FORMATS[format]
    name = f"TS{one.of_tomogram or one.endings[0]}" if format != "relion5-set" else "TS_optimisation_set.star"
    picks = made(n, format)
    ends = [0, *sorted(min(cut, n) for cut in cuts), n]
    parts = (picks[a:b] for a, b in pairwise(ends))
    (folder / "whole").mkdir()
    (folder / "parts").mkdir()
    write_picks(folder / "whole" / name, picks, format)
    assert write_parts(folder / "parts" / name, parts, format) == n
    files = [sorted((folder / kind).iterdir()) for kind in ("whole", "parts")]
    for whole, part in zip(*files, strict=True):
        assert whole.name == part.name
        assert whole.read_bytes() == part.read_bytes()


def test_formats_that_are_written_by_rows():
    """Those whose writers were read; others number picks, count them, or have more behind them."""
    rows = {name for name, one in FORMATS.items() if one.by_rows}
    assert rows == {"relion", "relion5", "warp", "ais", "csv", "ais-tsv", "portal", "coords", "artiax"}
    assert writes_parts("a.star")
    assert not writes_parts("a.tbl")


@pytest.mark.parametrize("ending", [".csv", ".star", ".tbl"])
def test_parts_that_differ_are_refused_and_leave_the_former_file(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    write_picks(path, make_picks(3, **CUBES))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for other in ({"weight": None}, {"tomogram": "TS 02"}, {"voxel_size": (12.0,) * 3}):
        with pytest.raises(InputError, match=r"must have the same columns, tomogram and voxel size"):
            write_parts(path, [make_picks(2, **CUBES), make_picks(2, **{**CUBES, **other})])
    with pytest.raises(InputError, match="no picks to write"):
        write_parts(path, [])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_part_that_a_format_cannot_hold_is_refused_with_the_file(tmp_path):
    path = tmp_path / "a.star"
    with pytest.raises(InputError, match=r"a\.star: .*name"):
        write_parts(path, [make_picks(3, **CUBES, tomogram="")])
    assert not list(tmp_path.iterdir())
