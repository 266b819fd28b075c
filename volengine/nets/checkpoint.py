"""Native model files: one ``.safetensors`` file with the weights, and the model's facts as JSON in its header.

The files contain no pickle, so opening one runs no code. :func:`load_facts` needs no PyTorch. Files of other programs
are recognised by their ending (:data:`FORMATS`) and read by :mod:`volengine.nets.formats.foreign`. Instead of a path,
the name of a model that comes with the package may be given (:mod:`volengine.nets.shipped`).
"""

from __future__ import annotations

import importlib
import json
import math
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, MissingError, VolengineError
from volengine.core.json_text import parse_object, shown
from volengine.core.model import ModelFacts
from volengine.nets.shipped import SHIPPED, model_file

if TYPE_CHECKING:
    import torch
    from torch import nn

KEY = "volengine"
MAX_HEADER = 100_000_000
MAX_AXES = 16
LEAST_ARGUMENT = 4096
"""Arguments of networks up to this are believed, whatever the sizes of the weights."""

OTHERS = (RuntimeError, TypeError, ValueError)
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Bits of a value of each type that a ``.safetensors`` file may have."""

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
    """Write weights and facts; the file appears when it is complete.

    Raises
    ------
    InputError
        The file cannot hold the weights (:func:`volengine.nets.packed.packed`).
    """
    from volengine import __version__
    from volengine.nets.packed import packed

    text = json.dumps(replace(facts, version=__version__).to_json())
    write_atomic(path, packed(module.state_dict(), {KEY: text}, path))


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
    header = parse_object(raw, f"{path}: the header")
    told = header.pop("__metadata__", {})
    end = _check_tensors(header, str(path))
    if file.stat().st_size != 8 + size + end:
        raise FormatError(f"{path} is cut off: {file.stat().st_size} bytes, its header announces {8 + size + end}.")
    text = told.get(KEY) if isinstance(told, dict) else None
    if not isinstance(text, str):
        raise FormatError(f"{path} was not written by volengine: its header has no model facts.")
    try:
        return ModelFacts.from_json(parse_object(text, "the model's facts"), where=str(path))
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{path}: {error}") from error


def _check_tensors(header: dict[str, Any], path: str) -> int:
    """Check that the tensors of a header lie one behind the other and have the bytes that they announce.

    Returns
    -------
    Number of bytes of all tensors.
    """
    places = []
    for name, told in header.items():
        where = f"{path}: the tensor {shown(name)} of the header"
        if not isinstance(told, dict) or not {"dtype", "shape", "data_offsets"} <= told.keys():
            raise FormatError(f"{where} is damaged: it has no type, shape and place.")
        shape, place = told["shape"], told["data_offsets"]
        if not _counts(shape) or not _counts(place) or len(place) != 2:
            raise FormatError(f"{where} is damaged: shape {shown(shape)}, place {shown(place)}.")
        bits = BITS.get(told["dtype"]) if isinstance(told["dtype"], str) else None
        if bits is None:
            raise FormatError(f"{where} is of type {shown(told['dtype'])}; known are {', '.join(BITS)}.")
        if 8 * (place[1] - place[0]) != bits * math.prod(shape):
            raise FormatError(
                f"{where} announces {told['dtype']} of shape {shape}, and has {place[1] - place[0]} bytes."
            )
        places.append((place[0], place[1], where))
    end = 0
    for start, stop, where in sorted(places):
        if start != end:
            raise FormatError(f"{where} begins at byte {start}, but the one before it ends at {end}.")
        end = stop
    return end


def _counts(value: Any) -> bool:
    """Whether a value is a short list of whole numbers that are not negative."""
    if not isinstance(value, list) or len(value) > MAX_AXES:
        return False
    return all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**53 for n in value)


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
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from volengine.nets.registry import NETWORKS, build

    loader = _foreign(path)
    if loader is not None:
        module, facts = loader(path)
        return module.eval().to(device), facts
    facts = load_facts(path)
    try:
        state = load_file(str(model_file(path)))
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise FormatError(f"{path} is no usable .safetensors file: {error}.") from error
    if facts.network in NETWORKS:  # code of others may not work without memory
        _check_arguments(facts, state, str(path))
        with torch.device("meta"):
            _check_fit(_built(facts, str(path)), facts, state, str(path))
    module = build(facts.network, facts.arguments, own=network) if network else _built(facts, str(path))
    _check_fit(module, facts, state, str(path))
    module.load_state_dict(state)
    return module.eval().to(device), facts


def _check_arguments(facts: ModelFacts, state: Mapping[str, torch.Tensor], path: str) -> None:
    """Refuse numbers among a network's arguments that are larger than the weights can be for."""
    largest = max([LEAST_ARGUMENT, *(t.numel() for t in state.values())])
    values: list[Any] = [facts.arguments]
    while values:
        value = values.pop()
        if isinstance(value, dict | list | tuple):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int | float) and not abs(value) <= largest:
            raise FormatError(
                f"{path}: an argument of the network {facts.network!r} is {shown(value)}; the largest weight has "
                f"{largest} values or fewer, so it cannot be right."
            )


def _built(facts: ModelFacts, path: str) -> nn.Module:
    """Build the network of a file's facts; whatever its arguments lead to ends in an error of the package."""
    from volengine.nets.registry import build

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of weights without values
            return build(facts.network, facts.arguments)
    except VolengineError:
        raise
    except (ArithmeticError, AttributeError, AssertionError, LookupError, MemoryError, *OTHERS) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path}: the network {facts.network!r} cannot be built as its facts say: {text}.") from error


def _check_fit(module: nn.Module, facts: ModelFacts, state: Mapping[str, torch.Tensor], path: str) -> None:
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in state.items()}
    if wanted != given:
        odd = sorted(k for k in {*wanted, *given} if wanted.get(k) != given.get(k))
        raise FormatError(
            f"{path}: the weights do not fit {facts.network!r}: {odd[0]} is {given.get(odd[0], 'missing')}, "
            f"should be {wanted.get(odd[0], 'absent')} ({len(odd)} tensors differ)."
        )


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
