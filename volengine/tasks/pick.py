"""pick: particles from a prediction, as in the paper on Ais, exact for every block shape.

A voxel is foreground where the prediction exceeds a threshold. The foreground is cut by a watershed of its distance
transform, seeded at the local maxima of the distance; regions below a volume are dropped; a region's weight is the
sum of its predictions; of two particles closer than the spacing the lighter one goes; a particle is where its
region's centroid is (eLife 2024, e98552, section on particle picking). Unlike Ais, seeds never cross components,
there is no margin unless asked for, and the lighter of two close particles is dropped, as the paper says.

Four stages: ``basins`` (per block, with a halo), ``seams`` (per block, tables only), ``resolve`` (once, tables only),
``relabel`` (per block). See :mod:`volengine.ops.basins` and :mod:`volengine.ops.regions` for the method.

>>> from volengine.tasks.pick import PickRecipe, pick
>>> recipe = PickRecipe(feature="ribosome", threshold=0.5, spacing_nm=20, min_volume_nm3=1000)
>>> picks = pick("ribosome.ome.zarr", "ribosome.star", recipe)                      # doctest: +SKIP
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec, Ngff
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.recipe import Recipe
from volengine.core.tiling import Tiling
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import choose_core
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.run import Job, run_plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.io import open_volume, suffix_of
from volengine.ops.basins import block_basins, weight_unit
from volengine.ops.heights import BasinRules
from volengine.ops.regions import RegionRules, block_labels, check_size, join_seams, relabel, resolve
from volengine.tasks.images import core_unit, factors_of, image_spec, levels_of, outputs_of, scratch_spec
from volengine.tasks.layout import history, join_url, plan_folder, run_dir_for, run_dir_in

FIRST_HALO_VOX = 16
"""Halo to begin with; blocks that hold thicker things are read again with as much as they need."""

LARGEST_BLOCK = 2**23
"""Voxels per block: about 200 a side, where the halo adds half and a block takes a second."""

VOXELS_PER_REGION = 5000
"""For the memory of ``resolve``, planned before anything is known: predictions measured had 900 to 40,000."""

_MODULE = "volengine.tasks.pick"
_PICK = "pick."
PICK_SUFFIXES = (".star", ".tbl", ".csv", ".json", ".tsv", ".txt")


@dataclass(frozen=True)
class PickRecipe(Recipe):
    """What a particle is.

    Parameters
    ----------
    feature
        Name of the particles and of their label image; default: the prediction's feature, else its name.
    threshold
        Probability that foreground exceeds, from 0 to below 1.
    spacing_nm
        Of two particles closer than this, the one of lower weight goes; 0 keeps all.
    min_volume_nm3
        Smaller regions are dropped.
    seed_distance_nm
        A thickest place this close to a thicker one of the same component starts no region of its own; default: the
        spacing, but at least 3 voxels.
    position
        centroid of the region, or its voxel of maximum prediction.
    connectivity
        Neighbours that make voxels one component: 6, 18 or 26; with mode 2d those in the slice (4, 8, 8).
    margin_vox
        Particles closer than this to the volume's faces are dropped, voxels z, y, x.
    mode
        3d, or 2d: every z slice by itself (distances, regions and spacing).
    split
        Cut touching particles apart; without, a connected component is one particle.
    max_distance_vox
        Distances to the background count up to this; a block never reads further. Larger is slower.
    labels
        Write the label volume: 0, or the label of the particle.
    format
        Format of the table of picks; default: by its file name.
    """

    feature: str = ""
    threshold: float = 0.5
    spacing_nm: float = 10.0
    min_volume_nm3: float = 0.0
    seed_distance_nm: float | None = None
    position: Literal["centroid", "maximum"] = "centroid"
    connectivity: Literal[6, 18, 26] = 26
    margin_vox: tuple[int, int, int] = (0, 0, 0)
    mode: Literal["3d", "2d"] = "3d"
    split: bool = True
    max_distance_vox: int = 64
    labels: bool = True
    format: str | None = None

    def check(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is a probability from 0 to below 1, not {self.threshold}.")
        lengths = {
            "spacing-nm": self.spacing_nm,
            "min-volume-nm3": self.min_volume_nm3,
            "seed-distance-nm": self.seed_distance_nm or 0.0,
            "margin-vox": min(self.margin_vox),
        }
        for name, value in lengths.items():
            if not 0 <= value < math.inf:
                raise InputError(f"--{name} must be 0 or more, not {value}.")
        if not 1 <= self.max_distance_vox <= 4095:
            raise InputError(f"--max-distance-vox must be from 1 to 4095, not {self.max_distance_vox}.")
        if not re.fullmatch(r"[\w.+-]*", self.feature) or self.feature.startswith("."):
            raise InputError(f"--feature {self.feature!r}: use letters, digits, '_', '-', '+' and '.'.")

    def name_for(self, volume: Volume) -> str:
        """The feature's name for this prediction."""
        known = str(volume.facts.get("feature", "")) or volume.name
        return self.feature or re.sub(r"[^\w.+-]+", "_", known).strip("._") or "picks"

    def basin_rules(self, volume: Volume) -> BasinRules:
        """What is foreground, in the prediction's stored values.

        Raises
        ------
        InputError
            For a prediction whose type does not say what 1.0 is.
        """
        dtype = np.dtype(volume.dtype)
        if dtype.kind not in "uif" or dtype == np.int8:
            raise InputError(
                f"{volume.url}: cannot pick from {dtype.name}. A prediction holds floating numbers up to 1, or "
                "integers up to 255 (uint8); convert it first."
            )
        # Rounded, so that a threshold written as n / 255 means n in spite of the last binary digit.
        level = self.threshold if dtype.kind == "f" else math.floor(round(self.threshold * 255, 9))
        return BasinRules(level, self.connectivity, self.mode == "2d", self.max_distance_vox)

    def region_rules(self, volume: Volume) -> RegionRules:
        """How basins become picks, in voxels; a voxel's shortest side is the unit of the distances."""
        side = min(volume.voxel_size)
        z, y, x = (v / side for v in volume.voxel_size)
        spacing = self.spacing_nm * NM_TO_ANGSTROM / side
        seeds = max(3.0, spacing) if self.seed_distance_nm is None else self.seed_distance_nm * NM_TO_ANGSTROM / side
        voxel_nm3 = math.prod(v / NM_TO_ANGSTROM for v in volume.voxel_size)
        return RegionRules(
            unit=weight_unit(volume.dtype),
            split=self.split,
            seed_distance_vox=round(seeds, 9),
            min_voxels=math.ceil(round(self.min_volume_nm3 / voxel_nm3, 9)),
            margin_vox=self.margin_vox,
            spacing_vox=round(spacing, 9),
            scale=(z, y, x),
            position=self.position,
            planar=self.mode == "2d",
        )


