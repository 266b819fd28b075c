"""Conditions on columns: against Python's own expressions, what is unknown, and what is refused."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.conditions import DEEPEST, check_condition, fulfils
from volengine.core.errors import InputError

COLUMNS: dict[str, Any] = {
    "membrane.distance_nm": np.array([3.0, 15.0, 40.0, np.inf, np.nan]),
    "weight": np.array([5.0, -1.0, 0.0, 2.5, 1e3]),
    "label": np.array([1, 2, 3, 2**53 + 1, -7]),
    "inside": np.array(["nucleus", "none", "nucleus+mitochondrion", "mito's", ""]),
    "er.inside": np.array([True, False, False, True, True]),
    "in": np.array([0, 1, 2, 3, 4]),
}


def rows(condition: str) -> list[int]:
    return np.flatnonzero(fulfils(condition, COLUMNS, 5)).tolist()


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("membrane.distance_nm < 15", [0]),
        ("membrane.distance_nm <= 15", [0, 1]),
        ("membrane.distance_nm == inf", [3]),
        ("membrane.distance_nm != 15", [0, 2, 3]),  # what is missing is not different either
        ("not membrane.distance_nm < 15", [1, 2, 3]),
        ("not (membrane.distance_nm < 15 and weight > 0)", [1, 2, 3]),
        ("membrane.distance_nm < 15 or er.inside", [0, 3, 4]),  # one of two is enough, whatever the other is
        ("not (membrane.distance_nm < 15 or er.inside)", [1, 2]),
        ("er.inside or membrane.distance_nm < 15", [0, 3, 4]),
        ("(membrane.distance_nm < 15) == false", [1, 2, 3]),
        ("membrane.distance_nm + weight > 13.5", [1, 2, 3]),
        ("membrane.distance_nm not in (3, 15)", [2, 3]),
        ("inside == 'nucleus'", [0]),
        ("inside = \"nucleus\" or inside=='none'", [0, 1]),
        ("inside != 'none'", [0, 2, 3, 4]),
        ("'nucleus' in inside", [0, 2]),
        ("'nucleus' not in inside", [1, 3, 4]),
        ("'nucl' in inside", []),
        ("inside in ('none', 'mito')", [1]),
        ('inside == "mito\'s"', [3]),
        ("label in (1, 3)", [0, 2]),
        ("label == 9007199254740993", [3]),
        ("label == 9007199254740992", []),
        ("label * 9e18 > 1e19", [1, 2, 3]),
        ("1 < label <= 3", [1, 2]),
        ("-weight * 2 + 1 >= 1 and weight / 0 < 0", [1]),
        ("er.inside AND NOT weight > 3", [3]),
        ("true", [0, 1, 2, 3, 4]),
        ("false", []),
        ("`in` > 2", [3, 4]),
        ("er.inside == 1", [0, 3, 4]),
        ("  weight>.5e1  ", [4]),
        ("2 - 1 - 1 == 0 and 8 / 4 / 2 == 1 and 2 + 3 * 4 == 14", [0, 1, 2, 3, 4]),
    ],
)
def test_conditions(condition: str, kept: list[int]) -> None:
    assert rows(condition) == kept
    check_condition(condition)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "character 1: a column, a number or a text is missing"),
        ("weight <", "character 9: a column, a number or a text is missing"),
        (
            "wieght < 3",
            "character 1: there is no column 'wieght'. Did you mean 'weight'. The columns are membrane.dist",
        ),
        ("inside == nucleus", "no column 'nucleus'.*Texts stand in quotes"),
        ("inside == 3", "character 8: a text is compared with a number"),
        ("inside < 'a'", "'<' compares numbers"),
        ("weight", "a number alone is no condition"),
        ("weight and er.inside", "a number alone is no condition"),
        ("'a'", "a text alone is no condition"),
        ("inside + 'a' == 'b'", "computes with numbers"),
        ("weight > 3 weight", "character 12: 'weight' is not expected"),
        ("(weight > 3", r"'\)' is missing for the '\(' at character 1"),
        ("label in 3", "'in' asks for a list"),
        ("label in (1, 'a')", "a text is compared with a number"),
        ("label in ()", "is not expected here"),
        ("weight > 3; import os", "character 11: ';' is not understood"),
        ("weight > 'a", "is not understood"),
        ("__import__('os')", "there is no column '__import__'"),
        ("weight > 3x", "character 10: '3' is not understood"),
        ("weight ** 2 > 3", r"character 9: '\*' is not expected"),
        ("(" * (DEEPEST + 1) + "true" + ")" * (DEEPEST + 1), "stand in each other"),
        ("not " * 5000 + "true", "10000 are read at most"),
        ("not " * 1000 + "true", "stand in each other"),
        ("weight not > 3", "'in' is missing"),
        ("not not", "is missing here|not expected"),
    ],
)
def test_what_is_refused(condition: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("Did you mean 'weight'.", r"Did you mean 'weight'\?")):
        fulfils(condition, COLUMNS, 5)


@pytest.mark.parametrize("condition", ["weight <", "(a < 3", "a < 3 b", "3", "'a' < 3", "a in 3"])
def test_the_form_is_checked_without_columns(condition: str) -> None:
    with pytest.raises(InputError, match="The condition"):
        check_condition(condition)
    check_condition("any.column < 3 and text == 'a' and (flag or not other) and 'a' in inside")


def test_no_rows() -> None:
    assert fulfils("a < 3 and 'x' in b", {"a": np.zeros(0), "b": np.zeros(0, "U1")}, 0).shape == (0,)


NUMBERS = st.sampled_from(["a", "b", "1", "2.5", "0"])
COMPARED = st.tuples(NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS).map(" ".join)
TREES = st.recursive(
    COMPARED,
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=12,
)


@given(TREES, st.lists(st.tuples(st.integers(-2, 3), st.floats(-3, 3)), max_size=6))
def test_the_same_as_pythons_expressions(condition: str, values: list[tuple[int, float]]) -> None:
    columns = {"a": np.array([a for a, _ in values], np.int64), "b": np.array([b for _, b in values], np.float64)}
    expected = [bool(eval(condition, {}, {"a": a, "b": b})) for a, b in values]
    assert fulfils(condition, columns, len(values)).tolist() == expected


@given(TREES, st.lists(st.sampled_from([math.nan, 0.0, 1.0, 2.5]), min_size=1, max_size=4))
def test_what_is_chosen_does_not_depend_on_what_is_missing(condition: str, values: list[float]) -> None:
    """A row with a missing number is chosen only if any number in its place would be; and so is the opposite."""
    column = np.array(values)
    here = fulfils(condition, {"a": column, "b": column * 0 + 1}, len(values))
    not_here = fulfils(f"not ({condition})", {"a": column, "b": column * 0 + 1}, len(values))
    assert not operator.and_(here, not_here).any()
    known = ~np.isnan(column)
    assert (here | not_here)[known].all()
    for number in (-1.0, 0.0, 1.0, 1.7, 2.5, 9.0):
        filled = np.where(known, column, number)
        there = fulfils(condition, {"a": filled, "b": filled * 0 + 1}, len(values))
        assert not (here & ~known & ~there).any()
        assert not (not_here & ~known & there).any()
