"""The folder of the annotations of one tomogram, ``NAME.annotations``.

==========================  ============================================================
``annotations.json``        of which tomogram they are, and its grid
``journal``                 the transactions (:mod:`volengine.io.annotations.journal`)
``labels.ome.zarr``         a label image per feature, of all users
``users/USER.ome.zarr``     the same of one user
==========================  ============================================================

The journal is the truth; the images are made from it, for other programs.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volengine.core.atomic import write_json
from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_object
from volengine.core.volume import Vector3

ENDING = ".annotations"
FACTS, JOURNAL, LOCK = "annotations.json", "journal", "lock"
FORMAT = 1
RADIUS = "radius_vox"
"""Column of a table of points: the radius of each, if it has one."""

_NAME = re.compile(r"\w(?:[\w .+@-]{0,62}[\w+@-])?")


@dataclass(frozen=True)
class AnnotationFacts:
    """Of which tomogram annotations are.

    Parameters
    ----------
    tomogram
        Path or URL of the tomogram.
    name
        Its name.
    shape
        Voxels, z, y, x.
    voxel_size, origin
        Angstrom, z, y, x.
    token
        A random name, which the label images have, too.
    """

    tomogram: str
    name: str
    shape: Index3
    voxel_size: Vector3
    origin: Vector3
    token: str


def check_name(name: Any, what: str) -> str:
    """Return the name of a feature or user, which becomes part of paths and pages.

    Raises
    ------
    InputError
        It is no text of letters, digits and ``_ . + @ -`` with blanks between them, or is longer than 64 characters.

    Examples
    --------
    >>> check_name("outer membrane", "feature")
    'outer membrane'
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name or "__" in name:
        raise InputError(
            f"{name!r:.80} is no name of a {what}: letters, digits, blanks and . + @ - are possible, at most 64, and "
            "single underscores; it begins with a letter or digit."
        )
    return name


def write_facts(folder: Path, facts: AnnotationFacts) -> None:
    """Write the facts of new annotations; the folder is theirs from then on."""
    write_json(folder / FACTS, {"format": FORMAT, **asdict(facts)}, durable=True)


def read_facts(folder: Path) -> AnnotationFacts:
    """Read the facts of annotations.

    Raises
    ------
    MissingError
        There is no such folder, or it holds no annotations.
    FormatError
        They are damaged, or of another version.
    """
    path = folder / FACTS
    try:
        value = parse_object(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(
            f"{folder}: holds no annotations (no {FACTS}). Begin with: volengine annotate new TOMOGRAM --out "
            f"{shlex.quote(str(folder))}"
        ) from None
    if value.get("format") != FORMAT:
        raise FormatError(f"{path} is of format {json.dumps(value.get('format'))}; format {FORMAT} can be read.")
    try:
        return _facts(value)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} is damaged: {error}.") from error


def _facts(value: Mapping[str, Any]) -> AnnotationFacts:
    z, y, x = map(float, value["voxel_size"])
    oz, oy, ox = map(float, value["origin"])
    shape = index3(value["shape"])
    if min(shape) < 1 or min(z, y, x) <= 0:
        raise ValueError(f"shape {shape}, voxel size {(z, y, x)}")
    return AnnotationFacts(
        str(value["tomogram"]), str(value["name"]), shape, (z, y, x), (oz, oy, ox), str(value["token"])
    )
