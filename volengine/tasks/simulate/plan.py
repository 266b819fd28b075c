"""Planning ``simulate``: the stages of one sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from volengine.core.boxes import Index3
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput, kernel_bytes
from volengine.io.stores import located
from volengine.tasks.common.images import core_unit, factors_of, image_spec, outputs_of, scratch_spec
from volengine.tasks.common.layout import join_url
from volengine.tasks.simulate.inputs import SampleInputs
from volengine.tasks.simulate.labels import LabelStages, checked_flags
from volengine.tasks.simulate.recipe import SimulateRecipe
from volengine.tasks.simulate.sample import Sample
from volengine.tasks.simulate.series import SeriesStages, series_of
from volengine.tasks.simulate.structures import class_names

_PLACE = "volengine.tasks.simulate.blocks:place_specimen"
_RENDER = "volengine.tasks.simulate.blocks:render_block"
_WRITE = "volengine.tasks.simulate.truth:write_truth"


def plan_simulate(
    source: SampleInputs, recipe: SimulateRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan all stages of one sample: place, render, project, expose, reconstruct.

    It reads the names of the classes from the structure files, and the metadata of the label volume.

    Parameters
    ----------
    source
        Number and name of the sample, its structures, and its label volume.
    recipe
        The recipe of this sample, with values in place of all distributions.
    out
        Folder of all samples; :mod:`volengine.tasks.simulate.verb` lists what is written there.
    folder
        Folder of the plan; its scratch folder holds arrays that are not kept.
    options
        How to run.

    Returns
    -------
    Plan
        Its last call writes the truth (:func:`volengine.tasks.simulate.truth.write_truth`).

    Raises
    ------
    InputError
        A particle needs a membrane or a vesicle, but the membranes come from a label volume; or a structure cannot be
        read.
    """
    checked_flags(recipe.specimen, source.structures)
    return SampleStages(Sample(recipe, source.number, source.name, out, folder, options), source).plan()


@dataclass(frozen=True)
class SampleStages:
    """The stages of one sample."""

    sample: Sample
    inputs: SampleInputs

    def plan(self) -> Plan:
        """All stages, in order."""
        sample = self.sample
        all_series = series_of(sample.recipe, sample.number)
        labels = {kind: self._labels(kind) for kind in ("atlas", "instances")}
        potential = self._potential()
        distance = sample.image("distances", unit="angstrom") if sample.recipe.keep.distance else None
        drawn = self._drawn(potential)
        stages = drawn.stages() if drawn else []
        images = [*(drawn.images().values() if drawn else []), potential, *([distance] if distance else [])]
        stages += [self._place(), self._render(labels, potential, distance, drawn)]
        for series in all_series:
            made, specs = SeriesStages(sample, series).stages(potential.volume())
            stages += made
            images += specs
        images += labels.values()  # after the images in whose store they are written
        tilts = {name: list(column) for name, column in all_series[0].columns.items()}
        call = Call(
            _WRITE,
            {"out": located(sample.out), "name": sample.name, "tilts": tilts, "number": sample.number},
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
        specimen = self.sample.recipe.specimen
        return specimen.class_ids(class_names(specimen, self.inputs.structures))

    def _drawn(self, potential: ImageSpec) -> LabelStages | None:
        """The stages of the label volume; ``None`` if there is none."""
        if self.inputs.piece is None:
            return None
        return LabelStages(self.sample, self.inputs.piece, potential.levels[0].chunks)

    def _place(self) -> Stage:
        recipe = self.sample.recipe
        return Stage(
            "place",
            _PLACE,
            Tiling((1, 1, 1), (1, 1, 1)),
            params={
                "specimen": recipe.specimen.to_json(),
                "structures": {key: file.to_json() for key, file in self.inputs.structures.items()},
                "classes": self.classes,
                "seed": recipe.seed,
                "sample": self.sample.number,
            },
            tables={"labels": TableInput("labels", "all")} if self.inputs.piece else {},
            version=3,
            emits=True,
            kernel_bytes=kernel_bytes(
                _PLACE,
                voxels=math.prod(recipe.specimen.shape),
                membranes=bool(recipe.specimen.vesicles or recipe.specimen.sheets),
            ),
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
                _RENDER,
                Tiling(self.sample.shape, core),
                params={
                    "voxel_size": self.sample.recipe.specimen.voxel_size,
                    "factors": factors,
                    "potential": "" if kept else "specimen",
                },
                arrays=inputs,
                tables={"place": TableInput("place", "all")},
                outputs=outputs,
                kernel_bytes=kernel_bytes(_RENDER, voxels=z * y * x, distances=distance is not None),
                version=2,
            )

        unit = core_unit(potential, *labels.values(), *([distance] if distance else []))
        return build(self.sample.core(self.sample.shape, unit, build))
