"""What a training set of Ais says of itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

from volengine.core.text import counted
from volengine.io.training.scnt import open_scnt

Facts = dict[str, Any]


def training_facts(path: str) -> Facts:
    """Describe a training set (``.scnt``): its boxes, and how many there are of each tomogram and feature.

    Raises
    ------
    MissingError, FormatError, InputError
        As :func:`volengine.io.training.scnt.open_scnt`.
    """
    found = open_scnt(path)
    groups = Counter(zip(found.tomograms, found.features, strict=True))
    return {
        "path": path,
        "type": "training set",
        "boxes": len(found),
        "shape": list(found.shape),
        "pixel_size": found.pixel_size,
        "groups": [
            {"tomogram": tomogram, "feature": feature, "boxes": groups[tomogram, feature]}
            for tomogram, feature in sorted(groups)
        ],
    }


def training_in_words(facts: Facts) -> Facts:
    """Return facts of :func:`training_facts` as labels to texts, or lists of lines."""
    size = facts["pixel_size"]
    words: Facts = {
        "training set": facts["path"],
        "boxes": f"{facts['boxes']} of {' x '.join(map(str, facts['shape']))} (z, y, x)",
        "pixel size": "not in the file" if size is None else f"{size:g} angstrom",
    }
    named = [one for one in facts["groups"] if one["tomogram"] or one["feature"]]
    if named:
        words["of"] = [
            f"{one['tomogram'] or 'a tomogram'}, {one['feature'] or 'no name of the feature'}: "
            + counted(one["boxes"], "box/boxes")
            for one in named
        ]
    return words
