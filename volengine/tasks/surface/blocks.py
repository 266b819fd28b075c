"""Kernels of ``surface`` that work on blocks of voxels, and the memory that they need.

``objects`` finds the objects of each block, ``seams`` joins those of neighbours, ``join`` those of cells; ``number``
chooses and numbers them, ``pieces`` makes the triangles of each block. What becomes of them is in
:mod:`volengine.tasks.surface.mesh_blocks`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import replacing
from volengine.core.block import Array, Block, Result, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.ops.basin_graph import RegionRules
from volengine.ops.cells import NODE_BYTES, PASS_BYTES, followed, join, leaf, size_of
from volengine.ops.inside import inside_only
from volengine.ops.stats_labels import ClassRules, by_id, class_basins, count_ids, join_classes, merge_ids, whole_ids
from volengine.ops.stored import as_prediction, checked_span, mask_in
from volengine.ops.surfaces.components import regions_of
from volengine.ops.surfaces.marching import no_pieces, pieces_of
from volengine.tasks.common.cell_tables import blocks_inside, check_affords, covered, of_prefix, with_prefix
from volengine.tasks.surface.description import ROW, VOXELS_PER_OBJECT, Objects, levels_in

IDS, SPAN, REGION, NODE = "ids", "span", "region.", "node."
_RULES = ClassRules(ids=(1,))


def _read(block: Block, objects: Objects) -> tuple[Array, Array | None, tuple[float, float]]:
    """The mask or the numbers of objects of a block with its halo; the prediction; its smallest and largest value."""
    values, crop = block.arrays["values"], block.boxes["values"]
    if objects.seen == "prediction":
        prediction = as_prediction(values, mask=mask_in(block.tables), scale=objects.scale)
        inside = prediction[block.box.slices_in(crop)]
        span = checked_span(inside, block.box, objects.where, objects.scale)
        level = objects.level if prediction.dtype.kind == "f" else math.floor(round(objects.level * 255, 9))
        return (prediction > level).view(np.uint8), prediction, span
    numbers = whole_ids(values, objects.where)
    if objects.seen == "instances":
        return numbers, None, (0.0, 0.0)
    mask = np.isin(numbers, objects.ids) if objects.ids else numbers != 0
    return mask.view(np.uint8), None, (0.0, 0.0)


def objects_block(block: Block, objects: dict[str, Any]) -> Result:
    """Kernel: find the components of a block, or count the voxels of its numbered objects.

    Parameters
    ----------
    objects
        :class:`~volengine.tasks.surface.description.Objects` as JSON.

    Returns
    -------
    Result
        A table of :func:`~volengine.ops.stats_labels.class_basins`, or of ``count_ids``; with it ``ids``, the numbers
        that were taken for one class, and the ``span`` of a prediction.

    Raises
    ------
    InputError
        A value is no probability or no label.
    """
    how = Objects.from_json(objects)
    seen, _, span = _read(block, how)
    core = seen[block.box.slices_in(block.boxes["values"])]
    if how.seen == "instances":
        return Result(table=count_ids(core, block.box))
    table = class_basins(core, block.box, block.box, block.shape, _RULES)
    ids = np.zeros(0, np.int64)
    if how.seen == "labels" and not how.ids:
        ids = np.setdiff1d(whole_ids(block.core_of("values"), how.where), [0]).astype(np.int64)[:3]
    return Result(table={**table, IDS: ids, SPAN: np.array([span])})


def objects_block_bytes(voxels: int, itemsize: int) -> int:
    """Bytes that :func:`objects_block` needs for a block of so many voxels of so many bytes."""
    return (50 + 2 * itemsize) * voxels + 64 * 2**20


def _plain(table: Table) -> Table:
    return {name: column for name, column in table.items() if name not in (IDS, SPAN)}


def seams_block(block: Block) -> Result:
    """Kernel: join the components of a block with those of its neighbours, from their tables."""
    tables = block.tables["objects"]
    plain = {number: _plain(table) for number, table in tables.items()}
    joined = join_classes(block.number, plain, block.box, block.shape, _RULES)
    return Result(table={**joined, IDS: tables[block.number][IDS], SPAN: tables[block.number][SPAN]})


def seams_block_bytes(shape: Index3) -> int:
    """Bytes that :func:`seams_block` needs for a block of this shape (z, y, x), for the voxels of its faces."""
    z, y, x = shape
    return 2 * (z * y + y * x + z * x) * (27 * 16 + 300)


def join_cell(
    block: Block,
    core: list[int],
    least: int,
    where: str,
    roi: list[int] | None = None,
    memory_bytes: float = math.inf,
) -> Result:
    """Kernel: join the parts of a cell, and finish the components that lie in it as a whole.

    Parameters
    ----------
    core
        Shape of the blocks, voxels z, y, x.
    least
        Components with fewer voxels are dropped.
    where
        Name of the volume, for messages.
    roi
        The part of the volume, z0, y0, x0, z1, y1, x1 in voxels; ``None``: the whole.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        The tables of :func:`volengine.ops.cells.join`, and ``ids`` and ``span`` of the cell.

    Raises
    ------
    MemoryRefusedError
        It needs more.
    InputError
        A label volume holds several numbers, and it is not known which are meant.
    """
    if "seams" in block.tables:
        tables = block.tables["seams"]
        parts = {n: leaf(n, mine[1]) for n, t in tables.items() if (mine := by_id(_plain(t)))}
    else:
        tables = block.tables["cells"]
        parts = {n: of_prefix(NODE, table) for n, table in tables.items()}
        parts = {n: table for n, table in parts.items() if table}
    ids = np.unique(np.concatenate([table[IDS] for table in tables.values()]))[:3]
    if ids.size > 1:
        raise InputError(
            f"{where} holds the labels {', '.join(map(str, ids[:2].tolist()))}{' ...' if ids.size > 2 else ''}: say "
            "what they are. If each number is one object: --instances. If they are classes: --ids of the feature (or "
            "--feature, of a store that names its classes)."
        )
    spans = np.concatenate([table[SPAN] for table in tables.values()])
    more = {IDS: ids, SPAN: np.array([[spans[:, 0].min(), spans[:, 1].max()]])}
    if not parts:
        return Result(table=more)
    nodes, passes = size_of(parts)
    what = f"{nodes} parts of components that reach from block to block"
    advice = "raise the threshold, or crop the volume"
    check_affords(NODE_BYTES * nodes + PASS_BYTES * passes, memory_bytes, block, what, advice)
    inside = blocks_inside(block, index3(core), covered(block, roi))
    rules = RegionRules(split=False, min_voxels=least)
    regions, left, lookup = join(parts, inside, block.shape, rules)
    kept = {name: regions[name] for name in ("index", "voxels")}
    return Result(table={**with_prefix(REGION, kept), **with_prefix(NODE, left), **lookup, **more})


def join_cell_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`join_cell` needs for a cell of ``voxels`` voxels: it refuses more than ``memory_bytes``."""
    return min(memory_bytes, 550 * (voxels // VOXELS_PER_OBJECT))


def number_objects(block: Block, least: int, largest: int) -> Result:
    """Reduce kernel: choose the objects that are kept, and number their surfaces.

    Parameters
    ----------
    least
        Numbered objects with fewer voxels are dropped; components are so already.
    largest
        Only so many are kept; 0: all.

    Returns
    -------
    Result
        One row for each object that is kept, the largest first, of equal ones that whose ``index`` comes first:
        ``number``, ``voxels``; where it is, ``level``, ``cell``, ``region`` (of numbered objects 0). ``found``: how
        many objects there are that are large enough.
    """
    names = levels_in(block.tables)
    rows: list[NDArray[np.int64]] = [np.zeros((0, 6), np.int64)]
    for level, name in enumerate(names):
        for cell, table in block.tables[name].items():
            if f"{REGION}index" in table:
                index, voxels = table[f"{REGION}index"], table[f"{REGION}voxels"]
                n = np.arange(index.size)
                rows.append(np.stack([voxels, index, 0 * n + level, 0 * n + cell, n, 0 * n], axis=1))
    if not names:
        found = merge_ids(list(block.tables["objects"].values()))
        n, kept = found["id"], found["voxels"] >= least
        rows.append(np.stack([found["voxels"], n, 0 * n, 0 * n, 0 * n, n], axis=1)[kept])
    every = np.concatenate(rows)
    every = every[np.lexsort((every[:, 1], -every[:, 0]))]
    kept_rows = every[: largest or None]
    number = np.arange(1, len(kept_rows) + 1) if names else kept_rows[:, 5]
    place = dict(zip(("level", "cell", "region"), kept_rows[:, 2:5].T, strict=True))
    table = {"number": number, "voxels": kept_rows[:, 0], **place, "found": np.array([len(every)])}
    return Result(table=table, counts={"objects": len(kept_rows)})


def number_objects_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`number_objects` needs for a volume of ``voxels`` voxels."""
    return min(memory_bytes, 300 * (voxels // VOXELS_PER_OBJECT))


def pieces_block(
    block: Block, objects: dict[str, Any], folder: str, closed: bool = False, roi: list[int] | None = None
) -> Result:
    """Kernel: the triangles of the surfaces in a block, written to a file in the scratch folder.

    The kernel writes a file, because a later unit reads the pieces of a few surfaces from all blocks, and no more.

    Parameters
    ----------
    objects
        :class:`~volengine.tasks.surface.description.Objects` as JSON.
    folder
        The folder of the files.
    closed, roi
        Of a part of a volume: whether surfaces are closed at its faces, and which part it is.

    Returns
    -------
    Result
        A table that says where the pieces of each surface are in the file: the columns
        :data:`~volengine.tasks.surface.description.ROW`, and ``held`` (1,), the vertices and faces in it.
    """
    how = Objects.from_json(objects)
    seen, prediction, _ = _read(block, how)
    chosen = block.tables["number"][0]
    crop = block.boxes["values"]
    if roi is not None:
        seen, prediction, crop = _in_part(seen, prediction, crop, covered(block, roi), closed=closed)
    if how.seen == "instances":
        kept = np.where(np.isin(seen, chosen["number"]), seen, 0).astype(np.int64)
        piece = pieces_of(kept, crop, block.box, block.shape)
    else:
        regions = regions_of(np.ascontiguousarray(seen[block.box.slices_in(crop)]))
        numbers = _numbers(block, int(regions.max(initial=0)), chosen)[regions]
        level = how.level if prediction is not None and prediction.dtype.kind == "f" else how.level * 255
        any_kept = bool(numbers.any())
        piece = pieces_of(seen, crop, block.box, block.shape, prediction, level, numbers) if any_kept else no_pieces()
    file = Path(folder) / f"{block.number:08d}.pieces"
    table = _stored(piece, file)
    return Result(table=table, files=(file,), counts={"triangles": len(piece["faces"])})


def _in_part(
    seen: Array, prediction: Array | None, crop: Box, part: Box, *, closed: bool
) -> tuple[Array, Array | None, Box]:
    """Leave out what is outside of a part: zeros if surfaces are closed at its faces, else nothing is there."""
    if closed:
        values = None if prediction is None else inside_only(prediction, crop, part)
        return inside_only(seen, crop, part), values, crop
    kept = crop.intersect(part)
    inside = kept.slices_in(crop)
    return np.ascontiguousarray(seen[inside]), None if prediction is None else prediction[inside], kept


def pieces_block_bytes(crop: int, itemsize: int, part: bool = False) -> int:
    """Bytes that :func:`pieces_block` needs for ``crop`` voxels with the halo, of so many bytes.

    Measured with tracemalloc: 113 bytes for each voxel of noise that has 0.37 vertices for each, of four bytes.
    """
    return (108 + (3 if part else 2) * itemsize + 8 * part) * crop + 64 * 2**20


def _numbers(block: Block, regions: int, chosen: Table) -> NDArray[np.int32]:
    """The number of the surface of each of a block's components; item 0 is the background."""
    found = np.zeros(regions + 1, np.int32)
    if not regions:
        return found
    holding = [next(iter(block.tables[name].items())) for name in levels_in(block.tables)]
    place, at = followed(block.number, holding)
    cells = np.array([number for number, _ in holding])[place]
    columns = (chosen[name].tolist() for name in ("level", "cell", "region", "number"))
    wanted = {(level, cell, region): number for level, cell, region, number in zip(*columns, strict=True)}
    names = zip(place.tolist(), cells.tolist(), (-2 - at).tolist(), strict=True)
    found[1:] = [wanted.get(name, 0) for name in names]
    return found


def _stored(piece: Table, file: Path) -> Table:
    """Write pieces to a file, surface by surface: keys, places, then faces, whose vertices count within the surface."""
    owner = piece["objects"]
    numbers, vertex, vertices = np.unique(owner, return_index=True, return_counts=True)
    of_face = owner[piece["faces"][:, 0]]
    order = np.argsort(of_face, kind="stable")
    face = np.searchsorted(of_face[order], numbers)
    faces = np.searchsorted(of_face[order], numbers, side="right") - face
    within = piece["faces"][order] - np.repeat(vertex, faces).astype(np.int32)[:, None]
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as stream:
        for array, dtype in ((piece["keys"], "<i8"), (piece["places"], "<f8"), (within, "<i4")):
            stream.write(np.ascontiguousarray(array, dtype).tobytes())
    rows = dict(zip(ROW, (numbers, vertex, vertices, face, faces), strict=True))
    table = {name: np.asarray(column, np.int64) for name, column in rows.items()}
    return {**table, "held": np.array([[len(owner), len(within)]])}
