"""The counting error of ``stats``: the number of found objects, of true objects, and of pairs of both.

A count can be right by accident if as many objects were missed as were found in excess. Therefore recall and precision
are reported as well: found objects are paired one to one with true ones within a radius, as in ``score``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volengine.core.errors import InputError, MissingError
from volengine.ops.score import Pairing, pair_picks, pool
from volengine.tasks.stats.groups import EVERY
from volengine.tasks.stats.objects import Tomogram

Row = dict[str, Any]
NAN = float("nan")


def counting(
    found: Mapping[str, Tomogram], truth: Mapping[str, Tomogram], radius_nm: float, classes: Sequence[str] = ()
) -> tuple[Row, ...]:
    """The counting error of every class of the truth, for all tomograms together and for each one.

    Parameters
    ----------
    found, truth
        Tomograms by name. If there is one of each, their names may differ; so may those of a single class.
    radius_nm
        Largest distance of a pair.
    classes
        Classes to report; default: those of the truth.

    Returns
    -------
    tuple of dict
        Rows with ``tomogram`` (``all`` first), ``class``, ``found``, ``truth``, ``difference`` (found - truth),
        ``percent`` (of the truth), ``paired``, ``recall``, ``precision``, ``f1``, ``error_nm`` (mean distance of the
        pairs).

    Raises
    ------
    MissingError, InputError
        A tomogram has no truth, or inputs and truth have no class in common.
    """
    pairs = _tomograms(found, truth)
    ours = sorted({name for t in found.values() for name in t.classes})
    theirs = sorted({name for t in truth.values() for name in t.classes})
    same = {name: name for name in theirs}
    if len(ours) == 1 and len(theirs) == 1:
        same = {theirs[0]: ours[0]}
    elif not set(ours) & set(theirs):
        raise InputError(
            f"The truth counts {', '.join(theirs) or 'nothing'}, the inputs {', '.join(ours) or 'nothing'}: "
            "no class is in both."
        )
    rows: list[Row] = []
    for name in (n for n in theirs if not classes or n in classes or same[n] in classes):
        matches = {label: _match(found.get(a), same[name], truth.get(b), name, radius_nm) for label, a, b in pairs}
        rows.append(_row(EVERY, same[name], list(matches.values())))
        rows += [_row(label, same[name], [match]) for label, match in sorted(matches.items())]
    return tuple(sorted(rows, key=lambda row: row["tomogram"] != EVERY))


def _tomograms(found: Mapping[str, Tomogram], truth: Mapping[str, Tomogram]) -> list[tuple[str, str, str]]:
    """For each tomogram its label, its name in the inputs, and its name in the truth.

    A true tomogram in which nothing was found is included.
    """
    if len(found) == 1 and len(truth) == 1:
        a, b = next(iter(found)), next(iter(truth))
        return [(a, a, b)]
    missing = sorted(set(found) - set(truth))
    if missing:
        raise MissingError(
            f"There is no truth of tomogram {', '.join(missing[:8])}; there is that of {', '.join(sorted(truth)[:8])}."
        )
    return [(name, name, name) for name in sorted(truth)]


def _match(a: Tomogram | None, of_a: str, b: Tomogram | None, of_b: str, radius_nm: float) -> Pairing:
    places = [
        t.classes[name].position_nm if t is not None and name in t.classes else np.zeros((0, 3))
        for t, name in ((a, of_a), (b, of_b))
    ]
    return pair_picks(places[0], places[1], radius_nm)


def _row(tomogram: str, name: str, matches: Sequence[Pairing]) -> Row:
    whole = pool(matches)
    n, total = whole.n_found, whole.n_truth
    return {
        "tomogram": tomogram,
        "class": name,
        "found": n,
        "truth": total,
        "difference": n - total,
        "percent": 100 * (n - total) / total if total else NAN,
        "paired": len(whole.pairs),
        "recall": whole.recall,
        "precision": whole.precision,
        "f1": whole.f1,
        "error_nm": whole.localisation_error_vox,  # positions were nanometres
    }
