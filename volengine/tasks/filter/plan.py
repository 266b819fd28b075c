"""Planning ``filter``: what each step means for this tomogram, and the image that is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.paths import place_key
from volengine.core.volume import Volume, size_text
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.io.names import is_copied_first
from volengine.io.open import open_volume
from volengine.io.spectra import read_spectrum
from volengine.io.tilts import TiltSeries
from volengine.ops.filters.ctf import Lens, Ratio, first_zero
from volengine.ops.filters.short import Bound
from volengine.ops.resample import resampled_shape
from volengine.tasks.common.densities import check_densities
from volengine.tasks.common.images import StoreOptions, image_spec
from volengine.tasks.common.made import image_made
from volengine.tasks.common.roi import box_of, facts_of, history_of, seen_of
from volengine.tasks.common.unpack import unpacked, waits_for
from volengine.tasks.filter.chain import IN_BLOCKS, Chain
from volengine.tasks.filter.description import FilterOutputs
from volengine.tasks.filter.fourier_steps import (
    BandPass,
    Deconvolve,
    HighPass,
    LowPass,
    MatchSpectrum,
    MatchVoxelSize,
    MissingWedge,
)
from volengine.tasks.filter.local_steps import Invert, Normalise
from volengine.tasks.filter.needed import only_needed
from volengine.tasks.filter.recipe import FilterRecipe
from volengine.tasks.filter.step import Step

LEAST_VOX = 4
"""Fewer voxels along an axis than this would be left of no tomogram."""


def plan_filter(
    source: Volume, recipe: FilterRecipe, out: FilterOutputs, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that apply the steps of a recipe to a tomogram; reads metadata, and tables of spectra.

    Parameters
    ----------
    source
        The tomogram.
    recipe
        The steps, and what is written.
    out
        Where the products go.
    folder
        Folder of the plan, for scratch arrays: about 12 bytes for each voxel and pass in Fourier space.
    options
        How to run.

    Returns
    -------
    Plan
        Its last image is the result, unless the recipe asks for a spectrum alone.

    Raises
    ------
    InputError
        The source is no tomogram, the recipe leaves nothing to do, a step needs what is not known of the tomogram, or
        the result would replace the source.
    """
    _check(source, recipe, out)
    if recipe.transform == "blocks":
        _check_blocks(recipe)
    steps = tuple(_resolved(step, source) for step in recipe.steps)
    read, before = unpacked(source, folder)
    tolerance = recipe.tolerance if recipe.transform == "blocks" else None
    chain = Chain(read, waits_for(before), folder, options, (recipe.faces, recipe.pad_vox), tolerance, list(before))
    looked = check_densities(source, "a filter's source")
    notes = [_add(chain, step, source) for step in steps]
    chain.end()
    notes += [f"in blocks, different from the whole by {bound.said()}" for bound in chain.bounds]
    finish = []
    last = source.with_(shape=chain.shape, voxel_size=chain.voxel_size)
    if recipe.spectrum:
        stage = chain.spectrum()
        finish.append(
            Call("volengine.tasks.filter.finish:write_amplitudes", {"stage": stage, "out": out.table}, (out.table,))
        )
    if steps:
        part = _part_of(source, last, recipe.roi)
        spec = _spec(source, last, recipe.with_(steps=steps), out.store, part, chain.bounds)
        stage = chain.store(spec, recipe.dtype, recipe.scale, part)
        if recipe.scale is not None:
            facts = {"stage": stage, "dtype": recipe.dtype, "scale": recipe.scale}
            finish.append(Call("volengine.tasks.filter.finish:say_range", facts))
        finish.append(image_made(spec, "; ".join(notes)))
    stages, images = only_needed(chain.stages, chain.images, IN_BLOCKS)
    return Plan(
        source.name,
        tuple(stages),
        tuple(images),
        recipe={"filter": recipe.to_json()},
        finish=tuple(finish),
        notes=(*looked, *notes),
    )


def _check(source: Volume, recipe: FilterRecipe, out: FilterOutputs) -> None:
    if not recipe.steps and not recipe.spectrum:
        raise InputError("filter: the recipe has no step; give some, or --spectrum for the source's spectrum alone.")
    if source.kind != "intensity" or "feature" in source.facts:
        raise InputError(
            f"{source.where}: filters are for tomograms, and this holds {source.kind}; probabilities and labels would "
            "lose their meaning."
        )
    if source.dtype == "bool" or source.dtype.startswith("complex"):
        raise InputError(f"{source.where}: holds {source.dtype}; filters are for real grey values.")
    if recipe.steps and _place(out.store) == _place(source.url):
        raise InputError(f"{out.store}: is the source itself; give another --out.")


