"""Planning ``surface``: objects are found and joined as for ``stats``, then their triangles made and finished.

``objects`` and ``seams`` work on blocks, ``join`` on cells of blocks; ``number`` chooses and numbers the objects.
``pieces`` makes the triangles of each block, and ``mesh`` joins, smooths and measures the surfaces, a unit for some of
them. Numbered objects need no seams and no cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.ops.regions import check_size
from volengine.tasks.common.cells import cells_of, table_memory
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.common.roi import box_of, history_of, size_of, tiling_of
from volengine.tasks.surface.description import Finish, Objects, shares_for
from volengine.tasks.surface.recipe import SurfaceRecipe
from volengine.tasks.surface.towards import PLACES, Towards, towards_of, towards_stages

LARGEST_BLOCK = 2**22
"""Voxels per block: about 160 a side."""

UNCHUNKED = (64, 64, 64)
ONE: Index3 = (1, 1, 1)

_BLOCKS = "volengine.tasks.surface.blocks"
_MESH = "volengine.tasks.surface.mesh_blocks:mesh_surfaces"
SAID = ("min_volume_nm3", "largest", "side", "max_thickness_nm", "split")
"""Fields of the recipe that the last line tells of."""

_WRITE = "volengine.tasks.surface.finish:write_meshes"


def plan_surface(source: Volume, recipe: SurfaceRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stages that make the surfaces of a volume, and the call that writes them as the set ``out``.

    Parameters
    ----------
    source
        The prediction, mask or label volume.
    recipe
        What an object is, and how meshes are made.
    out
        The folder of the set.
    folder
        Folder of the plan; pieces and meshes are written into its scratch folder.
    options
        How to run.

    Raises
    ------
    InputError
        The volume is no prediction and no labels, or does not say which class is meant.
    """
    check_size(source.shape)
    part = box_of(source, recipe.roi)
    shape = size_of(source.shape, part)
    if min(shape) < 2 and not recipe.close_at_faces:
        raise InputError(
            f"{source.where} has the shape {shape}{' in --roi' if part else ''}: nothing in a single slice has a "
            "surface, unless it is closed at the volume's faces (--close-at-faces)."
        )
    seen = recipe.seen_as(source)
    reading = _reading(source, recipe, options)
    objects = Objects(
        seen=seen,
        where=stored_name(source),
        level=recipe.threshold,
        scale=recipe.scale if seen == "prediction" else None,
        ids=recipe.ids_of(source) if seen == "labels" else (),
    )

    label = towards_of(recipe.towards, source, recipe.voxel_size) if recipe.towards else None

    def stages_of(core: Index3) -> _Stages:
        return _Stages(source, recipe, reading, objects, core, folder, options, part, label)

    core = options.core_for(
        shape, source.chunks or UNCHUNKED, lambda core: stages_of(core).pieces(), largest=LARGEST_BLOCK
    )
    stages = (*reading.stages, *stages_of(core).all())
    facts: dict[str, Any] = {
        "tomogram": source.name,
        "feature": recipe.feature_of(source),
        "voxel_size": list(source.voxel_size),
        "origin": list(source.origin),
        "shape": list(source.shape),
        "history": history_of(source, "surface", recipe, part),
    }
    params = {
        "out": out,
        "meshes": str(folder.scratch / "meshes"),
        "facts": facts,
        "least_area_nm2": recipe.min_area_nm2,
        "keep_numbers": recipe.instances,
        "span": "" if recipe.instances else stages_of(core).last_join,
        "integers": source.dtype[0] in "iu" and recipe.scale is None and source.kind != "probability",
        "threshold": recipe.threshold if seen == "prediction" else None,
        "left_out": {name: getattr(recipe, name) for name in SAID},
        "ids": list(objects.ids),
    }
    call = Call(_WRITE, params, writes=(out,))
    return Plan(source.name, stages, recipe={"surface": recipe.to_json()}, finish=(call,))


def _reading(source: Volume, recipe: SurfaceRecipe, options: RunOptions) -> Reading:
    if recipe.seen_as(source) == "prediction":
        return reading_of(source, recipe.scale, "surface", options, what="surface")
    if recipe.scale is not None:
        raise InputError(f"{source.where} holds labels, and --scale is for probabilities; leave out one of them.")
    return Reading(source, source.dtype, None, ())


