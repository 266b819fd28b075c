"""What the last calls of plans on surfaces share: inputs that are still the same, and what is kept for users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.io.identity import check_unchanged
from volengine.tasks.common.set_read import SetRead, check_files

NOTED = "notes.json"
"""File of a plan's folder with the sentences for the user and the further files that were written."""


def check_given(given: Mapping[str, Any]) -> None:
    """Refuse inputs that are not those that were planned.

    Parameters
    ----------
    given
        What a plan says of its inputs: ``set``, ``others`` (sets), ``volumes``, ``files`` (identities by their
        paths), ``how``.

    Raises
    ------
    ChangedError
        One has changed.
    """
    for one in (given["set"], *given.get("others", {}).values()):
        SetRead.from_json(one).check(given["how"])
    for volume in given["volumes"].values():
        check_unchanged(Volume.from_json(volume))
    check_files(given["files"], given["how"])


def note(folder: str, notes: Sequence[str], files: Sequence[str] = (), empty: str = "", **more: Any) -> None:
    """Keep what is said to the user in the plan's folder.

    Parameters
    ----------
    folder
        The plan's folder.
    notes
        Sentences.
    files
        Further files that were written.
    empty
        Why nothing was found; empty if something was.
    more
        Further JSON values.
    """
    PlanFolder(folder).write_json(NOTED, {"notes": list(notes), "files": list(files), "empty": empty, **more})


def noted(folder: PlanFolder) -> dict[str, Any]:
    """What :func:`note` has kept; nothing if that is gone."""
    found = folder.read_json(NOTED)
    return {"notes": [], "files": [], "empty": "", **(found if isinstance(found, dict) else {})}
