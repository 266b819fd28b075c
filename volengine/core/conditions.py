"""Conditions on the columns of a table, as users write them: ``membrane.distance_nm < 15 and inside == 'nucleus'``.

A condition is read by a parser of its own and computed with numpy; nothing in it can name anything but columns.

===========  ==========================================================================================
numbers      ``12``, ``0.5``, ``1e-3``, ``inf``; ``+ - * /``
texts        ``'nucleus'`` or ``"nucleus"``
truth        ``true``, ``false``; a column of truth values stands for itself: ``nucleus.inside``
columns      by name; in backquotes if the name is a word of this language or begins with a digit
comparisons  ``< <= > >= == !=`` (``=`` is ``==``), also chained: ``5 < x <= 10``; texts only ``==`` and ``!=``
``in``       ``label in (1, 2, 7)``; ``'nucleus' in inside``: the text is one of those that ``+`` joins
logic        ``and``, ``or``, ``not``, parentheses
===========  ==========================================================================================

A number that is missing (NaN) is neither smaller nor larger than, nor equal to nor different from another: whatever
depends on it is unknown, also behind ``not``, and only rows of which the condition is known to hold are chosen.

>>> columns = {"far": np.array([1.0, 20.0, np.nan]), "inside": np.array(["a+b", "", "b"])}
>>> fulfils("far < 15 and 'b' in inside", columns, 3).tolist()
[True, False, False]
>>> fulfils("not far < 15", columns, 3).tolist()
[False, True, False]
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError

JOIN = "+"
"""What stands between several texts in one cell."""

DEEPEST = 50
"""Largest number of parentheses, ``not`` and signs that stand in each other."""

LONGEST = 10_000
"""Largest number of characters of a condition."""

WORDS = ("and", "or", "not", "in", "true", "false", "inf")
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?![\w.])
    |(?P<text>'[^']*'|"[^"]*")|`(?P<quoted>[^`]+)`|(?P<name>[^\W\d][\w.]*)
    |(?P<sign><=|>=|==|!=|[-<>=()+*/,]))""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_COMPUTE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class _Value:
    """Values of all rows (or one for all): their kind (``number``, ``text`` or ``truth``), and which are known."""

    kind: str
    data: Any
    known: Any = True


Node = Callable[[], _Value]


def fulfils(condition: str, columns: Mapping[str, NDArray[Any]], rows: int) -> NDArray[np.bool_]:
    """Return of which rows a condition is known to hold.

    Parameters
    ----------
    condition
        The condition, see the module.
    columns
        Numbers, truth values or texts of each row, by name.
    rows
        Number of rows.

    Raises
    ------
    InputError
        The condition is no condition, names a column that is not there, or compares a text with a number; the message
        says where, and which columns there are.
    """
    value = _Parser(condition, columns).whole()
    found: NDArray[np.bool_] = np.broadcast_to(np.logical_and(value.data, value.known), (rows,)).copy()
    return found


def check_condition(condition: str) -> None:
    """Refuse a text that is no condition, whatever the columns are.

    Raises
    ------
    InputError
        What is wrong, and where.
    """
    _Parser(condition, None).whole()


class _Parser:
    """A condition, read from left to right; each rule is a method that returns the values of what it has read.

    Without columns only the form is checked: names then have the kind ``any``.
    """

    def __init__(self, condition: str, columns: Mapping[str, NDArray[Any]] | None):
        self.condition, self.columns = condition, columns
        self.tokens = _tokens(condition)
        self.next, self.depth = 0, 0

    # The tokens

    def fail(self, why: str, token: _Token | None = None) -> InputError:
        at = (token or self.tokens[self.next]).at
        shown = self.condition if len(self.condition) <= 200 else f"{self.condition[:200]}..."
        return InputError(f"The condition {shown!r}, character {at + 1}: {why}")

    def takes(self, *texts: str) -> _Token | None:
        token = self.tokens[self.next]
        if token.kind in ("sign", "word") and token.text in texts:
            self.next += 1
            return token
        return None

    def expect(self, text: str, why: str) -> None:
        if not self.takes(text):
            raise self.fail(f"{text!r} is missing {why}.")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.fail(f"more than {DEEPEST} parentheses or signs stand in each other.")

    # The rules

    def whole(self) -> _Value:
        value = self.any_of()
        if self.tokens[self.next].kind != "end":
            raise self.fail(f"{self.tokens[self.next].text!r} is not expected here.")
        return self.truth(value, self.tokens[0])

    def any_of(self) -> _Value:
        first = self.tokens[self.next]
        value = self.all_of()
        while self.takes("or"):
            one, other = self.truth(value, first), self.truth(self.all_of(), self.tokens[self.next])
            sure = (one.known & one.data) | (other.known & other.data)
            value = _Value("truth", sure, sure | (one.known & other.known))
        return value

    def all_of(self) -> _Value:
        first = self.tokens[self.next]
        value = self.inverse()
        while self.takes("and"):
            begin = self.tokens[self.next]
            one, other = self.truth(value, first), self.truth(self.inverse(), begin)
            never = (one.known & ~one.data) | (other.known & ~other.data)
            value = _Value("truth", one.data & other.data & ~never, never | (one.known & other.known))
        return value

    def inverse(self) -> _Value:
        if not self.takes("not"):
            return self.compared()
        self.deeper()
        begin = self.tokens[self.next]
        value = self.truth(self.inverse(), begin)
        self.depth -= 1
        return _Value("truth", ~value.data, value.known)

    def compared(self) -> _Value:
        left = self.summed()
        found: _Value | None = None
        while token := self.takes(*_COMPARE, "="):
            right = self.summed()
            one = self.compare(left, right, token)
            found = one if found is None else _both(found, one)
            left = right
        if found is not None:
            return found
        if token := self.takes("not"):
            self.expect("in", "behind 'not'")
            value = self.among(left, token)
            return _Value("truth", ~value.data, value.known)
        if token := self.takes("in"):
            return self.among(left, token)
        return left

    def among(self, left: _Value, token: _Token) -> _Value:
        """Whether something is in a list, or among the texts that a column joins."""
        if not self.takes("("):
            column = self.primary()
            if {column.kind, left.kind} - {"any", "text"}:
                raise self.fail("'in' asks for a list in parentheses, or for a text in a column of texts.", token)
            if "any" in (column.kind, left.kind):
                return _Value("truth", np.bool_(False), np.bool_(True))
            wanted, cells = np.broadcast_arrays(np.atleast_1d(left.data), np.atleast_1d(column.data))
            pairs = zip(wanted.tolist(), cells.tolist(), strict=True)
            return _Value("truth", np.array([text in cell.split(JOIN) for text, cell in pairs], bool), np.bool_(True))
        equal = self.truth_of(self.compare(left, self.summed(), token, "=="))
        while self.takes(","):
            one = self.compare(left, self.summed(), token, "==")
            equal = _Value("truth", equal.data | one.data, equal.known & one.known)
        self.expect(")", "behind the list")
        return equal

    def summed(self) -> _Value:
        return self.computed(self.multiplied, "+", "-")

    def multiplied(self) -> _Value:
        return self.computed(self.signed, "*", "/")

    def computed(self, part: Node, *signs: str) -> _Value:
        value = part()
        while token := self.takes(*signs):
            one, other = self.number(value, token), self.number(part(), token)
            with np.errstate(all="ignore"):
                value = _Value("number", _COMPUTE[token.text](_float(one.data), _float(other.data)))
        return value

    def signed(self) -> _Value:
        token = self.takes("-", "+")
        if token is None:
            return self.primary()
        self.deeper()
        value = self.number(self.signed(), token)
        self.depth -= 1
        return _Value("number", -value.data if token.text == "-" else value.data)

    def primary(self) -> _Value:
        token = self.tokens[self.next]
        if self.takes("("):
            self.deeper()
            value = self.any_of()
            self.expect(")", f"for the '(' at character {token.at + 1}")
            self.depth -= 1
            return value
        if self.takes("true", "false"):
            return _Value("truth", np.bool_(token.text == "true"), np.bool_(True))
        if self.takes("inf"):
            return _Value("number", np.float64(np.inf))
        self.next += 1
        if token.kind == "number":
            return _Value("number", _number(token.text))
        if token.kind == "text":
            return _Value("text", np.str_(token.text))
        if token.kind == "name":
            return self.column(token)
        self.next -= 1
        raise self.fail("a column, a number or a text is missing here." if token.kind == "end" else
                        f"{token.text!r} is not expected here; a column, a number or a text is.")  # fmt: skip

    # Values

    def column(self, token: _Token) -> _Value:
        if self.columns is None:
            return _Value("any", np.bool_(False))
        if token.text not in self.columns:
            near = difflib.get_close_matches(token.text, self.columns, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise self.fail(
                f"there is no column {token.text!r}.{hint} The columns are {', '.join(self.columns)}. (Texts stand in "
                "quotes.)",
                token,
            )
        data = np.asarray(self.columns[token.text])
        if data.dtype.kind == "U":
            return _Value("text", data)
        return _Value("truth", data, np.bool_(True)) if data.dtype.kind == "b" else _Value("number", data)

    def truth(self, value: _Value, token: _Token) -> _Value:
        if value.kind in ("truth", "any"):
            return self.truth_of(value)
        raise self.fail(f"a {value.kind} alone is no condition; compare it with something.", token)

    def truth_of(self, value: _Value) -> _Value:
        return _Value("truth", np.bool_(False), np.bool_(True)) if value.kind == "any" else value

    def number(self, value: _Value, token: _Token) -> _Value:
        if value.kind == "any":
            return _Value("number", np.float64(0))
        if value.kind != "number":
            raise self.fail(f"{token.text!r} computes with numbers, not with a {value.kind}.", token)
        return value

    def compare(self, left: _Value, right: _Value, token: _Token, sign: str = "") -> _Value:
        sign = sign or {"=": "=="}.get(token.text, token.text)
        if "any" in (left.kind, right.kind):
            return _Value("truth", np.bool_(False), np.bool_(True))
        kinds = {left.kind, right.kind}
        if len(kinds) > 1 and "text" in kinds:
            raise self.fail(
                f"a text is compared with a {(kinds - {'text'}).pop()}; texts stand in quotes, numbers do not.", token
            )
        if kinds != {"number"} and kinds != {"number", "truth"} and sign not in ("==", "!="):
            raise self.fail(f"{sign!r} compares numbers; texts and truth values are only equal or not.", token)
        data = np.asarray(_COMPARE[sign](left.data, right.data), bool)
        known = [~np.isnan(one.data) for one in (left, right) if one.kind == "number" and one.data.dtype.kind == "f"]
        known += [np.asarray(one.known, bool) for one in (left, right) if one.kind == "truth"]
        sure = known[0] if known else np.bool_(True)
        for one in known[1:]:
            sure = sure & one
        return _Value("truth", data, sure)


def _both(one: _Value, other: _Value) -> _Value:
    never = (one.known & ~one.data) | (other.known & ~other.data)
    return _Value("truth", one.data & other.data & ~never, never | (one.known & other.known))


def _number(text: str) -> Any:
    """The value of a number; whole ones stay whole, so that long labels are compared exactly."""
    return np.int64(text) if text.isdecimal() and len(text) < 19 else np.float64(text)


def _tokens(condition: str) -> Sequence[_Token]:
    """Divide a condition into its words."""
    if len(condition) > LONGEST:
        raise InputError(f"The condition has {len(condition)} characters; {LONGEST} are read at most.")
    found, at, end = [], 0, len(condition.rstrip())
    while at < end:
        match = _TOKEN.match(condition, at)
        if match is None:
            at += len(condition[at:]) - len(condition[at:].lstrip())
            raise InputError(
                f"The condition {condition[:200]!r}, character {at + 1}: {condition[at]!r} is not understood. A "
                "condition compares columns with numbers, and with texts in quotes: distance_nm < 15 and inside == 'a'."
            )
        kind = str(match.lastgroup)
        text = str(match.group(kind))
        kind, text = ("text", text[1:-1]) if kind == "text" else ("name" if kind == "quoted" else kind, text)
        if match.lastgroup == "name" and text.lower() in WORDS:
            kind, text = "word", text.lower()
        found.append(_Token(kind, text, match.start(str(match.lastgroup))))
        at = match.end()
    return [*found, _Token("end", "", len(condition))]


def _float(data: Any) -> Any:
    """Numbers to compute with; whole ones would begin anew beyond 2**63."""
    return data.astype(np.float64)
