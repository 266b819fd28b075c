"""The inputs of ``score``: find the prediction and the truth of each feature from paths, and check that they fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from volengine.core.errors import InputError, MissingError
from volengine.core.volume import Volume
from volengine.io.identity import How
from volengine.io.names import is_multilabel, is_packed, split_group, suffix_of
from volengine.tasks.common.inputs import expand, without_uncertainty
from volengine.tasks.common.named import (
    OF_SEVERAL_OBJECTS,
    feature_note,
    feature_of,
    of_tomogram,
    open_sized,
    stored_name,
)
from volengine.tasks.common.origins import SIZE_TOLERANCE, origins_note
from volengine.tasks.common.roi import check_same_part
from volengine.tasks.score.recipe import ScoreRecipe

Where = str | Mapping[str, str]
"""A path, or a mapping from features to paths."""

Opened = Callable[..., Volume]
""":func:`~volengine.tasks.common.named.open_sized` with the way in which volumes are identified."""


@dataclass(frozen=True)
class Case:
    """Predictions and truth of one tomogram, by feature, on one grid."""

    predictions: Mapping[str, Volume]
    truth: Mapping[str, Volume]

    @property
    def first(self) -> Volume:
        """The first prediction, whose grid all volumes must have."""
        return next(iter(self.predictions.values()))

    @property
    def name(self) -> str:
        """The tomogram's name."""
        return self.first.name

    @classmethod
    def find(cls, prediction: Where, truth: Where, recipe: ScoreRecipe | None = None, identity: How = "quick") -> Case:
        """Open the volumes that the paths name (metadata only), and pair them by feature.

        Parameters
        ----------
        prediction, truth
            A volume; ``store.ome.zarr#labels/core``; a folder or glob of volumes named ``TOMOGRAM__FEATURE``; for the
            truth also a store with several labels; or a path for each feature.
        recipe
            The features (by default those of the predictions); the class ids, if one volume holds all features
            (``prediction_ids``, ``ids``); and the voxel size of predictions that do not state it. A truth that does not
            state its voxel size has that of the prediction.
        identity
            How the volumes are identified (:mod:`volengine.io.identity`).

        Raises
        ------
        InputError, MissingError
            A feature has no prediction or no truth, the volumes have different grids or origins or are of several
            tomograms, or a truth is known to hold class ids and the recipe has none.
        """
        recipe = recipe or ScoreRecipe()
        opened = partial(open_sized, identity=identity)
        predictions = _predictions(prediction, recipe, opened)
        found = _truth(truth, list(predictions), bool(recipe.ids), next(iter(predictions.values())), opened)
        for volume in found.values():
            if is_multilabel(volume.url) and not (recipe.ids or recipe.instances):
                raise InputError(f"{volume.url} {OF_SEVERAL_OBJECTS} (--ids).")
        case = cls(predictions, found)
        case.check()
        case.notes(accept=recipe.any_origin)
        return case

    def notes(self, *, accept: bool) -> list[str]:
        """What there is to say about the features and the origins of the volumes.

        Those of origins are of :mod:`volengine.tasks.common.origins`.

        Raises
        ------
        InputError
            Two volumes state different origins, and ``accept`` is not set.
        """
        first = self.first
        others = [v for v in (*self.predictions.values(), *self.truth.values()) if v is not first]
        one = (stored_name(first), first.origin, first.voxel_size)
        said = (origins_note(one, (stored_name(v), v.origin, v.voxel_size), accept=accept) for v in others)
        (feature, *more), truth = self.predictions, next(iter(self.truth.values()))
        named_so = not more and feature != first.name  # which is the name of its file where nothing says a feature
        of_another = feature_note(feature, feature_of(truth)) if named_so else ""
        return list(dict.fromkeys(filter(None, [of_another, *said])))

    def check(self) -> None:
        """Refuse volumes that have different grids, or that cannot be read in blocks."""
        first = self.first
        for volume in (*self.predictions.values(), *self.truth.values()):
            if is_packed(volume.url):
                raise InputError(f"{volume.url} is compressed as a whole and cannot be read in blocks; convert it.")
            check_same_part(first, volume)
            if volume.shape != first.shape:
                raise InputError(
                    f"{volume.url} has the shape {volume.shape}, {first.url} {first.shape}; they must be on one grid."
                )
            if not np.allclose(volume.voxel_size, first.voxel_size, rtol=SIZE_TOLERANCE, atol=0):
                raise InputError(
                    f"{volume.url} has voxels of {volume.voxel_size} angstrom, {first.url} of {first.voxel_size}; "
                    "they must be on one grid."
                )


