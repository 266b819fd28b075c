"""The table of four picks that most tests of ``picks`` begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from picks_files import POSITIONS, SHAPE, VOXEL

from volengine.core.picks import Picks
from volengine.io.picks import write_picks


@pytest.fixture
def picks() -> Picks:
    return Picks(
        POSITIONS,
        voxel_size=VOXEL,
        shape=SHAPE,
        tomogram="TS_01",
        feature="ribosome",
        weight=[4, 3, 2, 1],
        euler=[[10, 20, 30]] * 4,
        extra={"note": ["a", "b", "c", "d"]},
    )


@pytest.fixture
def csv(tmp_path: Path, picks: Picks) -> Path:
    write_picks(tmp_path / "in.csv", picks)
    return tmp_path / "in.csv"