def _check_blocks(recipe: FilterRecipe) -> None:
    """Refuse steps that need the transform of the whole volume."""
    for step in recipe.steps:
        if isinstance(step, MatchSpectrum):
            raise InputError("match_spectrum needs the spectrum of the whole volume; take --transform whole.")
        if isinstance(step, MatchVoxelSize) and step.method == "fourier":
            raise InputError(
                "match_voxel_size with method fourier transforms the whole volume; take --transform whole, or "
                "method=area or method=linear."
            )


def _place(url: str) -> str:
    return place_key(url.rstrip("/") if "://" in url else str(Path(url).resolve()))


# -- what is known of the tomogram -------------------------------------------------------------------------


def _resolved(step: Step, source: Volume) -> Step:
    """A step with the values that the tomogram's tilt series has."""
    if isinstance(step, Deconvolve) and not step.defocus_um:
        series = _series(source, "deconvolve: defocus_um", "--deconvolve 5")
        if series.defocus is None:
            raise InputError(
                f"{source.where}: {series.source} states no measured defocus; give it, in micrometre: --deconvolve 5."
            )
        return step.with_(defocus_um=tuple(d / 1e4 for d in _used(series, series.defocus)))
    if isinstance(step, MissingWedge) and step.tilts is None:
        angles = _used(_series(source, "missing_wedge: tilts", "tilts=-60,60"), None)
        return step.with_(tilts=(min(angles), max(angles)))
    return step


def _series(source: Volume, what: str, example: str) -> TiltSeries:
    found = source.facts.get("tilt_series")
    if not isinstance(found, Mapping):
        raise InputError(
            f"{source.where}: {what} is not given, and the store keeps no tilt series; give it ({example}), or convert "
            "with --tilts."
        )
    return TiltSeries.from_json(found)


def _used(series: TiltSeries, values: tuple[float, ...] | None) -> tuple[float, ...]:
    column = series.angles if values is None else values
    if series.used is None:
        return column
    return tuple(v for v, used in zip(column, series.used, strict=True) if used) or column


# -- the steps ---------------------------------------------------------------------------------------------


def _add(chain: Chain, step: Step, source: Volume) -> str:
    """Add a step to the chain; returns a line that says what it means here."""
    if isinstance(step, MatchVoxelSize):
        return _resize(chain, step, source)
    if isinstance(step, Deconvolve):
        return _deconvolve(chain, step)
    if isinstance(step, MatchSpectrum):
        return _match(chain, step)
    if isinstance(step, MissingWedge):
        chain.gain({"kind": "wedge", "tilts": step.tilts, "axis": step.axis, "edge_deg": step.edge_deg})
    elif isinstance(step, LowPass):
        _pass(chain, "low", step.resolution_a, step)
    elif isinstance(step, HighPass):
        _pass(chain, "high", step.resolution_a, step)
    elif isinstance(step, BandPass):
        _pass(chain, "high", step.coarse_a, step)
        _pass(chain, "low", step.fine_a, step)
    elif isinstance(step, Normalise):
        mask = _mask(chain, step.mask) if step.mask else None
        chain.normalise(step.how, (step.low, step.high), step.clip and step.how == "percentile", mask)
    elif isinstance(step, Invert):
        chain.local("invert")
    else:
        chain.local(step.name, step.to_json())
    return step.said()


def _mask(chain: Chain, path: str) -> Volume:
    """Open the mask of a normalisation, on the grid of the result so far."""
    mask = open_volume(path, voxel_size=chain.voxel_size, identity=chain.options.identity)
    if mask.shape != chain.shape:
        raise InputError(
            f"normalise: the mask {path} has {mask.shape} voxels, and what is normalised has {chain.shape}; give a "
            "mask of that grid, or normalise before the voxel size changes."
        )
    if is_copied_first(mask.url):
        raise InputError(f"{path} cannot be read in blocks where it lies; convert it first.")
    return mask


def _pass(chain: Chain, kind: str, resolution: float, step: LowPass | HighPass | BandPass) -> None:
    longest = max(n * v for n, v in zip(chain.shape, chain.voxel_size, strict=True))
    finest = 2 * min(chain.voxel_size)
    if resolution > longest:
        left = "change nothing but the mean" if kind == "high" else "leave nothing but the mean"
        raise InputError(
            f"{step.name}: {resolution:g} angstrom is more than the volume's longest side, {longest:g} angstrom, so it "
            f"would {left}. Is it a resolution in angstrom?"
        )
    if resolution < finest / 3**0.5:
        raise InputError(
            f"{step.name}: {resolution:g} angstrom is finer than anything in voxels of {size_text(chain.voxel_size)} "
            f"angstrom (from {finest:g} on). Is it a resolution in angstrom?"
        )
    chain.gain({"kind": kind, "resolution_a": resolution, "edge": step.edge})


