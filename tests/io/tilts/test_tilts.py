"""Metadata of tilt series, against values worked out by hand and against mdocfile where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.tilts import TiltSeries, read_tilts, tilts_of

MDOC = """PixelSpacing = 1.35
Voltage = 300
ImageFile = TS_01.mrc
ImageSize = 4092 5760
DataMode = 1

[T = SerialEM: Digitized on Krios                       30-Nov-25  15:14:20    ]

[T =     Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 2]

[ZValue = 0]
TiltAngle = 0.01
ExposureDose = 3
PixelSpacing = 1.35
Defocus = -3.02
RotationAngle = 175.3
TargetDefocus = -3
SubFramePath = X:\\frames\\TS_01_000_0.0.tif
DateTime = 30-Nov-25  15:21:38

[ZValue = 1]
TiltAngle = -3
ExposureDose = 3.5
PixelSpacing = 1.35
RotationAngle = 175.3
TargetDefocus = -3.5
SubFramePath = X:\\frames\\TS_01_002_-3.0.tif
DateTime = 30-Nov-25  15:23:38

[ZValue = 2]
TiltAngle = 3
ExposureDose = 4
PixelSpacing = 1.35
RotationAngle = 175.3
TargetDefocus = -4
SubFramePath = X:\\frames\\TS_01_001_3.0.tif
DateTime = 30-Nov-25  15:22:38
"""


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


ROWS = "{0}  85.1000  1.00000  {1}  2.000  1.00  1.00  1.00  0.00  {2}\n"


def aln(first: int, dark: tuple[int, ...] = (2,), count: int = 5, more: str = "") -> str:
    """An alignment of 5 sections from -6 degrees in steps of 3; ``first`` is the number of the first section."""
    head = f"# AreTomo Alignment / Priims bprmMn \n# RawSize = 4092 5760 {count}\n# NumPatches = 0\n"
    head += "".join(f"# DarkFrame =     {d}    {d + first}    {-6 + 3 * d:.2f}\n" for d in dark)
    head += "# AlphaOffset =     1.50\n# BetaOffset =     0.00\n# Thickness = 800\n" + more
    head += "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT\n"
    return head + "".join(ROWS.format(s + first, -s, -6 + 3 * s) for s in range(5) if s not in dark)


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


RELION = """
# version 50001

data_TS_01

loop_
_rlnMicrographName #1
_rlnTomoNominalStageTiltAngle #2
_rlnMicrographPreExposure #3
_rlnTomoNominalDefocus #4
_rlnDefocusU #5
_rlnDefocusV #6
_rlnTomoNominalTiltAxisAngle #7
MotionCorr/a_001.mrc  0.0  0.0  -2.5  31000 29000 85.0
MotionCorr/a_002.mrc  3.0  3.5  -3.0  31500 29500 85.0
"""


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


TOMOSTAR = """
data_

loop_
_wrpMovieName #1
_wrpAngleTilt #2
_wrpAxisAngle #3
_wrpAxisOffsetX #4
_wrpAxisOffsetY #5
_wrpDose #6
../frames/a_001.eer 3.01 -94.1 12.0 -9.0 4.5
../frames/a_000.eer 0.01 -94.1 2.0 -1.0 1.5
"""


def test_tomostar(tmp_path: Path) -> None:
    series = read_tilts(put(tmp_path, "TS_01.tomostar", TOMOSTAR))
    assert (series.angles, series.dose, series.axis_angle) == ((3.01, 0.01), (4.5, 1.5), (-94.1, -94.1))
    assert series.images == ("a_001.eer", "a_000.eer")


XML = """<?xml version="1.0" encoding="utf-16"?>
<TiltSeries DataDirectory="tomostar" AreAnglesInverted="True" PlaneNormal="0, 0, 1" LevelAngleX="0" LevelAngleY="-7.5"
 ImageDimensionsAngstrom="5524, 7776" VolumeDimensionsAngstrom="5524, 7776, 2700" UnselectManual="null">
  <Angles>-3.01
0.01
3</Angles>
  <Dose>4.5
1.5
7.5</Dose>
  <UseTilt>True
True
False</UseTilt>
  <AxisAngle>-94
-94
-94.5</AxisAngle>
  <MoviePath>../frames/a.eer
../frames/b.eer
../frames/c.eer</MoviePath>
  <CTF><Param Name="PixelSize" Value="1.35" /><Param Name="Defocus" Value="3.1" /></CTF>
  <GridCTF Width="1" Height="1" Depth="3"><Node X="0" Y="0" Z="1" Value="3.1" /><Node X="0" Y="0" Z="0" Value="3.0" />
  <Node X="0" Y="0" Z="2" Value="3.2" /></GridCTF>
</TiltSeries>
"""


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


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.mdoc", MDOC), ("a.aln", aln(1)), ("a.star", RELION), ("a.tomostar", TOMOSTAR), ("a.xml", XML),
     ("a.tlt", "1\n2")],
)  # fmt: skip
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
