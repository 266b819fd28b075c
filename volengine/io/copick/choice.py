"""What is chosen of a copick project: ``config.json#run=TS_*,tomo=wbp,spacing=10``.

===========  ==================================================================================================
``run``      name of a run, which is the name of the tomogram; default: all
``tomo``     type of the tomograms (``wbp``, ``denoised`` ...)
``seg``      name of segmentations: these instead of tomograms
``picks``    object of tables of picks: these instead of tomograms
``spacing``  voxel size, angstrom; of picks: the voxel size in which positions are counted
``user``     who made segmentations and picks
``session``  in which session
===========  ==================================================================================================

Values are patterns (``*``, ``?``, ``[ab]``). Nothing is chosen silently: where a run has two that fit, the message
lists them, because their results would have one name, and particles would count twice.

>>> from volengine.io.copick.choice import parse_choice
>>> parse_choice("config.json", "run=TS_1, tomo=wbp")
{'run': 'TS_1', 'tomo': 'wbp'}
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from volengine.core.errors import InputError, MissingError
from volengine.io.copick.config import Project, is_project, read_project
from volengine.io.copick.contents import Item, Kind, items_of, runs_of
from volengine.io.names import project_and_choice

KEYS = ("run", "tomo", "seg", "picks", "spacing", "user", "session")
UNREAD = dict.fromkeys(("mesh", "meshes"), "meshes") | dict.fromkeys(
    ("filament", "filaments", "curve", "curves"), "filaments (curves)"
)
"""Words by which one might choose what is listed only, and what it is."""

SHOWN = 8
"""Number of names that messages list."""


def parse_choice(where: str, text: str) -> dict[str, str]:
    """The keys and values of a choice.

    Raises
    ------
    InputError
        A key is unknown, comes twice, has no value, or two of them contradict each other.
    """
    choice: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        key, _, value = (one.strip() for one in part.partition("="))
        typed, key = key, key.lower()
        if "=" not in part:
            raise InputError(
                f"{where}#{text}: {typed!r} is no KEY=VALUE. A comma ends a value; for one in a name write ? "
                f"({next(reversed(choice), 'run')}=...?{typed})."
            )
        if key in UNREAD:
            raise InputError(
                f"{where}#{text}: {UNREAD[key]} of a project are listed by 'volengine info', and no verb reads them. "
                "Make picks or segmentations of them with copick, and choose those (picks=, seg=)."
            )
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            known = ", ".join(KEYS)
            raise InputError(f"{where}#{text}: a project has no {key!r} to choose by.{hint} There are {known}.")
        if not value or key in choice:
            raise InputError(f"{where}#{text}: {key} {'comes twice' if value else 'has no value'}.")
        choice[key] = value
    if len(of := [key for key in ("tomo", "seg", "picks") if key in choice]) > 1:
        raise InputError(f"{where}#{text}: give one of {' and '.join(of)}.")
    if "seg" not in choice and "picks" not in choice and (who := {"user", "session"} & set(choice)):
        said = " and ".join(sorted(who))
        raise InputError(f"{where}#{text}: {said} choose among picks and segmentations; add picks= or seg=.")
    if "spacing" in choice and choice["spacing"] != "*":
        _spacing(choice["spacing"], f"{where}#{text}")
    return choice


def _spacing(text: str, where: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < 1e6:
        raise InputError(f"{where}: spacing is {text!r}; it must be a voxel size in angstrom.")
    return size


def chosen_volumes(address: str) -> list[str]:
    """Stores of the tomograms, or of the segmentations, that are chosen; at most one of each name in a run.

    Parameters
    ----------
    address
        A configuration, or ``config.json#KEY=VALUE,...``.

    Raises
    ------
    MissingError
        Nothing fits; the message lists what there is. Or the project does not exist.
    FormatError
        The configuration is damaged.
    InputError
        Several of one run and name fit, the choice is one of picks, or it cannot be understood.
    """
    where, text = project_and_choice(address)
    if "picks" in parse_choice(where, text):
        raise InputError(
            f"{address} chooses tables of picks, and a tomogram or a segmentation is needed: choose one with tomo= "
            "(and spacing=) or seg=. Tables are read by volengine picks, score, stats, and train --points."
        )
    return [item.path for item in _chosen(address, "tomogram")[1]]


def chosen_volume(address: str) -> str:
    """The only store that is chosen; errors are those of :func:`chosen_volumes`, and ``InputError`` for several."""
    found = chosen_volumes(address)
    if len(found) > 1:
        raise InputError(
            f"{address} chooses {len(found)} volumes, and one is needed; choose a run (run=NAME) and an object."
        )
    return found[0]


def chosen_picks(address: str) -> tuple[Project, list[Item], float | None]:
    """Tables of picks that are chosen, at most one of each object in a run; and the voxel size of the choice.

    Errors are those of :func:`chosen_volumes`.
    """
    project, items, choice = _chosen(address, "picks")
    size = choice.get("spacing", "*")
    return project, items, None if size == "*" else float(size)


def files_of(path: str) -> list[str]:
    """The files of picks behind a path: those that are chosen of a project, or the file itself.

    Errors are those of :func:`chosen_volumes`.
    """
    if project_and_choice(path)[1] or is_project(path):
        return [item.path for item in chosen_picks(path)[1]]
    return [path]


def _chosen(address: str, kind: Kind) -> tuple[Project, list[Item], dict[str, str]]:
    where, text = project_and_choice(address)
    choice = parse_choice(where, text)
    project = read_project(where)
    kind = "segmentation" if "seg" in choice else kind
    there = [item for item in items_of(project, choice.get("run", "*")) if item.kind == kind]
    fitting = [item for item in there if _fits(item, choice, address)]
    if not fitting:
        raise MissingError(f"{address}: {_nothing(project, there, choice, kind)}")
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in fitting:
        groups.setdefault((item.run, "" if kind == "tomogram" else item.name), []).append(item)
    for (run, _), group in groups.items():
        if len(group) > 1:
            raise InputError(f"{address}: the run {run!r} has {_several(group)}. {_narrow(group)}")
    return project, fitting, choice


def _fits(item: Item, choice: dict[str, str], address: str) -> bool:
    names = {"tomogram": "tomo", "segmentation": "seg", "picks": "picks"}
    wanted = {names[item.kind]: item.name, "user": item.user, "session": item.session}
    for key, value in wanted.items():
        if key in choice and choice[key] != value and not fnmatchcase(value, choice[key]):
            return False
    size = choice.get("spacing", "*")
    return size == "*" or item.spacing is None or abs(item.spacing - _spacing(size, address)) < 1e-3


def _nothing(project: Project, there: Sequence[Item], choice: dict[str, str], kind: Kind) -> str:
    what = {"tomogram": "tomograms", "segmentation": "segmentations"}.get(kind, "tables of picks")
    if there:
        return f"no such {what}; there are {_listed(sorted({item.said for item in there}))}."
    runs = runs_of(project)
    if "run" in choice and not any(name == choice["run"] or fnmatchcase(name, choice["run"]) for name in runs):
        return f"there is no run {choice['run']!r}; there are {_listed(runs) or 'none'}."
    roots = [str(root) for root, _ in project.roots]
    missing = [f"there is no folder {root}" for root, _ in project.roots if not root.is_dir()]
    return "; ".join([f"there are no {what} in {', '.join(roots)}", *missing]) + "."


def _several(group: Sequence[Item]) -> str:
    return " and ".join(f"{item.said}{' in ' + item.path if _same(group) else ''}" for item in group[:SHOWN])


def _same(group: Sequence[Item]) -> bool:
    return len({item.said for item in group}) < len(group)


def _narrow(group: Sequence[Item]) -> str:
    if _same(group):
        return "Static root and overlay both have it: name the file itself."
    ways: dict[str, set[Any]] = {
        "tomo": {item.name for item in group} if group[0].kind == "tomogram" else set(),
        "spacing": {item.spacing for item in group},
        "user": {item.user for item in group},
        "session": {item.session for item in group},
    }
    differing = [key for key, values in ways.items() if len(values) > 1]
    if not differing:
        return "One is of several objects (multilabel), the other of one: name the store itself."
    alone = [key for key in differing if len(ways[key]) == len(group)]
    either = " or ".join(f"{key}=" for key in alone)
    return f"Choose one with {either or ' and '.join(f'{key}=' for key in differing)}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