def _predictions(prediction: Where, recipe: ScoreRecipe, opened: Opened) -> dict[str, Volume]:
    features, size = recipe.features, recipe.voxel_size
    if isinstance(prediction, Mapping):
        found = {feature: opened(path, size) for feature, path in prediction.items()}
    elif recipe.prediction_ids:
        volume = opened(prediction, size)
        found = dict.fromkeys(features, volume)
    else:
        paths = [prediction] if split_group(prediction)[1] else expand([prediction])
        if not features:
            paths = without_uncertainty(paths)
        volumes = [opened(path, size) for path in paths]
        found = {}
        for volume in volumes:
            feature = feature_of(volume)
            if len(volumes) == 1 and (len(features) == 1 or not feature):
                feature = features[0] if features else volume.name
            if not feature:
                raise InputError(f"{volume.url} does not say which feature it predicts (TOMOGRAM__FEATURE).")
            if feature in found:
                raise InputError(
                    f"{found[feature].url} and {volume.url} both predict {feature!r}; score one tomogram at a time."
                )
            found[feature] = of_tomogram(volume, feature)
    return _chosen(found, features, "prediction", str(prediction))


def _chosen(found: Mapping[str, Volume], features: Sequence[str], what: str, where: str = "") -> dict[str, Volume]:
    for feature in features:
        if feature not in found:
            there = f"there are {', '.join(found)}" if found else "there are none"
            said = f"{where}: there" if where else "There"
            raise MissingError(f"{said} is no {what} of {feature!r}; {there}.")
    return {feature: found[feature] for feature in features or found}


def _truth(truth: Where, features: list[str], shared: bool, like: Volume, opened: Opened) -> dict[str, Volume]:
    if isinstance(truth, Mapping):
        found = {feature: opened(path, like.voxel_size) for feature, path in truth.items()}
        return _chosen(found, features, "truth")
    if shared:
        return dict.fromkeys(features, opened(truth, like.voxel_size))
    paths = [truth] if split_group(truth)[1] else expand([truth])
    if len(paths) == 1 and suffix_of(paths[0]) in ("", ".zarr") and not split_group(paths[0])[1]:
        inside = _groups(paths[0])
        if inside:
            if len(features) == 1 and len(inside) == 1:
                inside = {features[0]: next(iter(inside.values()))}
            if lacking := [feature for feature in features if feature not in inside]:
                raise MissingError(
                    f"{truth}: there is no truth of {lacking[0]!r}; there are {', '.join(inside)}. If one holds "
                    f"classes, give it and their numbers: {truth}#labels/{next(iter(inside))} --features {lacking[0]} "
                    "--ids 1"
                )
            return {feature: opened(inside[feature]) for feature in features}
    if len(paths) == 1 and len(features) == 1:
        return {features[0]: opened(paths[0], like.voxel_size)}
    found = {}
    for path in paths:
        volume = opened(path, like.voxel_size)
        feature = feature_of(volume) or volume.name
        if feature in found:
            raise InputError(f"{found[feature].url} and {volume.url} are both truth of {feature!r}; give one.")
        found[feature] = volume
    return _chosen(found, features, "truth", truth)


def _groups(store: str) -> dict[str, str]:
    """Paths of the labels inside a store, by name; empty if the store is itself an image of labels."""
    from volengine.io.omezarr.read import list_groups

    named = [info.group for info in list_groups(store)]
    return {path.rpartition("/")[2]: f"{store}#{path}" for path in named if path.startswith("labels/")}
