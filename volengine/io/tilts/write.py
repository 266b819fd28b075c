"""Writing what other programs need beside a tilt series whose axis is y: angles, alignment, defocus, dose.

>>> series = SeriesFacts("TS_01", (100, 96), 10.0, (-3.0, 3.0), (-3.0, 3.1), ((0.0, 0.0), (5.0, -20.0)), (2.0, 2.0),
...                      (2.0, 0.0), 4.0, 300.0)
>>> sorted(tilt_files(series))
['TS_01.aln', 'TS_01.defocus', 'TS_01.mrc.mdoc', 'TS_01.star', 'TS_01.tlt', 'TS_01.xf']
>>> tilt_files(series)["TS_01.xf"].splitlines()[1]
'   1.0000000   0.0000000   0.0000000   1.0000000       2.000      -0.500'

==============  ====================================================================================================
``.mrc.mdoc``   SerialEM: nominal angle, dose of each image and before it, defocus (µm, negative is underfocus)
``.tlt``        IMOD: angles, one on each line
``.xf``         IMOD: a row A11 A12 A21 A22 DX DY for each image, which moves it onto the aligned one, in pixels
``.defocus``    IMOD (ctfplotter, version 2): first and last view from 1, their angles, underfocus in nanometre
``.aln``        AreTomo3: SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT; TX and TY are what DX and DY move back
``.star``       RELION 5: the images of one series; shifts in angstrom, from the specimen into the image
==============  ====================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SeriesFacts:
    """What is known of an aligned tilt series; columns are in the order of the stack.

    Parameters
    ----------
    name
        Name of the series; its stack is ``NAME.mrc``.
    shape
        Pixels of an image, y, x.
    pixel_a
        Pixel size, angstrom.
    nominal_deg, true_deg
        Angles of the stage; and of the specimen: a point at x, z is imaged at x cos + z sin.
    shift_a
        For each image (y, x), angstrom: a point at p of the aligned image is at p + shift in this one.
    dose, before
        Electrons per square angstrom of each image, and before it.
    defocus_um
        Underfocus at the tilt axis, micrometre.
    voltage_kv
        Acceleration voltage.
    """

    name: str
    shape: tuple[int, int]
    pixel_a: float
    nominal_deg: tuple[float, ...]
    true_deg: tuple[float, ...]
    shift_a: tuple[tuple[float, float], ...]
    dose: tuple[float, ...]
    before: tuple[float, ...]
    defocus_um: float
    voltage_kv: float

    @property
    def shift_vox(self) -> list[tuple[float, float]]:
        """The shifts in pixels, y, x."""
        return [(y / self.pixel_a, x / self.pixel_a) for y, x in self.shift_a]


def tilt_files(series: SeriesFacts) -> dict[str, str]:
    """The files of a tilt series, by name, as texts.

    The alignment is the true one of a simulated series: nothing is left for a program to align. At a positive
    angle a point that lies higher (z) appears further along x.
    """
    name = series.name
    return {
        f"{name}.mrc.mdoc": _mdoc(series),
        f"{name}.tlt": "".join(f"{angle:8.2f}\n" for angle in series.true_deg),
        f"{name}.xf": "".join(_xf(y, x) for y, x in series.shift_vox),
        f"{name}.defocus": _defocus(series),
        f"{name}.aln": _aln(series),
        f"{name}.star": _star(series),
    }


def _xf(y: float, x: float) -> str:
    return "".join(f"{v:12.7f}" for v in (1, 0, 0, 1)) + f"{0 - x:12.3f}{0 - y:12.3f}\n"


def _mdoc(series: SeriesFacts) -> str:
    height, width = series.shape
    lines = [
        f"PixelSpacing = {series.pixel_a:g}",
        f"Voltage = {series.voltage_kv:g}",
        f"ImageFile = {series.name}.mrc",
        f"ImageSize = {width} {height}",
        "DataMode = 2",
        "",
        "[T = Simulated by volengine]",
        "",
        "[T = Tilt axis angle = 0.0, binning = 1]",
        "",
    ]
    for z, (angle, dose, before) in enumerate(zip(series.nominal_deg, series.dose, series.before, strict=True)):
        lines += [
            f"[ZValue = {z}]",
            f"TiltAngle = {angle:.4f}",
            f"TargetDefocus = {-series.defocus_um:g}",
            f"Defocus = {-series.defocus_um:g}",
            f"PixelSpacing = {series.pixel_a:g}",
            f"ExposureDose = {dose:.6g}",
            f"PriorRecordDose = {before:.6g}",
            "",
        ]
    return "\n".join(lines)


def _defocus(series: SeriesFacts) -> str:
    """Version 2, in which views count from 1; the version stands at the end of the first line."""
    rows = [
        f"{n} {n} {angle:.2f} {angle:.2f} {series.defocus_um * 1000:.1f}" for n, angle in enumerate(series.true_deg, 1)
    ]
    return "\n".join([f"{rows[0]} 2", *rows[1:]]) + "\n"


def _aln(series: SeriesFacts) -> str:
    height, width = series.shape
    rows = [
        "# AreTomo Alignment / Priims bprmMn",
        f"# RawSize = {width} {height} {len(series.true_deg)}",
        "# NumPatches = 0",
        "# SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT",
    ]
    for section, (angle, (y, x)) in enumerate(zip(series.true_deg, series.shift_vox, strict=True), 1):
        rows.append(f"{section:5d} {0:9.4f} {1:9.5f} {x:9.3f} {y:9.3f}  1.00  1.00  1.00  0.00 {angle:9.2f}")
    return "\n".join(rows) + "\n"


STAR_COLUMNS = (
    "rlnMicrographName",
    "rlnTomoNominalStageTiltAngle",
    "rlnTomoNominalTiltAxisAngle",
    "rlnTomoNominalDefocus",
    "rlnMicrographPreExposure",
    "rlnMicrographOriginalPixelSize",
    "rlnTomoXTilt",
    "rlnTomoYTilt",
    "rlnTomoZRot",
    "rlnTomoXShiftAngst",
    "rlnTomoYShiftAngst",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
)


def _star(series: SeriesFacts) -> str:
    lines = ["", f"data_{series.name}", "", "loop_", *(f"_{name} #{n}" for n, name in enumerate(STAR_COLUMNS, 1))]
    underfocus = series.defocus_um * 1e4
    columns = zip(series.nominal_deg, series.true_deg, series.shift_a, series.before, strict=True)
    for section, (nominal, true, (y, x), before) in enumerate(columns, 1):
        numbers = (nominal, 0, -series.defocus_um, before, series.pixel_a, 0, true, 0, x, y, underfocus, underfocus, 0)
        lines.append(" ".join([f"{section:06d}@{series.name}.mrc", *(f"{v:.4f}" for v in numbers)]))
    return "\n".join(lines) + "\n"
