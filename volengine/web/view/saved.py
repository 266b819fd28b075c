"""Saved views: states of the viewer in a folder, a file for each, named by what it holds.

The same view saved twice is one file, and what is written is never changed, so several servers may share a folder.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     views = SavedViews(Path(folder) / "views")
...     name = views.save("TS_01", "the break", {"layers": []})
...     views.read(name)["title"], [one["tomogram"] for one in views.listed()]
('the break', ['TS_01'])
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from volengine import __version__
from volengine.core.atomic import write_json
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.web.view.state import check_state

FORMAT = "volengine view 1"
MOST = 2000
"""Views that a folder may hold."""
LONGEST_TITLE = 200
LARGEST = 4_000_000
"""Bytes of a file."""
_NAME = re.compile(r"[0-9a-f]{16}")


def default_folder() -> Path:
    """The user's folder of saved views: ``volengine/views`` in ``$XDG_STATE_HOME``, or else in ``~/.local/state``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "volengine" / "views"


class SavedViews:
    """The saved views of a folder, which is made when the first one is saved.

    Parameters
    ----------
    folder
        The folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, tomogram: str, title: str, state: Any) -> str:
        """Save a view.

        Parameters
        ----------
        tomogram
            Name of the tomogram that it shows.
        title
            What people call it; may be empty.
        state
            The viewer's state, with ``{data}`` for the address of the data.

        Returns
        -------
        str
            Its name, 16 hexadecimal digits.

        Raises
        ------
        InputError
            It is no view, or there are too many.
        """
        if not isinstance(tomogram, str) or not isinstance(title, str) or len(title) > LONGEST_TITLE:
            raise InputError(f"A view has the name of its tomogram, and a title of at most {LONGEST_TITLE} letters.")
        kept = {"tomogram": tomogram, "title": title.strip(), "state": check_state(state)}
        name = sha256(json.dumps(kept, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        if not self._file(name).exists():
            if len(list(self.folder.glob("*.json"))) >= MOST:
                raise InputError(f"{self.folder}: holds {MOST} views; remove some.")
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(
                self._file(name), {"format": FORMAT, "volengine": __version__, "saved": now, **kept}, durable=True
            )
        return name

    def read(self, name: str) -> dict[str, Any]:
        """A saved view: ``tomogram``, ``title``, ``saved``, ``state``.

        Raises
        ------
        MissingError
            There is none of this name.
        FormatError
            Its file is damaged.
        InputError
            It asks for something of elsewhere.
        """
        if not _NAME.fullmatch(name) or not self._file(name).is_file():
            raise MissingError(
                f"There is no saved view {name[:40]!r} in {self.folder}; was it saved in another folder?"
            )
        file = self._file(name)
        try:
            if file.stat().st_size > LARGEST:
                raise ValueError("too large")
            found = json.loads(file.read_text())
            if found["format"] != FORMAT:
                raise ValueError(f"not {FORMAT!r}")
            texts = {key: found[key] for key in ("tomogram", "title", "saved")}
            if not all(isinstance(text, str) for text in texts.values()):
                raise ValueError("a name is no text")
            state = found["state"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FormatError(f"{file}: is no saved view, or damaged ({error}).") from error
        return {**texts, "state": check_state(state)}

    def listed(self) -> list[dict[str, str]]:
        """Name, tomogram, title and time of all views that can be read, the newest first."""
        found = []
        for file in self.folder.glob("*.json"):
            try:
                view = self.read(file.stem)
            except (InputError, OSError):
                continue
            found.append({"name": file.stem, **{key: view[key] for key in ("tomogram", "title", "saved")}})
        return sorted(found, key=lambda one: one["saved"], reverse=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"
