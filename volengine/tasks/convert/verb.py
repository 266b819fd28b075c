"""convert: a file or store to a chunked OME-Zarr image with its pyramid, voxel size, header and history.

Each block reads its voxels once and writes its part of every level of the pyramid.
"""

from __future__ import annotations

from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.copick.target import is_target
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import join_url
from volengine.tasks.convert.montage import MONTAGE, Section
from volengine.tasks.convert.plan import plan_convert
from volengine.tasks.convert.project import Segmentation, segmentation_of
from volengine.tasks.convert.recipe import ConvertRecipe


def request(
    source: str, out: str, recipe: ConvertRecipe, options: RunOptions
) -> Request[Volume, ConvertRecipe, str | Segmentation]:
    """Open one source; its store is ``out`` itself, or ``<name>.ome.zarr`` in the folder ``out``, or in a project."""
    volume = open_volume(source, voxel_size=recipe.voxel_size, name=recipe.name, identity=options.identity)
    if is_target(out):
        name, segmentation = segmentation_of(volume, out, recipe)
        return Request(name, volume, recipe, segmentation)
    store = out if CONVERT.is_product(out) else join_url(out, f"{volume.name}.ome.zarr")
    return Request(volume.name, volume, recipe, store)


CONVERT = Verb("convert", request, plan_convert, endings=(".zarr",), into_projects=True)


def convert(
    source: PathLike, out: PathLike, recipe: ConvertRecipe | None = None, options: RunOptions | None = None
) -> OpenVolume:
    """Convert a file or store to OME-Zarr.

    Parameters
    ----------
    source
        Any file or store that :func:`volengine.open_volume` opens. With the recipe's ``montage`` a montage of
        SerialEM or a list of tiles; of a montage with several sections, ``montage_section`` says which one.
    out
        The store to write (``.ome.zarr``), or a folder that gets ``<name>.ome.zarr``; a path or URL. Or a copick
        project (``config.json#seg=membrane``), for the segmentation of the tomogram's run: a mask of 0 and 1,
        probabilities with the recipe's ``threshold``, or labels of several objects (``seg=NAME-multilabel``).
    recipe, options
        What to write and how to run.

    Returns
    -------
    Volume
        The handle of the new store's image at full resolution.

    Raises
    ------
    InputError
        The source cannot be read, the source has no usable voxel size, or another run has made ``out``.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.ConvertRecipe(voxel_size=7.84)
    >>> volume = volengine.convert("TS_01.mrc", "converted.ome.zarr", recipe)
    >>> volume.shape, volume.voxel_size, volume.kind
    ((16, 32, 32), (7.84, 7.84, 7.84), 'intensity')
    """
    recipe, options = ConvertRecipe.of(recipe), options or RunOptions()
    if recipe.montage:
        plan = run_one(MONTAGE, Section(path_text(source)), path_text(out), recipe, options)
    else:
        plan = run_one(CONVERT, path_text(source), path_text(out), recipe, options)
    return open_volume(plan.images[0].url)
