"""Structures from files: names, parts, assemblies, what is dropped, damage, downloads."""

from __future__ import annotations

import gzip
import io
import os
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import gemmi
import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.io.structures.cache import cache_folder, fetch_structure, pdb_id
from volengine.io.structures.names import FLAGS, block_class, parse_name
from volengine.io.structures.read import read_density, read_structure

STRUCTURES = DATA / "structures"
needs_structures = pytest.mark.skipif(
    not STRUCTURES.is_dir(), reason="the folder of structures (shared/data/structures) is not here"
)


def line(
    serial: int, name: str, residue: str, number: int, xyz: tuple[float, float, float], element: str, **more: Any
) -> str:
    """An atom's line of a PDB file."""
    record, alternative, occupancy = more.get("record", "ATOM"), more.get("alt", " "), more.get("occ", 1.0)
    x, y, z = xyz
    return (
        f"{record:<6}{serial:5d} {name:^4}{alternative}{residue:>3} {more.get('chain', 'A')}{number:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{0:6.2f}          {element:>2}\n"
    )


ALA = [("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O"), ("CB", "C")]


def alanine(number: int = 1, chain: str = "A", shift: float = 0.0, serial: int = 1) -> str:
    return "".join(
        line(serial + i, name, "ALA", number, (shift + i, 2.0 * i, 3.0 * i), element, chain=chain)
        for i, (name, element) in enumerate(ALA)
    )


def cif(blocks: dict[str, list[tuple[str, str, float]]]) -> str:
    """A CIF file: blocks by name, each of atoms (element, residue, x)."""
    columns = "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id "
    columns += "label_seq_id Cartn_x Cartn_y Cartn_z occupancy auth_asym_id auth_seq_id"
    text = ""
    for block, atoms in blocks.items():
        text += f"data_{block}\nloop_\n" + "".join(f"_atom_site.{c}\n" for c in columns.split())
        for i, (element, residue, x) in enumerate(atoms, 1):
            text += f"ATOM {i} {element} {element}{i} . {residue} A 1 {i} {x} 2 3 1.0 A {i}\n"
    return text


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name", "classes", "flags"),
    [
        ("7p6z.cif.gz", "7p6z", ("7p6z",), ""),
        ("a/b/actin__6t1y.pdb", "actin__6t1y", ("actin",), ""),
        (
            "kinase__hub__CaMK2_5u6y.complex.vesicle.pdb",
            "kinase__hub__CaMK2_5u6y",
            ("kinase", "hub", "CaMK2_5u6y"),
            "complex vesicle",
        ),
        ("GABAar.membrane.complex.cif", "GABAar", ("GABAar",), "membrane complex"),
        ("6lfm_gprotein.distract.membrane.mrc", "6lfm_gprotein", ("distract",), "distract membrane"),
        ("Distractor_2q0u.PDB", "Distractor_2q0u", ("distract",), "distract"),
        ("7b5s.DISTRACTOR.ent.gz", "7b5s", ("distract",), "distract"),
        ("pump__origin.Membrane.cif", "pump__origin", ("pump", "origin"), "membrane"),
        ("hsp.bundle.cluster__cytosol.group.assembly.pdb1", "hsp", ("hsp",), "bundle cluster cytosol group assembly"),
        ("7p6z", "7p6z", ("7p6z",), ""),
    ],
)
def test_a_file_name_says_name_classes_and_flags(file: str, name: str, classes: tuple[str, ...], flags: str) -> None:
    found = parse_name(file)
    assert (found.name, found.classes, found.flags) == (name, classes, frozenset(flags.split()))


@given(st.text(min_size=1, max_size=40).filter(lambda t: "/" not in t and "\x00" not in t))
@settings(max_examples=200)
def test_every_name_gives_a_class_and_only_known_flags(text: str) -> None:
    found = parse_name(text)
    assert found.flags <= set(FLAGS)
    assert len(found.classes) >= 1
    if text not in (".", ".."):
        assert all(found.classes)


def test_block_names_lose_their_number_and_full_stops() -> None:
    assert [block_class(n) for n in ("hub_2", "hub", "a.b_10", "_1", "sub_unit")] == [
        "hub",
        "hub",
        "ab",
        "_1",
        "sub_unit",
    ]


