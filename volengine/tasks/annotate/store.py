"""The annotations of one tomogram, open for reading and drawing; :class:`Annotations` is what a page or script uses.

>>> annotations = new_annotations("TS_01.mrc", "TS_01.annotations", features=("membrane",))
>>> stroke = {"op": "brush", "feature": "membrane", "slice": 4, "points": [[8, 8], [8, 20]], "radius": 2}
>>> annotations.do(stroke, user="ada").version
2
>>> from volengine.core.boxes import Box
>>> int(annotations.labels("membrane", Box((4, 0, 0), (5, 32, 32))).sum())
73
>>> annotations.do({"op": "undo"}, user="ada").of
2

Several processes may have the same annotations open, on several machines that share a disk: each transaction is made by
one at a time, under a lock (:mod:`volengine.engine.lock`), and all see it with their next call.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.aside import is_private, make_folders, sync_folders
from volengine.core.boxes import Box
from volengine.core.errors import InputError, VolengineError
from volengine.core.feature_colours import colours_apart
from volengine.core.markup import facts_html, rows_html
from volengine.core.paths import PathLike, path_text, place_key
from volengine.core.roi import roi_box, roi_text
from volengine.core.volume import size_text
from volengine.engine.lock import critical
from volengine.io.annotations.blocks import box_of
from volengine.io.annotations.folder import (
    ENDING,
    FACTS,
    JOURNAL,
    LOCK,
    AnnotationFacts,
    check_name,
    read_facts,
    write_facts,
)
from volengine.io.annotations.history import MERGED, History, Transaction
from volengine.io.annotations.journal import Journal, create_journal
from volengine.io.annotations.layers import Layers
from volengine.io.names import is_remote
from volengine.io.stores import located
from volengine.tasks.annotate.operations import checked
from volengine.tasks.annotate.voxels import DRAWING, Packed, Voxels
from volengine.tasks.common.named import open_sized

MOST_SHOWN = 20
"""Features that a notebook shows."""


class Annotations:
    """The annotations of one tomogram.

    All methods may be called from several threads; each of them first reads what other processes have done.

    Parameters
    ----------
    folder
        The folder ``NAME.annotations``, made by :func:`new_annotations`.

    Raises
    ------
    MissingError
        There are no annotations.
    FormatError
        They are damaged.
    """

    def __init__(self, folder: PathLike):
        self.folder = local_folder(folder)
        self.facts: AnnotationFacts = _moved_along(read_facts(self.folder), self.folder)
        self._threads = threading.RLock()
        self._journal = Journal(self.folder / JOURNAL)
        self._begin()
        self.refresh()

    def _begin(self) -> None:
        self._history = History()
        self._layers = Layers(self._journal, self._history, self.facts.shape)
        self._voxels = Voxels(self.facts, self._layers)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def __enter__(self) -> Annotations:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """Show the tomogram, the users, and what was drawn of each feature; in a notebook nothing is raised."""
        facts = self.facts
        try:
            with self.reading() as (history, _):
                counting = (one for one in history.transactions.values() if history.counts(one.version))
                strokes = [one.feature for one in counting if one.kind == "stroke"]
                rows = [
                    {
                        "feature": name,
                        "strokes": strokes.count(name),
                        "training boxes": len(history.items("box", name)),
                        "points": len(history.items("point", name)),
                    }
                    for name in history.features()
                ]
                users, version, base = sorted(history.users), history.version, history.base
        except (VolengineError, OSError, ValueError) as error:
            return facts_html(f"Annotations of {facts.name}, {self.folder}", {"cannot be read": str(error)})
        said = {
            "tomogram": facts.tomogram,
            "its shape (z, y, x)": " x ".join(map(str, facts.shape)),
            "voxel size": f"{size_text(facts.voxel_size)} angstrom",
            "version": version,
            "compacted, so strokes are not counted, up to version": base or "",
            "users": ", ".join(users),
        }
        return facts_html(f"Annotations of {facts.name}, {self.folder}", said) + rows_html(rows, MOST_SHOWN)

    # -- reading -----------------------------------------------------------------------------------------------

    def refresh(self) -> int:
        """Read what other processes have done; return the last version."""
        with self._threads:
            other, new = self._journal.refresh()
            if other:  # it was compacted
                self._begin()
            for committed in new:
                self._history.add(committed, str(self._journal.path))
            return self._history.version

    @contextlib.contextmanager
    def reading(self) -> Iterator[tuple[History, Layers]]:
        """Yield the history and the layers as they are now; no other thread changes them meanwhile."""
        with self._threads:
            self.refresh()
            yield self._history, self._layers

    @property
    def version(self) -> int:
        """The last version."""
        return self.refresh()

    def labels(self, feature: str, box: Box, *, user: str = MERGED, version: int | None = None) -> NDArray[np.uint8]:
        """Return the labels of a box: 0 background, 1 feature, 2 ignore.

        Parameters
        ----------
        feature
            Name of the feature.
        box
            Voxels of the tomogram, inside of it; for a slice, a box of one voxel along an axis.
        user
            Only what this user has drawn; by default what is seen of all: of each voxel the latest.
        version
            As it was at this version; ``None``: now.

        Raises
        ------
        InputError
            There is no such feature or version, or the box leaves the tomogram.
        """
        with self.reading() as (history, layers):
            self._check_feature(history, feature)
            return layers.labels(feature, box, user, version)

    def transactions(self, after: int = 0, user: str | None = None) -> list[tuple[Transaction, bool]]:
        """Return the transactions after a version, in order, and whether each counts now."""
        with self.reading() as (history, _):
            ones = (one for one in history.transactions.values() if one.version > after and user in (None, one.user))
            return [(one, history.counts(one.version)) for one in ones]

    def changed(self, after: int) -> tuple[int, dict[str, list[Box]]]:
        """Return the last version, and for each feature the boxes in which voxels may have changed after a version.

        A viewer that shows version ``after`` draws these anew. Boxes are whole blocks (32 x 64 x 64 voxels), or the
        whole volume if the version was compacted: a stroke that it shows may be gone.
        """
        with self.reading() as (history, _):
            if after < history.base:
                return history.version, {name: [Box.of_shape(self.facts.shape)] for name in history.features()}
            found = history.changed(after)
            boxes = {name: [box_of(b).clip(self.facts.shape) for b in sorted(blocks)] for name, blocks in found.items()}
            return history.version, boxes

    def asked(self, transaction: Transaction) -> dict[str, Any]:
        """Return the operation of a transaction with all of its values, as it was asked for; those in the base lack it.

        Raises
        ------
        InputError
            The transaction was compacted.
        """
        with self.reading() as (history, _):
            one = history.transactions.get(transaction.version)
            if one is None:
                raise InputError(f"Version {transaction.version} was compacted; what was asked for is not kept.")
            return dict(self._journal.facts(one.at)["what"])

    def features(self, version: int | None = None) -> dict[str, str]:
        """Return the features and their colours, ``#F0E442``, in the order in which they came."""
        with self.reading() as (history, _):
            found = history.features(history.check(version))
            return colours_in(found)

    def boxes(self, feature: str | None = None, version: int | None = None) -> list[tuple[Transaction, Box]]:
        """Return the training boxes: in each, everything of its feature is annotated."""
        with self.reading() as (history, _):
            items = history.items("box", feature, history.check(version))
            return [(one, self._box(str(one.facts["box"]))) for one in items]

    def points(self, feature: str | None = None, version: int | None = None) -> list[Transaction]:
        """Return the points; ``facts`` has their ``position`` (voxels, z, y, x) and ``radius`` (voxels, if given)."""
        with self.reading() as (history, _):
            return history.items("point", feature, history.check(version))

    def conflicts(self, version: int | None = None) -> dict[str, int]:
        """Count, for each feature, the voxels of which two users say different things."""
        with self.reading() as (history, layers):
            at = history.check(version)
            return {name: layers.conflicts(name, at) for name in history.features(at)}

    # -- changing ----------------------------------------------------------------------------------------------

    def do(self, operation: Mapping[str, Any], user: str = "") -> Transaction:
        """Carry out one operation as one transaction, which is on the disk when this returns.

        Parameters
        ----------
        operation
            See :mod:`volengine.tasks.annotate.operations`.
        user
            Who does it; default: the name of the process's user.

        Raises
        ------
        InputError
            It cannot be done; nothing was changed.
        TakenOverError
            This process was asleep, and others went on; the operation does not count.
        """
        asked, who = checked(operation), check_name(user or own_name(), "user")
        with self.alone() as (history, _):
            _check_alike(who, history.users, "user")
            facts, blocks = self._prepared(history, asked, who)
            said = {
                "version": history.version + 1,
                "user": who,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "what": asked,
                **facts,
            }
            for committed in self._journal.append(said, blocks):
                history.add(committed, str(self._journal.path))
            return history.transactions[history.version]

    def undo(self, user: str = "", version: int | None = None) -> Transaction:
        """Undo the latest own transaction that counts, or the own one of a version; errors as of :meth:`do`."""
        return self.do({"op": "undo", "version": version}, user)

    def redo(self, user: str = "", version: int | None = None) -> Transaction:
        """Let a transaction count again: the one undone last, or that of a version; errors as of :meth:`do`."""
        return self.do({"op": "redo", "version": version}, user)

    @contextlib.contextmanager
    def alone(self) -> Iterator[tuple[History, Layers]]:
        """Yield the history and the layers while no other thread or process can change the annotations.

        Raises
        ------
        InputError
            The folder cannot be written to.
        """
        if not os.access(self.folder, os.W_OK):
            raise InputError(f"{self.folder}: cannot be written to; copy it to a place of yours, or ask for the right.")
        with self._threads, critical(self.folder / LOCK):
            self.refresh()
            yield self._history, self._layers

    def _prepared(self, history: History, asked: Mapping[str, Any], user: str) -> tuple[dict[str, Any], Packed]:
        """The facts of a transaction, and its voxels."""
        name = asked["op"]
        nothing: Packed = iter(())
        if name == "undo":
            return {"kind": name, "of": history.to_undo(user, asked.get("version")).version}, nothing
        if name == "redo":
            return {"kind": name, "of": history.to_redo(user, asked.get("version")).version}, nothing
        if name == "remove":
            items = [*history.items("box"), *history.items("point")]
            found = next((one for one in items if one.version == asked["item"]), None)
            if found is None:
                raise InputError(f"remove: there is no training box or point of version {asked['item']}.")
            return {"kind": name, "of": found.version, "feature": found.feature}, nothing
        feature = {"feature": asked["feature"]}
        if name == "feature":
            _check_alike(asked["feature"], history.features(), "feature")
            return {"kind": name, **feature, **({"colour": asked["colour"]} if "colour" in asked else {})}, nothing
        self._check_feature(history, asked["feature"])
        if name == "box":
            return {"kind": name, **feature, "box": roi_text(self._training_box(asked))}, nothing
        if name == "point":
            return {"kind": name, **feature, **self._point(asked)}, nothing
        assert name in DRAWING
        return {"kind": "stroke", **feature}, self._voxels.of(asked)

    def _check_feature(self, history: History, feature: str) -> None:
        features = history.features()
        if feature not in features:
            there = f"there are {', '.join(features)}" if features else "there is none yet"
            raise InputError(
                f'{self.folder}: there is no feature {feature!r}; {there}. The operation {{"op": "feature", "feature": '
                "...}} adds one."
            )

    def _box(self, text: str) -> Box:
        return roi_box(text, self.facts.shape, self.facts.voxel_size, self.facts.name, "box")

    def _training_box(self, asked: Mapping[str, Any]) -> Box:
        if "box" in asked:
            return self._box(asked["box"])
        at, (nz, ny, nx) = asked["slice"], self.facts.shape
        if not 0 <= at < nz:
            raise InputError(f"box: slice {at} is not one of the {nz} (0 to {nz - 1}).")
        if "side" not in asked:
            return Box((at, 0, 0), (at + 1, ny, nx))
        side = asked["side"]
        if side > min(ny, nx):
            raise InputError(f"box: a side of {side} voxels does not fit into a slice of {ny} x {nx}.")
        y, x = (min(max(c - side // 2, 0), n - side) for c, n in zip(asked["centre"], (ny, nx), strict=True))
        return Box((at, y, x), (at + 1, y + side, x + side))

    def _point(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        position, radius = asked["position"], asked.get("radius")
        if not all(-0.5 <= p <= n - 0.5 for p, n in zip(position, self.facts.shape, strict=True)):
            raise InputError(f"point: {position} (z, y, x) lies outside of the {self.facts.shape} voxels.")
        if radius is not None and not radius > 0:
            raise InputError(f"point: 'radius' is {radius:g}; it is above 0 voxels.")
        return {"position": position} if radius is None else {"position": position, "radius": radius}


def new_annotations(
    tomogram: PathLike,
    folder: PathLike,
    features: Sequence[str] = (),
    *,
    voxel_size: float | None = None,
    user: str = "",
) -> Annotations:
    """Begin the annotations of a tomogram.

    Parameters
    ----------
    tomogram
        Path or URL of the tomogram; it is read only.
    folder
        The folder to make, whose name ends with ``.annotations``.
    features
        Names of features, which get the colours that they have everywhere.
    voxel_size
        Angstrom, if the file does not state it.
    user
        Who adds the features; default: the name of the process's user.

    Raises
    ------
    InputError
        The folder holds something already, or the tomogram cannot be read.
    """
    place, path = local_folder(folder), located(path_text(tomogram))
    if not place.name.endswith(ENDING) or place.name == ENDING:
        raise InputError(f"{place}: the name of annotations ends with {ENDING}, as in TS_01{ENDING}.")
    for feature in features:
        check_name(feature, "feature")
    volume = open_sized(path, voxel_size)
    made_folders = make_folders(place)
    with critical(place / LOCK):
        there = sorted(p.name for p in place.iterdir() if not is_private(p.name) and LOCK not in p.name)
        if FACTS in there or set(there) - {JOURNAL}:
            what = "annotations already" if FACTS in there else f"{there[0]!r}, so it is no folder of annotations"
            raise InputError(f"{place} holds {what}; give another name.")
        create_journal(place / JOURNAL)
        token = uuid.uuid4().hex[:16]
        made = AnnotationFacts(path, volume.name, volume.shape, volume.voxel_size, volume.origin, token)
        write_facts(place, made)
        sync_folders([one.parent for one in made_folders])
    annotations = Annotations(place)
    for feature in features:
        annotations.do({"op": "feature", "feature": feature}, user)
    return annotations


def _check_alike(name: str, names: Iterable[str], what: str) -> None:
    """Refuse a name that some file systems take for one that is there: their images would be one."""
    alike = next((other for other in names if other != name and place_key(other) == place_key(name)), None)
    if alike is not None:
        raise InputError(
            f"{name!r}: there is a {what} {alike!r}; names that differ in capital letters alone are not kept apart."
        )


def _moved_along(facts: AnnotationFacts, folder: Path) -> AnnotationFacts:
    """Look for a tomogram that is not at its place any more beside the annotations: they are often moved together."""
    if is_remote(facts.tomogram) or Path(facts.tomogram).exists():
        return facts
    beside = folder.absolute().parent / Path(facts.tomogram).name
    return replace(facts, tomogram=str(beside)) if beside.exists() else facts


def local_folder(folder: PathLike) -> Path:
    """Return the folder of annotations.

    Raises
    ------
    InputError
        It is a URL: a journal is appended to, which object stores cannot.
    """
    text = path_text(folder)
    if is_remote(text):
        raise InputError(f"{text}: annotations lie in a local folder, or one of a file server, not behind a URL.")
    return Path(text.rstrip("/") or "/")


def own_name() -> str:
    """Return the name of the process's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"


def colours_in(features: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the colours of annotated features, ``#F0E442``, by their facts: each another one, if there are enough."""
    return colours_apart({name: facts.get("colour") for name, facts in features.items()})
