"""Metadata of tilt series, against values worked out by hand and against mdocfile where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tilt_files import ALL, MDOC, RELION, TOMOSTAR, XML, aln

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.tilts import TiltSeries, read_tilts, tilts_of


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_mdoc(tmp_path: Path) -> None:
    """By hand: the images were taken in the order 0, 2, 1, so the doses before them are 0, 3 + 4 = 7, and 3."""
    series = read_tilts(put(tmp_path, "TS_01.mrc.mdoc", MDOC))
    assert series.angles == (0.01, -3, 3)
    assert series.sections == (0, 1, 2)
    assert series.dose == (0, 7, 3)
    assert series.nominal_defocus == (30_000, 35_000, 40_000)
    assert series.axis_angle == (85.3, 85.3, 85.3)
    assert series.images == ("TS_01_000_0.0.tif", "TS_01_002_-3.0.tif", "TS_01_001_3.0.tif")
    assert series.pixel_size == 1.35


def test_the_dose_that_an_mdoc_states_comes_first(tmp_path: Path) -> None:
    text = MDOC
    for before, dose in (("0.01", 0), ("-3", 60.5), ("3", 57)):
        text = text.replace(f"TiltAngle = {before}\n", f"TiltAngle = {before}\nPriorRecordDose = {dose}\n")
    assert read_tilts(put(tmp_path, "a.mdoc", text)).dose == (0, 60.5, 57)


def test_a_title_whose_axis_is_no_number_counts_for_nothing(tmp_path: Path) -> None:
    series = read_tilts(put(tmp_path, "a.mdoc", MDOC.replace("angle = 85.3", "angle = .x")))
    assert series.axis_angle == (175.3, 175.3, 175.3)


def test_without_times_the_dose_is_not_known(tmp_path: Path) -> None:
    text = MDOC.replace("DateTime = 30-Nov-25  15:22:38\n", "")
    assert read_tilts(put(tmp_path, "a.mdoc", text)).dose is None
    assert read_tilts(put(tmp_path, "a.mdoc", MDOC.replace("15:22:38", "15:21:38"))).dose is None


def test_mdocfile_agrees(tmp_path: Path) -> None:
    mdocfile = pytest.importorskip("mdocfile", reason="mdocfile is not installed")
    path = put(tmp_path, "a.mdoc", MDOC)
    table, series = mdocfile.read(path), read_tilts(path)
    assert table["TiltAngle"].tolist() == list(series.angles)
    assert table["ZValue"].tolist() == list(series.sections or ())
    assert [-v * 1e4 for v in table["TargetDefocus"]] == list(series.nominal_defocus or ())


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("dark", [(), (2,), (0,), (4,), (0, 4)])
def test_sections_of_aretomo_count_from_0_or_from_1(tmp_path: Path, first: int, dark: tuple[int, ...]) -> None:
    """Even if the first or the last section is dark, rows and dark lines together say from where they count."""
    series = read_tilts(put(tmp_path, "a.aln", aln(first, dark)))
    kept = [s for s in range(5) if s not in dark]
    assert series.sections == tuple(kept)
    assert series.angles == tuple(-6 + 3 * s for s in kept)
    assert series.dark == dark
    assert series.axis_angle == (85.1,) * len(kept)
    assert series.thickness_px == 800
    assert series.notes == (f"SEC counts from {first}; sections here count from 0.", "AlphaOffset is 1.5 degrees.")


def test_local_alignments_are_left_out(tmp_path: Path) -> None:
    text = aln(1) + "# Local Alignment\n   0    0  -1000.0  -1000.0   0.1  0.2  1.0\n"
    assert read_tilts(put(tmp_path, "a.aln", text)).sections == (0, 1, 3, 4)


def test_relion(tmp_path: Path) -> None:
    series = read_tilts(put(tmp_path, "TS_01.star", RELION))
    assert series.angles == (0, 3)
    assert series.dose == (0, 3.5)
    assert series.defocus == (30_000, 30_500)
    assert series.nominal_defocus == (25_000, 30_000)
    assert series.axis_angle == (85, 85)
    assert series.images == ("a_001.mrc", "a_002.mrc")


def test_the_angles_of_an_aligned_series_of_relion(tmp_path: Path) -> None:
    text = RELION.replace(
        "_rlnTomoNominalTiltAxisAngle #7", "_rlnTomoNominalTiltAxisAngle #7\n_rlnTomoYTilt #8\n_rlnTomoZRot #9"
    )
    text = text.replace("29000 85.0", "29000 85.0 -1.25 84.1").replace("29500 85.0", "29500 85.0 1.8 84.2")
    series = read_tilts(put(tmp_path, "TS_01.star", text))
    assert (series.angles, series.axis_angle) == ((-1.25, 1.8), (84.1, 84.2))
    assert series.notes == ("The angles are rlnTomoYTilt.",)


def test_tomostar(tmp_path: Path) -> None:
    series = read_tilts(put(tmp_path, "TS_01.tomostar", TOMOSTAR))
    assert (series.angles, series.dose, series.axis_angle) == ((3.01, 0.01), (4.5, 1.5), (-94.1, -94.1))
    assert series.images == ("a_001.eer", "a_000.eer")


def test_warp(tmp_path: Path) -> None:
    series = read_tilts(put(tmp_path, "TS_01.xml", XML))
    assert (series.angles, series.dose, series.used) == ((-3.01, 0.01, 3), (4.5, 1.5, 7.5), (True, True, False))
    assert series.defocus == pytest.approx((30_000, 31_000, 32_000))
    assert (series.axis_angle, series.pixel_size) == ((-94, -94, -94.5), 1.35)
    assert series.volume_size == (2700, 7776, 5524)
    assert series.notes[1:] == (
        "LevelAngleY is -7.5 degrees.",
        "AreAnglesInverted: the defocus grows to the other side.",
    )


@pytest.mark.parametrize("name", ["TS_01.rawtlt", "TS_01.tlt"])
def test_lists_of_angles(tmp_path: Path, name: str) -> None:
    series = read_tilts(put(tmp_path, name, " -60.00\n-57.00\n\n  -54\r\n"))
    assert (series.angles, series.sections) == ((-60, -57, -54), (0, 1, 2))


@pytest.mark.parametrize(("name", "text"), ALL.items())
def test_a_series_survives_json_and_says_what_it_holds(tmp_path: Path, name: str, text: str) -> None:
    series = read_tilts(put(tmp_path, name, text))
    assert TiltSeries.from_json(json.loads(json.dumps(series.to_json()))) == series
    told = series.summary()
    assert json.loads(json.dumps(told)) == told
    assert (told["source"], told["format"], told["tilts"]) == (name, series.format, len(series.angles))
    assert told["angles"] == [min(series.angles), max(series.angles)]
    assert ("defocus" in told) == (series.defocus is not None)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.mdoc", MDOC.replace("TiltAngle = 3\n", "TiltAngle = three\n"), r"line \d+: TiltAngle is 'three'"),
        (
            "a.mdoc",
            MDOC.replace("TiltAngle = 3\n", "TiltAngle = 3\nTiltAngle = -3\n"),
            r"a\.mdoc, lines \d+ and \d+: TiltAngle is there twice, as '3' and '-3'; keep the right one",
        ),
        ("a.mdoc", MDOC.replace("TiltAngle = 3\n", ""), "some have no TiltAngle"),
        ("a.mdoc", MDOC.replace("[ZValue = 2]", "[ZValue = 0]"), "same ZValue"),
        ("a.mdoc", MDOC.replace("TiltAngle = 3\n", "TiltAngle = 3\nPieceCoordinates = 0 0 0\n"), "montage"),
        ("a.mdoc", MDOC.replace("[ZValue = 0]", "[FrameSet = 0]"), "frames or a montage"),
        ("a.mdoc", "PixelSpacing = 1\n", "has no image"),
        ("a.mdoc", MDOC + "garbage\n", "'garbage'"),
        ("a.aln", aln(1)[:-40], "values, not 10"),
        ("a.aln", "\n".join(aln(1).split("\n")[:-2]), "name 4 sections from 1 to 4"),
        ("a.aln", aln(2), "from 2 to 6"),
        ("a.aln", aln(0, count=6), "RawSize of 6"),
        ("a.aln", "SEC\n", "AreTomo Alignment"),
        ("a.aln", aln(1).replace("# RawSize", "# RawSize = 1 2 3\n# RawSize"), "RawSize is there twice, as '1 2 3'"),
        ("a.star", RELION.replace("_rlnMicrographPreExposure", "_rlnMicrographName"), "_rlnMicrographName is"),
        ("a.xml", XML.replace("<Dose>", "<Dose>1\n2\n3</Dose><Dose>"), "Dose is there 2 times in its TiltSeries"),
        ("a.star", RELION.replace("3.5", "x"), "rlnMicrographPreExposure is 'x'"),
        ("a.star", RELION + RELION.replace("TS_01", "TS_02"), "2 tilt series"),
        ("a.star", "data_g\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesStarFile\na a.star\n", "give the file of one"),
        ("a.tomostar", TOMOSTAR.replace("3.01", "93.01"), "93.01 is no tilt angle"),
        ("a.xml", XML.replace("<Dose>4.5", "<Dose>"), "3 angles, but 2 values of dose"),
        ("a.xml", XML.replace("TiltSeries", "Movie"), "root is 'Movie'"),
        ("a.xml", XML[:-30], "damaged"),
        ("a.xml", '<!DOCTYPE x [<!ENTITY a "b">]>' + XML, "entities"),
        ("a.tlt", "-60 3\n", "2 values"),
        ("a.tlt", "", "is empty"),
        ("a.tlt", "\n", "no image"),
        ("a.tlt", "nan\n", "a number was expected"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_with_the_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        read_tilts(put(tmp_path, name, text))


@pytest.mark.parametrize("data", [{}, {"source": "a", "format": "tlt", "angles": ["x"]}, {"angles": [1e9]}])
def test_values_of_no_tilt_series_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        TiltSeries.from_json(data)


def test_files_are_found_by_name_only_if_one_is_meant(tmp_path: Path) -> None:
    put(tmp_path, "TS_01.mrc.mdoc", MDOC)
    put(tmp_path, "TS_02.aln", aln(1))
    put(tmp_path, "TS_1.tlt", "1\n")
    assert tilts_of(tmp_path, "TS_01") == str(tmp_path / "TS_01.mrc.mdoc")
    assert tilts_of(tmp_path, "TS_02_Vol") == str(tmp_path / "TS_02.aln")
    assert tilts_of(tmp_path / "TS_02.aln", "anything") == str(tmp_path / "TS_02.aln")
    with pytest.raises(MissingError, match="no metadata of the tilt series of 'TS_03'"):
        tilts_of(tmp_path, "TS_03")
    put(tmp_path, "TS_01.rawtlt", "1\n")
    with pytest.raises(InputError, match=r"several files for 'TS_01'.*TS_01.mrc.mdoc.*TS_01.rawtlt"):
        tilts_of(tmp_path, "TS_01")
    with pytest.raises(InputError, match="end with one of"):
        read_tilts(put(tmp_path, "a.csv", ""))
