"""What is written beside a tilt series says the same in every format, and moves images where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.io.tilts import read_tilts
from volengine.io.tilts.write import SeriesFacts, tilt_files

ANGLES = (-60.0, -57.0, 0.0, 3.0)


def series(shift: tuple[float, float] = (12.0, -30.0)) -> SeriesFacts:
    return SeriesFacts(
        "TS_01", (80, 100), 6.0, ANGLES, (-60.12, -56.9, 0.05, 3.0), ((0.0, 0.0), shift, (0.0, 6.0), (-6.0, 0.0)),
        (3.0, 3.0, 2.0, 3.0), (8.0, 5.0, 0.0, 2.0), 4.5, 300.0,
    )  # fmt: skip


def test_readers_find_what_was_written(tmp_path: Path) -> None:
    for name, text in tilt_files(series()).items():
        (tmp_path / name).write_text(text)
    found = {kind: read_tilts(tmp_path / f"TS_01.{kind}") for kind in ("mrc.mdoc", "tlt", "aln", "star")}
    assert found["mrc.mdoc"].angles == ANGLES
    assert found["mrc.mdoc"].dose == found["star"].dose == (8.0, 5.0, 0.0, 2.0)
    assert found["mrc.mdoc"].pixel_size == found["star"].pixel_size == 6.0
    assert found["mrc.mdoc"].nominal_defocus == found["star"].defocus == found["star"].nominal_defocus == (45000.0,) * 4
    for kind in ("tlt", "aln", "star"):
        assert found[kind].angles == series().true_deg
    for kind in ("mrc.mdoc", "aln", "star"):
        assert found[kind].axis_angle == (0.0,) * 4
    assert found["aln"].sections == (0, 1, 2, 3)
    focus = [line.split() for line in (tmp_path / "TS_01.defocus").read_text().splitlines()]
    assert focus[0][5:] == ["2"]
    assert [row[:2] for row in focus] == [[str(n)] * 2 for n in (1, 2, 3, 4)]
    assert [float(row[4]) for row in focus] == [4500.0] * 4  # nanometre


@given(shift=st.tuples(st.floats(-300, 300), st.floats(-300, 300)), point=st.tuples(st.floats(0, 79), st.floats(0, 99)))
@settings(max_examples=20)
def test_alignments_move_a_point_onto_its_place(shift: tuple[float, float], point: tuple[float, float]) -> None:
    """IMOD: new = A (old - centre) + d + centre, x first. AreTomo: d = R(-ROT) (-T). RELION: old = new + shift."""
    texts = tilt_files(series(shift))
    aligned = np.array(point[::-1])
    old = aligned + np.array(shift[::-1]) / 6.0
    centre = np.array([49.5, 39.5])
    a = np.array(texts["TS_01.xf"].splitlines()[1].split(), float)
    np.testing.assert_allclose(a[:4].reshape(2, 2) @ (old - centre) + a[4:] + centre, aligned, atol=1e-3)
    row = np.array(texts["TS_01.aln"].splitlines()[5].split(), float)
    np.testing.assert_allclose(old - row[3:5], aligned, atol=1e-3)
    star = texts["TS_01.star"].splitlines()
    columns = [line.split()[0] for line in star if line.startswith("_")]
    values = dict(zip(columns, star[-3].split(), strict=True))
    moved = np.array([float(values[f"_rlnTomo{axis}ShiftAngst"]) for axis in "XY"])
    np.testing.assert_allclose(old - moved / 6.0, aligned, atol=1e-3)
    assert float(values["_rlnTomoYTilt"]) == pytest.approx(-56.9)
