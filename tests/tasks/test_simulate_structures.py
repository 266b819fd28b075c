"""What structures become, by their names, flags and formats."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from volengine.core.errors import MissingError
from volengine.sim.recipe import SpeciesRecipe, SpecimenRecipe
from volengine.tasks.simulate_structures import SHIPPED, class_names, flags_of, source_of, templates_of

ATOM = "ATOM  {n:5d}  CA  ALA A{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"


def pdb(path: Path, models: int) -> str:
    text = ""
    for model in range(models):
        text += f"MODEL     {model + 1:4d}\n"
        for n in range(1, 30):
            text += ATOM.format(n=n, x=model * 40 + n % 5 * 4, y=n // 5 * 4, z=model * 3)
        text += "ENDMDL\n"
    path.write_text(text + "END\n")
    return path.name


def templates(folder: Path, **how: object) -> tuple:
    species = SpeciesRecipe.from_json(how)
    recipe = SpecimenRecipe(voxel_size=12.0)
    return templates_of(species, source_of(species.structure, str(folder)), recipe)


def test_sub_models_follow_the_flags(tmp_path: Path) -> None:
    alone = templates(tmp_path, structure=pdb(tmp_path / "hub__arm__tip.group.pdb", 3))
    assert [t.classes for t in alone] == [("hub",), ("arm",), ("tip",)]
    together = templates(tmp_path, structure=pdb(tmp_path / "hub__arm__tip.complex.pdb", 3))
    assert [t.classes for t in together] == [("hub", "arm", "tip")]
    assert together[0].total == pytest.approx(sum(t.total for t in alone), rel=1e-5)
    some = templates(tmp_path, structure=pdb(tmp_path / "hub__arm__tip.assembly.pdb", 3))
    assert all(t.classes[0] == "hub" for t in some)
    assert {len(t.classes) for t in some} == {1, 2, 3}
    again = templates(tmp_path, structure="hub__arm__tip.assembly.pdb")
    assert [t.classes for t in again] == [t.classes for t in some]
    (named,) = templates(tmp_path, structure=pdb(tmp_path / "x.pdb", 1), name="mine")
    assert named.classes == ("mine",)
    (gone,) = templates(tmp_path, structure=pdb(tmp_path / "x_distractor.pdb", 1))
    assert gone.classes == ("distract",)


def test_flags_of_names_and_recipes_add_up(tmp_path: Path) -> None:
    pdb(tmp_path / "a.membrane.pdb", 1)
    species = SpeciesRecipe(structure="a.membrane.pdb", flags=("cluster",))
    assert flags_of(species, source_of("a.membrane.pdb", str(tmp_path))) == {"membrane", "cluster"}


def test_densities_are_particles_too(tmp_path: Path) -> None:
    grid = np.indices((24, 24, 24)) - 11.5
    with mrcfile.new(tmp_path / "ball.mrc") as file:
        file.set_data((np.sqrt((grid**2).sum(0)) < 8).astype("float32"))
        file.voxel_size = 6.0
    (ball,) = templates(tmp_path, structure="ball.mrc", total=5e6)
    assert ball.classes == ("ball",)
    assert ball.total == pytest.approx(5e6, rel=1e-4)
    assert 40 < ball.radius < 60


def test_structures_of_the_package_are_there() -> None:
    recipe = SpecimenRecipe(voxel_size=14.0)
    for name in SHIPPED:
        (template,) = templates_of(SpeciesRecipe(structure=name), source_of(name, "."), recipe)
        assert template.classes == (name,)
        assert 50 < template.radius < 200
    assert class_names(recipe, {}) == set()


def test_what_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"none of the names ferritin, ribosome, spliceosome, globule-KDA"):
        source_of("riboso", str(tmp_path))
