"""What reader and writer of ONNX share: metadata keys, versions, limits, and the import of the package ``onnx``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from volengine.core.errors import require
from volengine.core.model import ModelFacts

OPSET = 17
"""Version of ONNX's operators; it has all operators that are used, and onnxruntime supports it since 1.12."""
KEY = "volengine"
"""Metadata key of the facts, as JSON."""
AXES_KEY = "volengine.axes"
"""Metadata key of the order of the axes, for example ``bczyx``."""
LARGEST = 2**31 - 2**20
"""Largest size of a file in bytes; it is a limit of the format."""


def import_onnx() -> Any:
    """Import the package ``onnx``.

    Raises
    ------
    DependencyError
        The package is not installed; the message names the extra.
    """
    try:
        import onnx
    except ImportError as error:
        raise require("onnx", "onnx", "A model as an ONNX file") from error
    return onnx


def metadata(facts: ModelFacts, axes: str = "") -> dict[str, str]:
    """The metadata of a file that this package writes."""
    from volengine import __version__

    text = json.dumps(replace(facts, version=__version__).to_json())
    return {KEY: text, AXES_KEY: axes or ("bczyx" if facts.volumetric else "bcyx")}


def described(facts: ModelFacts) -> str:
    """A description of the model for people who open the file in another program."""
    stride = ", ".join(map(str, facts.stride))
    return (
        f"Segments {', '.join(facts.features)} in tomograms of {facts.said_voxel_size} per voxel. "
        f"Normalisation of the input: {facts.normalisation}. Patches: multiples of {stride} voxels; trained with "
        f"{', '.join(map(str, facts.patch))}. All facts are in the metadata, key {KEY!r}."
    )
