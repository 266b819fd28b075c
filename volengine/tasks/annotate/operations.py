"""What can be asked of annotations: operations, which are JSON objects with a name, ``op``, and values.

One operation is one transaction. Lines of them are a record of what was done in a viewer; the same lines do it again
(``volengine annotate stroke``).

>>> checked({"op": "brush", "feature": "membrane", "slice": 3, "points": [[1, 2]], "radius": 2})["value"]
'feature'
>>> checked({"op": "brush", "feature": "membrane", "slice": 3, "radius": 2})
Traceback (most recent call last):
volengine.core.errors.InputError: brush: 'points' is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from volengine.core.errors import FormatError, InputError, VolengineError
from volengine.core.json_text import parse_object, shown
from volengine.core.roi import check_roi
from volengine.core.text import counted
from volengine.io.annotations.blocks import CODES
from volengine.io.annotations.folder import check_name
from volengine.io.annotations.history import Transaction
from volengine.ops.strokes import joined_points

AXES = "zyx"
NEEDED: Any = object()
"""Stands for the default of a value that must be given."""

MOST_RUNS = 200_000
"""Runs of one operation: more than the rows of any slice that a hand fills."""

MOST_LINE = 2**24
"""Characters of one operation; a stroke of 100,000 points has some millions."""


def a_whole(value: Any, where: str) -> int:
    """Return a whole number of an operation; ``where`` names it in messages."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**40) < value < 2**40:
        raise InputError(f"{where} is {shown(value)}; a whole number is expected.")
    return value


def a_number(value: Any, where: str) -> float:
    """Return a finite number of an operation; ``where`` names it in messages."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise InputError(f"{where} is {shown(value)}; a number is expected.")
    return float(value)


def _yes_no(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where} is {shown(value)}; true or false is expected.")
    return value


def a_text(value: Any, where: str) -> str:
    """Return a text of an operation that is not empty; ``where`` names it in messages."""
    if not isinstance(value, str) or not value:
        raise InputError(f"{where} is {shown(value)}; a text is expected.")
    return value


def several_of(count: int, item: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Return the check of a list of so many values, each of which has its own check."""

    def several(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list | tuple) or len(value) != count:
            raise InputError(f"{where} is {shown(value)}; {count} numbers are expected.")
        return [item(one, where) for one in value]

    return several


