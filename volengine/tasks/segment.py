"""segment: networks over the patches of a tomogram, blended into one probability volume per feature.

Each patch is run once, whatever the blocks. Where no patch crosses a block's border (2D networks in blocks that cover
whole slices, or a single block) a block writes its predictions at once; else a first stage (``predict``) writes
integer sums and the pieces that reach into the next blocks to scratch arrays, and a second one (``blend``) adds them.
The predictions have the same bytes for any block shape, number of workers or order (:mod:`volengine.ops.blend`).

Several models read the tomogram once. What a recipe does not say, each model's own facts do.

>>> from volengine.tasks.segment import SegmentRecipe, segment
>>> recipe = SegmentRecipe(models=("membrane.safetensors", "ribosome.safetensors"), tta=4)
>>> predictions = segment("TS_01.ome.zarr", "predictions", recipe)                    # doctest: +SKIP
>>> predictions["ribosome"].url                                                       # doctest: +SKIP
'predictions/TS_01__ribosome.ome.zarr'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from volengine.core.boxes import Index3
from volengine.core.errors import InputError, PlanError
from volengine.core.image import ImageSpec, Ngff
from volengine.core.model import ModelFacts
from volengine.core.recipe import Recipe
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_plan
from volengine.io import is_packed, open_volume, suffix_of
from volengine.ops.quantise import ProbabilityType, Rounding
from volengine.tasks.images import auto_shard, image_spec
from volengine.tasks.layout import history, join_url, plan_folder, run_dir_for

VOXEL_TOLERANCE = 0.05
"""Relative difference between the voxel sizes of model and tomogram above which a model is refused (as in Ais)."""

SHARD_VOX = 128


@dataclass(frozen=True)
class SegmentRecipe(Recipe):
    """How to predict.

    Parameters
    ----------
    models
        Model files (``.safetensors``).
    patch
        Voxels z, y, x that a network answers at once, or ``slice``: whole slices with 32 or more voxels of context
        on each side, as Ais does. Default: the model's.
    overlap
        Of neighbouring patches, 0 to below 1. Default: the model's.
    window
        ``gaussian``, ``hann``, ``constant`` or ``crop``. Default: the model's.
    edge
        Outside of the volume: ``reflect``, ``edge`` or ``zero``. Default: the model's.
    margin_vox
        Voxels the volume is made longer by at its faces before the patches are laid out (in z only for 3D models).
    exact
        For purely convolutional networks: patches do not overlap and see their whole receptive field, so that the
        prediction is that of the whole volume at once. Larger patches take more memory and less time; default: the
        model's, but at least three times the receptive field's radius.
    tta
        Views from which each patch is predicted: 1 to 8 (quarter turns, then flipped), to 16 (3D), or ``flips``.
    batch
        Patches per call of the network; 0: chosen by the device.
    precision
        ``float32``, ``tf32``, ``bfloat16`` or ``float16`` (GPU).
    channels_last
        Memory order for the network.
    compile
        Use ``torch.compile``.
    dtype
        Of the predictions: ``uint8`` (255 is 1.0), ``float16`` or ``float32``.
    rounding
        To uint8: ``nearest`` (half to even) or ``truncate`` (as Ais does).
    any_voxel_size
        Accept tomograms whose voxel size is not the model's.
    ngff
        Version of the written stores: ``0.5`` or ``0.4``.
    levels
        Number of resolution levels; default: until the volume fits into one chunk.
    """

    models: tuple[str, ...]
    patch: tuple[int, int, int] | Literal["slice"] | None = None
    overlap: float | None = None
    window: Literal["gaussian", "hann", "constant", "crop"] | None = None
    edge: Literal["reflect", "edge", "zero"] | None = None
    margin_vox: int = 0
    exact: bool = False
    tta: int | Literal["flips"] = 1
    batch: int = 0
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    dtype: ProbabilityType = "uint8"
    rounding: Rounding = "nearest"
    any_voxel_size: bool = False
    ngff: Ngff = "0.5"
    levels: int | None = None

    def check(self) -> None:
        if not self.models:
            raise InputError("segment needs at least one model.")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise InputError(f"--overlap must be at least 0 and below 1, not {self.overlap}.")
        if isinstance(self.patch, tuple) and min(self.patch) < 1:
            raise InputError(f"--patch must be positive, not {self.patch}.")
        if self.margin_vox < 0 or self.batch < 0:
            raise InputError(f"--margin-vox {self.margin_vox} and --batch {self.batch} must not be negative.")
        if isinstance(self.tta, int) and not 1 <= self.tta <= 16:
            raise InputError(f"--tta is {self.tta}; it must be from 1 to 16, or flips.")
        if self.exact and (self.overlap or self.margin_vox or self.patch == "slice" or self.window):
            raise InputError("--exact needs no --overlap, --window, --margin-vox or whole slices: leave them out.")
        if self.levels is not None and self.levels < 1:
            raise InputError(f"--levels must be 1 or more, not {self.levels}.")
        if self.dtype != "uint8" and self.rounding != "nearest":
            raise InputError(f"--rounding {self.rounding} is for uint8, not for {self.dtype}.")


def segment(source: str, out: str, recipe: SegmentRecipe, options: RunOptions | None = None) -> dict[str, Volume]:
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
    run_dir = options.run_dir or (run_dir_for(out) if single else join_url(out, "segment.run"))

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
    from volengine.tasks.segment_plan import Segmentation, nets_of

    if is_packed(volume.url):
        raise InputError(f"{volume.url} is compressed as a whole and cannot be read in blocks; convert it first.")
    nets = nets_of(volume, recipe, options)
    features = [f for net in nets for f in net.features if f]
    double = sorted({f for f in features if features.count(f) > 1})
    if double:
        raise InputError(f"Two models predict {double[0]!r}; segment with one of them, or into two folders.")
    storage = _storage(volume, flat=all(net.lattice.z.patch == 1 for net in nets))
    specs = {f: _spec(volume, recipe, f, _store(volume, f, out, len(features)), storage) for f in features}
    return Segmentation(volume, recipe, nets, specs, folder, options).plan()


def _store(volume: Volume, feature: str, out: str, features: int) -> str:
    if suffix_of(out) == ".zarr":
        if features > 1:
            raise InputError(f"--out {out} is one store, but {features} features are predicted; give a folder.")
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


def _spec(volume: Volume, recipe: SegmentRecipe, feature: str, url: str, storage: tuple[Index3, Index3]) -> ImageSpec:
    kept = {key: volume.facts[key] for key in ("mrc",) if key in volume.facts}
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


def check_voxel_size(volume: Volume, path: str, facts: ModelFacts) -> None:
    """Refuse a model trained at another voxel size (5 % tolerance); networks that see one slice do not mind z.

    Raises
    ------
    InputError
        With both numbers and the option that allows it.
    """
    first = 0 if facts.volumetric or facts.context > 1 else 1
    for axis, v, m in list(zip("zyx", volume.voxel_size, facts.voxel_size, strict=True))[first:]:
        if abs(v / m - 1) > VOXEL_TOLERANCE:
            raise InputError(
                f"{path} was trained at {m:g} angstrom per voxel, but {volume.url} has {v:g} along {axis} "
                f"({v / m - 1:+.0%}). Rescale the tomogram, give its true --voxel-size when converting, or accept it "
                "with --any-voxel-size."
            )


def fit_stride(patch: Index3, stride: Index3, model: str) -> None:
    """Refuse patches that the network cannot halve as often as it wants."""
    for axis, p, s in zip("zyx", patch, stride, strict=True):
        if p % s:
            raise PlanError(
                f"The patch {patch} is not a multiple of {model}'s stride {stride} on axis {axis}; "
                f"use {max(p // s, 1) * s} or {(p // s + 1) * s}."
            )
