"""What the parts of a run have begun, so that those which take over from a missing part share its units.

Each part appends what it begins to a file of its own in the plan's folder, ``claims/NONCE.jsonl``, named by the random
name of its lock. As long as all parts do their own shares nobody reads these files. A part that takes over makes a mark
first, ``claims/IDENTITY.shared``; from then on each part of that stage looks at what the others have begun before it
begins something. Both write first and look then, so of two that want the same unit at least one sees the other.

A claim holds while the lock of its part stands and its heartbeat goes on. It proves nothing: units are done when they
have receipts, and one that is run twice writes the same bytes twice.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volengine.engine import lock as locks
from volengine.engine.driver_lock import drivers
from volengine.engine.lock import Watch, critical, now_s

FOLDER = "claims"
"""Folder of a plan's folder that holds the claims of the parts."""

LOCK = "claims.lock"
"""Lock in a plan's folder: one part at a time chooses what it takes over."""

LOOK_S = 1.0
"""Seconds between two looks at the locks of the other parts."""


class Living:
    """Which drivers of a run folder are alive: their locks stand, and the heartbeats go on.

    Parameters
    ----------
    run
        The run folder.
    patience_s
        Seconds after which a heartbeat that stands still counts as that of a dead driver: at most the usual time, and
        at least three heartbeats.
    """

    def __init__(self, run: Path, patience_s: float):
        self._run = run
        self._still_s = max(3 * locks.BEAT_S, min(patience_s, locks.STALE_S))
        self._watches: dict[str, Watch] = {}
        self._living: frozenset[str] = frozenset()
        self._looked: float | None = None

    def nonces(self) -> frozenset[str]:
        """Return the random names of the locks of living drivers. The first look only begins to watch them."""
        if self._looked is None or now_s() - self._looked > LOOK_S:
            self._looked = now_s()
            found = {holder.nonce: holder for holder in drivers(self._run).values()}
            self._watches = {nonce: self._watches.get(nonce) or Watch() for nonce in found}
            still = {nonce: self._watches[nonce].still_s(holder) for nonce, holder in found.items()}
            self._living = frozenset(nonce for nonce, seconds in still.items() if seconds <= self._still_s)
        return self._living


@dataclass
class _File:
    """What a part has said so far: how far its file was read, and the numbers that it holds by identity."""

    offset: int = 0
    held: dict[str, set[int]] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        """Read what was appended since the last time; a line that is not whole is read later."""
        try:
            with path.open("rb") as file:
                file.seek(self.offset)
                text = file.read()
        except FileNotFoundError:
            self.held.clear()
            return
        end = text.rfind(b"\n") + 1
        self.offset += end
        for identity, begun, left in _lines(text[:end]):
            numbers = self.held.setdefault(identity, set())
            numbers.update(begun)
            numbers.difference_update(left)


class Claims:
    """The claims of one part in one plan's folder.

    Parameters
    ----------
    folder
        Folder of the plan.
    living
        Which drivers are alive.
    nonce
        Random name of this part's lock.
    """

    def __init__(self, folder: Path, living: Living, nonce: str):
        self._folder, self._living, self._nonce = folder, living, nonce
        self._files: dict[str, _File] = {}

    @property
    def parts(self) -> int:
        """Number of parts that are alive, this one included."""
        return max(1, len(self._living.nonces()))

    def shared(self, identity: str) -> bool:
        """Return whether a part has begun to take over units of this stage."""
        return self._mark(identity).exists()

    def begin(self, identity: str, numbers: Sequence[int]) -> list[int]:
        """Begin units of this part's own share.

        Parameters
        ----------
        identity
            Identity of their stage.
        numbers
            Their numbers.

        Returns
        -------
        Those that no other living part has taken over.
        """
        self._append(identity, begun=numbers)
        return self._kept(identity, numbers) if self.shared(identity) else list(numbers)

    def take(self, identity: str, numbers: Sequence[int]) -> list[int]:
        """Take over units of other parts, as :meth:`begin`; return those that no living part has begun."""
        self._mark(identity).parent.mkdir(parents=True, exist_ok=True)
        self._mark(identity).touch()
        with critical(self._folder / LOCK):
            held = self.held(identity)
            free = [number for number in numbers if number not in held]
            if not free:
                return []
            self._append(identity, begun=free)
            return self._kept(identity, free)  # one whose own unit it is may have begun it in this moment

    def held(self, identity: str) -> set[int]:
        """Return the numbers of the units of a stage that other living parts have begun."""
        living, held = self._living.nonces(), set[int]()
        for path in (self._folder / FOLDER).glob("*.jsonl"):
            if path.stem in living and path.stem != self._nonce:
                known = self._files.setdefault(path.stem, _File())
                known.read(path)
                held |= known.held.get(identity, set())
        return held

    def clear(self) -> None:
        """Remove what earlier runs have left, if no other part is alive."""
        if self.parts == 1:
            shutil.rmtree(self._folder / FOLDER, ignore_errors=True)

    def close(self) -> None:
        """Give up all claims: this part has finished the plan, or it has failed here."""
        self._own.unlink(missing_ok=True)

    @property
    def _own(self) -> Path:
        return self._folder / FOLDER / f"{self._nonce}.jsonl"

    def _mark(self, identity: str) -> Path:
        return self._folder / FOLDER / f"{identity}.shared"

    def _kept(self, identity: str, numbers: Sequence[int]) -> list[int]:
        """Leave to others what they have begun, too."""
        held = self.held(identity)
        left = [number for number in numbers if number in held]
        if left:
            self._append(identity, left=left)
        return [number for number in numbers if number not in held]

    def _append(self, identity: str, begun: Collection[int] = (), left: Collection[int] = ()) -> None:
        line = json.dumps({"identity": identity, "begun": list(begun), "left": list(left)}, separators=(",", ":"))
        self._own.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(self._own, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(number, f"{line}\n".encode())
        finally:
            os.close(number)


def _lines(text: bytes) -> Iterator[tuple[str, Iterable[int], Iterable[int]]]:
    """Yield identity, begun and left numbers of each line; a damaged one claims nothing."""
    for line in text.splitlines():
        try:
            value: Any = json.loads(line)
            found = str(value["identity"]), list(map(int, value["begun"])), list(map(int, value["left"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        yield found
