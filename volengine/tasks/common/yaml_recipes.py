"""Recipes in YAML files; they are read in :mod:`volengine.core.yaml_recipes`, also for the engine."""

from volengine.core.yaml_recipes import parse_yaml, read_yaml, yaml_text

__all__ = ["parse_yaml", "read_yaml", "yaml_text"]
