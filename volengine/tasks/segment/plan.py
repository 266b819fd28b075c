"""Planning ``segment``: the grid of each model, the stores of the predictions, and the stages on each grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.paths import place_key
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan, join
from volengine.io.names import is_packed, suffix_of
from volengine.io.shared_models import found_model, split
from volengine.tasks.common.images import StoreOptions, auto_shard, image_spec
from volengine.tasks.common.inputs import UNCERTAINTY_ENDING, globbed
from volengine.tasks.common.layout import feature_store
from volengine.tasks.common.older import STORES, older_named
from volengine.tasks.common.roi import box_of, facts_of, history_of, seen_of
from volengine.tasks.segment.description import UNCERTAINTY, Net, teams
from volengine.tasks.segment.ensemble import averaged, colour_of, members, notes, several_grids
from volengine.tasks.segment.match import MatchStages
from volengine.tasks.segment.mean import MeanStages
from volengine.tasks.segment.nets import Grid, nets_of
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.stages import GridStages

SHARD_VOX = 128


def plan_segment(source: Volume, recipe: SegmentRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stages that predict the features of a tomogram; reads the models' facts and the volume's metadata.

    Parameters
    ----------
    source
        The tomogram.
    recipe
        Which models are applied, and how.
    out
        Folder or URL for the predictions; or, for a single feature, the store itself (``.zarr``).
    folder
        Folder of the plan; its scratch folder holds sums and matched copies.
    options
        How to run.

    Returns
    -------
    Plan
        Its images that are not scratch are the predictions; ``facts["feature"]`` of each is its feature's name. At its
        end predictions of the tomogram that it has not made, but an earlier recipe or model, are named.

    Raises
    ------
    InputError
        A model does not fit the tomogram or the recipe; or two models predict the same feature, and the recipe does not
        say that they are an ensemble.
    """
    if is_packed(source.url):
        raise InputError(f"{source.url} is compressed as a whole and cannot be read in blocks; convert it first.")
    named = [text for one in recipe.models for text in ((one,) if split(one) else globbed((one,), "model file"))]
    found = [found_model(text) for text in named]
    recipe = recipe.with_(models=tuple(one.path for one in found))
    part = box_of(source, recipe.roi)
    grids = averaged(within(nets_of(source, recipe, options), source, part), recipe)
    nets = [net for every in grids.values() for net in every]
    products = [name for net in nets for name in net.products]
    if recipe.ensemble:
        products = list(dict.fromkeys(products))
    _check_products(products, source)
    sums = [name for grid in grids.values() for team in teams(grid) for name in team.sums]
    if len(set(sums)) < len(sums) and not several_grids(grids):
        raise InputError(f"A feature has the name of another one's sums ({', '.join(sums)}); rename it in its model.")
    chunk_shard = chunk_and_shard(seen_of(source, part), flat=all(net.lattice.z.patch == 1 for net in nets))
    specs = {
        name: _spec(source, recipe, nets, name, _store(source, name, out, len(products)), chunk_shard, part)
        for name in products
    }
    if several_grids(grids):
        parts = [MeanStages(source, recipe, specs, folder, options).plan(grids)]
    else:
        where = (folder, options)
        parts = [plan_on_grid(source, recipe, specs, where, grid, seen, part) for grid, seen in grids.items()]
    folder_of_stores = suffix_of(out) != ".zarr"
    older = (older_named(out, source.name, [spec.url for spec in specs.values()], STORES),) if folder_of_stores else ()
    said = Plan(
        source.name, (), (), notes=(*(one.note for one in found if one.note), *notes(nets, recipe)), finish=older
    )
    return join(source.name, [*parts, said], {"segment": recipe.to_json()})


def plan_on_grid(
    source: Volume,
    recipe: SegmentRecipe,
    specs: dict[str, ImageSpec],
    where: tuple[PlanFolder, RunOptions],
    grid: Grid,
    seen: list[Net],
    part: Box | None,
    label: str = "",
) -> Plan:
    """The stages of the networks that read one grid; ``specs`` are the images of all products.

    ``label`` is the end of the names of stages and scratch arrays, where one plan predicts the same features twice.
    """
    own = {name: specs[name] for name in dict.fromkeys(name for net in seen for name in net.products)}
    if grid.shape == source.shape:
        return GridStages(source, recipe, seen, own, *where, unsigned=grid.unsigned, label=label, part=part).plan()
    flat = all(net.lattice.z.patch == 1 for net in seen)
    return MatchStages(source, grid.shape, recipe, own, *where, grid.unsigned, label, part).plan(seen, flat=flat)


