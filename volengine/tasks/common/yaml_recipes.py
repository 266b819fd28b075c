"""Recipes in YAML files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, MissingError

EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the names and values of a YAML file.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is not valid YAML (the message has line and column), gives a name twice (YAML would keep only the last
        value), or holds something else than names and values.
    """
    import yaml

    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        raise MissingError(f"{path}: no such recipe file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read as text: {error}.") from error

    class Loader(yaml.SafeLoader):
        """A loader that reads ``1e9`` and ``1.0e9`` as numbers; YAML 1.1 reads them as text."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))
    try:
        _refuse_twice(yaml.compose(text, Loader=Loader), path)
        data = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise FormatError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise FormatError(f"{path}: a recipe is names and values, not {type(data).__name__}.")
    return data


def _refuse_twice(node: Any, path: str | Path) -> None:
    """Raise :class:`FormatError` where a mapping at or below a node gives a name twice."""
    import yaml

    nodes, seen = [node], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an anchor that is used more than once
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                nodes.append(value)
                if not isinstance(key, yaml.ScalarNode):
                    continue
                if key.value in names:
                    line = key.start_mark.line + 1
                    raise FormatError(f"{path}, line {line}: {key.value!r} is there twice; give it once.")
                names.add(key.value)
