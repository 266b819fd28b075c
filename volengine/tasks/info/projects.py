"""What a copick project holds: runs, tomograms, picks, segmentations, meshes, and the objects that it knows."""

from __future__ import annotations

from typing import Any

from volengine.io.copick.config import read_project
from volengine.io.copick.contents import Item, items_of, runs_of

KINDS = {
    "tomogram": "tomograms",
    "picks": "picks",
    "segmentation": "segmentations",
    "instances": "instance segmentations",
    "panoptic": "panoptic segmentations",
    "mesh": "meshes",
    "filaments": "filaments",
    "other": "not named as copick's",
}
"""The kinds of items, and how they are called."""

LISTED = 40
"""Lines of runs that are shown."""


def project_facts(path: str) -> dict[str, Any]:
    """Describe a project from its configuration and the names of its files; files of picks are not read.

    Returns
    -------
    dict
        JSON values: ``path``, ``type`` ("project"), ``name``, ``overlay_root``, ``static_root``,
        ``missing_roots`` (those that are no folders), ``user``, ``session``,
        ``objects`` (a list: ``name``, ``is_particle``, ``label``, ``radius``), ``runs`` (a list: ``name``, and for each
        kind of items a list of ``name``, ``path``, ``static``, and where they have them ``user``, ``session``,
        ``voxel_size``, ``multilabel``).

    Raises
    ------
    MissingError, FormatError, InputError
        As :func:`volengine.io.copick.config.read_project`.
    """
    project = read_project(path)
    items = items_of(project)
    runs: list[dict[str, Any]] = []
    for run in runs_of(project):
        here = [item for item in items if item.run == run]
        found = {kind: [_item(item) for item in here if item.kind == kind] for kind in KINDS}
        runs.append({"name": run, **found})
    return {
        "path": path,
        "type": "project",
        "name": project.name,
        "overlay_root": str(project.overlay),
        "static_root": None if project.static is None else str(project.static),
        "missing_roots": [str(root) for root, _ in project.roots if not root.is_dir()],
        "user": project.user,
        "session": project.session,
        "objects": [
            {"name": one.name, "is_particle": one.is_particle, "label": one.label, "radius": one.radius}
            for one in project.objects
        ],
        "runs": runs,
    }


def _item(item: Item) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": item.name, "path": item.path, "static": item.static}
    if item.user:
        facts |= {"user": item.user, "session": item.session}
    if item.spacing is not None:
        facts["voxel_size"] = item.spacing
    if item.kind == "segmentation":
        facts["multilabel"] = item.multilabel
    return facts


def project_in_words(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of :func:`project_facts` as labels to texts, or lists of lines."""
    found: dict[str, Any] = {
        "copick project": facts["path"],
        "name": facts["name"],
        "overlay": _root(facts, "overlay_root", "; it is made when something is written"),
        "static": _root(facts, "static_root", ": mend static_root (a relative one counts from the current folder)"),
    }
    if facts["user"] or facts["session"]:
        found["user, session"] = f"{facts['user'] or 'none'}, {facts['session'] or 'none'}"
    found["objects"] = [_object(one) for one in facts["objects"]] or "none"
    found["runs"] = str(len(facts["runs"]))
    for run in facts["runs"][:LISTED]:
        lines = [f"{label}: {', '.join(map(_said, run[kind]))}" for kind, label in KINDS.items() if run[kind]]
        found[run["name"]] = lines or "empty"
    if len(facts["runs"]) > LISTED:
        found["..."] = f"{len(facts['runs']) - LISTED} more runs; --json lists all"
    return found


def _root(facts: dict[str, Any], key: str, what: str) -> str:
    """A folder of the project, and what there is to say if there is none."""
    root = facts[key]
    return f"{root} (there is no such folder{what})" if root in facts["missing_roots"] else root or "none"


def _object(one: dict[str, Any]) -> str:
    label = "no label" if one["label"] is None else f"label {one['label']}"
    radius = "" if one["radius"] is None else f", radius {one['radius']:g} angstrom"
    return f"{one['name']}: {'points' if one['is_particle'] else 'segmentations'}, {label}{radius}"


def _said(one: dict[str, Any]) -> str:
    if not one["name"]:
        return str(one["path"])
    size = f" at {one['voxel_size']:g} A" if "voxel_size" in one else ""
    who = f" by {one['user']} (session {one['session']})" if "user" in one else ""
    return f"{one['name']}{' (multilabel)' if one.get('multilabel') else ''}{size}{who}"
