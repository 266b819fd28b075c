"""Apply a network to the patches of a block.

:func:`predict_patches` passes patches to a predictor in batches and adds the predictions, as fixed-point integers
(:mod:`volengine.ops.blend`), to the sums of a block:

>>> import torch
>>> from volengine.nets.predictor import Execution, Traits
>>> lattice = Lattice.sliding((8, 16, 16), (8, 8, 8), (0.5, 0.5, 0.5))
>>> block = Box((0, 0, 0), (8, 16, 16))
>>> reader = PatchReader(np.zeros((8, 16, 16), np.float32), block, block.shape, ("reflect", "reflect", "reflect"))
>>> module = torch.nn.Conv3d(1, 1, 3, padding=1)
>>> predictor = Predictor(module, Traits(features=1, volumetric=True), Execution(device="cpu"))
>>> job = PatchJob(lattice, reader, Shares(lattice, "gaussian", predictor.scale))
>>> sums = predict_patches(predictor, job, list(lattice.owned(block)), block)
>>> sums.shape, sums.dtype                                                          # (channels, z, y, x)
((1, 8, 16, 16), dtype('int32'))

All batches have the same size: the last one is filled with empty patches. Convolution libraries choose their algorithm
by the batch size, so a patch is always computed by the same algorithm, and its prediction does not depend on the other
patches of its batch or block. On a CPU one thread computes a batch, and several batches are computed at a time. If a
convolution were divided among threads, the order of its sums, and so their last bit, would depend on the number of
threads (measured: 6e-8, enough to change some rounded bytes). On a GPU the sums stay on the device until the block is
done, and the next batch is prepared and sent while the network runs. A batch that does not fit into the memory of the
GPU is halved, for this and all later batches of the process.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.lattice import Lattice, PatchIndex
from volengine.nets.device_memory import fitting, is_full
from volengine.nets.predictor import Predictor
from volengine.nets.tta import View
from volengine.ops.blend import VALUE_LIMIT, Shares
from volengine.ops.patches import PatchReader

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PatchJob:
    """The places of patches, the reader that fills them, their shares in the blend, and their views (``None``: all).

    ``network`` is how messages name the network; ``weights`` are those of its channels (empty: all 1).
    """

    lattice: Lattice
    reader: PatchReader
    shares: Shares
    views: tuple[View, ...] | None = None
    network: str = "The network"
    weights: tuple[float, ...] = ()


def predict_patches(
    predictor: Predictor,
    job: PatchJob,
    indices: Sequence[PatchIndex],
    region: Box,
    threads: int = 1,
    before: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Predict patches and add up their weighted predictions.

    Parameters
    ----------
    predictor
        The network.
    job
        The lattice, the reader and the shares of the patches.
    indices
        The patches, in any order.
    region
        The box of the sums, inside of the lattice's roi. It must contain every patch, clipped to that roi.
    threads
        On a CPU: number of batches that are computed at the same time, each by one thread; at most PyTorch's number of
        threads (``OMP_NUM_THREADS``).
    before
        Sums of other patches over the same region, (channels, z, y, x) int32, to which these are added: on a CPU in
        place, on a GPU in a copy.

    Returns
    -------
    ndarray, int32, (channels, z, y, x)
        Fixed-point sums over ``region`` (see :mod:`volengine.ops.blend`); they do not depend on order or threads.

    Raises
    ------
    InputError
        The network answers NaN or infinity, which would become background or noise; or, without an activation, numbers
        beyond :data:`~volengine.ops.blend.VALUE_LIMIT`, which would be cut off.
    MemoryRefusedError
        The memory of the device does not suffice for the sums, or for one patch.
    """
    from volengine.nets.threads import set_own_threads

    order = sorted(indices, key=lambda i: (job.lattice.input_box(i).shape, job.lattice.neighbours(i), i))
    with _one_thread_each(predictor.device) as most:
        sums = _sums_on(predictor, region, before)
        for shape, group in itertools.groupby(order, key=lambda i: job.lattice.input_box(i).shape):
            lane = _Lane(predictor, job, shape, sums, region)
            batches = list(_batches(group, predictor.batch(shape)))
            lanes = max(1, min(threads, most, len(batches)))
            predictor.prepare(lanes)
            if lanes <= 1:
                for batch in batches:
                    lane.run(batch)
            else:
                with ThreadPoolExecutor(lanes, "patches", set_own_threads, (1,)) as pool:
                    for _ in pool.map(lane.run, batches):
                        pass
            lane.check()
    result: NDArray[np.int32] = sums.cpu().numpy()
    return result


