"""The record of a sample, ``sample.json``: its files, and the particles that could not be placed.

It lists all files of a sample, relative to the folder of all samples. If the sample is made again from another recipe,
files that only the old list has are deleted, so that the truth of the old sample is not taken for that of the new one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError
from volengine.core.json_text import parse_object
from volengine.tasks.common.layout import join_url
from volengine.tasks.simulate.placed import shortfalls

FOLDERS = ("tomograms", "tilts", "ideal", "noise_free", "even", "odd", "specimens", "distances", "picks", "truth")
"""The folders that hold a sample's files. Nothing is deleted outside of them, even if a record lists it."""


def forget_former(out: str, record: str, facts: Mapping[str, Any]) -> list[str]:
    """Delete the files that the old record of a sample lists and the new one does not.

    Parameters
    ----------
    out
        The folder of all samples.
    record
        Path of ``sample.json``; it holds the old record, if there is one.
    facts
        Content of the new record.

    Returns
    -------
    list of str
        Files of the sample. If the recipes differ only in what is kept, old files are still valid: they are not
        deleted, and the list contains them.
    """
    from volengine.io.stores import local_copy

    new: list[str] = facts["files"]
    try:
        with local_copy(record) as path:
            former = parse_object(path.read_bytes(), str(path))
        left = sorted({place for place in former.get("files", ()) if isinstance(place, str)} - set(new))
        same = _made_from(former) == _made_from(facts)
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):  # no record, or a damaged one
        return new
    if same:
        return sorted({*new, *left})
    for place in left:
        if _belongs(place, facts["name"]):
            _delete(join_url(out, place))
    return new


def _belongs(place: str, name: str) -> bool:
    """Whether a path lies where a sample of this name has its files."""
    folder, _, rest = place.partition("/")
    own = re.match(re.escape(name) + r"(\.|__|/)", rest) is not None
    return folder in FOLDERS and own and ".." not in rest.split("/")


def missing(out: str, name: str) -> str:
    """The particles of a sample that could not be placed, as a line of text: ``"ribosome: 3 of 40"``.

    The text is empty if all were placed, or if the sample is not finished.

    Raises
    ------
    FormatError
        The sample's record is damaged.
    """
    try:
        return shortfalls(_placed(out, name))
    except (LookupError, TypeError) as error:
        raise FormatError(f"{out}: the record of the sample {name!r} is damaged ({error}).") from error


def centred(out: str, name: str) -> list[str]:
    """The filaments of a sample whose unit does not lie about its file's z axis and was centred, a sentence each."""
    return [
        f"{step['structure']}: the file's z axis passes {step['axis_gap_a']} A beside its atoms, so the unit is "
        "centred on the axis of the filament; to place it as in the file, mark the axis by a sub-model called origin"
        for step in _placed(out, name)
        if step.get("axis_gap_a")
    ]


def _placed(out: str, name: str) -> list[dict[str, Any]]:
    """What a sample's record says of each step of its placement; nothing if the sample is not finished."""
    from volengine.io.stores import local_copy

    try:
        with local_copy(join_url(out, "truth", name, "sample.json")) as path:
            steps: list[dict[str, Any]] = parse_object(path.read_bytes(), str(path))["placed"]
    except FileNotFoundError:
        return []
    except KeyError:
        raise FormatError(f"{out}: the record of the sample {name!r} is damaged: it has no 'placed'.") from None
    return steps


def _made_from(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """The facts that determine the content of a sample's files."""
    recipe = {key: value for key, value in facts["recipe"].items() if key not in ("keep", "strict")}
    digests = {text: source["digest"] for text, source in facts["structures"].items()}
    return recipe, digests, facts["volengine"]


def _delete(url: str) -> None:
    """Delete a store or a file, if it exists."""
    from volengine.io.omezarr import image as omezarr
    from volengine.io.stores import reached

    if url.endswith(".zarr"):
        omezarr.remove(url)
    elif "://" not in url:
        Path(url).unlink(missing_ok=True)
    else:
        import fsspec

        with reached(url):
            files, _, (place,) = fsspec.get_fs_token_paths(url)
            if files.exists(place):
                files.rm_file(place)
