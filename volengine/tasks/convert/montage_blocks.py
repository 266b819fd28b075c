"""Kernels of ``convert --montage``, and the memory that they need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.volume import Kind
from volengine.ops.overlaps import displacement, displacement_bytes, groups_of, solve_shifts, whole_shifts
from volengine.ops.stitch import BAND_BYTES, Placed, blend, ramp_widths
from volengine.tasks.common.levels import levels_of


def correlate_pair(block: Block, reach: Sequence[int]) -> Result:
    """Kernel: how the two pieces of one overlap are displaced.

    Parameters
    ----------
    reach
        Largest displacement along y and x, voxels.

    Returns
    -------
    Result
        The table has ``move`` (1, 2): the shift of the second piece minus that of the first, y, x, voxels;
        ``score`` (1,), ``sure`` (1,), and ``rival`` (1, 2): another shift that fits about as well, NaN if there
        is none.
    """
    first, second = block.arrays["first"][0], block.arrays["second"][0]
    found = displacement(first, second, (int(reach[0]), int(reach[1])))
    # What the second one shows further on by a displacement, it must be moved back by.
    move = -np.array([found.move])
    rival = np.full((1, 2), np.nan) if found.rival is None else -np.array([found.rival])
    table = {"move": move, "score": np.array([found.score]), "sure": np.array([found.sure]), "rival": rival}
    counts = {
        "overlaps correlated": 1,
        "overlaps without a clear peak": int(not found.sure and found.rival is None),
        "overlaps that fit in several ways": int(found.rival is not None),
    }
    return Result(table=table, counts=counts)


def correlate_pair_bytes(voxels: int) -> int:
    """Bytes that :func:`correlate_pair` needs for an overlap of that many voxels."""
    return displacement_bytes(voxels)


def solve_pieces(block: Block, pieces: int, pairs: Sequence[Sequence[int]], max_shift: int, where: str) -> Result:
    """Kernel: the shifts of all pieces of a section, from those of its overlaps.

    Returns
    -------
    Result
        The table has ``shift`` (pieces, 2) int64: y, x, whole voxels; ``group`` (pieces,): the number of the group of
        pieces that overlaps connect it with; of overlaps with a clear peak ``pair`` (overlaps, 2), ``kept``
        (overlaps,) and ``residual`` (overlaps,); of those that fit in several ways, which do not count,
        ``doubtful`` (overlaps, 2): the pieces, ``doubtful_move`` and ``doubtful_rival`` (overlaps, 2): two shifts.

    Raises
    ------
    InputError
        No overlap has a clear and single peak, or a piece would be moved too far.
    """
    tables = block.tables["moves"]
    sure = np.array([bool(tables[n]["sure"][0]) for n in range(len(pairs))])
    rivals = np.concatenate([tables[n]["rival"] for n in range(len(pairs))])
    doubtful = np.flatnonzero(np.isfinite(rivals).all(axis=1))
    if not sure.any() and len(doubtful):
        n = int(doubtful[0])
        one, other = (tuple(np.rint(v).astype(int).tolist()) for v in (tables[n]["move"][0], rivals[n]))
        raise InputError(
            f"{where}: none of {len(pairs)} overlaps says where its pieces lie, and {len(doubtful)} fit in several "
            f"ways, because what they show repeats: pieces {pairs[n][0]} and {pairs[n][1]} by {one} as well as by "
            f"{other} voxels (y, x). Take --montage-shifts none or mdoc; or, if no piece is displaced by as much as "
            f"a quarter of that period, a --montage-max-shift of less than that (now {max_shift})."
        )
    if not sure.any():
        raise InputError(
            f"{where}: in none of {len(pairs)} overlaps do the pieces correlate, so they cannot be aligned. Take "
            "--montage-shifts none or mdoc; or, if pieces may be displaced by more than "
            f"{max_shift} voxels, a larger --montage-max-shift."
        )
    used = np.asarray(pairs, np.int64)[sure]
    moves = np.concatenate([tables[n]["move"] for n in np.flatnonzero(sure).tolist()])
    scores = np.concatenate([tables[n]["score"] for n in np.flatnonzero(sure).tolist()])
    found = solve_shifts(pieces, used, moves, np.maximum(scores, 0.0))
    group = groups_of(pieces, used[found.kept])
    shifts = whole_shifts(found.shifts, group)
    worst = int(np.abs(shifts).max(axis=1).argmax())
    if np.abs(shifts[worst]).max() > max_shift:
        raise InputError(
            f"{where}: piece {worst} of the section would be moved by {tuple(shifts[worst].tolist())} voxels (y, x), "
            f"and at most {max_shift} are allowed. If that may be, give a larger --montage-max-shift."
        )
    table = {
        "shift": shifts,
        "group": group,
        "pair": used,
        "kept": found.kept,
        "residual": found.residuals,
        "doubtful": np.asarray(pairs, np.int64)[doubtful],
        "doubtful_move": np.concatenate([tables[n]["move"] for n in range(len(pairs))])[doubtful],
        "doubtful_rival": rivals[doubtful],
    }
    return Result(table=table, counts={"overlaps left out": int((~found.kept).sum())})


def solve_pieces_bytes(pieces: int, pairs: int) -> int:
    """Bytes that :func:`solve_pieces` needs: some square matrices, and the tables."""
    return 2**20 + 40 * pieces**2 + 4000 * pairs


def place_pieces(
    block: Block,
    factors: list[list[int]],
    kind: Kind,
    corners: Sequence[Sequence[int]],
    pieces: Sequence[Sequence[int]],
    fill: float,
    dtype: str,
) -> Result:
    """Kernel: blend the pieces in a block and compute its coarser levels.

    Parameters
    ----------
    factors, kind
        As for :func:`volengine.tasks.convert.blocks.copy_block`.
    corners
        For each piece the first voxel of the mosaic, in voxels of the volume that is read.
    pieces
        For each piece the box of the mosaic that it covers: start and stop, z, y, x.
    fill
        Value of voxels that no piece covers.
    dtype
        Type of the result.

    Returns
    -------
    Result
        Arrays ``@0``, ``@1`` ... (z, y, x).
    """
    boxes = np.asarray(pieces, np.int64).reshape(-1, 2, 3)
    if "shifts" in block.tables:
        boxes = boxes.copy()
        boxes[:, :, 1:] += block.tables["shifts"][0]["shift"][:, None, :]
    placed = []
    for n, corner in enumerate(corners):
        name = f"piece{n}"
        if block.boxes[name].empty:
            continue
        start, stop = boxes[n].tolist()
        moved = index3(now - then for now, then in zip(start, pieces[n][:3], strict=True))
        part = block.boxes[name].shift([m - c for m, c in zip(moved, corner, strict=True)])
        whole = Box(index3(start), index3(stop))
        if not part.intersect(whole).intersect(block.box).empty:
            placed.append(Placed(block.arrays[name], part, whole, ramp_widths(boxes, n)))
    voxels, empty = blend(block.box, placed, fill, dtype)
    return Result(
        levels_of(voxels, factors, kind), counts={"voxels converted": voxels.size, "voxels in no piece": empty}
    )


def place_pieces_bytes(voxels: int, itemsize: int, pieces: int) -> int:
    """Bytes that :func:`place_pieces` needs: sums of a band, the float64 sums of the first mean, boxes."""
    return BAND_BYTES + (8 + itemsize) * voxels + 1000 * pieces
