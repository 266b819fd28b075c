"""Recipes in YAML files: what a reader must not pass over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from volengine.core.errors import FormatError
from volengine.tasks.common.yaml_recipes import read_yaml


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nspecimen:\n  layers:\n    - {count: 1, weight: 2}\n    - {count: 1, count: 2}\n")
    with pytest.raises(FormatError, match=r"r.yaml, line 5: 'count' is there twice"):
        read_yaml(path)
    path.write_text("name: a\nseed: 1\nname: b\n")
    with pytest.raises(FormatError, match=r"line 3: 'name' is there twice"):
        read_yaml(path)


def test_anchors_and_equal_names_in_different_places_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: &one {x: 1}\nb: *one\nc: {<<: *one, y: [1, 1]}\nx: {x: 2}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": [1, 1]}, "x": {"x": 2}}


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: [1e9, 1.0e9, -2.5E-3, .5e1, 1.e+2]\nb: '1e9'\nc: 1e9x\nd: e9\n")
    assert read_yaml(path) == {"a": [1e9, 1e9, -2.5e-3, 5.0, 100.0], "b": "1e9", "c": "1e9x", "d": "e9"}
