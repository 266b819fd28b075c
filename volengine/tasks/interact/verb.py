"""interact: competition and interactions between the predictions of one tomogram.

The rules are a list in the order in which they act (:mod:`volengine.core.rules`). A block reads every prediction that
the rules need once, as far around as their chain looks, and writes the features that the rules change as new
volumes. Predictions stay as they are, so rules can be changed and tried again; unchanged features are not copied.

>>> from volengine.tasks.interact.recipe import InteractRecipe
>>> recipe = InteractRecipe.from_json({"rules": [
...     {"compete": {"emit": ["membrane", "ribosome"], "absorb": ["membrane", "ribosome"]}},
...     {"interact": {"child": "ribosome", "parent": "membrane", "kind": "avoid", "radius_nm": 10, "shape": "3d"}},
... ]})
>>> stores = {feature: f"predictions/TS_01__{feature}.ome.zarr" for feature in ("membrane", "ribosome")}
>>> gated = interact(stores, "gated", recipe)                                        # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.open import OpenVolume, open_volume
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.named import named, of_tomogram
from volengine.tasks.interact.plan import plan_interact
from volengine.tasks.interact.recipe import InteractRecipe

Predictions = Sequence[tuple[str, Volume]]
"""Predictions of one tomogram, each with its feature."""


def request(
    given: Predictions | InputError, out: str, recipe: InteractRecipe
) -> Request[Mapping[str, Volume], InteractRecipe, str]:
    """The predictions of one tomogram by feature; ``given`` may be the error of one that cannot be read."""
    if isinstance(given, InputError):
        raise given
    found: dict[str, Volume] = {}
    for feature, volume in given:
        if feature in found:
            raise InputError(f"{found[feature].url} and {volume.url} both predict {feature!r} of {volume.name}.")
        found[feature] = volume
    return Request(given[0][1].name, found, recipe, out)


INTERACT = Verb("interact", request, plan_interact)


def predictions_of(sources: Sequence[str]) -> dict[str, Predictions | InputError]:
    """The predictions of each tomogram, by its name; for a source that cannot be read its path and the error.

    A prediction says which tomogram and feature it is of; of others (``TS_01__membrane.mrc``) the file name does.
    """
    found: dict[str, list[tuple[str, Volume]]] = {}
    refused: dict[str, InputError] = {}
    for source in sources:
        try:
            feature, volume = named(open_volume(source))
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
        Path or URL of each feature's prediction: OME-Zarr, MRC or TIFF; floating numbers up to 1 or integers up to 255.
    out
        Folder or URL that gets ``<name>__<feature>.ome.zarr`` for each changed feature.
    recipe, options
        The rules, and how to run.

    Returns
    -------
    dict
        Handle of each feature's prediction after the rules; unchanged ones are the given ones.

    Raises
    ------
    InputError
        A rule names a feature that is not there; predictions on different grids or of different types; a radius too
        small for ``compat``; an output that would replace one of the predictions.
    """
    if not predictions:
        raise InputError("interact needs predictions; none are given.")
    volumes = {feature: of_tomogram(open_volume(url), feature) for feature, url in predictions.items()}
    plan = run_one(INTERACT, list(volumes.items()), path_text(out), recipe, options or RunOptions())
    return volumes | {str(s.facts["feature"]): open_volume(s.url) for s in plan.images}