# -- parts -------------------------------------------------------------------------------------------------


def test_models_are_parts_named_by_the_file(tmp_path: Path) -> None:
    text = "".join(f"MODEL     {i:4d}\n{alanine(shift=10.0 * i)}ENDMDL\n" for i in (1, 2, 3))
    found = read_structure(written(tmp_path, "kinase__hub.complex.pdb", text + "END\n"))
    assert [part.name for part in found.sub_models] == ["kinase", "hub", "hub"]
    np.testing.assert_allclose(found.sub_models[1].atoms.position[1], [3, 2, 21])
    assert found.sub_models[0].atoms.number.tolist() == [7, 6, 6, 8, 6]
    same = read_structure(written(tmp_path, "kinase__hub.pdb", text))
    assert [part.name for part in same.sub_models] == ["kinase"] * 3
    given = read_structure(tmp_path / "kinase__hub.pdb", classes=["x", "y"])
    assert [part.name for part in given.sub_models] == ["x", "y", "y"]


def test_models_of_an_assembly_file_are_one_part(tmp_path: Path) -> None:
    text = "".join(f"MODEL     {i:4d}\n{alanine(shift=10.0 * i)}ENDMDL\n" for i in (1, 2))
    found = read_structure(written(tmp_path, "virus.pdb1", text))
    assert [(part.name, len(part.atoms)) for part in found.sub_models] == [("virus", 10)]
    assert len(read_structure(written(tmp_path, "virus.group.pdb1", text)).sub_models) == 2


def test_blocks_of_a_cif_file_are_parts_named_by_themselves(tmp_path: Path) -> None:
    some = [("C", "ALA", 1.0), ("N", "GLY", 2.0)]
    path = written(tmp_path, "a.membrane.complex.cif", cif({"hub_1": some, "kin.ase": some, "origin_2": some[:1]}))
    assert [part.name for part in read_structure(path).sub_models] == ["hub", "kinase", "origin"]
    one = read_structure(written(tmp_path, "b.cif", cif({"XXXX": some})))
    assert [(part.name, len(part.atoms)) for part in one.sub_models] == [("b", 2)]
    np.testing.assert_allclose(one.sub_models[0].atoms.position, [[3, 2, 1], [3, 2, 2]])
    away = read_structure(written(tmp_path, "b.distract.membrane.cif", cif({"a": some, "origin": some})))
    assert [part.name for part in away.sub_models] == ["distract", "origin"]
    marked = written(tmp_path, "c.membrane.cif", cif({"origin": some, "a": some, "b": some}))
    assert [part.name for part in read_structure(marked, classes=["x", "y"]).sub_models] == ["origin", "x", "y"]


def test_an_origin_of_one_odd_atom_is_kept_as_a_mark(tmp_path: Path) -> None:
    mark = line(1, "X", "DUM", 1, (1, 2, 3), "X", record="HETATM")
    text = f"MODEL        1\n{alanine()}ENDMDL\nMODEL        2\n{mark}ENDMDL\n"
    found = read_structure(written(tmp_path, "pump__origin.membrane.pdb", text))
    np.testing.assert_allclose(found.sub_models[1].atoms.position, [[3, 2, 1]])


# -- what is kept ------------------------------------------------------------------------------------------


def test_waters_ions_and_dummies_are_dropped_and_hydrogens_kept(tmp_path: Path) -> None:
    text = alanine() + line(6, "H", "ALA", 1, (0, 0, 1), "H") + line(7, "D", "ALA", 1, (0, 0, 2), "D")
    text += line(8, "CA", "GLY", 2, (4, 4, 4), "C")  # a trace of a chain: one atom, but of a polymer
    for i, (name, residue, element) in enumerate(
        [("O", "HOH", "O"), ("ZN", "ZN", "ZN"), ("O", "DOD", "O"), ("N", "DUM", "N"), ("UNK", "UNX", "X")]
    ):
        text += line(9 + i, name, residue, 100 + i, (i, i, i), element, record="HETATM")
    text += line(20, "S", "SO4", 200, (7, 7, 7), "S", record="HETATM")
    text += line(21, "O1", "SO4", 200, (8, 7, 7), "O", record="HETATM")
    found = read_structure(written(tmp_path, "a.pdb", text))
    assert found.sub_models[0].atoms.number.tolist() == [7, 6, 6, 8, 6, 1, 1, 6, 16, 8]