def _resize(chain: Chain, step: MatchVoxelSize, source: Volume) -> str:
    shape = resampled_shape(chain.shape, chain.voxel_size, step.sizes)
    if min(shape) < LEAST_VOX and shape != chain.shape and min(chain.shape) >= LEAST_VOX:
        raise InputError(
            f"{source.where}: {chain.shape} voxels of {size_text(chain.voxel_size)} angstrom would become {shape}; is "
            f"{size_text(step.sizes)} meant in angstrom?"
        )
    if shape == chain.shape:
        return f"{step.name}: {shape} voxels of {size_text(chain.voxel_size)} angstrom stay as they are"
    before = chain.shape
    if step.method == "fourier":
        chain.resize(shape, step.sizes, step.taper)
    else:
        chain.rescale(shape, step.method)
    return f"{step.name}: {before} voxels become {shape} of {size_text(chain.voxel_size)} angstrom"


def _deconvolve(chain: Chain, step: Deconvolve) -> str:
    lens = Lens(
        step.defocus_um,
        step.width_um,
        step.voltage_kv,
        step.cs_mm,
        step.amplitude_contrast,
        step.phase_shift_deg,
        step.flipped,
    )
    ratio = Ratio(step.parametrisation, step.strength, step.falloff, step.highpass, step.lowpass)
    if step.mode == "wiener" and step.parametrisation == "membrain" and step.lowpass:
        first_zero(lens)  # refuses a lens without one while planning
    z, y, x = chain.voxel_size
    chain.gain(
        {
            "kind": "wiener",
            "mode": step.mode,
            "voxel_a": (z * y * x) ** (1 / 3),
            "lens": lens.to_json(),
            "ratio": {
                "how": ratio.how,
                "strength": ratio.strength,
                "falloff": ratio.falloff,
                "highpass": ratio.highpass,
                "lowpass": ratio.lowpass,
            },
        }
    )
    low, high = min(step.defocus_um), max(step.defocus_um)
    shown = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g} ({len(step.defocus_um)} tilts)"
    if low < 0:
        shown += " (negative, which is overfocus: is the sign meant?)"
    return f"deconvolve: underfocus {shown} micrometre, {step.parametrisation if step.mode == 'wiener' else step.mode}"


def _match(chain: Chain, step: MatchSpectrum) -> str:
    target = read_spectrum(step.target, step.target_voxel_size)
    span = 90.0 if step.tilts is None else max(abs(t) for t in step.tilts)
    chain.match(
        target.to_json(),
        step.most,
        {"sectors": step.sectors, "span": span, "tilts": step.tilts, "axis": step.axis},
    )
    return f"{step.name}: the target reaches to {1 / target.frequency[-1]:.4g} angstrom"


# -- what is written ---------------------------------------------------------------------------------------


def _part_of(source: Volume, last: Volume, roi: str) -> Box | None:
    """The voxels of the result whose places lie in the part of the source; ``last`` describes the whole result."""
    part = box_of(source, roi)
    if part is None or last.shape == source.shape:
        return part
    ratio = [v / w for v, w in zip(source.voxel_size, last.voxel_size, strict=True)]
    ends = list(zip(part.start, part.stop, ratio, last.shape, strict=True))
    box = Box(index3(_at_least(a * r) for a, _, r, _ in ends), index3(min(_at_least(b * r), m) for _, b, r, m in ends))
    if box.empty:
        raise InputError(f"--roi {roi}: no voxel of the result, {last.shape} voxels, lies in it.")
    return box


def _at_least(place: float) -> int:
    """The first voxel at a place or behind it; places that rounding alone parts are the same."""
    return math.ceil(place - 1e-6)


def _spec(
    source: Volume, last: Volume, recipe: FilterRecipe, store: str, part: Box | None, bounds: Sequence[Bound]
) -> ImageSpec:
    """The image that is written; ``last`` describes the whole result."""
    steps = history_of(last, "filter", recipe, part)
    if bounds:
        steps[-1]["bounds"] = [asdict(bound) for bound in bounds]
    facts = facts_of(source.facts, part)
    if last.shape != source.shape:
        facts = _without_extended_header(facts)
    return image_spec(
        store,
        seen_of(last, part),
        StoreOptions(ngff=recipe.ngff),
        dtype=recipe.dtype,
        kind="intensity",
        facts={**facts, "history": steps},
    )


def _without_extended_header(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts for another grid: the extended header of an MRC file tells of its sections."""
    kept = dict(facts)
    if "mrc" in kept:
        kept["mrc"] = {**kept["mrc"], "ext_type": "", "ext_header_base64": ""}
    return kept
