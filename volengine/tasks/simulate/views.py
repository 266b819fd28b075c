"""Views of a specimen: the stages from its potential to tomograms.

``project`` makes line integrals, ``expose`` the images of the microscope, ``reconstruct`` a tomogram of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from volengine.core.boxes import Index3
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.stage import ArrayInput, Output, Stage
from volengine.tasks.common.images import core_unit, factors_of, image_spec, outputs_of, scratch_spec
from volengine.tasks.common.layout import join_url
from volengine.tasks.simulate.recipe import SimulateRecipe, checked_tilts
from volengine.tasks.simulate.sample import SLAB, Sample

ROWS = 64
"""Slices across the tilt axis in one chunk of a tilt series; fewer where they are large."""
IDEAL_DEG = (-89.0, 89.0, 1.0)

_BLOCKS = "volengine.tasks.simulate.blocks"


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


def views_of(recipe: SimulateRecipe, number: int) -> list[View]:
    """The tilt series of a sample, and the ideal one if it is kept."""
    from volengine.sim.imaging.tilts import TiltScheme, before, doses, tilt_series
    from volengine.sim.seeds import stream

    keep = recipe.keep
    series = tilt_series(recipe.tilts, stream(recipe.seed, number, "tilts"))
    checked_tilts(series.true_deg)
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


@dataclass(frozen=True)
class ViewStages:
    """The stages of one view of a sample."""

    sample: Sample
    view: View

    def stages(self, specimen: Volume) -> tuple[list[Stage], list[ImageSpec]]:
        """Projections, images and tomograms, and the images that hold them."""
        projections = self._stack(f"{self.view.name}-projections")
        stages = [self._project(specimen, projections)]
        images = [projections]
        tomograms = {"signal": "tomograms", "even": "even", "odd": "odd", "clean": "noise_free", "plain": "ideal"}
        if self.view.name == "ideal":
            taken = {"plain": projections}
        else:
            taken = {name: self._stack(name) for name in self.view.images}
            if self.sample.recipe.keep.tilts:
                taken["tilts" if self.sample.recipe.reconstruct.phase_flip else "signal"] = self._tilt_series()
            stages.append(self._expose(projections, taken))
            images += taken.values()
        for name, stack in taken.items():
            if name not in tomograms:
                continue
            spec = self.sample.image(tomograms[name])
            stages.append(self._reconstruct(stack, spec, list(range(self.view.count)), tomograms[name]))
            images.append(spec)
        if self.view.name == "series" and self.sample.recipe.keep.halves == "tilts":
            for half, rows in (("even", range(0, self.view.count, 2)), ("odd", range(1, self.view.count, 2))):
                spec = self.sample.image(half)
                stages.append(self._reconstruct(taken["signal"], spec, list(rows), half))
                images.append(spec)
        return stages, images

    def _stack(self, name: str) -> ImageSpec:
        """Images (tilts, y, x) that are not kept."""
        _, ny, nx = self.sample.shape
        chunk = (1, min(self._rows, ny), nx)
        return scratch_spec(str(self.sample.folder.scratch / name), (self.view.count, ny, nx), "float32", chunk)

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
        like = self.sample.like(store, (self.view.count, ny, nx))
        chunk = (1, min(self._rows, ny), nx)
        facts = {"tilts": dict(self.view.columns)}
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

    def _project(self, specimen: Volume, out: ImageSpec) -> Stage:
        count, ny, nx = out.levels[0].shape

        def build(core: Index3) -> Stage:
            rows = min(core[1], ny)
            return Stage(
                f"project-{self.view.name}",
                f"{_BLOCKS}:project_block",
                Tiling((count, ny, nx), (count, rows, nx)),
                params={
                    "angle_deg": self.view.columns["true_deg"],
                    "shift_x": self.view.columns["shift_x"],
                    "voxel_size": self.sample.recipe.specimen.voxel_size,
                },
                arrays={"specimen": ArrayInput(specimen, scaled=True)},
                outputs={"projections": Output(out.volume())},
                kernel_bytes=self._matrices(self.view.columns["true_deg"])
                + 216 * self.sample.shape[0] * nx  # shares and pixels of eight tilts, of which a matrix is made
                + 4 * rows * nx * (self.sample.shape[0] + 2 * count),
                hints={"device": self._device, "cache_bytes": self._cache_bytes},
            )

        return build(self.sample.core((count, ny, nx), (count, out.levels[0].chunks[1], nx), build))

    def _expose(self, projections: ImageSpec, out: Mapping[str, ImageSpec]) -> Stage:
        count, ny, nx = projections.levels[0].shape
        recipe = self.sample.recipe
        return Stage(
            f"expose-{self.view.name}",
            f"{_BLOCKS}:expose_tilt",
            Tiling((count, ny, nx), (1, ny, nx)),
            params={
                "tilts": dict(self.view.columns),
                "size_a": recipe.specimen.size_a,
                "ice": recipe.specimen.ice.to_json(),
                "exposure": recipe.exposure.to_json(),
                "phase_flip": recipe.reconstruct.phase_flip,
                "voxel_size": recipe.specimen.voxel_size,
                "seed": recipe.seed,
                "sample": self.sample.number,
                "names": list(out),
            },
            arrays={"projections": ArrayInput(projections.volume())},
            outputs={name: Output(spec.volume()) for name, spec in out.items()},
            kernel_bytes=90_000_000 + 160 * ny * nx,
        )

    def _reconstruct(self, stack: ImageSpec, out: ImageSpec, rows: list[int], name: str) -> Stage:
        count = stack.levels[0].shape[0]
        nz, ny, nx = self.sample.shape

        def build(core: Index3) -> Stage:
            across = min(core[1], ny)
            slab = min(across, max(32, SLAB // (nz * nx) // 32 * 32))
            angles = [self.view.columns["nominal_deg"][row] for row in rows]
            return Stage(
                f"reconstruct-{name}",
                f"{_BLOCKS}:reconstruct_block",
                Tiling(self.sample.shape, (nz, across, nx)),
                params={
                    "angle_deg": self.view.columns["nominal_deg"],
                    "rows": rows,
                    "depth": nz,
                    "sign": -1.0 if self.view.name == "ideal" else 1.0,
                    "voxel_size": self.sample.recipe.specimen.voxel_size,
                    "how": self.sample.recipe.reconstruct.to_json(),
                    "factors": factors_of(out),
                },
                arrays={"images": ArrayInput(stack.volume(), scaled=True)},
                outputs=outputs_of(out),
                kernel_bytes=60_000_000 + self._matrices(angles, 2) + 4 * nx * slab * (6 * count + 4 * nz),
                hints={"device": self._device, "cache_bytes": self._cache_bytes, "slab": slab},
            )

        unit = core_unit(out)
        return build(self.sample.core(self.sample.shape, (max(nz, unit[0]), unit[1], max(nx, unit[2])), build))

    @property
    def _device(self) -> str:
        """Where slices are projected: the GPU that the user names; it is not taken unasked."""
        device = self.sample.options.device
        return device if device not in ("auto", "mps") else "cpu"

    def _matrices(self, angle_deg: list[float], geometries: int = 1) -> int:
        """Bytes of geometries' matrices: those that each of them holds, and the one being made."""
        from volengine.sim.imaging.projector import Projector

        nz, _, nx = self.sample.shape
        need = Projector((nz, nx), angle_deg, self.sample.recipe.specimen.voxel_size).matrix_bytes
        return geometries * min(need, self._cache_bytes) + need // max(1, len(angle_deg) // 8)

    @property
    def _cache_bytes(self) -> int:
        """Matrices that a projector may hold: less in small workers, where they are made again instead."""
        from volengine.sim.imaging.projector import Projector

        return min(Projector.cache_bytes, self.sample.options.limit_bytes() // 16)