def within(grids: dict[Grid, list[Net]], source: Volume, part: Box | None) -> dict[Grid, list[Net]]:
    """The networks with their patches for a part of the tomogram; those that see a matched grid are left as they are.

    Raises
    ------
    InputError
        Models of one feature see the tomogram on different grids.
    """
    if part is None:
        return grids
    if several_grids(grids):
        raise InputError(
            f"The models of one feature (--ensemble) see {source.where} on different grids, which is not done for a "
            "part of a tomogram: leave out --roi, and cut the prediction with volengine crop."
        )
    return {
        grid: [replace(net, lattice=net.lattice.within(part)) for net in nets] if grid.shape == source.shape else nets
        for grid, nets in grids.items()
    }


def _check_products(products: list[str], source: Volume) -> None:
    """Refuse products of one name, or whose files have one name.

    Raises
    ------
    InputError
        One of them would be lost.
    """
    double = sorted({name for name in products if products.count(name) > 1})
    if double:
        raise InputError(
            f"Two models predict {double[0]!r}: average them with --ensemble, segment with one of them, or into two "
            "folders."
        )
    keys: dict[str, str] = {}
    for name in products:
        for key in {place_key(name), place_key(_store(source, name, ".", 2))}:
            if keys.setdefault(key, name) != name:
                raise InputError(
                    f"{keys[key]!r} and {name!r} would be written to one file, or to two that some file systems take "
                    "for one; segment them into two folders."
                )


def _store(volume: Volume, feature: str, out: str, features: int) -> str:
    if suffix_of(out) == ".zarr":
        if features > 1:
            raise InputError(f"--out {out} is one store, but {features} volumes are written; give a folder.")
        return out
    of = feature.removesuffix(UNCERTAINTY)
    suffix = "" if of == feature else UNCERTAINTY_ENDING
    return feature_store(out, volume.name, of, suffix)


def chunk_and_shard(volume: Volume, *, flat: bool) -> tuple[Index3, Index3]:
    """Chunk and shard of the predictions: those of the volume, but shards of not much more than 128 voxels a side.

    A block covers whole shards and takes a network seconds to minutes; a run that is stopped loses unfinished blocks.
    If all networks are 2D, a shard has the depth of one chunk: then blocks can cover whole slices, and no patch crosses
    the border of a block.
    """
    from volengine.io.omezarr.levels import auto_chunk

    stored = volume.stored
    chunk = volume.chunks if stored and volume.chunks and max(volume.chunks) <= SHARD_VOX else auto_chunk(volume.shape)
    wanted = (volume.shards if stored else None) or auto_shard(volume.shape, chunk)
    most = [c * max(1, SHARD_VOX // c) for c in chunk]
    z, y, x = (min(max(w // c * c, c), m) for w, c, m in zip(wanted, chunk, most, strict=True))
    return chunk, (chunk[0] if flat else z, y, x)


def _spec(
    volume: Volume,
    recipe: SegmentRecipe,
    nets: list[Net],
    product: str,
    url: str,
    chunk_shard: tuple[Index3, Index3],
    part: Box | None,
) -> ImageSpec:
    """The image of a prediction or an uncertainty; of an ensemble its facts name the models, too."""
    facts = facts_of(volume.facts, part)
    kept = {key: facts[key] for key in ("mrc",) if key in facts}
    colour = colour_of(nets, product)
    if colour is not None:
        kept["colour"] = list(colour)
    if recipe.ensemble:
        kept["ensemble"] = members(nets, product.removesuffix(UNCERTAINTY))
    return image_spec(
        url,
        seen_of(volume, part),
        StoreOptions(*chunk_shard, ngff=recipe.ngff, levels=recipe.levels),
        dtype=recipe.dtype,
        kind="probability",
        facts={**kept, "feature": product, "history": _history(volume, recipe, nets, part)},
    )


def _history(volume: Volume, recipe: SegmentRecipe, nets: list[Net], part: Box | None) -> list[dict[str, Any]]:
    """The history with this prediction; ``backend`` says which library computed it, if it was not PyTorch."""
    steps = history_of(volume, "segment", recipe, part)
    told = {net.backend for net in nets} - {""}
    if told:
        steps[-1]["backend"] = ", ".join(sorted(told))
    return steps
