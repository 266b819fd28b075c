"""simulate: from structures to tomograms with perfect truth.

Each sample is one plan: ``place`` draws the specimen as a table, ``render`` makes voxels and labels, ``project`` their
line integrals, ``expose`` the images of the microscope, ``reconstruct`` the tomogram. A run of many samples goes
through the same engine as every other verb: it can be stopped, resumed and shared by workers.

Outputs, in the folder ``out``::

    tomograms/NAME_0001.ome.zarr          the tomogram; in it labels/atlas (classes) and labels/instances
    tilts/NAME_0001.ome.zarr, .rawtlt     the tilt series, and its angles
    ideal/, noise_free/, even/, odd/      more tomograms, if they are kept
    specimens/NAME_0001.ome.zarr          potential, volt in excess of ice
    distances/NAME_0001.ome.zarr          signed distance to the nearest bilayer's mid-plane, angstrom
    picks/NAME_0001__CLASS.star           every particle with its pose
    truth/NAME_0001/                      specimen.csv, membrane_N.ply, filaments.csv, sample.json (all parameters)
    run/                                  plans, ledger, log, report
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import choose_core
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.report import RunReport
from volengine.engine.run import Job, run_jobs
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.io.levels import auto_chunk
from volengine.tasks.images import auto_shard, core_unit, factors_of, image_spec, outputs_of, scratch_spec
from volengine.tasks.layout import join_url, plan_folder, run_dir_in
from volengine.tasks.simulate_draw import drawn
from volengine.tasks.simulate_labels import LabelPiece, LabelStages, label_piece
from volengine.tasks.simulate_recipe import SimulateRecipe
from volengine.tasks.simulate_structures import Source, sources_of

ROWS = 64
"""Slices across the tilt axis in one chunk of a tilt series; fewer where they are large."""
SLAB = 6_000_000
"""Voxels in so many slices, at most, and in what is reconstructed at a time."""
IDEAL_DEG = (-89.0, 89.0, 1.0)

_BLOCKS = "volengine.tasks.simulate_blocks"
_BUILD = "volengine.tasks.simulate_build"


@dataclass(frozen=True)
class View:
    """A tilt series of the specimen and the tomograms made of it.

    Parameters
    ----------
    name
        ``series``, or ``ideal``.
    columns
        Angles, shifts, order and dose, by name: see :class:`volengine.sim.imaging.tilts.TiltSeries`.
    images
        What is made of the projections, by name: ``signal`` (with noise), ``even``, ``odd``, ``clean``.
    """

    name: str
    columns: Mapping[str, list[float]]
    images: tuple[str, ...]

    @property
    def count(self) -> int:
        """Images."""
        return len(self.columns["nominal_deg"])


def simulate(
    recipe: SimulateRecipe | Mapping[str, Any],
    out: str,
    count: int = 1,
    options: RunOptions | None = None,
    *,
    first: int = 1,
    check: bool = True,
) -> RunReport:
    """Simulate samples, and return the report.

    Parameters
    ----------
    recipe
        The same for every sample, or a mapping in which values may be drawn: see :mod:`volengine.tasks.simulate_draw`.
    out
        Folder for everything.
    count, first
        How many samples, and the number of the first one.
    options
        How to run.
    check
        Raise at the end if a sample failed.

    Raises
    ------
    InputError
        A recipe or a structure that cannot be used.
    """
    values = recipe.to_json() if isinstance(recipe, SimulateRecipe) else recipe
    jobs, run_dir = simulate_jobs(values, out, count, options or RunOptions(), first=first)
    report = run_jobs(jobs, run_dir, options or RunOptions())
    return report.check() if check else report


def simulate_jobs(
    values: Mapping[str, Any], out: str, count: int, options: RunOptions, *, first: int = 1, base: str = "."
) -> tuple[list[Job], str]:
    """Jobs for the samples, and the run folder; paths of structures are relative to ``base``."""
    if count < 1 or first < 0:
        raise InputError(f"Simulate 1 sample or more, from number 0 on; not {count} from {first}.")
    run_dir = options.run_dir or run_dir_in(out, "run")
    checked = sample_recipe(values, first)  # what is wrong with the recipe is said before anything is written
    names = [f"{checked.name}_{number:04d}" for number in range(first, first + count)]

    def job(number: int, name: str) -> Job:
        def plan() -> Plan:
            recipe = sample_recipe(values, number)
            sources = sources_of(recipe.specimen, base)
            piece = label_piece(recipe.specimen, base)
            return plan_simulate(recipe, number, name, out, sources, plan_folder(run_dir, name), options, piece)

        return Job(name, plan)

    return [job(number, name) for number, name in enumerate(names, first)], run_dir


def sample_recipe(values: Mapping[str, Any], number: int) -> SimulateRecipe:
    """The recipe of one sample: everything that is drawn is drawn."""
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InputError(f"seed is {seed!r}; it must be a whole number.")
    return SimulateRecipe.from_json(drawn(dict(values), seed, number))


def plan_simulate(
    recipe: SimulateRecipe,
    number: int,
    name: str,
    out: str,
    sources: Mapping[str, Source],
    folder: PlanFolder,
    options: RunOptions,
    piece: LabelPiece | None = None,
) -> Plan:
    """The stages of one sample; structures, and the label volume if there is one, are looked at, but not read."""
    return Sample(recipe, number, name, out, sources, folder, options, piece).plan()


@dataclass(frozen=True)
class Sample:
    """One sample in the making."""

    recipe: SimulateRecipe
    number: int
    name: str
    out: str
    sources: Mapping[str, Source]
    folder: PlanFolder
    options: RunOptions
    piece: LabelPiece | None = None

    def plan(self) -> Plan:
        """All stages, in order."""
        views = self.views()
        labels = {kind: self._labels(kind) for kind in ("atlas", "instances")}
        potential = self._potential()
        distance = self._image("distances", unit="angstrom") if self.recipe.keep.distance else None
        drawn = self._drawn(potential)
        stages = drawn.stages(self._core) if drawn else []
        images = [*(drawn.images().values() if drawn else []), potential, *([distance] if distance else [])]
        stages += [self._place(), self._render(labels, potential, distance, drawn)]
        for view in views:
            made, specs = self._series(view, potential.volume())
            stages += made
            images += specs
        images += labels.values()  # behind the images of their store
        tilts = {name: list(column) for name, column in views[0].columns.items()}
        call = Call(
            "volengine.tasks.simulate_truth:write_truth",
            {"out": self.out, "name": self.name, "tilts": tilts, "number": self.number},
        )
        recipe = {"simulate": self.recipe.to_json(), "sample": self.number}
        return Plan(self.name, tuple(stages), tuple(images), recipe=recipe, finish=(call,))

    def views(self) -> list[View]:
        """The tilt series, and the ideal one if it is kept."""
        from volengine.sim.imaging.tilts import TiltScheme, before, doses, tilt_series
        from volengine.sim.seeds import stream

        recipe, keep = self.recipe, self.recipe.keep
        series = tilt_series(recipe.tilts, stream(recipe.seed, self.number, "tilts"))
        dose = doses(series, recipe.dose.total_e_per_a2, recipe.dose.weights or recipe.dose.share)
        columns = {**series.to_table(), "dose": dose, "before": before(series, dose)}
        halves = ("even", "odd") if keep.halves == "frames" else ()
        clean = ("clean",) if keep.noise_free else ()
        views = [View("series", {k: v.tolist() for k, v in columns.items()}, ("signal", *halves, *clean))]
        if keep.ideal:
            low, high, step = IDEAL_DEG
            ideal = tilt_series(TiltScheme(min_deg=low, max_deg=high, step_deg=step, order="linear"))
            views.append(View("ideal", {k: v.tolist() for k, v in ideal.to_table().items()}, ("plain",)))
        return views

    # -- what is written -------------------------------------------------------------------------------------------

    def _like(self, url: str, shape: Index3) -> Volume:
        size = self.recipe.specimen.voxel_size
        return Volume(url=url, shape=shape, dtype="float32", voxel_size=(size, size, size), name=self.name)

    def _image(self, kind: str, **facts: Any) -> ImageSpec:
        """A tomogram of the specimen's shape in the folder ``kind``."""
        store = join_url(self.out, kind, f"{self.name}.ome.zarr")
        facts = {"simulated": {"sample": self.number, "seed": self.recipe.seed}, **facts}
        chunk = auto_chunk(self.shape)
        shard = auto_shard(self.shape, chunk)
        if shard[1] * self.shape[0] * self.shape[2] > 4 * SLAB:  # a block spans the other axes
            shard = (shard[0], chunk[1], shard[2])
        like = self._like(store, self.shape)
        return image_spec(store, like, dtype="float32", kind="intensity", chunk=chunk, shard=shard, facts=facts)

    def _labels(self, kind: str) -> ImageSpec:
        store = join_url(self.out, "tomograms", f"{self.name}.ome.zarr")
        dtype = "uint8" if kind == "atlas" else "uint32"
        like = self._like(store, self.shape)
        facts = {"classes": self.classes} if kind == "atlas" else {}
        return image_spec(store, like, dtype=dtype, kind="labels", group=f"labels/{kind}", facts=facts)

    def _potential(self) -> ImageSpec:
        if self.recipe.keep.specimen:
            return self._image("specimens", unit="V")
        chunk = self._image("specimens").levels[0].chunks
        return scratch_spec(str(self.folder.scratch / "specimen"), self.shape, "float32", chunk)

    def _stack(self, name: str, count: int) -> ImageSpec:
        """Images (tilts, y, x) that are not kept."""
        _, ny, nx = self.shape
        chunk = (1, min(self._rows, ny), nx)
        return scratch_spec(str(self.folder.scratch / name), (count, ny, nx), "float32", chunk)

    @property
    def _rows(self) -> int:
        """Slices across the tilt axis in one chunk."""
        rows, (nz, _, nx) = ROWS, self.shape
        while rows > 32 and rows * nz * nx > SLAB:
            rows //= 2
        return rows

    @property
    def shape(self) -> Index3:
        """Of the specimen."""
        return self.recipe.specimen.shape

    @property
    def classes(self) -> dict[str, int]:
        """Ids of all class names that the specimen may have."""
        from volengine.tasks.simulate_structures import class_names

        return self.recipe.specimen.class_ids(class_names(self.recipe.specimen, self.sources))

    def _drawn(self, potential: ImageSpec) -> LabelStages | None:
        """What a label volume needs."""
        if self.piece is None:
            return None
        recipe = self.recipe
        chunk = potential.levels[0].chunks
        return LabelStages(
            self.piece, recipe.specimen, recipe.keep.distance, recipe.seed, self.number, chunk, self.folder
        )

    # -- stages ----------------------------------------------------------------------------------------------------

    def _place(self) -> Stage:
        recipe = self.recipe
        return Stage(
            "place",
            f"{_BUILD}:place_specimen",
            Tiling((1, 1, 1), (1, 1, 1)),
            params={
                "specimen": recipe.specimen.to_json(),
                "sources": {key: source.to_json() for key, source in self.sources.items()},
                "classes": self.classes,
                "seed": recipe.seed,
                "sample": self.number,
            },
            tables={"labels": TableInput("labels", "all")} if self.piece else {},
            emits=True,
            kernel_bytes=420_000_000
            + (16 if recipe.specimen.vesicles or recipe.specimen.sheets else 5) * math.prod(recipe.specimen.shape) // 4,
        )

    def _render(
        self,
        labels: Mapping[str, ImageSpec],
        potential: ImageSpec,
        distance: ImageSpec | None,
        drawn: LabelStages | None,
    ) -> Stage:
        kept = self.recipe.keep.specimen
        factors = {name: factors_of(spec) for name, spec in labels.items()}
        outputs = {**outputs_of(labels["atlas"], "atlas"), **outputs_of(labels["instances"], "instances")}
        if kept:
            factors["specimen"] = factors_of(potential)
            outputs |= outputs_of(potential, "specimen")
        else:
            outputs["specimen"] = Output(potential.volume())
        if distance:
            factors["distances"] = factors_of(distance)
            outputs |= outputs_of(distance, "distances")
        inputs = {name: ArrayInput(spec.volume()) for name, spec in drawn.images().items()} if drawn else {}

        def build(core: Index3) -> Stage:
            z, y, x = (min(c, n) for c, n in zip(core, self.shape, strict=True))
            return Stage(
                "render",
                f"{_BLOCKS}:render_block",
                Tiling(self.shape, core),
                params={
                    "voxel_size": self.recipe.specimen.voxel_size,
                    "factors": factors,
                    "potential": "" if kept else "specimen",
                },
                arrays=inputs,
                tables={"place": TableInput("place", "all")},
                outputs=outputs,
                kernel_bytes=150_000_000 + (72 if distance else 60) * z * y * x,
            )

        unit = core_unit(potential, *labels.values(), *([distance] if distance else []))
        return build(self._core(self.shape, unit, build))

    def _series(self, view: View, specimen: Volume) -> tuple[list[Stage], list[ImageSpec]]:
        """Projections, images and tomograms of a view."""
        projections = self._stack(f"{view.name}-projections", view.count)
        stages = [self._project(view, specimen, projections)]
        images = [projections]
        tomograms = {"signal": "tomograms", "even": "even", "odd": "odd", "clean": "noise_free", "plain": "ideal"}
        if view.name == "ideal":
            taken = {"plain": projections}
        else:
            taken = {name: self._stack(name, view.count) for name in view.images}
            if self.recipe.keep.tilts:
                taken["tilts" if self.recipe.reconstruct.phase_flip else "signal"] = self._tilt_series(view)
            stages.append(self._expose(view, projections, taken))
            images += taken.values()
        for name, stack in taken.items():
            if name not in tomograms:
                continue
            spec = self._image(tomograms[name])
            stages.append(self._reconstruct(view, stack, spec, list(range(view.count)), tomograms[name]))
            images.append(spec)
        if view.name == "series" and self.recipe.keep.halves == "tilts":
            for half, rows in (("even", range(0, view.count, 2)), ("odd", range(1, view.count, 2))):
                spec = self._image(half)
                stages.append(self._reconstruct(view, taken["signal"], spec, list(rows), half))
                images.append(spec)
        return stages, images

    def _tilt_series(self, view: View) -> ImageSpec:
        """The tilt series as an image: (tilts, y, x)."""
        _, ny, nx = self.shape
        store = join_url(self.out, "tilts", f"{self.name}.ome.zarr")
        like = self._like(store, (view.count, ny, nx))
        chunk = (1, min(self._rows, ny), nx)
        facts = {"tilts": dict(view.columns)}
        return image_spec(
            store,
            like,
            dtype="float32",
            kind="intensity",
            chunk=chunk,
            shard=chunk,
            levels=1,
            codec="none",
            facts=facts,
        )

    def _project(self, view: View, specimen: Volume, out: ImageSpec) -> Stage:
        count, ny, nx = out.levels[0].shape

        def build(core: Index3) -> Stage:
            rows = min(core[1], ny)
            return Stage(
                f"project-{view.name}",
                f"{_BLOCKS}:project_block",
                Tiling((count, ny, nx), (count, rows, nx)),
                params={
                    "angle_deg": view.columns["true_deg"],
                    "shift_x": view.columns["shift_x"],
                    "voxel_size": self.recipe.specimen.voxel_size,
                },
                arrays={"specimen": ArrayInput(specimen, scaled=True)},
                outputs={"projections": Output(out.volume())},
                kernel_bytes=self._matrices(view.columns["true_deg"])
                + 216 * self.shape[0] * nx  # shares and pixels of eight tilts, of which a matrix is made
                + 4 * rows * nx * (self.shape[0] + 2 * count),
                hints={"device": self._device, "cache_bytes": self._cache_bytes},
            )

        return build(self._core((count, ny, nx), (count, out.levels[0].chunks[1], nx), build))

    def _expose(self, view: View, projections: ImageSpec, out: Mapping[str, ImageSpec]) -> Stage:
        count, ny, nx = projections.levels[0].shape
        recipe = self.recipe
        return Stage(
            f"expose-{view.name}",
            f"{_BLOCKS}:expose_tilt",
            Tiling((count, ny, nx), (1, ny, nx)),
            params={
                "tilts": dict(view.columns),
                "size_a": recipe.specimen.size_a,
                "ice": recipe.specimen.ice.to_json(),
                "exposure": recipe.exposure.to_json(),
                "phase_flip": recipe.reconstruct.phase_flip,
                "voxel_size": recipe.specimen.voxel_size,
                "seed": recipe.seed,
                "sample": self.number,
                "names": list(out),
            },
            arrays={"projections": ArrayInput(projections.volume())},
            outputs={name: Output(spec.volume()) for name, spec in out.items()},
            kernel_bytes=90_000_000 + 160 * ny * nx,
        )

    def _reconstruct(self, view: View, stack: ImageSpec, out: ImageSpec, rows: list[int], name: str) -> Stage:
        count = stack.levels[0].shape[0]
        nz, ny, nx = self.shape

        def build(core: Index3) -> Stage:
            across = min(core[1], ny)
            slab = min(across, max(32, SLAB // (nz * nx) // 32 * 32))
            angles = [view.columns["nominal_deg"][row] for row in rows]
            return Stage(
                f"reconstruct-{name}",
                f"{_BLOCKS}:reconstruct_block",
                Tiling(self.shape, (nz, across, nx)),
                params={
                    "angle_deg": view.columns["nominal_deg"],
                    "rows": rows,
                    "depth": nz,
                    "sign": -1.0 if view.name == "ideal" else 1.0,
                    "voxel_size": self.recipe.specimen.voxel_size,
                    "how": self.recipe.reconstruct.to_json(),
                    "factors": factors_of(out),
                },
                arrays={"images": ArrayInput(stack.volume(), scaled=True)},
                outputs=outputs_of(out),
                kernel_bytes=60_000_000 + self._matrices(angles, 2) + 4 * nx * slab * (6 * count + 4 * nz),
                hints={"device": self._device, "cache_bytes": self._cache_bytes, "slab": slab},
            )

        unit = core_unit(out)
        return build(self._core(self.shape, (max(nz, unit[0]), unit[1], max(nx, unit[2])), build))

    @property
    def _device(self) -> str:
        """Where slices are projected: the GPU that the user names; it is not taken unasked."""
        return self.options.device if self.options.device not in ("auto", "mps") else "cpu"

    def _matrices(self, angle_deg: list[float], geometries: int = 1) -> int:
        """Bytes of geometries' matrices: those that each of them holds, and the one being made."""
        from volengine.sim.imaging.projector import Projector

        nz, _, nx = self.shape
        need = Projector((nz, nx), angle_deg, self.recipe.specimen.voxel_size).matrix_bytes
        return geometries * min(need, self._cache_bytes) + need // max(1, len(angle_deg) // 8)

    @property
    def _cache_bytes(self) -> int:
        """Matrices that a projector may hold: less in small workers, where they are made again instead."""
        from volengine.sim.imaging.projector import Projector

        return min(Projector.cache_bytes, self.options.limit_bytes() // 16)

    def _core(self, shape: Index3, unit: Index3, build: Callable[[Index3], Stage]) -> Index3:
        """A block's core: the user's, rounded up to whole units, or the largest that fits."""
        if self.options.block is not None:
            return index3(min(-(-b // u) * u, n) for b, u, n in zip(self.options.block, unit, shape, strict=True))
        return choose_core(shape, unit, self.options.limit_bytes(), build, wanted=self.options.processes)
