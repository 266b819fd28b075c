"""The class names that a recipe gives ids to: a name that no object has is a mistake, which would shift other ids."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from volengine.core.errors import InputError
from volengine.sim.recipe.filaments import KINDS
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.tasks.simulate.structures import StructureFile, class_names


def refuse_unknown_classes(
    values: Mapping[str, Any], specimen: SpecimenRecipe, files: Mapping[str, StructureFile]
) -> None:
    """Refuse ids for class names that exist nowhere in the recipe.

    Parameters
    ----------
    values
        The recipe as it was given, which may contain distributions. A name that another value of a ``choice`` may have
        is accepted: it has the same id in all samples.
    specimen
        The specimen of one sample.
    files
        The file of each of its structures.

    Raises
    ------
    InputError
        It lists the names that exist, and the nearest one.
    """
    given = set(specimen.classes or {})
    there = class_names(specimen, files) if given else set()
    unknown = sorted(given - there - set(_of_choices(values.get("specimen", {}))))
    if unknown:
        near = difflib.get_close_matches(unknown[0], there, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"specimen: classes gives an id to {unknown[0]!r}, but nothing in the recipe has this class. There are "
            f"{', '.join(sorted(there)) or 'none'}.{meant}"
        )


def _of_choices(values: Any, part: str = "", inside: bool = False) -> Iterator[str]:
    """The names that values of a ``choice`` may give to classes: every text in it, and the names that parts have."""
    from volengine.io.structures.names import parse_name

    if isinstance(values, Mapping):
        for key, value in values.items():
            chosen = inside or key == "choice"
            yield from _of_choices(value, part if key == "choice" else str(key), chosen)
    elif inside and isinstance(values, str):
        yield from (values, *parse_name(values).classes)
    elif isinstance(values, (list, tuple)):
        if inside:
            yield from _OWN.get(part, ())
        for value in values:
            yield from _of_choices(value, part, inside)


_OWN = {
    "vesicles": ("membrane",),
    "sheets": ("membrane",),
    "beads": ("gold",),
    "film": ("carbon",),
    "filaments": tuple(KINDS),
}
"""Class names that parts of a specimen have if the recipe gives them none."""
