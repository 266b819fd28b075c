"""Recipes in YAML files, read and written.

The values are those of YAML 1.2 where YAML 1.1, which PyYAML reads, would give other ones without a word: ``1:2:3`` and
``012`` are texts (not 3723 and 10), and ``1e9`` is a number (not a text). A file may be a stranger's: it can name no
Python objects, and its size, its depth and what its anchors stand for are limited.
"""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, MissingError
from volengine.core.json_text import shown

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)$|0x[0-9a-fA-F]+$|0o[0-7]+$|0b[01]+$")
FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MAX_DIGITS = 100
MAX_BYTES = 16 * 2**20
MAX_DEPTH = 50
MAX_NODES = 1_000_000
"""Largest size of a file, largest depth of its values, and largest number of them, with anchors written out."""


def read_yaml(path: str | Path, what: str = "recipe") -> dict[str, Any]:
    """Read the names and values of a YAML file.

    Parameters
    ----------
    path
        The file.
    what
        What the file is, for messages.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is not valid YAML (the message has line and column), gives a name twice (YAML would keep only the last
        value), holds something else than names and values, is nested too deeply, or stands for too many values.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise FormatError(f"{path}: has more than {MAX_BYTES} bytes; it is no {what}.")
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise MissingError(f"{path}: no such {what} file.") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        found = "a folder" if isinstance(error, IsADirectoryError) else "no text in UTF-8"
        raise FormatError(
            f"{path} is {found}, and no {what}, which is a YAML file."
            + (" Tomograms are other arguments: train has --volume." if what == "recipe" else "")
        ) from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}.") from error
    value = parse_yaml(text, str(path))
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise FormatError(f"{path}: a {what} is names and values, not {found}.")
    return value


def parse_yaml(text: str, where: str) -> Any:
    """Read the value of a YAML text; errors are those of :func:`read_yaml`, and begin with ``where``."""
    import yaml

    try:
        _check_depth(text, where)
        loader = _loader()(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node, where)
        return loader.construct_document(node)  # what yaml.load does of the node, without composing it again
    except yaml.YAMLError as error:
        raise FormatError(f"{where} is no valid YAML: {error}") from error
    except FormatError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        # an integer of thousands of digits, a date that does not exist, a list as a name
        raise FormatError(f"{where} holds a value that cannot be read ({error}).") from error


def yaml_text(value: Any) -> str:
    """Write JSON values as a YAML text; :func:`parse_yaml` gives the same values of it.

    >>> print(yaml_text({"name": "1e9", "patch": [1, 8, 8], "learning_rate": 1e-05}), end="")
    name: '1e9'
    patch:
    - 1
    - 8
    - 8
    learning_rate: 1.0e-05
    """
    import yaml

    text: str = yaml.dump(value, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=110)
    return text


@cache
def _dumper() -> Any:
    """The class that writes YAML: texts that YAML 1.1 or 1.2 would take for something else are quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes values only, and each in full where it is there twice."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.yaml_implicit_resolvers = {
        sign: list(found) for sign, found in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }
    for tag, pattern in zip(NUMBERS, (INTEGER, FLOAT), strict=True):
        Dumper.add_implicit_resolver(tag, pattern, list("-+.0123456789"))

    def text(dumper: Any, value: str) -> Any:
        # PyYAML would write these line breaks as they are, and read spaces
        style = '"' if re.search("[\x85\u2028\u2029]", value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


@cache
def _loader() -> Any:
    """The class that reads YAML, with the numbers of YAML 1.2."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads values only, no objects."""

    Loader.yaml_implicit_resolvers = {
        sign: [(tag, pattern) for tag, pattern in found if tag not in NUMBERS]
        for sign, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for tag, pattern in zip(NUMBERS, (INTEGER, FLOAT), strict=True):
        Loader.add_implicit_resolver(tag, pattern, list("-+.0123456789"))

    def integer(loader: Any, node: Any) -> int:
        text = str(loader.construct_scalar(node))
        if len(text) > MAX_DIGITS:
            raise ValueError(f"{shown(text)} has {len(text)} digits")
        return int(text, 0)

    def real(loader: Any, node: Any) -> float:
        text = str(loader.construct_scalar(node)).lower()
        value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if math.isinf(value) and "inf" not in text:
            raise ValueError(f"{shown(text)} is larger than any number")
        return value

    Loader.add_constructor(NUMBERS[0], integer)
    Loader.add_constructor(NUMBERS[1], real)
    return Loader


def _check_depth(text: str, where: str) -> None:
    """Refuse a text that is nested too deeply; its events are read one by one, so no depth is too much for this."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise FormatError(f"{where}, line {line}: is nested more than {MAX_DEPTH} levels deep.")


def _check_nodes(node: Any, where: str) -> None:
    """Refuse names that are there twice, anchors inside of themselves, and anchors that stand for too many values."""
    import yaml

    sizes: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(node, False)]
    while stack:
        node, ready = stack.pop()
        children = _children(node)
        if ready:
            size = 1 + sum(sizes[id(child)] for child in children)
            line = node.start_mark.line + 1
            if size > MAX_NODES:
                raise FormatError(f"{where}, line {line}: its anchors stand for more than {MAX_NODES} values.")
            sizes[id(node)] = size
        elif id(node) not in sizes:
            if isinstance(node, yaml.MappingNode):
                _refuse_bare_list(node, where)
                _refuse_twice(node, where)
            sizes[id(node)] = MAX_NODES + 1  # until it is ready: an anchor inside of itself is never small enough
            stack += [(node, True), *((child, False) for child in children)]


def _children(node: Any) -> list[Any]:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else []


def _refuse_bare_list(node: Any, where: str) -> None:
    """Raise :class:`FormatError` for ``{shape: 50,400,400}``: within braces the comma ends the value."""
    pairs = node.value if node.flow_style else ()
    lost = [key.value for key, value in pairs if value.value == "" and value.style is None and _is_number(key)]
    if lost:
        at = next(n for n, (key, _) in enumerate(pairs) if key.value == lost[0])
        before = [str(part.value) for part in pairs[at - 1]] if at else []
        told = f"{before[0]}: " * bool(before) + f"[{', '.join(before[1:] + lost)}]"
        line = pairs[at][0].start_mark.line + 1
        raise FormatError(f"{where}, line {line}: {lost[0]} has no value. A list of numbers needs brackets: {told}.")


def _is_number(node: Any) -> bool:
    return (
        isinstance(node.value, str) and node.style is None and bool(re.fullmatch(r"[-+.\de]*\d[-+.\de]*", node.value))
    )


def _refuse_twice(node: Any, where: str) -> None:
    """Raise :class:`FormatError` where a mapping gives a name twice."""
    import yaml

    names: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in names:
            line = key.start_mark.line + 1
            raise FormatError(f"{where}, line {line}: {key.value!r} is there twice; give it once.")
        names.add(key.value)
