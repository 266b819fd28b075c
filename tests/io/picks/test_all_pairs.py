"""Round trips through every pair of formats that are read and written: 1e-4 voxel and 1e-3 degree, poses included.

The table of formats is the list: a format that joins it is tested here by itself. Each file is read once as volengine
wrote it, and once without the facts that volengine alone reads, as after another program.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks
from volengine.io.picks.formats import FORMATS

BOTH = [name for name, one in FORMATS.items() if one.reads and one.writes]
SHAPE = (301, 480, 511)
VOXEL = (7.84, 7.84, 7.84)


@st.composite
def tables(draw: st.DrawFn) -> Picks:
    """One to four picks inside of the volume, not all in its first voxels; every other table has poses."""
    n = draw(st.integers(1, 4))
    inside = [st.floats(0, side - 1, allow_subnormal=False) for side in SHAPE]
    position = [[draw(axis) for axis in inside] for _ in range(n)]
    position[0][2] += 2  # not all are fractions of a voxel
    angles = [st.floats(-180, 180), st.floats(0, 180), st.floats(-180, 180)]
    euler = [[draw(angle) for angle in angles] for _ in range(n)] if draw(st.booleans()) else None
    return Picks(np.array(position), voxel_size=VOXEL, shape=SHAPE, tomogram="TS_01", feature="f", euler=euler)


def bare(path: Path) -> None:
    """Take away what volengine alone reads from a file and those beside it."""
    for file in path.parent.iterdir():
        if file.suffix == ".json":
            data = json.loads(file.read_text())
            data.pop("volengine", None)
            file.write_text(json.dumps(data))
        elif file.suffix in (".star", ".csv"):
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith("# volengine ")))


def through(folder: Path, picks: Picks, format: str, facts: bool) -> Picks:
    folder.mkdir()
    path = folder / f"a{FORMATS[format].endings[0]}"
    write_picks(path, picks, format)
    if not facts:
        bare(path)
    back = read_picks(path, format, voxel_size=VOXEL, shape=SHAPE, tomogram="TS_01")
    return back.with_(shape=SHAPE)


@pytest.mark.parametrize(("one", "other"), [*itertools.product(BOTH, BOTH)])
@settings(deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=st.booleans(), picks=tables())
def test_every_pair_of_formats(
    tmp_path_factory: pytest.TempPathFactory, one: str, other: str, facts: bool, picks: Picks
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    if FORMATS[one].whole or FORMATS[other].whole:
        picks = picks.with_(position_vox=np.rint(picks.position_vox))
    first = through(folder / "one", picks, one, facts)
    back = through(folder / "other", first, other, facts)
    np.testing.assert_allclose(back.position_vox, picks.position_vox, rtol=0, atol=1e-4)
    if picks.euler is not None and FORMATS[one].poses and FORMATS[other].poses and picks.euler.any():
        assert back.orientation is not None
        apart = euler_to_matrix(back.orientation) - euler_to_matrix(picks.euler)
        sine = np.linalg.norm(apart, axis=(1, 2)) / np.sqrt(8)
        assert (2 * np.degrees(np.arcsin(sine)) < 1e-3).all()


def test_formats_without_poses_say_so(tmp_path: Path) -> None:
    picks = Picks([[10, 20, 30]], voxel_size=VOXEL, shape=SHAPE, tomogram="TS_01", euler=[[10, 20, 30]])
    for format in BOTH:
        back = through(tmp_path / format, picks, format, facts=False)
        assert (back.orientation is not None) == FORMATS[format].poses, format
