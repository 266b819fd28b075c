"""Augmentation of grey values: blur, median, low resolution, contrast, gamma, gradients, sharpening, noise, erasing.

Each function takes a float32 image (slices or z, y, x) and returns a new one. ``dims`` is 3 for a volume, and 2 if each
slice is changed in its plane. Filters repeat the border.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn.functional import conv1d, interpolate, pad

from volengine.nets.training.augment.recipe import Greys


def changed(how: Greys, x: torch.Tensor, rng: np.random.Generator, volumetric: bool) -> torch.Tensor:
    """Apply the drawn effects to an image; blur and median exclude each other."""
    dims = 3 if volumetric else 2

    def drawn(name: str) -> bool:
        probability = getattr(how, f"{name}_probability")
        return bool(probability > 0 and rng.random() < probability)

    if drawn("median"):
        x = median(x, int(rng.choice(np.arange(how.median_vox[0], how.median_vox[1] + 1, 2))), dims)
    elif drawn("blur"):
        x = blur(x, rng.uniform(*how.blur_vox, dims).tolist())
    if drawn("low_resolution"):
        x = low_resolution(x, float(rng.uniform(*how.low_resolution)), dims)
    if drawn("contrast"):
        x = contrast(x, math.exp(rng.uniform(*np.log(how.contrast))), cut=bool(rng.random() < 0.5))
    if drawn("brightness"):
        x = x + float(rng.normal(0, how.brightness_std))
    if drawn("gamma"):
        x = gamma(x, math.exp(rng.uniform(*np.log(how.gamma))), negative=bool(rng.random() < 0.5))
    if drawn("gradient"):
        height = float(rng.uniform(*how.gradient)) * (1 if rng.random() < 0.5 else -1)
        x = gradient(x, random_hill(x, rng, dims), height)
    if drawn("local_gamma"):
        power = rng.uniform(*(how.local_gamma_low if rng.random() < 0.5 else how.local_gamma_high))
        x = local_gamma(x, random_hill(x, rng, dims), float(power))
    if drawn("sharpen"):
        x = sharpen(x, float(rng.uniform(*how.sharpen)), dims)
    if drawn("noise"):
        x = x + float(rng.uniform(0, how.noise_std)) * normal(x, rng)
    if drawn("erase") and how.erase_boxes:
        x = erase(x, int(rng.integers(1, how.erase_boxes + 1)), how.erase_share, rng, dims)
    return x


def normal(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Standard normal numbers of the image's shape; they come from the generator, so every device gets the same."""
    return torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32)).to(x.device)


def blur(x: torch.Tensor, sigmas: list[float]) -> torch.Tensor:
    """Gaussian blur along the last axes, with one standard deviation (voxels) per axis; kernels end at 4 of them."""
    for axis, sigma in zip(range(-len(sigmas), 0), sigmas, strict=True):
        reach = min(math.ceil(4 * sigma), 4 * x.shape[axis])
        if reach == 0:
            continue
        at = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weights = torch.exp(-0.5 * (at / sigma) ** 2)
        kernel = (weights / weights.sum()).to(x)
        moved = x.movedim(axis, -1)
        lines = pad(moved.reshape(-1, 1, moved.shape[-1]), (reach, reach), mode="replicate")
        x = conv1d(lines, kernel[None, None]).reshape(moved.shape).movedim(-1, axis)
    return x


def median(x: torch.Tensor, side: int, dims: int) -> torch.Tensor:
    """Median over a cube (2D: square) of odd side; computed slice by slice to save memory."""
    r = side // 2
    if r == 0:
        return x
    deep = r if dims == 3 else 0
    padded = pad(x[None, None], (r, r, r, r, deep, deep), mode="replicate")[0, 0]
    out = torch.empty_like(x)
    for z in range(x.shape[0]):
        near = padded[z : z + 2 * deep + 1].unfold(-2, side, 1).unfold(-2, side, 1)
        out[z] = near.permute(1, 2, 0, 3, 4).flatten(2).median(-1).values
    return out


