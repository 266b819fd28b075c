"""TIFF, MRC, NIfTI, training sets, structures: damaged in ways that their libraries do not expect."""

from __future__ import annotations

import gzip
import logging
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from mrc_files import ramp, write

from volengine.core.errors import FormatError, VolengineError
from volengine.io.open import open_volume
from volengine.io.structures.read import read_structure
from volengine.io.tiff_chain import check_chain
from volengine.io.training.nifti import read_nifti
from volengine.io.training.scnt import open_scnt


def directory(offset: int, tags: int, following: int) -> bytes:
    return struct.pack("<H", tags) + b"\0" * 12 * tags + struct.pack("<I", following)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no TIFF"),
        (b"II*\0", "no TIFF"),
        (b"II+\0" + bytes(8), "no TIFF"),
        (b"II*\0" + struct.pack("<I", 8), "page 0 should be at byte 8"),
        (b"II*\0" + struct.pack("<I", 2**32 - 1), "page 0 should be at byte 4294967295"),
        (b"II*\0" + struct.pack("<I", 8) + directory(8, 1, 8), "page 1 should be at byte 8 with 0 entries"),
        (b"II*\0" + struct.pack("<I", 8) + directory(8, 0, 0), "with 0 entries"),
    ],
)
def test_chains_of_directories(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        check_chain(path)


@pytest.mark.parametrize("more", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}])
def test_whole_chains_are_counted(tmp_path: Path, more: dict[str, object]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 8, 9), np.uint8), **more, metadata=None)  # type: ignore[arg-type]
    assert check_chain(path) == 5


def overlapping(count: int = 3000) -> bytes:
    """Directories that lie over each other, each with as many entries as the file can hold."""
    size = 12 * count
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + bytes(size))
    tags = 100
    for n in range(count // 10):
        at = 8 + 8 * n
        data[at : at + 2] = struct.pack("<H", tags)
        data[at + 2 + 12 * tags : at + 6 + 12 * tags] = struct.pack("<I", at + 8)
    return bytes(data)


@pytest.mark.parametrize("name", ["a.tif", "a.scnt"])
def test_directories_that_lie_over_each_other_are_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(overlapping())
    began = time.process_time()
    with pytest.raises(FormatError, match="truncated or damaged"):
        open_scnt(str(path)) if name.endswith("scnt") else open_volume(str(path), voxel_size=10.0)
    assert time.process_time() - began < 60  # tifffile alone takes hours for such a chain


def test_lines_of_tifffile_do_not_appear_on_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint16))
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags["Software"].offset
    data[at + 2 : at + 4] = b"\xff\xff"  # its type
    path.write_bytes(data)
    code = (
        "import sys\nfrom volengine.io.open import open_volume\nfrom volengine.core.errors import VolengineError\n"
        "try:\n    open_volume(sys.argv[1], voxel_size=10.0)\nexcept VolengineError:\n    pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == done.stdout == ""
    plain = subprocess.run(
        [sys.executable, "-c", "import sys, tifffile\ntifffile.TiffFile(sys.argv[1]).series", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "invalid data type 65535" in plain.stderr  # what would appear


def test_a_training_set_announces_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.scnt"
    tifffile.imwrite(path, np.zeros((2, 5, 8, 8), np.float32), description="apix=10.0")
    data = path.read_bytes()
    assert open_scnt(str(path)).shape == (4, 8, 8)
    with tifffile.TiffFile(path) as tif:
        places = [page.tags["ImageLength"].valueoffset for page in tif.pages]
        form = "<I" if tif.pages[0].tags["ImageLength"].dtype == 4 else "<H"
    for most in (60_000, 9):  # more rows than there are bytes for
        changed = bytearray(data)
        for at in places:
            changed[at : at + struct.calcsize(form)] = struct.pack(form, most)
        path.write_bytes(changed)
        with pytest.raises(FormatError, match=r"damaged|cut off|label last"):
            open_scnt(str(path)).read(1)


def test_an_extended_header_takes_no_memory_before_it_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", ramp(dtype="f4"), 2)
    data = bytearray(path.read_bytes())
    data[92:96] = struct.pack("<i", 2**31 - 1)
    code = (
        "import sys, resource\nfrom volengine.io.open import open_volume\n"
        "from volengine.core.errors import FormatError\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 2**28, -1))\n"
        "try:\n    open_volume(sys.argv[1])\nexcept FormatError as error:\n    print(error)\n"
    )
    path.write_bytes(data)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "truncated within the extended header" in done.stdout


@pytest.mark.parametrize(
    "at", [(40, "<h", -1), (42, "<h", 32767), (70, "<h", 260), (108, "<f", 1e30), (108, "<f", -5.0)]
)
def test_headers_of_nifti(tmp_path: Path, capfd: pytest.CaptureFixture[str], at: tuple[int, str, float]) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype="i2").reshape(3, 4, 5), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[at[0] : at[0] + struct.calcsize(at[1])] = struct.pack(at[1], at[2])
    path.write_bytes(data)
    handlers = list(logging.getLogger("nibabel.global").handlers)
    with pytest.raises(FormatError):
        read_nifti(str(path))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("nibabel.global").handlers == handlers


ATOM = "ATOM  {:5d}  CA  ALA A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           C\n"


@pytest.mark.parametrize("title", ["Ängström", "name \xbf\xff", "plain"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_titles_in_other_encodings_do_no_harm(tmp_path: Path, title: str, encoding: str) -> None:
    path = tmp_path / "a.pdb"
    atoms = "".join(ATOM.format(i, i, i, 0, 0) for i in range(1, 4))
    path.write_bytes(f"TITLE     {title}\nREMARK 350 {title}\n{atoms}".encode(encoding))
    found = read_structure(path).sub_models[0].atoms.position
    assert found.tolist() == [[0, 0, 1], [0, 0, 2], [0, 0, 3]]


@pytest.mark.parametrize("name", ["a.pdb", "a.cif"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_structures_in_utf_16_say_so(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(ATOM.format(1, 1, 1, 1, 1).encode(encoding))
    with pytest.raises(FormatError, match="UTF-16"):
        read_structure(path)


def test_a_structure_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.cif.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(FormatError, match="unpacks from"):
        read_structure(path)


def test_names_that_are_no_text_in_a_structure(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb1"
    atoms = ATOM.format(1, 1, 1, 1, 1).encode() + ATOM.format(2, 2, 1, 1, 1).encode()
    for at in range(27):
        data = bytearray(atoms)
        data[at] = 0xBF
        path.write_bytes(data)
        try:
            read_structure(path)
        except VolengineError:
            continue
