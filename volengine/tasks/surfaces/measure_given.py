"""What ``surfaces measure`` is given: surfaces and what lies beside them, opened and compared with each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.volume import Vector3
from volengine.io.names import same_tomogram
from volengine.io.open import OpenVolume
from volengine.io.stores import located
from volengine.io.surfaces import ENDING, SurfaceFacts, SurfaceSet, open_surfaces
from volengine.tasks.common.densities import check_densities
from volengine.tasks.common.lying import Asked, Grid, Lattice, check_extent, lies_on, same_voxels
from volengine.tasks.common.named import feature_in, feature_of, open_sized, tomogram_in
from volengine.tasks.common.set_read import SetRead, file_identity, identifier
from volengine.tasks.surfaces.given_picks import as_stated, tables_of
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.sets import one_of, others_of
from volengine.tasks.surfaces.table_of import TableOf

Floats = NDArray[np.float64]


class Given:
    """All inputs of one set of surfaces, opened and compared with each other before anything is measured.

    Parameters
    ----------
    where
        The set.
    recipe
        What is measured. Of volumes and sets of several tomograms those of the set's tomogram are taken.
    identity
        How inputs are recognised (``quick`` or ``content``).

    Raises
    ------
    MissingError, FormatError
        Something that is named does not exist, or is damaged.
    InputError
        It belongs to another tomogram, or a measure needs what is not known.
    """

    def __init__(self, where: str, recipe: SurfacesMeasureRecipe, identity: str = "quick"):
        self.notes, self.identity = list[str](), identity
        self.surfaces = open_surfaces(where)
        name = self.surfaces.facts.tomogram
        given_volumes = {one: path for one in ("tomogram", "labels") if (path := getattr(recipe, one))}
        found = {one: one_of(path, name, f"--{one}") for one, path in given_volumes.items()}
        given = recipe.others
        self.recipe = recipe = recipe.with_(**found, others=others_of(recipe.others, name, where))
        if given and not recipe.others:
            self.notes.append(
                f"--others {','.join(given)} names no set but {where} itself; distances between its own surfaces are "
                "measured as 'nearest'."
            )
        self.volumes: dict[str, OpenVolume] = {
            one: open_sized(path, identity="content" if identity == "content" else "quick")
            for one, path in found.items()
        }
        if "tomogram" in self.volumes:
            self.notes += check_densities(self.volumes["tomogram"])
        labels = self.volumes.get("labels")
        if labels is not None and labels.kind == "probability":
            raise InputError(
                f"--labels {labels.where}: is a prediction, which has no labels; volengine pick makes some."
            )
        first = next(iter(self.volumes.values()), None)
        if self.surfaces.facts.voxel_size is None and first is not None:
            facts = SurfaceFacts(first.name, "", first.voxel_size, first.origin, first.shape)
            self.surfaces = open_surfaces(where, facts)
        self.facts = self.surfaces.facts
        if "volume" in recipe.measures and self.facts.shape is None and recipe.measures != _all():
            raise InputError(f"{where}: states no shape of its tomogram, whose faces are asked for; give --tomogram.")
        self.grids: dict[str, Grid] = {}
        for one, volume in self.volumes.items():
            self.grids[one] = self._lies(Lattice(volume.where, volume.origin, volume.voxel_size, volume.shape))
            whose = tomogram_in(volume.name, feature_of(volume))
            self._same("the tomogram is" if one == "tomogram" else "the labels those of", whose)
        self.moved: dict[str, Vector3] = {}
        self.others = {_label(path): self._other(path) for path in recipe.others}
        if len(self.others) < len(recipe.others):
            raise InputError(f"{', '.join(recipe.others)}: two sets have the same name; rename one.")
        self.picks = self._picks()

    def _lies(self, other: Lattice) -> Grid:
        """How something lies on the tomogram of the surfaces; notes say if this is not known.

        Raises
        ------
        InputError
            It has another origin or extent.
        """
        facts, (name, origin, size, _) = self.facts, other
        if facts.voxel_size is None and any(origin):
            raise InputError(f"{name}: states an origin, and {self.surfaces.path} none; give --tomogram.")
        if facts.voxel_size is None:
            return Grid(size, (0.0, 0.0, 0.0))
        check_extent(self._mine, other)
        asked = Asked(self.recipe.mask_grid, self.recipe.any_origin)
        # only tables of picks state no shape
        lies = lies_on(self._mine, other, asked, "centres" if other.shape is None else "faces")
        self.notes += lies.notes
        return lies.grid

    @property
    def _mine(self) -> Lattice:
        facts = self.facts
        assert facts.voxel_size is not None
        return Lattice(str(self.surfaces.path), facts.origin, facts.voxel_size, facts.shape)

    def _same(self, what: str, tomogram: str) -> None:
        """Say it if something is of a tomogram with another name; names alone prove nothing."""
        mine = self.facts.tomogram
        if mine and tomogram and same_tomogram(mine, [tomogram]) is None:
            self.notes.append(f"The surfaces are those of {mine!r}, and {what} {tomogram!r}.")

    def _other(self, path: str) -> SurfaceSet:
        other = open_surfaces(path)
        facts = other.facts
        if facts.voxel_size is not None:
            lattice = Lattice(path, facts.origin, facts.voxel_size, facts.shape)
            self.moved[_label(path)] = self._lies(lattice).offset
        elif self.facts.voxel_size is None and any(facts.origin):
            raise InputError(f"{path}: states an origin, and {self.surfaces.path} none; give --tomogram.")
        self._same(f"those of {path} are of", other.facts.tomogram)
        return other

    def _picks(self) -> list[TableOf]:
        """The tables of picks of the tomogram, each with the place of its grid."""
        if not self.recipe.picks:
            return []
        found = []
        for table in tables_of(self.recipe.picks, self.facts.tomogram, self.facts):
            self._same("the picks those of", tomogram_in(table.name, feature_in(table.name)))
            own = as_stated(table, self.facts)
            picks = table.read(self.facts) if own is None else own
            lattice = Lattice(table.path, picks.origin, picks.voxel_size, picks.shape)
            grid = self._lies(lattice)
            other = own is not None and self.facts.voxel_size is not None and not same_voxels(self._mine, lattice)
            found.append(replace(table, own=other, offset=grid.offset))
        return found

    def sources(self) -> dict[str, str]:
        """What was read beside the surfaces, for the history."""
        named = {name: getattr(self.recipe, name) for name in ("tomogram", "labels", "morphometrics")}
        told = {name: Path(path).name for name, path in named.items() if path}
        if self.picks:
            told["picks"] = ", ".join(Path(table.path).name for table in self.picks)
        return told | {f"others {label}": surfaces.path.name for label, surfaces in self.others.items()}

    def described(self) -> dict[str, Any]:
        """All that workers need to know, as JSON values, with what proves that it has not changed."""
        recipe = self.recipe.with_(overwrite=False, csv=None, picks=(), mask_grid="auto", any_origin=False)
        files = [located(table.path) for table in self.picks]
        if recipe.morphometrics is not None:
            files.append(located(recipe.morphometrics))
            recipe = recipe.with_(morphometrics=files[-1])
        return {
            "set": SetRead.of(self.surfaces, self.identity).to_json(),
            "recipe": recipe.to_json(),
            "volumes": {name: volume.to_json() for name, volume in self.volumes.items()},
            "grids": {name: grid.to_json() for name, grid in self.grids.items()},
            "others": {name: SetRead.of(one, self.identity).to_json() for name, one in self.others.items()},
            "moved": {name: list(offset) for name, offset in self.moved.items()},
            "picks": [table.to_json() for table in self.picks],
            "files": {path: file_identity(path, self.identity) for path in files},
            "how": self.identity,
        }


def _all() -> tuple[str, ...]:
    return SurfacesMeasureRecipe().measures


def _label(path: str) -> str:
    """How columns call another set: by its feature, else by the name of its file."""
    facts = open_surfaces(path).facts
    return identifier(facts.feature or Path(path.rstrip("/")).name.removesuffix(ENDING))
