"""Read Keras model files as graphs of plain layers, without Keras or TensorFlow.

======================  =============================================================================================
``.h5``                 a whole model (``model.save("x.h5")``): layers as JSON, weights by name; Keras 2 and 3
``.keras``              a whole model (Keras 2.13 and later, 3): a zip archive of ``config.json`` and
                        ``model.weights.h5``
``x.weights.h5``        weights alone (Keras 3), or ``.h5`` of ``save_weights`` (Keras 2), with the layers beside them
                        as JSON (``model.to_json()``): ``x.json`` or ``config.json``
======================  =============================================================================================

Configurations of Keras 1 to 3 are read, including nested models. No code in a file is run: a layer that contains code
(``Lambda``), or that is unknown, is refused by name. The sizes of the input become free.

Keras puts channels last; this package puts them first. A 2D network with the input (y, x, slices) becomes one with
(slices, y, x). For a 3D network ``axes`` gives the order of its axes, and its kernels are transposed to z, y, x.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, MissingError
from volengine.nets.formats.archives import read_zip
from volengine.nets.formats.keras.h5_apart import H5Content, read_h5
from volengine.nets.formats.keras.layers import KerasModel, Reader

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_TEXT = 2**26
"""Largest size of a configuration, bytes."""


def read_keras(source: str | Path | bytes, where: str = "", axes: str = "zyx") -> KerasModel:
    """Read the model of a Keras file.

    Parameters
    ----------
    source
        A path, or the bytes of the file.
    where
        Name of the file in messages, if ``source`` is not a path.
    axes
        For 3D networks: the order of the input's axes (Ais: ``yxz``).

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is not a whole Keras model, or has an unknown layer; the message names it.
    """
    where = where or str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise MissingError(f"{where}: no such model file.")
    if _head(source) == b"PK\x03\x04":
        return _of_zip(source, where, axes)
    content = read_h5(source, where)
    if content.config is not None:
        return Reader(where, axes, content, content.version).read(_json(content.config, f"{where}: model_config"))
    beside = None if isinstance(source, bytes) else _beside(Path(source))
    if beside is None:
        raise FormatError(
            f"{where} holds no model_config: weights alone do not say which network they are of. Save the whole model "
            "(model.save), or lay model.to_json() beside them as config.json."
        )
    if beside.stat().st_size > MAX_TEXT:
        raise FormatError(f"{beside} has {beside.stat().st_size} bytes; configurations have at most {MAX_TEXT}.")
    config = _json(beside.read_bytes(), str(beside))
    told = config.get("keras_version") or ("3" if "module" in config else "")  # only Keras 3 leaves it out
    version = content.version or str(told)
    return Reader(where, axes, content, version, same_save=False).read(config)


def _head(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:4]
    with Path(source).open("rb") as stream:
        return stream.read(4)


def _of_zip(source: str | Path | bytes, where: str, axes: str) -> KerasModel:
    members = read_zip(source, (CONFIG, METADATA, WEIGHTS), where)
    missing = next((name for name in (CONFIG, WEIGHTS) if name not in members), None)
    if missing is not None:
        raise FormatError(f"{where} holds no {missing}; a .keras file of one piece has {CONFIG} and {WEIGHTS}.")
    config = _json(members[CONFIG], f"{where}: {CONFIG}")
    metadata = _json(members.get(METADATA, b"{}"), f"{where}: {METADATA}")
    content: H5Content = read_h5(members[WEIGHTS], f"{where}: {WEIGHTS}")
    return Reader(where, axes, content, str(metadata.get("keras_version") or "")).read(config)


def _beside(path: Path) -> Path | None:
    """The file with the configuration beside a file of weights; ``None`` if there is none."""
    stem = path.name.removesuffix(path.suffix).removesuffix(".weights")
    names = (f"{stem}.json", f"{stem}.config.json", CONFIG)
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _json(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
        if not isinstance(config, dict):
            raise TypeError(f"it is a {type(config).__name__}")
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where} cannot be read ({error}).") from error
    except RecursionError as error:
        raise FormatError(f"{where} is nested too deeply.") from error
    return config
