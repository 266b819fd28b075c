"""Recipes in YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, MissingError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The names and values of a YAML file.

    Raises
    ------
    MissingError, FormatError
        There is no such file; it is no YAML, with line and column; it holds something else than names and values.
    """
    import yaml

    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        raise MissingError(f"{path}: no such recipe file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read as text: {error}.") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FormatError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise FormatError(f"{path}: a recipe is names and values, not {type(data).__name__}.")
    return data
