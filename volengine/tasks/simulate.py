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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.paths import PathLike, path_text
from volengine.core.tiling import Tiling
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.report import RunReport
from volengine.engine.run import Job, run_jobs
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.tasks.images import core_unit, factors_of, image_spec, outputs_of, scratch_spec
from volengine.tasks.layout import join_url, plan_folder, run_dir_in
from volengine.tasks.simulate_draw import drawn
from volengine.tasks.simulate_labels import LabelPiece, LabelStages, checked_flags, label_piece
from volengine.tasks.simulate_recipe import SimulateRecipe
from volengine.tasks.simulate_sample import Sample
from volengine.tasks.simulate_structures import Source, sources_of
from volengine.tasks.simulate_views import ViewStages, views_of

_BLOCKS = "volengine.tasks.simulate_blocks"
_BUILD = "volengine.tasks.simulate_build"


def simulate(
    recipe: SimulateRecipe | Mapping[str, Any],
    out: PathLike,
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
    jobs, run_dir = simulate_jobs(values, path_text(out), count, options or RunOptions(), first=first)
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
    checked_flags(recipe.specimen, sources)
    sample = Sample(recipe, number, name, out, folder, options)
    return SampleStages(sample, sources, piece).plan()


@dataclass(frozen=True)
class SampleStages:
    """The stages of one sample."""

    sample: Sample
    sources: Mapping[str, Source]
    piece: LabelPiece | None = None

    def plan(self) -> Plan:
        """All stages, in order."""
        sample = self.sample
        views = views_of(sample.recipe, sample.number)
        labels = {kind: self._labels(kind) for kind in ("atlas", "instances")}
        potential = self._potential()
        distance = sample.image("distances", unit="angstrom") if sample.recipe.keep.distance else None
        drawn = self._drawn(potential)
        stages = drawn.stages(sample.core) if drawn else []
        images = [*(drawn.images().values() if drawn else []), potential, *([distance] if distance else [])]
        stages += [self._place(), self._render(labels, potential, distance, drawn)]
        for view in views:
            made, specs = ViewStages(sample, view).stages(potential.volume())
            stages += made
            images += specs
        images += labels.values()  # behind the images of their store
        tilts = {name: list(column) for name, column in views[0].columns.items()}
        call = Call(
            "volengine.tasks.simulate_truth:write_truth",
            {"out": sample.out, "name": sample.name, "tilts": tilts, "number": sample.number},
        )
        recipe = {"simulate": sample.recipe.to_json(), "sample": sample.number}
        return Plan(sample.name, tuple(stages), tuple(images), recipe=recipe, finish=(call,))

    def _labels(self, kind: str) -> ImageSpec:
        store = join_url(self.sample.out, "tomograms", f"{self.sample.name}.ome.zarr")
        dtype = "uint8" if kind == "atlas" else "uint32"
        like = self.sample.like(store, self.sample.shape)
        facts = {"classes": self.classes} if kind == "atlas" else {}
        return image_spec(store, like, dtype=dtype, kind="labels", group=f"labels/{kind}", facts=facts)

    def _potential(self) -> ImageSpec:
        if self.sample.recipe.keep.specimen:
            return self.sample.image("specimens", unit="V")
        chunk = self.sample.image("specimens").levels[0].chunks
        return scratch_spec(str(self.sample.folder.scratch / "specimen"), self.sample.shape, "float32", chunk)

    @property
    def classes(self) -> dict[str, int]:
        """Ids of all class names that the specimen may have."""
        from volengine.tasks.simulate_structures import class_names

        specimen = self.sample.recipe.specimen
        return specimen.class_ids(class_names(specimen, self.sources))

    def _drawn(self, potential: ImageSpec) -> LabelStages | None:
        """What a label volume needs."""
        if self.piece is None:
            return None
        sample, recipe = self.sample, self.sample.recipe
        chunk = potential.levels[0].chunks
        return LabelStages(
            self.piece, recipe.specimen, recipe.keep.distance, recipe.seed, sample.number, chunk, sample.folder
        )

    def _place(self) -> Stage:
        recipe = self.sample.recipe
        return Stage(
            "place",
            f"{_BUILD}:place_specimen",
            Tiling((1, 1, 1), (1, 1, 1)),
            params={
                "specimen": recipe.specimen.to_json(),
                "sources": {key: source.to_json() for key, source in self.sources.items()},
                "classes": self.classes,
                "seed": recipe.seed,
                "sample": self.sample.number,
            },
            tables={"labels": TableInput("labels", "all")} if self.piece else {},
            version=2,
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
        kept = self.sample.recipe.keep.specimen
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
            z, y, x = (min(c, n) for c, n in zip(core, self.sample.shape, strict=True))
            return Stage(
                "render",
                f"{_BLOCKS}:render_block",
                Tiling(self.sample.shape, core),
                params={
                    "voxel_size": self.sample.recipe.specimen.voxel_size,
                    "factors": factors,
                    "potential": "" if kept else "specimen",
                },
                arrays=inputs,
                tables={"place": TableInput("place", "all")},
                outputs=outputs,
                kernel_bytes=150_000_000 + (72 if distance else 60) * z * y * x,
                version=2,
            )

        unit = core_unit(potential, *labels.values(), *([distance] if distance else []))
        return build(self.sample.core(self.sample.shape, unit, build))
