"""Kernels of ``filter``, and the memory that they need.

The transforms work on slabs of whole slices and on whole columns (:mod:`volengine.ops.filters.transforms`), all else on
blocks with a halo. A kernel unpacks a block and calls functions of ``volengine.ops.filters``, which hold the methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result
from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.ops.filters import local, order, rescale, short, spectra, transforms
from volengine.ops.filters.gains import gain_of
from volengine.ops.filters.moments import cell_moments, mean_and_std
from volengine.ops.normalise import CELL, CONSTANT
from volengine.ops.sums import sum_of_squares
from volengine.tasks.common.levels import levels_of
from volengine.tasks.filter.description import STATISTICS_SLICES, Stored, grid_from_json, shells_from_json

# -- transforms --------------------------------------------------------------------------------------------


def forward_block(block: Block, grid: Mapping[str, Any]) -> Result:
    """Kernel: transform whole slices along y and x.

    Returns
    -------
    Result
        The array ``spectrum``, float32 (z, frequencies y, 2 x frequencies x); the table has the sum of the squares of
        each slice, ``squares``.

    Raises
    ------
    InputError
        A voxel is not finite.
    """
    image = finite(block, "image")
    squares = [sum_of_squares(plane.astype(np.float64)) for plane in image]
    spectrum = transforms.forward_slices(image, grid_from_json(grid))
    return Result({"spectrum": spectrum}, {"squares": np.array(squares)})


def forward_block_bytes(plane: int, voxels: int) -> int:
    """Bytes that :func:`forward_block` needs for slices of ``plane`` voxels: the transform of one, and its copies.

    ``voxels`` of the whole slab are looked at once for values that are not finite.
    """
    return 36 * plane + voxels


def mean_square(block: Block, voxels: int, transformed: int) -> Result:
    """Reduce kernel: the quantum of a spectrum's amplitudes, from the squares of all slices; the table has ``unit``.

    Parameters
    ----------
    voxels, transformed
        Number of voxels of the volume, and of those that are transformed.
    """
    squares = math.fsum(value for table in block.tables["slices"].values() for value in table["squares"].tolist())
    return Result(table={"unit": np.array([spectra.quantum(squares / voxels) * math.sqrt(transformed)])})


def mean_square_bytes(slices: int) -> int:
    """Bytes that :func:`mean_square` needs for the tables of so many slices."""
    return 2000 * slices


def spectrum_block(
    block: Block, grid: Mapping[str, Any], shells: Mapping[str, Any], gains: Sequence[Mapping[str, Any]]
) -> Result:
    """Kernel: the sums of amplitudes of some columns in shells; the table has ``sums`` and ``counts``.

    Parameters
    ----------
    grid, shells
        The grids, and the shells, as JSON.
    gains
        The gains of the steps before, by which the amplitudes are multiplied.
    """
    whole = grid_from_json(grid)
    bins = shells_from_json(shells, whole)
    unit = float(block.tables["quantum"][0]["unit"][0])
    sums, counts = (np.zeros((bins.count, bins.sectors), np.int64) for _ in range(2))
    _, y0, x0 = block.box.start
    tables = tables_of(block, gains)
    for (row, a, b), wave in transforms.transformed_columns(block.arrays["spectrum"], whole, y0, x0 // 2):
        columns = whole.columns(y0 + row, y0 + row + 1, x0 // 2 + a, x0 // 2 + b)
        if gains:
            wave *= gain_of(columns, gains, tables)
        bins.add(sums, counts, columns, wave, unit)
    return Result(table={"sums": sums, "counts": counts})


def spectrum_block_bytes(length: int, row: int) -> int:
    """Bytes that :func:`spectrum_block` needs for columns of ``length`` voxels, ``row`` of them in a row."""
    return 160 * length * min(row, transforms.columns_at_once(length)) + 2**20


def spectrum_whole(block: Block, grid: Mapping[str, Any], shells: Mapping[str, Any]) -> Result:
    """Reduce kernel: the amplitude spectrum, from the sums of all columns; see :func:`spectra.finished`."""
    whole = grid_from_json(grid)
    unit = float(block.tables["quantum"][0]["unit"][0])
    tables = list(block.tables["sums"].values())
    sums, counts = (sum(table[key] for table in tables) for key in ("sums", "counts"))
    per_root = unit * whole.scale / math.sqrt(math.prod(whole.out_shape))
    return Result(table=spectra.finished(sums, counts, shells_from_json(shells, whole), per_root))


def spectrum_whole_bytes(blocks: int, rows: int) -> int:
    """Bytes that :func:`spectrum_whole` needs for the tables of so many blocks, each with ``rows`` sums."""
    return (2000 + 20 * rows) * blocks


def filter_block(block: Block, grid: Mapping[str, Any], gains: Sequence[Mapping[str, Any]]) -> Result:
    """Kernel: transform columns along z, multiply them by gains, transform them back; the array ``filtered``."""
    _, y0, x0 = block.box.start
    tables = tables_of(block, gains)
    whole = grid_from_json(grid)
    found = transforms.filter_columns(
        block.arrays["spectrum"],
        whole,
        y0,
        x0 // 2,
        (lambda columns: gain_of(columns, gains, tables)) if gains else None,
    )
    return Result({"filtered": found})


def filter_block_bytes(length: int, row: int) -> int:
    """Bytes that :func:`filter_block` needs for columns of ``length`` voxels, ``row`` of them in a row."""
    return spectrum_block_bytes(length, row)


def inverse_block(block: Block, grid: Mapping[str, Any]) -> Result:
    """Kernel: transform whole slices back along y and x; the array ``image``, float32."""
    return Result({"image": transforms.inverse_slices(block.arrays["filtered"], grid_from_json(grid))})


def inverse_block_bytes(plane: int) -> int:
    """Bytes that :func:`inverse_block` needs for slices of ``plane`` voxels: the transform of one, and its copies."""
    return 28 * plane


def tables_of(block: Block, gains: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, NDArray[Any]]]:
    """The spectra that gains read, by name."""
    return {gain["table"]: block.tables[gain["table"]][0] for gain in gains if gain["kind"] == "match"}


def short_block(
    block: Block, gains: Sequence[Mapping[str, Any]], voxel_size: Sequence[float], reach: Index3, core: Index3
) -> Result:
    """Kernel: filters of frequencies whose kernel is short, on one block (:func:`short.filter_short`); ``image``."""
    image = finite(block, "image")
    return Result({"image": short.filter_short(image, gains, voxel_size, index3(reach), index3(core))})


def short_block_bytes(core: Index3, reach: Index3) -> int:
    """Bytes that :func:`short_block` needs; those that it keeps are :func:`short.transfer_bytes`."""
    return short.block_bytes(core, reach)


# -- statistics --------------------------------------------------------------------------------------------


def moments_block(block: Block) -> Result:
    """Kernel: moments of the cells of each slice (:func:`volengine.ops.filters.moments.cell_moments`), as ``cells``.

    With an input ``mask`` only voxels count where it is not 0.
    """
    return Result(table={"cells": cell_moments(finite(block, "image"), mask_of(block))})


def moments_block_bytes() -> int:
    """Bytes that :func:`moments_block` needs for a block of :data:`STATISTICS_SLICES` slices of one cell."""
    return (24 + 6 * STATISTICS_SLICES) * CELL * CELL


def moments_whole(block: Block) -> Result:
    """Reduce kernel: mean and standard deviation of the volume; the table has ``shift`` and ``scale``.

    Raises
    ------
    InputError
        All voxels are equal, or the mask is empty.
    """
    mean, std = mean_and_std(table["cells"] for table in block.tables["parts"].values())
    return Result(table=scale_table(mean, std, "its standard deviation is 0"))


def moments_whole_bytes(slices: int, cells: int) -> int:
    """Bytes that :func:`moments_whole` needs for ``slices`` of ``cells`` each."""
    return 4 * 24 * slices * cells


def upper_block(block: Block) -> Result:
    """Kernel: counts of the upper halves of the voxels' keys (:mod:`volengine.ops.filters.order`)."""
    return Result(table=order.upper_counts(counted(block)))


