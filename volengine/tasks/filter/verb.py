"""filter: a tomogram through a list of filters to a tomogram.

Steps act in the order of the recipe (:mod:`volengine.tasks.filter.steps`). The source stays unchanged; the result is a
new store with the source's origin, its history and its tilt series, float32 unless the recipe says otherwise.
"""

from __future__ import annotations

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import join_url
from volengine.tasks.filter.description import FilterOutputs
from volengine.tasks.filter.plan import plan_filter
from volengine.tasks.filter.recipe import FilterRecipe

TABLE = ".tsv"


def request(
    source: str, out: str, recipe: FilterRecipe, options: RunOptions
) -> Request[Volume, FilterRecipe, FilterOutputs]:
    """Open one tomogram; its store is ``out`` itself, or ``<name>__filtered.ome.zarr`` in the folder ``out``."""
    volume = open_volume(source, voxel_size=recipe.voxel_size, identity=options.identity)
    return Request(volume.name, volume, recipe, outputs_for(volume.name, out, recipe))


def outputs_for(name: str, out: str, recipe: FilterRecipe) -> FilterOutputs:
    """The products of one tomogram.

    Raises
    ------
    InputError
        ``out`` is a table, but the recipe writes a store.
    """
    if not FILTER.is_product(out):
        store = join_url(out, f"{name}__filtered.ome.zarr")
        return FilterOutputs(store if recipe.steps else "", join_url(out, f"{name}__spectrum{TABLE}"))
    plain = out.rstrip("/")
    if plain.lower().endswith(TABLE):
        if recipe.steps:
            raise InputError(
                f"--out {out}: is a table, for the spectrum of a source alone; with steps give a store (.zarr) or a "
                "folder, and the table is written beside it."
            )
        return FilterOutputs(table=plain)
    if not recipe.steps:
        raise InputError(
            f"--out {out}: without steps only the spectrum is written; give a table ({TABLE}) or a folder."
        )
    stem = plain[: -len(".zarr")].removesuffix(".ome")
    return FilterOutputs(plain, f"{stem}__spectrum{TABLE}")


FILTER = Verb("filter", request, plan_filter, endings=(".zarr", TABLE))


def filter(
    source: PathLike, out: PathLike, recipe: FilterRecipe, options: RunOptions | None = None
) -> OpenVolume | None:
    """Apply filters to a tomogram.

    Parameters
    ----------
    source
        Any file or store that :func:`volengine.open_volume` opens.
    out
        The store to write (``.ome.zarr``), or a folder that gets ``<name>__filtered.ome.zarr``; a path or URL. With the
        recipe's ``spectrum`` the table ``<name>__spectrum.tsv`` is written beside it; without steps ``out`` may be the
        table (``.tsv``).
    recipe, options
        The steps, and how to run.

    Returns
    -------
    OpenVolume
        The handle of the result; ``None`` if only a spectrum was written.

    Raises
    ------
    InputError
        The source is no tomogram or holds NaN, or a step cannot be applied to it.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.FilterRecipe(steps=[{"low_pass": 40}, "normalise"])
    >>> volume = volengine.filter("TS_01.mrc", "filtered.ome.zarr", recipe)
    >>> volume.shape, volume.dtype, round(abs(float(volume[:].mean())), 3)
    ((16, 32, 32), 'float32', 0.0)
    """
    made = FilterRecipe.of(recipe)
    plan = run_one(FILTER, path_text(source), path_text(out), made, options or RunOptions())
    return open_volume(plan.images[-1].url) if made.steps else None
