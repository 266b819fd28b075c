"""Ensembles: models with a feature in common, whose predictions are averaged.

On one grid the patches of all models are added to the same fixed-point sums, each with the weight 1 / n, so the mean is
exact in the same sense as the blend, for any order of the models. Models that read the tomogram on different grids
(``match``) are averaged on the tomogram's grid by :mod:`volengine.tasks.segment.mean`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.tasks.segment.description import Net
from volengine.tasks.segment.nets import Grid
from volengine.tasks.segment.recipe import SegmentRecipe


def averaged(grids: Mapping[Grid, list[Net]], recipe: SegmentRecipe) -> dict[Grid, list[Net]]:
    """The networks with their weights in the mean of an ensemble, in an order that does not depend on the recipe's.

    Without ``ensemble`` they are returned as they are.

    Raises
    ------
    InputError
        A model is given twice, no two of several models have a feature in common, or two of them mean different things
        by it: a probability and a value, or values of different units.
    """
    if not recipe.ensemble:
        return dict(grids)
    nets = sorted((net for some in grids.values() for net in some), key=lambda net: (net.digest, net.path))
    check(nets)
    found = {}
    for grid in sorted(grids, key=lambda grid: (grid.shape, grid.unsigned)):
        mine = sorted(grids[grid], key=lambda net: (net.digest, net.path))
        count = Counter(feature for net in mine for _, feature in net.kept)
        found[grid] = [replace(net, averaged=tuple(count.get(f, 1) for f in net.features)) for net in mine]
    return found


def check(nets: Sequence[Net]) -> None:
    """Refuse models that make no ensemble; the errors are those of :func:`averaged`."""
    from volengine.nets.checkpoint import load_facts

    twice = [(a.path, b.path) for a, b in pairwise(nets) if a.digest == b.digest]
    if twice:
        raise InputError(
            f"{twice[0][0]} and {twice[0][1]} are the same model, which would count twice in the mean; leave one out."
        )
    said: dict[str, tuple[str, str]] = {}
    for net in nets:
        facts = load_facts(net.path)
        units = {"volume": "standard deviations", "none": "the target's units", None: "unknown units"}[facts.target]
        what = f"values ({units})" if facts.activation == "none" else "probabilities"
        for _, feature in net.kept:
            other, before = said.setdefault(feature, (net.path, what))
            if before != what:
                raise InputError(
                    f"{feature!r} is {before} in {other} and {what} in {net.path}; they cannot be averaged."
                )
    shared = Counter(feature for net in nets for _, feature in net.kept)
    if len(nets) > 1 and max(shared.values()) < 2:
        each = "; ".join(f"{net.path}: {', '.join(f for _, f in net.kept)}" for net in nets)
        raise InputError(
            f"--ensemble averages models that have a feature in common, but no two of these have ({each}). Leave it "
            "out, or give the feature the same name in all of them."
        )


def members(nets: Iterable[Net], feature: str) -> list[dict[str, Any]]:
    """The models of an ensemble that predict a feature: their paths and digests, for the facts of the prediction."""
    return [{"model": net.path, "digest": net.digest} for net in nets if feature in {f for _, f in net.kept}]


def notes(nets: Sequence[Net], recipe: SegmentRecipe) -> list[str]:
    """What a plan says of an ensemble: a line for each feature."""
    if not recipe.ensemble:
        return []
    kind = recipe.resolved().mean_of
    found = []
    for feature in dict.fromkeys(f for net in nets for _, f in net.kept):
        names = [Path(member["model"]).name for member in members(nets, feature)]
        what = kind if any(feature in net.probable for net in nets) or kind == "logits" else "values"
        found.append(
            f"{feature}: mean of the {what} of {len(names)} models: {', '.join(names)}"
            if len(names) > 1
            else f"{feature}: of one model, {names[0]}"
        )
    return found


def colour_of(nets: Iterable[Net], product: str) -> tuple[float, float, float] | None:
    """The colour that the models of a product agree in; none if they differ."""
    colours = {net.colour for net in nets if product in net.products}
    return colours.pop() if len(colours) == 1 else None


def several_grids(grids: Mapping[Grid, list[Net]]) -> bool:
    """Whether models that share a feature read the tomogram on different grids."""
    own = [{feature for net in nets for _, feature in net.kept} for nets in grids.values()]
    return len(own) > 1 and sum(map(len, own)) > len(set().union(*own))
