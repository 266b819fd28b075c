"""Tags and notes of tomograms, in one JSON file of the project, and selections as lists that verbs take.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     notes = Notes(Path(folder) / "notes.json")
...     _ = notes.write("TS_01", {"tags": ["good"], "note": "thin"})
...     notes.read()
{'TS_01': {'tags': ['good'], 'note': 'thin'}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volengine.core.atomic import write_atomic, write_json
from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_object
from volengine.engine.lock import critical
from volengine.io.annotations.folder import check_name

FORMAT = "volengine notes 1"
MOST_TAGS = 20
LONGEST_NOTE = 4000
ENDING = ".txt"

Note = dict[str, Any]


class Notes:
    """Tags and notes by the names of tomograms.

    Parameters
    ----------
    file
        The file, which is made with the first note.
    """

    def __init__(self, file: Path):
        self.file = file

    def read(self) -> dict[str, Note]:
        """Return the notes of all tomograms.

        Raises
        ------
        FormatError
            The file is damaged.
        """
        try:
            data = self.file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        value = parse_object(data, str(self.file))
        try:
            if value["format"] != FORMAT:
                raise ValueError(f"format {value['format']!r}")
            return {str(name): _checked(one) for name, one in value["tomograms"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"{self.file}: is damaged, or of another version ({error}).") from error

    def write(self, name: str, given: Any) -> Note:
        """Change the note of a tomogram, beside others who do that; return it.

        Parameters
        ----------
        name
            Of the tomogram.
        given
            ``tags``, a list of names, and ``note``, a text; empty ones remove it.

        Raises
        ------
        InputError
            It is no such thing, or the project cannot be written to.
        """
        note = _checked(given)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with critical(self.file.with_name(f".{self.file.name}.lock")):
            every = self.read()
            every.pop(name, None)
            if note["tags"] or note["note"]:
                every[name] = note
            write_json(self.file, {"format": FORMAT, "tomograms": dict(sorted(every.items()))}, durable=True)
        return note


def _checked(given: Any) -> Note:
    if not isinstance(given, Mapping) or set(given) - {"tags", "note"}:
        raise InputError("A note has 'tags' and 'note'.")
    tags, note = given.get("tags", []), given.get("note", "")
    if not isinstance(tags, list) or len(tags) > MOST_TAGS:
        raise InputError(f"Tags are a list of at most {MOST_TAGS} names.")
    if not isinstance(note, str) or len(note) > LONGEST_NOTE:
        raise InputError(f"A note is a text of at most {LONGEST_NOTE} letters.")
    return {"tags": list(dict.fromkeys(check_name(tag, "tag") for tag in tags)), "note": note}


def write_list(folder: Path, name: Any, paths: Sequence[str], *, replace: bool = False) -> Path:
    """Write a selection as a list, a path a line; return its file.

    Parameters
    ----------
    folder
        The folder of lists, made if it is not there.
    name
        Of the selection, without ending.
    paths
        Absolute paths and URLs of tomograms.
    replace
        Replace a list of this name.

    Raises
    ------
    InputError
        The name is none, there is a list of this name, or a path cannot stand in a list.
    """
    file = folder / f"{check_name(name, 'list')}{ENDING}"
    text = text_of_list(paths)
    if file.exists() and not replace:
        raise InputError(f"{file}: there is a list of this name; replace it, or give another name.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(file, text, durable=True)
    return file


def text_of_list(paths: Sequence[str]) -> str:
    """The text of a list of paths; errors as of :func:`write_list`."""
    if not paths:
        raise InputError("Nothing is selected.")
    bad = next((path for path in paths if path != path.strip() or "#" in path or len(path.splitlines()) != 1), None)
    if bad is not None:
        raise InputError(f"{bad}: cannot stand in a list, where # begins a comment; rename it.")
    return "".join(f"{path}\n" for path in paths)


def read_lists(folder: Path, wrong: list[str] | None = None) -> dict[str, list[str]]:
    """The lists of a folder: by name the lines of each, without comments.

    What there is to say of files that cannot be read is appended to ``wrong``.
    """
    found = {}
    for file in sorted(folder.glob(f"[!.]*{ENDING}")):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            if wrong is not None:
                why = error.strerror if isinstance(error, OSError) else "is no text in UTF-8"
                wrong.append(f"{file}: cannot be read as a list ({why}).")
            continue
        found[file.stem] = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return found