def pick(source: PathLike, out: PathLike, recipe: PickRecipe | None = None, options: RunOptions | None = None) -> Picks:
    """Pick particles from a prediction, write them, and return them.

    Parameters
    ----------
    source
        The prediction: an OME-Zarr store, MRC or TIFF. uint8 (255 is 1.0) or floating numbers.
    out
        The table to write; its ending says the format (``.star``, ``.tbl``, ``.csv``, ``.json``, ``.tsv``).
    recipe, options
        What a particle is, and how to run. With ``labels`` the label image goes into the source's store as
        ``labels/<feature>``, or, if the source is a plain file, into ``<out>.ome.zarr``.

    Returns
    -------
    Picks
        As read from the written table, so without what its format does not hold.

    Raises
    ------
    InputError
        A prediction that cannot be picked from, or labels of that name made by another run.
    """
    from volengine.io.picks import read_picks
    from volengine.io.stores import local_copy

    source, out = path_text(source), path_text(out)
    recipe, options = recipe or PickRecipe(), options or RunOptions()
    volume = open_volume(source)
    run_dir = options.run_dir or run_dir_for(out)
    run_plan(_plan(volume, recipe, out, run_dir, options), run_dir, options)
    with local_copy(out) as path:
        return read_picks(
            path,
            recipe.format,
            voxel_size=volume.voxel_size,
            origin=volume.origin,
            shape=volume.shape,
            tomogram=volume.name,
        )


