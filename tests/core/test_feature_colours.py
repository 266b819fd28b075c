"""A feature has one colour, whatever the run."""

from __future__ import annotations

import doctest

import volengine.core.feature_colours as module
from volengine.core.colours import PALETTE
from volengine.core.feature_colours import KNOWN, colour_of_feature, colours_apart, hexadecimal


def test_features_that_are_found_together_have_different_colours_of_the_palette() -> None:
    colours = [colour_of_feature(name) for name in KNOWN]
    assert len(set(colours)) == len(KNOWN) == len(PALETTE)
    assert set(colours) <= set(PALETTE)


def test_other_features_have_a_colour_that_follows_from_their_name() -> None:
    names = [f"feature {k}" for k in range(200)]
    colours = [colour_of_feature(name) for name in names]
    assert colours == [colour_of_feature(name) for name in names]
    assert set(colours) == set(PALETTE)
    assert colour_of_feature("tric") == (68, 170, 153)  # fixed: stores of old runs have it


def test_features_that_lie_together_have_different_colours_which_later_ones_do_not_change() -> None:
    names = [f"feature {k}" for k in range(40)]
    for count in range(len(PALETTE) + 1):
        found = colours_apart(dict.fromkeys(names[:count]))
        assert len(set(found.values())) == count
        assert list(colours_apart(dict.fromkeys(names)).items())[:count] == list(found.items())
    assert colours_apart({"ribosome": None}) == {"ribosome": f"#{hexadecimal(colour_of_feature('ribosome'))}"}
    assert set(colours_apart({"a": "#0072B2", "b": "#0072B2"}).values()) == {"#0072B2"}  # as somebody wants it


def test_spelling_and_uncertainty_make_no_difference() -> None:
    for name in ("ribosome", "nucleosome"):
        same = {colour_of_feature(text) for text in (name, name.title(), name + "s", f"{name} uncertainty")}
        assert len(same) == 1


def test_what_the_model_says_goes_first() -> None:
    assert colour_of_feature("membrane", (0.26, 0.53, 0.96)) == (66, 135, 245)
    assert hexadecimal((66, 135, 245)) == "4287F5"


def test_the_examples_of_the_module_hold() -> None:
    assert doctest.testmod(module).failed == 0
