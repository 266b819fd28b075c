"""Division of vertices between units: each exactly once, whatever the sizes are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volengine.tasks.common.division import Piece, near_rows, run_rows, units_of, whole_units_of

SIZES = st.lists(st.integers(1, 500), max_size=12)


@given(sizes=SIZES, rows=st.integers(1, 400))
def test_units_hold_every_surface_once_and_in_order(sizes: list[int], rows: int) -> None:
    counts = [(number, size) for number, size in enumerate(sizes, start=1)]
    units, whole = units_of(counts, rows), whole_units_of(counts, rows)
    pieces = [piece for unit in units for piece in unit]
    assert [piece.number for unit in whole for piece in unit] == [number for number, _ in counts]
    assert list(dict.fromkeys(piece.number for piece in pieces)) == [number for number, _ in counts]
    for number, size in counts:
        mine = [piece for piece in pieces if piece.number == number]
        assert [piece.part for piece in mine] == list(range(mine[0].parts))
        assert size <= rows * mine[0].parts < 2 * max(size, rows)
    for unit in units:
        held = sum(dict(counts)[piece.number] / piece.parts for piece in unit)
        assert held <= rows


@given(count=st.integers(0, 200), power=st.integers(0, 5), seed=st.integers(0, 99), flat=st.booleans())
def test_pieces_hold_every_vertex_once(count: int, power: int, seed: int, flat: bool) -> None:
    at = np.random.default_rng(seed).integers(0, 4, (count, 3)).astype(np.float64)  # many lie in one place
    at[:, 0] *= not flat
    parts = 2**power
    near = [near_rows(at, Piece(1, part, parts)) for part in range(parts)]
    assert np.array_equal(np.sort(np.concatenate(near)), np.arange(count))
    assert all((np.diff(rows) > 0).all() for rows in near)
    assert max(map(len, near)) - min(map(len, near)) <= power + 1
    runs = [np.arange(count)[run_rows(count, Piece(1, part, parts), 7)] for part in range(parts)]
    assert np.array_equal(np.concatenate(runs), np.arange(count))
    assert all(len(rows) == 0 or rows[0] % 7 == 0 for rows in runs)
