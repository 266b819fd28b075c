"""Error of filters at the faces, by what transforms see beyond them (:mod:`volengine.ops.filters.faces`).

``python benchmarks/faces.py`` makes a volume of noise of 256 voxels a side with a spectrum like 1/f, filters it, and
filters a part of 80 x 128 x 128 voxels that is cut out of its middle. Printed is the root mean square difference of the
two results, divided by the standard deviation of the first: less than 4 voxels from a face, 4 to 15, and farther away.
Voxels have 10 angstrom.
"""

from __future__ import annotations

import numpy as np
import scipy.fft as fft

from volengine.ops.filters.ctf import Lens, Ratio, wiener_gain
from volengine.ops.filters.faces import FaceRule
from volengine.ops.filters.gains import low_pass
from volengine.ops.filters.transforms import Columns, filter_whole

SIDE = 256
PART = (slice(80, 160), slice(60, 188), slice(60, 188))
VOXEL = 10.0
CASES = {
    "deconvolve, Warp's": lambda f: wiener_gain(f, VOXEL, Lens((5.0,)), Ratio()),
    "deconvolve, MemBrain's": lambda f: wiener_gain(f, VOXEL, Lens((5.0,)), Ratio("membrain")),
    "low_pass 40": lambda f: low_pass(f, 40.0, 0.2),
    "high_pass 300": lambda f: 1 - low_pass(f, 300.0, 0.2),
    "high_pass 1000": lambda f: 1 - low_pass(f, 1000.0, 0.2),
}
RULES: tuple[tuple[FaceRule, int], ...] = (
    ("periodic", 0),
    ("mirror", 32),
    ("mirror", 256),
    ("taper", 16),
    ("taper", 32),
    ("taper", 64),
    ("taper", 128),
)


def noise() -> np.ndarray:
    """Gaussian noise with amplitudes like 1/f, of standard deviation 1."""
    f = [fft.fftfreq(SIDE), fft.fftfreq(SIDE), fft.rfftfreq(SIDE)]
    radius = np.sqrt(f[0][:, None, None] ** 2 + f[1][None, :, None] ** 2 + f[2][None, None] ** 2)
    white = np.random.default_rng(0).normal(size=(SIDE,) * 3).astype(np.float32)
    found = fft.irfftn(fft.rfftn(white) / np.maximum(radius, 0.01), s=white.shape)
    return (found / found.std()).astype(np.float32)


def main() -> None:
    """Print a line for each filter and rule."""
    whole = noise()
    part = np.ascontiguousarray(whole[PART])
    ends = [np.minimum(np.arange(n), n - 1 - np.arange(n)) for n in part.shape]
    depth = np.minimum.reduce(np.meshgrid(*ends, indexing="ij"))
    regions = (depth < 4, (depth >= 4) & (depth < 16), depth >= 16)
    for name, formula in CASES.items():

        def gain(c: Columns, formula=formula) -> np.ndarray:
            f = np.sqrt(c.fz[:, None] ** 2 + c.fy[0] ** 2 + c.fx[None, :] ** 2)
            return formula(f).astype(np.float32)

        truth = filter_whole(whole, None, gain, (VOXEL,) * 3)[PART]
        for faces in RULES:
            wrong = np.square(filter_whole(part, None, gain, (VOXEL,) * 3, faces) - truth)
            said = "  ".join(f"{np.sqrt(wrong[region].mean()) / truth.std():.3f}" for region in regions)
            print(f"{name:24s} {faces[0]:9s}{faces[1]:4d}  {said}", flush=True)


if __name__ == "__main__":
    main()
