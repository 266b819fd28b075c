"""The quick form of ``dataclasses.asdict`` gives equal values of the same types."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import asdict, dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from volengine.core.fields import fields_of

Pair = namedtuple("Pair", "a b")


@dataclass(frozen=True)
class Leaf:
    number: Any
    text: str = "x"


@dataclass(frozen=True)
class Tree:
    value: Any
    leaf: Leaf
    more: dict[str, Any] = field(default_factory=dict)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.floats(allow_nan=False), st.binary()
)
VALUES = st.recursive(
    LEAVES | st.builds(Leaf, LEAVES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Pair, inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.dictionaries(st.text(max_size=2), inner, max_size=3).map(OrderedDict),
        st.builds(Tree, inner, st.builds(Leaf, inner)),
    ),
    max_leaves=12,
)


def types_of(value: Any) -> Any:
    """The classes of a value and of all that is in it."""
    if isinstance(value, dict):
        return type(value), [(key, types_of(one)) for key, one in value.items()]
    return (type(value), [types_of(one) for one in value]) if isinstance(value, list | tuple) else type(value)


@given(VALUES)
def test_it_is_asdict(value: Any) -> None:
    tree = Tree(value, Leaf(value), {"k": value})
    assert fields_of(tree) == asdict(tree)
    assert types_of(fields_of(tree)) == types_of(asdict(tree))
