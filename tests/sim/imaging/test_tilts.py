"""Tilt series: angles, orders of acquisition, errors, doses, shifts along the tilt axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.imaging.tilts import TiltScheme, TiltSeries, before, doses, shift_along_y, tilt_series
from volengine.sim.seeds import stream

ORDERS = ("linear", "bidirectional", "dose-symmetric")


def taken(**scheme) -> list[float]:
    series = tilt_series(TiltScheme(**scheme))
    return series.nominal_deg[series.sequence].tolist()


def test_the_default_is_the_usual_series():
    series = tilt_series(TiltScheme())
    assert series.nominal_deg.tolist() == list(range(-60, 61, 2))
    assert np.array_equal(series.true_deg, series.nominal_deg)
    assert not series.shift.any()


def test_a_step_that_does_not_meet_the_end_stops_before_it():
    assert tilt_series(TiltScheme(min_deg=-50, max_deg=51, step_deg=20)).nominal_deg.tolist() == [
        -50,
        -30,
        -10,
        10,
        30,
        50,
    ]
    assert len(tilt_series(TiltScheme(min_deg=-60, max_deg=60, step_deg=0.1))) == 1201  # 0.1 is not exact in binary


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ({"order": "linear"}, [-9, -6, -3, 0, 3, 6, 9]),
        ({"order": "bidirectional"}, [0, 3, 6, 9, -3, -6, -9]),
        ({"order": "bidirectional", "start_deg": -3}, [-3, 0, 3, 6, 9, -6, -9]),
        ({"order": "dose-symmetric"}, [0, 3, -3, -6, 6, 9, -9]),
        ({"order": "dose-symmetric", "group": 1}, [0, 3, -3, 6, -6, 9, -9]),
        ({"order": "dose-symmetric", "group": 2}, [0, 3, 6, -3, -6, 9, -9]),
        ({"order": "dose-symmetric", "group": 3}, [0, 3, 6, 9, -3, -6, -9]),
        ({"order": "dose-symmetric", "start_deg": 6.2}, [6, 9, 3, 0, -3, -6, -9]),
    ],
)
def test_tilts_are_taken_in_the_order_of_their_scheme(scheme, expected):
    assert taken(min_deg=-9, max_deg=9, step_deg=3, **scheme) == expected


def test_lists_of_angles_are_sorted_into_stack_order():
    series = tilt_series(TiltScheme(angles_deg=(10, -30.5, 0), order="linear"))
    assert series.nominal_deg.tolist() == [-30.5, 0, 10]


@given(
    order=st.sampled_from(ORDERS),
    group=st.integers(0, 5),
    low=st.integers(-70, 0),
    high=st.integers(1, 70),
    step=st.integers(1, 7),
    start=st.integers(-80, 80),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_every_image_is_taken_once_and_damage_follows_the_order(order, group, low, high, step, start, seed):
    series = tilt_series(
        TiltScheme(min_deg=low, max_deg=high, step_deg=step, order=order, group=group, start_deg=start)
    )
    assert sorted(series.rank.tolist()) == list(range(len(series)))
    assert np.array_equal(series.rank[series.sequence], np.arange(len(series)))
    weights = np.random.default_rng(seed).random(len(series)) + 0.1
    dose = doses(series, 100, tuple(weights))
    borne = before(series, dose)
    slowly = [dose[series.rank < rank].sum() for rank in series.rank]
    np.testing.assert_allclose(borne, slowly, atol=1e-9)
    assert borne[series.rank == 0] == 0
    if order != "linear":
        first = series.nominal_deg[series.rank == 0][0]
        assert abs(first - start) == np.abs(series.nominal_deg - start).min()


def test_doses_sum_to_the_total_and_follow_their_share():
    series = tilt_series(TiltScheme(min_deg=-60, max_deg=60, step_deg=30))
    for share in ("constant", "1/cos", (1, 0, 2, 3, 4)):
        assert doses(series, 80, share).sum() == pytest.approx(80)
    thick = doses(series, 80, "1/cos")
    assert thick[0] / thick[2] == pytest.approx(2)
    assert doses(series, 80, (1, 0, 2, 3, 4)).tolist() == [8, 0, 16, 24, 32]
    assert doses(series, 0).tolist() == [0] * 5


def test_errors_are_drawn_from_the_generator_and_independent_of_each_other():
    plain = TiltScheme(shift_a=7)
    wrong = plain.with_(angle_error_deg=0.3)
    one, two, again = (tilt_series(s, stream(1, "tilts")) for s in (plain, wrong, wrong))
    assert np.array_equal(two.true_deg, again.true_deg)
    assert np.array_equal(one.shift, two.shift)
    assert np.array_equal(one.true_deg, one.nominal_deg)
    assert np.array_equal(two.nominal_deg, one.nominal_deg)
    assert 0.2 < np.std(two.true_deg - two.nominal_deg) < 0.4
    assert 5 < np.std(one.shift) < 9
    assert not np.array_equal(tilt_series(wrong, stream(2, "tilts")).true_deg, two.true_deg)


def test_tables_there_and_back():
    series = tilt_series(TiltScheme(angle_error_deg=1, shift_a=5), stream(3, "tilts"))
    back = TiltSeries.from_table(series.to_table())
    for name in ("nominal_deg", "true_deg", "rank", "shift"):
        assert np.array_equal(getattr(back, name), getattr(series, name))


@pytest.mark.parametrize(
    ("scheme", "says"),
    [
        ({"step_deg": 0}, "by 0"),
        ({"min_deg": 10, "max_deg": -10}, "below min_deg"),
        ({"max_deg": 120}, "-90 to 90"),
        ({"angles_deg": ()}, "at least one"),
        ({"angles_deg": (0, 3, 0)}, "twice"),
        ({"group": -1}, "group is -1"),
        ({"shift_a": float("nan")}, "shift_a"),
        ({"order": "hagen"}, "must be one of"),
    ],
)
def test_schemes_that_make_no_sense_are_refused(scheme, says):
    with pytest.raises(InputError, match=says):
        TiltScheme(**scheme)


def test_doses_that_make_no_sense_are_refused():
    series = tilt_series(TiltScheme(min_deg=-90, max_deg=90, step_deg=90))
    for arguments, says in [
        ((-1,), "0 or more"),
        ((10, "1/cos"), "89 at most"),
        ((10, "cosine"), "constant, 1/cos"),
        ((10, (1, 2)), "2 weights for 3"),
        ((10, (1, 2, -1)), "0 or more"),
        ((10, (0, 0, 0)), "not all 0"),
    ]:
        with pytest.raises(InputError, match=says):
            doses(series, *arguments)
    with pytest.raises(InputError, match="2 doses for 3"):
        before(series, [1, 2])
    with pytest.raises(InputError, match="pass rng"):
        tilt_series(TiltScheme(shift_a=1))


@given(rows=st.integers(24, 41), move=st.floats(-3, 3))
@settings(max_examples=30)
def test_a_shift_along_y_moves_a_smooth_image(rows, move):
    y = np.arange(rows)[:, None]

    def image(centre):
        return np.exp(-0.5 * ((y - centre) / 2.0) ** 2) * np.array([1.0, 0.5, 2.0])

    moved = shift_along_y(np.stack([image(11.0), image(12.0)]).astype(np.float32), [move, 0])
    np.testing.assert_allclose(moved[0], image(11.0 + move), atol=2e-3)
    assert np.array_equal(moved[1], image(12.0).astype(np.float32))


def test_a_shift_along_y_brings_nothing_round_from_the_other_edge():
    ramp = np.repeat(np.linspace(0, 1, 40, dtype=np.float32)[:, None], 2, axis=1)[None]
    moved = shift_along_y(ramp, [3.0])
    assert moved[0, :3].max() < 0.15  # round from the other edge came 1
    np.testing.assert_array_equal(ramp[0, :, 0], np.linspace(0, 1, 40, dtype=np.float32))
    with pytest.raises(InputError, match="one per image"):
        shift_along_y(ramp, [1, 2])
