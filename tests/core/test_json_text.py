"""JSON from files that anybody may have written, against the json module."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import FormatError
from volengine.core.json_text import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_values_are_those_of_json(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text, "x.json") == json.loads(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1, "b": 2, "a": 3}]', r"^x\.json gives 'a' twice, as 1 and 3\.$"),
        ('{"a": {"b": 1, "b": true}}', "gives 'b' twice, as 1 and True"),
        ('{"a": [1], "a": [2], "a": [1]}', "gives 'a' twice"),
        ('{"a": }', "no JSON"),
    ],
)
def test_a_name_with_two_values_is_refused(text: str, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_json(text, "x.json")


def test_a_name_that_says_the_same_twice_is_clear() -> None:
    assert parse_json('{"a": [1, NaN], "a": [1, NaN], "b": 2}', "x.json").keys() == {"a", "b"}
