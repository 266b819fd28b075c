"""What follows from the transactions of a journal, in the order of their versions.

**The rule.** Every transaction has the next version. One that draws (a stroke) says something about some voxels of a
feature: feature, ignore or background. It counts, or was undone, and may count again. At any version the label of a
voxel is what the latest stroke that counts there has said of it, whoever made it; erasing is saying *background*. To
undo a stroke is to have it as if it had never been made: voxels on which later strokes have drawn keep these, and the
others show what is below. A stroke that counts again has its old place in the order. The layer of a user follows from
this user's strokes alone, by the same rule.

A training box or point is there while the transaction that added it counts, and none that removed it does.

Everybody undoes own transactions only, the latest one or any other. ``redo`` takes back the latest ``undo`` of this
user, until this user does something new; after that, a transaction can be named. Versions up to that of the *base*
(:mod:`volengine.tasks.annotate.compact`) are one: they cannot be shown apart or be undone any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError, InputError
from volengine.io.annotations.journal import Committed

MERGED = ""
"""The layer that is made of all users' strokes; the others have the name of a user."""

Key = tuple[str, str, Index3]
"""Feature, layer and block."""


@dataclass(frozen=True)
class Transaction:
    """One transaction.

    Parameters
    ----------
    version
        Its number; the first one is 1.
    user, time
        Who made it, and when (UTC, ISO 8601).
    kind
        ``feature``, ``stroke``, ``box``, ``point``, ``remove``, ``undo``, ``redo`` or ``base``; of curated picks
        ``edit``.
    feature
        The feature that it is about.
    op
        The operation that was asked for (:mod:`volengine.tasks.annotate.operations`), by its name.
    of
        Of ``undo`` and ``redo``: the version that is undone or counts again. Of ``remove``: that which added the item.
    facts
        Further values: the box of a training box, position and radius of a point, the colour of a feature.
    blocks
        Where the voxels of each block lie in the journal.
    at
        Where the rest is in the journal: what was asked for, with all values; 0 if it is in the base.
    """

    version: int
    user: str
    time: str
    kind: str
    feature: str
    op: str
    of: int
    facts: Mapping[str, Any]
    blocks: Mapping[Index3, int]
    at: int = 0

    @property
    def undoable(self) -> bool:
        """Whether it can be undone."""
        return self.kind in ("stroke", "box", "point", "remove", "edit")


@dataclass
class _Block:
    """The strokes that touch a block of a feature, and how often any of them was undone or redone."""

    versions: list[int] = field(default_factory=list)
    toggles: int = 0