def test_of_alternatives_the_highest_occupancy_stays(tmp_path: Path) -> None:
    atoms: list[tuple[str, str, int, str, float]] = [
        ("N", "SER", 1, " ", 1.0),
        ("CB", "SER", 1, "A", 0.3),
        ("CB", "SER", 1, "B", 0.7),
        ("OG", "SER", 1, "A", 0.3),
        ("OG", "SER", 1, "B", 0.7),
        ("CA", "GLY", 2, "B", 0.5),
        ("CA", "GLY", 2, "A", 0.5),
        ("CA", "ALA", 3, "A", 0.4),
        ("CB", "ALA", 3, "A", 0.4),
        ("CA", "THR", 3, "B", 0.6),
        ("OG1", "THR", 3, "B", 0.6),
        ("O", "GLY", 4, "C", 0.2),
        ("C", "GLY", 4, "B", 0.9),
    ]
    text = "".join(
        line(i + 1, name, residue, number, (i, 0, 0), name[0], alt=letter, occ=occupancy)
        for i, (name, residue, number, letter, occupancy) in enumerate(atoms)
    )
    found = read_structure(written(tmp_path, "a.pdb", text))
    x = found.sub_models[0].atoms.position[:, 2]
    assert x.tolist() == [0, 2, 4, 6, 9, 10, 11, 12]


# -- assemblies --------------------------------------------------------------------------------------------

REMARK_350 = """REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2  0.000000 -1.000000  0.000000      100.00000
REMARK 350   BIOMT2   2  1.000000  0.000000  0.000000       10.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        1.00000
REMARK 350 BIOMOLECULE: 2
REMARK 350 APPLY THE FOLLOWING TO CHAINS: B
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
"""


def test_assemblies_copy_the_chains_they_name(tmp_path: Path) -> None:
    text = REMARK_350 + alanine() + "TER\n" + alanine(chain="B", shift=50, serial=10) + "END\n"
    path = written(tmp_path, "a.pdb", text)
    first = read_structure(path).sub_models[0].atoms
    assert len(first) == 10
    z, y, x = first.position[:5].T
    np.testing.assert_allclose(first.position[5:], np.stack([z + 1, x + 10, 100 - y], axis=1), atol=1e-4)
    assert first.number[:5].tolist() == first.number[5:].tolist()
    second = read_structure(path, assembly="2").sub_models[0].atoms
    np.testing.assert_allclose(second.position[:, 2], np.arange(50, 55))
    assert read_structure(path, assembly="file").count == 10
    with pytest.raises(InputError, match=r"a\.pdb: has no assembly '3'; there is 1, 2"):
        read_structure(path, assembly="3")


@needs_structures
@pytest.mark.parametrize(("entry", "times"), [("1bxn", 2), ("3cf3", 2), ("1qvr", 2), ("3qm1", 2), ("1s3x", 1)])
def test_real_assemblies_agree_with_gemmi(entry: str, times: int) -> None:
    path = STRUCTURES / f"{entry}.pdb.gz"
    found = read_structure(path)
    assert found.count == times * read_structure(path, assembly="file").count
    theirs = gemmi.read_structure(str(path))
    theirs.remove_alternative_conformations()
    theirs.transform_to_assembly("1", gemmi.HowToNameCopiedChain.Dup)
    theirs.remove_waters()
    positions = np.array([a.atom.pos.tolist() for a in theirs[0].all() if len(a.residue) > 1])[:, ::-1]
    mine = found.sub_models[0].atoms.position
    assert len(mine) == len(positions)
    np.testing.assert_allclose(mine.mean(0), positions.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(mine.T), np.cov(positions.T), rtol=0.01, atol=0.5)


