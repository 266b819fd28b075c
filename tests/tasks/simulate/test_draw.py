"""Distributions in recipes."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.core.errors import InputError
from volengine.tasks.simulate.draw import drawn


def test_each_value_has_a_stream_of_its_own() -> None:
    one = {"a": {"uniform": [0, 1]}, "b": [{"normal": [5, 2]}, {"choice": ["x", {"c": {"integers": [1, 3]}}]}], "d": 4}
    first = drawn(one, seed=3, sample=2)
    assert first == drawn(one, seed=3, sample=2)
    assert drawn({"b": one["b"], "z": {"uniform": [0, 1]}}, 3, 2)["b"] == first["b"]
    assert drawn(one, 3, 1)["a"] != first["a"] != drawn(one, 4, 2)["a"]
    assert first["d"] == 4


def test_numbers_are_drawn_from_the_distribution_of_the_recipe() -> None:
    def many(value: object) -> list:
        return [drawn({"v": value}, 1, n)["v"] for n in range(400)]

    assert set(many({"integers": [2, 4]})) == {2, 3, 4}
    assert set(many({"choice": ["a", "b"]})) == {"a", "b"}
    assert np.mean(many({"uniform": [2, 4]})) == pytest.approx(3, abs=0.1)
    assert np.std(many({"normal": [0, 2]})) == pytest.approx(2, abs=0.25)
    assert np.median(many({"loguniform": [1, 100]})) == pytest.approx(10, rel=0.25)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"uniform": 3}, "dose: uniform needs a list"),
        ({"uniform": [3]}, "two numbers"),
        ({"uniform": [4, 3]}, "smaller number first"),
        ({"loguniform": [0, 3]}, "above 0"),
        ({"normal": [0, -1]}, "not negative"),
        ({"integers": [0.5, 2]}, "whole numbers"),
        ({"choice": []}, "needs a list"),
        ({"uniform": ["a", 2]}, "two numbers"),
    ],
)
def test_what_cannot_be_drawn_is_named(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn({"dose": value}, 1, 1)
