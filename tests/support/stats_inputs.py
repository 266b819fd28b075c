"""Small label volumes and tables of picks, for the tests of stats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from volengine.core.picks import Picks
from volengine.engine.options import RunOptions
from volengine.io.picks import write_picks
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tables import COLUMNS, Stats

SHAPE = (24, 40, 48)
QUIET = RunOptions(progress=False)
NAMED = StatsRecipe(classes=("ribosome", "TRiC", "actin"), ids=(3, 4, 9), plots=False, min_points=2, eps_nm=12)


def mrc(path: Path, array: np.ndarray, voxel_size: float | None = 10.0) -> str:
    """The path of an MRC file of this array; voxel size in angstrom, None: not said."""
    with mrcfile.new(path, data=array) as file:
        if voxel_size:
            file.voxel_size = voxel_size
    return str(path)


def ball(labels: np.ndarray, centre: tuple[int, int, int], radius: float, id: int) -> None:
    """Write a ball into labels; centre and radius in voxels."""
    z, y, x = np.indices(labels.shape)
    a, b, c = centre
    labels[(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= radius**2] = id


def atlas() -> np.ndarray:
    """Three ribosomes (7 voxels each; two near each other), two touching TRiC, a speck of one, no actin."""
    labels = np.zeros(SHAPE, np.int8)
    for centre in ((4, 5, 5), (4, 5, 15), (20, 35, 40)):
        ball(labels, centre, 1, 3)
    ball(labels, (12, 20, 20), 5, 4)
    ball(labels, (12, 20, 29), 5, 4)
    labels[1, 38, 1] = 4
    return labels


def table(result: Stats, name: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """A table's rows by what names them."""
    keys = [k for k in ("tomogram", "group", "class", "to", "cluster", "object") if k in COLUMNS[name]]
    return {tuple(str(row[k]) for k in keys): row for row in result[name]}


def same(a: Stats, b: Stats) -> None:
    """Fail unless all tables are equal."""
    assert a.tables.keys() == b.tables.keys()
    for name in a.tables:
        assert repr(a[name]) == repr(b[name])  # to the last digit, NaN too


def picks_of(tomogram: str, feature: str, at: Any, shape: Any = (100, 200, 200), size: float = 10.0) -> Picks:
    """Picks of 8 voxels each at these places."""
    return Picks(
        np.asarray(at, float).reshape(-1, 3),
        (size,) * 3,
        shape=shape,
        tomogram=tomogram,
        feature=feature,
        size_vox=np.full(len(at), 8),
    )


def made(folder: Path, seed: int = 0) -> list[str]:
    """Picks of two classes in three tomograms: one file for each, but for the last, where there is no b."""
    rng = np.random.default_rng(seed)
    paths = []
    for tomogram, feature, n in (("T1", "a", 30), ("T1", "b", 7), ("T2", "a", 12), ("T2", "b", 1), ("T3", "a", 25)):
        at = rng.uniform(0, 99, (n, 3)) * (0.5, 1, 1)
        path = folder / f"{tomogram}__{feature}.csv"
        write_picks(path, picks_of(tomogram, feature, at))
        paths.append(str(path))
    return paths


def groups_file(folder: Path, text: str = "tomogram,group,note\nT1,core,x\nT2,rim,\nT3,rim,\nT9,rim,\n") -> str:
    path = folder / "groups.csv"
    path.write_text(text)
    return str(path)


RECIPE = StatsRecipe(eps_nm=20, min_points=3, plots=False)
