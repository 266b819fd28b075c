"""Limits of the physics are said with the value and the limit; what makes no sense is refused."""

from __future__ import annotations

from typing import Any

import pytest

from volengine.core.errors import InputError
from volengine.tasks.simulate.limits import limits_of
from volengine.tasks.simulate.presets import PRESETS, preset
from volengine.tasks.simulate.recipe import SimulateRecipe
from volengine.tasks.simulate.verb import limits_of_samples

VACUUM = {"shape": [60, 40, 40], "voxel_size": 10, "ice": {"thickness_nm": 40}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"specimen": {"voxel_size": 40}}, "voxels of 40 A are outside of 4 to 20 A"),
        ({"specimen": {"voxel_size": 2}}, "voxels of 2 A are outside of 4 to 20 A.*atoms are points"),
        ({"dose": {"total_e_per_a2": 1000}}, "dose of 1000 e/A.2 is outside of 10 to 300"),
        ({"exposure": {"optics": {"defocus_um": 40}}}, "defocus of 40 um is outside of 0.2 to 15 um"),
        ({"exposure": {"optics": {"defocus_um": -4}}}, "-4 um is overfocus"),
        ({"specimen": {"ice": {"thickness_nm": 450}}}, "ice of 450 nm is outside of 10 to 400 nm"),
        (
            {"specimen": {"ice": {"thickness_nm": 390}}, "tilts": {"max_deg": 80, "min_deg": -60, "step_deg": 10}},
            "at 80 degrees 1.8 % of the electrons come through 390 nm",
        ),
    ],
)
def test_limits_that_are_passed_are_said_with_their_numbers(values: dict[str, Any], said: str) -> None:
    found = limits_of(SimulateRecipe.from_json(values))
    assert len(found) == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(found[0])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_pass_no_limit(name: str) -> None:
    assert limits_of_samples(preset(name), 3) == []


def test_equal_limits_of_many_samples_are_one_line_and_many_are_counted() -> None:
    assert limits_of_samples({"name": "a", "specimen": {"voxel_size": 40}}, 12)[0].startswith("a_0001 and 11 more: ")
    many = limits_of_samples({"specimen": {"voxel_size": {"uniform": [30, 50]}}}, 12)
    assert len(many) == 4
    assert many[-1].startswith("and 9 more limits")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"specimen": {"voxel_size": 0.5}}, r"voxel_size is 0\.5 A; it must be from 1 to 100"),
        ({"specimen": {"voxel_size": 400}}, "voxel_size is 400 A"),
        ({"dose": {"total_e_per_a2": 1e5}}, "total_e_per_a2 is 100000 e/A.2; at most 2000"),
        ({"exposure": {"optics": {"defocus_um": 500}}}, "defocus_um is 500"),
        ({"specimen": {**VACUUM, "sheets": [{}]}}, "40 nm thick and the volume 60 nm deep; sheets.*at most 40 voxels"),
        ({"specimen": {**VACUUM, "vesicles": [{"cut": True}]}}, "vesicles with cut: true would reach into the vacuum"),
        ({"specimen": {**VACUUM, "film": {}}}, "film would reach into the vacuum"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SimulateRecipe.from_json(values)
