"""Several processes that train one network (``torchrun``), each with a part of every batch.

``torchrun --nproc-per-node 2 --no-python volengine train ...`` starts them on one or several machines; without it there
is one process. The loss is that of the whole batch: each process gathers the outputs of all processes, so that Dice and
similar losses are computed over the same voxels as in one process; only its own outputs have a gradient. Processes
communicate through NCCL on GPUs and Gloo on CPUs.
"""

from __future__ import annotations

import atexit
import gc
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from volengine.core.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The number of this process among all processes of a training.

    Parameters
    ----------
    rank, world
        Number of this process, and number of processes.
    local
        Number of this process on its machine, which is also that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """Read ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``, which ``torchrun`` sets; else there is one process."""
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return cls()
        rank = int(os.environ["RANK"])
        return cls(rank, int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", rank)))

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """The GPU of this process, if several processes share the GPUs of a machine; else ``device``."""
        return torch.device("cuda", self.local) if self.world > 1 and device.type == "cuda" else device

    def start(self, device: torch.device) -> None:
        """Join the group of processes, once; a process leaves it with :func:`leave`, or when the program ends."""
        if self.world > 1 and not distributed.is_initialized():
            cuda = device.type == "cuda"
            if cuda:  # NCCL sends lists, and waits, with the current device: else all processes take the first GPU
                torch.cuda.set_device(device)
            distributed.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
            atexit.register(leave)

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Wrap a module so that its gradients are averaged over the processes."""
        if self.world == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        # the warning concerns kernels of 1 x 1 x 1, whose memory order is the same for all strides
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return DistributedDataParallel(module, device_ids=[device.index] if device.type == "cuda" else None)

    def share(self, batch: int) -> range:
        """Indices of the samples of a batch that this process draws.

        Raises
        ------
        InputError
            The processes cannot share the batch evenly.
        """
        if batch % self.world:
            raise InputError(f"A batch of {batch} cannot be shared among {self.world} processes; use a multiple.")
        own = batch // self.world
        return range(self.rank * own, (self.rank + 1) * own)

    def gathered(self, own: torch.Tensor) -> torch.Tensor:
        """Concatenate the parts of all processes in the order of the batch; the own part keeps its gradient."""
        if self.world == 1:
            return own
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(self.world)]
        distributed.all_gather(parts, own.detach().contiguous())
        parts[self.rank] = own
        return torch.cat(parts)

    def objects(self, own: list[T]) -> list[T]:
        """Concatenate the lists of all processes."""
        if self.world == 1:
            return own
        parts: list[Any] = [None] * self.world
        distributed.all_gather_object(parts, own)
        return [item for part in parts for item in part]

    def same(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give the tensors of all processes the values of the first one, in place."""
        if self.world > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        if self.world > 1:
            distributed.barrier()


def leave() -> None:
    """Leave the group of processes, if this one is in it; the program must not train any more.

    The interpreter may abort a process ("terminate called without an active exception") whose network is still wrapped
    when it leaves, or that leaves only when the interpreter ends; that would count as a failed training.
    """
    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # wrapped networks that nobody uses any more
        distributed.destroy_process_group()
    atexit.unregister(leave)