class History:
    """All transactions of a journal, and which of them count at which version."""

    def __init__(self) -> None:
        self.transactions: dict[int, Transaction] = {}
        self.base = 0
        self.base_blocks: dict[Key, int] = {}
        self._blocks: dict[tuple[str, Index3], _Block] = {}
        self._toggles: dict[int, list[tuple[int, bool]]] = {}
        self._undone: dict[str, list[int]] = {}
        self._own: dict[str, list[int]] = {}
        self._features: list[Transaction] = []
        self.users: set[str] = set()
        self._items: dict[int, Transaction] = {}
        self._removed: dict[int, list[int]] = {}

    @property
    def version(self) -> int:
        """The version of the last transaction; 0 if there is none."""
        return max(self.base, next(reversed(self.transactions), 0))

    def add(self, committed: Committed, where: str) -> None:
        """Add the next transaction of a journal.

        Raises
        ------
        FormatError
            It is no transaction, or not the next one.
        """
        try:
            self._add(committed)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{where}: a transaction lacks or mistakes {error}; the journal is damaged.") from error

    def _add(self, committed: Committed) -> None:
        facts = dict(committed.facts)
        facts.pop("after")
        indices = [index3(one) for one in facts.pop("blocks")]
        version, kind = int(facts.pop("version")), str(facts.pop("kind"))
        if kind == "base":
            self._add_base(version, facts, list(zip(indices, committed.blocks, strict=True)))
            return
        if version != self.version + 1:
            raise ValueError(f"version {self.version + 1}: it has {version}")
        one = Transaction(
            version,
            str(facts.pop("user")),
            str(facts.pop("time")),
            kind,
            str(facts.pop("feature", "")),
            str(facts.pop("what")["op"]),
            int(facts.pop("of", 0)),
            facts,
            dict(zip(indices, committed.blocks, strict=True)),
            committed.at,
        )
        self.transactions[version] = one
        self.users.add(one.user)
        if kind in ("undo", "redo"):
            self._toggle(one)
        elif kind == "feature":
            self._features.append(one)
        else:
            self._act(one)

    def _act(self, one: Transaction) -> None:
        if one.kind in ("box", "point"):
            self._items[one.version] = one
        elif one.kind == "remove":
            self._removed.setdefault(one.of, []).append(one.version)
        elif one.kind not in ("stroke", "edit"):
            raise ValueError(f"kind: {one.kind!r} is not known")
        for block in one.blocks:
            self._blocks.setdefault((one.feature, block), _Block()).versions.append(one.version)
        self._own.setdefault(one.user, []).append(one.version)
        self._undone.pop(one.user, None)

    def _toggle(self, one: Transaction) -> None:
        target = self.transactions[one.of]
        if target.user != one.user or not target.undoable or self.counts(target.version) == (one.kind == "redo"):
            raise ValueError(f"of: {one.of}")
        self._toggles.setdefault(target.version, []).append((one.version, one.kind == "redo"))
        stack = self._undone.setdefault(one.user, [])
        if one.kind == "undo":
            stack.append(target.version)
        elif target.version in stack:
            stack.remove(target.version)
        for block in target.blocks:
            self._blocks[target.feature, block].toggles += 1

    def _add_base(self, version: int, facts: Mapping[str, Any], blocks: list[tuple[Index3, int]]) -> None:
        if self.version:
            raise ValueError("a base that is the first transaction")
        self.base = version
        for (block, start), (feature, layer) in zip(blocks, facts["layers"], strict=True):
            self.base_blocks[str(feature), str(layer), block] = start
            self.users.add(str(layer))
        self.users.discard(MERGED)
        for kept in facts["kept"]:
            user, time, what, feature, op = (str(kept[k]) for k in ("user", "time", "kind", "feature", "op"))
            one = Transaction(int(kept["version"]), user, time, what, feature, op, 0, dict(kept["facts"]), {})
            if one.kind == "feature":
                self._features.append(one)
            else:
                self._items[one.version] = one

    # -- what counts -------------------------------------------------------------------------------------------

    def check(self, version: int | None) -> int:
        """Return a version that can be shown: the given one, or the last.

        Raises
        ------
        InputError
            There is no such version, or it is older than the base.
        """
        if version is None:
            return self.version
        if not self.base <= version <= self.version:
            kept = f"{self.base} to {self.version}" + (" (earlier ones were compacted)" if self.base else "")
            raise InputError(f"There is no version {version}; there are {kept}.")
        return version

    def counts(self, version: int, at: int | None = None) -> bool:
        """Return whether a transaction counts, at a version of the journal (default: the last)."""
        counts = True
        for when, redone in self._toggles.get(version, ()):
            if at is not None and when > at:
                break
            counts = redone
        return counts

    def strokes(self, feature: str, block: Index3, at: int, layer: str = MERGED) -> list[Transaction]:
        """Return the strokes after the base that count in a block at a version, in order; of one user, or of all."""
        found = self._blocks.get((feature, block))
        ones = (self.transactions[v] for v in (found.versions if found else ()) if v <= at)
        return [one for one in ones if layer in (MERGED, one.user) and self.counts(one.version, at)]

    def stamp(self, feature: str, block: Index3) -> tuple[int, int]:
        """Return how many strokes touch a block, and how often any of them was undone or redone."""
        found = self._blocks.get((feature, block))
        return (len(found.versions), found.toggles) if found else (0, 0)

    def since(self, feature: str, block: Index3, count: int) -> Iterable[Transaction]:
        """Return the strokes that touch a block after the first ``count`` of them."""
        found = self._blocks.get((feature, block))
        return [self.transactions[v] for v in found.versions[count:]] if found else []

    def touched(self, feature: str, layer: str = MERGED) -> list[Index3]:
        """Return the blocks of a layer on which anybody has ever drawn, sorted; strokes that were undone included."""
        blocks = {block for f, name, block in self.base_blocks if (f, name) == (feature, layer)}
        for (f, block), found in self._blocks.items():
            if f == feature and (layer == MERGED or any(self.transactions[v].user == layer for v in found.versions)):
                blocks.add(block)
        return sorted(blocks)

    def is_touched(self, feature: str, layer: str, block: Index3) -> bool:
        """Return whether anything may have been drawn in a block."""
        return (feature, block) in self._blocks or (feature, layer, block) in self.base_blocks

    def changed(self, after: int) -> dict[str, set[Index3]]:
        """Return, for each feature, the blocks in which anything may have changed after a version."""
        found: dict[str, set[Index3]] = {}
        for one in self.transactions.values():
            if one.version > after:
                target = self.transactions[one.of] if one.kind in ("undo", "redo") else one
                if target.kind == "stroke":
                    found.setdefault(target.feature, set()).update(target.blocks)
        return found

    def layers(self, feature: str) -> list[str]:
        """Return the users who have ever drawn a feature, sorted."""
        users = {name for f, name, _ in self.base_blocks if f == feature and name != MERGED}
        return sorted(
            users | {t.user for t in self.transactions.values() if t.kind == "stroke" and t.feature == feature}
        )

    # -- features, boxes, points -------------------------------------------------------------------------------

    def features(self, at: int | None = None) -> dict[str, Mapping[str, Any]]:
        """Return the features at a version, in the order in which they came, with their facts."""
        found: dict[str, Mapping[str, Any]] = {}
        for one in self._features:
            if at is None or one.version <= at:
                found[one.feature] = {**found.get(one.feature, {}), **one.facts}
        return found

    def items(self, kind: str, feature: str | None = None, at: int | None = None) -> list[Transaction]:
        """Return the training boxes (``box``) or points (``point``) at a version, in order."""
        last = self.version if at is None else at
        found = []
        for one in self._items.values():
            if one.kind != kind or one.version > last or feature not in (None, one.feature):
                continue
            removed = any(v <= last and self.counts(v, last) for v in self._removed.get(one.version, ()))
            if not removed and self.counts(one.version, last):
                found.append(one)
        return found

    # -- undo --------------------------------------------------------------------------------------------------

    def to_undo(self, user: str, version: int | None = None) -> Transaction:
        """Return what ``undo`` of a user means: the latest own transaction that counts, or the given one.

        Raises
        ------
        InputError
            There is none, it is another user's, or it does not count already.
        """
        if version is None:
            last = next((v for v in reversed(self._own.get(user, ())) if self.counts(v)), None)
            if last is None:
                raise InputError(f"{user} has nothing to undo.")
            return self.transactions[last]
        one = self._named(user, version)
        if not self.counts(version):
            raise InputError(f"Version {version} was undone already.")
        return one

    def to_redo(self, user: str, version: int | None = None) -> Transaction:
        """Return what ``redo`` of a user means: the transaction that was undone last, or the given one.

        Raises
        ------
        InputError
            There is none, it is another user's, or it counts.
        """
        if version is None:
            stack = self._undone.get(user)
            if not stack:
                raise InputError(
                    f"{user} has nothing to redo: nothing was undone since the last own transaction. An earlier one "
                    "is redone by its version."
                )
            return self.transactions[stack[-1]]
        one = self._named(user, version)
        if self.counts(version):
            raise InputError(f"Version {version} was not undone.")
        return one

    def _named(self, user: str, version: int) -> Transaction:
        if 1 <= version <= self.base:
            raise InputError(f"Version {version} was compacted; what is older than {self.base + 1} cannot be undone.")
        one = self.transactions.get(version)
        if one is None:
            raise InputError(f"There is no version {version}; the last one is {self.version}.")
        if one.user != user:
            raise InputError(f"Version {version} is {one.user}'s; {user} undoes and redoes own transactions only.")
        if not one.undoable:
            raise InputError(f"Version {version} is {one.kind!r}, which cannot be undone.")
        return one
