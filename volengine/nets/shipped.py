"""Networks that come with the package: their names stand for their files, wherever a model file is named.

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
"""What each is; its file is ``volengine/data/NAME.safetensors``."""


def is_shipped(path: str | Path) -> bool:
    """Whether this is the name of such a network, not a file or folder that is there."""
    return str(path) in SHIPPED and not Path(path).exists()


def model_file(path: str | Path) -> Path:
    """The file that a path, or the name of a network that comes with the package, means."""
    if is_shipped(path):
        return Path(__file__).parents[1] / "data" / f"{path}.safetensors"
    return Path(path)
