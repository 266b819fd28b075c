"""What structures become, by their names, flags and formats."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from volengine.core.errors import ChangedError, MissingError
from volengine.sim.recipe.filaments import FilamentsRecipe
from volengine.sim.recipe.particles import SpeciesRecipe
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.tasks.simulate.structures import (
    SHIPPED,
    axis_gap_a,
    class_names,
    flags_of,
    monomers_of,
    structure_file,
    templates_of,
)

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
    return templates_of(species, structure_file(species.structure, str(folder)), recipe)


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
    assert flags_of(species, structure_file("a.membrane.pdb", str(tmp_path))) == {"membrane", "cluster"}


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
        (template,) = templates_of(SpeciesRecipe(structure=name), structure_file(name, "."), recipe)
        assert template.classes == (name,)
        assert 50 < template.radius < 200
    assert class_names(recipe, {}) == set()


def test_what_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"none of the names ferritin, ribosome, spliceosome, globule-KDA"):
        structure_file("riboso", str(tmp_path))


def unit(folder: Path, kind: str, low: tuple[float, float, float], side: tuple[float, float, float]) -> np.ndarray:
    """Points of a filament's unit made of a box of atoms, from ``low`` on; x, y, z."""
    text = "".join(
        ATOM.format(
            n=n, x=low[0] + n % 5 * side[0] / 4, y=low[1] + n // 5 % 5 * side[1] / 4, z=low[2] + n // 25 * side[2] / 4
        )
        for n in range(125)
    )
    (folder / "unit.pdb").write_text(text + "END\n")
    own = {"twist_deg": 20.0, "rise_a": 30.0} if kind == "own" else {}
    filaments = FilamentsRecipe.from_json({"kind": kind, "structure": "unit.pdb", **own})
    made = monomers_of(
        filaments, {"unit.pdb": structure_file("unit.pdb", str(folder))}, SpecimenRecipe(voxel_size=12.0)
    )
    assert made is not None
    assert made.classes == (kind,)
    return made.point[:, ::-1]


def test_a_units_z_axis_is_the_filaments(tmp_path: Path) -> None:
    beside = unit(tmp_path, "own", (-4, 2, 60), (40, 20, 60))  # the axis runs through the box's x, not through its y
    np.testing.assert_allclose(beside.mean(axis=0), 0, atol=3)
    around = unit(tmp_path, "actin", (-4, -2, 60), (40, 20, 60))
    np.testing.assert_allclose(around.mean(axis=0), (16, 8, 0), atol=3)
    np.testing.assert_allclose(np.ptp(around, axis=0), (40, 20, 60), atol=6)


def test_a_unit_beside_its_files_axis_is_told(tmp_path: Path) -> None:
    for low, gap in (((3, 4, 60), 5.0), ((-40, -24, 0), 4.0), ((-4, -2, 60), 0.0)):
        unit(tmp_path, "actin", low, (40, 20, 60))
        files = {"unit.pdb": structure_file("unit.pdb", str(tmp_path))}
        assert axis_gap_a(FilamentsRecipe(structure="unit.pdb"), files) == gap
        assert axis_gap_a(FilamentsRecipe(kind="microtubule", structure="unit.pdb"), files) == 0
    assert axis_gap_a(FilamentsRecipe(), {}) == 0


def test_a_dimer_that_lies_across_is_turned_along(tmp_path: Path) -> None:
    upright = unit(tmp_path, "microtubule", (-4, -2, 60), (40, 30, 80))
    np.testing.assert_allclose(np.ptp(upright, axis=0), (40, 30, 80), atol=6)
    across = unit(tmp_path, "microtubule", (-4, -2, 60), (80, 30, 40))
    np.testing.assert_allclose(np.ptp(across, axis=0), (40, 30, 80), atol=6)
    np.testing.assert_allclose(across.mean(axis=0), (5, 0, 0), atol=1)


def test_a_structure_that_is_replaced_is_another_one_and_refused_where_it_was_planned(tmp_path, monkeypatch):
    """Also in one process, which remembers templates and digests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a.pdb"
    atom = "ATOM      1  CA  ALA A   1      {:6.3f}   0.000   0.000  1.00  0.00           C  \n"
    path.write_text(atom.format(1.0) + atom.format(5.0).replace("      1", "      2"))
    species, recipe = SpeciesRecipe(structure="a.pdb"), SpecimenRecipe(voxel_size=12.0)
    before = structure_file("a.pdb", str(tmp_path))
    templates_of(species, before, recipe)
    path.write_text(atom.format(2.0) + atom.format(5.0).replace("      1", "      2"))
    now = structure_file("a.pdb", str(tmp_path))
    assert now.digest != before.digest
    assert now.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:20]
    templates_of(species, now, recipe)
    path.write_text(atom.format(3.0))
    with pytest.raises(ChangedError, match=r"a\.pdb has changed since"):
        templates_of(species, now, recipe.with_(voxel_size=13.0))
