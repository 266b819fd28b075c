"""What a recipe asks for is there, labelled and named, or the sample fails and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.io.structures.read import read_structure
from volengine.io.structures.residues import ALL
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.tasks.simulate.classes import refuse_unknown_classes
from volengine.tasks.simulate.placed import refuse_unplaced, shortfalls
from volengine.tasks.simulate.structures import class_names, structure_files
from volengine.tasks.simulate.verb import simulate

QUIET = RunOptions(progress=False)
ATOM = "ATOM  {n:5d}  {atom:3s} {name:>3s} A{residue:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {element}\n"


def recipe(base: Path, structure: str, **parts: Any) -> dict[str, Any]:
    species = {"structure": str(base / structure), "name": "trace", "count": 2, **parts}
    return {
        "name": "t",
        "specimen": {"shape": [20, 32, 32], "voxel_size": 10.0, "layers": [{"species": [species]}]},
        "tilts": {"angles_deg": [0.0]},
        "dose": {"total_e_per_a2": 0},
    }


def trace(path: Path) -> Path:
    """A C-alpha trace: 343 residues on a grid of 5 A, of each amino acid in turn."""
    names = sorted(name for name in ALL if len(name) == 3 and name != "MSE")
    grid = np.stack(np.meshgrid(*[np.arange(7) * 5.0] * 3, indexing="ij"), -1).reshape(-1, 3)
    lines = [
        ATOM.format(n=n, atom="CA", name=names[n % 20], residue=n, x=x, y=y, z=z, element="C")
        for n, (x, y, z) in enumerate(grid)
    ]
    path.write_text("".join(lines) + "END\n")
    return path


def voxels(store: Path, group: str) -> np.ndarray:
    volume = open_volume(str(store), group=group)
    return np.asarray(open_source(volume).read(Box.of_shape(volume.shape)))


@pytest.mark.parametrize("name", sorted(ALL))
def test_whole_residues_have_the_weight_of_gemmis_table(name: str) -> None:
    """A residue is its molecule without a water: its hydrogens, and what is added to all others."""
    info = gemmi.find_tabulated_residue(name)
    heavy = sum(count * gemmi.Element(number).weight for number, count in ALL[name].items())
    hydrogen = (info.weight - 18.015 - heavy) / 1.008
    assert abs(hydrogen - round(hydrogen)) < 0.03
    assert abs(round(hydrogen) - (info.hydrogen_count - 2)) <= 1  # the table's state of charge


def test_a_trace_is_completed_at_its_atoms(tmp_path: Path) -> None:
    path = trace(tmp_path / "trace.pdb")
    part, whole = (read_structure(path, whole_residues=w).sub_models[0].atoms for w in (False, True))
    assert len(part) == 343
    sizes = [sum(ALL[name].values()) for name in sorted(ALL) if len(name) == 3 and name != "MSE"]
    assert len(whole) == 17 * sum(sizes) + sum(sizes[:3])
    assert np.array_equal(whole.position[:343], part.position)
    assert set(map(tuple, whole.position.tolist())) == set(map(tuple, part.position.tolist()))


def test_particles_without_a_labelled_voxel_are_refused_and_whole_residues_have_some(tmp_path: Path) -> None:
    trace(tmp_path / "trace.pdb")
    with pytest.raises(
        InputError, match=r"2 are placed, but no voxel of 10 A would be labelled 'trace': its 343 atoms"
    ):
        simulate(recipe(tmp_path, "trace.pdb"), str(tmp_path / "bare"), 1, QUIET)
    assert not list((tmp_path / "bare").glob("truth/*/sample.json"))
    simulate(recipe(tmp_path, "trace.pdb", whole_residues=True), str(tmp_path / "whole"), 1, QUIET)
    atlas = voxels(tmp_path / "whole" / "tomograms" / "t_0001.ome.zarr", "labels/atlas")
    z, y, x = np.round(read_picks(tmp_path / "whole" / "picks" / "t_0001__trace.star").position_vox).astype(int).T
    assert (atlas[z, y, x] == 1).all()
    # 343 residues of 110 Da fill 46,000 A^3; a voxel is labelled from about a third of its volume on
    assert 2 * 40 < np.count_nonzero(atlas) < 2 * 130
    distractor = recipe(tmp_path, "trace.pdb")
    distractor["specimen"]["classes"] = {"trace": 0}
    simulate(distractor, str(tmp_path / "background"), 1, QUIET)


def test_sub_models_of_a_filaments_unit_are_classes_of_their_own(tmp_path: Path) -> None:
    text = ""
    for number, (x0, y0, z0) in enumerate([(-4, -22, -12), (18, 2, -12)]):
        text += f"MODEL     {number + 1:4d}\n"
        grid = np.stack(np.meshgrid(*[np.arange(10) * 2.2] * 3, indexing="ij"), -1).reshape(-1, 3)
        grid += [x0, y0, z0]
        for n, (x, y, z) in enumerate(grid):
            text += ATOM.format(n=n, atom="C", name="UNK", residue=1, x=x, y=y, z=z, element="C")
        text += "ENDMDL\n"
    (tmp_path / "actin__cofilin__unit.complex.pdb").write_text(text + "END\n")
    filament = {"kind": "cofilactin", "count": 1, "length_nm": [20, 25], "minimum_units": 4}
    filament["structure"] = str(tmp_path / "actin__cofilin__unit.complex.pdb")
    values = recipe(tmp_path, "")
    values["specimen"] = {"shape": [24, 40, 40], "voxel_size": 8.0, "filaments": [filament], "classes": {"cofilin": 5}}
    simulate(values, str(tmp_path / "out"), 1, QUIET)
    store = tmp_path / "out" / "tomograms" / "t_0001.ome.zarr"
    atlas, instances = voxels(store, "labels/atlas"), voxels(store, "labels/instances")
    classes = open_volume(str(store), group="labels/atlas").facts["classes"]
    assert classes == {"actin": 1, "cofilin": 5}
    assert np.count_nonzero(atlas == 1) > 30
    assert np.count_nonzero(atlas == 5) > 30
    actin, cofilin = (read_picks(tmp_path / "out" / "picks" / f"t_0001__{name}.star") for name in classes)
    assert np.array_equal(actin.position_vox, cofilin.position_vox)
    for picks, number, centre in ((actin, 1, (5.9, -12.1, 0)), (cofilin, 5, (27.9, 11.9, 0))):
        assert picks.euler is not None
        turn = Rotation.from_euler("ZYZ", np.asarray(picks.euler), degrees=True).inv()
        middle = picks.position_vox + turn.apply(centre)[:, ::-1] / 8
        index = np.round(middle).astype(int)
        inside = ((index >= 0) & (index < atlas.shape)).all(axis=1)
        found = atlas[tuple(index[inside].T)]
        assert np.mean(found == number) > 0.9
        assert (instances[tuple(index[inside].T)] == picks.label[inside]).mean() > 0.9
    specimen = SpecimenRecipe.from_json({"filaments": [{**filament, "name": "both"}]})
    assert class_names(specimen, structure_files(specimen)) == {"both"}


@pytest.mark.parametrize(
    ("specimen", "message"),
    [
        ({"classes": {"gg": 5}}, "classes gives an id to 'gg', but nothing .* There are g. Did you mean 'g'"),
        ({"classes": {"g": 1, "membrane": 2}}, "'membrane'"),
        ({"classes": {"g": 1, "membrane": 2}, "vesicles": [{"count": 0}]}, ""),
        ({"classes": {"g": 1, "membrane": 2}, "vesicles": {"choice": [[], [{"count": 2}]]}}, ""),
        ({"classes": {"g": 1, "gold": 2}, "beads": {"choice": [None, {"count": 2}]}}, ""),
        ({"classes": {"g": 1, "wall": 2}, "vesicles": {"choice": [[], [{"name": "wall"}]]}}, ""),
        ({"classes": {"g": 1, "gold": 2}, "vesicles": {"choice": [[], [{"name": "wall"}]]}}, "'gold'"),
    ],
)
def test_ids_are_for_classes_that_exist(specimen: dict[str, Any], message: str) -> None:
    layers = [{"species": [{"structure": "globule-100", "name": "g"}]}]
    values = {"specimen": {**specimen, "layers": layers}}
    drawn = {key: [] if key == "vesicles" and isinstance(value, dict) else value for key, value in specimen.items()}
    sample = SpecimenRecipe.from_json({**drawn, "beads": None, "layers": layers})
    files = structure_files(sample)
    if message:
        with pytest.raises(InputError, match=message):
            refuse_unknown_classes(values, sample, files)
    else:
        refuse_unknown_classes(values, sample, files)


def step(name: str, asked: int | None, placed: int, what: str = "layer 1") -> dict[str, Any]:
    return {"step": what, "name": name, "asked": asked, "placed": placed}


@pytest.mark.parametrize(
    ("report", "strict", "message"),
    [
        ([step("a", 3, 0)], False, "Nothing found a place .a: 0 of 3"),
        ([step("a", None, 0)], False, "Nothing found a place .a."),
        ([step("carbon", 1, 1, "film"), step("a", 3, 0)], False, "Nothing"),
        ([step("a", 3, 1), step("b", 3, 0)], False, ""),
        ([step("a", 3, 1), step("b", 3, 0)], True, "Not everything found a place .a: 1 of 3, b: 0 of 3"),
        ([step("a", 3, 3), step("b", None, 0)], True, ""),
        ([step("a", 0, 0)], True, ""),
        ([], True, ""),
    ],
)
def test_what_finds_no_place_is_no_success(report: list[dict[str, Any]], strict: bool, message: str) -> None:
    from volengine.sim.scene import Scene

    if message:
        with pytest.raises(InputError, match=message):
            refuse_unplaced(report, Scene(), SpecimenRecipe(), strict)
    else:
        refuse_unplaced(report, Scene(), SpecimenRecipe(), strict)
    assert bool(shortfalls(report)) == any(s["asked"] is not None and s["placed"] < s["asked"] for s in report)
