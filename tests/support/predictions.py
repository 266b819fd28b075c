"""Predictions of several characters, for tests of picking."""

from __future__ import annotations

import numpy as np

from volengine.ops.heights import BasinRules


def make_prediction(kind: str, shape, seed: int, dtype: str):
    """A prediction (0 ... 255, or 0 ... 1) of one of several characters."""
    rng = np.random.default_rng(seed)
    at = np.indices(shape)
    mask = np.zeros(shape, bool)
    if kind == "full":
        mask[:] = True
    elif kind == "noise":
        mask = rng.random(shape) < rng.uniform(0.2, 0.95)
    elif kind == "smooth":
        from scipy.ndimage import gaussian_filter

        field = gaussian_filter(rng.standard_normal(shape), 1.5)
        mask = field > np.quantile(field, rng.uniform(0.2, 0.9))
    elif kind != "empty":
        for _ in range(int(rng.integers(1, 9))):
            centre = [rng.uniform(0, n) for n in shape]
            far = [np.abs(a - c) for a, c in zip(at, centre, strict=True)]
            if kind == "blobs":
                mask |= sum(f * f for f in far) <= rng.uniform(1, 6) ** 2
            elif kind == "rods":
                a, b = rng.permutation(3)[:2]
                mask |= np.maximum(far[a], far[b]) <= rng.uniform(0.4, 3)
            else:
                mask |= far[int(rng.integers(3))] <= rng.uniform(0.4, 3)
        if kind == "plates":
            mask &= rng.random(shape) < 0.97
    value = np.where(mask, rng.uniform(0.5001, 1, shape), rng.uniform(0, 0.5, shape))
    if rng.random() < 0.5:  # saturated: plateaus of the highest value, some across all blocks
        value[mask & (rng.random(shape) < rng.uniform(0.2, 1))] = 1
    if dtype == "uint8":
        return np.where(mask, np.maximum(np.rint(value * 255), 128), np.minimum(value * 255, 127)).astype(np.uint8)
    if dtype == "float16":
        value = np.where(mask, np.maximum(value, 0.501), np.minimum(value, 0.5))
    return value.astype(dtype)


def rules_for(dtype: str, **kwargs):
    return BasinRules(level=127 if dtype == "uint8" else 0.5, **kwargs)
