"""Small tomograms for the tests of filters, and the filter applied to them."""

from __future__ import annotations

import mrcfile
import numpy as np

import volengine as ve
from volengine.engine.options import RunOptions

QUIET = RunOptions(progress=False, durable=False)
VOXEL = (12.0, 10.0, 10.0)


def noise(shape=(21, 34, 27), seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 3 + 10).astype(np.float32)


def tomogram(path, array, voxel=VOXEL, origin=(50.0, -20.0, 0.0), **convert):
    """A store with small shards, so that blocks may have many shapes."""
    with mrcfile.new(path.with_suffix(".mrc"), overwrite=True) as file:
        file.set_data(array)
        file.voxel_size = voxel[::-1]
        file.header.origin.z, file.header.origin.y, file.header.origin.x = origin
    how = ve.ConvertRecipe(chunk=(8, 8, 8), shard=(8, 8, 8), levels=1, **convert)
    return ve.convert(path.with_suffix(".mrc"), path.with_suffix(".ome.zarr"), how, QUIET.with_(overwrite=True)).url


def voxels(volume):
    return np.asarray(volume[:])


def filtered(source, out, steps, block=None, **recipe):
    options = QUIET.with_(block=block, overwrite=True)
    return ve.filter(source, out, ve.FilterRecipe(steps=steps, **recipe), options)
