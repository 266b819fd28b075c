"""What ``surfaces measure`` is given: surfaces and what lies beside them, opened and compared with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.io.names import same_tomogram
from volengine.io.open import OpenVolume
from volengine.io.stores import located
from volengine.io.surfaces import ENDING, SurfaceFacts, SurfaceSet, open_surfaces
from volengine.tasks.common.named import feature_of, open_sized, tomogram_in
from volengine.tasks.common.origins import origins_note
from volengine.tasks.common.set_read import SetRead, file_identity, grid_of_picks, identifier
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.sets import one_of, others_of

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
        found = {one: one_of(path, name, one) for one in ("tomogram", "labels") if (path := getattr(recipe, one))}
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
        for one, volume in self.volumes.items():
            self._compare(volume.where, volume.origin, volume.voxel_size, volume.shape)
            whose = tomogram_in(volume.name, feature_of(volume))
            self._same("the tomogram is" if one == "tomogram" else "the labels those of", whose)
        self.others = {_label(path): self._other(path) for path in recipe.others}
        if len(self.others) < len(recipe.others):
            raise InputError(f"{', '.join(recipe.others)}: two sets have the same name; rename one.")
        self.picks = self._picks()

    def _compare(self, name: str, origin: Any, size: Any, shape: Any) -> None:
        facts = self.facts
        if facts.voxel_size is None and any(origin):
            raise InputError(f"{name}: states an origin, and {self.surfaces.path} none; give --tomogram.")
        if facts.voxel_size is None or size is None:
            return
        mine = (str(self.surfaces.path), facts.origin, facts.voxel_size)
        if said := origins_note(mine, (name, origin, size), accept=self.recipe.any_origin):
            self.notes.append(said)
        if facts.shape is None or shape is None:
            return
        ours, theirs = np.multiply(facts.shape, facts.voxel_size), np.multiply(shape, size)
        if (np.abs(ours - theirs) > 2 * np.maximum(facts.voxel_size, size)).any():
            raise InputError(
                f"{self.surfaces.path}: is of a tomogram that measures {_nm(ours)} nm (z, y, x), and {name} measures "
                f"{_nm(theirs)} nm; give what belongs to the same tomogram."
            )

    def _same(self, what: str, tomogram: str) -> None:
        """Say it if something is of a tomogram with another name; names alone prove nothing."""
        mine = self.facts.tomogram
        if mine and tomogram and same_tomogram(mine, [tomogram]) is None:
            self.notes.append(f"The surfaces are those of {mine!r}, and {what} {tomogram!r}.")

    def _other(self, path: str) -> SurfaceSet:
        other = open_surfaces(path)
        self._compare(path, other.facts.origin, other.facts.voxel_size, other.facts.shape)
        self._same(f"those of {path} are of", other.facts.tomogram)
        return other

    def _picks(self) -> str | None:
        from volengine.io.picks import read_all

        if self.recipe.picks is None:
            return None
        facts = self.facts
        tables = read_all(self.recipe.picks, **grid_of_picks(facts))
        if len(tables) > 1 and facts.tomogram not in tables:
            raise InputError(
                f"{self.recipe.picks}: has picks of the tomograms {', '.join(map(repr, tables))}, and the surfaces are "
                f"those of {facts.tomogram!r}; give a table with picks of it."
            )
        name = facts.tomogram if facts.tomogram in tables else next(iter(tables))
        picks = tables[name]
        self._same("the picks those of", name)
        self._compare(self.recipe.picks, picks.origin, picks.voxel_size, picks.shape)
        return name

    def sources(self) -> dict[str, str]:
        """What was read beside the surfaces, for the history."""
        named = {name: getattr(self.recipe, name) for name in ("tomogram", "labels", "picks", "morphometrics")}
        return {name: Path(path).name for name, path in named.items() if path} | {
            f"others {label}": surfaces.path.name for label, surfaces in self.others.items()
        }

    def described(self) -> dict[str, Any]:
        """All that workers need to know, as JSON values, with what proves that it has not changed."""
        recipe = self.recipe.with_(overwrite=False, csv=None)
        files = {one: located(path) for one in ("picks", "morphometrics") if (path := getattr(recipe, one))}
        recipe = recipe.with_(**files)
        return {
            "set": SetRead.of(self.surfaces, self.identity).to_json(),
            "recipe": recipe.to_json(),
            "volumes": {name: volume.to_json() for name, volume in self.volumes.items()},
            "others": {name: SetRead.of(one, self.identity).to_json() for name, one in self.others.items()},
            "picks": self.picks,
            "files": {one: file_identity(path, self.identity) for one, path in files.items()},
            "how": self.identity,
        }


def _all() -> tuple[str, ...]:
    return SurfacesMeasureRecipe().measures


def _label(path: str) -> str:
    """How columns call another set: by its feature, else by the name of its file."""
    facts = open_surfaces(path).facts
    return identifier(facts.feature or Path(path.rstrip("/")).name.removesuffix(ENDING))


def _nm(lengths: Floats) -> str:
    return " x ".join(f"{v / NM:.5g}" for v in lengths)
