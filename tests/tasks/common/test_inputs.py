"""Inputs as people give them: files, folders, globs, lists and URLs, in any mixture."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from volengine.core.errors import InputError, MissingError
from volengine.io.files import first_bytes
from volengine.tasks.common.inputs import SUFFIXES, expand


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Volumes of all kinds (names alone matter here), and things that are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("TS_2.mrc", "TS_10.MRC", "a.rec", "b.map.gz", "c.st", "d.ali.bz2", "e.tif", "f.ome.tiff", "g[1].mrc"):
        (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "raw" / name).touch()
    (tmp_path / "raw" / "h.ome.zarr").mkdir()
    (tmp_path / "raw" / "below").mkdir()
    (tmp_path / "raw" / "below" / "deep.mrc").touch()
    for name in ("notes.md", "model.safetensors", "picks.star", "TS_2.mrc.mdoc", "._TS_2.mrc"):
        (tmp_path / "raw" / name).touch()
    return tmp_path


def names(inputs: list[str]) -> list[str]:
    return [Path(i).name for i in expand(inputs)]


def test_a_folder_is_the_volumes_directly_in_it(folder: Path) -> None:
    found = names(["raw"])
    expected = ["TS_2.mrc", "TS_10.MRC", "a.rec", "b.map.gz", "c.st", "d.ali.bz2", "e.tif", "f.ome.tiff", "g[1].mrc"]
    assert found == sorted([*expected, "h.ome.zarr"])
    assert expand(["raw"]) == expand(["raw/"]) == [f"raw/{name}" for name in found]


def test_globs_take_volumes_alone(folder: Path) -> None:
    assert names(["raw/TS_*"]) == ["TS_10.MRC", "TS_2.mrc"]
    assert names(["raw/*"]) == names(["raw"])
    assert names(["*/*.ome.zarr", "raw/[ac].*"]) == ["a.rec", "c.st", "h.ome.zarr"]
    assert names(["raw/**/deep.mrc"]) == ["deep.mrc"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    assert names(["raw/g[1].mrc"]) == ["g[1].mrc"]


def test_a_mixture_is_sorted_and_each_comes_once(folder: Path) -> None:
    assert names(["raw/e.tif", "raw/a.rec", "raw/*.tif", "raw/e.tif"]) == ["a.rec", "e.tif"]


def test_a_file_that_is_named_in_two_ways_comes_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "one.mrc").touch()
    (folder / "link.mrc").symlink_to("one.mrc")
    assert expand(["one.mrc", str(folder / "one.mrc"), "./one.mrc", f"../{folder.name}/one.mrc"]) == ["one.mrc"]
    assert expand(["one.mrc", "link.mrc"]) == ["link.mrc", "one.mrc"]


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert expand(["~/raw/a.rec"]) == [str(folder / "raw" / "a.rec")]
    assert expand(["~/raw/a.*"]) == [str(folder / "raw" / "a.rec")]


def test_urls_are_taken_as_they_are(folder: Path) -> None:
    assert expand(["s3://bucket/b.zarr", "memory://a.zarr"]) == ["memory://a.zarr", "s3://bucket/b.zarr"]


@pytest.mark.parametrize("mark", ["zarr.json", ".zgroup", ".zarray"])
def test_a_store_is_known_without_its_suffix(folder: Path, mark: str) -> None:
    (folder / "store").mkdir()
    (folder / "store" / mark).touch()
    (folder / "store" / "inside.mrc").touch()
    assert expand(["store"]) == ["store"]


def test_labels_inside_of_stores(folder: Path) -> None:
    for name in ("TS_1.ome.zarr", "TS_2.ome.zarr"):
        (folder / "stores" / name).mkdir(parents=True)
        (folder / "stores" / name / "zarr.json").touch()
    both = ["stores/TS_1.ome.zarr#labels/core", "stores/TS_2.ome.zarr#labels/core"]
    assert expand(both[:1]) == both[:1]
    assert expand(["stores/TS_*.ome.zarr#labels/core"]) == both
    assert expand(["stores#labels/core"]) == both
    assert expand(["s3://bucket/b.zarr#labels/core"]) == ["s3://bucket/b.zarr#labels/core"]
    lines = "stores/TS_1.ome.zarr#labels/core # the best\nstores/TS_2.ome.zarr# as a whole\n"
    (folder / "labels.txt").write_text(lines)
    assert expand(["labels.txt"]) == [*both[:1], "stores/TS_2.ome.zarr"]
    with pytest.raises(InputError, match=r"is no OME-Zarr store, so there is no group 'labels/core'"):
        expand(["raw#labels/core"])
    with pytest.raises(MissingError, match=r"none.zarr: no such file or folder"):
        expand(["none.zarr#labels/core"])


def test_a_list_is_relative_to_itself_and_may_hold_everything(folder: Path) -> None:
    (folder / "lists").mkdir()
    text = f"""
        # first the files
        ../raw/TS_2.mrc      # the good one
        {folder}/raw/a.rec
        ../raw/*.tif
        s3://bucket/x.zarr
        more.txt
    """
    (folder / "lists" / "all.txt").write_text(text)
    (folder / "lists" / "more.txt").write_text("../raw/below\n")
    assert sorted(names(["lists/all.txt"])) == ["TS_2.mrc", "a.rec", "deep.mrc", "e.tif", "x.zarr"]
    assert "s3://bucket/x.zarr" in expand(["lists/all.txt"])


def test_a_list_of_windows_and_the_home_folder_on_its_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "lists").mkdir()
    (folder / "lists" / "w.txt").write_bytes("\ufeff~/raw/a.rec\r\n../raw/c.st\r\n".encode())
    assert sorted(names(["lists/w.txt"])) == ["a.rec", "c.st"]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ([], MissingError, "No input"),
        (["raw/none.mrc"], MissingError, "raw/none.mrc: no such file"),
        (["nowhere"], MissingError, "nowhere: no such file or folder"),
        (["raw/*.mrcx"], MissingError, "raw/*.mrcx: nothing matches"),
        (["raw/*.md"], MissingError, "raw/*.md: nothing matches"),
        (["raw/notes.md"], InputError, "raw/notes.md: the suffix is not one of"),
        (["empty"], MissingError, "empty: no volume in this folder"),
        (["bad.txt"], MissingError, "bad.txt, line 3: none.mrc: no such file"),
        (["none.txt"], MissingError, "none.txt: no such file"),
        (["comments.txt"], MissingError, "comments.txt: the list names no input"),
        (["outer.txt"], MissingError, "outer.txt, line 1: bad.txt, line 3: none.mrc"),
        (["self.txt"], InputError, "self.txt, line 1: self.txt: the list contains itself"),
        (["bytes.txt"], InputError, "bytes.txt: no text"),
    ],
)
def test_what_names_no_volume_is_refused(folder: Path, given: list[str], error: type[Exception], says: str) -> None:
    (folder / "empty").mkdir()
    (folder / "bad.txt").write_text("raw/a.rec\n\nnone.mrc\n")
    (folder / "outer.txt").write_text("bad.txt\n")
    (folder / "self.txt").write_text("self.txt\n")
    (folder / "comments.txt").write_text("# nothing\n\n")
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\x80 raw/a.rec\n")
    with pytest.raises(error, match=re.escape(says)):
        expand(given)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_taken_in_capitals_too(folder: Path, suffix: str) -> None:
    (folder / f"x{suffix.upper()}").touch()
    assert expand([f"x{suffix.upper()}"]) == [f"x{suffix.upper()}"]


def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.mrc")
    (folder / "device.mrc").symlink_to("/dev/zero")
    for name in ("pipe.mrc", "device.mrc"):
        with pytest.raises(InputError, match=rf"{name}: is neither a file nor a folder"):
            expand([str(folder / name)])
        with pytest.raises(InputError, match=rf"{name}: is a device or a pipe; an MRC file was expected"):
            first_bytes(str(folder / name), 4, "an MRC file")


def test_a_tilde_before_no_user_is_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("~no such user.mrc").touch()
    assert expand(["~no such user.mrc"]) == ["~no such user.mrc"]


def test_a_name_that_is_no_text_is_refused(folder: Path) -> None:
    name = os.fsdecode(os.fsencode(folder) + b"/a\xff.mrc")
    Path(name).touch()
    with pytest.raises(InputError, match=r"a\\udcff\.mrc': the name is no text in UTF-8"):
        expand([name])
