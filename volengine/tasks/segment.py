"""segment: networks over the patches of a tomogram, blended into one probability volume per feature.

Each patch is run once, whatever the blocks. Where no patch crosses a block's border (2D networks in blocks that cover
whole slices, or a single block) a block writes its predictions at once; else a first stage (``predict``) writes
integer sums and the pieces that reach into the next blocks to scratch arrays, and a second one (``blend``) adds them.
The predictions have the same bytes for any block shape, number of workers or order (:mod:`volengine.ops.blend`).

A tomogram of another voxel size than the model's is resampled on the way (``match``): the networks see a scratch
copy at their own voxel size, and their predictions come back onto the tomogram's grid.

Several models of one voxel size read the tomogram once. What a recipe does not say, each model's own facts do.

>>> from volengine.tasks.segment import SegmentRecipe, segment
>>> recipe = SegmentRecipe(models=("membrane.safetensors", "ribosome.safetensors"), tta=4)
>>> predictions = segment("TS_01.ome.zarr", "predictions", recipe)                    # doctest: +SKIP
>>> predictions["ribosome"].url                                                       # doctest: +SKIP
'predictions/TS_01__ribosome.ome.zarr'
"""

from __future__ import annotations

import re

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan, join
from volengine.engine.run import Job, run_plan
from volengine.io import OpenVolume, is_packed, open_volume, suffix_of
from volengine.tasks.images import auto_shard, image_spec
from volengine.tasks.layout import history, join_url, plan_folder, run_dir_for, run_dir_in
from volengine.tasks.segment_match import Matching
from volengine.tasks.segment_nets import nets_of
from volengine.tasks.segment_plan import Segmentation
from volengine.tasks.segment_recipe import SegmentRecipe

__all__ = ["SegmentRecipe", "plan_segment", "segment", "segment_jobs"]

SHARD_VOX = 128


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
    source, out = path_text(source), path_text(out)
    options = options or RunOptions()
    volume = open_volume(source)
    run_dir = options.run_dir or run_dir_for(out)
    plan = plan_segment(volume, recipe, out, plan_folder(run_dir, volume.name), options)
    run_plan(plan, run_dir, options)
    return {str(s.facts["feature"]): open_volume(s.url) for s in plan.images if not s.scratch}


def segment_jobs(sources: list[str], out: str, recipe: SegmentRecipe, options: RunOptions) -> tuple[list[Job], str]:
    """Jobs for many tomograms, and their run folder; ``out`` is a folder (or one store, see :func:`segment`)."""
    single = suffix_of(out) == ".zarr"
    if single and len(sources) > 1:
        raise InputError(f"--out {out} is one store, but there are {len(sources)} sources; give a folder.")
    run_dir = options.run_dir or (run_dir_for(out) if single else run_dir_in(out, "segment.run"))

    def job(source: str) -> Job:
        def plan() -> Plan:
            volume = open_volume(source)
            return plan_segment(volume, recipe, out, plan_folder(run_dir, volume.name), options)

        return Job(source, plan)

    return [job(source) for source in sources], run_dir


def plan_segment(volume: Volume, recipe: SegmentRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Stages that predict ``volume``; the plan's images that are no scratch are the predictions.

    Each has its feature's name in ``facts["feature"]``. Reads the models' facts, no voxels.
    """
    if is_packed(volume.url):
        raise InputError(f"{volume.url} is compressed as a whole and cannot be read in blocks; convert it first.")
    grids = nets_of(volume, recipe, options)
    nets = [net for every in grids.values() for net in every]
    features = [f for net in nets for f in net.features if f]
    double = sorted({f for f in features if features.count(f) > 1})
    if double:
        raise InputError(f"Two models predict {double[0]!r}; segment with one of them, or into two folders.")
    storage = _storage(volume, flat=all(net.lattice.z.patch == 1 for net in nets))
    count = sum(len(net.products) for net in nets)
    parts = []
    for shape, seen in grids.items():
        products = {name: net.colour for net in seen for name in net.products}
        specs = {
            name: _spec(volume, recipe, (name, colour), _store(volume, name, out, count), storage)
            for name, colour in products.items()
        }
        if shape == volume.shape:
            parts.append(Segmentation(volume, recipe, seen, specs, folder, options).plan())
        else:
            flat = all(net.lattice.z.patch == 1 for net in seen)
            parts.append(Matching(volume, shape, recipe, specs, folder, options).plan(seen, flat=flat))
    return join(volume.name, parts, {"segment": recipe.to_json()})


def _store(volume: Volume, feature: str, out: str, features: int) -> str:
    if suffix_of(out) == ".zarr":
        if features > 1:
            raise InputError(f"--out {out} is one store, but {features} volumes are written; give a folder.")
        return out
    return join_url(out, f"{volume.name}__{re.sub(r'[^A-Za-z0-9.+-]+', '_', feature)}.ome.zarr")


def _storage(volume: Volume, *, flat: bool) -> tuple[Index3, Index3]:
    """Chunk and shard of the predictions: the volume's own, but shards not much above 128 voxels a side.

    A block covers whole shards and takes a network seconds to minutes, so they are the grain of progress. For 2D
    networks alone shards are one chunk thin along z: then blocks can cover whole slices, and no patch crosses one.
    """
    from volengine.io.levels import auto_chunk

    stored = volume.path != ""
    chunk = volume.chunks if stored and volume.chunks and max(volume.chunks) <= SHARD_VOX else auto_chunk(volume.shape)
    wanted = (volume.shards if stored else None) or auto_shard(volume.shape, chunk)
    most = [c * max(1, SHARD_VOX // c) for c in chunk]
    z, y, x = (min(max(w // c * c, c), m) for w, c, m in zip(wanted, chunk, most, strict=True))
    return chunk, (chunk[0] if flat else z, y, x)


def _spec(
    volume: Volume,
    recipe: SegmentRecipe,
    shown: tuple[str, tuple[float, float, float] | None],
    url: str,
    storage: tuple[Index3, Index3],
) -> ImageSpec:
    """The image of a prediction; ``shown`` is the feature's name, and its colour where the model says one."""
    feature, colour = shown
    kept = {key: volume.facts[key] for key in ("mrc",) if key in volume.facts}
    if colour is not None:
        kept["colour"] = list(colour)
    return image_spec(
        url,
        volume,
        dtype=recipe.dtype,
        kind="probability",
        chunk=storage[0],
        shard=storage[1],
        ngff=recipe.ngff,
        levels=recipe.levels,
        facts={**kept, "feature": feature, "history": history(volume, "segment", recipe)},
    )