@dataclass(frozen=True)
class _Stages:
    """The stages for blocks of one shape."""

    volume: Volume
    recipe: SurfaceRecipe
    reading: Reading
    objects: Objects
    core: Index3
    folder: PlanFolder
    options: RunOptions
    part: Box | None = None
    label: Towards | None = None

    @property
    def roi(self) -> dict[str, list[int]]:
        """The part of the volume, as a parameter of kernels; nothing for the whole."""
        return {} if self.part is None else {"roi": [*self.part.start, *self.part.stop]}

    @property
    def size(self) -> int:
        """Number of voxels in which surfaces are made."""
        return math.prod(size_of(self.volume.shape, self.part))

    @property
    def cells(self) -> list[Index3]:
        """Shape of the cells of each level; numbered objects need none."""
        return [] if self.recipe.instances else cells_of(size_of(self.volume.shape, self.part), self.core)

    @property
    def last_join(self) -> str:
        """Name of the stage that joins the whole volume."""
        return f"surface-join-{len(self.cells)}"

    @property
    def tiling(self) -> Tiling:
        """The blocks."""
        return tiling_of(self.volume.shape, self.core, self.part)

    @property
    def memory(self) -> int:
        """Bytes that a unit may use for tables, or for a surface."""
        return table_memory(self.options)

    def all(self) -> list[Stage]:
        """Return the stages in their order."""
        joins = [] if self.recipe.instances else [self._seams(), *(self._join(n) for n in range(len(self.cells)))]
        label = [] if self.label is None else towards_stages(self.label, self.options)
        return [self._objects(), *joins, self._number(), self.pieces(), *label, self._mesh()]

    def _objects(self) -> Stage:
        kernel = f"{_BLOCKS}:objects_block"
        voxels = self.tiling.box(0).size
        return Stage(
            "surface-objects",
            kernel,
            self.tiling,
            params={"objects": self.objects.to_json()},
            arrays={"values": ArrayInput(self.volume)},
            tables=self.reading.tables(),
            emits=True,
            kernel_bytes=kernel_bytes(kernel, voxels=voxels, itemsize=self._itemsize),
        )

    @property
    def _itemsize(self) -> int:
        from numpy import dtype

        return int(dtype(self.volume.dtype).itemsize)

    def _seams(self) -> Stage:
        kernel = f"{_BLOCKS}:seams_block"
        return Stage(
            "surface-seams",
            kernel,
            self.tiling,
            tables={"objects": TableInput("surface-objects", "neighbours")},
            emits=True,
            kernel_bytes=kernel_bytes(kernel, shape=self.tiling.box(0).shape),
        )

    def _join(self, level: int) -> Stage:
        kernel = f"{_BLOCKS}:join_cell"
        tiling = tiling_of(self.volume.shape, self.cells[level], self.part)
        parts = TableInput("surface-seams", "within", self.core)
        if level:
            parts = TableInput(f"surface-join-{level}", "within", self.cells[level - 1])
        return Stage(
            f"surface-join-{level + 1}",
            kernel,
            tiling,
            params={
                "core": list(self.core),
                "least": self.recipe.least_voxels(self.volume),
                "where": self.objects.where,
                **self.roi,
            },
            tables={"cells" if level else "seams": parts},
            emits=True,
            kernel_bytes=kernel_bytes(kernel, voxels=tiling.box(0).size, memory_bytes=self.memory),
            hints={"memory_bytes": self.memory},
        )

    def _number(self) -> Stage:
        kernel = f"{_BLOCKS}:number_objects"
        tables = {f"level-{n}": TableInput(f"surface-join-{n}", "all") for n in range(1, len(self.cells) + 1)}
        return Stage(
            "surface-number",
            kernel,
            Tiling(ONE, ONE),
            params={"least": self.recipe.least_voxels(self.volume), "largest": self.recipe.largest},
            tables=tables or {"objects": TableInput("surface-objects", "all")},
            emits=True,
            kernel_bytes=kernel_bytes(kernel, voxels=self.size, memory_bytes=self.memory),
        )

    def pieces(self) -> Stage:
        """Return the stage that makes the triangles of each block."""
        kernel = f"{_BLOCKS}:pieces_block"
        inside = self.tiling.box(0).shape
        crop = math.prod(Box.of_shape(inside).grow(ONE).shape)
        levels = {
            f"level-{n}": TableInput(f"surface-join-{n}", "holding", cell) for n, cell in enumerate(self.cells, 1)
        }
        return Stage(
            "surface-pieces",
            kernel,
            self.tiling,
            params={
                "objects": self.objects.to_json(),
                "folder": str(self.folder.scratch / "pieces"),
                **({"closed": self.recipe.close_at_faces, **self.roi} if self.part else {}),
            },
            arrays={"values": ArrayInput(self.volume, ONE, ONE, "zero" if self.recipe.close_at_faces else "clip")},
            tables={"number": TableInput("surface-number", "all"), **levels, **self.reading.tables()},
            emits=True,
            transient=True,
            kernel_bytes=kernel_bytes(kernel, crop=crop, itemsize=self._itemsize, part=self.part is not None),
        )

    def _mesh(self) -> Stage:
        recipe, volume = self.recipe, self.volume
        shares = shares_for(self.size)
        finish = Finish(
            voxel_size=volume.voxel_size,
            origin=volume.origin,
            smooth=recipe.smooth_of(volume),
            vertex_area=None if recipe.vertex_area_nm2 is None else recipe.vertex_area_nm2 * NM_TO_ANGSTROM**2,
            side=recipe.side,
            towards=None if recipe.towards_nm is None else _angstrom(recipe.towards_nm),
            max_thickness=recipe.max_thickness_nm * NM_TO_ANGSTROM,
            split=recipe.split,
            touch=recipe.touch_nm * NM_TO_ANGSTROM,
        )
        return Stage(
            "surface-mesh",
            _MESH,
            Tiling((shares, 1, 1), ONE),
            params={
                "finish": finish.to_json(),
                "pieces": str(self.folder.scratch / "pieces"),
                "folder": str(self.folder.scratch / "meshes"),
                "shares": shares,
            },
            tables={
                "number": TableInput("surface-number", "all"),
                "pieces": TableInput("surface-pieces", "all"),
                **({} if self.label is None else {"towards": TableInput(PLACES, "all")}),
            },
            emits=True,
            transient=True,
            version=3,  # mid-surfaces of closed membranes are closed, and enclosed volumes positive
            kernel_bytes=kernel_bytes(_MESH, voxels=self.size, memory_bytes=self.memory),
            hints={"memory_bytes": self.memory},
        )


def _angstrom(nm: tuple[float, float, float]) -> tuple[float, float, float]:
    z, y, x = (n * NM_TO_ANGSTROM for n in nm)
    return z, y, x