@needs_structures
def test_a_capsid_of_sixty_operators_fits_into_memory() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_structure(STRUCTURES / "6qt9.cif.gz")
    assert found.count == 60 * read_structure(STRUCTURES / "6qt9.cif.gz", assembly="file").count
    spread = np.linalg.eigvalsh(np.cov(found.sub_models[0].atoms.position[::50].astype(float).T))
    assert spread.max() / spread.min() < 1.05  # a closed shell; its unit alone has 3 and more
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000


@needs_structures
def test_a_packed_file_is_read_as_the_plain_one(tmp_path: Path) -> None:
    packed = (STRUCTURES / "1tub.pdb.gz").read_bytes()
    (tmp_path / "1tub.pdb").write_bytes(gzip.decompress(packed))
    one, two = read_structure(STRUCTURES / "1tub.pdb.gz"), read_structure(tmp_path / "1tub.pdb")
    assert one.name == two.name == "1tub"
    np.testing.assert_array_equal(one.sub_models[0].atoms.position, two.sub_models[0].atoms.position)
    np.testing.assert_array_equal(one.sub_models[0].atoms.number, two.sub_models[0].atoms.number)


# -- damage ------------------------------------------------------------------------------------------------


def test_what_is_no_structure_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"gone\.pdb"):
        read_structure(tmp_path / "gone.pdb")
    with pytest.raises(FormatError, match=r"a\.xyz: its name does not end as that of a structure"):
        read_structure(written(tmp_path, "a.xyz", "C 0 0 0"))
    with pytest.raises(FormatError, match=r"empty\.cif: the file is empty"):
        read_structure(written(tmp_path, "empty.cif", " \n"))
    for name, text in [("text.pdb", "hello\nworld\n"), ("text.cif", "data_x\n_cell.length_a 3\n")]:
        with pytest.raises(FormatError, match=f"{name}: holds no atoms"):
            read_structure(written(tmp_path, name, text))
    with pytest.raises(FormatError, match=r"bad\.cif: is not a \.cif file"):
        read_structure(written(tmp_path, "bad.cif", "hello world\n"))
    with pytest.raises(FormatError, match="no atoms are left without waters and ions"):
        read_structure(written(tmp_path, "w.pdb", line(1, "O", "HOH", 1, (0, 0, 0), "O", record="HETATM")))
    with pytest.raises(FormatError, match=r"u\.pdb: 1 atoms are of no known element .*QX of ALA 1"):
        read_structure(written(tmp_path, "u.pdb", alanine() + line(6, "QX", "ALA", 1, (1, 1, 1), "X")))
    with pytest.raises(FormatError, match=r"p\.cif: an atom has no position"):
        read_structure(written(tmp_path, "p.cif", cif({"a": [("C", "ALA", float("nan"))] * 3})))
    with pytest.raises(FormatError, match=r"o\.pdb: an operator of the assembly"):
        read_structure(written(tmp_path, "o.pdb", REMARK_350.replace("100.00000", "9.9e+9999") + alanine()))
    (tmp_path / "folder.pdb").mkdir()
    with pytest.raises(MissingError, match="cannot be read"):
        read_structure(tmp_path / "folder.pdb")


