"""Where things lie: a feature's file name is its own, and says which feature it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.tasks.common.layout import feature_named, feature_store, file_name

FEATURES = st.text(min_size=1, max_size=12) | st.text("ab_~. %2F/", min_size=1, max_size=8)


@given(FEATURES, FEATURES)
def test_two_features_never_have_the_same_file_name(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


@given(FEATURES)
def test_a_file_name_says_its_feature_and_fits_between_separators(feature: str) -> None:
    name = file_name(feature)
    assert feature_named(name) == feature
    assert not re.search(r"__|[/\\\x00-\x1f ]", name)
    assert not name.startswith(".")
    assert f"TS__01__{name}".rpartition("__")[2] == name


@pytest.mark.parametrize(
    ("feature", "name"),
    [
        ("ribosome", "ribosome"),
        ("ER_membrane", "ER_membrane"),
        ("ER membrane", "ER~20membrane"),
        ("\u03b1-tubulin", "\u03b1-tubulin"),
        ("\u03b2-tubulin", "\u03b2-tubulin"),
        ("a/b", "a~2Fb"),
        ("..", "~2E."),
        ("80S+tRNA", "80S+tRNA"),
    ],
)
def test_names_that_people_use(feature: str, name: str) -> None:
    assert file_name(feature) == name


def test_texts_of_other_programs_stay_as_they_are() -> None:
    for text in ("50%25", "a~zz", "a~2f", "x~", "plain"):
        assert feature_named(text) == text


def test_a_feature_without_name_is_refused() -> None:
    with pytest.raises(InputError, match="needs a name"):
        feature_store("out", "TS_01", "")
