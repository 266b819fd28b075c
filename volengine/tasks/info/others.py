"""Files that are neither volumes nor picks nor models: which verb reads them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from volengine.core.errors import InputError, MissingError
from volengine.io.names import suffix_of
from volengine.io.structures.cache import ENDINGS as STRUCTURES
from volengine.io.tilts import SUFFIXES as TILTS
from volengine.tasks.common.inputs import TILES, names_tiles

_TILTS = "describes a tilt series: volengine convert TOMOGRAM --tilts {path} reads it, and info of the store shows it"
_MONTAGE = "describes a montage: volengine convert STACK --montage places its pieces, and info of the stack shows them"
_MESH = "is a mesh, which no verb reads; make picks (points) or labels (a volume) of it"
_RECIPE = "is a recipe: volengine run, train, simulate or interact reads it, as their help says"
_STRUCTURE = "is a structure of atoms: the recipe of volengine simulate names it"

READ_BY = {
    **dict.fromkeys((one for one in TILTS if one != ".star"), _TILTS),
    **dict.fromkeys((".ply", ".glb", ".gltf", ".obj", ".stl", ".surf"), _MESH),
    **dict.fromkeys((".yaml", ".yml"), _RECIPE),
    **dict.fromkeys((one for one in STRUCTURES if not one.endswith(".gz")), _STRUCTURE),
}
"""What a file of an ending is, and what reads it."""


def refuse_others(path: str) -> None:
    """Refuse a file that another verb reads, or none.

    Raises
    ------
    MissingError
        It does not exist.
    InputError
        The message says what it is, and which verb reads it.
    """
    place = Path(path)
    if place.is_dir() and (place / "plans").is_dir() and (place / "log.jsonl").is_file():
        raise InputError(f"{path}: is a run folder: volengine status {shlex.quote(path)} shows how far it is.")
    said = READ_BY.get(suffix_of(path))
    if said is None or "://" in path or place.is_dir():
        return
    if not place.exists():
        raise MissingError(f"{path}: there is no such file.")
    if said == _TILTS and _of_montage(place):
        said = _MONTAGE
    if said == _RECIPE and names_tiles(place):
        said = TILES
    raise InputError(f"{path}: {said.format(path=shlex.quote(path))}.")


def _of_montage(path: Path) -> bool:
    """Whether SerialEM says of a file's images that they are pieces of a montage, before the first of them."""
    with path.open("rb") as file:
        head = file.read(2**16).partition(b"[ZValue")[0]
    return re.search(rb"^[ \t]*Montage[ \t]*=[ \t]*1[ \t\r]*$", head, re.MULTILINE) is not None