def upper_block_bytes(voxels: int) -> int:
    """Bytes that :func:`upper_block` needs for a block of ``voxels``."""
    return 34 * voxels + 2**20


def places_whole(block: Block, wanted: Sequence[float]) -> Result:
    """Reduce kernel: in which bins the percentiles ``wanted`` lie; the table also has the number of ``voxels``.

    Raises
    ------
    InputError
        No voxel counts.
    """
    tables = list(block.tables["parts"].values())
    voxels = sum(int(table["count"].sum()) for table in tables)
    if not voxels:
        raise InputError("The mask of the normalisation holds no voxel: it is 0 everywhere.")
    found = order.places_of(order.ranks_of(voxels, wanted), tables)
    return Result(table={**found, "voxels": np.array([voxels])})


def places_whole_bytes(blocks: int) -> int:
    """Bytes that :func:`places_whole` needs for the tables of so many blocks: at most 65,536 bins each."""
    return 2**21 + 2**20 * blocks


def lower_block(block: Block) -> Result:
    """Kernel: counts of the lower halves of the keys in the bins that were found."""
    return Result(table=order.lower_counts(counted(block), block.tables["places"][0]["bin"]))


def lower_block_bytes(voxels: int) -> int:
    """Bytes that :func:`lower_block` needs for a block of ``voxels``."""
    return upper_block_bytes(voxels)


