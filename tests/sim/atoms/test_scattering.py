"""Atoms to potential: published numbers, densities of protein and RNA, hydrogens against chemistry."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from places import DATA

from volengine.core.errors import InputError
from volengine.sim.atoms import scattering as s

STRUCTURES = DATA / "structures"


def test_amplitudes_are_those_of_the_published_table() -> None:
    table = {1: 0.5288, 6: 2.5088, 7: 2.2135, 8: 1.9834, 15: 5.4876, 16: 5.1604, 26: 7.1637, 79: 10.5714}
    np.testing.assert_allclose(s.amplitude(list(table)), list(table.values()), atol=1e-4)
    np.testing.assert_allclose(s.amplitude(list(s.LIGHT)), list(s.LIGHT.values()), atol=1e-9)
    np.testing.assert_allclose(s.potentials([6]), 47.878 * 2.5088, rtol=1e-9)


def test_the_constant_of_the_potential_is_that_of_physics() -> None:
    h, m, e = 6.62607015e-34, 9.1093837e-31, 1.602176634e-19
    assert h**2 / (2 * np.pi * m * e) * 1e20 == pytest.approx(s.POTENTIAL_OF_AMPLITUDE, rel=1e-4)


def test_elements_without_factors_are_named() -> None:
    with pytest.raises(InputError, match="Es, Lr"):
        s.potentials([6, 103, 99])


def test_mean_protein_and_rna_have_the_densities_of_the_literature() -> None:
    def volume_per_dalton(count: dict[int, float], kind: s.Kind) -> float:
        z = np.array(list(count))
        n = np.array(list(count.values()))
        bound = s.bound_hydrogens(z, kind)
        mass = sum(c * gemmi.Element(int(e)).weight for e, c in count.items()) + (bound * n).sum() * 1.008
        return float((s.displaced_volume(z, hydrogens=bound) * n).sum() / mass)

    assert volume_per_dalton({6: 4.94, 7: 1.36, 8: 1.48, 16: 0.04}, "protein") == pytest.approx(1.21, rel=0.01)
    assert volume_per_dalton({6: 9.5, 7: 3.75, 8: 7, 15: 1}, "nucleic") == pytest.approx(0.945, rel=0.01)


def test_ice_and_protein_potentials() -> None:
    assert pytest.approx(4.53, abs=0.01) == s.ICE_POTENTIAL
    assert pytest.approx(3.55, abs=0.1) == s.PROTEIN_POTENTIAL - s.ICE_POTENTIAL


def test_both_scales_weigh_the_mean_residue_alike() -> None:
    z = np.array([6, 7, 8, 16])
    n = np.array([s.MEAN_RESIDUE[int(e)] for e in z])
    peng = (s.potentials(z, hydrogens=True) * n).sum()
    cts = (s.potentials(z, scale="cts", hydrogens=True) * n).sum()
    assert cts == pytest.approx(peng, rel=0.005)
    assert s.potentials([6], scale="cts", hydrogens=True)[0] / s.CTS_UNIT == pytest.approx(7.3)
    np.testing.assert_allclose(s.potentials([1, 15, 20], scale="cts") / s.CTS_UNIT, [0, 15, 20])


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(InputError, match="'z'"):
        s.potentials([6], scale="z")  # type: ignore[arg-type]


def test_hydrogens_that_are_there_are_not_counted_again() -> None:
    heavy = [6] * 50 + [7] * 14 + [8] * 15
    bare = s.missing_hydrogens(heavy).sum()
    assert bare == pytest.approx(50 * 1.22 + 14 * 1.17 + 15 * 0.10)
    half = s.missing_hydrogens(heavy + [1] * 30)
    assert half.sum() == pytest.approx(bare - 30)
    assert (half[-30:] == 0).all()
    assert s.missing_hydrogens(heavy + [1] * 200).sum() == 0
    assert s.missing_hydrogens([26, 30]).sum() == 0


@pytest.mark.parametrize("file", ["7p6z.cif.gz", "1bxn.pdb.gz", "1kx5.pdb.gz"])
def test_hydrogens_agree_with_the_chemistry_of_the_residues(file: str) -> None:
    """gemmi's table gives the hydrogens of each free residue; a link of a chain costs two (water leaves)."""
    if not (STRUCTURES / file).is_file():
        pytest.skip("the folder of structures (shared/data/structures) is not here")
    found = gemmi.read_structure(str(STRUCTURES / file))
    found.remove_ligands_and_waters()
    residues = [r for chain in found[0] for r in chain]
    known = [gemmi.find_tabulated_residue(r.name) for r in residues]
    tabled = sum(info.hydrogen_count - (2 if info.is_amino_acid() else 3) for info in known)
    atoms = [atom.element.atomic_number for r in residues for atom in r]
    assert s.missing_hydrogens(atoms).sum() == pytest.approx(tabled, rel=0.06)  # DNA has 15 % more than RNA
