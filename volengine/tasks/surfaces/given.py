"""What ``surfaces sample``, ``profile`` and ``pick`` are given: a set of surfaces with its tomogram, for a plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from volengine.core.errors import InputError
from volengine.io.open import OpenVolume
from volengine.io.picks import ending_of
from volengine.io.stores import located
from volengine.io.surfaces import FACTS, SurfaceSet, open_surfaces
from volengine.tasks.common.jobs import Verb
from volengine.tasks.common.layout import has_plan, join_url
from volengine.tasks.common.lying import Asked, Grid
from volengine.tasks.common.named import open_sized
from volengine.tasks.common.set_read import SetRead, file_identity
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe, SurfacesProfileRecipe, SurfacesSampleRecipe
from volengine.tasks.surfaces.reading import beside
from volengine.tasks.surfaces.sets import name_of_set, one_of
from volengine.tasks.surfaces.writing import check_out

R = TypeVar("R", SurfacesPickRecipe, SurfacesProfileRecipe, SurfacesSampleRecipe)

OUTPUTS = ("picture", "scored", "to", "overwrite", "mask_grid", "any_origin")
"""Fields that say where things are written, and not what they are; or of which a plan says what follows from them."""


@dataclass(frozen=True)
class BesideGiven(Generic[R]):
    """A set of surfaces, opened and compared with its tomogram.

    Parameters
    ----------
    path
        Where the set is.
    surfaces, volume
        The set, and the tomogram, if one is given.
    recipe
        What is done, with the one tomogram that belongs to the set.
    grid
        How the tomogram lies on that of the surfaces, if both are known.
    notes
        Sentences for the user.
    how
        How inputs are recognised (``quick`` or ``content``).
    """

    path: str
    surfaces: SurfaceSet
    volume: OpenVolume | None
    recipe: R
    grid: Grid | None
    notes: tuple[str, ...]
    how: str

    @classmethod
    def of(cls, path: str, recipe: R, how: str) -> BesideGiven[R]:
        """Open a set and its tomogram.

        Raises
        ------
        MissingError, FormatError
            One of them does not exist, or is damaged.
        InputError
            The tomogram is another one.
        """
        if recipe.tomogram is not None:
            whose = open_surfaces(path).facts.tomogram
            recipe = replace(recipe, tomogram=one_of(recipe.tomogram, whose, "--tomogram"))
        surfaces, volume, grid, notes = beside(path, recipe.tomogram, Asked(recipe.mask_grid, recipe.any_origin))
        if volume is not None and how == "content":
            volume = open_sized(volume.url if recipe.tomogram is None else recipe.tomogram, identity="content")
        return cls(path, surfaces, volume, recipe, grid, tuple(notes), how)

    def described(self) -> dict[str, Any]:
        """All that workers need to know, as JSON values, with what proves that it has not changed."""
        values = {k: v for k, v in self.recipe.to_json().items() if k not in OUTPUTS}
        volumes = {} if self.volume is None else {"tomogram": self.volume.to_json()}
        files: dict[str, str] = {}
        if template := values.get("template"):
            opened = open_sized(template, identity="content" if self.how == "content" else "quick")
            volumes["template"] = opened.to_json()
            values["template"] = template if "#" in template else located(template)
        if model := values.get("model"):
            values["model"] = located(model)
            files[values["model"]] = file_identity(model, self.how)
        return {
            "set": SetRead.of(self.surfaces, self.how).to_json(),
            "recipe": values,
            "volumes": volumes,
            "grid": None if self.grid is None else self.grid.to_json(),
            "files": files,
            "how": self.how,
        }


class TableVerb(Verb[Any, Any, Any, Any]):
    """A verb whose product is a table of picks: any file that is named, or files in a folder."""

    def is_product(self, out: str) -> bool:
        """Whether ``out`` names one file: it has an ending, and is no folder."""
        return bool(Path(out).suffix) and not out.endswith("/") and not Path(out).is_dir()


def table_place(verb: Verb[Any, Any, Any, Any], source: str, out: str, to: str | None) -> str:
    """The table of one source: ``out``, or a file with the name of the set in the folder ``out``."""
    if (Path(out) / FACTS).is_file():
        raise InputError(f"{out}: is a set of surfaces, into which no tables are written; give a file or a folder.")
    return out if verb.is_product(out) else join_url(out, name_of_set(source) + ending_of(to))


def refuse_table(run_dir: str, name: str, place: str, overwrite: bool, to: str | None, *sources: str | None) -> None:
    """Refuse to write a table where a file is that this run folder has not made, or a source; or in no format.

    Raises
    ------
    InputError
        See :func:`~volengine.tasks.surfaces.writing.check_out`.
    """
    ours = has_plan(run_dir, name)
    check_out(place, overwrite or ours, to, *sources)