def _sums_on(predictor: Predictor, region: Box, before: NDArray[np.int32] | None) -> torch.Tensor:
    """The sums over a region on the device: zeros, or those of other patches; on a CPU these share their memory."""
    import torch

    shape = (predictor.channels, *region.shape)
    what = f"the sums of a block (channels, z, y, x: {shape}, {4 * math.prod(shape):,} bytes)"
    with fitting(predictor.device, what, "Give a smaller --memory-limit, which makes smaller blocks."):
        if before is None:
            return torch.zeros(shape, dtype=torch.int32, device=predictor.device)
        return torch.from_numpy(before).to(predictor.device)


@contextlib.contextmanager
def _one_thread_each(device: torch.device) -> Iterator[int]:
    """Context in which a CPU computes every convolution in one thread; yields PyTorch's number of threads (GPU: 1)."""
    from volengine.nets.threads import own_threads

    if device.type != "cpu":
        yield 1
        return
    with own_threads(1) as before:
        yield before


class _Lane:
    """Predicts batches of patches of one shape and adds the predictions to the sums; several threads may use it."""

    def __init__(self, predictor: Predictor, job: PatchJob, shape: Index3, sums: torch.Tensor, region: Box):
        self._predictor, self._job, self._shape = predictor, job, shape
        self._sums, self._region = sums, region
        self._shares = _DeviceShares(job.shares, predictor.device)
        self._weights = self._of_channels(job.weights)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._odd: list[tuple[Sequence[PatchIndex], torch.Tensor]] = []

    def _of_channels(self, weights: tuple[float, ...]) -> torch.Tensor | None:
        """The weights of the channels, (channels, 1, 1, 1), on the device."""
        import torch

        if not weights:
            return None
        return torch.tensor(weights, dtype=torch.float32, device=self._predictor.device).reshape(-1, 1, 1, 1)

    def run(self, batch: Sequence[PatchIndex]) -> None:
        """Predict one batch, or its halves if the memory of the device does not suffice."""
        left = list(batch)
        while left:
            size = self._predictor.batch(self._shape)
            if not self._fits(left[:size], size, left):
                self._local.feeder = None
                self._predictor.halve(self._shape, size)

    def _fits(self, batch: Sequence[PatchIndex], size: int, left: list[PatchIndex]) -> bool:
        """Predict a batch and remove its patches from ``left``; whether the memory of the device sufficed.

        It returns before the memory is divided anew, because an error holds what was computed until it is forgotten.
        """
        try:
            feeder = getattr(self._local, "feeder", None)
            if feeder is None or feeder.size != size:
                feeder = self._local.feeder = _Feeder(self._predictor, self._job, self._shape, size)
            self._predict(feeder, batch, left)
        except Exception as error:
            if not is_full(error):
                raise
            return False
        return True

    def _predict(self, feeder: _Feeder, batch: Sequence[PatchIndex], left: list[PatchIndex]) -> None:
        """Predict one batch, and remove each patch from ``left`` when it is added; empty patches are dropped.

        A CPU knows at once whether the network answers numbers; a GPU is not waited for before :meth:`check`.
        """
        import torch

        with self._predictor.running():
            seen = feeder.send(batch)
            odd = torch.zeros((2, len(seen)), dtype=torch.int64, device=seen.device)
            answers = self._predictor(seen, self._job.views, odd)
            with self._lock:
                self._odd.append((batch, odd))
            if seen.device.type == "cpu":
                self.check()
            for answer, index in zip(answers, batch, strict=False):
                visible = self._weigh(answer, index)
                whole = visible.to(torch.int32)
                box = self._job.lattice.box(index).intersect(self._job.lattice.roi)
                with self._lock:
                    self._sums[(slice(None), *box.slices_in(self._region))].add_(whole)
                left.remove(index)

    def check(self) -> None:
        """Raise :class:`InputError` if the network has answered what cannot be kept to a patch since the last check."""
        with self._lock:
            seen, self._odd = self._odd, []
        for batch, odd in seen:
            for index, nothing, beyond in zip(batch, *odd.tolist(), strict=False):
                if nothing or beyond:
                    raise InputError(self._refusal(index, nothing, beyond))

    def _refusal(self, index: PatchIndex, nothing: int, beyond: int) -> str:
        job, how = self._job, self._predictor.execution
        box, seen = job.lattice.box(index), job.lattice.input_box(index)
        views = len(self._predictor.views if job.views is None else job.views)
        depth, height, width = seen.shape
        values = views * self._predictor.traits.features * height * width
        values *= depth if self._predictor.traits.volumetric else 1
        where = f"of {values} values for the patch from voxel {box.start} to {box.stop} (z, y, x)"
        if not nothing:
            return (
                f"{job.network} answers numbers beyond ±{VALUE_LIMIT:g} in {beyond} {where}; answers without an "
                "activation are kept within this range, and would be cut off. Give a network whose answers are in "
                "standard deviations (volengine train does that with --target-normalisation volume), or one whose last "
                "layer divides them."
            )
        what = (
            f"with --precision {how.precision}, whose numbers are few or end early: use --precision float32"
            if how.precision in ("float16", "bfloat16")
            else "and would leave holes in the prediction: its weights are damaged, or the grey values of the tomogram "
            "are not those that it was trained on (see volengine info)"
        )
        return f"{job.network} answers NaN or infinity in {nothing} {where}, {what}."

    def _weigh(self, answer: torch.Tensor, index: PatchIndex) -> torch.Tensor:
        """Multiply a patch's prediction by its shares in place, round it, and clip it to the voxels that are wanted."""
        lattice = self._job.lattice
        box, seen = lattice.box(index), lattice.input_box(index)
        visible = box.intersect(lattice.roi)
        first_z = seen.start[0] if self._predictor.traits.volumetric else box.start[0]
        answered = Box((first_z, *seen.start[1:]), seen.stop)
        with self._lock:
            share = self._shares[self._job.shares.key(index)]
        part = answer[(slice(None), *visible.slices_in(answered))]
        if self._weights is not None:
            part.mul_(self._weights)
        return part.mul_(share[visible.slices_in(box)]).round_()


