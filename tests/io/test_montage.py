"""Montages: found in extended header, .mdoc and .pl, against bytes and values made by hand, and against mdocfile."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from montage_files import extended, mdoc, montage
from mrc_files import ramp, write

import volengine
from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.io.montage.find import find_montage
from volengine.io.montage.pieces import Montage
from volengine.io.montage.tables import read_pieces

PIECES = [(0, 0, 0), (0, 3, 0), (4, 0, 0), (4, 3, 0), (0, 0, 1), (4, 3, 1)]
"""x, y, section; of the second section two are missing."""
STACK = np.arange(6 * 4 * 5, dtype="i2").reshape(6, 4, 5)


def places(found: Montage | None) -> list[tuple[int, int, int]]:
    assert found is not None
    return [(p.x, p.y, p.section) for p in found.pieces]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("flags", [2, 3, 2 + 4 + 8, 1 + 2 + 4 + 8 + 16 + 32, 2 + 1024])
def test_extended_headers_with_other_items(tmp_path: Path, flags: int, order: str) -> None:
    found = find_montage(montage(tmp_path / "m.st", STACK, PIECES, flags, order))
    assert found is not None
    assert places(found) == PIECES
    assert found.size == (4, 5)
    assert found.sections == (0, 1)
    assert found.frame().shape == (1, 7, 9)
    assert found.source == "its extended header"
    assert found.angle_of(1) == (4.0 if flags & 1 else None)  # the angle of image 4 is 400 hundredths


def test_coordinates_are_unsigned_and_sections_signed(tmp_path: Path) -> None:
    """By hand: 0x8000 is 32768 as x and y; -1 is a section."""
    pieces = [(32768, 0, -1), (32768 - 4, 2, -1)]
    assert places(find_montage(montage(tmp_path / "m.st", STACK[:2], pieces))) == pieces


def test_coordinates_that_begin_again_from_0_are_refused(tmp_path: Path) -> None:
    """Five columns of 20,000 every 18,000: the last one is at 72,000, which the header counts as 6,464."""
    pieces = [(18000 * n, 2 * row, 0) for row in range(2) for n in range(5)]
    stack = np.zeros((10, 3, 20000), "i2")
    path = montage(tmp_path / "m.st", stack, pieces)
    with pytest.raises(FormatError, match=r"pieces 0 and 4 lie on each other, .* = 0 0 0 and 6464 0 0: .*--pieces"):
        find_montage(path)
    assert "lie on each other" in volengine.info(path)["montage"]["error"]
    (tmp_path / "m.pl").write_text("".join(f"{x} {y} {z}\n" for x, y, z in pieces))
    assert places(find_montage(path, pieces=tmp_path / "m.pl")) == pieces
    four = [piece for piece in pieces if piece[0] < 72000]  # ends at 74,000, and nothing begins above 65,535
    assert places(find_montage(montage(tmp_path / "four.st", stack[:8], four))) == four


@pytest.mark.parametrize("kind", ["sum", "type", "no piece flag", "one image each", "flags", "deltavision", "none"])
def test_what_is_no_montage(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.st"
    if kind == "sum":
        montage(path, STACK, PIECES, bytes_per_image=8)
    elif kind == "type":
        montage(path, STACK, PIECES, exttyp=b"FEI1")
    elif kind == "no piece flag":
        montage(path, STACK, PIECES, flags=1 + 4)
    elif kind == "one image each":
        montage(path, STACK, [(0, 0, z) for z in range(6)])
    elif kind == "flags":
        montage(path, STACK, PIECES, flags=-2, bytes_per_image=6)
    elif kind == "deltavision":
        montage(path, STACK, PIECES)
        raw = bytearray(path.read_bytes())
        raw[96:98] = np.int16(-16224).tobytes()
        path.write_bytes(raw)
    else:
        write(path, STACK, 1)
    assert find_montage(path) is None
    assert volengine.open_volume(path).shape == (6, 4, 5)


@pytest.mark.parametrize("exttyp", [b"SERI", b"", b"what"])
def test_the_type_of_the_header_does_not_decide(tmp_path: Path, exttyp: bytes) -> None:
    """Files that are older than the type have the same numbers, as in IMOD's extraIsNbytesAndFlags."""
    assert places(find_montage(montage(tmp_path / "m.st", STACK, PIECES, exttyp=exttyp))) == PIECES


def test_a_montage_is_refused_as_a_volume_and_shown_by_info(tmp_path: Path) -> None:
    path = montage(tmp_path / "m.st", STACK, PIECES)
    with pytest.raises(InputError, match=r"montage of SerialEM.*6 pieces of 4 x 5 .*2 sections of 7 x 9.*--montage"):
        volengine.open_volume(path)
    with pytest.raises(InputError, match="montage of SerialEM"):
        volengine.convert(path, tmp_path / "out.ome.zarr")
    facts = volengine.info(path)["montage"]
    assert (facts["pieces"], facts["sections"], facts["section_shape"]) == (6, 2, [7, 9])
    packed = tmp_path / "m.st.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="montage of SerialEM"):
        volengine.open_volume(packed)


