"""Manifests that people edit: what a form reads, and that a change touches the cells that it is about alone."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from volengine.core.errors import BusyError, FormatError, InputError, MissingError
from volengine.tasks.collection.forms import empty, parse
from volengine.tasks.collection.manifest import Collection
from volengine.tasks.collection.verb import add_to_collection, new_collection, retry, skip

CSV = """\
# grid 3, collected in March, "best" first
source , name,threshold,note

raw/TS_01.mrc,TS_01,0.5,"thin, see page 12"
# the next one has a crack
raw/TS_02.mrc, TS_02,,
"""
STAR = """\
# version 30001

data_general
_rlnTomoTiltSeriesPixelSize 1.35

data_tomograms

loop_
_source #1
_name #2
_threshold #3
raw/TS_01.mrc  TS_01  0.5   # thin
raw/TS_02.mrc  "TS_02" .

data_more
loop_
_a
1
"""
YAML = """\
# grid 3
tomograms:
  - source: raw/TS_01.mrc   # thin
    name: TS_01
    threshold: 0.5
    # between the two
  - {source: raw/TS_02.mrc, name: TS_02}
"""
TEXTS = {".csv": CSV, ".star": STAR, ".yaml": YAML}
ENDINGS = sorted(TEXTS)


def manifest(tmp_path: Path, ending: str, text: str | None = None) -> Path:
    path = tmp_path / f"m{ending}"
    path.write_bytes((TEXTS[ending] if text is None else text).encode())
    return path


def changed_lines(before: str, after: str) -> list[str]:
    """The lines of the new text that are not in the old one; all old lines but the changed ones are there, in order."""
    old = before.splitlines(keepends=True)
    return [line for line in after.splitlines(keepends=True) if line not in old]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_forms_say_the_same(tmp_path: Path, ending: str) -> None:
    found = Collection.read(manifest(tmp_path, ending))
    assert [(e.name, e.source) for e in found.entries] == [
        ("TS_01", str(tmp_path / "raw/TS_01.mrc")),
        ("TS_02", str(tmp_path / "raw/TS_02.mrc")),
    ]
    assert [[(p.target.field, p.value) for p in e.parameters] for e in found.entries] == [[("threshold", 0.5)], []]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_mark_changes_one_row_and_the_names_alone(tmp_path: Path, ending: str, line_end: str, last: bool) -> None:
    text = TEXTS[ending].replace("\n", line_end)
    text = text if last else text.removesuffix(line_end)
    path = manifest(tmp_path, ending, text)
    assert skip(path, ["TS_02"]) == ["TS_02"]
    assert [e.skip for e in Collection.read(path).entries] == [False, True]
    after = path.read_bytes().decode()
    new = changed_lines(text, after)
    if ending == ".yaml":
        assert [line.strip() for line in new] == ["- {source: raw/TS_02.mrc, name: TS_02, state: skip}"]
    else:  # a column more: its name, and an empty cell in the other row
        assert len(new) == 3
        assert any("state" in line for line in new)
        assert sum("skip" in line for line in new) == 1
    for comment in ("# grid 3", "thin", "# the next one has a crack", "# between the two", "_rlnTomoTilt", "data_more"):
        assert after.count(comment) == text.count(comment)
    assert ("\r\n" in after) == (line_end == "\r\n")
    assert after.replace("\r\n", "").count("\n") == (0 if line_end == "\r\n" else after.count("\n"))
    assert retry(path, ["TS_02"]) == ["TS_02"]
    assert [e.skip for e in Collection.read(path).entries] == [False, False]
    assert skip(path, ["TS_*"]) == ["TS_01", "TS_02"]
    assert skip(path, ["TS_*"]) == ["TS_01", "TS_02"]
    assert [e.skip for e in Collection.read(path).entries] == [True, True]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_added_stands_at_the_end_and_nothing_else_moves(tmp_path: Path, ending: str) -> None:
    path = manifest(tmp_path, ending)
    (tmp_path / "raw").mkdir()
    for number in (1, 2, 3, 4):
        (tmp_path / f"raw/TS_0{number}.mrc").write_bytes(b"")
    before = path.read_text()
    found, count = add_to_collection(path, str(tmp_path / "raw/*.mrc"), {"threshold": "0.25"})
    assert count == 2
    assert [e.name for e in found.entries] == ["TS_01", "TS_02", "TS_03", "TS_04"]
    assert [p.value for p in found.entries[3].parameters] == [0.25]
    after = path.read_text()
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    assert add_to_collection(path, str(tmp_path / "raw"))[1] == 0
    assert path.read_text() == after


@pytest.mark.parametrize("ending", [*ENDINGS, ".tsv", ".yml"])
def test_a_new_manifest_is_read_and_grows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"new{ending}"
    assert new_collection(path)[1] == 0
    assert Collection.read(path).entries == ()
    (tmp_path / "a b.mrc").write_bytes(b"")
    (tmp_path / "001.mrc").write_bytes(b"")
    (tmp_path / "=x.mrc").write_bytes(b"")
    found, count = add_to_collection(path, [str(tmp_path)], {"voxel_size": "13.48,13.48,20", "group": "7"})
    assert count == 3
    assert {(e.name, e.group) for e in found.entries} == {("001", "7"), ("=x", "7"), ("a b", "7")}
    assert {p.value for e in found.entries for p in e.parameters} == {(13.48, 13.48, 20.0)}
    with pytest.raises(InputError, match="exists; 'volengine collection add'"):
        new_collection(path)


WORDS = st.text(string.ascii_letters + string.digits + " ,;_.-+='#\t\"é", min_size=1, max_size=12).map(str.strip)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({"name": WORDS, "group": WORDS}), min_size=1, max_size=5),
    ending=st.sampled_from([".csv", ".tsv", ".star", ".yaml"]),
    at=st.integers(0, 4),
    word=WORDS,
)
def test_any_text_comes_back_and_a_change_changes_one_cell(
    rows: list[dict[str, str]], ending: str, at: int, word: str
) -> None:
    path = Path(f"m{ending}")
    words = [word, *(text for row in rows for text in row.values())]
    assume(ending != ".star" or not any({"'", '"'} <= set(text) or "\t" in text for text in words))  # refused
    assume(ending != ".star" or not {".", "?"} & set(words))
    full = [{"source": f"s{n}.mrc", **{k: v for k, v in row.items() if v}} for n, row in enumerate(rows)]
    start = parse(empty(path, ["source", "name", "group"]), path)
    form = parse(start.changed({}, full), path)
    assert form.table.rows == full
    after = parse(form.changed({at % len(full): {"group": word}}, []), path).table.rows
    wanted = [dict(row) for row in full]
    wanted[at % len(full)]["group"] = word
    assert after == [{k: v for k, v in row.items() if v} for row in wanted]


def test_what_spreadsheets_make_of_it_is_read(tmp_path: Path) -> None:
    """Semicolons of a German Excel, a byte order mark, quotes, TRUE, rows filled up with empty cells, empty rows."""
    text = (
        "\ufeff# note of ours;;;;\r\nsource;name;invert;voxel_size;\r\n"
        '"raw/a.mrc";a;TRUE;13.48;\r\n;;;;\r\nraw/b.mrc;"b";FALSE;"13.48;13.48;20";\r\n'
    )
    path = manifest(tmp_path, ".csv", text)
    found = Collection.read(path)
    assert [[p.value for p in e.parameters] for e in found.entries] == [[True, 13.48], [False, (13.48, 13.48, 20.0)]]
    assert skip(path, ["b"]) == ["b"]
    assert path.read_bytes().decode() == text.replace("voxel_size;", "voxel_size;state").replace(
        '20";', '20";skip'
    ).replace('raw/b.mrc;"b";FALSE', "raw/b.mrc;b;FALSE")


REFUSED = {
    "source,name\nraw/a.mrc\n": "line 2: has 1 cells, but the first line names 2",
    "source\nraw/a.mrc,x\n": "line 2: has 2 cells, but the first line names 1",
    "name\na\n": "no column 'source'",
    "source,source\na.mrc,b.mrc\n": "'source' is there twice",
    "raw/a.mrc,a,,\nraw/b.mrc,b,,\n": "no column 'source'; there are raw/a.mrc",
    "source,voxelsize\na.mrc,1\n": "no column 'voxelsize'. Did you mean 'voxel_size'",
    "source,segment.ttta\na.mrc,1\n": "segment has no 'ttta'. Did you mean 'tta'",
    "source,roi\na.mrc,1:2\n": "'convert.roi' is the part",
    "source,convert.name\na.mrc,x\n": "use 'name'",
    "source,voxel_size,convert.voxel_size\na.mrc,1,2\n": "two columns are about convert.voxel_size",
    "source,voxel_size\na.mrc,13 A\n": "m.csv, line 2, voxel_size is '13 A'; it must be a number",
    'source,voxel_size\na.mrc,"13,48"\n': "needs 3 values, got 2",
    "source,invert\na.mrc,perhaps\n": "it must be true or false",
    "source,priority\na.mrc,high\n": "priority is 'high'; it must be a number",
    "source,state\na.mrc,done\n": "state is 'done'; it is empty, or skip",
    "source,name\na.mrc,x/y\n": "cannot be a file's name",
    "source\na.mrc\nb/../a.mrc\n": "line 3: has the same source as line 2",
    "source\na.mrc\nb/A.rec\n": "line 3: has the same name as line 2: 'A'",
    "source\n*.mrc\n": "nothing matches",
    "source,name\n,a\n": "the source is empty",
    f"source\n{'[' * 300}.mrc\n": "has 304 letters; no file has such a name",
    '"source\na.mrc\n': "line 1: is no CSV",
    "": "is empty",
    "# nothing\n": "is empty",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str) -> None:
    path = manifest(tmp_path, ".csv", text)
    with pytest.raises(InputError, match=r"m\.csv") as caught:
        Collection.read(path)
    assert REFUSED[text] in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "text", "message"),
    [
        (".yaml", "tomograms:\n- source: a.mrc\n  name: 12\n", "put it into quotes"),
        (".yaml", "tomograms:\n- source: a.mrc\n  voxel_size: .nan\n", "must be a finite number"),
        (".yaml", "tomograms:\n- source: a.mrc\n  invert: 3\n", "must be true or false"),
        (".yaml", "tomogram:\n- source: a.mrc\n", "has the name 'tomograms'"),
        (".yaml", "tomograms:\n- a.mrc\n", "number 1 of 'tomograms' is not names"),
        (".yaml", "tomograms: 3\n", "is no list"),
        (".star", "data_a\n_source a.mrc\n", "is one table"),
        (".star", "data_a\nloop_\n_name\na\n", "0 tables have the label _source"),
        (".star", "data_a\nloop_\n_source\n_name\na\n", "1 values, but data_a has 2 labels"),
    ],
)
def test_other_forms_are_refused_too(tmp_path: Path, ending: str, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Collection.read(manifest(tmp_path, ending, text))
    assert message in str(caught.value)


def test_bytes_that_are_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with pytest.raises(MissingError, match="collection new"):
        Collection.read(path)
    for data, message in ((CSV.encode("utf-16"), "UTF-16"), (b"source\n\xff.mrc\n", "UTF-8"), (b"a\0", "zero bytes")):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=message):
            Collection.read(path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FormatError, match="cannot be read"):
        Collection.read(tmp_path / "folder.csv")


def test_a_glob_stands_for_what_has_no_row_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mrc").write_bytes(b"")
    path = manifest(tmp_path, ".csv", "source,threshold,priority\n*.mrc,0.5,\nb.mrc,0.25,2\n")
    found = Collection.read(path)
    assert [(e.name, e.parameters[0].value) for e in found.at_work()] == [("b", 0.25), ("a", 0.5), ("c", 0.5)]
    with pytest.raises(InputError, match="one of the matches of a glob"):
        skip(path, ["a"])
    assert skip(path, ["a", "c"]) == ["a", "c"]
    assert [e.name for e in Collection.read(path).at_work()] == ["b"]


def test_a_link_stays_a_link_and_permissions_stay(tmp_path: Path) -> None:
    path = manifest(tmp_path, ".csv")
    path.chmod(0o664)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    skip(link, ["TS_01"])
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o664
    assert [e.skip for e in Collection.read(path).entries] == [True, False]
    assert sorted(os.listdir(tmp_path)) == ["link.csv", "m.csv"]


def test_what_somebody_wrote_meanwhile_is_not_lost(tmp_path: Path) -> None:
    path = manifest(tmp_path, ".csv")
    found = Collection.read(path)
    path.write_text(CSV + "raw/TS_03.mrc,TS_03,,\n")
    with pytest.raises(BusyError, match="by somebody else"):
        found.write({0: {"state": "skip"}})
    assert "TS_03" in path.read_text()


def test_names_that_are_not_there(tmp_path: Path) -> None:
    path = manifest(tmp_path, ".csv")
    with pytest.raises(InputError, match="no tomogram 'TS_9'"):
        skip(path, ["TS_9"])
    with pytest.raises(InputError, match="whose failed ones"):
        retry(path)
    with pytest.raises(InputError, match="STAR cannot hold"):
        parse(STAR, Path("m.star")).changed({0: {"name": "a\"b'c"}}, [])
    with pytest.raises(InputError, match=r"--set: there is no column 'thresold'\. Did you mean 'threshold'"):
        add_to_collection(path, str(tmp_path), {"thresold": "1"})
