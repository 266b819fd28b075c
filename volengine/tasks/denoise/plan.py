"""Planning ``denoise``: the network on each half, into scratch arrays, and their mean in grey values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan, join
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.io.shared_models import found_model
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of, scratch_spec
from volengine.tasks.common.made import image_made
from volengine.tasks.common.origins import origins_note
from volengine.tasks.common.roi import box_of, check_same_part, facts_of, history_of, seen_of, start_of, tiling_of
from volengine.tasks.denoise.recipe import DenoiseRecipe
from volengine.tasks.segment.nets import nets_of
from volengine.tasks.segment.plan import chunk_and_shard, plan_on_grid, within
from volengine.tasks.segment.stages import statistics_stages

_MEAN = "volengine.tasks.denoise.blocks:mean_of_halves"


@dataclass(frozen=True)
class Half:
    """One half of a tomogram, and what the network makes of it: its stages, and a float32 scratch array."""

    name: str
    volume: Volume
    plan: Plan
    answer: ImageSpec
    statistics: str
    """Name of the stage whose table has mean and standard deviation of the half; empty: none is needed."""


def plan_denoise(
    source: Sequence[Volume], recipe: DenoiseRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that denoise a tomogram; reads the model's facts and the volumes' metadata.

    Parameters
    ----------
    source
        The two halves of the tomogram, or the tomogram alone.
    recipe, out, folder, options
        How to denoise, the store to write, the plan's folder for scratch arrays, and how to run.

    Returns
    -------
    Plan
        ``images[-1]`` is the denoised tomogram.

    Raises
    ------
    InputError
        The model's answers are no grey values or of an unknown unit, it has several, or it does not fit the tomogram;
        the halves differ in shape, voxel size, origin or part, or are the same volume.
    """
    first = source[0]
    notes = [_checked(first, other) for other in source[1:]]
    model = found_model(recipe.model)
    recipe = recipe.with_(model=model.path)
    notes += [model.note] if model.note else []
    grey = _grey(recipe)
    part = box_of(first, recipe.roi)
    made = [_half(number, half, recipe, folder, options, grey) for number, half in enumerate(source, start=1)]
    seen = seen_of(first, part)
    chunk, shard = chunk_and_shard(seen, flat=False)
    steps = history_of(first, "denoise", recipe, part)
    steps[-1]["halves"] = [half.identity for half in source]
    spec = image_spec(
        out,
        seen,
        StoreOptions(chunk, shard, ngff=recipe.ngff, levels=recipe.levels),
        dtype=recipe.dtype,
        kind="intensity",
        facts={**facts_of(first.facts, part), "history": steps},
    )

    def build(core: Index3) -> Stage:
        tiling = tiling_of(first.shape, core, part)
        return Stage(
            "denoise",
            _MEAN,
            tiling,
            params={
                "halves": [half.name for half in made],
                "grey": grey,
                "dtype": spec.dtype,
                "factors": factors_of(spec),
            },
            arrays={half.name: ArrayInput(half.answer.volume(), at=start_of(part)) for half in made},
            tables={half.name: TableInput(half.statistics, "all") for half in made if half.statistics},
            outputs=outputs_of(spec, at=start_of(part)),
            kernel_bytes=kernel_bytes(
                _MEAN, voxels=math.prod(min(c, n) for c, n in zip(core, seen.shape, strict=True))
            ),
        )

    core = options.core_for(seen.shape, core_unit(spec), build)
    seen_by = join(first.name, [half.plan for half in made], {"denoise": recipe.to_json()})
    return replace(
        seen_by,
        stages=(*seen_by.stages, build(core)),
        images=(*seen_by.images, spec),
        finish=(*seen_by.finish, image_made(spec, f"{recipe.model} on {_said(len(made))}")),
        notes=(*seen_by.notes, *filter(None, notes)),
    )


def _said(halves: int) -> str:
    return "the tomogram" if halves == 1 else "both halves"


def _half(
    number: int, half: Volume, recipe: DenoiseRecipe, folder: PlanFolder, options: RunOptions, grey: bool
) -> Half:
    """The stages that apply the network to one half."""
    part = box_of(half, recipe.roi)
    how = recipe.predicting()
    ((grid, nets),) = within(nets_of(half, how, options), half, part).items()
    (product,) = nets[0].products
    name = f"half{number}"
    seen = seen_of(half, part)
    _, shard = chunk_and_shard(seen, flat=all(net.lattice.z.patch == 1 for net in nets))
    chunk = index3(map(min, shard, seen.shape))
    answer = scratch_spec(str(folder.scratch / name), seen.shape, "float32", chunk, half.voxel_size)
    made = plan_on_grid(half, how, {product: answer}, (folder, options), grid, nets, part, label=f"-{name}")
    if not grey:
        return Half(name, half, made, answer, "")
    own = [s.name for s in made.stages if s.name.endswith(f"-{name}-statistics")] if grid.shape == half.shape else []
    if own:
        return Half(name, half, made, answer, own[0])
    more = statistics_stages(f"denoise-{name}-moments", half)
    return Half(name, half, replace(made, stages=(*more, *made.stages)), answer, more[-1].name)


def _grey(recipe: DenoiseRecipe) -> bool:
    """Whether answers are to be turned into grey values; refuses models whose answers are none."""
    from volengine.nets.checkpoint import load_facts

    facts = load_facts(recipe.model)
    if facts.activation != "none":
        raise InputError(
            f"{recipe.model} predicts probabilities of {', '.join(facts.features)}; denoise needs a model whose "
            "answers are grey values: volengine train --volume EVEN --pair even,odd (or --volume NOISY --target IDEAL)."
        )
    if len(facts.features) > 1:
        raise InputError(f"{recipe.model} has {len(facts.features)} answers ({', '.join(facts.features)}), not one.")
    if recipe.units == "grey" and facts.target is None:
        raise InputError(
            f"{recipe.model} does not state the unit of its answers (target); take them as they are with --units model."
        )
    return recipe.units == "grey" and facts.target == "volume"


def _checked(first: Volume, other: Volume) -> str:
    """Refuse two volumes that cannot be halves of one tomogram; return what is to be noted of their origins."""
    if other.identity == first.identity:
        raise InputError(f"{other.where}: both halves are the same volume; give the other half, or none.")
    for what in ("shape", "voxel_size"):
        one, two = getattr(first, what), getattr(other, what)
        if one != two:
            raise InputError(
                f"{first.where} has the {what.replace('_', ' ')} {one}, but {other.where} {two} (z, y, x); they are no "
                "halves of one tomogram."
            )
    check_same_part(first, other)
    return origins_note((first.where, first.origin, first.voxel_size), (other.where, other.origin, other.voxel_size))
