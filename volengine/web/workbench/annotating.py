"""The annotations of a project's tomograms, as the page asks for them; operations are those of the store.

Nothing is made before somebody draws. Several servers and commands may use the same annotations: the store takes one
transaction after the other, and everybody sees it with the next call.
"""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError, MissingError
from volengine.core.tiling import AXES
from volengine.io.annotations.blocks import BLOCK, FEATURE
from volengine.io.annotations.folder import FACTS, JOURNAL, check_name
from volengine.io.annotations.history import History, Transaction
from volengine.ops.strokes import interpolated
from volengine.tasks.annotate.operations import checked
from volengine.tasks.annotate.store import Annotations, new_annotations, own_name
from volengine.web.workbench.label_images import LabelImages
from volengine.web.workbench.project import Project
from volengine.web.workbench.slices import axis_number

OPEN = 4
"""Annotations that are kept open; each keeps up to 64 MB of blocks."""
REFUSED = ("labels",)
"""Operations that read files by their paths, which the page may not name."""


class Annotating:
    """The annotations of a project.

    Parameters
    ----------
    project
        The project.
    """

    def __init__(self, project: Project):
        self.project = project
        self.user = project.recipe.user or own_name()
        self._open: OrderedDict[int, Annotations] = OrderedDict()
        self._used: dict[int, int] = {}
        self._lock = threading.Lock()
        self._counts: dict[int, tuple[tuple[int, int], dict[str, dict[str, int]]]] = {}
        self._named: dict[tuple[str, int], tuple[str, tuple[int, ...]]] = {}
        self.images = LabelImages(self._to_write)

    # -- opening -----------------------------------------------------------------------------------------------

    def there(self, number: int) -> bool:
        """Whether a tomogram has annotations."""
        return (self.project.annotations(number) / FACTS).is_file()

    @contextlib.contextmanager
    def using(self, number: int, *, make: bool = False) -> Iterator[Annotations | None]:
        """Yield the annotations of a tomogram, or ``None`` if there are none.

        Parameters
        ----------
        number
            Of the tomogram.
        make
            Begin annotations where there are none.

        Raises
        ------
        InputError
            They are of other voxels, or cannot be begun.
        """
        if not make and not self.there(number):
            yield None
            return
        with self._lock:
            if number not in self._open:
                self._open[number] = self._opened(number)
            self._open.move_to_end(number)
            self._used[number] = self._used.get(number, 0) + 1
            found = self._open[number]
        try:
            yield found
        finally:
            with self._lock:
                self._used[number] -= 1
                for idle in [n for n in self._open if not self._used.get(n)][: max(0, len(self._open) - OPEN)]:
                    self._open.pop(idle).close()

    def _opened(self, number: int) -> Annotations:
        folder, volume = self.project.annotations(number), self.project.opened(number).volume
        if not self.there(number):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                return new_annotations(volume.place, folder, voxel_size=self.project.recipe.voxel_size)
            except InputError:
                if not self.there(number):  # else another process has begun them in this moment
                    raise
        found = Annotations(folder)
        if found.facts.shape != volume.shape:
            found.close()
            raise InputError(
                f"{folder}: is of {found.facts.tomogram} with {found.facts.shape} voxels, and "
                f"{volume.where} has {volume.shape}. Move it away, or put the tomogram back."
            )
        return found

    @contextlib.contextmanager
    def _to_write(self, number: int) -> Iterator[Annotations | None]:
        self.project.check_links()
        with self.using(number) as annotations:
            yield annotations

    def catch_up(self) -> None:
        """Have label images written of what was drawn before this server, or while it was killed."""
        if self.project.writable:
            for number in range(len(self.project)):
                if self.there(number):
                    self.images.want(number)

    def close(self) -> None:
        """Write the label images of what was drawn, and close all annotations."""
        self.images.close()
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    # -- reading -----------------------------------------------------------------------------------------------

    def version(self, number: int) -> int:
        """The last version; 0 where nobody has drawn."""
        with self.using(number) as annotations:
            return 0 if annotations is None else annotations.version

    def state(self, number: int, user: str) -> dict[str, Any]:
        """What is annotated, but for voxels: version, features, training boxes, points, slices drawn on by axis.

        ``unwritten`` says why the label images could not be written the last time; empty if they could.

        Parameters
        ----------
        number
            Of the tomogram.
        user
            Who asks, and can undo.
        """
        who = check_name(user or self.user, "user")
        with self.using(number) as annotations:
            if annotations is None:
                none: dict[str, Any] = {"version": 0, "features": [], "boxes": [], "points": []}
                return {**none, "undo": False, "redo": False, "unwritten": self.images.failure(number)}
            with annotations.reading() as (history, _):
                boxes = [
                    {"item": one.version, "feature": one.feature, "user": one.user, "box": [*box.start, *box.stop]}
                    for one, box in annotations.boxes()
                ]
                points = [
                    {
                        "item": one.version,
                        "feature": one.feature,
                        "user": one.user,
                        "position": one.facts["position"],
                        "radius": one.facts.get("radius"),
                    }
                    for one in annotations.points()
                ]
                drawn = self.drawn(annotations, history)
                features = [
                    {"name": name, "colour": colour, "slices": drawn.get(name, {})}
                    for name, colour in annotations.features().items()
                ]
                return {
                    "version": history.version,
                    "features": features,
                    "boxes": boxes,
                    "points": points,
                    "undo": _possible(history.to_undo, who),
                    "redo": _possible(history.to_redo, who),
                    "unwritten": self.images.failure(number),
                }

    def labels(self, number: int, axis: str, index: int) -> bytes:
        """The labels of a slice, of each feature that has any there, framed as of :func:`framed`."""
        across = axis_number(axis)
        shape = self.project.opened(number).volume.shape
        box = slice_box(shape, across, index)
        planes: dict[str, NDArray[np.uint8]] = {}
        version = 0
        with self.using(number) as annotations:
            if annotations is not None:
                with annotations.reading() as (history, layers):
                    version = history.version
                    for feature in annotations.features():
                        plane = np.take(layers.labels(feature, box), 0, across)
                        if plane.any():
                            planes[feature] = plane
        rows, columns = (n for a, n in enumerate(shape) if a != across)
        return framed({"version": version, "shape": [rows, columns], "features": list(planes)}, planes.values())

    def between(self, number: int, feature: str, axis: str, index: int) -> bytes:
        """A preview of ``interpolate``: from the nearest slices before and after that have labels of the feature.

        Returns
        -------
        bytes
            Framed: ``between``, the two slices, and the planes of all slices between them.

        Raises
        ------
        InputError
            Nothing is drawn before or after, or outlines hardly overlap.
        """
        across = axis_number(axis)
        shape = self.project.opened(number).volume.shape
        slice_box(shape, across, index)
        with self.using(number) as annotations:
            if annotations is None:
                raise InputError("interpolate: nothing is drawn yet.")
            with annotations.reading() as (history, layers):
                found = _labelled(annotations, history, feature, across)
                before = [n for n in found if n <= index]  # on a labelled slice: from here to the next one
                after = [n for n in found if n > index]
                if not before or not after:
                    where = "before" if not before else "after"
                    raise InputError(f"interpolate: no slice {where} this one has labels of {feature!r}.")
                first, last = before[-1], after[0]
                if last - first < 2:
                    raise InputError(f"interpolate: there is no slice between {first} and {last}.")
                ends = [
                    np.take(layers.labels(feature, slice_box(shape, across, n)), 0, across) == 1 for n in (first, last)
                ]
        masks = interpolated(ends[0], ends[1], last - first - 1)
        head = {"between": [first, last], "shape": list(ends[0].shape), "count": len(masks)}
        return framed(head, (mask.view(np.uint8) for mask in masks))

    # -- changing ----------------------------------------------------------------------------------------------

    def do(self, number: int, given: Any, user: str) -> Transaction:
        """Carry out an operation of the page.

        Parameters
        ----------
        number
            Of the tomogram.
        given
            An operation, as of :mod:`volengine.tasks.annotate.operations`; a prediction is named by its key.
        user
            Who does it.

        Raises
        ------
        InputError
            It is none that the page may ask for, or cannot be carried out.
        """
        if not isinstance(given, Mapping):
            raise InputError("An operation is a JSON object.")
        operation, who = dict(given), check_name(user or self.user, "user")
        if operation.get("op") in REFUSED:
            raise InputError(f"{operation['op']}: a page cannot name files; use: volengine annotate stroke")
        if operation.get("op") == "take":
            key = operation.get("prediction")
            if not isinstance(key, str):
                raise InputError("take: 'prediction' is missing.")
            operation["prediction"] = self.project.prediction(number, key).volume.place
        checked(operation)  # nothing is begun for what is no operation
        if not self.project.writable:
            raise InputError(f"{self.project.folder}: cannot be written to, so it can only be looked at.")
        with self.using(number, make=True) as annotations:
            assert annotations is not None
            done = annotations.do(operation, who)
        self.images.want(number)
        return done

    def drawn(self, annotations: Annotations, history: History) -> dict[str, dict[str, list[int]]]:
        """By feature and axis: the slices that strokes name which count; volumes that were copied in name none."""
        found: dict[str, dict[str, set[int]]] = {}
        for one in history.transactions.values():
            if one.kind != "stroke" or not history.counts(one.version):
                continue
            key = (annotations.facts.token, one.version)
            if key not in self._named:  # it never changes, and is read from the disk
                axis, numbers = _named_slices(annotations.asked(one))
                self._named[key] = axis, tuple(numbers)
            axis, named = self._named[key]
            if named:
                found.setdefault(one.feature, {}).setdefault(axis, set()).update(named)
        return {name: {axis: sorted(numbers) for axis, numbers in by.items()} for name, by in found.items()}

    # -- the gallery -------------------------------------------------------------------------------------------

    def counts(self, number: int) -> dict[str, dict[str, int]]:
        """By feature: ``slices`` drawn on (along z), training ``boxes``, ``points``; errors as of :meth:`using`."""
        try:
            facts = (self.project.annotations(number) / JOURNAL).stat()
        except FileNotFoundError:
            return {}
        stamp = (facts.st_mtime_ns, facts.st_size)
        known = self._counts.get(number)
        if known is not None and known[0] == stamp:
            return known[1]
        with Annotations(self.project.annotations(number)) as annotations, annotations.reading() as (history, _):
            drawn = self.drawn(annotations, history)
            found = {
                name: {
                    "slices": len(drawn.get(name, {}).get("z", [])),
                    "boxes": len(history.items("box", name)),
                    "points": len(history.items("point", name)),
                }
                for name in history.features()
            }
        self._counts[number] = stamp, found
        return found


