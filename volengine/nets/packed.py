"""Tensors as the bytes of a ``.safetensors`` file, also where several names share one memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.errors import InputError

if TYPE_CHECKING:
    import torch


def packed(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path: str | Path) -> bytes:
    """Make the bytes of a file.

    Weights that are tied (one tensor under two names, or parts of one) are written under each name, because the format
    knows no sharing; a network that ties them gets the same values twice.

    Parameters
    ----------
    tensors
        The tensors by name, on any device.
    metadata
        Texts for the header.
    path
        The file, for messages.

    Raises
    ------
    InputError
        A tensor is of a kind that the format cannot hold: sparse, quantised, or of another type of numbers.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save

    flat: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    try:
        for name, tensor in tensors.items():
            if tensor.layout != torch.strided:
                raise ValueError(f"{name} is a {tensor.layout} tensor")
            one = tensor.detach().cpu().contiguous()
            memory = one.untyped_storage().data_ptr()
            flat[name] = one.clone() if memory in seen else one
            seen.add(memory)
        data: bytes = save(flat, metadata=dict(metadata))
        return data
    except (SafetensorError, RuntimeError, NotImplementedError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: the weights cannot be written as .safetensors: {error}. It holds dense tensors of floating-point "
            "numbers, integers and truth values; convert the network's parameters and buffers to these."
        ) from error
