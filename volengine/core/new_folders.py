"""Folders that do not exist yet, so that they can be removed again if nothing came to lie in them.

>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     new = NewFolders()
...     new.note(pathlib.Path(folder, "results", "run"))
...     pathlib.Path(folder, "results", "run").mkdir(parents=True)
...     new.remove_empty()
...     pathlib.Path(folder, "results").exists()
False
"""

from __future__ import annotations

import contextlib
from pathlib import Path


class NewFolders:
    """Remembers which folders were not there when they were noted."""

    def __init__(self) -> None:
        self._new: set[Path] = set()

    def note(self, path: Path) -> None:
        """Remember a path, and the folders above it, as far as they do not exist now."""
        path = path.absolute()
        while path not in self._new and not path.exists():
            self._new.add(path)
            path = path.parent

    def __contains__(self, path: object) -> bool:
        """Whether a path did not exist when it was noted."""
        return isinstance(path, Path) and path.absolute() in self._new

    def remove_empty(self) -> None:
        """Remove those that are empty folders now, the deepest first; all else stays."""
        for path in sorted(self._new, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # not empty, no folder, or not there
                path.rmdir()
