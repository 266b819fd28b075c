"""segment: networks over the patches of a tomogram, blended into one probability volume per feature.

Each patch is predicted once, for every choice of blocks. If no patch crosses the border of a block (2D networks in
blocks that cover whole slices, or a single block), the block writes its predictions directly. Otherwise the stage
``predict`` writes integer sums, and the parts of patches that reach into the next blocks, to scratch arrays, and the
stage ``blend`` adds them. The predictions have the same bytes for every block shape, number of workers and order of
execution (:mod:`volengine.ops.blend`).

With ``match``, a tomogram whose voxel size differs from the model's is resampled: the networks read a scratch copy at
their own voxel size, and the predictions are resampled onto the tomogram's grid.

Several models of one voxel size read the tomogram once. Where the recipe gives no value, the model's facts do.
"""

from __future__ import annotations

from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe


def request(source: str, out: str, recipe: SegmentRecipe, options: RunOptions) -> Request[Volume, SegmentRecipe, str]:
    """Open a tomogram (metadata only), for the planner."""
    volume = open_volume(source, identity=options.identity)
    return Request(volume.name, volume, recipe, out)


SEGMENT = Verb("segment", request, plan_segment, endings=(".zarr",))


def segment(
    source: PathLike, out: PathLike, recipe: SegmentRecipe, options: RunOptions | None = None
) -> dict[str, OpenVolume]:
    """Predict the features of a tomogram with one or several networks.

    Parameters
    ----------
    source
        The tomogram: an OME-Zarr store, an MRC file or a TIFF file.
    out
        Folder or URL for the stores ``<name>__<feature>.ome.zarr``, one per feature. For a single feature it may be the
        store itself (``.zarr``).
    recipe, options
        How to predict and how to run.

    Returns
    -------
    dict
        For each feature the handle of its prediction: a volume on the tomogram's grid, in the recipe's ``dtype``
        (``uint8``: 255 is probability 1).

    Raises
    ------
    InputError
        A model does not fit the tomogram's voxel size or the recipe, or another run has made one of the outputs.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.SegmentRecipe(models=("membrane.safetensors", "ribosome.safetensors"), tta=4)
    >>> predictions = volengine.segment("TS_01.ome.zarr", "found", recipe)
    >>> sorted(predictions), predictions["ribosome"].shape, predictions["ribosome"].dtype
    (['membrane', 'ribosome'], (16, 32, 32), 'uint8')
    """
    plan = run_one(SEGMENT, path_text(source), path_text(out), SegmentRecipe.of(recipe), options or RunOptions())
    return {str(s.facts["feature"]): open_volume(s.url) for s in plan.images if not s.scratch}
