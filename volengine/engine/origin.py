"""What a volume's plan was made of, its source as it was and its row in a manifest: it tells what has changed since.

The record lies in the plan's folder. It is written when the record of the finished plan has been taken away, and when a
plan is found to be finished as it is; so it is true of whatever is finished there. A folder without one was left by an
earlier version of volengine, or by a verb whose plans have several sources: nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.engine.ledger import PlanFolder
from volengine.io.identity import glance

ORIGIN = "origin.json"

Origin = Mapping[str, Any]
"""``given``: what the user has named; ``url``, ``path``, ``snapshot``: what was opened; ``row``: its parameters in a
manifest, by column. Empty: nothing is known."""

DAMAGED: Origin = {"damaged": True}


def note(folder: PlanFolder, origin: Origin) -> None:
    """Write the record of a plan; one that says the same stays as it is, and so does one of which nothing is said."""
    if origin and recorded(folder) != origin:
        folder.write_json(ORIGIN, origin, durable=False)


def recorded(folder: PlanFolder) -> Origin:
    """Read the record of a plan: empty if there is none, :data:`DAMAGED` if it cannot be read."""
    try:
        found = folder.read_json(ORIGIN)
    except (FormatError, OSError):
        return DAMAGED
    if found is None:
        return {}
    texts = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("given", "url", "path"))
    if not texts or not _is_snapshot(found.get("snapshot")) or not isinstance(found.get("row", {}), dict):
        return DAMAGED
    return dict(found)


def _is_snapshot(value: Any) -> bool:
    """Whether a value is a snapshot, as far as :func:`glance` looks at it; an empty one is of no file or array."""
    if not isinstance(value, dict) or not value:
        return value == {}
    if value.get("how") not in ("quick", "content"):
        return False
    if value.get("kind") == "file":
        return all(type(value.get(key)) is int for key in ("size", "time_ns", "inode"))
    return value.get("kind") == "zarr" and "listing" in value


def unreadable(origin: Origin) -> str:
    """Say that a record is damaged; empty if it is not."""
    return f"{ORIGIN} in its folder is damaged; the next run compares all" if origin.get("damaged") else ""


def source_changed(name: str, origin: Origin, url: str = "") -> str:
    """Say what has changed of the source of a volume; empty if nothing has, or nothing is known.

    Parameters
    ----------
    name
        The volume.
    origin
        Its record.
    url
        Where its source is said to be now. Default: where it was; that it is no longer there then is no change, because
        what was made of it can outlive it.
    """
    if not origin or (said := unreadable(origin)):
        return said if origin else ""
    try:
        found = glance(url or origin["url"], origin["path"], origin["snapshot"])
    except MissingError:
        return f"{url} is gone" if url else ""
    except InputError as error:
        return str(error)
    return f"{url or origin['url']}: {found}" if found else ""