@settings(max_examples=60)
@given(data=st.data())
def test_torn_and_garbled_files_are_refused_or_read_never_worse(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = data.draw(st.sampled_from([".pdb", ".cif"]))
    text = REMARK_350 + alanine() if kind == ".pdb" else cif({"a": [("C", "ALA", 1.0)] * 5, "b": [("N", "GLY", 2.0)]})
    raw = bytearray(text.encode())
    cut = data.draw(st.integers(0, len(raw)))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("torn") / f"a{kind}"
    path.write_bytes(bytes(raw[:cut]))
    outcome: object
    try:
        outcome = read_structure(path).count
    except VolengineError as error:
        outcome = str(error)
    assert str(path) in outcome if isinstance(outcome, str) else outcome


@settings(max_examples=25)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_gz_is_refused(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    packed = gzip.compress((alanine() * 50).encode())
    path = tmp_path_factory.mktemp("gz") / "a.pdb.gz"
    path.write_bytes(packed[: 2 + int(share * (len(packed) - 2))])
    with pytest.raises(FormatError, match=r"a\.pdb\.gz"):
        read_structure(path)


# -- maps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.mrc", "m.map.gz"])
def test_maps_are_read_bright(tmp_path: Path, name: str) -> None:
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3] = 7
    for sign in (1, -1):
        with mrcfile.new(tmp_path / "plain.mrc", sign * array, overwrite=True) as file:
            file.voxel_size = 3.5
        content = (tmp_path / "plain.mrc").read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        found, voxel_size = read_density(tmp_path / name, invert=sign < 0)
        np.testing.assert_array_equal(found, array)
        assert voxel_size == pytest.approx((3.5, 3.5, 3.5))
        with pytest.raises(InputError, match=f"seems to be dark.*invert: {'true' if sign < 0 else 'false'}"):
            read_density(tmp_path / name, invert=sign > 0)


def test_flat_and_infinite_maps_are_refused(tmp_path: Path) -> None:
    for value, why in ((3.0, "all values are 3"), (np.inf, "not finite")):
        array = np.full((3, 3, 3), 3.0, np.float32)
        array[0, 0, 0] = value
        with mrcfile.new(tmp_path / "flat.mrc", overwrite=True) as file:
            file.set_data(np.zeros_like(array))
            file.data[:] = array
            file.voxel_size = 2
        with pytest.raises(InputError, match=why):
            read_density(tmp_path / "flat.mrc")


# -- downloads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7p6z", "7P6Z"),
        ("PDB:1bxn ", "1BXN"),
        ("pdb_00007p6z", "7P6Z"),
        ("pdb_1234abcd", "PDB_1234ABCD"),
        ("1234", None),
        ("actin", None),
        ("0abc", None),
        ("7p6z.cif", None),
        ("", None),
    ],
)
def test_identifiers_of_the_pdb_are_recognised(text: str, found: str | None) -> None:
    assert pdb_id(text) == found


class Net:
    """Stands for the network: counts what is asked, answers or fails."""

    def __init__(self, answer: bytes | Exception):
        self.answer, self.asked = answer, list[str]()

    def __call__(self, url: str, timeout: float) -> io.BytesIO:
        self.asked.append(url)
        assert timeout > 0
        if isinstance(self.answer, Exception):
            raise self.answer
        return io.BytesIO(self.answer)


GOOD = gzip.compress(cif({"1ABC": [("C", "ALA", 1.0)] * 3}).encode(), mtime=0)


def test_an_entry_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(GOOD)
    monkeypatch.setattr(urllib.request, "urlopen", net)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = fetch_structure("1abc")
    assert path == tmp_path / "volengine" / "structures" / "1ABC.cif.gz" == cache_folder() / "1ABC.cif.gz"
    assert fetch_structure("1ABC") == path
    assert net.asked == ["https://files.rcsb.org/download/1ABC.cif.gz"]
    assert [p.name for p in path.parent.iterdir()] == ["1ABC.cif.gz"]
    assert read_structure(path).count == 3


def test_a_file_put_there_by_hand_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", Net(AssertionError("the network was asked")))
    path = written(tmp_path, "1abc.pdb", alanine())
    assert fetch_structure("1ABC", tmp_path) == path


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (urllib.error.URLError("no route"), MissingError, r"no route.*Put the file there by hand: .*1ABC\.cif\.gz"),
        (TimeoutError("timed out"), MissingError, "timed out.*by hand"),
        (urllib.error.HTTPError("u", 404, "Not Found", Message(), None), MissingError, "has no entry 1ABC"),
        (urllib.error.HTTPError("u", 503, "Busy", Message(), None), MissingError, "503"),
        (b"<html>please log in</html>", FormatError, "not a complete gzip file"),
        (GOOD[: len(GOOD) // 2], FormatError, "not a complete gzip file"),
        (gzip.compress(b"<html>", mtime=0), FormatError, "not an mmCIF file"),
    ],
    ids=["no route", "too late", "no entry", "busy", "no gzip", "half of it", "no mmCIF"],
)
def test_a_download_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, error: type[Exception], why: str
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", Net(answer))
    with pytest.raises(error, match=why):
        fetch_structure("1abc", tmp_path / "new")
    assert not (tmp_path / "new").exists() or not os.listdir(tmp_path / "new")


def test_only_ids_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'ribosome' is not a PDB id"):
        fetch_structure("ribosome", tmp_path)
