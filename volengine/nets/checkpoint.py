"""Native model files: one ``.safetensors`` file with the weights, and the model's facts as JSON in its header.

The files contain no pickle, so opening one runs no code. :func:`load_facts` needs no PyTorch. Files of other programs
are recognised by their ending (:data:`FORMATS`) and read by :mod:`volengine.nets.formats.foreign`. Instead of a path,
the name of a model that comes with the package may be given (:mod:`volengine.nets.shipped`).
"""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, MissingError
from volengine.core.model import ModelFacts
from volengine.nets.shipped import SHIPPED, model_file

if TYPE_CHECKING:
    import torch
    from torch import nn

KEY = "volengine"
MAX_HEADER = 100_000_000
FORMATS = {
    ".scnm": "volengine.nets.formats.foreign:load_scnm",
    ".ckpt": "volengine.nets.formats.foreign:load_ckpt",
    ".h5": "volengine.nets.formats.foreign:load_keras",
    ".hdf5": "volengine.nets.formats.foreign:load_keras",
    ".keras": "volengine.nets.formats.foreign:load_keras",
    ".onnx": "volengine.nets.formats.onnx.read:load_onnx",
}
"""Loader of each kind of foreign model file, by its ending: a function from path to (module, facts)."""


def _foreign(path: str | Path) -> Callable[[str | Path], tuple[nn.Module, ModelFacts]] | None:
    target = FORMATS.get(Path(path).suffix.lower())
    if target is None:
        return None
    module, _, name = target.partition(":")
    loader: Callable[[str | Path], tuple[nn.Module, ModelFacts]] = getattr(importlib.import_module(module), name)
    return loader


def save_model(path: str | Path, module: nn.Module, facts: ModelFacts) -> None:
    """Write weights and facts; the file appears when it is complete."""
    from safetensors.torch import save

    from volengine import __version__

    text = json.dumps(replace(facts, version=__version__).to_json())
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_atomic(path, save(state, metadata={KEY: text}))


def load_facts(path: str | Path) -> ModelFacts:
    """Read the facts of a model file.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is damaged, or is a safetensors file of another program.
    """
    loader = _foreign(path)
    if loader is not None:
        return loader(path)[1]
    file = model_file(path)
    if not file.is_file():
        raise _missing(path)
    with file.open("rb") as stream:
        head = stream.read(8)
        size = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= size <= min(MAX_HEADER, file.stat().st_size - 8):
            raise FormatError(f"{path} is no .safetensors model file, or it is cut off ({file.stat().st_size} bytes).")
        raw = stream.read(size)
    try:
        header = json.loads(raw)
        text = header.get("__metadata__", {}).get(KEY)
        end = max((int(t["data_offsets"][1]) for k, t in header.items() if k != "__metadata__"), default=0)
    except (ValueError, AttributeError, KeyError, TypeError, IndexError):
        raise FormatError(f"{path}: the header is damaged; it is no usable .safetensors file.") from None
    if file.stat().st_size != 8 + size + end:
        raise FormatError(f"{path} is cut off: {file.stat().st_size} bytes, its header announces {8 + size + end}.")
    if text is None:
        raise FormatError(f"{path} was not written by volengine: its header has no model facts.")
    try:
        return ModelFacts.from_json(json.loads(text), where=str(path))
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error


def load_model(
    path: str | Path, device: str | torch.device = "cpu", *, network: str | None = None
) -> tuple[nn.Module, ModelFacts]:
    """Load a network with its weights, in evaluation mode, and its facts.

    Parameters
    ----------
    path
        A model file, or the name of a model that comes with the package.
    device
        Device of the weights.
    network
        Your own architecture (``FILE.py:Class``, see :func:`volengine.nets.registry.build`). It is needed if the facts
        name one, because Python code is run only if the caller names it.

    Raises
    ------
    MissingError, FormatError, InputError
        As in :func:`load_facts`; or the weights do not fit the architecture that the facts name.
    """
    from safetensors.torch import load_file

    from volengine.nets.registry import build

    loader = _foreign(path)
    if loader is not None:
        module, facts = loader(path)
        return module.eval().to(device), facts
    facts = load_facts(path)
    module = build(facts.network, facts.arguments, own=network)
    state = load_file(str(model_file(path)))
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in state.items()}
    if wanted != given:
        odd = sorted(k for k in {*wanted, *given} if wanted.get(k) != given.get(k))
        raise FormatError(
            f"{path}: the weights do not fit {facts.network!r}: {odd[0]} is {given.get(odd[0], 'missing')}, "
            f"should be {wanted.get(odd[0], 'absent')} ({len(odd)} tensors differ)."
        )
    module.load_state_dict(state)
    return module.eval().to(device), facts


def identity(path: str | Path) -> str:
    """Digest of the file's bytes; it is part of the identity of every prediction of the model."""
    import hashlib

    try:
        with model_file(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:20]
    except OSError as error:
        raise _missing(path) from error


def _missing(path: str | Path) -> MissingError:
    return MissingError(
        f"{path}: no such model file, and none of this name comes with volengine: {', '.join(SHIPPED)}."
    )