def _batches(indices: Iterable[PatchIndex], size: int) -> Iterator[tuple[PatchIndex, ...]]:
    items = iter(indices)
    while batch := tuple(itertools.islice(items, size)):
        yield batch


class _DeviceShares:
    """The most recently used shares, on the device."""

    def __init__(self, shares: Shares, device: torch.device, keep: int = 4):
        self._shares, self._device, self._keep = shares, device, keep
        self._kept: dict[Any, torch.Tensor] = {}

    def __getitem__(self, key: Any) -> torch.Tensor:
        import torch

        if key not in self._kept:
            while len(self._kept) >= self._keep:
                self._kept.pop(next(iter(self._kept)))
            cuda = self._device.type == "cuda"  # copies from pinned memory are not waited for
            share = torch.tensor(self._shares[key], pin_memory=cuda)
            self._kept[key] = share.to(self._device, non_blocking=cuda)
        return self._kept[key]


class _Feeder:
    """Fills batches with patches and sends them to the device.

    On a GPU it has two buffers, and a stream of its own for the copies: one batch is filled and sent while another is
    computed.
    """

    def __init__(self, predictor: Predictor, job: PatchJob, shape: Index3, size: int):
        import torch

        self._reader, self._lattice = job.reader, job.lattice
        self._device = predictor.device
        self._cuda = predictor.device.type == "cuda"
        self.size = size
        inner = (1, *shape) if predictor.traits.volumetric else shape
        self._buffers = [
            torch.zeros((size, *inner), dtype=torch.float32, pin_memory=self._cuda)
            for _ in range(2 if self._cuda else 1)
        ]
        self._sent: list[Any] = [None] * len(self._buffers)
        self._copying = torch.cuda.Stream(self._device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._shape = shape
        self._turn = 0

    def send(self, batch: Sequence[PatchIndex]) -> torch.Tensor:
        """The batch on the device; empty patches are zero."""
        import torch

        turn = self._turn = (self._turn + 1) % len(self._buffers)
        if self._sent[turn] is not None:
            self._sent[turn].synchronize()  # wait until the buffer has been copied
        buffer = self._buffers[turn]
        patches = buffer.numpy().reshape(len(buffer), *self._shape)
        for patch, index in zip(patches, batch, strict=False):
            self._reader.fill(self._lattice.input_box(index), patch)
        patches[len(batch) :] = 0
        if self._device.type == "cpu":
            return buffer
        if self._copying is None:
            return buffer.to(self._device)
        with torch.cuda.stream(self._copying):
            sent = buffer.to(self._device, non_blocking=True)
            self._sent[turn] = self._copying.record_event()
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(self._sent[turn])
        sent.record_stream(computing)  # its memory belongs to the other stream: it may be reused after the computation
        return sent