def _named_slices(what: Mapping[str, Any]) -> tuple[str, Iterable[int]]:
    axis = str(what.get("axis", "z"))
    if "slice" in what:
        return axis, [int(what["slice"])]
    if "between" in what:
        first, last = sorted(what["between"])
        return axis, range(first + 1, last)
    for name, part in zip(AXES, str(what.get("box", "")).split(","), strict=False):  # prediction taken in one slice
        start, _, stop = part.partition(":")
        if start.isdigit() and stop.isdigit() and int(stop) == int(start) + 1:
            return name, [int(start)]
    return axis, ()


def framed(head: Mapping[str, Any], planes: Any) -> bytes:
    """A JSON object and planes of bytes as one message.

    Four bytes with the length of the object (little-endian), the object, and the planes, one behind the other,
    compressed (zlib).

    >>> message = framed({"features": ["a"]}, [np.zeros((2, 2), np.uint8)])
    >>> struct.unpack_from("<I", message)[0], zlib.decompress(message[4 + 19:])
    (19, b'\\x00\\x00\\x00\\x00')
    """
    text = json.dumps(head).encode()
    body = zlib.compress(b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes), 1)
    return struct.pack("<I", len(text)) + text + body


def slice_box(shape: tuple[int, int, int], axis: int, index: int) -> Box:
    """The box of a slice.

    Raises
    ------
    InputError
        There is no such slice.
    """
    if not 0 <= index < shape[axis]:
        raise InputError(f"Slice {index} is not one of the {shape[axis]} (0 to {shape[axis] - 1}).")
    start, stop = [0, 0, 0], list(shape)
    start[axis], stop[axis] = index, index + 1
    return Box(index3(start), index3(stop))


def _possible(ask: Any, user: str) -> bool:
    try:
        ask(user)
    except InputError:
        return False
    return True


def _labelled(annotations: Annotations, history: History, feature: str, axis: int) -> list[int]:
    """The slices along an axis that have labels of a feature, as they are now."""
    if feature not in history.features():
        raise MissingError(f"There is no feature {feature[:80]!r}.")
    found: set[int] = set()
    for block in history.touched(feature):
        with annotations.reading() as (_, layers):
            codes = layers.block(feature, "", block)
        others = tuple(a for a in range(3) if a != axis)
        rows = np.flatnonzero((codes == FEATURE).any(axis=others))
        found.update((rows + block[axis] * BLOCK[axis]).tolist())
    return sorted(found)
