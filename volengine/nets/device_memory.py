"""Too little memory on a GPU: how PyTorch says so, and how this package does.

PyTorch's allocator raises ``torch.OutOfMemoryError``. Libraries that allocate by themselves (cuBLAS, cuDNN, the driver
when it loads kernels) raise a plain ``RuntimeError`` with a text of their own.

>>> import torch
>>> is_full(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
True
>>> is_full(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
True
>>> is_full(RuntimeError("CUDA error: an illegal memory access was encountered"))
False
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from volengine.core.errors import MemoryRefusedError
from volengine.core.units import format_bytes

if TYPE_CHECKING:
    import torch

TEXTS = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED", "HIP error: out of memory", "backend out of memory")
"""What libraries other than PyTorch's allocator say; the last one is that of Apple's GPUs."""


def is_full(error: BaseException) -> bool:
    """Whether an error means that the memory of a GPU does not suffice."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in TEXTS)


def release(device: torch.device) -> None:
    """Give memory that PyTorch keeps for later back to the device, so that it can be divided anew."""
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()


def refusal(device: torch.device, what: str, advice: str) -> MemoryRefusedError:
    """The error of a device that has too little memory.

    Parameters
    ----------
    device
        The device.
    what
        What does not fit.
    advice
        A sentence: what to do.
    """
    import torch

    told = str(device)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        told = f"{device} ({torch.cuda.get_device_name(device)}, {format_bytes(total)}, {format_bytes(free)} free)"
    return MemoryRefusedError(f"The memory of {told} does not suffice for {what}. {advice}")


@contextlib.contextmanager
def fitting(device: torch.device, what: str, advice: str) -> Iterator[None]:
    """Context in which a lack of memory on a device is raised as :func:`refusal`."""
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise refusal(device, what, advice) from error
