"""The filters of chunks of HDF5 files, undone: gzip, shuffle, LZF and the checksum Fletcher-32.

LZF (h5py's filter 32000) is a sequence of codes. A code below 32 is followed by that many bytes and one. Another one
repeats earlier bytes: its upper three bits are the length, to which the next byte is added if they are all set, and 2;
its lower five bits and the next byte are the distance, less 1 (liblzf, ``lzf_d.c``).

Fletcher-32 (HDF5's ``H5checksum.c``) appends four bytes: two sums, modulo 65535, of the 16-bit big-endian words before
them. Old versions have exchanged the bytes of each half; the library takes both, and so does this reader.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from volengine.core.errors import FormatError

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
READ = (DEFLATE, SHUFFLE, FLETCHER32, LZF)
"""Numbers of the filters that are read."""

_MODULUS = 65535
_BLOCK = 2**16
"""Words that are summed at a time, so that 64 bits hold the sums."""


def unfiltered(
    data: bytes, filters: Sequence[tuple[int, str]], mask: int, need: int, itemsize: int, where: str
) -> bytes:
    """Undo the filters of a chunk.

    Parameters
    ----------
    data
        The stored bytes.
    filters
        Numbers and names of the filters, in the order in which they were applied; all of :data:`READ`.
    mask
        Bits of the filters that were skipped for this chunk.
    need
        Bytes of the chunk; no more than some of the like are ever made.
    itemsize
        Bytes of a voxel.
    where
        The chunk, for messages.

    Raises
    ------
    FormatError
        The bytes are damaged, or are not as many as the chunk has.
    """
    for place, (kind, _) in reversed(list(enumerate(filters))):
        if mask >> place & 1:
            continue
        if kind == DEFLATE:
            try:
                data = zlib.decompressobj().decompress(data, need + 5)  # a checksum may be inside
            except zlib.error as error:
                raise FormatError(f"{where} is damaged ({error}). Copy or download the file again.") from error
        elif kind == LZF:
            data = lzf(data, need + 4, where)
        elif kind == FLETCHER32:
            data = checked(data, where)
        elif itemsize > 1 and len(data) == need:
            data = np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()
    if len(data) != need:
        raise FormatError(f"{where} holds {len(data)} bytes, not {need}; it is damaged. Copy the file again.")
    return data


def lzf(data: bytes, most: int, where: str) -> bytes:
    """Decompress LZF; refuse what makes more bytes than ``most``, and codes that are cut off or point nowhere.

    >>> lzf(bytes([2]) + b"abc" + bytes([0b010_00000, 2]), 99, "it")  # three bytes, then 2 + 2 from 3 before
    b'abcabca'
    """
    out = bytearray()
    at, end = 0, len(data)
    try:
        while at < end:
            code = data[at]
            at += 1
            if code < 32:
                out += data[at : at + code + 1]
                at += code + 1
            else:
                length = code >> 5
                if length == 7:
                    length += data[at]
                    at += 1
                distance = ((code & 31) << 8) + data[at] + 1
                at += 1
                length += 2
                start = len(out) - distance
                if start < 0:
                    raise FormatError(f"{where} is damaged (LZF points before its begin). Copy the file again.")
                if distance >= length:
                    out += out[start : start + length]
                else:  # it repeats what it makes
                    piece = bytes(out[start:])
                    out += (piece * (length // distance + 1))[:length]
            if len(out) > most:
                raise FormatError(f"{where} is damaged (LZF makes more than {most} bytes). Copy the file again.")
    except IndexError:
        raise FormatError(f"{where} is damaged (LZF is cut off). Copy the file again.") from None
    if at > end:
        raise FormatError(f"{where} is damaged (LZF is cut off). Copy the file again.")
    return bytes(out)


def checked(data: bytes, where: str) -> bytes:
    """Return the bytes before their checksum; refuse a checksum that is not theirs."""
    body, stored = data[:-4], data[-4:]
    sums = fletcher32(body)
    for word in (stored, bytes([stored[i] for i in (1, 0, 3, 2)]) if len(stored) == 4 else b""):
        value = int.from_bytes(word, "little")
        if len(word) == 4 and (value & 0xFFFF) % _MODULUS == sums[0] and (value >> 16) % _MODULUS == sums[1]:
            return body
    raise FormatError(f"{where} is damaged: its checksum (Fletcher-32) is another one. Copy the file again.")


def fletcher32(data: bytes) -> tuple[int, int]:
    """Return the two sums of the 16-bit big-endian words, modulo 65535; a last single byte has a zero behind it.

    >>> fletcher32(b"\\x00\\x01\\x00\\x02")  # 1 + 2, and 1 + (1 + 2)
    (3, 4)
    """
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2")
    one = two = 0
    for start in range(0, len(words), _BLOCK):
        block = words[start : start + _BLOCK].astype(np.int64)
        n = len(block)
        two = (two + n * one + int((block * np.arange(n, 0, -1)).sum())) % _MODULUS
        one = (one + int(block.sum())) % _MODULUS
    return one, two