def test_a_short_extended_header_is_refused_and_shown(tmp_path: Path) -> None:
    path = montage(tmp_path / "m.st", STACK, PIECES[:4])
    with pytest.raises(FormatError, match=r"coordinates of 4 pieces, but there are 6 images.*--pieces"):
        volengine.open_volume(path)
    assert "4 pieces" in volengine.info(path)["montage"]["error"]


# -- mdoc ------------------------------------------------------------------------------------------------------------


def with_mdoc(folder: Path, text: str, name: str = "m.st.mdoc") -> Path:
    (folder / name).write_text(text)
    return write(folder / "m.st", STACK, 1)


@pytest.mark.parametrize("name", ["m.st.mdoc", "m.mdoc"])
def test_mdoc(tmp_path: Path, name: str) -> None:
    far = [(70000 * n, 0, 0) for n in range(6)]
    text = mdoc(PIECES, (5, 4), TiltAngle=["1.5"] * 4 + ["-3"] * 2)
    found = find_montage(with_mdoc(tmp_path, text, name))
    assert found is not None
    assert places(found) == PIECES
    assert (found.angle_of(0), found.angle_of(1)) == (1.5, -3)
    assert found.source == name
    big = np.zeros((6, 4, 70001), "i2")
    montage(tmp_path / "far.st", big, far)
    (tmp_path / "far.st.mdoc").write_text(mdoc(far, (70001, 4), "far.st"))
    assert places(find_montage(tmp_path / "far.st")) == far  # 70000 and 4464 are the same in 16 bits


def test_mdoc_against_mdocfile(tmp_path: Path) -> None:
    reader = pytest.importorskip("mdocfile.data_models")
    path = with_mdoc(tmp_path, mdoc(PIECES, (5, 4)))
    theirs = reader.Mdoc.from_file(tmp_path / "m.st.mdoc")
    told = [s.PieceCoordinates for s in theirs.section_data if s.PieceCoordinates is not None]
    assert [tuple(map(int, one)) for one in told] == places(find_montage(path))


def test_aligned_coordinates_are_rounded_and_the_very_sloppy_ones_preferred(tmp_path: Path) -> None:
    plain = [f"{x} {y} {z}" for x, y, z in PIECES]
    vs = [f"{x + 1.6} {y - 2.4} {z}" for x, y, z in PIECES]
    path = with_mdoc(tmp_path, mdoc(PIECES, (5, 4), AlignedPieceCoords=plain, AlignedPieceCoordsVS=vs))
    found = find_montage(path)
    assert found is not None
    assert places(found) == PIECES
    assert places(found.at_aligned()) == [(x + 2, y - 2, z) for x, y, z in PIECES]
    path = with_mdoc(tmp_path, mdoc(PIECES, (5, 4), AlignedPieceCoords=[t.rsplit(" ", 1)[0] for t in plain]))
    found = find_montage(path)
    assert found is not None
    assert places(found.at_aligned()) == PIECES
    path = with_mdoc(tmp_path, mdoc(PIECES, (5, 4)))
    found = find_montage(path)
    assert found is not None
    with pytest.raises(InputError, match="AlignedPieceCoordsVS or AlignedPieceCoords"):
        found.at_aligned()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.replace("[ZValue = 5]", "[ZValue = 7]"), r"\[ZValue = 5\] is missing"),
        (lambda t: t.replace("[ZValue = 5]", "[ZValue = 4]"), r"\[ZValue = 4\] is there twice"),
        (lambda t: t.replace("4 3 1", "4 3"), "three whole numbers"),
        (lambda t: t.replace("4 3 1", "4 3 x"), "three whole numbers"),
        (lambda t: t.replace("4 3 1", "4 3 1.5"), "three whole numbers"),
        (lambda t: t.replace("4 3 1", "0 0 1"), "pieces 4 and 5 have the same place"),
        (lambda t: t.replace("4 3 1", "999999999 3 1"), "damaged"),
        (lambda t: t.replace("PieceCoordinates = 4 3 1", ""), "no PieceCoordinates"),
        (lambda t: t.replace("5 4", "10 8"), "describes a montage of 6 pieces of 8 x 10"),
        (lambda t: t.replace("PieceCoordinates", "Nothing"), "has no PieceCoordinates; nor has"),
        (lambda t: t + "\n[ZValue = 6]\nPieceCoordinates = 8 8 1\n", "describes a montage of 7 pieces"),
        (
            lambda t: t.replace("4 3 1", "4 3 1\nPieceCoordinates = 8 3 1"),
            r"m\.st\.mdoc, lines \d+ and \d+: PieceCoordinates is there twice, as '4 3 1' and '8 3 1'; keep the right",
        ),
        (lambda t: t.replace("Montage = 1", "Montage = 1\nMontage = 0"), "Montage is there twice, as '1' and '0'"),
        (lambda t: t.replace("Montage = 1", "Montage = 0\nMontage = 1"), "Montage is there twice, as '0' and '1'"),
        (lambda t: t.replace("5 4\n", "5 4\nImageSize = 9 9\n", 1), "ImageSize is there twice, as '5 4' and '9 9'"),
        (
            lambda t: t.replace("4 3 1", "4 3 1\nAlignedPieceCoords = 4 3 1\nAlignedPieceCoords = 4 4 1"),
            "AlignedPieceCoords is there twice, as '4 3 1' and '4 4 1'",
        ),
    ],
)
def test_damaged_mdocs_of_montages_are_refused(tmp_path: Path, change: Callable[[str], str], match: str) -> None:
    with pytest.raises(FormatError, match=match):
        volengine.open_volume(with_mdoc(tmp_path, change(mdoc(PIECES, (5, 4)))))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("4 3 1", "4 3 1\nPieceCoordinates = 4  3 1\nNote = a\nNote = b"),  # the same; not read
        lambda t: t.replace("Montage = 1", "Montage = 0"),  # the coordinates are of pieces all the same
        lambda t: t.replace("Montage = 1\n", ""),
    ],
)
def test_mdocs_that_are_clear(tmp_path: Path, change: Callable[[str], str]) -> None:
    found = find_montage(with_mdoc(tmp_path, change(mdoc(PIECES, (5, 4)))))
    assert found is not None
    assert [(piece.x, piece.y, piece.section) for piece in found.pieces] == list(PIECES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.mdoc", mdoc(PIECES, (5, 4), "other.st")),  # of another file of the same stem
        ("m.st.mdoc", mdoc(PIECES[:4], (50, 40))),  # neither the size nor the number fits: of what this was made from
        ("m.st.mdoc", "ImageSize = 5 4\n\n[ZValue = 0]\nTiltAngle = 3\n"),
        ("m.st.mdoc", "Montage = 0\nthis is no mdoc\n[ZValue = x]\n"),
        ("m.st.mdoc", "\0\0"),
    ],
)
def test_other_mdocs_do_not_make_a_montage(tmp_path: Path, name: str, text: str) -> None:
    path = with_mdoc(tmp_path, text, name)
    assert find_montage(path) is None
    assert volengine.open_volume(path).shape == (6, 4, 5)


