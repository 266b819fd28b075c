"""Kernels of ``segment``, and the memory that they need.

They compute slice statistics, predict the patches of a block, and blend patches across blocks. A kernel unpacks a
block and calls functions of ``volengine.nets`` and ``volengine.ops``, which hold the methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.ops import blend
from volengine.ops.normalise import (
    CELL,
    Normalisation,
    check_mad,
    combine,
    mad_sample,
    mad_statistics,
    slice_moments,
    slice_scale,
)
from volengine.ops.patches import PatchReader
from volengine.tasks.segment.description import STATISTICS_SLICES, Encoding, Net, Team, above_half, crosses, teams
from volengine.tasks.segment.images import check_finite, image_of

SLAB_VOXELS = 2**24

TORCH_BYTES = 350_000_000
"""Memory that importing torch and a first convolution add to a worker process, as measured."""

SHARES_BYTES = 100_000_000
"""Memory for the blend shares that are kept, and for one that is being computed."""


def slice_cells(block: Block, sampled: bool = False, unsigned: bool = False) -> Result:
    """Kernel: moments of the cells of each slice (:func:`volengine.ops.normalise.slice_moments`).

    With ``unsigned``, signed bytes are taken for unsigned ones.

    Returns
    -------
    Result
        The table has ``cells``; with ``sampled`` also ``sample``, the voxels from which ``global_mad`` is computed.
    """
    image = image_of(block, unsigned)
    table: Table = {"cells": slice_moments(image)}
    if sampled:
        table["sample"] = mad_sample(image, block.box, block.shape)
    return Result(table=table)


def slice_cells_bytes(sampled: bool) -> int:
    """Bytes that :func:`slice_cells` needs for a block of :data:`STATISTICS_SLICES` slices of one cell."""
    cell = CELL * CELL
    return 3 * 8 * cell + (4 * STATISTICS_SLICES * cell if sampled else 0)


def slice_statistics(block: Block, grid: Index3) -> Result:
    """Reduce kernel: mean and standard deviation of each slice and of the volume, from the cells of all blocks.

    Parameters
    ----------
    grid
        Number of blocks along z, y, x.

    Returns
    -------
    Result
        The table has ``mean`` and ``std`` (one per slice), ``volume`` (mean, standard deviation), and, if voxels were
        sampled, ``mad`` (centre, scale).
    """
    tables = block.tables["cells"]
    nz, ny, nx = grid
    rows = []
    for z in range(nz):
        row = range(z * ny * nx, (z + 1) * ny * nx)
        rows.append(np.concatenate([tables[n]["cells"] for n in row], axis=1))
    moments = combine([np.concatenate(rows)])
    mean, std = moments.per_slice()
    found = {"mean": mean, "std": std, "volume": np.array(moments.volume())}
    if "sample" in tables[0]:
        found["mad"] = np.array(mad_statistics(tables[n]["sample"] for n in sorted(tables)))
    return Result(table=found)


def slice_statistics_bytes(slices: int, cells: int, sample: int) -> int:
    """Bytes that :func:`slice_statistics` needs for ``slices`` of ``cells`` each, and ``sample`` sampled voxels."""
    return 4 * 24 * slices * cells + 12 * sample


def predict(
    block: Block,
    nets: list[dict[str, Any]],
    core: Index3,
    direct: bool,
    encoding: dict[str, Any],
    threads: int = 1,
    counted: Sequence[str] = (),
    unsigned: bool = False,
) -> Result:
    """Kernel: predict the patches that this block owns.

    Parameters
    ----------
    nets
        The networks: :class:`Net` as JSON.
    core
        Shape of a block's core that is not cut by the volume's end, voxels z, y, x.
    direct
        No patch crosses a block, so the kernel returns the predictions. Otherwise it returns fixed-point sums.
    encoding
        How predictions are stored: :class:`Encoding` as JSON.
    threads
        Batches that are predicted at the same time on a CPU; results do not depend on it.
    counted
        Features of which the voxels above a probability of 0.5 are counted, if the predictions are returned.
    unsigned
        Take signed bytes of the image for unsigned ones.

    Returns
    -------
    Result
        With ``direct`` the stored values ``product@level``; otherwise integer sums of the core (``feature/core``) and
        of the parts of patches beyond it (``feature/z``, ``feature/zy`` ...). The counts of patches and voxels.

    Raises
    ------
    InputError
        The image, or what a network answers, holds NaN or infinity.
    """
    check_finite(block, "image")
    if unsigned:
        block = replace(block, arrays={**block.arrays, "image": image_of(block, unsigned)})
    arrays: dict[str, Any] = {}
    patches = 0
    stored = Encoding.from_json(encoding)
    for team in teams(map(Net.from_json, nets)):
        over = team.overhang(core)
        if direct:
            values, count = _values(block, team, stored, threads, len(nets))
            arrays |= stored.levels(values)
        else:
            region = block.box.grow((0, 0, 0), over).intersect(team.roi)
            sums, count = _sums(block, team, block.box, region, threads, len(nets))
            for name in team.sums:
                pieces = blend.split(sums[name], block.box.shape, over, core)
                arrays |= {f"{name}/{direction}": piece for direction, piece in pieces.items()}
        patches += count
    return Result(arrays, counts={"patches": patches, **(above_half(arrays, counted) if direct else {})})


def predict_bytes(nets: Sequence[Net], core: Index3, shape: Index3, batch: int, threads: int) -> tuple[int, int, int]:
    """Bytes that :func:`predict` needs.

    Parameters
    ----------
    nets
        The networks.
    core, shape
        Shape of a block's core and of the volume, voxels z, y, x.
    batch
        Patches in a batch; 0: as chosen on a CPU.
    threads
        Batches that may be computed at the same time.

    Returns
    -------
    tuple of int
        Bytes that stay allocated in the process, bytes of a block's sums, bytes of one forward pass in one thread.
    """
    from volengine.nets.backends import LIBRARY_BYTES

    fixed, sums, forward = TORCH_BYTES, 0, 0
    libraries = set[str]()
    direct = not crosses(nets, core)
    for net in nets:
        backend = net.backend.partition(" ")[0]
        given = _input_shape(net, batch or (1 if backend else 0))
        weights, peak = _network_bytes(net.path, net.digest, net.network, given, backend)
        fixed += weights
        libraries.add(backend)
        answers = (len(net.channels) + 3) if len(net.channels) > 1 else 4
        forward = max(forward, peak + 4 * answers * math.prod(given))
    fixed += sum(LIBRARY_BYTES.get(name, 0) for name in libraries)
    for team in teams(nets):
        region = Box.of_shape([min(c + o, n) for c, o, n in zip(core, team.overhang(core), shape, strict=True)])
        if direct:
            region = Box(region.start, (slab_slices(team, region, threads), *region.stop[1:]))
        sums += _sums_bytes(team, region.size)
    block = math.prod(min(c, n) for c, n in zip(core, shape, strict=True))
    return fixed, sums + SHARES_BYTES + 8 * block, forward


def _sums_bytes(team: Team, voxels: int) -> int:
    """Bytes of the sums of a team over a region: of the first network of each feature, and of another one at a time."""
    kept, most, seen = 0, 0, set[str]()
    for net in team.nets:
        copies = 1 if len(net.passes) == 1 else 2  # a GPU is given the sums of the pass before, and returns new ones
        groups = len(net.channels) // max(len(net.kept), 1)
        own = {name for _, name in net.channels}
        size = 4 * copies * groups * len(net.features) * voxels
        if own <= seen:
            most = max(most, size)
        else:
            kept += size
        seen |= own
    return kept + most


@lru_cache(maxsize=64)
def _network_bytes(path: str, digest: str, own: str | None, shape: tuple[int, ...], backend: str) -> tuple[int, int]:
    """Bytes that a loaded model keeps, and peak bytes of a forward pass for this input shape; nothing is computed.

    Raises
    ------
    InputError
        The backend cannot compute the model.
    """
    import torch

    from volengine.nets.checkpoint import load_facts
    from volengine.nets.footprint import forward_bytes
    from volengine.nets.registry import build

    facts = load_facts(path)
    with torch.device("meta"):
        module = build(facts.network, facts.arguments, own=own)
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    if backend:
        from volengine.nets.backends import planned_bytes

        return planned_bytes(module, facts, shape, backend, path)
    return 2 * weights, forward_bytes(module, shape)  # a second copy in the memory order of the convolutions


def _input_shape(net: Net, batch: int) -> tuple[int, ...]:
    """Shape of the largest input of the network (batch 0: as chosen on a CPU)."""
    from volengine.nets.predictor import auto_batch

    sides = [a.patch + a.low + a.high + 2 * (a.align - 1) for a in net.lattice.axes]
    sides = [
        min(s // a.align, -(-a.n // a.align)) * a.align if a.bounded else s
        for s, a in zip(sides, net.lattice.axes, strict=True)
    ]
    flat = net.lattice.z.patch == 1
    batch = batch or auto_batch(sides, not flat)
    return (batch, *sides) if flat else (batch, 1, *sides)


def slab_slices(team: Team, box: Box, threads: int) -> int:
    """Number of slices that are summed and rounded at a time: all for 3D patches, fewer for 2D ones to save memory."""
    z, y, x = box.shape
    deep = any(net.lattice.z.patch > 1 for net in team.nets)
    return z if deep else min(z, max(SLAB_VOXELS // (y * x), 2 * threads))


def _values(block: Block, team: Team, stored: Encoding, threads: int, together: int) -> tuple[dict[str, Any], int]:
    """The predictions of a block that no patch crosses, by feature, and the number of patches."""
    values: dict[str, Any] = {}
    step = slab_slices(team, block.box, threads)
    patches = 0
    for first in range(block.box.start[0], block.box.stop[0], step):
        slab = Box((first, *block.box.start[1:]), (min(first + step, block.box.stop[0]), *block.box.stop[1:]))
        sums, count = _sums(block, team, slab, slab, threads, together)
        for feature in team.features:
            for name, part in stored.values(sums, team, feature).items():
                if slab == block.box:  # no copy of the whole
                    values[name] = part
                    continue
                whole = values.setdefault(name, np.empty(block.box.shape, stored.dtype))
                whole[slab.slices_in(block.box)] = part
        patches += count
    return values, patches


def _sums(
    block: Block, team: Team, core: Box, region: Box, threads: int, together: int
) -> tuple[dict[str, NDArray[np.int32]], int]:
    """Fixed-point sums (int32) over a region, by their names, from the patches that a core owns; and their number.

    The sums of a team's networks are integers, so their order does not count. ``together`` is the number of networks
    of the stage: the process keeps all of them for the next unit, as :func:`predict_bytes` plans.
    """
    found: dict[str, NDArray[np.int32]] = {}
    patches = 0
    for net in team.nets:
        total, count = _net_sums(block, net, core, region, threads, together)
        for channel, name in net.channels:
            if name in found:
                found[name] += total[channel]
            else:
                found[name] = total[channel]
        patches += count
    return found, patches


def _net_sums(
    block: Block, net: Net, core: Box, region: Box, threads: int, together: int
) -> tuple[NDArray[np.int32], int]:
    """Fixed-point sums of all channels of one network, and the number of its patches."""
    from volengine.nets.predictor import Execution, load_predictor
    from volengine.nets.tiles import PatchJob, predict_patches

    predictor = load_predictor(net.path, net.digest, Execution(**net.execution), net.network, together)
    mean, std = _mean_and_std(block, net.normalisation, net.epsilon)
    reader = PatchReader(
        block.arrays["image"],
        block.boxes["image"],
        block.shape,
        net.edges,
        net.normalisation,
        mean,
        std,
        net.inverted,
        net.epsilon,
    )
    total: NDArray[np.int32] | None = None
    patches = 0
    for each in net.passes:
        owned = list(each.lattice.owned(core))
        patches += len(owned)
        shares = blend.Shares(each.lattice, net.window, net.scale * each.share)
        job = PatchJob(each.lattice, reader, shares, each.views, net.path, net.weights)
        total = predict_patches(predictor, job, owned, region, threads, total)
    if total is None:
        raise InputError("The network has no pass over the volume.")
    return total, patches


def _mean_and_std(
    block: Block, normalisation: Normalisation, epsilon: float
) -> tuple[NDArray[np.float64] | float, NDArray[np.float64] | float]:
    if normalisation not in ("volume", "per_slice", "global_mad"):
        return 0.0, 1.0
    if normalisation == "global_mad":
        own = "native" if "native" in block.tables else "statistics"
        centre, scale = block.tables[own][0]["mad"].tolist()
        if not epsilon:
            check_mad(centre, scale, "The volume")
        return centre, scale
    table = block.tables["statistics"][0]
    if normalisation == "volume":
        mean, std = table["volume"].tolist()
        return mean, std
    means, stds = table["mean"].astype(np.float64), table["std"].astype(np.float64)
    return means, stds if epsilon else slice_scale(stds, float(table["volume"][1]))


def blend_block(
    block: Block, nets: list[dict[str, Any]], encoding: dict[str, Any], counted: Sequence[str] = ()
) -> Result:
    """Kernel: add the sums of a block and the pieces of its lower neighbours' patches, and encode the predictions.

    Parameters
    ----------
    nets, encoding, counted
        As in :func:`predict`.

    Returns
    -------
    Result
        Stored values ``product@level``, (z, y, x).
    """
    stored = Encoding.from_json(encoding)
    arrays: dict[str, Any] = {}
    for team in teams(map(Net.from_json, nets)):
        for feature in team.features:
            own = (feature, f"{feature}~mean", f"{feature}~square")
            sums = {name: _joined(block, name) for name in team.sums if name in own}
            arrays |= stored.levels(stored.values(sums, team, feature))
    return Result(arrays, counts=above_half(arrays, counted))


def _joined(block: Block, name: str) -> NDArray[np.int32]:
    """The sums of this name: those of the block plus the pieces that reach in from its lower neighbours."""
    own = f"{name}/core"
    pieces = {
        key: array.astype(np.int32, copy=False)
        for key, array in block.arrays.items()
        if key.rpartition("/")[0] == name and key != own  # a feature's name may hold "/", a direction does not
    }
    return blend.join(block.arrays[own].astype(np.int32), pieces)  # a copy, because join adds in place


def blend_block_bytes(inside: int) -> int:
    """Bytes that :func:`blend_block` needs for a block of ``inside`` voxels."""
    return (4 + 8) * inside
