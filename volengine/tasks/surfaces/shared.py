"""One file for sets of several tomograms: refused where it is named after one of these, and so not of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from volengine.core.errors import InputError, VolengineError
from volengine.io.names import same_tomogram
from volengine.io.surfaces import open_surfaces
from volengine.tasks.common.named import feature_of, open_sized, tomogram_in
from volengine.tasks.surfaces.given_picks import one_table, tomogram_of_table
from volengine.tasks.surfaces.sets import is_pattern, names_many, sets_in

SHOWN = 8
"""Sets that a message lists."""


def refuse_shared(paths: Sequence[str], recipe: Any) -> None:
    """Refuse files that several sets would share, although they are of the tomogram of some of these only.

    What cannot be opened is left to the jobs of the sets, which say it.

    Parameters
    ----------
    paths
        The sets of one command.
    recipe
        Of the verb; its fields ``tomogram``, ``labels``, ``others`` and ``picks``, where it has them, name files.

    Raises
    ------
    InputError
        A file is named after the tomogram of some sets, and not of others.
    """
    if len(paths) < 2:
        return
    sets: dict[str, str] = {}
    for path in paths:
        with suppress(VolengineError):
            sets[path] = open_surfaces(path).facts.tomogram
    for option, given, whose in _single(recipe):
        _refuse(option, given, whose, sets)


def _single(recipe: Any) -> Iterator[tuple[str, str, str]]:
    """Options that name one file by its own path, this path, and the tomogram that the file is of by its name."""
    for name in ("tomogram", "labels"):
        given = getattr(recipe, name, None)
        if given is not None and not names_many(given):
            with suppress(VolengineError):
                volume = open_sized(given, 1.0, "metadata")
                yield f"--{name}", given, tomogram_in(volume.name, feature_of(volume))
    for given in getattr(recipe, "others", ()):
        if not (is_pattern(given) or sets_in(given)):
            with suppress(VolengineError):
                yield "--others", given, open_surfaces(given).facts.tomogram
    picks = getattr(recipe, "picks", ())
    if picks and (table := one_table(picks)) is not None:
        with suppress(VolengineError):
            if whose := tomogram_of_table(table):
                yield "--picks", table, whose


def _refuse(option: str, given: str, whose: str, sets: Mapping[str, str]) -> None:
    """Refuse a file that is of the tomogram ``whose`` by its name for sets of others; ``sets`` are by their paths."""
    lack = {path: name for path, name in sets.items() if name and same_tomogram(name, [whose]) is None}
    if lack and len(lack) < len(sets):
        listed = [f"{path} ({name!r})" for path, name in lack.items()]
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise InputError(
            f"{option} {given} is of tomogram {whose!r}, and there is none for {', '.join(listed[:SHOWN])}{more}. Give "
            f"a folder, a pattern or several that have one for each tomogram, or run these sets by themselves."
        )
