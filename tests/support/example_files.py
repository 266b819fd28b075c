"""The files that examples in docstrings name: one small tomogram, and what belongs to it.

>>> make_example_files(Path("scratch"))                                                    # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

SHAPE = (16, 32, 32)
CENTRES = ((8, 8, 8), (8, 22, 20))
"""Ribosomes: balls of 4 voxels radius; at z, y, x."""
VOXEL_SIZE = 10.0
PATCH = (16, 16, 16)


def make_example_files(folder: Path) -> None:
    """Make the files in ``folder``.

    ``TS_01.mrc`` and ``TS_01.ome.zarr``: the tomogram, (16, 32, 32) voxels of 10 angstrom. ``TS_01_ribosome.mrc``: its
    labels, 0 and 1. ``TS_01__ribosome.star``: its two picks. ``predictions``: stores of the features ``ribosome`` and
    ``membrane``. ``ribosome.safetensors`` and ``membrane.safetensors``:
    models with random weights, and ``clean.safetensors``, whose
    answers are grey values.
    """
    import volengine as ve

    still = ve.RunOptions(progress=False)
    ball = distance_to_centre() <= 4
    noise = np.random.default_rng(0).normal(size=SHAPE)
    _write(folder / "TS_01.mrc", (noise - 2 * ball).astype(np.float32))
    _write(folder / "TS_01_ribosome.mrc", ball.astype(np.int8))
    levels = ve.ConvertRecipe(chunk=(8, 16, 16), shard=SHAPE, levels=2)
    ve.convert(str(folder / "TS_01.mrc"), str(folder / "TS_01.ome.zarr"), levels, still)
    facts = {"voxel_size": (VOXEL_SIZE,) * 3, "shape": SHAPE, "tomogram": "TS_01", "feature": "ribosome"}
    ve.write_picks(folder / "TS_01__ribosome.star", ve.Picks(CENTRES, **facts))  # type: ignore[arg-type]
    for feature, where in {"ribosome": ball, "membrane": np.arange(SHAPE[2]) + np.zeros(SHAPE) >= 28}.items():
        plain = folder / f"{feature}.mrc"
        _write(plain, np.where(where, 0.9, 0.05).astype(np.float32))
        store = folder / "predictions" / f"TS_01__{feature}.ome.zarr"
        recipe = ve.ConvertRecipe(kind="probability", name=f"TS_01__{feature}")
        ve.convert(str(plain), str(store), recipe, still)
        plain.unlink()
        _write_model(folder / f"{feature}.safetensors", feature)
    _write_model(folder / "clean.safetensors", "denoised", activation="none", target="volume")


def distance_to_centre() -> NDArray[np.float64]:
    """From each voxel to the nearest ribosome's centre, in voxels."""
    grid = np.indices(SHAPE)
    away = [sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) for centre in CENTRES]
    return np.sqrt(np.min(away, axis=0))


def _write(path: Path, array: NDArray[np.generic]) -> None:
    with mrcfile.new(path) as file:
        file.set_data(array)
        file.voxel_size = VOXEL_SIZE


def _write_model(path: Path, feature: str, **more: Any) -> None:
    import torch

    from volengine.core.model import ModelFacts
    from volengine.nets.checkpoint import save_model
    from volengine.nets.registry import build

    arguments = {"width": 2, "levels": 2}
    facts = ModelFacts(
        network="unet3d",
        arguments=arguments,
        features=(feature,),
        voxel_size=(VOXEL_SIZE,) * 3,
        patch=PATCH,
        stride=(2, 2, 2),
        **more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_model(path, build("unet3d", arguments), facts)
