"""Several processes that fit one network (``torchrun``), each with a part of every batch.

``torchrun --nproc-per-node 2 --no-python volengine train ...`` starts them, on one machine or many; without it there
is one. The loss is that of the whole batch: each process gathers the answers of all, so that Dice and the like are
over the same voxels as in one process, and its own answers carry the gradient. Processes talk through NCCL on GPUs
and Gloo on CPUs.
"""

from __future__ import annotations

import atexit
import os
import warnings
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from volengine.core.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among all.

    Parameters
    ----------
    rank, world
        Its number, and how many there are.
    local
        Its number on this machine: that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """What ``torchrun`` says in ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; alone without it."""
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return cls()
        rank = int(os.environ["RANK"])
        return cls(rank, int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", rank)))

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """This process's own GPU where several share the machine's."""
        return torch.device("cuda", self.local) if self.world > 1 and device.type == "cuda" else device

    def start(self, device: torch.device) -> None:
        """Meet the others, once; they part when the program ends."""
        if self.world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(distributed.destroy_process_group)

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module, its gradients averaged over the processes."""
        if self.world == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        # kernels of 1 x 1 x 1 have the same numbers in the same order whatever their strides are called
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return DistributedDataParallel(module, device_ids=[device.index] if device.type == "cuda" else None)

    def share(self, batch: int) -> range:
        """Which samples of a batch are this process's.

        Raises
        ------
        InputError
            The batch cannot be shared evenly.
        """
        if batch % self.world:
            raise InputError(f"A batch of {batch} cannot be shared among {self.world} processes; use a multiple.")
        own = batch // self.world
        return range(self.rank * own, (self.rank + 1) * own)

    def gathered(self, own: torch.Tensor) -> torch.Tensor:
        """The parts of all processes along the first axis, in the order of the batch; one's own keeps its gradient."""
        if self.world == 1:
            return own
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(self.world)]
        distributed.all_gather(parts, own.detach().contiguous())
        parts[self.rank] = own
        return torch.cat(parts)

    def objects(self, own: list[T]) -> list[T]:
        """The lists of all processes, one after the other."""
        if self.world == 1:
            return own
        parts: list[Any] = [None] * self.world
        distributed.all_gather_object(parts, own)
        return [item for part in parts for item in part]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()
