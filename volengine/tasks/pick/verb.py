"""pick: particles from a prediction, with the method of the Ais paper (eLife 2024, e98552, on particle picking).

1. A voxel is foreground if the prediction exceeds the threshold.
2. A watershed of the distance transform divides the foreground into regions; its seeds are the local maxima of the
   distance.
3. Regions smaller than the least volume are dropped.
4. The weight of a region is the sum of the prediction over its voxels.
5. Of two particles closer than the spacing, the one of lower weight is dropped.
6. The position of a particle is the centroid of its region.

The result is the same for every block shape. With ``compat`` ais it is that of Ais's own command, which has another
method today (:mod:`volengine.ops.ais_peaks`); else it differs from the program in three ways: a region never spans two
components, the margin at the volume's faces is 0 by default, and of two close particles the one of lower weight is
dropped, as the paper describes it.
"""

from __future__ import annotations

from volengine.core.errors import InputError
from volengine.core.image import Ngff
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.copick.target import Target, check_own, is_target
from volengine.io.names import PICKS_SUFFIXES, is_zipped, name_in_copick, suffix_of
from volengine.io.open import open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import file_name, has_plan, join_url
from volengine.tasks.common.named import feature_of, of_tomogram
from volengine.tasks.pick.description import PickOutputs
from volengine.tasks.pick.plan import plan_pick
from volengine.tasks.pick.recipe import PickRecipe


def request(source: str, out: str, recipe: PickRecipe, options: RunOptions) -> Request[Volume, PickRecipe, PickOutputs]:
    """Open a prediction, and choose where the labels go: into its store, or beside the table if it is a file.

    The store of a copick project is somebody's segmentation, so they go beside the table, too.
    """
    from volengine.io.omezarr.ngff import ngff_for
    from volengine.io.omezarr.nodes import read_node
    from volengine.io.picks import ending_of

    volume = open_volume(source, identity=options.identity)
    if "feature" not in volume.facts and (found := feature_of(volume)):  # a file of Ais: TOMOGRAM__FEATURE
        volume, recipe = of_tomogram(volume, found), recipe.with_(feature=recipe.feature or found)
    if is_target(out):
        return _in_project(out, volume, recipe, options)
    name = f"{volume.name}__{file_name(recipe.feature_of(volume))}"
    table = out if PICK.is_product(out) else join_url(out, name + ending_of(recipe.format))
    stored = suffix_of(volume.url) in ("", ".zarr") and not is_zipped(volume.url) and not name_in_copick(volume.url)
    store = volume.url if stored and not recipe.roi else f"{table}.ome.zarr"
    node = read_node(store)
    ngff: Ngff = "0.5" if node is None else ngff_for(node.zarr_format, node.attributes)
    return Request(name, volume, recipe, PickOutputs(table, store, ngff))


def _in_project(
    out: str, volume: Volume, recipe: PickRecipe, options: RunOptions
) -> Request[Volume, PickRecipe, PickOutputs]:
    """The request of picks that go into a copick project: their file, and a segmentation of instances for the labels.

    The tomogram has the name of the project's run then, and the feature that of the project's object.
    """
    from volengine.io.picks import registry

    if recipe.format is not None and registry.known_as(recipe.format) != "copick":
        raise InputError(f"--out {out} is a copick project, whose picks are of the format copick, not {recipe.format}.")
    if recipe.roi and recipe.labels:
        raise InputError(
            f"--out {out}: a segmentation of a copick project has the grid of its tomogram, so labels of a part cannot "
            "be put there: add --no-labels, or leave out --roi."
        )
    target = Target.of(out)
    feature = recipe.feature_of(volume)
    path = target.picks_file(volume.name, feature)
    name = f"{volume.name}__{file_name(path.stem)}"
    check_own(path)
    if path.exists() and not options.overwrite and not has_plan(PICK.run_dir(out, options), name):
        raise InputError(f"{path} exists, and is not of this run; choose another user= or session=, or --overwrite.")
    store = target.instances_store(volume.name, feature, volume.voxel_size)
    volume = volume.with_(name=target.run_of(volume.name))
    recipe = recipe.with_(feature=target.object_of(feature), format="copick")
    outputs = PickOutputs(str(path), store, "0.4", whole=True)
    return Request(name, volume, recipe, outputs)


# Of the endings .em is here that of a motive list, never of a volume.
PICK = Verb("pick", request, plan_pick, endings=(*PICKS_SUFFIXES, ".em"), into_projects=True, light=True)


def pick(source: PathLike, out: PathLike, recipe: PickRecipe | None = None, options: RunOptions | None = None) -> Picks:
    """Pick particles from a prediction, write them to a table, and return them.

    Parameters
    ----------
    source
        The prediction: an OME-Zarr store, an MRC file or a TIFF file, of uint8 (255 is probability 1) or of
        floating-point numbers up to 1.
    out
        The table to write; its ending chooses the format (``.star``, ``.tbl``, ``.csv``, ``.json``, ``.tsv``). Or a
        folder for the table ``<tomogram>__<feature>.star`` (or the ending of the recipe's format). Or a copick project
        (``config.json#session=2``), for ``Picks/USER_SESSION_OBJECT.json`` of the tomogram's run.
    recipe, options
        What a particle is, and how to run. With ``labels``, the label image is written into the source's store as
        ``labels/<feature>``; if the source is a plain file, or with ``roi``, into ``<out>.ome.zarr``.

    Returns
    -------
    Picks
        The picks, read back from the table: columns that the format does not hold are missing.

    Raises
    ------
    InputError
        The source is not a prediction, or another run has made labels of that name.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.PickRecipe(threshold=0.5, spacing_nm=5, min_volume_nm3=100)
    >>> picks = volengine.pick("predictions/TS_01__ribosome.ome.zarr", "picks.star", recipe)
    >>> picks.position_vox.tolist()
    [[8.0, 8.0, 8.0], [8.0, 22.0, 20.0]]
    """
    from volengine.io.picks import read_picks
    from volengine.io.stores import local_copy

    recipe = PickRecipe.of(recipe)
    plan = run_one(PICK, path_text(source), path_text(out), recipe, options or RunOptions())
    call = plan.finish[0]
    volume = Volume.from_json(call.params["volume"])
    with local_copy(call.params["out"]) as path:
        return read_picks(
            path,
            recipe.format,
            voxel_size=volume.voxel_size,
            origin=volume.origin,
            shape=volume.shape,
            tomogram=volume.name,
        )
