"""What the coordinates of STAR files of different programs mean, with values derived by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile

from volengine.core.errors import FormatError, InputError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.io.picks import read_all, read_picks, write_picks

XYZ = "rlnCoordinateX rlnCoordinateY rlnCoordinateZ"


def table(name: str, labels: str, *rows: str) -> str:
    return f"data_{name}\n\nloop_\n" + "".join(f"_{x}\n" for x in labels.split()) + "\n".join(rows) + "\n\n"


def place(path: Path, **known: object) -> list[list[float]]:
    return read_picks(path, **known).place.round(9).tolist()  # type: ignore[arg-type]


# -- which pixels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "values", "tomogram", "pixel"),
    [
        # RELION 4 and 5: pixels of the tilt series, whatever the binning
        ("rlnTomoTiltSeriesPixelSize rlnTomoSubtomogramBinning rlnImagePixelSize", "2 4 8", "TS_01", 2),
        # WarpTools up to dev39: pixels of the images; since dev40 both sizes are those of the images
        ("rlnTomoTiltSeriesPixelSize rlnTomoSubtomogramBinning rlnImagePixelSize", "2 4 8", "TS_01.tomostar", 8),
        ("rlnTomoTiltSeriesPixelSize rlnTomoSubtomogramBinning rlnImagePixelSize", "8 1 8", "TS_01.tomostar", 8),
        # RELION 3.1: pixels of the tomogram that the particles were cut from
        ("rlnMicrographPixelSize rlnImagePixelSize", "2 8", "TS_01", 2),
        ("rlnImagePixelSize rlnMicrographOriginalPixelSize rlnMicrographPixelSize", "8 1 2", "TS_01", 2),
        ("rlnImagePixelSize", "8", "TS_01", 8),
        ("rlnImagePixelSize rlnMicrographOriginalPixelSize", "8 8.0", "TS_01", 8),
        ("rlnImagePixelSize rlnTomoSubtomogramBinning", "8 4", "TS_01", 2),
    ],
)
def test_the_pixels_that_coordinates_count(
    tmp_path: Path, labels: str, values: str, tomogram: str, pixel: float
) -> None:
    path = tmp_path / "a.star"
    optics = table("optics", f"rlnOpticsGroup {labels}", f"1 {values}")
    path.write_text(optics + table("particles", f"rlnTomoName {XYZ} rlnOpticsGroup", f"{tomogram} 400 300 200 1"))
    picks = read_picks(path)
    assert picks.voxel_size == (pixel,) * 3
    assert picks.place.tolist() == [[200 * pixel, 300 * pixel, 400 * pixel]]
    assert picks.tomogram == "TS_01"
    assert place(path, voxel_size=(10, 10, 10)) == picks.place.tolist()  # the same place on another grid


def test_two_sizes_of_which_neither_counts_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    optics = table("optics", "rlnOpticsGroup rlnImagePixelSize rlnMicrographOriginalPixelSize", "1 8 1")
    path.write_text(optics + table("particles", f"rlnTomoName {XYZ} rlnOpticsGroup", "TS_01 4 3 2 1"))
    with pytest.raises(InputError, match="set voxel_size"):
        read_picks(path)
    assert place(path, voxel_size=(10, 10, 10)) == [[20, 30, 40]]


@pytest.mark.parametrize(("there", "here"), [("1", "1.000000"), ("1.000000", "1"), ("2.0", "2"), ("a", "a")])
def test_numbers_of_optics_groups_in_both_spellings(tmp_path: Path, there: str, here: str) -> None:
    path = tmp_path / "a.star"
    optics = table("optics", "rlnOpticsGroup rlnTomoTiltSeriesPixelSize", f"{there} 2.5", "7 5.0")
    path.write_text(optics + table("particles", f"rlnTomoName {XYZ} rlnOpticsGroup", f"a 1 2 3 {here}", "b 1 2 3 7"))
    found = read_all(path)
    assert [found[name].voxel_size[0] for name in ("a", "b")] == [2.5, 5]


def test_an_optics_group_with_two_sizes_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    optics = table("optics", "rlnOpticsGroup rlnTomoTiltSeriesPixelSize", "1 2.5", "1.0 5.0")
    path.write_text(optics + table("particles", f"rlnTomoName {XYZ} rlnOpticsGroup", "a 1 2 3 1"))
    with pytest.raises(FormatError, match="optics group '1' is there twice"):
        read_picks(path)


# -- fractions, names, texts ---------------------------------------------------------------------------------------


def test_fractions_of_template_matching_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "TS_01_10.00Apx_ribosome.star"
    labels = f"{XYZ} rlnMicrographName"
    path.write_text(table("", labels, "0.25 0.5 0.125 TS_01.tomostar", "1.0 0.0 0.9 TS_01.tomostar"))
    with pytest.raises(FormatError, match=r"2 picks are between 0 and 1.*--normalized_coords.*size of the unbinned"):
        read_picks(path, voxel_size=(10, 10, 10))
    path.write_text(table("", f"{XYZ} rlnMicrographName", "0.25 0.5 0.125 TS_01.tomostar", "1.5 0 0 TS_01.tomostar"))
    assert len(read_picks(path, voxel_size=(10, 10, 10))) == 2
    path.write_text(table("", f"{XYZ} rlnMicrographName", "1 0 1 TS_01.tomostar"))
    assert len(read_picks(path, voxel_size=(10, 10, 10))) == 1
    write_picks(path, Picks([[0.5, 0.5, 0.5]], voxel_size=(10, 10, 10), tomogram="a"))  # volengine's own are voxels
    assert len(read_picks(path)) == 1


@pytest.mark.parametrize("label", ["rlnTomoName", "rlnMicrographName"])
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("TS_01.tomostar", "TS_01"),
        ("tomostar/TS_01.tomostar", "TS_01"),
        ("aretomo/TS_01_Vol.mrc", "TS_01"),
        ("TS_01_EVN_Vol.mrc", "TS_01"),
        ("TS_01_ODD_Vol", "TS_01"),
        ("TS_01_2ND_Vol.mrc", "TS_01"),
        ("C:\\data\\TS_01.rec", "TS_01"),
        ("tomograms/TS_01.ome.zarr", "TS_01"),
        ("TS_01.mrc.gz", "TS_01"),
        ("TS.01", "TS.01"),
        ("_Vol", "_Vol"),
    ],
)
def test_names_of_tomograms(tmp_path: Path, label: str, text: str, name: str) -> None:
    path = tmp_path / "a.star"
    path.write_text(table("particles", f"{XYZ} {label}", f'10 20 30 "{text}"'))
    assert list(read_all(path, voxel_size=(10, 10, 10))) == [name]
    assert read_picks(path, voxel_size=(10, 10, 10), tomogram=f"{name}_Vol").tomogram == name
    path.with_suffix(".csv").write_text(f"tomogram,z,y,x\n{text},1,2,3\n")
    assert list(read_all(path.with_suffix(".csv"), voxel_size=(10, 10, 10))) == [name]


def test_names_that_would_become_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    for one, other in (("TS_EVN_Vol.mrc", "TS_ODD_Vol.mrc"), ("a/TS.mrc", "b/TS.mrc"), ("TS", "TS.tomostar")):
        path.write_text(table("particles", f"{XYZ} rlnTomoName", f"10 20 30 {one}", f"10 20 30 {other}"))
        with pytest.raises(FormatError, match="both mean tomogram 'TS'"):
            read_all(path, voxel_size=(10, 10, 10))


def test_comments_in_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    text = "# Schlüssel 5 Å\n" + table("particles", f"{XYZ} rlnTomoName", "10 20 30 Müller")
    path.write_bytes(text.encode("latin-1"))
    assert read_picks(path, voxel_size=(10, 10, 10)).tomogram == "Müller"
    path.write_bytes(text.encode() + b"\n# \xfc\n")  # a part in UTF-8, a part not: damaged
    with pytest.raises(FormatError, match="no UTF-8"):
        read_picks(path, voxel_size=(10, 10, 10))


# -- filaments -----------------------------------------------------------------------------------------------------


def test_a_filament_is_turned_by_both_triples_and_its_priors_are_left_out(tmp_path: Path) -> None:
    """A filament along the tomogram's y: subtomograms turned so, RELION's 0, 90, 0 within, priors 90 and 0."""
    path = tmp_path / "filament.star"
    labels = (
        "rlnTomoName rlnTomoSubtomogramRot rlnTomoSubtomogramTilt rlnTomoSubtomogramPsi rlnAngleRot rlnAngleTilt "
        f"rlnAnglePsi rlnAngleTiltPrior rlnAnglePsiPrior rlnHelicalTubeID {XYZ}"
    )
    path.write_text(table("particles", labels, "TS 10 20 -30 0 90 0 90 0 4 30 20 10"))
    picks = read_picks(path, voxel_size=(10, 10, 10))
    turn = euler_to_matrix([[10, 20, -30]])[0] @ euler_to_matrix([[0, 90, 0]])[0]
    np.testing.assert_allclose(euler_to_matrix(picks.euler)[0], turn, atol=1e-12)
    assert set(picks.extra) == {"rlnHelicalTubeID"}


@pytest.mark.parametrize(
    ("labels", "values", "shift"),
    [
        ("rlnOriginXAngst rlnOriginYAngst", "3 -4", [0, -4, 3]),
        ("rlnOriginZAngst", "5", [5, 0, 0]),
        ("rlnOriginX rlnOriginY", "1.5 -2", [0, -4, 3]),
    ],
)
def test_an_axis_without_a_shift_is_not_shifted(tmp_path: Path, labels: str, values: str, shift: list[float]) -> None:
    """Shifts along some axes alone move the picks along these: RELION takes 0 for a column that is not there."""
    text = table("optics", "rlnOpticsGroup rlnTomoTiltSeriesPixelSize", "1 2")
    text += table("particles", f"rlnTomoName {XYZ} rlnOpticsGroup {labels}", f"TS_01 30 20 10 1 {values}")
    (tmp_path / "a.star").write_text(text)
    assert place(tmp_path / "a.star") == [[20 - shift[0], 40 - shift[1], 60 - shift[2]]]
    assert not read_picks(tmp_path / "a.star").extra


# -- sets of RELION 5 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(50, 101, 103), (64, 96, 128)])
def test_a_set_counts_from_half_the_unbinned_size(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """Unbinned pixel 2.5, binning 4, odd sizes: the centre is (w, h, d) / 2 unbinned pixels, by hand below."""
    path = tmp_path / "run1_optimisation_set.star"
    picks = Picks([[10, 20, 30]], voxel_size=(10, 10, 10), shape=shape, tomogram="TS_01", euler=[[10, 20, 30]])
    write_picks(path, picks, pixel_size=2.5)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "run1_optimisation_set.star", "run1_particles.star", "run1_tomograms.star",
    ]  # fmt: skip
    leads = starfile.read(path)
    assert leads == {"rlnTomoParticlesFile": "run1_particles.star", "rlnTomoTomogramsFile": "run1_tomograms.star"}
    (tomogram,) = starfile.read(tmp_path / "run1_tomograms.star", always_dict=True)["global"].to_dict("records")
    assert [tomogram[f"rlnTomoSize{a}"] for a in "ZYX"] == [4 * n for n in shape]
    assert (tomogram["rlnTomoTiltSeriesPixelSize"], tomogram["rlnTomoTomogramBinning"]) == (2.5, 4)
    particles = starfile.read(tmp_path / "run1_particles.star")["particles"].to_dict("records")[0]
    for index, n, axis in zip((10, 20, 30), shape, "ZYX", strict=True):
        assert particles[f"rlnCenteredCoordinate{axis}Angst"] == index * 10 - 4 * n / 2 * 2.5
    assert read_picks(path).position_vox.tolist() == [[10, 20, 30]]
    assert read_picks(path) == picks


def test_a_foreign_set_whose_size_is_no_multiple_of_the_binning(tmp_path: Path) -> None:
    """Size 4092 x 5760 x 2046, binned by 8: the binned volume has 511 or 512 voxels along x, the centre is 2046."""
    labels = "rlnTomoName rlnTomoSizeX rlnTomoSizeY rlnTomoSizeZ rlnTomoTiltSeriesPixelSize rlnTomoTomogramBinning"
    (tmp_path / "tomograms.star").write_text(table("global", labels, "TS_01 4092 5760 2046 1.25 8"))
    labels = "rlnTomoName " + " ".join(f"rlnCenteredCoordinate{a}Angst" for a in "XYZ")
    (tmp_path / "particles.star").write_text(table("particles", labels, "TS_01 100 -200 50"))
    path = tmp_path / "optimisation_set.star"
    path.write_text("data_\n\n_rlnTomoParticlesFile particles.star\n_rlnTomoTomogramsFile tomograms.star\n")
    wanted = [[2046 * 0.625 + 50, 5760 * 0.625 - 200, 4092 * 0.625 + 100]]
    assert read_picks(path).place.tolist() == wanted
    for shape in ((255, 720, 511), (256, 720, 512)):  # as programs round
        found = read_picks(path, voxel_size=(10, 10, 10), shape=shape)
        assert found.place.tolist() == wanted
        assert found.shape == shape
    # pixels of the tilt series, as RELION reads them for RELION 4: the tomograms state their size
    text = table("particles", f"rlnTomoName {XYZ}", "TS_01 800 400 80")
    (tmp_path / "particles.star").write_text(text)
    assert read_picks(path).place.tolist() == [[100, 500, 1000]]
    assert read_picks(path).position_vox.tolist() == [[10, 50, 100]]


def test_a_set_leads_to_its_own_files_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two projects with files of the same names; the working folder is the other one's, then one without files."""
    for number, name in ((1, "a"), (2, "b")):
        (tmp_path / name).mkdir()
        one = Picks([[number] * 3], voxel_size=(8, 8, 8), shape=(9, 9, 9), tomogram="T")
        write_picks(tmp_path / name / "run1_optimisation_set.star", one)
    monkeypatch.chdir(tmp_path / "b")
    for path in (Path("../a/run1_optimisation_set.star"), tmp_path / "a" / "run1_optimisation_set.star"):
        assert read_picks(path).position_vox.tolist() == [[1, 1, 1]]
    job = tmp_path / "a" / "Extract" / "job001"  # RELION's names count from the project folder
    job.mkdir(parents=True)
    text = (tmp_path / "a" / "run1_optimisation_set.star").read_text()
    (job / "optimisation_set.star").write_text(text)
    assert read_picks(job / "optimisation_set.star").position_vox.tolist() == [[1, 1, 1]]
    elsewhere = tmp_path / "optimisation_set.star"  # above the project: the working folder is asked last
    elsewhere.write_text(text)
    assert read_picks(elsewhere).position_vox.tolist() == [[2, 2, 2]]