def percentiles_whole(block: Block, wanted: Sequence[float]) -> Result:
    """Reduce kernel: two percentiles; the table has ``shift`` and ``scale``, which make 0 and 1 of them.

    Raises
    ------
    InputError
        Both are equal.
    """
    places = block.tables["places"][0]
    low, high = order.percentiles(wanted, int(places["voxels"][0]), places, list(block.tables["parts"].values()))
    return Result(table=scale_table(low, high - low, f"both percentiles, {wanted[0]:g} and {wanted[1]:g}, are equal"))


def percentiles_whole_bytes(blocks: int) -> int:
    """Bytes that :func:`percentiles_whole` needs for the tables of so many blocks: up to 65,536 values in 4 bins."""
    return 2**22 + 6 * 2**20 * blocks


def mask_of(block: Block) -> NDArray[np.bool_] | None:
    """Which voxels of a block count; ``None``: all."""
    return block.arrays["mask"] != 0 if "mask" in block.arrays else None


def counted(block: Block) -> NDArray[np.float32]:
    """The values of a block that count, as float32."""
    values, mask = finite(block, "image").astype(np.float32, copy=False), mask_of(block)
    return values if mask is None else values[mask]


def scale_table(shift: float, scale: float, why_not: str) -> dict[str, NDArray[np.float64]]:
    """The table of a normalisation; refuses a scale by which nothing can be divided."""
    if not scale > CONSTANT["f"] * abs(shift):
        raise InputError(f"The volume cannot be normalised: {why_not} (at {shift:g}); is it empty?")
    return {"shift": np.array([shift]), "scale": np.array([scale])}


# -- neighbourhoods, and what is stored --------------------------------------------------------------------


def local_block(block: Block, steps: Sequence[Mapping[str, Any]], store: Mapping[str, Any] | None = None) -> Result:
    """Kernel: apply filters of single voxels and of their neighbourhoods, and encode the result.

    Parameters
    ----------
    steps
        In order, with a ``kind``: ``invert``; ``scale`` with the name of its ``table``, and ``clip``; or a filter of
        :mod:`volengine.ops.filters.local` with its ``values``. The halo is the sum of what they look at.
    store
        :class:`Stored` as JSON; ``None``: the array ``image``, float32.

    Returns
    -------
    Result
        The array ``image``, or the levels ``@0``, ``@1`` ...; of integers the count of voxels beyond the
        type.
    """
    values = finite(block, "image").astype(np.float32)
    for step in steps:
        kind = step["kind"]
        if kind == "invert":
            np.negative(values, out=values)
        elif kind == "scale":
            table = block.tables[step["table"]][0]
            values -= np.float32(table["shift"][0])
            values /= np.float32(table["scale"][0])
            if step["clip"]:
                np.clip(values, 0, 1, out=values)
        else:
            values = local.apply(kind, values, step["values"])
    if store is None:
        return Result({"image": values})
    how = Stored.from_json(store)
    counts: dict[str, int] = {}
    if how.dtype != "float32":
        values, counts["voxels beyond the type"] = quantised(values, how)
    elif not np.isfinite(values).all():
        raise InputError(f"The block at {block.box.start} has values that float32 cannot hold; normalise before.")
    return Result(levels_of(values, how.factors, "intensity"), counts=counts)