def pick_jobs(sources: list[str], out: str, recipe: PickRecipe, options: RunOptions) -> tuple[list[Job], str]:
    """Jobs for many predictions, and their run folder.

    ``out`` is the table itself for one source if it has a table's ending; else the folder that gets
    ``<name>__<feature>.star`` (or the ending of the recipe's format) for each source.
    """
    from volengine.io.picks import ending_of

    single = out.lower().endswith(PICK_SUFFIXES)
    if single and len(sources) > 1:
        raise InputError(f"--out {out} is one file, but there are {len(sources)} sources; give a folder.")
    run_dir = options.run_dir or (run_dir_for(out) if single else run_dir_in(out, "pick.run"))

    def job(source: str) -> Job:
        def plan() -> Plan:
            volume = open_volume(source)
            table = out if single else join_url(out, _key(volume, recipe) + ending_of(recipe.format))
            return _plan(volume, recipe, table, run_dir, options)

        return Job(source, plan)

    return [job(source) for source in sources], run_dir


def _plan(volume: Volume, recipe: PickRecipe, out: str, run_dir: str, options: RunOptions) -> Plan:
    """The plan of the verb: labels beside the prediction's own image where that is a store."""
    from volengine.io.zarr_nodes import read_node

    stored = suffix_of(volume.url) in ("", ".zarr")
    store = volume.url if stored else f"{out}.ome.zarr"
    node = read_node(store)
    ngff: Ngff = "0.4" if node is not None and node.zarr_format == 2 else "0.5"
    key = _key(volume, recipe)
    plan = plan_pick(volume, recipe, out, store, plan_folder(run_dir, key), options, ngff=ngff)
    return replace(plan, name=key)


def _key(volume: Volume, recipe: PickRecipe) -> str:
    """Name of a prediction's plan and table: tomogram and feature."""
    return f"{volume.name}__{recipe.name_for(volume)}"


def plan_pick(
    volume: Volume,
    recipe: PickRecipe,
    out: str,
    store: str,
    folder: PlanFolder,
    options: RunOptions,
    *,
    ngff: Ngff = "0.5",
) -> Plan:
    """Stages that pick from ``volume``, write the table ``out`` and, in ``store``, the image ``labels/<feature>``.

    The tables of the stage ``pick-<feature>-resolve`` hold the picks: :func:`picks_of`.
    """
    from volengine.io.picks import format_of

    format_of(out, recipe.format)
    check_size(volume.shape)
    feature = recipe.name_for(volume)
    facts = {"feature": feature, "history": history(volume, "pick", recipe)}
    spec = image_spec(store, volume, dtype="uint32", kind="labels", ngff=ngff, group=f"labels/{feature}", facts=facts)
    scratch = scratch_spec(
        str(folder.scratch / _name(feature, "basins")), volume.shape, "uint32", spec.levels[0].chunks
    )

    def build(core: Index3) -> Stage:
        return _basins_stage(volume, recipe, feature, scratch if recipe.labels else None, core)

    core = options.block or choose_core(
        volume.shape,
        core_unit(spec) if recipe.labels else spec.levels[0].chunks,
        options.limit_bytes(),
        build,
        wanted=options.processes,
        largest=LARGEST_BLOCK,
    )
    stages = [build(core), _seams_stage(volume, recipe, feature, core), _resolve_stage(volume, recipe, feature)]
    if recipe.labels:
        stages.append(_relabel_stage(feature, scratch, spec, core))
    call = Call(
        f"{_MODULE}:write_table",
        {"stage": stages[2].name, "volume": volume.to_json(), "feature": feature, "out": out, "format": recipe.format},
    )
    images = (scratch, spec) if recipe.labels else ()
    return Plan(volume.name, tuple(stages), images, recipe={"pick": recipe.to_json()}, finish=(call,))


def _name(feature: str, step: str) -> str:
    return f"pick-{feature}-{step}"


def _basins_stage(volume: Volume, recipe: PickRecipe, feature: str, scratch: ImageSpec | None, core: Index3) -> Stage:
    rules = recipe.basin_rules(volume)
    halo = index3(min(FIRST_HALO_VOX, h) for h in rules.halo_vox)
    inside = index3(min(c, n) for c, n in zip(core, volume.shape, strict=True))
    crop = Box.of_shape(inside).grow(halo).shape
    bytes_core = 15 + np.dtype(volume.dtype).itemsize
    return Stage(
        _name(feature, "basins"),
        f"{_MODULE}:basins_block",
        Tiling(volume.shape, core),
        params=asdict(rules),
        arrays={"prediction": ArrayInput(volume, halo, halo)},
        outputs={} if scratch is None else {"basin": Output(scratch.volume())},
        emits=True,
        kernel_bytes=6 * math.prod(crop) + bytes_core * math.prod(inside),
    )


