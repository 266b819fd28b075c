"""How far ``--match isotropic`` is from rescaling each window by itself, as membrain-seg's ``--rescale-patches`` does.

    python benchmarks/match_windows.py TOMOGRAM.mrc MODEL.safetensors

The tomogram has the voxel size of the model, a 3D network without normalisation over its patch. A copy twice as fine is
made of it: its Fourier transform is extended by white noise of the same power. That copy is predicted twice: by
``volengine segment --match isotropic``, which resamples the whole of it, and in windows of two patches' sides, each of
which is cut in Fourier space without a taper, predicted, and interpolated back (trilinearly), blended by Gaussian
weights. Printed: the correlation of the logits, and the Dice of the masks above 0.5. With the demo's model of cores on
``hiv_crop_x000-062.mrc[:64, :128, :56]``: 0.993 and 0.94 (MONAI's DynUNet with random weights: 0.76).
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

import mrcfile
import numpy as np
import torch

from volengine.core.boxes import Box
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import load_model
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

LARGEST = (64, 128, 56)
"""Voxels z, y, x of the tomogram that are used."""


def spectrum(values):
    """The Fourier transform with the origin in the middle."""
    return np.fft.fftshift(np.fft.fftn(values))


def middle(values):
    """The half of each side in the middle."""
    return values[tuple(slice(n // 4, n // 4 + n // 2) for n in values.shape)]


def plain(values):
    """The real part of the inverse of :func:`spectrum`."""
    return np.fft.ifftn(np.fft.ifftshift(values)).real


def twice_as_fine(coarse):
    """A volume of twice the sides that has the coarse one's spectrum, and noise of its power beyond."""
    noise = spectrum(np.random.default_rng(0).normal(size=[2 * n for n in coarse.shape]))
    middle(noise)[...] = 0
    beyond = plain(noise)
    inner = np.pad(spectrum(coarse), [(n // 2, n // 2) for n in coarse.shape])
    return (plain(inner) * 8 + beyond / beyond.std() * coarse.std()).astype(np.float32)


def by_windows(fine, module, patch):
    """Logits from windows that are rescaled one by one."""
    values = fine.astype(np.float64) - fine.mean()
    scale, side = (plain(middle(spectrum(values))) / 8).std(), 2 * patch
    axis = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)
    weight = np.maximum(axis[:, None, None] * axis[:, None] * axis, 1e-3)
    sums, weights = np.zeros(fine.shape), np.zeros(fine.shape)
    for corner in product(*(sorted({*range(0, n - side + 1, patch), n - side}) for n in fine.shape)):
        at = tuple(slice(c, c + side) for c in corner)
        small = (plain(middle(spectrum(values[at]))) / 8 / scale).astype(np.float32)
        with torch.inference_mode():
            answer = module(torch.from_numpy(small)[None, None])
            back = torch.nn.functional.interpolate(answer, size=(side,) * 3, mode="trilinear", align_corners=False)
        sums[at] += back[0, 0].numpy() * weight
        weights[at] += weight
    return sums / weights


def main(tomogram, model):
    """Print the two numbers."""
    module, facts = load_model(model)
    with mrcfile.open(tomogram, permissive=True) as file:
        sides = [min(n, most) // 8 * 8 for n, most in zip(file.data.shape, LARGEST, strict=True)]
        coarse = file.data[tuple(slice(n) for n in sides)].astype(np.float32)
    fine = twice_as_fine(coarse)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "fine.mrc"
        with mrcfile.new(source) as file:
            file.set_data(fine)
            file.voxel_size = facts.voxel_size[0] / 2
        recipe = SegmentRecipe(models=(model,), match="isotropic", answer="logits", dtype="float32", mean_of="logits")
        (found,) = segment(source, Path(folder) / "out", recipe, RunOptions(progress=False)).values()
        volume = open_volume(found.url)
        mine = open_source(volume).read(Box.of_shape(volume.shape)).astype(np.float64)
    theirs = by_windows(fine, module, facts.patch[0])
    dice = 2 * np.count_nonzero((mine > 0) & (theirs > 0)) / (np.count_nonzero(mine > 0) + np.count_nonzero(theirs > 0))
    print(f"correlation of logits {np.corrcoef(mine.ravel(), theirs.ravel())[0, 1]:.4f}, Dice {dice:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
