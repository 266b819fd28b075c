"""Keras models in HDF5 files, as graphs of plain layers; neither Keras nor TensorFlow is needed.

A whole-model file (``model.save("x.h5")``) holds the layers as JSON and the weights by layer name, the same way since
Keras 2.0; the layers' configurations of Keras 1 to 3 are understood. Nothing in the file is run: a layer that holds
code (``Lambda``), or one that is not known, is refused by name. Sizes along space become free.

Axes: Keras has channels last; here they come first. A 2D network of an input (y, x, slices) becomes one of (slices,
y, x). Of a 3D one ``axes`` says what its three axes are, and its kernels are turned to z, y, x.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.nets.keras_layers import Array, KerasModel, Reader, layers_of, name_of

MAX_WEIGHTS = 2**31
"""Bytes of one weight: larger ones are not believed."""

MAX_RATIO = 20
"""Bytes of a weight by the bytes that it takes in the file: Keras does not compress."""


def read_keras(source: str | Path | bytes, where: str = "", axes: str = "zyx") -> KerasModel:
    """The model of an HDF5 file.

    Parameters
    ----------
    source
        A path, or the file itself.
    where
        Names it in messages.
    axes
        3D networks: what the input's axes are, in their order (Ais: ``yxz``).

    Raises
    ------
    MissingError, FormatError
        No such file, or not a whole Keras model; a layer that is not known; the message names it.
    """
    import h5py

    where = where or str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise MissingError(f"{where}: no such model file.")
    try:
        with h5py.File(BytesIO(source) if isinstance(source, bytes) else source, "r") as file:
            config = _config(file, where)
            version = file.attrs.get("keras_version", "")
            weights = {name: list(_weights(file, name, where)) for name in _names(config, where)}
    except InputError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:  # h5py has no class
        raise FormatError(f"{where} is no HDF5 file, or it is damaged or cut off ({error}).") from error
    version = version.decode() if isinstance(version, bytes) else str(version)
    return Reader(where, axes, weights, version).read(config)


def _config(file: Any, where: str) -> dict[str, Any]:
    text = file.attrs.get("model_config")
    if text is None:
        raise FormatError(
            f"{where} holds no model_config: weights alone do not say which network they are of. Save the whole model "
            "(model.save)."
        )
    try:
        config = json.loads(text.decode() if isinstance(text, bytes) else text)
        if not isinstance(config["config"], dict | list):
            raise TypeError("config")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{where}: model_config cannot be read ({error}).") from error
    except RecursionError as error:
        raise FormatError(f"{where}: model_config is nested too deeply.") from error
    found: dict[str, Any] = config
    return found


def _names(config: Mapping[str, Any], where: str) -> list[str]:
    return [name_of(layer) for layer in layers_of(config, where)]


def _weights(file: Any, layer: str, where: str) -> Iterator[Array]:
    import h5py

    root = _inside(file, "model_weights")
    group = _inside(root if isinstance(root, h5py.Group) else file, layer)
    if not isinstance(group, h5py.Group):
        return
    for name in group.attrs.get("weight_names", []):
        key = name.decode() if isinstance(name, bytes) else str(name)
        node = _inside(group, key)
        if node is None:
            raise FormatError(f"{where}: the weight {key!r} of {layer!r} is missing or lies in another file.")
        if not _plain(node):
            raise FormatError(
                f"{where}: the weight {key!r} of {layer!r} is no plain array of at most {MAX_WEIGHTS} bytes, or the "
                "file does not hold what it announces."
            )
        yield np.asarray(node, np.float32)


def _inside(group: Any, path: str) -> Any:
    """What lies at a path of a file itself; ``None`` where there is nothing, or a link."""
    import h5py

    node = group
    for part in path.split("/"):
        if not isinstance(node, h5py.Group) or not isinstance(node.get(part, getlink=True), h5py.HardLink):
            return None
        node = node[part]
    return node


def _plain(node: Any) -> bool:
    """Whether a node of HDF5 is an array of numbers that really lies in the file."""
    import h5py

    if not isinstance(node, h5py.Dataset) or node.external or node.is_virtual or node.dtype.kind not in "fiu":
        return False
    return bool(node.nbytes <= min(MAX_WEIGHTS, MAX_RATIO * node.id.get_storage_size()))
