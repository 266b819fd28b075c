"""Digests: equal values have equal ones, values that differ in anything have others."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.digest import digest_of, exact_text
from volengine.core.errors import PlanError

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@dataclasses.dataclass(frozen=True)
class Point:
    """A dataclass."""

    x: float = 0.0
    y: float = 0.0


@dataclasses.dataclass(frozen=True)
class Size:
    """Another one with the same fields."""

    x: float = 0.0
    y: float = 0.0


class Colour(enum.Enum):
    """An enumeration without values of JSON."""

    RED = enum.auto()
    BLUE = enum.auto()


@given(st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), values, max_size=4))
def test_json_values_keep_the_digest_that_earlier_versions_gave_them(value):
    plain = json.loads(json.dumps(value))
    keys: list[str] = []

    def walk(item):
        if isinstance(item, dict):
            keys.extend(item)
            for inner in item.values():
                walk(inner)
        elif isinstance(item, list):
            for inner in item:
                walk(inner)

    walk(plain)
    if not any(key.startswith("$") for key in keys):
        former = hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:20]
        assert digest_of(value) == former


@given(values, values)
def test_different_values_have_different_texts(one, other):
    def same(a, b):
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, float):
            return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
        return a == b

    assert (exact_text(one) == exact_text(other)) == same(one, other)


@given(values)
def test_a_value_that_went_through_json_is_the_same(value):
    assert digest_of(json.loads(json.dumps(value))) == digest_of(value)


def test_numpy_values_that_print_alike_are_not_the_same():
    long = np.arange(5000.0)
    other = long.copy()
    other[2500] += 1e-9  # str() of both leaves the middle out
    assert str(long) == str(other)
    different = [
        long, other, long.astype("float32"), long.astype(">f8"), long.reshape(50, 100), long.tolist(), str(long),
        np.zeros(0), np.zeros((0, 3)), np.float32(0.5), np.float16(0.5), 0.5, np.int64(1), np.int32(1), 1, True,
        np.bool_(True), 1.0, "1", np.array(1.0), np.float64(-0.0), 0.0, math.nan, math.inf, "NaN", None, "null",
        {1: "a"}, {"1": "a"}, {1.0: "a"}, {True: "a"}, {"true": "a"}, {"$array": ["<f8", [0], ""]}, b"a", "a",
        Point(1, 2), Point(1, 3), Size(1, 2), {"x": 1, "y": 2}, Colour.RED, Colour.BLUE, "RED",
        np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [1, 0]), np.array(["a"]), np.array([b"a"]),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.array([(1, 2.0)], [("a", "i4"), ("c", "f8")]),
        np.datetime64("2026-01-01"), np.datetime64("2026-01-01T00"),
    ]  # fmt: skip
    digests = [digest_of({"value": value}) for value in different]
    assert len(set(digests)) == len(different)


def test_equal_values_of_other_types_are_the_same():
    assert digest_of((1, [2, (3,)])) == digest_of([1, [2, [3]]])
    assert digest_of(np.float64(0.1)) == digest_of(0.1)  # so it comes back from JSON
    assert digest_of(np.str_("a")) == digest_of("a")
    assert digest_of(PurePosixPath("a/b")) == digest_of("a/b")
    assert digest_of(np.arange(6).reshape(2, 3).T) == digest_of(np.ascontiguousarray(np.arange(6).reshape(2, 3).T))
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})


def test_what_has_no_exact_text_is_refused():
    itself: list[object] = []
    itself.append(itself)
    for value in (object(), {1, 2}, np.array([None]), digest_of, Point, itself, 10**5000, 1j):
        with pytest.raises(PlanError, match=r"digest|contains itself"):
            digest_of([value])
