"""The chain of page directories of a TIFF file, checked before a library reads it.

Each directory names the place of the next one (TIFF 6.0, section 2; BigTIFF has wider numbers). tifffile follows a
chain wherever it leads: directories that lie over each other keep it busy for hours, and a chain that leaves the file
is only logged, so that a truncated stack passes for a smaller one.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from volengine.core.errors import FormatError


def check_chain(path: str | Path) -> int:
    """Follow the chain of a TIFF file.

    Returns
    -------
    Number of pages.

    Raises
    ------
    FormatError
        The file is no TIFF, the chain leads out of it or back into it, or the directories are longer than the file.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        magic = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) >= 8 else 0
        if magic not in (42, 43) or (magic == 43 and len(head) < 16):
            raise FormatError(f"{path} is no TIFF file, or a damaged one ({size} bytes).")
        big = magic == 43
        offset_format, count_format, tag_bytes = ("Q", "Q", 20) if big else ("I", "H", 12)
        wide, narrow = struct.calcsize(f"<{offset_format}"), struct.calcsize(f"<{count_format}")
        (offset,) = struct.unpack(order + offset_format, head[8:16] if big else head[4:8])
        seen: set[int] = set()
        spent = 0
        while offset:
            file.seek(min(offset, size))
            count = file.read(narrow) if offset not in seen else b""
            tags = struct.unpack(order + count_format, count)[0] if len(count) == narrow else 0
            file.seek(min(offset + narrow + tags * tag_bytes, size))
            following = file.read(wide)
            spent += narrow + tags * tag_bytes + wide
            if not tags or len(following) < wide or spent > size:
                raise FormatError(
                    f"{path}: truncated or damaged: the directory of page {len(seen)} should be at byte {offset} with "
                    f"{tags} entries; the file has {size} bytes. Copy or download it again."
                )
            seen.add(offset)
            (offset,) = struct.unpack(order + offset_format, following)
    return len(seen)