def relion_tables(path: Path) -> dict[str, list[list[str]]]:
    """Names and rows of all tables of loops, as RELION's ``MetaDataTable::readAll`` reads them (metadata_table.cpp)."""
    lines = iter([line.strip() for line in path.read_text().splitlines()] + [""])
    found: dict[str, list[list[str]]] = {}
    for line in lines:
        if "data_" not in line:
            continue
        rows = found[line[line.index("data_") + 5 :]] = []
        while "loop_" not in next(lines):
            pass
        row = next(lines)
        while not row or row[0] in "#;_":  # blank lines end no list of labels
            row = next(lines)
        while row:
            rows.append(row.split())
            row = next(lines)
    return found


def test_relion_finds_the_tables_of_a_set(tmp_path: Path) -> None:
    """Its reader takes a block for a row of an empty table before it, and a comment with "data_" for a block."""
    path = tmp_path / "optimisation_set.star"
    names = ["data_1", "TS_02", "TS_03"]
    write_picks(path, [Picks([[1, 2, 3]], voxel_size=(8, 8, 8), shape=(9, 9, 9), tomogram=name) for name in names])
    tables = relion_tables(tmp_path / "tomograms.star")
    assert list(tables) == ["global", *names]
    assert [row[0].strip('"') for row in tables["global"]] == names
    assert all(len(tables[name]) == 1 for name in names)
    assert {name: len(rows) for name, rows in relion_tables(tmp_path / "particles.star").items()} == {
        "optics": 3,
        "particles": 3,
    }
    assert list(read_all(path)) == names


def test_a_set_refuses_what_relion_cannot_open(tmp_path: Path) -> None:
    picks = Picks([[1, 2, 3]], voxel_size=(10, 10, 10), tomogram="TS")
    path = tmp_path / "optimisation_set.star"
    with pytest.raises(InputError, match=r"set picks.with_.shape"):
        write_picks(path, picks)
    with pytest.raises(InputError, match="smaller than the pixel size 20"):
        write_picks(path, picks.with_(shape=(9, 9, 9)), pixel_size=20)
    assert not list(tmp_path.iterdir())
    write_picks(path, picks.with_(shape=(9, 9, 9)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["optimisation_set.star", "particles.star", "tomograms.star"]
