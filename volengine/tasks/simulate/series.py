"""The tilt series of a sample: the stages from the potential of its specimen to tomograms.

``project`` computes line integrals, ``expose`` simulates the images of the microscope, and ``reconstruct`` computes a
tomogram of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from volengine.core.boxes import Index3
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.stage import ArrayInput, Output, Stage, kernel_bytes
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of, scratch_spec
from volengine.tasks.common.layout import join_url
from volengine.tasks.simulate.description import SpecimenFacts
from volengine.tasks.simulate.recipe import SimulateRecipe, checked_tilts
from volengine.tasks.simulate.sample import SLAB, Sample

ROWS = 64
"""Slices across the tilt axis in one chunk of a tilt series; fewer if the slices are large."""
IDEAL_DEG = (-89.0, 89.0, 1.0)

_PROJECT = "volengine.tasks.simulate.blocks:project_block"
_EXPOSE = "volengine.tasks.simulate.blocks:expose_tilt"
_RECONSTRUCT = "volengine.tasks.simulate.blocks:reconstruct_block"


@dataclass(frozen=True)
class Series:
    """A tilt series of the specimen, and the images that are made from it.

    Parameters
    ----------
    name
        ``series`` or ``ideal``.
    columns
        Angles, shifts, order and dose of the images, by name: see :class:`volengine.sim.imaging.tilts.TiltSeries`.
    images
        Names of the images that are made from the projections: ``signal`` (with noise), ``even``, ``odd``, ``clean``.
    """

    name: str
    columns: Mapping[str, list[float]]
    images: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.columns["nominal_deg"])


def series_of(recipe: SimulateRecipe, number: int) -> list[Series]:
    """The tilt series of a sample, and the ideal one if it is kept."""
    from volengine.sim.imaging.tilts import TiltScheme, before, doses, tilt_series
    from volengine.sim.seeds import stream

    keep = recipe.keep
    tilts = tilt_series(recipe.tilts, stream(recipe.seed, number, "tilts"))
    checked_tilts(tilts.true_deg)
    dose = doses(tilts, recipe.dose.total_e_per_a2, recipe.dose.weights or recipe.dose.share)
    columns = {**tilts.to_table(), "dose": dose, "before": before(tilts, dose)}
    halves = ("even", "odd") if keep.halves == "frames" else ()
    clean = ("clean",) if keep.noise_free else ()
    found = [Series("series", {k: v.tolist() for k, v in columns.items()}, ("signal", *halves, *clean))]
    if keep.ideal:
        low, high, step = IDEAL_DEG
        ideal = tilt_series(TiltScheme(min_deg=low, max_deg=high, step_deg=step, order="linear"))
        found.append(Series("ideal", {k: v.tolist() for k, v in ideal.to_table().items()}, ("plain",)))
    return found


@dataclass(frozen=True)
class SeriesStages:
    """The stages of one tilt series of a sample."""

    sample: Sample
    series: Series

    def stages(self, specimen: Volume) -> tuple[list[Stage], list[ImageSpec]]:
        """The stages that project, expose and reconstruct, and the images that they write."""
        projections = self._stack(f"{self.series.name}-projections")
        stages = [self._project(specimen, projections)]
        images = [projections]
        tomograms = {"signal": "tomograms", "even": "even", "odd": "odd", "clean": "noise_free", "plain": "ideal"}
        if self.series.name == "ideal":
            taken = {"plain": projections}
        else:
            taken = {name: self._stack(name) for name in self.series.images}
            if self.sample.recipe.keep.tilts:
                taken["tilts" if self.sample.recipe.reconstruct.corrected else "signal"] = self._tilt_series()
            stages.append(self._expose(projections, taken))
            images += taken.values()
        for name, stack in taken.items():
            if name not in tomograms:
                continue
            spec = self.sample.image(tomograms[name])
            stages.append(self._reconstruct(stack, spec, list(range(self.series.count)), tomograms[name]))
            images.append(spec)
        if self.series.name == "series" and self.sample.recipe.keep.halves == "tilts":
            for half, rows in (("even", range(0, self.series.count, 2)), ("odd", range(1, self.series.count, 2))):
                spec = self.sample.image(half)
                stages.append(self._reconstruct(taken["signal"], spec, list(rows), half))
                images.append(spec)
        return stages, images

    def _stack(self, name: str) -> ImageSpec:
        """A scratch array (tilts, y, x)."""
        _, ny, nx = self.sample.shape
        chunk = (1, min(self._rows, ny), nx)
        return scratch_spec(str(self.sample.folder.scratch / name), (self.series.count, ny, nx), "float32", chunk)

    @property
    def _rows(self) -> int:
        """Slices across the tilt axis in one chunk."""
        rows, (nz, _, nx) = ROWS, self.sample.shape
        while rows > 32 and rows * nz * nx > SLAB:
            rows //= 2
        return rows

    def _tilt_series(self) -> ImageSpec:
        """The tilt series as an image: (tilts, y, x)."""
        _, ny, nx = self.sample.shape
        store = join_url(self.sample.out, "tilts", f"{self.sample.name}.ome.zarr")
        like = self.sample.like(store, (self.series.count, ny, nx))
        chunk = (1, min(self._rows, ny), nx)
        facts = {"tilts": dict(self.series.columns)}
        return image_spec(
            store,
            like,
            StoreOptions(chunk, chunk, codec="none", levels=1),
            dtype="float32",
            kind="intensity",
            facts=facts,
        )

    def _project(self, specimen: Volume, out: ImageSpec) -> Stage:
        count, ny, nx = out.levels[0].shape

        def build(core: Index3) -> Stage:
            rows = min(core[1], ny)
            return Stage(
                f"project-{self.series.name}",
                _PROJECT,
                Tiling((count, ny, nx), (count, rows, nx)),
                params={
                    "angle_deg": self.series.columns["true_deg"],
                    "shift_x": self.series.columns["shift_x"],
                    "voxel_size": self.sample.recipe.specimen.voxel_size,
                },
                arrays={"specimen": ArrayInput(specimen, scaled=True)},
                outputs={"projections": Output(out.volume())},
                kernel_bytes=kernel_bytes(
                    _PROJECT,
                    shape=(self.sample.shape[0], rows, nx),
                    angle_deg=self.series.columns["true_deg"],
                    voxel_size=self.sample.recipe.specimen.voxel_size,
                    cache_bytes=self._cache_bytes,
                ),
                hints={"device": self._device, "cache_bytes": self._cache_bytes},
            )

        return build(self.sample.core((count, ny, nx), (count, out.levels[0].chunks[1], nx), build))

    def _expose(self, projections: ImageSpec, out: Mapping[str, ImageSpec]) -> Stage:
        count, ny, nx = projections.levels[0].shape
        recipe = self.sample.recipe
        specimen = recipe.specimen
        facts = SpecimenFacts(specimen.size_a, specimen.voxel_size, specimen.ice, recipe.seed, self.sample.number)
        return Stage(
            f"expose-{self.series.name}",
            _EXPOSE,
            Tiling((count, ny, nx), (1, ny, nx)),
            params={
                "tilts": dict(self.series.columns),
                "specimen": facts.to_json(),
                "exposure": recipe.exposure.to_json(),
                "phase_flip": recipe.reconstruct.phase_flip,
                "dose_weight": recipe.reconstruct.dose_weight,
                "names": list(out),
            },
            arrays={"projections": ArrayInput(projections.volume())},
            outputs={name: Output(spec.volume()) for name, spec in out.items()},
            version=2,
            kernel_bytes=kernel_bytes(_EXPOSE, pixels=ny * nx, chains=self._chains),
        )

    def _reconstruct(self, stack: ImageSpec, out: ImageSpec, rows: list[int], name: str) -> Stage:
        count = stack.levels[0].shape[0]
        nz, ny, nx = self.sample.shape

        def build(core: Index3) -> Stage:
            across = min(core[1], ny)
            slab = min(across, max(32, SLAB // (nz * nx) // 32 * 32))
            angles = [self.series.columns["nominal_deg"][row] for row in rows]
            return Stage(
                f"reconstruct-{name}",
                _RECONSTRUCT,
                Tiling(self.sample.shape, (nz, across, nx)),
                params={
                    "angle_deg": self.series.columns["nominal_deg"],
                    "rows": rows,
                    "depth": nz,
                    "sign": -1.0 if self.series.name == "ideal" else 1.0,
                    "voxel_size": self.sample.recipe.specimen.voxel_size,
                    "how": self.sample.recipe.reconstruct.to_json(),
                    "factors": factors_of(out),
                },
                arrays={"images": ArrayInput(stack.volume(), scaled=True)},
                outputs=outputs_of(out),
                kernel_bytes=kernel_bytes(
                    _RECONSTRUCT,
                    shape=(nz, slab, nx),
                    images=count,
                    angle_deg=angles,
                    voxel_size=self.sample.recipe.specimen.voxel_size,
                    cache_bytes=self._cache_bytes,
                ),
                hints={"device": self._device, "cache_bytes": self._cache_bytes, "slab": slab},
            )

        unit = core_unit(out)
        return build(self.sample.core(self.sample.shape, (max(nz, unit[0]), unit[1], max(nx, unit[2])), build))

    @property
    def _chains(self) -> int:
        """Number of chains at the surfaces of the ice."""
        specimen = self.sample.recipe.specimen
        if not specimen.ice.interface_per_nm2:
            return 0
        from volengine.sim.shapes.interface import chains

        return chains(specimen.size_a, specimen.ice, max(map(abs, self.series.columns["true_deg"])))

    @property
    def _device(self) -> str:
        """The device that projects slices: the GPU that the user names, else the CPU."""
        device = self.sample.options.device
        return device if device not in ("auto", "mps") else "cpu"

    @property
    def _cache_bytes(self) -> int:
        """Bytes of matrices that a projector may keep; small workers keep fewer and compute them again."""
        from volengine.sim.imaging.projector import Projector

        return min(Projector.cache_bytes, self.sample.options.limit_bytes() // 16)
