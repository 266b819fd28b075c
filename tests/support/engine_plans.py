"""Plans over small random volumes, for the engine's own tests."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np

from volengine.core.boxes import Box
from volengine.core.image import ImageSpec, Level
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Output, Stage
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.open import open_source


def spec(url: str, shape, dtype: str, chunk, *, scratch: bool = False, shards=None) -> ImageSpec:
    """One level, unsharded unless ``shards`` is given: blocks must be multiples of the chunk (or shard)."""
    level = Level("0", tuple(shape), (1, 1, 1), tuple(chunk), shards)
    return ImageSpec(url, "test", dtype, "intensity", (10.0, 10.0, 10.0), (level,), scratch=scratch)


def stored(folder: Path, array: np.ndarray, chunk=(4, 4, 4)) -> Volume:
    """A volume on disk that holds this array."""
    made = spec(str(folder / f"in-{uuid.uuid4().hex[:8]}.ome.zarr"), array.shape, array.dtype.name, chunk)
    omezarr.create_image(made, token="input")
    ZarrSink(made.volume()).write(Box.of_shape(array.shape), array)
    omezarr.finish_image(made)
    return made.volume(identity=uuid.uuid4().hex)


def simple(folder: Path, source: Volume, kernel: str, core, *, dtype="int32", chunk=(4, 4, 4), name="t", **stage):
    """A plan with one stage over ``source``: kernel ``engine_kernels:<kernel>``; extra fields go to the stage."""
    out = spec(str(folder / f"{name}.ome.zarr"), source.shape, dtype, chunk)
    inputs = stage.pop("inputs", {})
    made = Stage(
        kernel,
        f"engine_kernels:{kernel}",
        Tiling(source.shape, tuple(core)),
        arrays={"source": replace(ArrayInput(source), **inputs)},
        outputs={"out": Output(out.volume())},
        **stage,
    )
    return Plan(name, (made,), (out,))


def result(plan: Plan, number: int = -1) -> np.ndarray:
    """What a plan's image holds."""
    volume = plan.images[number].volume()
    return open_source(volume).read(Box.of_shape(volume.shape))
