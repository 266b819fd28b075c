"""What reading and writing ONNX share: the keys of the metadata, versions, limits, and the package ``onnx`` itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from volengine.core.errors import require
from volengine.core.model import ModelFacts

OPSET = 17
"""Version of ONNX's operators; all that are used have it, and onnxruntime since 1.12."""
KEY = "volengine"
"""Of the metadata that holds the facts as JSON."""
AXES_KEY = "volengine.axes"
"""Of the metadata that holds the order of the axes, for example ``bczyx``."""
LARGEST = 2**31 - 2**20
"""Bytes: what the format holds in one file."""


def import_onnx() -> Any:
    """The package ``onnx``.

    Raises
    ------
    DependencyError
        It is not installed; the message names the extra.
    """
    try:
        import onnx
    except ImportError as error:
        raise require("onnx", "onnx", "A model as an ONNX file") from error
    return onnx


def metadata(facts: ModelFacts, axes: str = "") -> dict[str, str]:
    """What a file of ours has in its metadata."""
    from volengine import __version__

    text = json.dumps(replace(facts, version=__version__).to_json())
    return {KEY: text, AXES_KEY: axes or ("bczyx" if facts.volumetric else "bcyx")}


def described(facts: ModelFacts) -> str:
    """What a person should know who opens the file in another program."""
    stride = ", ".join(map(str, facts.stride))
    return (
        f"Segments {', '.join(facts.features)} in tomograms of {facts.said_voxel_size} per voxel. "
        f"Normalisation of the input: {facts.normalisation}. Patches: multiples of {stride} voxels; trained with "
        f"{', '.join(map(str, facts.patch))}. All facts are in the metadata, key {KEY!r}."
    )
