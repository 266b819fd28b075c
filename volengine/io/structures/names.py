"""Classes and flags in the name of a structure file.

The name without its format is split at ``__`` and at full stops. Words that are flags determine how the structure is
placed. The words before the first flag are the classes of its sub-models, in order.

>>> found = parse_name("kinase__hub__CaMK2_5u6y.complex.vesicle.pdb")
>>> found.name, found.classes, sorted(found.flags)
('kinase__hub__CaMK2_5u6y', ('kinase', 'hub', 'CaMK2_5u6y'), ['complex', 'vesicle'])
>>> parse_name("7p6z.cif.gz").classes
('7p6z',)
>>> parse_name("distractor_2q0u.pdb").classes
('distract',)

Names and flags are those of CryoTomoSim, so files that were made for it keep their meaning.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePath

FLAGS = ("group", "complex", "assembly", "membrane", "vesicle", "cytosol", "cluster", "bundle", "distract")
"""``group``: the sub-models are conformers of one particle. ``complex``: all sub-models are placed together.
``assembly``: the first sub-model is placed with some of the others. ``membrane``, ``vesicle``, ``cytosol``: the place.
``cluster``, ``bundle``: several copies are placed together. ``distract``: the particle is a distractor."""

ORIGIN = "origin"
"""The centroid of a sub-model whose name contains this is the pivot; the sub-model is no part of the particle."""

FORMATS = (".pdb", ".ent", ".pdb1", ".cif", ".mmcif", ".mrc", ".map", ".rec")
PACKED = ".gz"


@dataclass(frozen=True)
class StructureName:
    """Classes and flags of a structure.

    Parameters
    ----------
    name
        Name of the structure: the file's name without flags and format.
    classes
        Class of each sub-model, in order; the last one is also the class of all that follow.
    flags
        Names of :data:`FLAGS`, in lower case.
    """

    name: str
    classes: tuple[str, ...]
    flags: frozenset[str]

    def class_of(self, index: int) -> str:
        """Return the class of the sub-model with this index, from 0."""
        return self.classes[min(index, len(self.classes) - 1)]


def stem_and_format(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Split the name of a file into its stem and its format; the format is ``""`` if it is none of structures.

    >>> stem_and_format("a/B.complex.CIF.gz")
    ('B.complex', '.cif')
    """
    name = PurePath(path).name
    if name.lower().endswith(PACKED) and len(name) > len(PACKED):
        name = name[: -len(PACKED)]
    for ending in FORMATS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], ending
    return name, ""


def parse_name(path: str | os.PathLike[str]) -> StructureName:
    """Read classes and flags of a structure from the name of its file, or from a name without a format.

    Flags may be in upper or lower case and in any order. If ``distract`` (or ``distractor``) occurs anywhere in the
    name,
    ``distract`` is the only class. Without a flag, the first word is the class of all sub-models.
    """
    stem, _ = stem_and_format(path)
    words = [word for word in re.split(r"__|\.", stem) if word] or [stem]
    is_flag = [word.lower() in FLAGS or word.lower() == "distractor" for word in words]
    flags = {word.lower() for word, flag in zip(words, is_flag, strict=True) if flag} - {"distractor"}
    if "distract" in stem.lower():
        flags.add("distract")
    leading = words[: is_flag.index(True)] if any(is_flag) else words
    name = "__".join(word for word, flag in zip(words, is_flag, strict=True) if not flag) or stem
    if "distract" in flags:
        marked = any(ORIGIN in word.lower() for word in leading)
        classes = tuple(word if ORIGIN in word.lower() else "distract" for word in leading) if marked else ("distract",)
        return StructureName(name, classes, frozenset(flags))
    classes = tuple(leading) or (name,)
    return StructureName(name, classes if flags else classes[:1], frozenset(flags))


def block_class(name: str) -> str:
    """Return the class that the name of a CIF block states: the name without full stops and a trailing ``_N``.

    >>> block_class("hub_2"), block_class("v1.5_open")
    ('hub', 'v15_open')
    """
    return re.sub(r"_\d+$", "", name.replace(".", "")) or name
