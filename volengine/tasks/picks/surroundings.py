"""What ``picks measure`` is given: volumes and surfaces by name and tomogram, and which belong to a table of picks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.volume import Vector3, Volume
from volengine.io.names import another_of_series, is_multilabel, same_tomogram, split_group
from volengine.io.surfaces import ENDING, FACTS, SurfaceFacts, SurfaceSet, open_surfaces
from volengine.tasks.common.inputs import expand, globbed
from volengine.tasks.common.named import OF_SEVERAL_OBJECTS, feature_in, feature_of, open_sized, tomogram_in
from volengine.tasks.common.unread import Unread, may_be_it, opened_beside
from volengine.tasks.picks.of_run import OF_RUN, is_feature

_NAMED = re.compile(r"(?P<name>[^\W\d][\w .-]*)(?::(?P<labels>[0-9]+(?:\+[0-9]+)*))?=(?P<path>.+)")
RESERVED = ("inside", "lamella", "neighbours", "none")
"""Names that columns of ``picks measure`` have already, and the word for no compartment."""


@dataclass(frozen=True)
class Around:
    """A volume or a set of surfaces, of one tomogram.

    Parameters
    ----------
    name
        Before the dot in the names of its columns.
    path
        Where it is.
    tomogram
        Whose it is, by its name or its metadata.
    source
        The volume, or the surfaces; or why they could not be opened, which fails their tomogram alone.
    labels
        Of a label volume: the labels that count; none: all but 0.
    """

    name: str
    path: str
    tomogram: str
    source: Volume | SurfaceSet | Unread
    labels: tuple[int, ...] = ()


def volumes_around(
    given: Iterable[str],
    option: str,
    voxel_size: Vector3 | None,
    *,
    classes: bool = False,
    results: str | None = None,
) -> list[Around]:
    """Open the volumes that an option names, from their metadata.

    One that cannot be opened is among them with the reason; without a name (``""``) if its columns are not known.

    Parameters
    ----------
    given
        Paths, folders, globs, lists; with ``NAME=`` or ``NAME:1+2=`` before them.
    option
        How messages name the option.
    voxel_size
        Of volumes that do not state it.
    classes
        Whether they are label volumes, whose classes, where they state some, are things of their own.
    results
        Folder of the results of a run, in which features are looked for that are named instead of paths.

    Raises
    ------
    MissingError, InputError
        There is no such volume; or nothing says what its columns are to be called.
    """
    found: list[Around] = []
    for text in given:
        name, labels, where = split_name(text)
        if labels and not classes:
            raise InputError(f"{text}: {option} is not about labels; give NAME=PATH.")
        if results is not None and is_feature(where):
            name, paths = name or checked(where, text), OF_RUN[classes](results, where)
        else:
            paths = paths_of(where)
        numbers = classes and not labels
        beside = opened_beside(paths, partial(_opened, voxel_size=voxel_size, numbers=numbers))
        known = len(found)
        for path, volume in beside.opened.items():
            feature = feature_of(volume)
            tomogram = tomogram_in(volume.name, feature)
            stated = volume.facts.get("classes") if classes and not name else None
            if isinstance(stated, dict) and stated:
                for one, number in stated.items():
                    if int(number):  # a class that is not in the volume is 0
                        found.append(Around(checked(str(one), path), path, tomogram, volume, (int(number),)))
                continue
            if classes and not labels and is_multilabel(volume.url):
                raise InputError(f"{path} {OF_SEVERAL_OBJECTS}: {option} NAME:1+2={path}.")
            if not (name or feature):
                raise InputError(
                    f"{path} does not say what it is of, so its columns have no name; give {option} NAME={path}, or "
                    "call the file TOMOGRAM__NAME."
                )
            found.append(Around(name or checked(feature, path), path, tomogram, volume, labels))
        found += _unread(beside.unread, name, {one.name for one in found[known:]}, labels)
    return found


def _opened(path: str, voxel_size: Vector3 | None, numbers: bool) -> Volume:
    """Open a volume; a tomogram is no label volume, unless the user says which of its numbers are labels."""
    volume = open_sized(path, voxel_size)
    if numbers and volume.kind == "intensity" and "history" in volume.facts:
        raise InputError(
            f"{path} is a tomogram by its own words (kind intensity), and every number but 0 would be a label. If it "
            "does hold labels, convert it with --kind labels, or say which: --labels NAME:1+2=PATH."
        )
    return volume


def _unread(
    unread: Iterable[Unread], name: str, known: Collection[str], labels: tuple[int, ...] = ()
) -> Iterable[Around]:
    """What could not be opened, with the name that the user gives; or that in its file's name, if others have it.

    Raises
    ------
    VolengineError
        Nothing of a path can be opened, and nothing says what its columns would be.
    """
    for one in unread:
        called = name or (checked(one.feature, one.path) if one.feature else "")
        if not (called or known):
            raise one.error
        yield Around(called if name or not known or called in known else "", one.path, one.tomogram, one, labels)


def surfaces_around(given: Iterable[str], option: str) -> list[Around]:
    """Open the sets of surfaces that an option names; arguments and errors are those of :func:`volumes_around`."""
    found: list[Around] = []
    for text in given:
        name, labels, where = split_name(text)
        if labels:
            raise InputError(f"{text}: surfaces have no labels; give {option} NAME=PATH.")
        beside = opened_beside(_sets_in(globbed([where], "set of surfaces")), open_surfaces)
        known = len(found)
        for path, surfaces in beside.opened.items():
            stem = Path(path).stem
            feature = surfaces.facts.feature or feature_in(stem)
            tomogram = surfaces.facts.tomogram if (Path(path) / FACTS).is_file() else ""
            tomogram = tomogram_in(tomogram or stem, feature)
            if not (name or feature):
                raise InputError(
                    f"{path} does not say what it is of, so its columns have no name; give {option} NAME={path}, or "
                    "call it TOMOGRAM__NAME."
                )
            found.append(Around(name or checked(feature, path), path, tomogram, surfaces))
        found += _unread(beside.unread, name, {one.name for one in found[known:]})
    return found


def paths_of(where: str) -> list[str]:
    """The volumes that a path names; also labels in stores (``stores#labels/atlas``)."""
    return expand([where])


def _sets_in(paths: Iterable[str]) -> list[str]:
    """The sets of surfaces in folders that are none themselves."""
    found: list[str] = []
    for path in paths:
        folder = Path(path)
        sets = sorted(str(one) for one in folder.glob(f"*{ENDING}") if one.is_dir()) if folder.is_dir() else []
        found += sets if sets and folder.suffix != ENDING else [path]
    return found


def split_name(text: str) -> tuple[str, tuple[int, ...], str]:
    """Divide ``NAME:1+2=PATH`` into name, labels and path; a file that is called so as a whole is a path.

    >>> split_name("outer membrane=TS_01.mrc")[0]
    'outer_membrane'
    >>> split_name("membrane:2+3=atlas.mrc"), split_name("atlas.mrc"), split_name("config.json#seg=membrane")
    (('membrane', (2, 3), 'atlas.mrc'), ('', (), 'atlas.mrc'), ('', (), 'config.json#seg=membrane'))
    """
    match = _NAMED.fullmatch(text)
    if match is None or Path(text).exists():
        return "", (), text
    labels = tuple(int(v) for v in (match["labels"] or "").split("+") if v)
    if 0 in labels:
        raise InputError(f"{text}: 0 is the background; give other labels.")
    return checked(match["name"], text), labels, match["path"]


def checked(name: str, where: str) -> str:
    """Return a name as columns have it: letters, digits and ``_``."""
    fit = re.sub(r"[^A-Za-z0-9_]", "_", name)
    fit = f"_{fit}" if fit[:1].isdigit() else fit
    if fit.lower() in RESERVED:
        raise InputError(f"{where}: {name!r} is the name of other columns; give another one: NAME=PATH.")
    return fit


def groups_of(given: Sequence[Around]) -> dict[str, list[Around]]:
    """Sort what is around by name, in the order of the names; two of the same name and tomogram are refused.

    What has no name, because it could not be opened, is left out.
    """
    groups: dict[str, list[Around]] = {}
    for one in given:
        if not one.name:
            continue
        others = groups.setdefault(one.name, [])
        twin = next((other for other in others if same_tomogram(one.tomogram, [other.tomogram])), None)
        if twin is not None:
            raise InputError(
                f"{twin.path} and {one.path} would both be {one.name!r} of tomogram {one.tomogram!r}; give them two "
                "names: NAME=PATH."
            )
        others.append(one)
    return groups


def of_tomogram(picks: Picks, group: Sequence[Around], *, alone: bool, asked: bool) -> Around:
    """Return which one of the things of one name belongs to the tomogram of picks.

    Parameters
    ----------
    picks
        The picks.
    group
        The things.
    alone
        Whether there are no picks of other tomograms: then the only thing may have another name, but not that of
        another tomogram of the same series.
    asked
        Whether the user has named the tomogram; then the only thing belongs to it.

    Raises
    ------
    InputError
        None of them does.
    VolengineError
        It could not be opened.
    """
    found = _of_tomogram(picks, group, alone=alone, asked=asked)
    if isinstance(found.source, Unread):
        raise found.source.error
    return found


def _of_tomogram(picks: Picks, group: Sequence[Around], *, alone: bool, asked: bool) -> Around:
    by_name = {one.tomogram: one for one in group}
    name = same_tomogram(picks.tomogram, by_name)
    if name is not None:
        return by_name[name]
    only, lost = group[0], [one.source for one in group if isinstance(one.source, Unread)]
    if len(group) == 1 and alone and (asked or not of_another(picks.tomogram, only.tomogram)):
        return only
    raise InputError(
        f"There is no {only.name!r} of tomogram {picks.tomogram!r}; there is that of {', '.join(list(by_name)[:8])}"
        f"{' ...' if len(by_name) > 8 else ''}. Give it, or choose the picks with --tomogram.{may_be_it(lost)}"
    )


def of_another(name: str, other: str) -> bool:
    """Whether a name, or the beginning of it, is that of another tomogram of the series: ``TS_02_mito`` for ``TS_01``.

    >>> of_another("TS_01", "TS_02_mito"), of_another("TS_01", "TS_01_mito"), of_another("TS_01", "mito")
    (True, False, False)
    """
    ends = [match.start() for match in re.finditer(r"[^A-Za-z0-9]", other)]
    beginnings = [other[:end] for end in ends] + [other]
    if any(same_tomogram(name, [one]) for one in beginnings):
        return False
    return any(another_of_series(name, one) for one in beginnings)


def placed(around: Around, picks: Picks) -> SurfaceSet:
    """The surfaces of a set; of meshes alone, which hold positions, with the origin of the tomogram of the picks."""
    surfaces = around.source
    assert isinstance(surfaces, SurfaceSet)
    if surfaces.facts.voxel_size is None and not (Path(around.path) / FACTS).is_file():
        return open_surfaces(around.path, SurfaceFacts(tomogram=around.tomogram, origin=picks.origin))
    return surfaces


def lamella_around(given: Sequence[str], voxel_size: Vector3 | None) -> list[Around]:
    """Open what shows the lamella: volumes and sets of surfaces, of one tomogram or of many."""
    from volengine.io.meshes import ENDINGS

    found: list[Around] = []
    for text in given:
        where = split_name(text)[2]
        if Path(where).suffix.lower() in (ENDING, *ENDINGS) or _holds_sets(where):
            found += surfaces_around([f"slab={where}"], "--lamella")
            continue
        beside = opened_beside(paths_of(where), lambda path: open_sized(path, voxel_size))
        for path, volume in beside.opened.items():
            found.append(Around("slab", path, tomogram_in(volume.name, feature_of(volume)), volume))
        found += _unread(beside.unread, "slab", ())
    return found


def _holds_sets(where: str) -> bool:
    folder = Path(split_group(where)[0])
    return folder.is_dir() and any(folder.glob(f"*{ENDING}"))
