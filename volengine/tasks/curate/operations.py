"""What can be asked of curated picks: operations, which are JSON objects with a name, ``op``, and values.

One operation is one transaction. Picks are named by ``ids``, their numbers in the curation, or chosen by a condition on
the columns (``where``).

>>> checked({"op": "reject", "where": "weight < 3"})
{'op': 'reject', 'where': 'weight < 3'}
>>> checked({"op": "reject"})
Traceback (most recent call last):
volengine.core.errors.InputError: reject: give either 'ids' or 'where'.
"""

from __future__ import annotations

import re
from typing import Any

from volengine.core.conditions import check_condition
from volengine.core.errors import InputError
from volengine.core.json_text import shown
from volengine.tasks.annotate.operations import Value, a_number, a_text, a_whole, checked_by, several_of

_TAG = re.compile(r"\w(?:[\w .@-]{0,38}[\w.@-])?")


def _ids(value: Any, where: str) -> list[int]:
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{where} is {shown(value)}; a list of the numbers of picks is expected.")
    return sorted({a_whole(one, where) for one in value})


def _condition(value: Any, where: str) -> str:
    check_condition(a_text(value, where))
    return str(value)


def check_tag(value: Any, where: str = "tag") -> str:
    """Return a tag, which becomes part of a column of texts.

    Raises
    ------
    InputError
        It is no text of letters, digits and ``_ . @ -`` with blanks between them, or is longer than 40 characters.
    """
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise InputError(
            f"{where} is {shown(value)}; a tag has letters, digits, blanks and . @ - _, at most 40, and begins with a "
            "letter or digit."
        )
    return value


_CHOSEN = {"ids": Value(_ids, None), "where": Value(_condition, None)}

OPERATIONS: dict[str, dict[str, Value]] = {
    "accept": _CHOSEN,
    "reject": _CHOSEN,
    "undecide": _CHOSEN,
    "delete": _CHOSEN,
    "tag": {**_CHOSEN, "tag": Value(check_tag)},
    "untag": {**_CHOSEN, "tag": Value(check_tag)},
    "move": {"id": Value(a_whole), "position": Value(several_of(3, a_number))},
    "add": {"tomogram": Value(a_text, None), "position": Value(several_of(3, a_number))},
    "undo": {"version": Value(a_whole, None)},
    "redo": {"version": Value(a_whole, None)},
}
"""The values of each operation; ``docs/how-to-curate.md`` explains them."""


def checked(operation: Any) -> dict[str, Any]:
    """Return an operation with all of its values.

    Parameters
    ----------
    operation
        A JSON object: ``{"op": "accept", "ids": [3, 5]}``.

    Raises
    ------
    InputError
        It is none, or a value is missing, unknown, or not of its kind.
    """
    found = checked_by(OPERATIONS, operation)
    if "where" in OPERATIONS[found["op"]] and ("ids" in found) == ("where" in found):
        raise InputError(f"{found['op']}: give either 'ids' or 'where'.")
    return found
