"""The record of a sample, ``sample.json``: what it consists of, and what found no place.

It lists all files of a sample, relative to the folder. When the sample is made again from another recipe, those that
the former list has and the new one has not are deleted: their truth would pass for the new one's.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volengine.tasks.common.layout import join_url

FOLDERS = ("tomograms", "tilts", "ideal", "noise_free", "even", "odd", "specimens", "distances", "picks", "truth")
"""Where a sample's files lie; nothing is deleted elsewhere, whatever a record says."""


def forget_former(out: str, record: str, facts: Mapping[str, Any]) -> list[str]:
    """Delete what the sample's former record lists and the new one does not.

    Parameters
    ----------
    out
        The folder of all samples.
    record
        Where ``sample.json`` lies; the former one, if there is one.
    facts
        The new one's content.

    Returns
    -------
    Files of the sample. If only the choice of what is kept differs, the former files are as good as they were: they
    stay, and in the list.
    """
    from volengine.io.stores import local_copy

    new: list[str] = facts["files"]
    try:
        with local_copy(record) as path:
            former = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # there is none, or nothing that can be relied on
        return new
    left = sorted(set(former.get("files", ())) - set(new))
    if _made_from(former) == _made_from(facts):
        return sorted({*new, *left})
    for place in left:
        if _belongs(place, facts["name"]):
            _delete(join_url(out, place))
    return new


def _belongs(place: str, name: str) -> bool:
    """Whether it is a place that a sample of this name has files in."""
    folder, _, rest = place.partition("/")
    own = re.match(re.escape(name) + r"(\.|__|/)", rest) is not None
    return folder in FOLDERS and own and ".." not in rest.split("/")


def missing(out: str, name: str) -> str:
    """What found no place in a sample, as a line for the user: ``"ribosome: 3 of 40"``; empty if all did.

    A sample that is not finished misses nothing yet.
    """
    from volengine.io.stores import local_copy

    try:
        with local_copy(join_url(out, "truth", name, "sample.json")) as path:
            steps = json.loads(path.read_text())["placed"]
    except FileNotFoundError:
        return ""
    asked: Counter[str] = Counter()
    placed: Counter[str] = Counter()
    for step in steps:
        if step["asked"] is not None:
            asked[step["name"]] += step["asked"]
            placed[step["name"]] += step["placed"]
    return ", ".join(f"{what}: {placed[what]} of {count}" for what, count in asked.items() if placed[what] < count)


def _made_from(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a sample's files follow from."""
    recipe = {key: value for key, value in facts["recipe"].items() if key != "keep"}
    digests = {text: source["digest"] for text, source in facts["structures"].items()}
    return recipe, digests, facts["volengine"]


def _delete(url: str) -> None:
    """A store or a file; one that is not there is no error."""
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
