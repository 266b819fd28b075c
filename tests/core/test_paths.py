"""Paths as people give them, and the fields of recipes that take them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from volengine.core.errors import InputError
from volengine.core.paths import path_text, path_text_or_none, path_texts, paths_by_feature
from volengine.core.recipe import Recipe
from volengine.io.open import OpenVolume


@dataclass(frozen=True)
class Files(Recipe):
    """A recipe with all kinds of fields that may hold paths."""

    several: tuple[str, ...] = ()
    one: str = ""
    maybe: str | None = None
    number: int | str | None = None
    inner: tuple[Files, ...] = ()


def test_a_path_becomes_its_text_and_a_text_stays_as_it_is() -> None:
    assert path_text("a/../b.mrc") == "a/../b.mrc"
    assert path_text(Path("a") / "b.mrc") == "a/b.mrc"
    assert path_text(PurePosixPath("/a/b")) == "/a/b"
    assert path_text("s3://bucket/a.zarr") == "s3://bucket/a.zarr"
    assert path_text_or_none(None) is None
    assert path_text_or_none(Path("a")) == "a"


def test_a_leading_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_text("~/a.mrc") == path_text(Path("~/a.mrc")) == str(tmp_path / "a.mrc")
    assert path_texts(["~/*.mrc", "~"]) == [f"{tmp_path}/*.mrc", str(tmp_path)]
    assert paths_by_feature({"a": "~/x"}) == {"a": str(tmp_path / "x")}
    for same in ("a/~/b", "a~", "~no-such-user/a", "s3://bucket/~/a.zarr"):
        assert path_text(same) == same


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("s3:/bucket/a.zarr", "s3://bucket/a.zarr"),
        ("s3:bucket/a.zarr", "s3://bucket/a.zarr"),
        ("HTTPS:/host/a.zarr", "HTTPS://host/a.zarr"),
        ("simplecache:/host/a", "simplecache://host/a"),
    ],
)
def test_a_url_without_its_slashes_is_no_local_folder(mistyped: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"two slashes: {meant}"):
        path_text(mistyped)
    with pytest.raises(InputError, match="two slashes"):
        path_texts(["a.mrc", mistyped])
    assert path_text(f"./{mistyped}") == f"./{mistyped}"


@pytest.mark.parametrize("path", ["C:/a.mrc", "a/s3:/b", "TS:1.mrc", "a.zarr#labels/b:/c", "12:/a", "s3.mrc"])
def test_colons_of_other_paths_are_kept(path: str) -> None:
    assert path_text(path) == path


@pytest.mark.parametrize("wrong", [3, b"a.mrc", ["a.mrc"], object()], ids=["number", "bytes", "list", "object"])
def test_what_is_no_path_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match=r"is no path; give text or a pathlib\.Path"):
        path_text(wrong)  # type: ignore[arg-type]


def test_bytes_in_a_path_object_are_refused() -> None:
    class Bytes(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return b"a"

    with pytest.raises(InputError, match="is no path"):
        path_text(Bytes())  # type: ignore[arg-type]


def test_a_url_that_pathlib_has_broken_is_refused() -> None:
    with pytest.raises(InputError, match=r"s3:/bucket/a\.zarr.*give the URL as text"):
        path_text(Path("s3://bucket/a.zarr"))
    assert path_text(Path("net.py:Net")) == "net.py:Net"


def test_one_path_or_several_become_a_list() -> None:
    assert path_texts("list.txt") == path_texts(Path("list.txt")) == ["list.txt"]
    assert path_texts([Path("a"), "b"]) == path_texts(iter(("a", Path("b")))) == ["a", "b"]
    assert path_texts(()) == []
    with pytest.raises(InputError, match="3 is no path"):
        path_texts([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"<Volume 'a'.*is no path; give its url"):
        path_texts(OpenVolume(url="a.mrc", name="a", shape=(9, 9, 9), dtype="u1", voxel_size=(1, 1, 1)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="3 is no path"):
        path_texts(3)  # type: ignore[arg-type]


def test_paths_by_feature_keep_their_features() -> None:
    assert paths_by_feature({"a": Path("x"), "b": "y"}) == {"a": "x", "b": "y"}
    assert paths_by_feature(Path("x")) == "x"


def test_fields_of_text_take_paths_and_hold_text() -> None:
    recipe = Files((Path("a"), "b"), Path("c"), Path("d"), Path("e"), ({"one": Path("f")},))  # type: ignore[arg-type]
    assert recipe == Files(("a", "b"), "c", "d", "e", (Files(one="f"),))
    assert recipe.to_json()["several"] == ["a", "b"]


def test_a_single_text_or_path_is_a_list_of_one() -> None:
    assert Files("a.mrc").several == Files(Path("a.mrc")).several == ("a.mrc",)  # type: ignore[arg-type]
    assert Files.from_json({"several": "a.mrc"}) == Files(("a.mrc",))
    assert Files(Path("a,b.mrc")).several == ("a,b.mrc",)  # type: ignore[arg-type]


def test_texts_with_commas_are_no_list() -> None:
    with pytest.raises(InputError, match=r"Files\.several is 'a, b'; give several as a list"):
        Files("a, b")  # type: ignore[arg-type]


def test_a_path_is_no_number_and_no_choice() -> None:
    @dataclass(frozen=True)
    class Numbers(Recipe):
        many: tuple[int, ...] = ()
        single: int = 0

    for wrong in ({"many": Path("1")}, {"single": Path("1")}, {"many": "1"}):
        with pytest.raises(InputError, match="must be"):
            Numbers(**wrong)  # type: ignore[arg-type]
