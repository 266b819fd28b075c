"""Metadata of tilt series as their programs write them, in short."""

from __future__ import annotations

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

ROWS = "{0}  85.1000  1.00000  {1}  2.000  1.00  1.00  1.00  0.00  {2}\n"


def aln(first: int, dark: tuple[int, ...] = (2,), count: int = 5, more: str = "") -> str:
    """An alignment of 5 sections from -6 degrees in steps of 3; ``first`` is the number of the first section."""
    head = f"# AreTomo Alignment / Priims bprmMn \n# RawSize = 4092 5760 {count}\n# NumPatches = 0\n"
    head += "".join(f"# DarkFrame =     {d}    {d + first}    {-6 + 3 * d:.2f}\n" for d in dark)
    head += "# AlphaOffset =     1.50\n# BetaOffset =     0.00\n# Thickness = 800\n" + more
    head += "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT\n"
    return head + "".join(ROWS.format(s + first, -s, -6 + 3 * s) for s in range(5) if s not in dark)


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

ALL = {
    "a.mdoc": MDOC,
    "a.aln": aln(1),
    "a.star": RELION,
    "a.tomostar": TOMOSTAR,
    "a.xml": XML,
    "a.rawtlt": " -60.00\n-57.00\n",
}
"""One file of each kind, by name."""
