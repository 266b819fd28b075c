"""The files of a sweep: which are its own, so that a second sweep in the folder replaces these and no others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_object

LIST = "sweep.json"
"""Lists the files with their SHA-256, and what was asked."""


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class OwnFiles:
    """The files that sweeps have written into a folder.

    Parameters
    ----------
    folder
        The folder.
    overwrite
        Replace files that are not the sweep's, or that somebody has changed.

    Raises
    ------
    FormatError
        The list of files is damaged.
    """

    def __init__(self, folder: Path, overwrite: bool):
        self.folder, self.overwrite = folder, overwrite
        self.before = self._listed()
        self.now: dict[str, str] = {}

    def _listed(self) -> dict[str, str]:
        path = self.folder / LIST
        try:
            files = parse_object(path.read_bytes(), str(path)).get("files")
        except FileNotFoundError:
            return {}
        if not isinstance(files, dict):
            if self.overwrite:
                return {}
            raise FormatError(f"{path} is no list of a sweep's files; give another --out, or --overwrite.")
        return {str(name): str(sha) for name, sha in files.items() if not Path(name).is_absolute() and ".." not in name}

    def check(self, names: list[str]) -> None:
        """Refuse to replace files that are not the sweep's own, before anything is computed.

        Raises
        ------
        InputError
            One is there, and is not as a sweep has written it.
        """
        for name in names:
            path = self.folder / name
            if path.exists() and not self.overwrite and not self._is_own(name):
                raise InputError(
                    f"{path} exists, and is not as a sweep has written it; move it, give another --out, or --overwrite."
                )

    def _is_own(self, name: str) -> bool:
        path = self.folder / name
        return path.is_file() and self.before.get(name) == digest(path.read_bytes())

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file; it appears when it is complete."""
        content = data.encode() if isinstance(data, str) else data
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content, durable=True)
        self.now[name] = digest(content)
        self._list({**self.before, **self.now}, {})

    def finish(self, facts: Mapping[str, Any]) -> list[str]:
        """Remove what an earlier sweep has left, and list the files; returns what there is to say about others."""
        said = []
        for name in sorted(set(self.before) - set(self.now)):
            if self._is_own(name):
                (self.folder / name).unlink()
            elif (self.folder / name).exists():
                said.append(f"{self.folder / name}: of an earlier sweep, changed since; left as it is")
        self._list(self.now, facts)
        return said

    def _list(self, files: Mapping[str, str], facts: Mapping[str, Any]) -> None:
        write_atomic(self.folder / LIST, json.dumps({**facts, "files": dict(files)}, indent=1), durable=True)
