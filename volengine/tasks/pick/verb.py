"""pick: particles from a prediction, as in the paper on Ais, exact for every block shape.

A voxel is foreground where the prediction exceeds a threshold. The foreground is cut by a watershed of its distance
transform, seeded at the local maxima of the distance; regions below a volume are dropped; a region's weight is the
sum of its predictions; of two particles closer than the spacing the lighter one goes; a particle is where its
region's centroid is (eLife 2024, e98552, section on particle picking). Unlike Ais, seeds never cross components,
there is no margin unless asked for, and the lighter of two close particles is dropped, as the paper says.

>>> from volengine.tasks.pick.recipe import PickRecipe
>>> recipe = PickRecipe(feature="ribosome", threshold=0.5, spacing_nm=20, min_volume_nm3=1000)
>>> picks = pick("ribosome.ome.zarr", "ribosome.star", recipe)                      # doctest: +SKIP
"""

from __future__ import annotations

from volengine.core.image import Ngff
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.names import suffix_of
from volengine.io.open import open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import file_name, join_url
from volengine.tasks.pick.description import PickOutputs
from volengine.tasks.pick.plan import plan_pick
from volengine.tasks.pick.recipe import PickRecipe


def request(source: str, out: str, recipe: PickRecipe) -> Request[Volume, PickRecipe, PickOutputs]:
    """Open one prediction; its labels go into its own store, or beside the table if it is a plain file."""
    from volengine.io.omezarr.nodes import read_node
    from volengine.io.picks import ending_of

    volume = open_volume(source)
    name = f"{volume.name}__{file_name(recipe.feature_of(volume))}"
    table = out if PICK.is_product(out) else join_url(out, name + ending_of(recipe.format))
    stored = suffix_of(volume.url) in ("", ".zarr")
    store = volume.url if stored else f"{table}.ome.zarr"
    node = read_node(store)
    ngff: Ngff = "0.4" if node is not None and node.zarr_format == 2 else "0.5"
    return Request(name, volume, recipe, PickOutputs(table, store, ngff))


PICK = Verb("pick", request, plan_pick, endings=(".star", ".tbl", ".csv", ".json", ".tsv", ".txt"))


def pick(source: PathLike, out: PathLike, recipe: PickRecipe | None = None, options: RunOptions | None = None) -> Picks:
    """Pick particles from a prediction, write them, and return them.

    Parameters
    ----------
    source
        The prediction: an OME-Zarr store, MRC or TIFF. uint8 (255 is 1.0) or floating numbers.
    out
        The table to write; its ending says the format (``.star``, ``.tbl``, ``.csv``, ``.json``, ``.tsv``). Or a
        folder, which gets ``<tomogram>__<feature>.star`` (or the ending of the recipe's format).
    recipe, options
        What a particle is, and how to run. With ``labels`` the label image goes into the source's store as
        ``labels/<feature>``, or, if the source is a plain file, into ``<out>.ome.zarr``.

    Returns
    -------
    Picks
        As read from the written table, so without what its format does not hold.

    Raises
    ------
    InputError
        A prediction that cannot be picked from, or labels of that name made by another run.
    """
    from volengine.io.picks import read_picks
    from volengine.io.stores import local_copy

    recipe = recipe or PickRecipe()
    plan = run_one(PICK, path_text(source), path_text(out), recipe, options or RunOptions())
    (call,) = plan.finish
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
