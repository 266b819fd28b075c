"""A copick project as copick 1.31 lays it out, made without copick and without volengine's writers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OBJECTS = (
    {"name": "ribosome", "is_particle": True, "label": 1, "color": [0, 117, 220, 255], "radius": 150.0},
    {"name": "membrane", "is_particle": False, "label": 2, "color": [153, 63, 0, 255]},
)


def write_config(path: Path, overlay: Path | str, static: Path | str | None = None, **more: Any) -> Path:
    """Write a configuration of a project in folders."""
    data = {
        "config_type": "filesystem",
        "name": "test project",
        "description": "",
        "version": "1.31.0",
        "pickable_objects": list(OBJECTS),
        "overlay_root": f"local://{overlay}",
        "overlay_fs_args": {"auto_mkdir": True},
        **({} if static is None else {"static_root": f"local://{static}"}),
        **more,
    }
    path.write_text(json.dumps(data))
    return path


def write_store(path: Path, array: np.ndarray, size: float) -> None:
    """Write an OME-Zarr 0.4 image as copick's ``from_numpy`` does: Zarr v2, nested chunks, angstrom."""
    import zarr

    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    stored = group.create_array(
        "0", shape=array.shape, chunks=(8, 8, 8), dtype=array.dtype, chunk_key_encoding={"name": "v2", "separator": "/"}
    )
    stored[...] = array
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "name": "/",
            "axes": [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [size] * 3}]}],
        }
    ]


def write_table(
    root: Path, run: str, who: str, object: str, xyz: Sequence[Sequence[float]], more: Mapping[str, Any] | None = None
) -> Path:
    """Write picks at positions x, y, z in angstrom; ``who`` is ``USER_SESSION``."""
    user, session = who.split("_")
    data = {
        "pickable_object_name": object,
        "user_id": user,
        "session_id": session,
        "run_name": run,
        "voxel_spacing": 10.0,
        "unit": "angstrom",
        "points": [{"location": dict(zip("xyz", map(float, at), strict=True))} for at in xyz],
        "trust_orientation": True,
        **(more or {}),
    }
    path = root / "ExperimentRuns" / run / "Picks" / f"{who}_{object}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def make_project(folder: Path) -> Path:
    """A project with two runs in the static root, and picks and a segmentation of bob in the overlay.

    Voxels of TS_1 are those of ``arange``; its picks are at voxels (z, y, x) (1, 2, 3) and (4, 5, 6), those of TS_2 at
    (7, 0, 2).
    """
    static, overlay = folder / "static", folder / "overlay"
    array = np.arange(12 * 16 * 20, dtype=np.float32).reshape(12, 16, 20)
    for run, value in (("TS_1", array), ("TS_2", array[::-1].copy())):
        runs = static / "ExperimentRuns" / run
        write_store(runs / "VoxelSpacing10.000" / "wbp.zarr", value, 10.0)
        write_store(runs / "VoxelSpacing10.000" / "denoised.zarr", value / 2, 10.0)
    write_store(static / "ExperimentRuns" / "TS_1" / "VoxelSpacing20.000" / "wbp.zarr", array[::2, ::2, ::2], 20.0)
    write_table(static, "TS_1", "author_7", "ribosome", [(30, 20, 10), (60, 50, 40)])
    write_table(overlay, "TS_2", "bob_1", "ribosome", [(20, 0, 70)])
    mask = np.zeros((12, 16, 20), np.uint8)
    mask[2:5, 3:6, 4:9] = 1
    segmentations = overlay / "ExperimentRuns" / "TS_1" / "Segmentations"
    write_store(segmentations / "10.000_bob_1_membrane.zarr", mask, 10.0)
    write_store(segmentations / "10.000_bob_1_all-multilabel.zarr", mask * 2, 10.0)
    return write_config(folder / "config.json", overlay, static)
