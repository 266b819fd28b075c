"""Volumes of which parts are taken, and what is to hold for a part."""

from __future__ import annotations

import mrcfile
import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from scipy import ndimage

import volengine
from volengine.core.boxes import Box
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build, reach
from volengine.tasks.convert.recipe import ConvertRecipe

SHAPE, VOXEL, ORIGIN = (20, 44, 60), (8.0, 10.0, 10.0), (40.0, -30.0, 0.0)
few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def boxes(draw, shape=SHAPE, least=1):
    sides = []
    for n in shape:
        start = draw(st.integers(0, n - least))
        sides.append((start, draw(st.integers(start + least, n))))
    return Box(tuple(a for a, _ in sides), tuple(b for _, b in sides))


def options(**given):
    return RunOptions(progress=False, durable=False, overwrite=True, **given)


def stores(folder):
    return {name: str(folder / f"predictions/TS_01__{name}.ome.zarr") for name in ("carbon", "membrane", "ribosome")}


def check_place(volume, box, whole):
    """The origin of a part, and of each level of its pyramid, by hand."""
    assert volume.shape == box.shape
    assert volume.voxel_size == whole.voxel_size
    first = [o + a * v for o, a, v in zip(whole.origin, box.start, whole.voxel_size, strict=True)]
    np.testing.assert_allclose(volume.origin, first)
    for level in range(len(volume.levels)):
        coarse = volume.at_level(level)
        # the centre of a coarse voxel is the middle of those that it spans
        factor = np.round(np.array(coarse.voxel_size) / volume.voxel_size)
        middle = np.array(first) + np.array(volume.voxel_size) * (factor - 1) / 2
        np.testing.assert_allclose(coarse.origin, middle)


def make_volumes(folder):
    """A tomogram with an origin, as MRC and store, and predictions of three features."""
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 1) * 4000 + 9 * np.arange(SHAPE[0])[:, None, None]
    with mrcfile.new(folder / "TS_01.mrc") as file:
        file.set_data(image.astype(np.int16))
        file.voxel_size = (VOXEL[2], VOXEL[1], VOXEL[0])
        file.header.origin = (ORIGIN[2], ORIGIN[1], ORIGIN[0])
    volengine.convert(folder / "TS_01.mrc", folder / "TS_01.ome.zarr", ConvertRecipe(levels=1), options())
    (folder / "predictions").mkdir()
    for name in ("carbon", "membrane", "ribosome"):
        smooth = ndimage.gaussian_filter(rng.random(SHAPE), 2)
        smooth = ((smooth - smooth.min()) / np.ptp(smooth) * 255).round().astype(np.uint8)
        with mrcfile.new(folder / f"{name}.mrc") as file:
            file.set_data(smooth.astype(np.float32) / 255)
            file.voxel_size = 10.0
            file.header.origin = (ORIGIN[2], ORIGIN[1], ORIGIN[0])
        volengine.convert(
            folder / f"{name}.mrc",
            folder / f"predictions/TS_01__{name}.ome.zarr",
            ConvertRecipe(kind="probability", chunk=(16,) * 3, shard=(16,) * 3, name="TS_01", levels=1),
            options(),
        )


NETS = {
    "deep": ("unet3d", {"width": 2, "levels": 2}, {"patch": (8, 16, 16), "overlap": 0.5, "window": "gaussian"}),
    "odd": ("unet3d", {"width": 2, "levels": 2}, {"patch": (8, 12, 20), "overlap": 0.25, "window": "hann"}),
    "flat": (
        "unet2d",
        {"width": 2, "levels": 2, "context": 3},
        {"patch": (1, 16, 16), "context": 3, "overlap": 0.25, "normalisation": "per_slice"},
    ),
}


def net(folder, name):
    """A model file with random weights that answer between 0 and 1 all over."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        network, arguments, facts = NETS[name]
        torch.manual_seed(1)
        module = build(network, arguments).eval()
        field, stride = reach(module, network != "unet2d")
        noise = torch.randn((1, 1, 16, 16, 16) if name != "flat" else (1, 3, 32, 32))
        with torch.inference_mode():
            module.head.weight.mul_(1.5 / module(noise).std())
            module.head.bias.sub_(module(noise).mean())
        known = {"features": (name,), "voxel_size": VOXEL, "receptive_field": field, "stride": stride, **facts}
        save_model(path, module, ModelFacts.from_json({"network": network, "arguments": arguments, **known}))
    return str(path)
