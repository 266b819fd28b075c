"""Recipes in YAML files: what a reader must not pass over in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import FormatError
from volengine.core.yaml_recipes import parse_yaml, read_yaml, yaml_text


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nspecimen:\n  layers:\n    - {count: 1, weight: 2}\n    - {count: 1, count: 2}\n")
    with pytest.raises(FormatError, match=r"r.yaml, line 5: 'count' is there twice"):
        read_yaml(path)
    path.write_text("name: a\nseed: 1\nname: b\n")
    with pytest.raises(FormatError, match=r"line 3: 'name' is there twice"):
        read_yaml(path)


def test_a_list_without_brackets_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    for shape in ("50,400,400", "50, 400, 200"):
        path.write_text("name: a\nspecimen: {shape: " + shape + ", voxel_size: 10}\n")
        with pytest.raises(FormatError, match=r"line 2: 400 has no value.*: shape: \[50, 400, [24]00\]\.$"):
            read_yaml(path)
    path.write_text("classes: {13: 0.5, 14: , a: }\n")
    with pytest.raises(FormatError, match="14 has no value"):
        read_yaml(path)
    path.write_text("13:\na: {b: , '14': }\n")
    assert read_yaml(path) == {13: None, "a": {"b": None, "14": None}}


def test_anchors_and_equal_names_in_different_places_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: &one {x: 1}\nb: *one\nc: {<<: *one, y: [1, 1]}\nx: {x: 2}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": [1, 1]}, "x": {"x": 2}}


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: [1e9, 1.0e9, -2.5E-3, .5e1, 1.e+2]\nb: '1e9'\nc: 1e9x\nd: e9\n")
    assert read_yaml(path) == {"a": [1e9, 1e9, -2.5e-3, 5.0, 100.0], "b": "1e9", "c": "1e9x", "d": "e9"}


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    """YAML 1.1 reads ``1:2:3`` as 3723 and ``012`` as 10, without a word."""
    path = tmp_path / "r.yaml"
    path.write_text("a: [1:2:3, 1:30.5, 012, 0o17, 0x1F, 1_000, -3, +4, 0, .inf, -.5, 1.]\n")
    texts, numbers = ["1:2:3", "1:30.5", "012"], [15, 31, 1000, -3, 4, 0, float("inf"), -0.5, 1.0]
    assert read_yaml(path) == {"a": [*texts, *numbers]}
    assert [type(v) for v in read_yaml(path)["a"][3:9]] == [int] * 6


def laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 6000, "nested more than 50 levels"),
        ("a: " + "{b: " * 6000, "nested more than 50 levels"),
        ("- " * 3000 + "1", "nested more than 50 levels"),
        (laughs(), "anchors stand for more than"),
        ("a: &a [*a]", "anchors stand for more than"),
        ("a: &a {b: *a}", "anchors stand for more than"),
        ("a: " + "9" * 5000, "cannot be read"),
        ("a: 1e400", "larger than any number"),
        ("a: 2026-13-45", "cannot be read"),
        ("a: !!int '1:2:3'", "cannot be read"),
        ("? [a]\n: 1", "no valid YAML"),
        ("a: !!python/object/apply:os.system [id]", "no valid YAML"),
        ("a: *b", "no valid YAML"),
        ("", "names and values"),
    ],
)
def test_files_that_want_to_harm_are_one_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_yaml(path)


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes("\ufeffa: é".encode())
    assert read_yaml(path) == {"a": "é"}
    for coded in ("a: é".encode("latin-1"), "a: 1".encode("utf-16"), bytes(16 * 2**20 + 1)):
        path.write_bytes(coded)
        with pytest.raises(FormatError):
            read_yaml(path)


TEXT = st.text(st.characters(codec="utf-8")) | st.sampled_from(
    [
        "1e9",
        "012",
        "1:2:3",
        "0x1f",
        "0o17",
        "1_000",
        "yes",
        "null",
        "~",
        "",
        ".inf",
        "2024-01-01",
        "a: b",
        "- x",
        "#",
        "<<",
    ]
)
SCALAR = st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | TEXT
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(TEXT, VALUE, max_size=5))
def test_what_is_written_is_read_as_the_same_values(value: dict[str, Any]) -> None:
    again = parse_yaml(yaml_text(value), "here")
    assert again == value
    assert json.dumps(again) == json.dumps(value)  # 1 is not True, and not 1.0


def test_what_is_no_text_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "TS_01.mrc").write_bytes(b"\x80\x00\xff")
    for name, what in (("TS_01.mrc", "no text in UTF-8"), (".", "a folder")):
        with pytest.raises(FormatError, match=f"is {what}, and no recipe, which is a YAML file") as info:
            read_yaml(tmp_path / name)
        assert "--volume" in str(info.value)
