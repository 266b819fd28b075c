"""A table of picks with every column."""

from __future__ import annotations

import numpy as np

from volengine.core.picks import Picks


def make_picks(n: int = 4, **changes: object) -> Picks:
    """``n`` picks with every column, the same at every call; ``changes``: other values."""
    rng = np.random.default_rng(7)
    normal = rng.normal(size=(n, 3))
    values: dict[str, object] = {
        "position_vox": rng.uniform(0, 50, (n, 3)),
        "voxel_size": (14.0, 12.0, 10.0),
        "origin": (1.0, -2.0, 3.5),
        "shape": (60, 70, 80),
        "tomogram": "TS 01",
        "feature": "core",
        "weight": rng.uniform(size=n),
        "label": np.arange(1, n + 1),
        "volume_a3": rng.uniform(size=n),
        "size_vox": np.arange(n) + 10,
        "euler": rng.uniform(-180, 180, (n, 3)),
        "normal": normal / np.linalg.norm(normal, axis=1, keepdims=True),
        "extra": {"half": np.arange(n) % 2 == 0, "note": [f"a {i}" for i in range(n)], "cc": np.full(n, np.nan)},
    }
    return Picks(**{**values, **changes})  # type: ignore[arg-type]
