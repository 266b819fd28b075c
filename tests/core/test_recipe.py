"""Values of recipes: what YAML and numpy make of a number is taken for what it says, and nothing else is converted."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe, coerce
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.train.samples import TrainSample


@dataclasses.dataclass(frozen=True)
class Values(Recipe):
    """One field of each kind that a recipe may have."""

    whole: int = 1
    number: float = 1.0
    name: str = ""
    on: bool = False
    word: Literal["0.4", "0.5"] = "0.5"
    of: Literal[6, 18, 26] = 26
    views: int | Literal["flips"] | None = None
    triple: tuple[int, int, int] = (0, 0, 0)
    texts: tuple[str, ...] = ()
    numbers: tuple[float, ...] | None = None
    wholes: tuple[int, ...] = ()
    words: tuple[Literal["a", "b"], ...] = ()


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("word", 0.5, "0.5"),
        ("word", np.float64(0.4), "0.4"),
        ("of", 26.0, 26),
        ("of", np.int64(18), 18),
        ("whole", 3.0, 3),
        ("whole", np.uint8(3), 3),
        ("number", np.float32(0.5), 0.5),
        ("number", 2, 2.0),
        ("on", np.bool_(True), True),
        ("views", 4.0, 4),
        ("views", "flips", "flips"),
        ("triple", [1.0, 2, np.int32(3)], (1, 2, 3)),
        ("name", np.str_("a"), "a"),
        ("texts", "a", ("a",)),
        ("numbers", 3, (3.0,)),
        ("numbers", np.float32(0.5), (0.5,)),
        ("numbers", None, None),
        ("wholes", 3.0, (3,)),
        ("wholes", np.int64(3), (3,)),
        ("words", "b", ("b",)),
    ],
)
def test_a_number_is_what_it_says(field: str, given: Any, value: Any) -> None:
    found = getattr(Values(**{field: given}), field)
    assert found == value
    assert type(found) is type(value)
    json.dumps(Values(**{field: given}).to_json())


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("word", 0.6),
        ("word", True),
        ("of", 26.5),
        ("of", True),
        ("of", "26"),
        ("whole", 3.5),
        ("whole", True),
        ("whole", float("inf")),
        ("whole", "3"),
        ("number", "1"),
        ("number", False),
        ("on", 1),
        ("views", 4.5),
        ("triple", [1.5, 2, 3]),
        ("name", 7),
        ("name", False),
        ("texts", "a,b"),
        ("texts", 7),
        ("numbers", "3"),
        ("numbers", True),
        ("wholes", 3.5),
        ("words", "c"),
        ("triple", 3),
    ],
)
def test_what_says_something_else_is_refused(field: str, given: Any) -> None:
    with pytest.raises(InputError, match=rf"Values\.{field}"):
        Values(**{field: given})


def test_a_text_that_yaml_reads_as_a_number_is_to_be_quoted() -> None:
    with pytest.raises(InputError, match="quotes"):
        Values.from_json({"name": 7})


@given(st.integers(-(10**15), 10**15))
def test_every_whole_float_is_its_integer(value: int) -> None:
    assert coerce(float(value), int, "x") == value


def test_the_recipes_of_the_verbs() -> None:
    assert PickRecipe.from_json({"connectivity": 26.0}) == PickRecipe(connectivity=26)
    rules = [{"compete": {"emit": ["a", "b"], "absorb": ["a"]}}]
    assert InteractRecipe.from_json({"rules": rules, "ngff": 0.5}).ngff == "0.5"
    points = {"volume": "a.mrc", "points": "a.star", "radius_nm": 3}
    assert TrainSample.from_json(points) == TrainSample("a.mrc", points=("a.star",), radius_nm=(3.0,))


def test_a_choice_of_nothing_is_not_listed() -> None:
    with pytest.raises(InputError, match=r"it must be one of ais, membrain\.$"):
        coerce("Ais2", Literal["", "ais", "membrain"], "compat")
