"""Presets: recipes of whole simulations that come with the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

from volengine.core.errors import MissingError
from volengine.core.yaml_recipes import read_yaml

PRESETS = {
    "ribosomes": "70S ribosomes in buffer: for scans of dose, defocus and pixel size",
    "cytoplasm": "crowded: large and small targets, large and small distractors, membranes, filaments",
    "cofilactin": "actin-like and cofilactin-like filaments with distractors",
    "vesicles": "vesicles with receptors on their membranes, ribosomes outside",
    "microtubules": "microtubules of a procedural dimer among distractors",
    "quick": "a small volume in seconds: ribosomes and a vesicle",
}
"""What each preset is; its recipe is ``volengine/data/presets/NAME.yaml``."""


def preset(name: str) -> dict[str, Any]:
    """The recipe of a preset, as names and values; values may be distributions.

    Raises
    ------
    MissingError
        The preset does not exist; the message lists all names.
    """
    if name not in PRESETS:
        raise MissingError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    with resources.as_file(resources.files("volengine.data") / "presets" / f"{name}.yaml") as path:
        return read_yaml(path)
