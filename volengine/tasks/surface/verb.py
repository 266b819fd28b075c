"""surface: triangle meshes of what a prediction or a label volume holds, as a set of surfaces.

1. A voxel belongs to an object if the prediction exceeds the threshold, or by its label.
2. Objects are connected components, or numbers; small ones are dropped.
3. Marching cubes make the surface of each object; it is watertight across blocks, and the same for every block shape.
4. Each surface is smoothed without shrinking, and remeshed where that is asked for; of membranes one face or the
   mid-surface can be taken.

Methods are in :mod:`volengine.ops.surfaces`.
"""

from __future__ import annotations

from pathlib import Path

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.surfaces import ENDING, SurfaceSet, open_surfaces
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import file_name, has_plan, join_url
from volengine.tasks.common.named import feature_of, of_tomogram, open_sized
from volengine.tasks.surface.plan import plan_surface
from volengine.tasks.surface.recipe import SurfaceRecipe


def request(source: str, out: str, recipe: SurfaceRecipe, options: RunOptions) -> Request[Volume, SurfaceRecipe, str]:
    """Open a prediction or a label volume, and choose the folder of its surfaces."""
    if "://" in out:
        raise InputError(f"--out {out}: sets of surfaces are written to a folder of this machine.")
    volume = open_sized(source, recipe.voxel_size, options.identity)
    if found := feature_of(volume):
        volume, recipe = of_tomogram(volume, found), recipe.with_(feature=recipe.feature or found)
    group = volume.path.rpartition("/")[0].removeprefix("labels/") if volume.stored else ""
    feature = recipe.feature or group or "objects"
    recipe = recipe if recipe.feature or recipe.ids_of(volume) else recipe.with_(feature=feature)
    name = f"{volume.name}__{file_name(feature)}"
    place = out.rstrip("/") if SURFACE.is_product(out) else join_url(out, name + ENDING)
    if Path(place).is_file():
        raise InputError(f"--out {place} is a file, and sets of surfaces are folders; give another name.")
    ours = has_plan(SURFACE.run_dir(out, options), name)
    if not ours and not options.overwrite and Path(place).is_dir() and any(Path(place).iterdir()):
        raise InputError(f"{place} exists, and is not of this run; choose another --out, or replace it: --overwrite.")
    return Request(name, volume, recipe, place)


SURFACE = Verb("surface", request, plan_surface, endings=(ENDING,))


def surface(
    source: PathLike, out: PathLike, recipe: SurfaceRecipe | None = None, options: RunOptions | None = None
) -> SurfaceSet:
    """Make the surfaces of the objects of a prediction, mask or label volume.

    Parameters
    ----------
    source
        The prediction or labels: a store (``TS_01.ome.zarr#labels/membrane``), or a file.
    out
        The set to write, ``NAME.surfaces``; or a folder for the set ``<tomogram>__<feature>.surfaces``.
    recipe, options
        What an object is and how its mesh is made, and how to run.

    Returns
    -------
    SurfaceSet
        The set; ``found.rows`` has a row for each surface, ``found.read(number)`` its mesh.

    Raises
    ------
    InputError
        The source is neither prediction nor labels, or does not say which of its labels are meant.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.SurfaceRecipe(threshold=0.5, min_volume_nm3=100)
    >>> found = volengine.surface("predictions/TS_01__ribosome.ome.zarr", "ribosomes.surfaces", recipe)
    >>> len(found), found.read(1).closed
    (2, True)
    """
    plan = run_one(SURFACE, path_text(source), path_text(out), SurfaceRecipe.of(recipe), options or RunOptions())
    return open_surfaces(plan.finish[0].params["out"])