def low_resolution(x: torch.Tensor, share: float, dims: int) -> torch.Tensor:
    """Sample down to ``share`` of the voxels per side (nearest voxel), and interpolate linearly to the full grid."""
    size = [max(1, round(n * share)) for n in x.shape[-dims:]]
    planes = x[None, None] if dims == 3 else x[None]
    small = interpolate(planes, size=size, mode="nearest-exact")
    large = interpolate(small, size=x.shape[-dims:], mode="trilinear" if dims == 3 else "bilinear", align_corners=False)
    return large.reshape(x.shape)


def contrast(x: torch.Tensor, factor: float, *, cut: bool = False) -> torch.Tensor:
    """Multiply the distance from the mean by a factor; with ``cut``, clip to the image's old range."""
    mean = x.mean()
    out = (x - mean) * factor + mean
    return out.clamp(x.min(), x.max()) if cut else out


def gamma(x: torch.Tensor, power: float, *, negative: bool = False) -> torch.Tensor:
    """Power law ``low + range * ((x - low) / range) ** power``, then restore mean and standard deviation."""
    if negative:
        return -gamma(-x, power)
    out = _power(x, power)
    std = out.std(correction=0)
    scale = torch.where(std > 0, x.std(correction=0) / std, 1.0)
    return (out - out.mean()) * scale + x.mean()


def _power(x: torch.Tensor, power: float) -> torch.Tensor:
    low, span = x.min(), x.max() - x.min()
    span = torch.where(span > 0, span, 1.0)
    return ((x - low) / span).pow(power) * span + low


def random_hill(x: torch.Tensor, rng: np.random.Generator, dims: int) -> torch.Tensor:
    """A random Gaussian hill whose highest value in the patch is 1.

    Its centre is drawn from -0.5 to 1.5 of each side. Its standard deviation is drawn from a sixth of the side to the
    whole side, evenly in its logarithm.
    """
    total = torch.zeros((), device=x.device)
    for axis in range(-dims, 0):
        n = x.shape[axis]
        centre = rng.uniform(-0.5, 1.5) * n
        sigma = math.exp(rng.uniform(math.log(n / 6), math.log(n)))
        at = (torch.arange(n, dtype=torch.float32, device=x.device) - centre) / sigma
        total = total + (0.5 * at**2).reshape([-1 if axis == a else 1 for a in range(-dims, 0)])
    hill = torch.exp(-(total - total.min()))
    return hill.expand(x.shape)


def gradient(x: torch.Tensor, hill: torch.Tensor, height: float) -> torch.Tensor:
    """Add a hill whose mean is subtracted and whose largest deviation is ``height``."""
    centred = hill - hill.mean()
    return x + height * centred / centred.abs().max().clamp(min=1e-7)


def local_gamma(x: torch.Tensor, hill: torch.Tensor, power: float) -> torch.Tensor:
    """Blend the image (where the hill is 0) with its power law (where the hill is 1)."""
    return torch.lerp(x, _power(x, power), hill)


def sharpen(x: torch.Tensor, strength: float, dims: int) -> torch.Tensor:
    """Unsharp mask with a Gaussian of 1 voxel."""
    return x + strength * (x - blur(x, [1.0] * dims))


def erase(x: torch.Tensor, boxes: int, share: tuple[float, float], rng: np.random.Generator, dims: int) -> torch.Tensor:
    """Fill random boxes with the mean; in 2D a box extends through all context slices."""
    out, mean = x.clone(), x.mean()
    for _ in range(boxes):
        place: list[slice] = []
        for n in x.shape[-dims:]:
            side = max(1, round(float(rng.uniform(*share)) * n))
            start = int(rng.integers(n - side + 1))
            place.append(slice(start, start + side))
        out[tuple([slice(None)] * (x.ndim - dims) + place)] = mean
    return out
