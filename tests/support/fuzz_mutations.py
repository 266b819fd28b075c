"""Mutations of files for fuzzing: bytes, words of a text, and nodes of a JSON document.

Every mutation is drawn from a ``random.Random``, so a seed and a number name a file.
"""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

INTS = (0, 1, -1, 2, 3, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1, 2**64)
WORDS = (
    "0", "-1", "1", "nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "1e18", "99999999999999999999", "9" * 5000,
    "0x10", "1_000", "1:2:3", "", " ", "\t", "\n", "'", '"', "#", "_", "data_", "loop_", "=1+1", "null", "true", "None",
    "\0", "é", "\u2028", "\x0b", "\x85", "..", "../../../etc/passwd", "/dev/zero", "[", "{", "]]", "&a [*a]", "*a",
    "!!python/name:os.system",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1e308, float("nan"), float("inf"), -float("inf"), 0.5,
    "", "x", "1", "nan", "\ud800", [], {}, [[]], [None], {"": None}, [1, 2, 3], ["a"],
    {"class_name": "x", "config": {}},
)  # fmt: skip
_WORD = re.compile(rb"[^\s,;:=(){}\[\]\"']+")
_NUMBER = re.compile(rb"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")


def mutated(data: bytes, rng: random.Random, others: tuple[bytes, ...] = (), text: bool = False) -> bytes:
    """Change a file in one to four places."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice(TEXT_CHANGES if text and rng.random() < 0.75 else BYTE_CHANGES)
        data = change(data, rng, others)
    return data


# -- bytes -----------------------------------------------------------------------------------------------------------


def _at(data: bytes, rng: random.Random) -> int:
    """A place: anywhere, or in the first kilobyte, where headers are."""
    return rng.randrange(min(len(data), 1024) if rng.random() < 0.5 else len(data)) if data else 0


def flip(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if out:
            out[_at(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    return data[: _at(data, rng)]


def number(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    size = rng.choice((1, 2, 4, 4, 8))
    value = (rng.choice(INTS) % 256**size).to_bytes(size, rng.choice(("little", "big")))
    at = _at(data, rng) // size * size
    return data[:at] + value + data[at + size :]


def drop(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    at = _at(data, rng)
    return data[:at] + data[at + rng.choice((1, 4, 16, 512)) :]


def double(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    at, size = _at(data, rng), rng.choice((1, 4, 16, 512))
    return data[: at + size] + data[at:]


def splice(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    other = rng.choice((*others, data))
    return data[: _at(data, rng)] + other[_at(other, rng) :]


def fill(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    at, size = _at(data, rng), rng.choice((4, 64, 1024))
    return data[:at] + rng.choice((b"\0", b"\xff", b" ", b"A")) * min(size, len(data) - at) + data[at + size :]


BYTE_CHANGES = (flip, cut, number, number, drop, double, splice, fill)


# -- texts -----------------------------------------------------------------------------------------------------------


def _spans(pattern: re.Pattern[bytes], data: bytes) -> list[tuple[int, int]]:
    return [m.span() for m in pattern.finditer(data)]


def word(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    spans = _spans(rng.choice((_WORD, _NUMBER)), data)
    if not spans:
        return rng.choice(WORDS).encode()
    a, b = rng.choice(spans)
    return data[:a] + rng.choice(WORDS).encode() + data[b:]


def exchange(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    spans = _spans(_WORD, data)
    if not spans:
        return data
    (a, b), (c, d) = rng.choice(spans), rng.choice(spans)
    return data[:a] + data[c:d] + data[b:]


def line(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    lines = data.split(b"\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    if rng.random() < 0.4:
        del lines[at]
    elif rng.random() < 0.5:
        lines.insert(to, lines[at])
    else:
        lines[at], lines[to] = lines[to], lines[at]
    return b"\n".join(lines)


def nest(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    opens, closes = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"{a: ", b"}"), (b"(", b")")))
    depth = rng.choice((3, 200, 3000, 50000))
    spans = _spans(_WORD, data) or [(0, 0)]
    a, b = rng.choice(spans)
    return data[:a] + opens * depth + b"1" + closes * depth + data[b:]


def insert(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    at = _at(data, rng)
    return data[:at] + rng.choice(WORDS).encode() + data[at:]


def encode(data: bytes, rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    text = data.decode("latin-1")
    return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig")), "replace")


TEXT_CHANGES = (word, word, word, exchange, line, nest, insert, encode)


# -- JSON ------------------------------------------------------------------------------------------------------------


def mutated_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON document in which one to three nodes are replaced, removed, doubled or moved."""
    out = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        nodes = list(_nodes(out))
        if not nodes:
            return copy.deepcopy(rng.choice(VALUES))
        holder, key = rng.choice(nodes)
        kind = rng.random()
        if kind < 0.6:
            holder[key] = copy.deepcopy(rng.choice(VALUES)) if rng.random() < 0.8 else rng.choice(INTS)
        elif kind < 0.75:
            del holder[key]
        elif kind < 0.9:
            other, there = rng.choice(nodes)
            holder[key] = json.loads(json.dumps(other[there])) if _has(other, there) else None
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[rng.choice(WORDS)] = copy.deepcopy(holder[key])
    return out


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _nodes(value: Any) -> Any:
    stack = [value]
    while stack:
        node = stack.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in items:
            yield node, key
            stack.append(child)
