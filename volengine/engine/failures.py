"""Which units have failed in which part of a run, so that the other parts do not wait for them.

A part whose unit has failed, for good, gives the plan up. What it notes here, in a file of its own in the run folder
(``failures/NONCE.jsonl``, named by the random name of its lock), is read by parts that wait for that unit. If the error
is about the input they give the plan up, too: they would read the same. If it is another one, of a machine perhaps, one
of them takes the unit over at once; after two parts have failed at it, nobody tries any more.

Notes of parts that had ended before a part began are not its own run's, as far as it knows, and say nothing to it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError, RunError
from volengine.engine.driver_lock import drivers

FOLDER = "failures"
"""Folder of the run folder that holds the notes of the parts."""

TRIES = 2
"""Number of parts that try a unit whose error is not about the input."""

LONGEST = 2000
"""Letters of an error that are noted."""


@dataclass(frozen=True)
class Failure:
    """A unit that has failed in a part, after all of its retries.

    Parameters
    ----------
    part
        ``"K/N"``.
    identity, stage, number
        The unit.
    final
        Whether the error is about the input, so that it would come in every part.
    error
        The error as text.
    """

    part: str
    identity: str
    stage: str
    number: int
    final: bool
    error: str

    def to_error(self) -> Exception:
        """Return the error with which a plan ends here, too."""
        text = f"unit {self.number} of {self.stage} failed in part {self.part}: {self.error}"
        return InputError(text) if self.final else RunError(text)


class Failures:
    """The notes of one part, and those of the others.

    Parameters
    ----------
    run
        The run folder.
    part
        This part, ``"K/N"``.
    nonce
        Random name of its lock.
    """

    def __init__(self, run: Path, part: str, nonce: str):
        self._folder, self._part, self._nonce = run / FOLDER, part, nonce
        living = {holder.nonce for holder in drivers(run).values()}
        if living <= {nonce}:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._earlier = {path.stem for path in self._files()} - living
        self._read: dict[Path, int] = {}
        self._known: dict[str, list[Failure]] = {}

    def note(self, identity: str, stage: str, number: int, error: BaseException, *, final: bool) -> None:
        """Note that a unit has failed here, so that the plan was given up."""
        text = (str(error) or repr(error))[:LONGEST]
        found = Failure(self._part, identity, stage, number, final, text)
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{self._nonce}.jsonl").open("a") as file:
            file.write(json.dumps(asdict(found), separators=(",", ":")) + "\n")

    def of(self, identity: str) -> list[Failure]:
        """Return what has failed in other parts of a stage; the files are read on from where they ended last."""
        for path in self._files():
            if path.stem not in self._earlier and path.stem != self._nonce:
                for failure in self._news(path):
                    self._known.setdefault(failure.identity, []).append(failure)
        return self._known.get(identity, [])

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _news(self, path: Path) -> Iterator[Failure]:
        """What was appended to a file; a line that is not whole is read later, a damaged one says nothing."""
        try:
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
        except OSError:
            return
        end = text.rfind(b"\n") + 1
        self._read[path] = self._read.get(path, 0) + end
        for line in text[:end].splitlines():
            if (found := _failure(line)) is not None:
                yield found


def _failure(line: bytes) -> Failure | None:
    try:
        value: Any = json.loads(line)
        texts = [value[name] for name in ("part", "identity", "stage", "error")]
        if all(isinstance(text, str) for text in texts) and isinstance(value["final"], bool):
            part, identity, stage, error = texts
            return Failure(part, identity, stage, int(value["number"]), value["final"], error)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None
