"""Kernel of a simulation's first stage: the specimen as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box
from volengine.tasks.simulate.structures import Source, flags_of, monomers_of, templates_of


def place_specimen(
    block: Block,
    specimen: dict[str, Any],
    sources: Mapping[str, dict[str, str]],
    classes: dict[str, int],
    seed: int,
    sample: int,
) -> Result:
    """Kernel: read the structures, place everything, and emit the scene.

    Parameters
    ----------
    specimen
        A :class:`~volengine.sim.recipe.specimen.SpecimenRecipe` as JSON.
    sources
        Where its structures are.
    classes
        Ids of all class names.
    seed, sample
        Of the random streams.
    """
    from volengine.sim.build import Particle, build
    from volengine.sim.recipe.specimen import SpecimenRecipe

    recipe = SpecimenRecipe.from_json(specimen)
    where = {key: Source(**value) for key, value in sources.items()}
    particles = [
        [Particle(templates_of(s, where[s.structure], recipe), flags_of(s, where[s.structure])) for s in layer.species]
        for layer in recipe.layers
    ]
    monomers = [monomers_of(f, where, recipe) for f in recipe.filaments]
    drawn = block.tables.get("labels", {})
    scene, report = build(recipe, particles, monomers, classes, seed=seed, sample=sample, walls=_walls(drawn))
    notes = [note for note in report if note["step"] == "labels"]
    for note, *voxels in zip(notes, *(table["voxels"] for table in drawn.values()), strict=True):
        note["placed"] = int(sum(voxels) > 0)
    table = {**scene.to_table(), "report": np.array(json.dumps(report))}
    return Result(table=table, counts={"objects": scene.objects})


def _walls(tables: Mapping[int, Table]) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """Which voxels membranes of labels take, block by block."""
    for table in tables.values():
        box = Box.of_shape(table["shape"].tolist()).shift(table["start"].tolist())
        yield box, np.unpackbits(table["taken"], count=box.size).astype(bool).reshape(box.shape)