def _seams_stage(volume: Volume, recipe: PickRecipe, feature: str, core: Index3) -> Stage:
    z, y, x = (min(c, n) for c, n in zip(core, volume.shape, strict=True))
    shell = 2 * (z * y + y * x + z * x)
    return Stage(
        _name(feature, "seams"),
        f"{_MODULE}:seams_block",
        Tiling(volume.shape, core),
        params=asdict(recipe.basin_rules(volume)),
        tables={"basins": TableInput(_name(feature, "basins"), "neighbours")},
        emits=True,
        kernel_bytes=shell * (27 * 16 + 300),
    )


def _resolve_stage(volume: Volume, recipe: PickRecipe, feature: str) -> Stage:
    return Stage(
        _name(feature, "resolve"),
        f"{_MODULE}:resolve_picks",
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"shape": volume.shape, "rules": asdict(recipe.region_rules(volume))},
        tables={"seams": TableInput(_name(feature, "seams"), "all")},
        emits=True,
        kernel_bytes=550 * (volume.size // VOXELS_PER_REGION),
    )


def _relabel_stage(feature: str, scratch: ImageSpec, spec: ImageSpec, core: Index3) -> Stage:
    shape = spec.levels[0].shape
    inside = math.prod(min(c, n) for c, n in zip(core, shape, strict=True))
    return Stage(
        _name(feature, "relabel"),
        f"{_MODULE}:relabel_block",
        Tiling(shape, core),
        params={"factors": factors_of(spec)},
        arrays={"basin": ArrayInput(scratch.volume())},
        tables={"resolve": TableInput(_name(feature, "resolve"), "all")},
        outputs=outputs_of(spec),
        kernel_bytes=8 * inside,
    )


def basins_block(block: Block, **rules: Any) -> Result:
    """Kernel: local regions of a block; ``rules`` are those of :class:`~volengine.ops.heights.BasinRules`."""
    basin, table = block_basins(
        block.arrays["prediction"], block.boxes["prediction"], block.box, block.shape, BasinRules(**rules)
    )
    return Result({"basin": basin}, table)


def seams_block(block: Block, **rules: Any) -> Result:
    """Kernel: a block's regions joined with those around it."""
    table = join_seams(block.number, block.tables["basins"], block.box, block.shape, BasinRules(**rules))
    return Result(table=table)


def resolve_picks(block: Block, shape: list[int], rules: dict[str, Any]) -> Result:
    """Kernel: picks of the volume and labels of all local regions, as one table."""
    triples = {key: tuple(rules[key]) for key in ("margin_vox", "scale")}
    picks, lookup = resolve(block.tables["seams"], index3(shape), RegionRules(**{**rules, **triples}))
    table = {**{_PICK + key: column for key, column in picks.items()}, **lookup}
    return Result(table=table, counts={"picks": picks["label"].size})


def relabel_block(block: Block, factors: list[list[int]]) -> Result:
    """Kernel: the label image of a block on every level."""
    lookup = next(iter(block.tables["resolve"].values()))
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    return Result(levels_of(relabel(basin, block_labels(block.number, lookup)), factors, "labels"))


def picks_of(table: Table, volume: Volume, feature: str) -> Picks:
    """The picks in a table of the stage ``resolve``."""
    columns = {key.removeprefix(_PICK): column for key, column in table.items() if key.startswith(_PICK)}
    volume_a3 = columns["size_vox"] * math.prod(volume.voxel_size)
    return Picks.of_volume(volume, **columns, volume_a3=volume_a3, feature=feature)


def write_table(
    plan: Plan, tables: Any, stage: str, volume: Mapping[str, Any], feature: str, out: str, format: str | None
) -> None:
    """Call at the end of a plan: write the picks as a file."""
    from volengine.io.picks import format_of, write_picks
    from volengine.io.stores import local_copy

    picks = picks_of(next(iter(tables(stage).values())), Volume.from_json(volume), feature)
    with local_copy(out, write=True) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picks(path, picks, format_of(out, format))
