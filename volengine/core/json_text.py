"""JSON from files that anybody may have written.

:func:`parse_json` differs from ``json.loads`` in its errors only: a text that is no JSON, is nested too deeply, has an
integer of thousands of digits, or gives one name two values ends in one error of the package's class.

>>> parse_json('{"a": [1, 2]}', "x.json")
{'a': [1, 2]}
>>> parse_json("[" * 100_000, "x.json")
Traceback (most recent call last):
volengine.core.errors.FormatError: x.json is damaged: it is nested too deeply.
"""

from __future__ import annotations

import json
from typing import Any

from volengine.core.errors import FormatError

SHOWN = 60
"""Number of characters of a value that messages show."""


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse a JSON text.

    Parameters
    ----------
    text
        The text, or its bytes in UTF-8, 16 or 32.
    where
        What holds it; messages begin with this.

    Raises
    ------
    FormatError
        It is no JSON, is nested too deeply, has an integer of thousands of digits, or gives a name two values, of which
        nothing says which counts.
    """
    try:
        return json.loads(text, object_pairs_hook=_named)
    except _TwiceError as error:
        raise FormatError(f"{where} {error}") from None
    except RecursionError:
        raise FormatError(f"{where} is damaged: it is nested too deeply.") from None
    except ValueError as error:  # its message never holds the text itself
        raise FormatError(f"{where} is damaged: it is no JSON ({error}).") from None


class _TwiceError(Exception):
    """A name has two values."""


def _named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for name, value in pairs:
            if repr(value) != repr(found[name]):  # 1 and true differ, NaN and NaN do not
                raise _TwiceError(f"gives {shown(name)} twice, as {shown(value)} and {shown(found[name])}.")
    return found


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse a JSON text that holds names and values; errors are those of :func:`parse_json`."""
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise FormatError(f"{where} holds no names and values, but {shown(value)}.")
    return value


def shown(value: object) -> str:
    """A value as a message shows it: at most some 60 characters.

    >>> shown("a" * 1000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    try:
        text = repr(value[: 2 * SHOWN] if isinstance(value, str | bytes | list | tuple) else value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; deep nesting
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
