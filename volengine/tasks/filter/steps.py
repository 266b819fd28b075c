"""The steps of ``filter``: what each one is called, and its parameters.

A step is a recipe of its own. In YAML it is written as ``name: {parameter: value}``, as ``name: value`` with the value
of its first parameter, or as ``name`` alone; on the command line as ``--name value`` or
``--name parameter=value,parameter=value``. Lengths are in angstrom where they end in ``_a``.

>>> parse_steps(["invert", {"low_pass": 40}, {"deconvolve": {"defocus_um": 4.5, "strength": 0.8}}])[1]
LowPass(resolution_a=40.0, edge=0.2)
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from volengine.core.errors import InputError
from volengine.tasks.filter.fourier_steps import (
    BandPass,
    Deconvolve,
    HighPass,
    LowPass,
    MatchSpectrum,
    MatchVoxelSize,
    MissingWedge,
)
from volengine.tasks.filter.local_steps import Bilateral, Diffusion, Invert, Median, Nlm, Normalise
from volengine.tasks.filter.step import Step

STEPS: dict[str, type[Step]] = {
    step.name: step
    for step in (
        MatchVoxelSize,
        Deconvolve,
        MissingWedge,
        MatchSpectrum,
        LowPass,
        HighPass,
        BandPass,
        Normalise,
        Median,
        Bilateral,
        Nlm,
        Diffusion,
        Invert,
    )
}
"""The steps by their names, in the order in which the options of the command line are applied."""


def parse_steps(data: Any, where: str = "steps") -> tuple[Step, ...]:
    """Make steps of what a recipe says.

    Parameters
    ----------
    data
        A list of steps: objects of this module, names, or names with a value or with names and values.
    where
        How messages name the list.

    Raises
    ------
    InputError
        A step is not known, or one of its values is refused; the message names its place.
    """
    if isinstance(data, (str, Mapping, Step)):
        data = [data]
    if not isinstance(data, Sequence):
        raise InputError(f"{where} must be a list of steps, for example [{{low_pass: 40}}, invert]; it is {data!r}.")
    return tuple(_parsed(one, f"{where}[{k}]") for k, one in enumerate(data))


def _parsed(one: Any, where: str) -> Step:
    if isinstance(one, Step):
        return one
    if isinstance(one, str):
        one = {one: {}}
    if not isinstance(one, Mapping) or len(one) != 1:
        raise InputError(f"{where} must be one step, for example {{low_pass: 40}}; it is {str(one)[:80]}.")
    ((given, values),) = one.items()
    name = str(given).replace("-", "_")
    if name not in STEPS:
        near = difflib.get_close_matches(name, STEPS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(STEPS)}."
        raise InputError(f"{where}: there is no step {name!r}. {hint}")
    kind = STEPS[name]
    if values is None or values is True:
        values = {}
    if not isinstance(values, Mapping):
        names = [f.name for f in fields(kind)]
        if not names:
            raise InputError(f"{where}: {name} takes no value; given is {values!r}.")
        values = {names[0]: values}
    try:
        return kind.from_json(values, f"{where}.{name}")
    except InputError as error:
        raise error if where in str(error) else InputError(f"{where}: {error}") from None


def steps_to_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as JSON values, which :func:`parse_steps` reads."""
    return [{step.name: step.to_json()} for step in steps]


def step_of_text(name: str, text: Any) -> Step:
    """Make a step of an option of the command line.

    Parameters
    ----------
    name
        The step.
    text
        The value of its first parameter, ``parameter=value,parameter=value``, or ``True`` for a step without any. A
        value may have commas (``tilts=-60,60``).

    Raises
    ------
    InputError
        A parameter is not known, is given twice, or its value is refused; the message shows values that are taken.

    >>> step_of_text("deconvolve", "defocus_um=4,5,strength=0.8").to_json()["defocus_um"]
    [4.0, 5.0]
    """
    flag = "--" + name.replace("_", "-")
    kind = STEPS[name]
    names = [f.name for f in fields(kind)]
    if text is True:
        return kind()
    try:
        return kind.from_json(_named(str(text), names), flag)
    except InputError as error:
        said = str(error).replace(f"{flag}.", f"{flag} {text}: ", 1).replace(f"{flag}: ", f"{flag} {text}: ", 1)
        said = said if said.startswith(flag) else f"{flag} {text}: {said.removeprefix(f'{name}: ')}"
        examples = " or ".join(f"{flag} {value}" for value in kind.shown)
        raise InputError(f"{said} For example {examples}; volengine filter --help lists {name}.") from None


def _named(text: str, names: Sequence[str]) -> dict[str, Any]:
    """The values of an option by the names of its parameters, of which the first one's is needed nowhere."""
    found: dict[str, list[str]] = {}
    last = names[0]
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals:
            last = key.strip().replace("-", "_")
            if last in found:
                raise InputError(f"{last} is given twice.")
            part = value
        found.setdefault(last, []).append(part.strip())
    return {key: _value(parts) for key, parts in found.items()}


def _value(parts: list[str]) -> Any:
    """What a text stands for: a number, yes or no, a word, or several of them."""
    values = [_scalar(part) for part in parts]
    return values[0] if len(values) == 1 else values


def _scalar(text: str) -> Any:
    if text.lower() in ("yes", "true", "no", "false"):
        return text.lower() in ("yes", "true")
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
