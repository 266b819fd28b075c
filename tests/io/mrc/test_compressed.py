"""Compressed MRC files: opened by their header, unpacked whole, and damaged ones leave nothing behind."""

from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path

import pytest
from mrc_files import header_bytes, ramp, write

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.mrc.header import read_header
from volengine.io.mrc.open import MrcSource, decompress, open_mrc


@pytest.mark.parametrize("packing", ["gzip", "bz2"])
def test_compressed_files_are_opened_and_unpacked(tmp_path: Path, packing: str) -> None:
    plain = write(tmp_path / "a.mrc", ramp((30, 40, 50)), 1, ext=b"e" * 300, exttyp=b"SERI").read_bytes()
    packed = tmp_path / "b.mrc.gz"  # the name does not decide
    packed.write_bytes(gzip.compress(plain) if packing == "gzip" else bz2.compress(plain))
    volume = open_mrc(packed)
    header = read_header(packed)
    assert (volume.shape, volume.name) == ((30, 40, 50), "b")
    assert (header.compression, header.ext_header) == (packing, b"e" * 300)
    with pytest.raises(InputError, match="Unpack it first"):
        MrcSource(volume)
    target = decompress(packed, tmp_path / "out.mrc")
    assert target.read_bytes() == plain


@pytest.mark.parametrize("packing", ["gzip", "bz2"])
def test_damaged_compression_leaves_nothing_behind(tmp_path: Path, packing: str) -> None:
    content = header_bytes((40, 40, 40), 1) + os.urandom(128_000)
    packed = tmp_path / "a.mrc.gz"
    packed.write_bytes((gzip.compress(content) if packing == "gzip" else bz2.compress(content))[:-500])
    target = tmp_path / "out" / "a.mrc"
    target.parent.mkdir()
    with pytest.raises(FormatError, match=rf"a\.mrc\.gz.*{packing}"):
        decompress(packed, target)
    assert list(target.parent.iterdir()) == []
    packed.write_bytes(gzip.compress(content[:-7]))  # whole stream, truncated volume
    with pytest.raises(FormatError, match=r"a\.mrc\.gz \(unpacked\): truncated.*129024.*129017"):
        decompress(packed, target)
    assert list(target.parent.iterdir()) == []
    with pytest.raises(FormatError, match="neither"):
        decompress(write(tmp_path / "plain.mrc", ramp(), 1), target)
    with pytest.raises(MissingError, match="folder"):
        decompress(packed, tmp_path / "nowhere" / "a.mrc")
