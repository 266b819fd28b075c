"""Simulate tomograms and their half sets, train on the halves of one, denoise another, and say what was gained.

    python examples/denoise_halves.py OUT [--epochs 12] [--steps 60]

The network never sees the ideal tomogram nor the specimen that it is judged on. Printed are correlations with the ideal
tomogram (no noise, no missing wedge, no CTF): of the mean of the halves, of this mean after the Gaussian filter that
suits it best, and of the denoised tomogram.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from volengine import DenoiseRecipe, RunOptions, TrainRecipe, TrainSample, denoise, open_volume, simulate, train

SPECIMEN: dict[str, Any] = {
    "name": "halves",
    "seed": 3,
    "specimen": {
        "shape": [48, 160, 160],
        "voxel_size": 14.0,
        "vesicles": [{"count": 2, "radius_nm": [14, 20]}],
        "layers": [
            {"species": [{"structure": "ribosome", "count": 15}]},
            {"species": [{"structure": "globule-120", "name": "distract"}], "iterations": 200, "density": 0.25},
        ],
        "classes": {"membrane": 1, "ribosome": 2, "distract": 0},
    },
    "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 3, "order": "dose-symmetric"},
    "dose": {"total_e_per_a2": 80},
    "exposure": {"optics": {"defocus_um": 4}},
    "reconstruct": {"method": "wbp", "phase_flip": True},
    "keep": {"halves": "frames", "ideal": True},
}
SIGMAS = np.arange(0.5, 4.1, 0.25)


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's correlation of two volumes."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def gain(ideal: NDArray[Any], mean: NDArray[Any], clean: NDArray[Any]) -> dict[str, float]:
    """Correlations with the ideal tomogram."""
    filtered = [(correlation(gaussian_filter(mean, sigma), ideal), sigma) for sigma in SIGMAS]
    best, sigma = max(filtered)
    found = {"mean of halves": correlation(mean, ideal), f"Gaussian of {sigma:g} voxels": best}
    return {**found, "denoised": correlation(clean, ideal)}


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    out, options = given.out, RunOptions(progress=False, device="cpu")
    simulate(SPECIMEN, out / "sim", count=2, options=options)
    even, odd = (str(out / "sim" / half / "halves_0001.ome.zarr") for half in ("even", "odd"))
    recipe = TrainRecipe(
        samples=(TrainSample(even, targets=(odd,)), TrainSample(odd, targets=(even,))),
        features=("denoised",),
        patch=(32, 64, 64),
        loss="l2",
        augment="flips",
        epochs=given.epochs,
        steps=given.steps,
        device="cpu",
    )
    model, begin = out / "clean.safetensors", time.process_time()
    train(recipe, model, progress=False)
    print(f"training: {given.epochs} x {given.steps} steps, {time.process_time() - begin:.0f} s CPU")
    for number, name in ((1, "trained on"), (2, "never seen")):
        halves = [out / "sim" / half / f"halves_{number:04d}.ome.zarr" for half in ("even", "odd")]
        how = DenoiseRecipe(model=str(model), other=str(halves[1]))
        clean = denoise(halves[0], out / f"clean_{number}.ome.zarr", how, options)[:].astype(float)
        ideal = open_volume(out / "sim" / "ideal" / f"halves_{number:04d}.ome.zarr")[:].astype(float)
        mean = np.mean([open_volume(half)[:].astype(float) for half in halves], axis=0)
        said = ", ".join(f"{name} {value:.3f}" for name, value in gain(ideal, mean, clean).items())
        print(f"halves_{number:04d} ({name}): correlation with the ideal tomogram: {said}")


if __name__ == "__main__":
    main()
