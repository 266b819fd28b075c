"""interact: competition and interactions between the predictions of one tomogram.

The rules form a list and act in its order (:mod:`volengine.core.rules`). A block reads each prediction that the rules
need once, with a halo as wide as the rules together look, and writes each feature that the rules change as a new
volume. The predictions themselves stay unchanged, so other rules can be tried on them; features that no rule changes
are not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.identity import How
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.named import named, of_tomogram
from volengine.tasks.interact.plan import plan_interact
from volengine.tasks.interact.recipe import InteractRecipe

Predictions = Sequence[tuple[str, Volume]]
"""Predictions of one tomogram, each with its feature."""


def request(
    given: Predictions | InputError, out: str, recipe: InteractRecipe, options: RunOptions
) -> Request[Mapping[str, Volume], InteractRecipe, str]:
    """Collect the predictions of one tomogram by feature.

    ``given`` may be the error of a prediction that could not be read; it is raised here, so that one job fails alone.
    """
    if isinstance(given, InputError):
        raise given
    found: dict[str, Volume] = {}
    for feature, volume in given:
        if feature in found:
            raise InputError(f"{found[feature].url} and {volume.url} both predict {feature!r} of {volume.name}.")
        found[feature] = volume
    return Request(given[0][1].name, found, recipe, out)


INTERACT = Verb("interact", request, plan_interact, light=True)


def predictions_of(sources: Sequence[str], identity: How = "quick") -> dict[str, Predictions | InputError]:
    """Open predictions and sort them by tomogram.

    The tomogram and the feature are taken from the prediction's metadata, or else from its file name
    (``TS_01__membrane.mrc``).

    Parameters
    ----------
    sources
        Paths or URLs of the predictions.
    identity
        How they are identified (:mod:`volengine.io.identity`).

    Returns
    -------
    dict
        For each tomogram its predictions, by the tomogram's name; for each source that cannot be read the error, by the
        source's path.
    """
    found: dict[str, list[tuple[str, Volume]]] = {}
    refused: dict[str, InputError] = {}
    for source in sources:
        try:
            feature, volume = named(open_volume(source, identity=identity))
        except InputError as error:
            refused[source] = error
        else:
            found.setdefault(volume.name, []).append((feature, volume))
    return {**found, **refused}


def interact(
    predictions: Mapping[str, PathLike], out: PathLike, recipe: InteractRecipe, options: RunOptions | None = None
) -> dict[str, OpenVolume]:
    """Apply rules to the predictions of one tomogram.

    Parameters
    ----------
    predictions
        For each feature the path or URL of its prediction: OME-Zarr, MRC or TIFF, of floating-point numbers up to 1 or
        integers up to 255. All have the same grid and dtype.
    out
        Folder or URL for the stores ``<name>__<feature>.ome.zarr``, one per changed feature.
    recipe, options
        The rules, and how to run.

    Returns
    -------
    dict
        For each feature the handle of its prediction after the rules. An unchanged feature keeps the given prediction.

    Raises
    ------
    InputError
        A rule names a feature that is missing; the predictions have different grids or dtypes; a radius is too small
        for ``compat``; an output would replace one of the predictions.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.InteractRecipe.from_json({"rules": [
    ...     {"interact": {"child": "ribosome", "parent": "membrane", "kind": "avoid", "radius_nm": 10}},
    ... ]})
    >>> stores = {feature: f"predictions/TS_01__{feature}.ome.zarr" for feature in ("membrane", "ribosome")}
    >>> gated = volengine.interact(stores, "gated", recipe)
    >>> sorted(gated), gated["ribosome"].url.endswith("gated/TS_01__ribosome.ome.zarr")
    (['membrane', 'ribosome'], True)
    """
    if not predictions:
        raise InputError("interact needs predictions; none are given.")
    options = options or RunOptions()
    volumes = {
        feature: of_tomogram(open_volume(url, identity=options.identity), feature)
        for feature, url in predictions.items()
    }
    plan = run_one(INTERACT, list(volumes.items()), path_text(out), InteractRecipe.of(recipe), options)
    return volumes | {str(s.facts["feature"]): open_volume(s.url) for s in plan.images}
