"""Distributions in a recipe: values that are drawn anew for every sample.

Any value of a recipe may be one of these mappings. The value is drawn for each sample from its own stream of random
numbers, chosen by the seed, the sample and the value's place in the recipe, so that it does not depend on other values.

======================  ===============================================================
``uniform: [a, b]``     a number between a and b, evenly distributed
``loguniform: [a, b]``  a number between a and b whose logarithm is evenly distributed
``normal: [m, s]``      a normally distributed number: mean, standard deviation
``integers: [a, b]``    a whole number from a to b, both included
``choice: [a, b, ...]`` one of these values, of any type
======================  ===============================================================

>>> drawn({"optics": {"defocus_um": {"uniform": [3, 6]}}}, seed=1, sample=0)["optics"]["defocus_um"] < 6
True
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from volengine.core.errors import InputError
from volengine.tasks.simulate.recipe import SimulateRecipe

KINDS = ("uniform", "loguniform", "normal", "integers", "choice")


def sample_recipe(values: Mapping[str, Any], number: int) -> SimulateRecipe:
    """The recipe of one sample, with a value in place of every distribution.

    Raises
    ------
    InputError
        The seed is not a whole number, or the values are not a valid recipe.
    """
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InputError(f"seed is {seed!r}; it must be a whole number.")
    return SimulateRecipe.from_json(drawn(dict(values), seed, number))


def drawn(values: Any, seed: int, sample: int, where: str = "") -> Any:
    """The same values with every distribution replaced by a number (four significant digits) or a choice.

    Parameters
    ----------
    values
        JSON values of a recipe, at any depth.
    seed, sample
        Seed of the recipe and number of the sample.
    where
        Place of the values in the recipe, for messages and for the streams of random numbers.

    Raises
    ------
    InputError
        A distribution has wrong bounds; the message names its place in the recipe.
    """
    if isinstance(values, Mapping):
        if len(values) == 1 and next(iter(values)) in KINDS:
            kind, bounds = next(iter(values.items()))
            return drawn(_draw(str(kind), bounds, seed, sample, where), seed, sample, where + ".")
        if len(values) == 1:
            _not_misspelt(*next(iter(values.items())), where)
        return {key: drawn(value, seed, sample, f"{where}.{key}".lstrip(".")) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [drawn(value, seed, sample, f"{where}[{number}]") for number, value in enumerate(values)]
    return values


def _not_misspelt(key: Any, bounds: Any, where: str) -> None:
    """Refuse a mapping that seems to be a distribution with a wrong name."""
    near = difflib.get_close_matches(str(key).lower(), KINDS, n=1, cutoff=0.7)
    if near and isinstance(bounds, (list, tuple)):
        shown = ", ".join(str(value) for value in bounds)
        raise InputError(f"{where}: there is no distribution {key!r}. Did you mean {{{near[0]}: [{shown}]}}?")


def _draw(kind: str, bounds: Any, seed: int, sample: int, where: str) -> Any:
    from volengine.sim.seeds import stream

    rng = stream(seed, sample, "drawn", where)
    if not isinstance(bounds, (list, tuple)) or not bounds:
        raise InputError(f"{where}: {kind} needs a list, not {bounds!r}.")
    if kind == "choice":
        return bounds[int(rng.integers(len(bounds)))]
    numbers = [b for b in bounds if isinstance(b, (int, float)) and not isinstance(b, bool) and math.isfinite(b)]
    if len(bounds) != 2 or len(numbers) != 2:
        raise InputError(f"{where}: {kind} needs two numbers, not {bounds!r}.")
    low, high = numbers
    if kind == "normal":
        if high < 0:
            raise InputError(f"{where}: a standard deviation is not negative: {bounds!r}.")
        return _short(rng.normal(low, high))
    if low > high or (kind == "loguniform" and low <= 0):
        raise InputError(f"{where}: {kind} needs the smaller number first{', above 0' * (kind[0] == 'l')}: {bounds!r}.")
    if kind == "integers":
        if low != int(low) or high != int(high):
            raise InputError(f"{where}: integers needs whole numbers, not {bounds!r}.")
        return int(rng.integers(int(low), int(high) + 1))
    if kind == "loguniform":
        return _short(math.exp(rng.uniform(math.log(low), math.log(high))))
    return _short(rng.uniform(low, high))


def _short(value: float) -> float:
    return float(f"{value:.4g}")
