"""Runs that were moved, with the files that they read: what was computed there counts here.

An identity is a digest of texts, and some of these are places: the path of a model, that of a source in the history of
an image. A file is known by more than its place: a model by the digest of its bytes, a source by the identity of its
contents (``--identity content``) or by a snapshot that a rename leaves as it is. So when a plan is made again, and the
former plan in its folder names the same files by other paths, the new plan says what the former one said: identities,
histories and recipes are those of the place where the results were computed, and are recognised. Where the files are
now, the stages know beside (:attr:`~volengine.engine.stage.Stage.moved`), which is no part of any identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.text import texts_in, with_texts
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.stage import Stage
from volengine.io.stores import local_path, located

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

Texts = dict[str, str]
"""What the new plan says, and what the former one said of the same thing."""


def settled(plan: Plan, old: Plan, home: str, folder: PlanFolder) -> tuple[Plan, Plan]:
    """Let a plan name files that were moved as the former plan of its folder names them.

    Parameters
    ----------
    plan
        The plan to run.
    old
        The former plan.
    home
        Where their folder was when the former plan was written.
    folder
        Their folder.

    Returns
    -------
    Plan, Plan
        The plan with the texts of the former one, and the former one with the places of now. If nothing was moved,
        both are as they were.
    """
    same = _same_volumes(plan, old)
    identities = {new.identity: was.identity for was, new in same if new.identity != was.identity}
    identities |= _unpacked(plan, old)
    files = _same_files(plan, old, identities)
    paths = {now: then for now, then in files.items() if now != then}
    texts = {**paths, **identities}
    told = {**texts, **_as_written(plan, old, files)}
    places = {(was.url, was.path): new for was, new in same}
    now = folder.home(now=True)
    old = _here(old, places, home or now, now)
    moved = {then: now for now, then in paths.items()}
    stages = tuple(_stage(stage, texts, moved) for stage in plan.stages) if texts else plan.stages
    images = tuple(_image(spec, told, old) for spec in plan.images)
    return replace(plan, stages=stages, images=images, recipe=with_texts(dict(plan.recipe), told)), old


def moved_alone(plan: Plan, old: Plan, folder: PlanFolder) -> str:
    """Return a line for the user if a run folder was moved without the images that it has made; else empty.

    Parameters
    ----------
    plan, old
        What :func:`settled` has returned.
    folder
        Their folder.
    """
    now, then = ([(s.url, s.group) for s in one.images if not s.scratch] for one in (plan, old))
    before = folder.moved_from()
    if not before or not now or not then or set(now) & set(then):
        return ""
    return (
        f"{plan.name}: the run folder was moved, from {before}, and {now[0][0]} was not moved with it: it is made "
        "again. Where both keep their places to each other, nothing is."
    )


# -- what is the same ----------------------------------------------------------------------------------------


def _same_volumes(plan: Plan, old: Plan) -> list[tuple[Volume, Volume]]:
    """Pairs of a source of the former plan and of this one that are the same, by contents or by snapshot."""
    former = {stage.name: stage for stage in old.stages}
    pairs = []
    for stage in plan.stages:
        if stage.name in former:
            read = former[stage.name].arrays
            pairs += [(read[name].volume, one.volume) for name, one in stage.arrays.items() if name in read]
    return [(was, new) for was, new in pairs if _is_same(was, new)]


def _is_same(was: Volume, new: Volume) -> bool:
    if not was.identity or not new.identity:  # made by the plan itself
        return False
    if was.identity == new.identity:
        return True
    facts = [(v.path, v.axes, v.shape, v.dtype, v.facts.get("select")) for v in (was, new)]
    return facts[0] == facts[1] and _is_renamed(was.url, was.snapshot, new.url, new.snapshot)


def _is_renamed(was: str, before: Mapping[str, Any], new: str, now: Mapping[str, Any]) -> bool:
    """Whether a local file or store has the size, times and inodes that it had at another path."""
    if not before or dict(before) != dict(now) or local_path(was) is None or local_path(new) is None:
        return False
    return now.get("kind") == "file" or now.get("listing") is not None


def _unpacked(plan: Plan, old: Plan) -> Texts:
    """Identities of files that are unpacked first, and those that the same files had at another path."""
    former, found = {stage.name: stage for stage in old.stages}, Texts()
    for stage in plan.stages:
        was = former.get(stage.name)
        if was is not None and stage.transient and {"source", "identity"} <= set(stage.params) & set(was.params):
            (place, identity), (now, its) = ((one.params["source"], one.params["identity"]) for one in (was, stage))
            snapshots = [one.hints.get("snapshot") or {} for one in (was, stage)]
            if identity != its and _is_renamed(str(place), snapshots[0], str(now), snapshots[1]):
                found[str(its)] = str(identity)
    return found


def _same_files(plan: Plan, old: Plan, identities: Mapping[str, str]) -> Texts:
    """Paths of files in the parameters of this plan, and those of the same files in the former one."""
    found: Texts = {}
    mine, theirs = _digests(plan), _digests(old)
    for digest, places in mine.items():
        if len(places) == 1 == len(theirs.get(digest, ())):
            found |= dict(zip(places, theirs[digest], strict=True))
    former = {stage.name: stage for stage in old.stages if stage.transient}
    for stage in plan.stages:
        was = former.get(stage.name)
        if was is not None and stage.transient and "source" in stage.params and "source" in was.params:
            same = identities.get(str(stage.params["identity"]), stage.params["identity"]) == was.params["identity"]
            keys = ("source", "target") if same else ("target",)
            found |= {str(stage.params[key]): str(was.params[key]) for key in keys}
    return found


def _digests(plan: Plan) -> dict[str, set[str]]:
    """The paths in the parameters of a plan that stand beside a digest of the file, by digest."""
    found: dict[str, set[str]] = {}
    for stage in plan.stages:
        for value in _values(dict(stage.params)):
            if isinstance(value, Mapping) and isinstance(value.get("path"), str) and value.get("digest"):
                found.setdefault(str(value["digest"]), set()).add(value["path"])
    return found


def _as_written(plan: Plan, old: Plan, files: Mapping[str, str]) -> Texts:
    """Paths as the recipe writes them, perhaps from the present folder, and as the former one wrote them."""
    known = set(texts_in(old.recipe))
    found: Texts = {}
    for text in set(texts_in(plan.recipe)) - known:
        for then in {files[now] for now in files if _place_of(text) == now}:
            written = [was for was in known if _names(was, then)]
            if len(written) == 1:
                found[text] = written[0]
    return found


def _place_of(text: str) -> str:
    """The path that a text means in the present folder; empty if it is none."""
    with suppress(InputError, ValueError, OSError, RuntimeError):
        return located(text)
    return ""


def _names(text: str, place: str) -> bool:
    """Whether a text may be how somebody wrote this path: whole, or its end, from a folder that is not known."""
    if "://" in text or "\0" in text or os.path.isabs(text) or text.startswith("~"):  # noqa: PTH117
        return text == place
    parts = PurePath(os.path.normpath(text)).parts
    kept = [part for part in parts if part != ".."]
    return bool(kept) and PurePath(place).parts[-len(kept) :] == tuple(kept)


def _values(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _values(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _values(one)


# -- saying it -----------------------------------------------------------------------------------------------


def _stage(stage: Stage, texts: Texts, moved: Mapping[str, str]) -> Stage:
    arrays = {
        name: replace(one, volume=one.volume.with_(identity=texts[one.volume.identity]))
        if one.volume.identity in texts
        else one
        for name, one in stage.arrays.items()
    }
    return replace(stage, params=with_texts(dict(stage.params), texts), arrays=arrays, moved=moved)


def _image(spec: ImageSpec, texts: Texts, old: Plan) -> ImageSpec:
    """An image whose facts are those of the former plan's, if these differ by places alone."""
    facts = with_texts(spec.facts, texts)
    for was in old.images:
        if (was.url, was.group) == (spec.url, spec.group) and not spec.scratch:
            path = _path_of(was.facts)
            if path and _path_of(facts):
                facts = {**facts, "mrc": {**facts["mrc"], "path": path}}
            if facts == was.facts:
                return replace(spec, facts=facts)
    return replace(spec, facts=with_texts(spec.facts, texts)) if texts else spec


def _path_of(facts: Mapping[str, Any]) -> str:
    """Where the MRC file lay whose header an image keeps."""
    header = facts.get("mrc")
    return str(header.get("path", "")) if isinstance(header, Mapping) else ""


def _here(old: Plan, places: Mapping[tuple[str, str], Volume], before: str, now: str) -> Plan:
    """The former plan with the places of now: its sources are where they are, outputs as far from the folder."""

    def place(url: str) -> str:
        if before == now or local_path(url) is None:
            return url
        return os.path.normpath(os.path.join(now, os.path.relpath(url, before)))  # noqa: PTH118

    def volume(one: Volume) -> Volume:
        source = places.get((one.url, one.path))
        return one.with_(url=place(one.url)) if source is None else source.with_(identity=one.identity)

    stages = tuple(
        replace(
            stage,
            arrays={name: replace(one, volume=volume(one.volume)) for name, one in stage.arrays.items()},
            outputs={name: replace(one, volume=volume(one.volume)) for name, one in stage.outputs.items()},
        )
        for stage in old.stages
    )
    return replace(old, stages=stages, images=tuple(replace(spec, url=place(spec.url)) for spec in old.images))
