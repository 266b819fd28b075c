"""Compaction: old transactions become one, the *base*, so that a journal of years stays small and opens quickly.

What is seen stays the same, voxel by voxel, in all layers, and so do boxes, points, features and the numbers of the
versions that are kept. What is lost: transactions up to the base can no longer be undone or redone one by one, or be
shown at versions between.

The new journal is written beside the old one and takes its place in one step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.io.annotations.blocks import packed
from volengine.io.annotations.folder import JOURNAL
from volengine.io.annotations.history import MERGED, History, Transaction
from volengine.io.annotations.journal import Journal, Transcribed, create_journal
from volengine.io.annotations.layers import Layers
from volengine.tasks.annotate.store import Annotations


def compact(annotations: Annotations, keep: int = 1000) -> int:
    """Make one transaction of all but the last ones.

    Parameters
    ----------
    annotations
        Open annotations; other processes may have them open, too.
    keep
        How many of the last transactions stay as they are; more, if one of them undid an earlier one.

    Returns
    -------
    int
        The version of the base: later transactions can be undone.
    """
    if keep < 0:
        raise InputError(f"compact: {keep} transactions cannot be kept; give 0 or more.")
    with annotations.alone() as (history, layers):
        base = _cut(history, keep)
        if base > history.base:
            journal = annotations.folder / JOURNAL
            with Journal(journal) as old:
                old.refresh()
                create_journal(journal, _transcribed(history, layers, old, base))
    annotations.refresh()
    return base


def _cut(history: History, keep: int) -> int:
    """The last version that goes into the base: no later transaction undoes or redoes one up to it."""
    cut = max(history.base, history.version - keep)
    for one in reversed(history.transactions.values()):
        if one.kind in ("undo", "redo") and one.version > cut:
            cut = min(cut, one.of - 1)
    return max(history.base, cut)


def _transcribed(history: History, layers: Layers, old: Journal, base: int) -> Iterator[Transcribed]:
    features = history.features(base)
    names = [(f, layer) for f in features for layer in (MERGED, *history.layers(f))]
    said: list[tuple[str, str]] = []

    def blocks() -> Iterator[tuple[Index3, bytes]]:
        for feature, layer in names:
            for block in history.touched(feature, layer):
                body = packed(block, layers.block(feature, layer, block, base))
                if body:
                    said.append((feature, layer))
                    yield block, body

    added = [_kept(base, "feature", name, facts) for name, facts in features.items()]
    items = [one for kind in ("box", "point") for one in history.items(kind, at=base)]
    kept = [*added, *(_said(one) for one in sorted(items, key=lambda one: one.version))]
    yield {"version": base, "kind": "base", "layers": said, "kept": kept}, blocks()
    for one in history.transactions.values():
        if one.version > base:
            yield old.facts(one.at), ((block, old.body(at)) for block, at in one.blocks.items())


def _kept(version: int, kind: str, feature: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return _said(Transaction(version, "", "", kind, feature, kind, 0, facts, {}))


def _said(one: Transaction) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("version", "user", "time", "kind", "feature", "op", "facts")}
