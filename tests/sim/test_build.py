"""Building specimens: everything has its place, and its own stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.sim.atoms.standins import standin
from volengine.sim.build import Particle, build
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.sim.render import render
from volengine.sim.scene import Scene
from volengine.sim.shapes.membranes import distance_to


def built(seed: int = 1, **parts: Any) -> tuple[Scene, list[dict[str, Any]], SpecimenRecipe]:
    recipe = SpecimenRecipe.from_json({"shape": [36, 90, 90], "voxel_size": 13.0, **parts})
    particles = [
        [Particle((standin(s.structure),), frozenset(s.flags)) for s in layer.species] for layer in recipe.layers
    ]
    names = {n for layer in particles for p in layer for t in p.templates for n in t.classes}
    names |= {f.class_name for f in recipe.filaments} | {"membrane", "gold", "carbon"}
    classes = recipe.class_ids(names)
    scene, report = build(recipe, particles, [None] * len(recipe.filaments), classes, seed=seed, sample=1)
    return scene, report, recipe


def test_proteins_stand_in_their_membranes_and_not_in_bare_ones() -> None:
    receptor = {"species": [{"structure": "globule-300", "flags": ["membrane"], "count": 12}]}
    scene, report, _ = built(
        sheets=[{"bare": 0}], vesicles=[{"count": 2, "radius_nm": [9, 11], "bare": 1}], layers=[receptor]
    )
    assert [m["placed"] for m in report if m["step"] == "sheets"] == [1]
    assert len(scene.membranes) == 3
    assert len(scene.placements) == 12
    sheet = scene.membranes[0]
    assert np.abs(distance_to(sheet, scene.placements.position)).max() < 1.0
    assert set(scene.placements.group.tolist()) == {sheet.instance}
    for vesicle in scene.membranes[1:]:
        assert np.abs(distance_to(vesicle, scene.placements.position)).min() > 30


@pytest.mark.parametrize(("flag", "sign"), [("vesicle", -1), ("cytosol", 1)])
def test_inside_and_outside_are_of_vesicles_not_of_sheets(flag: str, sign: int) -> None:
    layer = {"species": [{"structure": "globule-20", "flags": [flag], "count": 8}]}
    scene, _, _ = built(
        sheets=[{}], vesicles=[{"count": 1, "radius_nm": [14, 14], "sphericity": [1, 1]}], layers=[layer]
    )
    (vesicle,) = scene.membranes[1:]
    assert len(scene.placements) == 8
    assert (sign * distance_to(vesicle, scene.placements.position) > 0).all()


def test_nothing_shares_a_voxel_and_steps_do_not_disturb_one_another() -> None:
    layers = [{"species": [{"structure": "globule-400", "count": 10}, {"structure": "barrel-300", "count": 5}]}]
    filaments = [{"kind": "actin", "count": 2, "length_nm": [50, 70], "minimum_units": 8}]
    scene, _, recipe = built(layers=layers, filaments=filaments, beads={"count": 2}, film={"cover": 0.2})
    again, _, _ = built(layers=layers, filaments=filaments, beads={"count": 2}, film={"cover": 0.2})
    assert np.array_equal(scene.placements.position, again.placements.position)
    fewer, _, _ = built(layers=[], filaments=filaments, film={"cover": 0.2})
    lines, others = scene.centrelines, fewer.centrelines
    assert all(np.array_equal(lines[n], others[n]) for n in others)
    found = render(scene, Box.of_shape(recipe.shape), recipe.voxel_size)
    single = np.zeros(recipe.shape, int)
    for instance in range(1, scene.objects + 1):
        rows = scene.placements[scene.placements.instance == instance]
        if len(rows) == 0:
            continue
        alone = render(
            Scene(scene.templates, rows, classes=scene.classes, ice=scene.ice), Box.of_shape(recipe.shape), 13.0
        )
        single += alone.instances > 0
        assert (found.instances == instance).sum() >= 0.8 * (alone.instances > 0).sum()
    assert (single > 1).mean() < 1e-3  # a voxel that two particles' borders reach
    assert scene.film is not None
    assert (found.instances == scene.film.instance).any()


def test_ids_are_stable_by_name() -> None:
    recipe = SpecimenRecipe.from_json({"classes": {"ribosome": 4, "distract": 0}})
    assert recipe.class_ids({"b", "a", "ribosome", "distract"}) == {"ribosome": 4, "distract": 0, "a": 1, "b": 2}
    assert recipe.class_ids({"c", "b", "a"})["a"] == 1
    with pytest.raises(InputError, match="at most 255"):
        recipe.class_ids({f"n{k}" for k in range(300)})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"sheets": [{"bare": 2}]}, "a share"),
        ({"sheets": [{"wavelength_nm": 10}]}, "bends too sharply"),
        ({"vesicles": [{"radius_nm": [3, 2]}]}, "smaller one first"),
        ({"filaments": [{"kind": "own"}]}, "need a structure"),
        ({"layers": [{"species": []}]}, "at least one species"),
        ({"layers": [{"species": [{"structure": "globule-9", "count": 2, "concentration_um": 1.0}]}]}, "not both"),
        ({"film": {"thickness_nm": 0}}, "positive"),
        ({"ice": {"roughness_nm": -1}}, "not negative"),
        ({"walls": "u"}, "Walls 'u'"),
    ],
)
def test_recipes_that_cannot_be_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SpecimenRecipe.from_json(parts)
