"""One call of ``stats``: its inputs, the volumes that are counted already, and the tables that it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.core.stopping import if_stopped
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.identity import How
from volengine.tasks.common.grids import grids_of
from volengine.tasks.common.layout import feature_named, file_name, join_url
from volengine.tasks.stats.groups import read_groups
from volengine.tasks.stats.inputs import (
    Sources,
    lying,
    objects_of_volume,
    tomograms_of,
)
from volengine.tasks.stats.objects import SourceObjects, moved
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.surface_inputs import Grid
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.tables import (
    ALWAYS,
    FIGURES,
    ON_SURFACES,
    Counted,
    Stats,
    count_tomograms,
    files_in,
    tables_of,
)
from volengine.tasks.stats.truth import counting

if TYPE_CHECKING:
    from volengine.tasks.stats.surface import SurfaceStats

TRUTH = "truth__"
"""Prefix of the names of the truth's plans, which keeps them different from those of the inputs."""


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A label volume to count.

    Parameters
    ----------
    key
        Name of its plan.
    volume, recipe
        What is counted, and how.
    file
        File in the run folder that holds its objects (``.npz``).
    """

    key: str
    volume: Volume
    recipe: StatsRecipe
    file: str

    @property
    def counted(self) -> bool:
        """Whether the volume has been counted."""
        return Path(self.file).is_file()

    def objects(self) -> SourceObjects:
        """Read the objects that were counted.

        Raises
        ------
        MissingError
            The volume is not counted yet.
        FormatError
            The file is damaged.
        """
        path = Path(self.file)
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in ("class", "position_vox", "voxels")}
        except FileNotFoundError:
            raise MissingError(f"{path}: {self.volume.name} is not counted yet; run the same command again.") from None
        except (OSError, ValueError, KeyError) as error:
            raise FormatError(f"{path} is damaged ({error}); delete the run folder and count again.") from error
        return objects_of_volume(self.volume, found, self.recipe)


@dataclass(frozen=True, eq=False)
class StatsCase:
    """The inputs and outputs of one call of ``stats``.

    Parameters
    ----------
    sources, truth
        The inputs, and the true objects (``None`` without a truth).
    groups
        The group of each tomogram, or ``None``.
    recipe
        What is counted, and how.
    out, run_dir
        The folder of the tables; and the run folder, which holds the counted objects.
    surfaces, surface_recipe
        Paths of the surfaces on which the objects lie, and what is measured there.
    """

    sources: Sources
    truth: Sources | None
    groups: Mapping[str, str] | None
    recipe: StatsRecipe
    out: str
    run_dir: str
    surfaces: tuple[str, ...] = ()
    surface_recipe: SurfaceStatsRecipe = field(default_factory=SurfaceStatsRecipe)

    @classmethod
    def find(
        cls,
        inputs: PathsLike,
        out: str,
        recipe: StatsRecipe,
        run_dir: str,
        *,
        truth: PathsLike = (),
        groups: PathLike | None = None,
        volumes: PathsLike = (),
        identity: How = "quick",
        surfaces: PathsLike = (),
        surface_recipe: SurfaceStatsRecipe | None = None,
    ) -> StatsCase:
        """Open what the paths name: read tables of picks, and the metadata of label volumes.

        The arguments are those of :func:`volengine.tasks.stats.verb.stats`; ``identity`` is how volumes are identified.
        """
        if "://" in out:
            raise InputError(f"--out {out}: tables and plots are written to a folder of this machine.")
        grids = grids_of(path_texts(volumes), recipe.voxel_size)
        sources, known = Sources.find(path_texts(inputs), recipe, identity=identity, grids=grids), None
        if truth := path_texts(truth):
            known = Sources.find(truth, recipe.of_truth(), "truth", identity, grids)
        named = read_groups(path_text(groups)) if groups is not None else None
        _check_split(sources, recipe)
        lying(sources.boxes, [] if known is None else known.boxes, recipe)
        return cls(
            sources, known, named, recipe, out, run_dir, _surface_paths(surfaces), SurfaceStatsRecipe.of(surface_recipe)
        )

    def check_place(self, overwrite: bool) -> None:
        """Refuse to replace files in the folder of the tables that no call of ``stats`` has written.

        That is before anything is counted; :meth:`finish` does so, too.

        Raises
        ------
        InputError
            One is there, and is not as an earlier call has written it.
        """
        tables = [*ALWAYS, *(["counting"] if self.truth else []), *(ON_SURFACES if self.surfaces else [])]
        figures = FIGURES if self.recipe.plots else ()
        names = [
            *(f"{name}.csv" for name in tables),
            *(f"{name}.{kind}" for name in figures for kind in ("svg", "png")),
        ]
        files_in(self.out, overwrite).check(names)

    def volumes(self) -> dict[str, LabelVolume]:
        """All label volumes, including those of the truth, by the names of their plans.

        Raises
        ------
        InputError
            Two volumes have the same name.
        """
        found: dict[str, LabelVolume] = {}
        for one in (*self._volumes(), *self._true_volumes()):
            if one.key in found:
                raise InputError(f"Two inputs have the same name {one.key!r}; names must be unique in a run.")
            found[one.key] = one
        return found

    def _volumes(self) -> list[LabelVolume]:
        return [self._volume(v, self.recipe) for v in self.sources.volumes]

    def _true_volumes(self) -> list[LabelVolume]:
        recipe = self.recipe.of_truth()
        return [self._volume(v, recipe, TRUTH) for v in (self.truth.volumes if self.truth else ())]

    def _volume(self, volume: Volume, recipe: StatsRecipe, before: str = "") -> LabelVolume:
        key = before + _key(volume)
        return LabelVolume(key, volume, recipe, join_url(self.run_dir, "counted", f"{key}.npz"))

    @property
    def complete(self) -> bool:
        """Whether all volumes are counted. If several parts share a run, only the last one finds them complete."""
        return all(one.counted for one in self.volumes().values())

    def finish(self, options: RunOptions | None = None) -> Stats:
        """Join the counts of all sources, and write the tables and plots.

        ``options`` says whether files of others are replaced; with surfaces how many workers share what is measured on
        them, and whether progress is shown.

        Raises
        ------
        MissingError, InputError
            A volume is not counted yet; the sources do not fit each other, the groups or the truth; or a file in the
            folder is not as an earlier call has written it.
        """
        with if_stopped(self._how_it_goes_on):
            return self._finished(options or RunOptions())

    def _how_it_goes_on(self) -> str:
        if not self.volumes():
            return "Tables of picks are counted anew by the same command; no table is written in half."
        return f"The same command counts no volume again (run folder {self.run_dir}), and writes the tables."

    def _finished(self, options: RunOptions) -> Stats:
        recipe = self.recipe
        ours = [*self.sources.picks, *(one.objects() for one in self._volumes())]
        theirs = [] if self.truth is None else [*self.truth.picks, *(one.objects() for one in self._true_volumes())]
        boxes, true = ([(one.tomogram, one.box) for one in side] for side in (ours, theirs))
        offsets, of_voxels = lying(boxes, true, recipe)
        placed = [moved(one, [v / NM_TO_ANGSTROM for v in o]) for one, o in zip((*ours, *theirs), offsets, strict=True)]
        found = tomograms_of(placed[: len(ours)])
        counted = count_tomograms(found.values(), recipe, self.groups)
        tables = tables_of(counted, grouped=self.groups is not None)
        if self.truth is not None:
            known = tomograms_of(placed[len(ours) :])
            tables["counting"] = counting(found, known, recipe.radius_nm, () if recipe.ids else recipe.classes)
        kept = {k: v for k, v in recipe.to_json().items() if k != "mask_grid" and (k != "roi" or v)}
        facts: dict[str, Any] = {"recipe": kept, "tomograms": [c.name for c in counted]}
        notes = [*self.sources.notes, *(self.truth.notes if self.truth is not None else ())]
        surfaced = self._surfaces(counted, options)
        if surfaced is not None:
            tables |= surfaced.tables
            notes += surfaced.notes
            facts["surface_recipe"] = self.surface_recipe.to_json()
        if notes := [*notes, *of_voxels]:
            facts["notes"] = notes
        more: dict[str, bytes] = {}
        if recipe.plots:
            from volengine.tasks.stats.plots import plots_of

            more |= plots_of(counted, recipe)
        if surfaced is not None:
            from volengine.tasks.stats.surface_files import surface_files

            more |= surface_files(surfaced, self.surface_recipe, recipe)
        result = Stats(tables, facts)
        said = result.write(self.out, more, overwrite=options.overwrite)
        return replace(result, facts={**facts, "notes": [*notes, *said]}) if said else result

    def _surfaces(self, counted: Sequence[Counted], options: RunOptions) -> SurfaceStats | None:
        """The objects on their surfaces, if any are given."""
        if not self.surfaces:
            return None
        from volengine.tasks.stats.surface import measure_surfaces

        boxes = dict(reversed(self.sources.boxes))  # the first source of a tomogram
        counts = {c.name: sum(len(one.objects) for one in c.classes.values()) for c in counted}
        grids = {c.name: Grid(c.tomogram.extent_nm, boxes[c.name], counts[c.name]) for c in counted}
        grouped = self.groups is not None
        return measure_surfaces(
            counted, self.surfaces, grids, self.recipe, self.surface_recipe, grouped=grouped, options=options
        )


def _surface_paths(surfaces: PathsLike) -> tuple[str, ...]:
    """The paths of surfaces, which must be there before volumes are counted."""
    paths = tuple(path_texts(surfaces))
    if paths:
        from volengine.tasks.stats.surface_inputs import find_sets

        find_sets(paths)
    return paths


def _key(volume: Volume) -> str:
    """Name of a volume's plan: its own name, followed by the name of the labels in a store."""
    group = volume.path.rpartition("/")[0].removeprefix("labels/") if volume.stored else volume.path.strip("/")
    return volume.name + (f"__{file_name(feature_named(group))}" if group else "")


def _check_split(sources: Sources, recipe: StatsRecipe) -> None:
    """Refuse a class in ``split`` that no atlas has, because it may be misspelled."""
    atlases = [v for v in sources.volumes if recipe.labels_of(v) == "atlas"]
    for name in recipe.split:
        splits = [recipe.with_(split=(name,)).rules_of(v).split for v in atlases]
        if not any(splits):
            known = sorted({n for v in atlases for n in recipe.names_of(v).values()})
            raise InputError(
                f"--split {name}: no atlas has this class; there are {', '.join(known) or 'none with names'}."
            )
