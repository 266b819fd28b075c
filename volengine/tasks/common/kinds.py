"""What a path is of: a table of picks, or a volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from volengine.core.errors import FormatError, InputError
from volengine.io.names import PICKS_SUFFIXES, SHARED_SUFFIXES, split_group, suffix_of


def is_picks(where: str | Mapping[str, str]) -> bool:
    """Whether a path (or the paths of all features) is that of a table of picks.

    The suffix decides; of ``.em``, ``.am`` and ``.hdf``, which tables and volumes have, the content of the file.
    """
    if isinstance(where, Mapping):
        return bool(where) and all(is_picks(path) for path in where.values())
    path = Path(where)
    if "://" not in where and path.is_dir() and suffix_of(where) != ".zarr":
        endings = set(PICKS_SUFFIXES) - {".json", ".txt"}  # these may be anything
        return any(p.suffix.lower() in endings for p in path.iterdir())
    if split_group(where)[1]:
        return False
    return suffix_of(where) in PICKS_SUFFIXES or _holds_picks(where)


def _holds_picks(path: str) -> bool:
    """Whether a file of an ending that volumes have, too, is no volume, but a table of picks."""
    from volengine.io.open import open_volume
    from volengine.io.picks import read_all
    from volengine.io.picks.registry import endings

    if suffix_of(path) not in {*endings()} & {*SHARED_SUFFIXES} or not Path(path).is_file():
        return False
    try:
        open_volume(path, voxel_size=1.0)
    except FormatError:
        pass
    except InputError:  # a volume that lacks something
        return False
    else:
        return False
    try:
        read_all(path, voxel_size=(1.0, 1.0, 1.0))
    except FormatError:  # a damaged file is neither; the reader of volumes says what is wrong
        return False
    except InputError:  # a table that lacks something, which its tomogram may state
        pass
    return True
