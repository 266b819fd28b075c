"""surfaces profile: the tomogram along the normals of surfaces, as columns, and unrolled into pictures.

Methods are in :mod:`volengine.tasks.surfaces.profile_read`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import Stage, kernel_bytes
from volengine.io.stores import located
from volengine.io.surfaces import ENDING
from volengine.tasks.common import division
from volengine.tasks.common.division import line_of
from volengine.tasks.common.ended import noted
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import has_plan, join_url, plan_folder
from volengine.tasks.common.set_read import SetRead
from volengine.tasks.surfaces.given import BesideGiven
from volengine.tasks.surfaces.measure import refuse_others
from volengine.tasks.surfaces.picking_recipes import SurfacesProfileRecipe
from volengine.tasks.surfaces.profile_read import column_name as column_name
from volengine.tasks.surfaces.profile_read import distance_in as distance_in
from volengine.tasks.surfaces.profile_read import membranogram as membranogram
from volengine.tasks.surfaces.profile_read import profiles_of as profiles_of
from volengine.tasks.surfaces.sets import name_of_set
from volengine.tasks.surfaces.writing import refuse_source

Given = BesideGiven[SurfacesProfileRecipe]

PICTURES = ("pixel_nm", "shown_nm", "unroll")
"""Fields of recipes that are about pictures alone."""

_BLOCKS = "volengine.tasks.surfaces.profile_blocks"
_WRITE = "volengine.tasks.surfaces.profile_finish:write_profiles"


@dataclass(frozen=True)
class Profiled:
    """What was read along the normals.

    Parameters
    ----------
    out
        The set of surfaces with the profiles.
    outside
        Share of the values that lie outside of the tomogram, which are NaN.
    pictures
        Files of pictures.
    notes
        Sentences for the user.
    """

    out: str
    outside: float
    pictures: tuple[str, ...]
    notes: tuple[str, ...] = ()


def request(
    source: str, out: str, recipe: SurfacesProfileRecipe, options: RunOptions
) -> Request[Given, SurfacesProfileRecipe, str]:
    """Open one set with its tomogram; its product is ``out``, or a set of the same name in the folder ``out``.

    Pictures are those of one set in the folder that the recipe names, of several in a folder of it for each.
    """
    name = name_of_set(source)
    single = PROFILE.is_product(out)
    place = out.rstrip("/") if single else join_url(out, name + ENDING)
    overwrite = recipe.overwrite or options.overwrite
    run_dir = PROFILE.run_dir(out, options)
    given = BesideGiven.of(source, recipe, options.identity)
    refuse_others(run_dir, name, place, overwrite, source, given.recipe.tomogram)
    if recipe.picture is not None:
        refuse_source(Path(recipe.picture), source, given.recipe.tomogram)
        pictures = recipe.picture if single else join_url(recipe.picture, name)
        recipe = recipe.with_(picture=pictures)
        ours = has_plan(run_dir, name)
        for number, _ in () if overwrite or ours else SetRead.of(given.surfaces, options.identity).counts:
            _refuse_picture(Path(pictures) / f"{number:04d}.png")
    return Request(name, given, given.recipe.with_(picture=recipe.picture), place)


def _refuse_picture(file: Path) -> None:
    if file.exists():
        raise InputError(f"{file} exists; give another folder or --overwrite.")


def plan_profile(
    source: Given, recipe: SurfacesProfileRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that read a tomogram along normals and unroll it, and the call that writes the set ``out``.

    Parameters
    ----------
    source
        The surfaces and their tomogram.
    recipe
        Distances and pictures.
    out
        The set to write.
    folder
        Folder of the plan; pictures are made in its scratch folder.
    options
        How to run.
    """
    from volengine.ops.surfaces.profile_sampling import steps

    given = source.described()
    mine, values = SetRead.from_json(given["set"]), len(steps(recipe.from_nm, recipe.to_nm, recipe.step_nm))
    stages: list[Stage] = []
    pictures = str(folder.scratch / "pictures")
    if mine.counts:
        kernel = f"{_BLOCKS}:profile_rows"
        stages.append(
            Stage(
                "surfaces-profile",
                kernel,
                line_of(len(division.units_of(mine.counts, division.ROWS))),
                params={"given": _without_pictures(given), "rows": division.ROWS},
                emits=True,
                kernel_bytes=kernel_bytes(kernel, vertices=mine.most, rows=division.ROWS, values=values),
            )
        )
    if mine.counts and recipe.picture is not None:
        kernel = f"{_BLOCKS}:unroll_surfaces"
        stages.append(
            Stage(
                "surfaces-pictures",
                kernel,
                line_of(len(division.whole_units_of(mine.counts, division.ROWS))),
                params={"given": given, "rows": division.ROWS, "folder": pictures},
                emits=True,
                transient=True,
                kernel_bytes=kernel_bytes(kernel, vertices=mine.most, values=values),
            )
        )
    facts = asdict(source.surfaces.facts)
    step = {"verb": "surfaces profile", "recipe": source.recipe.with_(overwrite=False).to_json()}
    step["tomogram"] = "" if source.volume is None else source.volume.where
    params = {
        "out": located(out),
        "given": given,
        "rows": division.ROWS,
        "facts": {**facts, "history": [*facts["history"], step]},
        "made": pictures,
        "pictures": None if recipe.picture is None else located(recipe.picture),
        "notes": list(source.notes),
        "folder": str(folder.path),
    }
    call = Call(_WRITE, params, writes=(located(out),))
    return Plan(name_of_set(source.path), tuple(stages), recipe={"surfaces profile": given["recipe"]}, finish=(call,))


def _without_pictures(given: dict[str, Any]) -> dict[str, Any]:
    """What profiles are made from: other pictures do not make them anew."""
    standard = SurfacesProfileRecipe(tomogram="").to_json()
    return given | {"recipe": given["recipe"] | {name: standard[name] for name in PICTURES}}


PROFILE = Verb("surfaces profile", request, plan_profile, endings=(ENDING,), run_name="surfaces-profile.run")


def profile_surfaces(
    source: PathLike,
    out: PathLike,
    recipe: SurfacesProfileRecipe | Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Profiled:
    """Read a tomogram along the normals of surfaces.

    Parameters
    ----------
    source
        A set of surfaces, or a file of a mesh. Normals that it does not have are computed from its faces.
    out
        The set that is written: the same surfaces with their profiles.
    recipe, options
        The tomogram, the distances, the pictures; and how to run.

    Returns
    -------
    Profiled
        What was written, and how many values lie outside of the tomogram.

    Raises
    ------
    MissingError, FormatError
        Surfaces or tomogram do not exist, or are damaged.
    InputError
        Something exists at ``out`` that an earlier call with the same run folder has not made; the tomogram is another
        one.
    """
    recipe, options = SurfacesProfileRecipe.of(recipe), options or RunOptions()
    options = options.with_(overwrite=options.overwrite or recipe.overwrite)
    place = path_text(out)
    if Path(place).suffix and not Path(place).is_dir() and not PROFILE.is_product(place):
        raise InputError(f"{place}: sets of surfaces are folders *{ENDING}; give such a name.")
    plan = run_one(PROFILE, path_text(source), place, recipe, options)
    told = noted(plan_folder(PROFILE.run_dir(place, options), plan.name))
    made = place if PROFILE.is_product(place) else plan.finish[0].params["out"]
    return Profiled(made, told.get("outside", float("nan")), tuple(told["files"]), tuple(told["notes"]))
