"""denoise: a network whose answers are grey values, applied to the two halves of a tomogram, or to a tomogram.

The halves of a tilt series (frames or images) have the same signal and independent noise, so a network that learns to
predict one from the other can learn the signal only (noise2noise: Lehtinen et al., ICML 2018; for tomograms: Buchholz
et al., cryoCARE, ISBI 2019). The network is applied to each half as ``segment`` does, blended in float32, and the mean
of both is stored, in the grey values of the tomogram. The result has the same bytes for every block shape and number of
workers.
"""

from __future__ import annotations

from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.halves import other_half
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import feature_store
from volengine.tasks.denoise.plan import plan_denoise
from volengine.tasks.denoise.recipe import DenoiseRecipe


def request(
    source: str, out: str, recipe: DenoiseRecipe, options: RunOptions
) -> Request[tuple[Volume, ...], DenoiseRecipe, str]:
    """Open the tomogram, or its halves (metadata only), for the planner."""
    first = open_volume(source, identity=options.identity)
    other = other_half(source, recipe.pair) if recipe.pair else recipe.other
    halves = (first,) if not other else (first, open_volume(other, identity=options.identity))
    url = out if DENOISE.is_product(out) else feature_store(out, first.name, "denoised")
    return Request(first.name, halves, recipe, url)


DENOISE = Verb("denoise", request, plan_denoise, endings=(".zarr",))


def denoise(source: PathLike, out: PathLike, recipe: DenoiseRecipe, options: RunOptions | None = None) -> OpenVolume:
    """Denoise a tomogram, or its two halves together.

    Parameters
    ----------
    source
        The tomogram or its first half: an OME-Zarr store, an MRC file or a TIFF file.
    out
        The store to write (``.zarr``), or a folder or URL for ``<name>__denoised.ome.zarr``.
    recipe, options
        How to denoise and how to run.

    Returns
    -------
    OpenVolume
        The denoised tomogram, on the grid of the source, float32 (or float16).

    Raises
    ------
    InputError
        The model's answers are no grey values, it does not fit the tomogram, the halves do not fit each other, or
        another run has made the output.

    Examples
    --------
    >>> import volengine
    >>> clean = volengine.denoise("TS_01.mrc", "clean.ome.zarr", volengine.DenoiseRecipe(model="clean.safetensors"))
    >>> clean.kind, clean.shape, clean.dtype
    ('intensity', (16, 32, 32), 'float32')
    """
    plan = run_one(DENOISE, path_text(source), path_text(out), DenoiseRecipe.of(recipe), options or RunOptions())
    return open_volume(plan.images[-1].url)
