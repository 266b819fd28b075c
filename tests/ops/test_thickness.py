"""The diameters of inscribed balls of objects whose thickness is known."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.thickness import inscribed_diameters, typical

GRID = np.stack(np.meshgrid(*[np.arange(48)] * 3, indexing="ij")) - 23.3


def found(mask: np.ndarray) -> float:
    value = typical(inscribed_diameters(mask))
    assert value is not None
    return value


@pytest.mark.parametrize("thick", range(1, 18))
@pytest.mark.parametrize("axis", range(3))
def test_sheets_along_an_axis(thick: int, axis: int) -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[(slice(None),) * axis + (slice(11, 11 + thick),)] = True
    assert abs(found(mask) - thick) == 0.5


@pytest.mark.parametrize("thick", [3.0, 5.0, 8.0, 12.0])
def test_oblique_sheets_filaments_and_balls(thick: float) -> None:
    normal = np.array([1, 2, 2]) / 3
    height = np.tensordot(normal, GRID, 1)
    assert found(np.abs(height) <= thick / 2) == pytest.approx(thick, abs=0.8)
    radial = np.sqrt((GRID**2).sum(0) - height**2)
    assert found(radial <= thick / 2) == pytest.approx(thick, abs=1.2)
    assert found((GRID**2).sum(0) <= (thick / 2) ** 2) == pytest.approx(thick, abs=1.4)  # no voxel is its middle


def test_a_disc_in_a_single_slice() -> None:
    assert found(GRID[1, 0] ** 2 + GRID[2, 0] ** 2 <= 36) == pytest.approx(12, abs=1.4)
    one_slice = (GRID[1, :1] ** 2 + GRID[2, :1] ** 2) <= 36
    assert found(one_slice) == pytest.approx(12, abs=1.4)


def test_what_is_cut_by_the_border_is_not_guessed() -> None:
    mask = np.zeros((20, 20, 20), bool)
    assert not len(inscribed_diameters(mask))
    mask[:4] = True  # may be of any thickness
    assert not len(inscribed_diameters(mask))
    assert not len(inscribed_diameters(np.ones((5, 5, 5))))
    assert typical(np.empty(0)) is None