def local_block_bytes(read: int, inside: int, copies: int, stored: bool) -> int:
    """Bytes that :func:`local_block` needs.

    Parameters
    ----------
    read, inside
        Voxels of a block with its halo, and without.
    copies
        Copies of the input that its filters hold, see :func:`volengine.ops.filters.local.working_copies`.
    stored
        Whether levels are made.
    """
    return 4 * read * copies + read + (12 * inside if stored else 0)


def range_block(block: Block, dtype: str, scale: float) -> Result:
    """Kernel: how many voxels times the scale are beyond the type, and how many there are: ``beyond``, (2,)."""
    _, beyond = quantised(finite(block, "image").astype(np.float32, copy=False), Stored(dtype, scale, ()))  # type: ignore[arg-type]
    return Result(table={"beyond": np.array([beyond, block.box.size])})


def range_block_bytes(voxels: int) -> int:
    """Bytes that :func:`range_block` needs for a block of ``voxels``."""
    return 30 * voxels


def range_whole(block: Block, dtype: str, scale: float, most: float) -> Result:
    """Reduce kernel: refuse a scale with which more than the share ``most`` of the voxels is beyond the type.

    Returns
    -------
    Result
        The table has ``beyond`` of all blocks.

    Raises
    ------
    InputError
        More voxels are beyond it; nothing is stored then.
    """
    counts = np.array([table["beyond"] for table in block.tables["parts"].values()])
    beyond, voxels = counts.sum(axis=0).tolist()
    if beyond > most * voxels:
        raise InputError(
            f"{beyond} of {voxels} voxels ({beyond / voxels:.2%}) times the scale {scale:g} are beyond {dtype}, and "
            "the result would be cut off. Give a smaller --scale (after normalise std, 20 for int8 and 4000 for int16 "
            "hold six standard deviations and more), or --dtype int16 or float32."
        )
    return Result(table={"beyond": np.array([beyond, voxels])})


def range_whole_bytes(blocks: int) -> int:
    """Bytes that :func:`range_whole` needs for the tables of so many blocks."""
    return 2000 * blocks


def quantised(values: NDArray[np.float32], how: Stored) -> tuple[NDArray[Any], int]:
    """Multiply by the scale, round halves to even, cut off at the type's ends; and count what was beyond these."""
    ends = np.iinfo(how.dtype)
    scaled = np.rint(values.astype(np.float64) * (how.scale or 1.0))
    beyond = int(np.count_nonzero((scaled < ends.min) | (scaled > ends.max)))
    return np.clip(scaled, ends.min, ends.max).astype(how.dtype), beyond


def rescale_block(block: Block, shape: Index3, how: rescale.Method) -> Result:
    """Kernel: the voxels of a block of another grid as means of neighbours; the array ``image``, float32."""
    image, whole = finite(block, "image"), index3(shape)
    found = rescale.rescale_block(image, block.boxes["image"], whole, block.box, block.shape, how)
    return Result({"image": found})


def rescale_block_bytes(core: Index3, shape: Index3, out_shape: Index3) -> int:
    """Bytes that :func:`rescale_block` needs for a block ``core`` of the grid ``out_shape``."""
    return 2 * rescale.rescale_bytes(core, shape, out_shape)


def finite(block: Block, name: str) -> NDArray[Any]:
    """An input array; refuses NaN and infinity, which a filter would spread.

    Raises
    ------
    InputError
        A voxel is not finite; the message says where.
    """
    array = block.arrays[name]
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            good = np.isfinite(array if array.dtype.itemsize <= 4 else array.astype(np.float32))
        if not good.all():
            place = np.argwhere(~good)[0] + block.boxes[name].start
            raise InputError(
                f"Voxel {tuple(place.tolist())} (z, y, x) is not finite (NaN or infinity, or beyond float32), and a "
                "filter would spread it; replace such voxels first."
            )
    return array
