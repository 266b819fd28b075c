"""Whose the files are that lie where a plan writes its products: those of others are not replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from volengine.core.errors import FormatError, InputError
from volengine.engine.outputs import Outputs, sum_of
from volengine.engine.problems import Problem
from volengine.engine.resume import refuse_edited
from volengine.io.stores import local_path, stored_file

if TYPE_CHECKING:
    from volengine.engine.plan import Call

PRODUCTS = "products.json"
"""File of a plan's folder with all places where its plans have begun to write files, and what they have written.

Size and checksum stand beside a place, or ``null``: a run that may have been killed had begun to write it.
"""


def take_places(outputs: Outputs, finished: Mapping[str, Any] | None, former: Iterable[Call] | None) -> None:
    """Make sure that the files that a plan will replace are of earlier plans of its folder, and note that it begins.

    Folders (sets of surfaces) are left to their verbs. The caller holds the lock of the plan's folder, and has not
    withdrawn the record of the last finish yet.

    Parameters
    ----------
    outputs
        Of the plan to run.
    finished
        The record of the last finish; its products must be as it says.
    former
        The calls of the former plan of the folder; what they write counts in a folder that has no record of products.

    Raises
    ------
    InputError
        A file is there that no plan of this folder has written, or that was changed since; with the option
        ``overwrite`` it is replaced.
    """
    folder, last, overwrite = outputs.folder, (finished or {}).get("products", {}), outputs.options.overwrite
    if not overwrite:
        refuse_edited(outputs.lost_products(finished, deep=True))
    try:
        found = folder.read_json(PRODUCTS)
    except FormatError:
        found = None
    record: dict[str, Any] = dict(found) if isinstance(found, dict) else {}
    if found is None and former is not None:
        record |= dict.fromkeys(outputs.written_by(former))
    record |= last
    places = outputs.written_by(outputs.plan.finish)
    for key, place in places.items():
        if key not in last and not overwrite:
            _check(place, key, record)
    folder.write_json(PRODUCTS, {**record, **dict.fromkeys(places)}, durable=outputs.options.durable)


def _check(place: str, key: str, record: Mapping[str, Any]) -> None:
    """Refuse to replace a file, unless it is of this folder and as it was written, or was being written."""
    path = local_path(place)
    if (path is not None and path.is_dir()) or stored_file(place) is None or record.get(key, 0) is None:
        return
    now = list(sum_of(place))
    name = PurePosixPath(key).name
    if any(known and list(known) == now for other, known in record.items() if PurePosixPath(other).name == name):
        return  # as it was written, here or where it was moved from
    if key in record:
        refuse_edited([Problem(place, "damaged", "was changed")])
    raise InputError(
        f"{place} exists, and no run in this run folder has written it. To keep it, move it or give another --out; "
        "--overwrite replaces it."
    )
