"""Cells that a spreadsheet would run are texts, and every text comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.csv_cells import SIGNS, guarded, guarded_row, plain

TEXTS = st.one_of(st.text(), st.text("'=+-@\t\r1.ea", max_size=6))


@given(TEXTS)
def test_every_text_comes_back(text: str) -> None:
    assert plain(guarded(text)) == text


@given(TEXTS)
def test_what_is_written_is_no_formula(text: str) -> None:
    written = guarded(text)
    if written.startswith(SIGNS):
        float(written)  # it is a number, which no spreadsheet runs


@pytest.mark.parametrize("cell", [-1, 2.5, None, True, "-1.5", "+3", "-1e5", "TS_01", "", "a=b", "'quoted'"])
def test_numbers_and_plain_texts_stay(cell: object) -> None:
    assert guarded_row([cell]) == [cell]


@pytest.mark.parametrize("text", ["=1+1", "+SUM(A1)", "-cmd", "@x", "\t=1", "\r=1", "'=1", "=", "- 1"])
def test_formulas_get_an_apostrophe(text: str) -> None:
    assert guarded(text) == f"'{text}"
