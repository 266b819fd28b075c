"""The files of a verb that has no run folder: which are its own, so that it replaces these and no others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volengine.core.atomic import replacing, write_atomic
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_object

FILES = "files_sha256"
"""Key of the record: its files with their SHA-256; its own is that of its other keys, as JSON."""

WRITING = "writing"
"""Key of the record while files are being written: their names. After a kill they are the verb's, whole or not."""

KEYS = (FILES, WRITING)


class OwnFiles:
    """The files that a verb has written into a folder, as a record among them says.

    Parameters
    ----------
    folder
        The folder.
    record
        Name of the record: a JSON file with facts of the verb, and the digests of all files.
    what
        Who writes them, for messages: ``a sweep``.
    overwrite
        Replace files that are not the verb's, or that somebody has changed.
    """

    def __init__(self, folder: Path, record: str, what: str, overwrite: bool):
        self.folder, self.record, self.what, self.overwrite = folder, record, what, overwrite
        self._before = self._listed()
        self._now: dict[str, str] = {}

    def _listed(self) -> dict[str, str | None]:
        """The files of the record with their digests; ``None``: it was being written."""
        path = self.folder / self.record
        try:
            found = parse_object(path.read_bytes(), str(path))
        except (FileNotFoundError, NotADirectoryError, FormatError, IsADirectoryError):
            return {}  # a record that is none is not the verb's, either
        files, writing = found.pop(FILES, None), found.pop(WRITING, [])
        if not isinstance(files, dict) or not isinstance(writing, list):
            return {}
        names = {str(name): str(sha) for name, sha in files.items()} | dict.fromkeys(map(str, writing))
        if files.get(self.record) == _digest_of(found):
            names[self.record] = hashlib.sha256(path.read_bytes()).hexdigest()
        return {name: sha for name, sha in names.items() if not Path(name).is_absolute() and ".." not in name}

    def check(self, names: Iterable[str] = ()) -> None:
        """Refuse to replace files that are not the verb's own, before anything is computed; its record is one of them.

        Raises
        ------
        InputError
            One is there, and is not as the verb has written it.
        """
        for name in (self.record, *names):
            path = self.folder / name
            if self.overwrite or not path.exists() or self._is_own(name):
                continue
            self._before = self._listed()  # another part of a run may have written it just now
            if not self._is_own(name):
                raise InputError(
                    f"{path} exists, and is not as {self.what} has written it. To keep it, move it or give another "
                    "--out; --overwrite replaces it."
                )

    def _is_own(self, name: str) -> bool:
        path = self.folder / name
        if name not in self._before or not path.is_file():
            return False
        return self._before[name] in (None, _sha256(path))

    def begin(self, names: Sequence[str]) -> None:
        """Check, and note that these files are being written."""
        self.check(names)
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {name: sha for name, sha in self._before.items() if name != self.record}
        ours = [name for name, sha in files.items() if sha is None and name not in names]
        known = {name: sha for name, sha in files.items() if sha is not None}
        self._write({}, known, {WRITING: [*names, *ours]})

    def write(self, name: str, data: bytes | str | Iterable[str], *, durable: bool = True) -> None:
        """Write a file, or its text part by part; it appears when it is complete."""
        digest = hashlib.sha256()
        parts = (data,) if isinstance(data, bytes | str) else data
        with replacing(self.folder / name, parents=True, durable=durable) as file:
            for part in parts:
                content = part.encode() if isinstance(part, str) else part
                digest.update(content)
                file.write(content)
        self._now[name] = digest.hexdigest()

    def finish(self, facts: Mapping[str, Any]) -> list[str]:
        """Remove what an earlier call has left, and write the record; returns what there is to say about others."""
        said = []
        for name in sorted(self._before.keys() - self._now.keys() - {self.record}):
            if self._is_own(name):
                (self.folder / name).unlink()
            elif (self.folder / name).exists():
                said.append(f"{self.folder / name}: of an earlier call, changed since; left as it is.")
        self._write(facts, self._now, {})
        return said

    def _write(self, facts: Mapping[str, Any], files: Mapping[str, str], more: Mapping[str, Any]) -> None:
        known = {**files, self.record: _digest_of(facts)}
        text = json.dumps({**facts, FILES: known, **more}, indent=1)
        write_atomic(self.folder / self.record, text, durable=True)


def _digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, the same before they are written and after they are read."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(facts))).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
