"""Running a network over the patches of a block.

:func:`predict_patches` feeds patches to a predictor in batches and adds what it answers, as fixed-point integers
(:mod:`volengine.ops.blend`), to the sums of a block:

>>> job = PatchJob(lattice, reader, Shares(lattice, "gaussian", predictor.scale))
>>> sums = predict_patches(predictor, job, list(lattice.owned(core)), region)       # int32, (channels, *region.shape)

Every batch has the same size: the last one is filled up with empty patches. A patch thus always goes through the same
kernels, and what the network answers does not depend on which patches happen to be in its batch or block
(convolution libraries choose another algorithm for another batch size). On a CPU each batch is computed by one
thread, several batches at a time: a convolution split over threads adds in another order, so its last bit would
depend on how many threads a worker has (measured: 6e-8; enough to change a rounded byte here and there). On a GPU the
sums stay on the device until the block is done, and the next batch is cut and sent while the network runs.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.lattice import Lattice, PatchIndex
from volengine.nets.predictor import Predictor
from volengine.nets.tta import View
from volengine.ops.blend import Shares
from volengine.ops.patches import PatchReader

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PatchJob:
    """Where patches come from and how their answers count; from which views they are seen (default: all)."""

    lattice: Lattice
    reader: PatchReader
    shares: Shares
    views: tuple[View, ...] | None = None


def predict_patches(
    predictor: Predictor,
    job: PatchJob,
    indices: Sequence[PatchIndex],
    region: Box,
    threads: int = 1,
    before: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Run patches and add up their contributions.

    Parameters
    ----------
    indices
        The patches, in any order.
    region
        Where to add, inside of the volume; every patch must lie in it once clipped into the volume.
    threads
        On a CPU: batches that are computed at the same time, each by one thread; not more than PyTorch has threads
        here (``OMP_NUM_THREADS``).
    before
        Sums of other patches over the same region, to which these are added in place.

    Returns
    -------
    ndarray, int32, (channels, z, y, x)
        Fixed-point sums over ``region`` (see :mod:`volengine.ops.blend`); independent of order and threads.
    """
    import torch

    if before is None:
        sums = torch.zeros((predictor.channels, *region.shape), dtype=torch.int32, device=predictor.device)
    else:
        sums = torch.from_numpy(before).to(predictor.device)  # on a CPU the same memory
    order = sorted(indices, key=lambda i: (job.lattice.input_box(i).shape, job.lattice.neighbours(i), i))
    with _one_thread_each(predictor.device) as most:
        for shape, group in itertools.groupby(order, key=lambda i: job.lattice.input_box(i).shape):
            lane = _Lane(predictor, job, shape, sums, region)
            batches = list(_batches(group, predictor.batch(shape)))
            lanes = min(threads, most, len(batches))
            if lanes <= 1:
                for batch in batches:
                    lane.run(batch)
                continue
            with ThreadPoolExecutor(lanes, "patches", torch.set_num_threads, (1,)) as pool:
                for _ in pool.map(lane.run, batches):
                    pass
    result: NDArray[np.int32] = sums.cpu().numpy()
    return result


@contextlib.contextmanager
def _one_thread_each(device: torch.device) -> Iterator[int]:
    """On a CPU, every convolution in one thread; gives the number of threads to share out (1 on other devices)."""
    import torch

    if device.type != "cpu":
        yield 1
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


class _Lane:
    """Runs batches of patches of one shape and adds their answers to the sums; safe in several threads."""

    def __init__(self, predictor: Predictor, job: PatchJob, shape: Index3, sums: torch.Tensor, region: Box):
        self._predictor, self._job, self._shape = predictor, job, shape
        self._sums, self._region = sums, region
        self._shares = _DeviceShares(job.shares, predictor.device)
        self._local = threading.local()
        self._lock = threading.Lock()

    def run(self, batch: Sequence[PatchIndex]) -> None:
        """One batch; places without a patch are computed and dropped."""
        import torch

        feeder = getattr(self._local, "feeder", None)
        if feeder is None:
            feeder = self._local.feeder = _Feeder(self._predictor, self._job, self._shape)
        with self._predictor.running():
            answers = self._predictor(feeder.send(batch), self._job.views)
            for answer, index in zip(answers, batch, strict=False):
                visible = self._weigh(answer, index)
                whole = visible.to(torch.int32)
                box = self._job.lattice.box(index).clip(self._job.lattice.shape)
                with self._lock:
                    self._sums[(slice(None), *box.slices_in(self._region))].add_(whole)

    def _weigh(self, answer: torch.Tensor, index: PatchIndex) -> torch.Tensor:
        """A patch's answer (changed) times its shares, rounded, where it lies in the volume."""
        lattice = self._job.lattice
        box, seen = lattice.box(index), lattice.input_box(index)
        visible = box.clip(lattice.shape)
        first_z = seen.start[0] if self._predictor.traits.volumetric else box.start[0]
        answered = Box((first_z, *seen.start[1:]), seen.stop)
        with self._lock:
            share = self._shares[self._job.shares.key(index)]
        part = answer[(slice(None), *visible.slices_in(answered))]
        return part.mul_(share[visible.slices_in(box)]).round_()


def _batches(indices: Iterable[PatchIndex], size: int) -> Iterator[tuple[PatchIndex, ...]]:
    items = iter(indices)
    while batch := tuple(itertools.islice(items, size)):
        yield batch


class _DeviceShares:
    """Shares on the device, the last ones used."""

    def __init__(self, shares: Shares, device: torch.device, keep: int = 4):
        self._shares, self._device, self._keep = shares, device, keep
        self._kept: dict[Any, torch.Tensor] = {}

    def __getitem__(self, key: Any) -> torch.Tensor:
        import torch

        if key not in self._kept:
            while len(self._kept) >= self._keep:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = torch.tensor(self._shares[key], device=self._device)
        return self._kept[key]


class _Feeder:
    """Cuts patches into a batch and sends it to the device; two buffers, so that the next is cut while one runs."""

    def __init__(self, predictor: Predictor, job: PatchJob, shape: Index3):
        import torch

        self._reader, self._lattice = job.reader, job.lattice
        self._device = predictor.device
        self._cuda = predictor.device.type == "cuda"
        size = predictor.batch(shape)
        inner = (1, *shape) if predictor.traits.volumetric else shape
        self._buffers = [
            torch.zeros((size, *inner), dtype=torch.float32, pin_memory=self._cuda)
            for _ in range(2 if self._cuda else 1)
        ]
        self._sent: list[Any] = [None] * len(self._buffers)
        self._shape = shape
        self._turn = 0

    def send(self, batch: Sequence[PatchIndex]) -> torch.Tensor:
        """The batch on the device; places without a patch are zero."""
        import torch

        turn = self._turn = (self._turn + 1) % len(self._buffers)
        if self._sent[turn] is not None:
            self._sent[turn].synchronize()  # the buffer is still being copied
        buffer = self._buffers[turn]
        patches = buffer.numpy().reshape(len(buffer), *self._shape)
        for patch, index in zip(patches, batch, strict=False):
            self._reader.fill(self._lattice.input_box(index), patch)
        patches[len(batch) :] = 0
        if self._device.type == "cpu":
            return buffer
        sent = buffer.to(self._device, non_blocking=self._cuda)
        if self._cuda:
            self._sent[turn] = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent[turn].record()
        return sent