def _points(value: Any, where: str) -> list[list[float]]:
    try:
        return joined_points(value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _rows(value: Any, where: str) -> list[list[int]]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_RUNS:
        raise InputError(f"{where} is {shown(value)}; a list of 1 to {MOST_RUNS:,} runs is expected.")
    return [several_of(3, a_whole)(one, where) for one in value]


def _choice(*words: str) -> Callable[[Any, str], Any]:
    def one(value: Any, where: str) -> str:
        if value not in words:
            raise InputError(f"{where} is {shown(value)}; it is one of {', '.join(words)}.")
        return str(value)

    return one


def _feature(value: Any, where: str) -> str:
    return check_name(value, "feature")


def _roi(value: Any, where: str) -> str:
    check_roi(a_text(value, where), where)
    return str(value)


def _colour(value: Any, where: str) -> str:
    digits = value[1:] if isinstance(value, str) and value.startswith("#") else ""
    if len(digits) != 6 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise InputError(f"{where} is {shown(value)}; a colour is written #F0E442.")
    return str(value).upper()


@dataclass(frozen=True)
class Value:
    """A value of an operation: how it is checked, and its default."""

    check: Callable[[Any, str], Any]
    default: Any = NEEDED


_SLICE = {
    "feature": Value(_feature),
    "axis": Value(_choice(*AXES), "z"),
    "slice": Value(a_whole),
}
_DRAW = {
    "value": Value(_choice(*CODES), "feature"),
    "only_empty": Value(_yes_no, False),
}
_BOX = {"box": Value(_roi, ":,:,:")}

OPERATIONS: dict[str, dict[str, Value]] = {
    "brush": {**_SLICE, "points": Value(_points), "radius": Value(a_number), **_DRAW},
    "polygon": {**_SLICE, "points": Value(_points), **_DRAW},
    "runs": {**_SLICE, "runs": Value(_rows), **_DRAW},
    "fill": {
        **_SLICE,
        "seed": Value(several_of(2, a_whole)),
        "radius": Value(a_number),
        "band": Value(a_number),
        "smooth_vox": Value(a_number, 0.0),
        **_DRAW,
    },
    "fill_labels": {**_SLICE, "seed": Value(several_of(2, a_whole)), "radius": Value(a_number, None), **_DRAW},
    "interpolate": {
        **{key: _SLICE[key] for key in ("feature", "axis")},
        "between": Value(several_of(2, a_whole)),
        **_DRAW,
    },
    "take": {
        "feature": Value(_feature),
        "prediction": Value(a_text),
        "above": Value(a_number),
        **_BOX,
        "replace": Value(_yes_no, False),
        **_DRAW,
    },
    "labels": {
        "feature": Value(_feature),
        "volume": Value(a_text),
        "id": Value(a_whole, None),
        **_BOX,
        "replace": Value(_yes_no, False),
        "only_empty": Value(_yes_no, False),
    },
    "box": {
        "feature": Value(_feature),
        "box": Value(_roi, None),
        "slice": Value(a_whole, None),
        "centre": Value(several_of(2, a_whole), None),
        "side": Value(a_whole, None),
    },
    "point": {
        "feature": Value(_feature),
        "position": Value(several_of(3, a_number)),
        "radius": Value(a_number, None),
    },
    "remove": {"item": Value(a_whole)},
    "feature": {"feature": Value(_feature), "colour": Value(_colour, None)},
    "undo": {"version": Value(a_whole, None)},
    "redo": {"version": Value(a_whole, None)},
}
"""The values of each operation; ``docs/how-to-annotate.md`` explains them."""


def checked(operation: Any) -> dict[str, Any]:
    """Return an operation with all of its values.

    Parameters
    ----------
    operation
        A JSON object: ``{"op": "brush", "feature": "membrane", "slice": 3, "points": [[1, 2]], "radius": 2}``.

    Raises
    ------
    InputError
        It is none, or a value is missing, unknown, or not of its kind.
    """
    found = checked_by(OPERATIONS, operation)
    if found["op"] == "box":
        _check_box(found)
    return found


def checked_by(operations: Mapping[str, Mapping[str, Value]], operation: Any) -> dict[str, Any]:
    """Return an operation with all of its values.

    Parameters
    ----------
    operations
        The values of each operation that there is, by its name.
    operation
        What is asked.

    Raises
    ------
    InputError
        There is no such operation, or a value is missing, unknown, or not of its kind.
    """
    name = operation.get("op") if isinstance(operation, Mapping) else operation
    if not isinstance(operation, Mapping) or not isinstance(name, str) or name not in operations:
        raise InputError(f"{shown(name)} is no operation; there are {', '.join(operations)}.")
    values = operations[name]
    unknown = [key for key in operation if key != "op" and key not in values]
    if unknown:
        raise InputError(f"{name}: there is no {shown(unknown[0])}; there are {', '.join(values)}.")
    found: dict[str, Any] = {"op": name}
    for key, value in values.items():
        given = operation.get(key)
        if given is not None:
            found[key] = value.check(given, f"{name}: {key!r}")
        elif value.default is NEEDED:
            raise InputError(f"{name}: {key!r} is missing.")
        elif value.default is not None:
            found[key] = value.default
    return found


def _check_box(found: Mapping[str, Any]) -> None:
    square = [key for key in ("centre", "side") if key in found]
    if ("box" in found) == ("slice" in found) or (square and (len(square) < 2 or "box" in found)):
        raise InputError("box: give either 'box', or 'slice' with 'centre' and 'side', or 'slice' alone for all of it.")
    if found.get("side", 1) < 1:
        raise InputError(f"box: 'side' is {found['side']}; it is 1 voxel or more.")


@contextmanager
def telling_done(done: Sequence[Transaction]) -> Iterator[None]:
    """End the messages of errors in this block with how many operations are done by then, and the last version."""
    try:
        yield
    except VolengineError as error:
        if done and len(error.args) == 1:
            so_far = f"{counted(len(done), 'operation')} before it: done, the last one as version {done[-1].version}"
            error.args = (f"{error} ({so_far}.)",)
        raise


class Lines:
    """The operations of a text, one on each line; blank lines are passed over.

    Parameters
    ----------
    file
        Open text, which is read line by line.
    name
        How messages call it.
    check
        What checks an operation.
    """

    def __init__(self, file: IO[str], name: str, check: Callable[[Any], dict[str, Any]] = checked):
        self._file, self._name, self._check = file, name, check
        self._at = ""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = 0
        while line := self._next():
            number += 1
            if line.strip():
                self._at = f"{self._name}, line {number}"
                if len(line) > MOST_LINE:
                    raise InputError(f"It has more characters than an operation can have, {MOST_LINE:,}.")
                yield self._check(parse_object(line, "the line"))
        self._at = ""

    def _next(self) -> str:
        try:
            return self._file.readline(MOST_LINE + 1)
        except UnicodeDecodeError as error:
            self._at = ""
            raise FormatError(f"{self._name} is no text in UTF-8 ({error}).") from error

    @contextmanager
    def named(self) -> Iterator[None]:
        """Begin the messages of errors in this block with the line that was taken last."""
        try:
            yield
        except VolengineError as error:
            if self._at and len(error.args) == 1:
                error.args = (f"{self._at}: {error}",)
            raise
