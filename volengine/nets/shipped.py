"""Models that come with the package: their names can be given wherever a model file is expected.

>>> model_file("cytoplasm").name
'cytoplasm.safetensors'
>>> model_file("folder/mine.safetensors").name
'mine.safetensors'
"""

from __future__ import annotations

from pathlib import Path

SHIPPED = {
    "cytoplasm": "membrane, microtubule, actin, ribosome; 10 to 14 angstrom; trained on simulated tomograms alone",
}
"""Description of each model; its file is ``volengine/data/NAME.safetensors``."""


def is_shipped(path: str | Path) -> bool:
    """Whether this is the name of a shipped model; an existing file or folder of this name takes precedence."""
    return str(path) in SHIPPED and not Path(path).exists()


def model_file(path: str | Path) -> Path:
    """The model file for a path, or for the name of a shipped model."""
    if is_shipped(path):
        return Path(__file__).parents[1] / "data" / f"{path}.safetensors"
    return Path(path)
