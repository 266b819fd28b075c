"""segment: networks over the patches of a tomogram, blended into one probability volume per feature.

Each patch is run once, whatever the blocks. Where no patch crosses a block's border (2D networks in blocks that cover
whole slices, or a single block) a block writes its predictions at once; else a first stage (``predict``) writes
integer sums and the pieces that reach into the next blocks to scratch arrays, and a second one (``blend``) adds them.
The predictions have the same bytes for any block shape, number of workers or order (:mod:`volengine.ops.blend`).

A tomogram of another voxel size than the model's is resampled on the way (``match``): the networks see a scratch
copy at their own voxel size, and their predictions come back onto the tomogram's grid.

Several models of one voxel size read the tomogram once. What a recipe does not say, each model's own facts do.

>>> from volengine.tasks.segment.recipe import SegmentRecipe
>>> from volengine.tasks.segment.verb import segment
>>> recipe = SegmentRecipe(models=("membrane.safetensors", "ribosome.safetensors"), tta=4)
>>> predictions = segment("TS_01.ome.zarr", "predictions", recipe)                    # doctest: +SKIP
>>> predictions["ribosome"].url                                                       # doctest: +SKIP
'predictions/TS_01__ribosome.ome.zarr'
"""

from __future__ import annotations

from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe


def request(source: str, out: str, recipe: SegmentRecipe) -> Request[Volume, SegmentRecipe, str]:
    """Open one tomogram."""
    volume = open_volume(source)
    return Request(volume.name, volume, recipe, out)


SEGMENT = Verb("segment", request, plan_segment, endings=(".zarr",))


def segment(
    source: PathLike, out: PathLike, recipe: SegmentRecipe, options: RunOptions | None = None
) -> dict[str, OpenVolume]:
    """Predict the features of a tomogram.

    Parameters
    ----------
    source
        An OME-Zarr store, MRC or TIFF.
    out
        Folder or URL that gets ``<name>__<feature>.ome.zarr`` for each feature; or, for a single feature, the store
        itself (``.zarr``).
    recipe, options
        How to predict and how to run.

    Returns
    -------
    dict
        Handle of each feature's prediction.

    Raises
    ------
    InputError
        A model that does not fit the tomogram (voxel size) or the recipe, or outputs that another run made.
    """
    plan = run_one(SEGMENT, path_text(source), path_text(out), recipe, options or RunOptions())
    return {str(s.facts["feature"]): open_volume(s.url) for s in plan.images if not s.scratch}
