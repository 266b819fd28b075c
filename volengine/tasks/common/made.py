"""What a verb says of the image that it has made, at the end of a run.

>>> from volengine.core.image import ImageSpec, Level
>>> level = Level("0", (16, 32, 32), (16, 32, 32), (16, 32, 32))
>>> spec = ImageSpec("out/TS_01.ome.zarr", "TS_01", "float32", "intensity", (10.0, 10.0, 10.0), (level,))
>>> image_made(spec, "low_pass resolution_a=40").params["line"]
'out/TS_01.ome.zarr: (16, 32, 32) voxels of 10 angstrom, float32; low_pass resolution_a=40'
"""

from __future__ import annotations

from typing import Any

from volengine.core.image import ImageSpec
from volengine.core.volume import size_text
from volengine.engine.plan import Call, Made, Plan


def image_made(spec: ImageSpec, how: str = "") -> Call:
    """The call that says, when all stages are done, where an image is, its shape and voxel size, and how it was made.

    Parameters
    ----------
    spec
        The image.
    how
        What was done.
    """
    line = f"{spec.where}: {tuple(spec.levels[0].shape)} voxels of {size_text(spec.voxel_size)} angstrom, {spec.dtype}"
    return Call("volengine.tasks.common.made:say_line", {"line": f"{line}; {how}" if how else line})


def say_line(plan: Plan, tables: Any, line: str) -> Made:
    """Say a line; the engine calls this when all stages are done, ``plan`` and ``tables`` are not used."""
    return Made(said=(line,))
