"""Files that are no picks: refused, and never read as none; what decides between formats of one ending."""

from __future__ import annotations

from pathlib import Path

import pytest

from volengine.core.errors import FormatError
from volengine.core.picks import Picks
from volengine.io.names import PICKS_SUFFIXES
from volengine.io.picks import formats, read_all, registry, write_picks
from volengine.io.picks.formats import FORMATS

FOREIGN = [
    ("a.json", "{}"),
    ("a.json", '{"name": "volengine", "voxel_size": 10}'),
    ("a.json", '{"points": []}'),
    ("a.json", '{"points": null, "units": "nm"}'),
    ("a.json", '{"inner": {"points": []}}'),
    ("a.json", "[1, 2]"),
    ("a.json", "3"),
    ("a.csv", "class,number\n1,2\n"),
    ("a.csv", "1,2,3\n4,5,6\n"),
    ("a.csv", "z,y\n1,2\n"),
    ("a.star", "data_optics\n\nloop_\n_rlnOpticsGroup\n1\n"),
    ("a.star", "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n"),
    ("a.tbl", "1 2 3\n"),
    ("a.tbl", "a,b\n"),
]


@pytest.mark.parametrize(("name", "text"), FOREIGN)
def test_a_file_of_something_else_is_no_empty_table(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=r"is no file of picks .* The formats of picks are relion, relion5, .*copick"):
        read_all(tmp_path / name, voxel_size=(10, 10, 10), shape=(9, 9, 9))


def test_an_empty_file_of_copick_has_no_picks(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"pickable_object_name": "ribosome", "run_name": null, "voxel_spacing": null, "points": []}')
    assert len(read_all(path, voxel_size=(10, 10, 10))["a"]) == 0


@pytest.mark.parametrize("format", [name for name, one in FORMATS.items() if one.reads and one.writes])
def test_what_a_format_writes_is_recognised_as_such(tmp_path: Path, format: str) -> None:
    """By its mark, or because it is the first of its ending without one; others (``dynamo0``) must be named."""
    path = tmp_path / f"a{FORMATS[format].endings[0]}"
    picks = Picks([[1, 2, 3]], voxel_size=(10, 10, 10), shape=(9, 9, 9), tomogram="TS", weight=[1])
    write_picks(path, picks, format)
    unmarked = [name for name, one in FORMATS.items() if path.suffix in one.endings and one.mark is None]
    assert registry.to_read(path, None) == (format if FORMATS[format].mark else unmarked[0])
    assert registry.to_read(path, format) == format


def test_the_table_of_formats_is_whole() -> None:
    assert list(formats()) == list(FORMATS)
    assert {*PICKS_SUFFIXES, ".am", ".em", ".hdf"} == set(registry.endings())  # those are endings of volumes, too
    for name, one in FORMATS.items():
        assert one.reads or one.writes
        assert all(ending == ending.lower() and ending.startswith(".") for ending in one.endings)
        module = registry.module_of(name)
        assert hasattr(module, "read") or not one.reads
        assert hasattr(module, "files") or not one.writes