def test_an_mdoc_that_contradicts_the_header_is_refused(tmp_path: Path) -> None:
    montage(tmp_path / "m.st", STACK, PIECES)
    (tmp_path / "m.st.mdoc").write_text(mdoc([*PIECES[:5], (3, 3, 1)], (5, 4)))
    with pytest.raises(FormatError, match=r"piece 5 are 3 3 1 in m\.st\.mdoc, but 4 3 1 in the extended header"):
        volengine.open_volume(tmp_path / "m.st")


def test_a_montage_in_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", STACK, photometric="minisblack")
    (tmp_path / "m.tif.mdoc").write_text(mdoc(PIECES, (5, 4), "m.tif"))
    with pytest.raises(InputError, match=r"montage of SerialEM by m\.tif\.mdoc.*MRC"):
        volengine.open_volume(tmp_path / "m.tif", voxel_size=10)
    (tmp_path / "m.tif.mdoc").unlink()
    assert volengine.open_volume(tmp_path / "m.tif", voxel_size=10).shape == (6, 4, 5)


def test_the_axes_of_a_montage(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="axis order"):
        volengine.open_volume(montage(tmp_path / "m.st", STACK, PIECES, axes=(2, 1, 3)))


# -- list of pieces --------------------------------------------------------------------------------------------------


def test_list_of_pieces(tmp_path: Path) -> None:
    path = montage(tmp_path / "m.st", STACK, [(9, 9, 9)] * 6)  # the list counts
    (tmp_path / "m.pl").write_text("\n".join(f"   {x}   {y}\t{z}" for x, y, z in PIECES) + "\n\n")
    assert places(find_montage(path, pieces=tmp_path / "m.pl")) == PIECES


@pytest.mark.parametrize(
    ("text", "match"),
    [("0 0\n", "line 1"), ("0 0 0\n\n1 x 0\n", "line 3"), ("1.5 0 0\n", "line 1"), ("\n", "no piece"), ("", "empty")],
)
def test_damaged_lists_are_refused(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "m.pl").write_text(text)
    with pytest.raises(FormatError, match=match):
        read_pieces(tmp_path / "m.pl")
    with pytest.raises(MissingError):
        read_pieces(tmp_path / "other.pl")


def test_a_list_of_another_length_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.st", STACK, 1)
    (tmp_path / "m.pl").write_text("0 0 0\n1 1 0\n")
    with pytest.raises(VolengineError, match=r"6 images, but m\.pl has the coordinates of 2"):
        find_montage(path, pieces=tmp_path / "m.pl")


def test_the_builder_of_these_files_is_right() -> None:
    """By hand: tilt angle 0, x 1, y 2, section 3, then the four bytes of the stage."""
    assert extended([(1, 2, 3)], 7) == b"\0\0\1\0\2\0\3\0\7\7\7\7"
    assert extended([(1, 2, 3)], 2, ">") == b"\0\1\0\2\0\3"
    assert ramp((1, 2, 2)).tolist() == [[[0, 1], [2, 3]]]
