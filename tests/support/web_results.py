"""A small folder of results for tests of pages, and a server over such a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

import volengine
from volengine.io.meshes import write_mesh

SHAPE = (24, 40, 48)
VOXEL = 10.0
HOSTILE = "<img src=x onerror=document.title=1>'\"&amp;"
"""Name of a tomogram that would run script, if names were markup."""
MARK = (10, 16, 32)
"""The voxel where the block of 2 x 2 x 2 bright voxels of the tomogram begins."""
BASE = "/node/c1/8000"
OPTIONS = volengine.RunOptions(progress=False)


def write_mrc(path: Path, voxels: np.ndarray, size: float = VOXEL) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(voxels)
        file.voxel_size = size
    return path


def write_results(folder: Path) -> Path:
    """An output folder: a tomogram with a mark, a prediction, its labels, picks with orientations, and a surface."""
    voxels = np.random.default_rng(0).uniform(0, 0.2, SHAPE).astype(np.float32)
    voxels[tuple(slice(a, a + 2) for a in MARK)] = 1.0
    voxels[0, 0, 0], voxels[0, 0, 1] = 0.0, 1.0
    made = {"tomograms/TS_01": ("TS_01", "intensity", voxels)}
    ball = np.zeros(SHAPE, np.float32)
    ball[6:10, 20:24, 8:12] = 1.0
    made["predictions/TS_01__ribosome"] = ("TS_01__ribosome", "probability", ball)
    made["predictions/TS_01__core"] = ("TS_01__core", "labels", (ball * 3).astype(np.uint16))
    raw = folder / "raw.mrc"
    for place, (name, kind, values) in made.items():
        write_mrc(raw, values)
        recipe = volengine.ConvertRecipe(name=name, kind=kind, chunk=(16, 16, 16), shard=(32, 32, 32), levels=2)
        volengine.convert(raw, folder / f"{place}.ome.zarr", recipe, OPTIONS)
        raw.unlink()
    shutil.copytree(folder / "tomograms" / "TS_01.ome.zarr", folder / "tomograms" / f"{HOSTILE}.ome.zarr")
    (folder / "picks").mkdir()
    facts: dict[str, Any] = {"voxel_size": (VOXEL,) * 3, "shape": SHAPE, "tomogram": "TS_01", "feature": "ribosome"}
    picks = volengine.Picks(
        [[12.0, 30.0, 40.0], [4.0, 8.0, 6.5]], weight=[2.0, 5.0], euler=[[0.0, 90.0, 0.0], [10.0, 20.0, 30.0]], **facts
    )
    volengine.write_picks(folder / "picks" / "TS_01__ribosome.star", picks)
    corners = np.array([[z, y, x] for z in (60, 100) for y in (280, 320) for x in (100, 140)], float)
    faces = [[0, 1, 2], [1, 3, 2], [4, 6, 5], [5, 6, 7], [0, 4, 1], [1, 4, 5], [2, 3, 6], [3, 7, 6], [0, 2, 4]]
    faces += [[2, 6, 4], [1, 5, 3], [3, 5, 7]]
    about = volengine.SurfaceFacts(tomogram="TS_01", feature="membrane", voxel_size=(VOXEL,) * 3, shape=SHAPE)
    (folder / "surfaces").mkdir()
    where = folder / "surfaces" / "TS_01__membrane.surfaces"
    volengine.write_surfaces(where, [(volengine.Surface(corners, faces), {"area_nm2": 96.0})], about)
    (folder / "truth" / "TS_01").mkdir(parents=True)
    write_mesh(folder / "truth" / "TS_01" / "membrane_00001.ply", corners, np.array(faces))
    return folder
