"""Planning ``picks measure``: a stage for each thing that surrounds the picks of a tomogram, a unit for some picks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.core.digest import digest_of
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import Stage, kernel_bytes
from volengine.io.surfaces import SurfaceSet
from volengine.tasks.common.division import line_of
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.common.set_read import SetRead
from volengine.tasks.picks.around import SURFACES_KEPT
from volengine.tasks.picks.measure_given import TableGiven, Thing
from volengine.tasks.picks.recipe import PicksMeasureRecipe

ROWS = 10_000
"""Picks of a unit, at most."""

PLACES = "places.npy"
"""File of a plan's folder with the places of the picks, angstrom."""

_BLOCKS = "volengine.tasks.picks.measure_blocks"
_KEEP = "volengine.tasks.picks.measure_finish:keep_measured"


def plan_measure_picks(
    source: TableGiven, recipe: PicksMeasureRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that measure the picks of one tomogram, and the call that keeps the columns in the run folder.

    Parameters
    ----------
    source
        The picks and what is around them.
    recipe
        What is measured.
    out
        The file of columns (``.npz``).
    folder
        Folder of the plan, into which the places of the picks are written for the units.
    options
        How to run.

    Raises
    ------
    InputError
        Something is not of this tomogram, or has another extent or origin.
    """
    things, notes = source.things()
    place = np.ascontiguousarray(source.picks.place)
    places = {"path": str(folder.path / PLACES), "digest": digest_of(place)}
    if not options.dry_run:
        folder.path.mkdir(parents=True, exist_ok=True)
        with replacing(folder.path / PLACES) as file:
            np.save(file, place, allow_pickle=False)
    stages: list[Stage] = []
    described: list[dict[str, Any]] = []
    for number, thing in enumerate(things if len(place) else ()):
        made = _Thing(number, thing, source, places, recipe, options)
        stages += made.stages()
        decision = "" if made.reading is None else made.reading.decision
        facts = {"kind": thing.kind, "name": thing.name, "stage": stages[-1].name, "decision": decision}
        described.append({**facts, **made.read})
    params = {
        "out": out,
        "places": places,
        "things": described,
        "kinds": [[thing.kind, thing.name] for thing in things],
        "neighbours_nm": recipe.neighbours_nm,
        "neighbour": recipe.neighbour,
        "tomogram": source.picks.tomogram,
        "notes": notes,
        "how": source.how,
        "folder": str(folder.path),
    }
    told = {k: v for k, v in recipe.to_json().items() if k not in ("to", "pixel_size", "overwrite")}
    return Plan(source.name, tuple(stages), recipe={"picks measure": told}, finish=(Call(_KEEP, params, (out,)),))


class _Thing:
    """The stages of one thing."""

    def __init__(
        self,
        number: int,
        thing: Thing,
        given: TableGiven,
        places: dict[str, str],
        recipe: PicksMeasureRecipe,
        options: RunOptions,
    ):
        self.number, self.thing, self.places, self.recipe = number, thing, places, recipe
        self.tomogram, count, how = given.picks.tomogram, len(given.picks), given.how
        parts = 2 ** max(0, math.ceil(math.log2(count / ROWS)))
        self.parts, self.rows, self.count = parts, -(-count // parts), count
        self.read: dict[str, Any] = {"set": None, "volume": None}
        self.reading: Reading | None = None
        if isinstance(thing.source, SurfaceSet):
            self.read["set"] = SetRead.of(thing.source, how).to_json()
        else:
            volume = _volume(thing.source, how)
            self.read["volume"] = volume.to_json()
            prediction = thing.kind == "probability"
            if prediction or (thing.kind == "lamella" and volume.kind == "probability"):
                scale = recipe.scale if prediction else None
                self.reading = reading_of(volume, scale, f"picks-read-{number}", options, what="picks measure")

    def stages(self) -> list[Stage]:
        """Return the stages, of which the last one emits the columns."""
        return {
            "surfaces": self._surfaces,
            "labels": self._voxels,
            "probability": self._voxels,
            "value": self._value,
            "lamella": self._lamella,
        }[self.thing.kind]()

    def _stage(self, what: str, function: str, params: dict[str, Any], units: int, **facts: int) -> list[Stage]:
        """The stage that emits the columns, behind those that find out whether a prediction is a mask."""
        kernel, reading = f"{_BLOCKS}:{function}", self.reading
        stage = Stage(
            f"picks-{what}-{self.number}",
            kernel,
            line_of(units),
            params=params,
            tables={} if reading is None else reading.tables(),
            emits=True,
            kernel_bytes=kernel_bytes(kernel, **facts),
        )
        return [*(() if reading is None else reading.stages), stage]

    def _surfaces(self) -> list[Stage]:
        sizes = sorted((vertices for _, vertices in SetRead.from_json(self.read["set"]).counts), reverse=True)
        grid = self.thing.grid.to_json()
        params = {"surfaces": self.read["set"], "grid": grid, "places": self.places}
        kept, largest = sum(sizes[:SURFACES_KEPT]), max(sizes, default=0)
        return self._stage("surfaces", "beside_set", params, self.parts, largest=largest, kept=kept, rows=self.rows)

    @property
    def _itemsize(self) -> int:
        return int(np.dtype(self.read["volume"]["dtype"]).itemsize)

    def _voxels(self) -> list[Stage]:
        prediction = self.thing.kind == "probability"
        params = {
            "volume": self.read["volume"],
            "where": self.thing.where,
            "threshold": self.recipe.threshold if prediction else None,
            "scale": self.recipe.scale if prediction else None,
            "labels": list(self.thing.labels),
            "grid": self.thing.grid.to_json(),
            "reach_nm": self.recipe.reach_nm,
            "places": self.places,
        }
        need = {"itemsize": self._itemsize, "rows": self.rows}
        return self._stage("voxels", "beside_volume", params, self.parts, **need)

    def _value(self) -> list[Stage]:
        params = {"volume": self.read["volume"], "grid": self.thing.grid.to_json(), "places": self.places}
        need = {"itemsize": self._itemsize, "rows": self.rows}
        return self._stage("value", "value_of_volume", params, self.parts, **need)

    def _lamella(self) -> list[Stage]:
        surfaces, volume = self.read["set"], self.read["volume"]
        recipe = PicksMeasureRecipe(
            neighbours_nm=1.0, lamella_cell_nm=self.recipe.lamella_cell_nm, threshold=self.recipe.threshold
        )
        params = {
            "volume": volume,
            "surfaces": surfaces,
            "where": self.thing.where,
            "tomogram": self.tomogram,
            "grid": self.thing.grid.to_json(),
            "recipe": recipe.to_json(),
            "places": self.places,
        }
        vertices = 0 if surfaces is None else sum(count for _, count in SetRead.from_json(surfaces).counts)
        itemsize = 0 if volume is None else self._itemsize
        need = {"itemsize": itemsize, "vertices": vertices, "rows": self.count}
        return self._stage("lamella", "depth_in_slab", params, 1, **need)


def _volume(source: Volume, how: str) -> Volume:
    """The volume, recognised by all of its bytes if that is asked for."""
    from volengine.io.identity import identified

    return identified(source, "content") if how == "content" else source
