"""An ensemble whose models read a tomogram on different grids, because they were trained at other voxel sizes.

The models of each grid are averaged there, and their means are written to float32 scratch arrays
(:class:`volengine.tasks.segment.match.MatchStages`, :class:`volengine.tasks.segment.stages.GridStages`). The stage
``mean`` resamples these to the tomogram's grid, averages them, and stores the result. With the mean of logits it is
logits that are resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Output, Stage, kernel_bytes
from volengine.ops.resample import Filter, reach
from volengine.tasks.common.images import core_unit, factors_of, outputs_of, scratch_spec
from volengine.tasks.common.layout import file_name
from volengine.tasks.segment.description import UNCERTAINTY, Net
from volengine.tasks.segment.match import MatchStages
from volengine.tasks.segment.nets import Grid
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.stages import GridStages

_MEAN = "volengine.tasks.segment.mean_blocks:mean_block"


@dataclass(frozen=True)
class MeanStages:
    """The stages of an ensemble on several grids.

    Parameters
    ----------
    volume, recipe, specs, folder, options
        As in :class:`volengine.tasks.segment.stages.GridStages`; ``specs`` are those of all products, on the tomogram's
        grid.
    """

    volume: Volume
    recipe: SegmentRecipe
    specs: dict[str, ImageSpec]
    folder: PlanFolder
    options: RunOptions

    def plan(self, grids: Mapping[Grid, list[Net]]) -> Plan:
        """Plan all stages, for the networks of each grid.

        Raises
        ------
        InputError
            The uncertainty of a mean of logits is asked for.
        """
        if self.recipe.uncertainty and self.recipe.resolved().mean_of == "logits":
            raise InputError(
                "The models were trained at different voxel sizes, so that their logits are resampled, and no mean of "
                "probabilities is there from which to compute --uncertainty: leave it out, or use --mean-of "
                "probabilities."
            )
        parts: list[Plan] = []
        answers: dict[str, ImageSpec] = {}
        for number, (grid, nets) in enumerate(grids.items()):
            made, found = self._answers(grid, nets, f"-grid{number}")
            parts.append(made)
            answers |= {f"{number}/{name}": spec for name, spec in found.items()}
        core = self.options.core_for(
            self.volume.shape, core_unit(*self.specs.values()), lambda core: self._mean(answers, grids, core)
        )
        return Plan(
            self.volume.name,
            (*(stage for part in parts for stage in part.stages), self._mean(answers, grids, core)),
            (*(image for part in parts for image in part.images), *self.specs.values()),
            notes=tuple(note for part in parts for note in part.notes),
        )

    def _answers(self, grid: Grid, nets: list[Net], label: str) -> tuple[Plan, dict[str, ImageSpec]]:
        """The stages that predict on one grid, and what they write: a float32 scratch array for each product."""
        seen = [replace(net, sigmoid=False) for net in nets]  # the sigmoid follows the mean
        products = list(dict.fromkeys(name for net in nets for name in net.products))
        if grid.shape != self.volume.shape:
            own = {name: self.specs[name] for name in products}
            how = (own, self.folder, self.options, grid.unsigned, label)
            flat = all(net.lattice.z.patch == 1 for net in nets)
            return MatchStages(self.volume, grid.shape, self.recipe, *how).predicted(seen, flat=flat)
        unit = core_unit(*self.specs.values())
        base = str(self.folder.scratch / "mean")
        found = {
            name: scratch_spec(f"{base}-{file_name(name)}{label}", grid.shape, "float32", unit, self.volume.voxel_size)
            for name in products
        }
        stages = GridStages(
            self.volume, self.recipe, seen, found, self.folder, self.options, unsigned=grid.unsigned, label=label
        )
        # without the counts of voxels: the mean counts them
        made = stages.plan()
        last = replace(made.stages[-1], hints={**made.stages[-1].hints, "counted": []})
        return replace(made, stages=(*made.stages[:-1], last)), found

    def _mean(self, answers: Mapping[str, ImageSpec], grids: Mapping[Grid, list[Net]], core: Index3) -> Stage:
        how: Filter = "corners" if self.recipe.compat == "ais" else "linear"
        shapes = [grid.shape for grid in grids]
        every = [net for nets in grids.values() for net in nets]
        arrays, weights = {}, {}
        for name, spec in answers.items():
            number, _, product = name.partition("/")
            shape = shapes[int(number)]
            if shape == self.volume.shape:
                arrays[name] = ArrayInput(spec.volume())
            else:
                halo = reach(shape, self.volume.shape, how)
                arrays[name] = ArrayInput(spec.volume(), halo, halo, scaled=True)
            own = list(grids.values())[int(number)]
            weights[name] = [_count(own, product), _count(every, product)]
        outputs: dict[str, Output] = {}
        for product, spec in self.specs.items():
            outputs |= outputs_of(spec, product)
        halos = [reach(shape, self.volume.shape, how) for shape in shapes]
        return Stage(
            "segment-" + "+".join(map(file_name, self.specs)) + "-mean",
            _MEAN,
            Tiling(self.volume.shape, core),
            params={
                "shapes": shapes,
                "weights": weights,
                "how": how,
                "sigmoid": any(net.sigmoid for net in every),
                "dtype": self.recipe.dtype,
                "rounding": self.recipe.resolved().rounding,
                "factors": factors_of(next(iter(self.specs.values()))),
            },
            arrays=arrays,
            outputs=outputs,
            hints={"counted": list(dict.fromkeys(name for net in every for name in net.probable))},
            kernel_bytes=kernel_bytes(_MEAN, core=core, halos=halos, shapes=shapes, out_shape=self.volume.shape),
        )


def _count(nets: list[Net], product: str) -> int:
    """Number of models that predict a product."""
    feature = product.removesuffix(UNCERTAINTY)
    return sum(feature in {f for _, f in net.kept} for net in nets)
