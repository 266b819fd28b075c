"""Reading the tables of picks that ``stats`` counts, with what is known about their tomograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.roi import roi_box
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.io.names import same_tomogram, tomogram_key
from volengine.io.picks.rows import Known
from volengine.io.stores import local_copy
from volengine.tasks.common.grids import known_of
from volengine.tasks.common.layout import feature_named
from volengine.tasks.common.lying import Asked, lattice_of
from volengine.tasks.common.named import tomogram_in
from volengine.tasks.common.origins import beside_volumes, from_first_note
from volengine.tasks.common.stated import on_volumes
from volengine.tasks.stats.objects import Objects, Part, SourceObjects, extent_of, part_of
from volengine.tasks.stats.recipe import StatsRecipe


def asked_of(recipe: StatsRecipe) -> Asked:
    """What the user says of sources with other voxels or origins."""
    return Asked(recipe.mask_grid, recipe.any_origin)


class PicksReader:
    """Reads tables of picks.

    Parameters
    ----------
    recipe
        Gives the voxel size.
    grids
        Voxel size, shape and origin of tomograms, by name; if there are any, only rows of these are read.
    volumes
        Label volumes of the same call, which are asked if a table does not state what is needed.
    """

    def __init__(self, recipe: StatsRecipe, grids: Mapping[str, Known], volumes: Sequence[Volume] = ()):
        self.recipe = recipe
        self.grids = grids
        self.volumes = volumes
        self.notes: list[str] = []

    def read(self, path: str) -> list[SourceObjects]:
        """The objects of each tomogram of a table; errors are those of :func:`volengine.io.picks.read_all`."""
        stem, file = Path(path).stem, Path(path).name
        read = []
        with local_copy(path) as copy:
            tables = self._tables(str(copy))
        for name, picks in tables.items():
            feature = picks.feature or feature_named(stem.rpartition("__")[2])
            tomogram = tomogram_key(tomogram_in(name, feature))
            extent = None if picks.shape is None else extent_of(picks.shape, picks.voxel_size)
            slack = 2 * max(picks.voxel_size) / NM_TO_ANGSTROM
            box = lattice_of(picks, f"{file} ({name})" if name else file)
            picks, part = self._inside(picks, path)
            found = {feature: Objects.of_picks(picks, file)}
            read.append(SourceObjects(tomogram, path, extent, slack, found, box, part))
        return read

    def _inside(self, picks: Picks, path: str) -> tuple[Picks, Part | None]:
        """The picks in the recipe's roi, and its place: those whose nearest voxel lies in it."""
        if not self.recipe.roi:
            return picks, None
        if picks.shape is None:
            raise InputError(
                f"{path} does not state the shape of tomogram {picks.tomogram!r}, in which --roi is: give its volume "
                "as --volume."
            )
        roi = roi_box(self.recipe.roi, picks.shape, picks.voxel_size, path)
        voxel = np.floor(picks.position_vox + 0.5)
        inside = ((voxel >= roi.start) & (voxel < roi.stop)).all(axis=1)
        return picks[inside], part_of(roi, picks.voxel_size)

    def _tables(self, path: str) -> dict[str, Picks]:
        from volengine.io.picks import read_all

        if self.grids:
            return self._of(path, self.grids)
        try:
            return self._placed(path, read_all(path))
        except InputError as error:
            if type(error) is not InputError:
                raise
            if self.recipe.voxel_size is not None:
                try:
                    return self._placed(path, read_all(path, voxel_size=(self.recipe.voxel_size,) * 3))
                except InputError as other:
                    error = other
            if type(error) is not InputError or not self.volumes:
                hint = " To take these from a tomogram, give it as --volume." if type(error) is InputError else ""
                raise type(error)(f"{error}{hint}") from error
            return self._of(path, known_of(self.volumes))

    def _of(self, path: str, grids: Mapping[str, Known]) -> dict[str, Picks]:
        from volengine.io.picks.of_volumes import read_of

        tables, said = read_of(path, grids)
        self.notes += [said, *beside_volumes(tables, grids, Path(path).name, accept=self.recipe.any_origin)]
        tables, more = on_volumes(path, tables, grids, asked_of(self.recipe))
        self.notes += more
        return tables

    def _placed(self, path: str, tables: dict[str, Picks]) -> dict[str, Picks]:
        """Tables in angstrom alone, with the origins of the label volumes of the same call taken into account."""
        from volengine.io.picks.of_volumes import read_of

        if not (note := from_first_note(path)):
            return tables
        of_volumes, _ = read_of(path, known_of(self.volumes), required=False)
        alone = len(tables) == len(of_volumes) == 1
        fits = {name: next(iter(of_volumes)) if alone else same_tomogram(name, of_volumes) for name in tables}
        self.notes += [] if all(fits.values()) else [note]
        return {name: tables[name] if fit is None else of_volumes[fit] for name, fit in fits.items()}
