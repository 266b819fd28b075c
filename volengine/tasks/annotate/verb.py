"""annotate: carry out operations on the annotations of a tomogram; what a page does can be done again by a command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from volengine.core.errors import VolengineError
from volengine.core.paths import PathLike
from volengine.io.annotations.history import Transaction
from volengine.tasks.annotate.images import behind, merge
from volengine.tasks.annotate.operations import checked, telling_done
from volengine.tasks.annotate.store import Annotations


def annotate(
    folder: PathLike, operations: Iterable[Mapping[str, Any]], user: str = "", *, images: bool = True
) -> list[Transaction]:
    """Carry out operations, each as one transaction, and bring the label images up to date.

    Parameters
    ----------
    folder
        The annotations, ``NAME.annotations`` (:func:`volengine.new_annotations` begins them).
    operations
        What to do, in order: strokes, fills, boxes, points, undo and redo, as JSON objects. They are taken one by one,
        so they may come as somebody draws.
    user
        Who does it; default: the name of the process's user.
    images
        Write the label images at the end, for other programs. Reading through :class:`volengine.Annotations` and
        training data do not need them.

    Returns
    -------
    list
        The transactions.

    Raises
    ------
    InputError
        An operation cannot be carried out; those before it are done, and the message says how many.

    Examples
    --------
    >>> import volengine
    >>> volengine.new_annotations("TS_01.mrc", "drawn.annotations", features=("membrane",)).close()
    >>> stroke = {"op": "brush", "feature": "membrane", "slice": 4, "points": [[8, 8], [8, 20]], "radius": 2}
    >>> [one.version for one in volengine.annotate("drawn.annotations", [stroke, {"op": "undo"}], user="ada")]
    [2, 3]
    """
    done: list[Transaction] = []
    with Annotations(folder) as annotations:
        try:
            with telling_done(done):
                for operation in operations:
                    done.append(annotations.do(operation, user))  # noqa: PERF401  # errors tell what is done so far
        except VolengineError:
            with contextlib.suppress(VolengineError, OSError):  # the first error is the one to tell
                if images and done:
                    merge(annotations)
            raise
        if images and done:
            merge(annotations)
    return done


def recorded(folder: PathLike, user: str | None = None) -> list[dict[str, Any]]:
    """Return the operations that were done, by all or by one user, as they can be done again; undo and redo included.

    Versions are those of the annotations: an operation that names one (undo of an earlier stroke) means the same in
    annotations that were made by these operations alone.
    """
    with Annotations(folder) as annotations:
        found = []
        for one, _ in annotations.transactions(user=user):
            asked = annotations.asked(one)
            if one.kind in ("undo", "redo"):
                asked["version"] = one.of
            found.append(checked(asked))
        return found


def annotation_facts(folder: PathLike) -> dict[str, Any]:
    """Return what annotations hold, as JSON values: the tomogram, features with their counts, users, versions."""
    with Annotations(folder) as annotations:
        facts = annotations.facts
        conflicts = annotations.conflicts()
        with annotations.reading() as (history, layers):
            features = [
                {
                    "name": name,
                    "colour": colour,
                    "voxels": layers.count(name),
                    "boxes": len(history.items("box", name)),
                    "points": len(history.items("point", name)),
                    "users": history.layers(name),
                    "conflicts": conflicts[name],
                }
                for name, colour in annotations.features().items()
            ]
            undone = [v for v, one in history.transactions.items() if one.undoable and not history.counts(v)]
            return {
                "tomogram": facts.tomogram,
                "name": facts.name,
                "shape": list(facts.shape),
                "voxel_size": list(facts.voxel_size),
                "version": history.version,
                "base": history.base,
                "undone": len(undone),
                "images_behind": behind(annotations),
                "features": features,
            }
