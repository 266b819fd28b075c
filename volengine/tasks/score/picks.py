"""Scores of picks: pair them one to one with known positions within a radius, per feature, over all tomograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.io.names import (
    PICKS_SUFFIXES,
    another_of_series,
    same_tomogram,
)
from volengine.io.picks.rows import Known
from volengine.ops.score import Pairing, pair_picks, pool
from volengine.tasks.common.kinds import is_picks
from volengine.tasks.common.layout import feature_named
from volengine.tasks.common.lying import Asked, lattice_of, same_voxels, table_on
from volengine.tasks.common.named import feature_in, feature_note
from volengine.tasks.common.origins import beside_volumes, from_first_note, outside_note
from volengine.tasks.common.stated import moved, on_volumes
from volengine.tasks.score.inputs import Where
from volengine.tasks.score.table import NOTHING, Scores

Tomograms = dict[str, Picks]


def score_picks(
    prediction: Where,
    truth: Where,
    features: Sequence[str],
    radius_nm: float,
    voxel_size: float | None = None,
    *,
    asked: Asked = Asked(),  # noqa: B008
    volumes: Mapping[str, Known] | None = None,
) -> Scores:
    """Precision, recall, F1 and localisation error of picks.

    Parameters
    ----------
    prediction, truth
        Tables of picks, of one tomogram or of several; or a table for each feature.
    features
        Features to score; a single one also names tables that do not state their feature. Empty: all.
    radius_nm
        Largest distance of a pair. Picks and known positions are paired one to one: as many pairs as possible, and of
        these choices the one with the smallest sum of distances.
    voxel_size
        Voxel size in angstrom, for tables that do not state it.
    asked
        How tables with other voxels lie on each other (:mod:`volengine.tasks.common.lying`), and whether tables that
        state different origins are compared (:mod:`volengine.tasks.common.origins`).
    volumes
        Voxel size, shape and origin of tomograms, by name: only rows of these tomograms count, and what tables do not
        state is theirs. Without them a table that lacks its shape takes that of the other table.

    Returns
    -------
    Scores
        One row per feature, over all tomograms. For the confusion, the picks of all features are paired together, so
        that it shows how many picks lie on particles of another feature.

    Raises
    ------
    InputError, MissingError
        A feature or a tomogram has no truth, a file is not a table of picks, two tables state different origins or
        extents, or nothing says how their voxels lie on each other, and that decides about pairs.
    """
    if not is_picks(truth):
        raise InputError(f"{prediction} holds picks; the truth must be picks too, not {truth}.")
    reader = _Reader(features, voxel_size, volumes or {}, asked, radius_nm)
    found, known = reader.both(prediction, truth)
    found = _as_stated(found, known)
    if len(found) == 1 and len(known) == 1:
        stated = [_stated(*side) for side in ((prediction, found), (truth, known))]
        if all(len(side) == 1 for side in stated):
            reader.notes.append(feature_note(min(stated[0]), min(stated[1])))
        name = (*features, *found)[0]
        found, known = {name: next(iter(found.values()))}, {name: next(iter(known.values()))}
    names = list(features or found)
    for feature in names:
        for what, tables in (("picks", found), ("known positions", known)):
            if feature not in tables:
                raise MissingError(f"There are no {what} of {feature!r}; there are {', '.join(tables)}.")
    tomograms, left_out = _tomograms([found[f] for f in names], [known[f] for f in names])
    notes = [*reader.notes, left_out]
    for a, b in tomograms:
        sides = ((known, b, "known positions"), (found, a, "picks"))
        places = [(side[f], name) for side, name, _ in sides for f in names if name in side[f]]
        given = [(what, side[f][name]) for side, name, what in sides for f in names if name in side[f]]
        laid, more = _laid(given, asked, radius_nm)
        notes += more
        for (side, name), picks in zip(places, laid, strict=True):
            side[name] = picks
    rows = [_row(f, [(found[f].get(a), known[f].get(b)) for a, b in tomograms], radius_nm) for f in names]
    matrix = np.zeros((len(names) + 1,) * 2, np.int64)
    for a, b in tomograms:
        matrix += _confusion([found[f].get(a) for f in names], [known[f].get(b) for f in names], radius_nm)
    confusion = tuple(tuple(int(v) for v in row) for row in matrix)
    facts = {"predictions": _names(prediction), "truth": _names(truth), "radius_nm": radius_nm}
    if any(notes):
        facts["notes"] = list(dict.fromkeys(filter(None, notes)))
    return Scores("picks", tuple(rows), (NOTHING, *names), confusion, facts)


def _names(where: Where) -> Any:
    if isinstance(where, Mapping):
        return {feature: Path(path).name for feature, path in where.items()}
    return Path(where).name


class _Reader:
    """Reads tables of picks, with what is known about their tomograms."""

    def __init__(
        self,
        features: Sequence[str],
        voxel_size: float | None,
        volumes: Mapping[str, Known],
        asked: Asked,
        radius_nm: float,
    ):
        self.asked, self.radius_nm = asked, radius_nm
        self.features = features
        self.size = None if voxel_size is None else (voxel_size,) * 3
        self.volumes = volumes
        self.notes: list[str] = []

    def both(self, prediction: Where, truth: Where) -> tuple[dict[str, Tomograms], dict[str, Tomograms]]:
        """The picks and the known positions; if one side lacks the shape of its tomogram, the other one may have it."""
        if self.volumes:
            return self.read(prediction), self.read(truth)
        found, failed = self._attempt(prediction)
        known, also = self._attempt(truth)
        error = failed or also
        if error is None:
            return found, known
        tables = [picks for side in (found, known) for tomograms in side.values() for picks in tomograms.values()]
        self.volumes = {
            one.tomogram: Known(one.voxel_size, shape=one.shape, volume_origin=one.origin if any(one.origin) else None)
            for one in tables
            if one.shape
        }
        if not self.volumes:
            raise InputError(f"{error} To take these from a tomogram, give it as --volume.") from error
        return self.read(prediction), self.read(truth)

    def _attempt(self, where: Where) -> tuple[dict[str, Tomograms], InputError | None]:
        """The picks of a side; or the error that says which fact is missing."""
        try:
            return self.read(where), None
        except InputError as error:
            if type(error) is not InputError:
                raise
            return {}, error

    def read(self, where: Where) -> dict[str, Tomograms]:
        """The picks of each feature, by tomogram."""
        if isinstance(where, Mapping):
            return {feature: self._file(path) for feature, path in where.items()}
        path = Path(where)
        if path.is_dir():
            return self._folder(path)
        tables = self._file(path)
        stated = {picks.feature for picks in tables.values()} - {""}
        name = next(iter(stated)) if len(stated) == 1 else feature_named(path.stem.rpartition("__")[2])
        return {(self.features[0] if len(self.features) == 1 else name): tables}

    def _folder(self, folder: Path) -> dict[str, Tomograms]:
        out: dict[str, Tomograms] = {}
        for file in sorted(p for p in folder.iterdir() if p.suffix.lower() in PICKS_SUFFIXES):
            tomogram, _, feature = file.stem.rpartition("__")
            feature = feature_named(feature) or file.stem
            for name, picks in self._file(file, required=False).items():
                known = out.setdefault(feature, {})
                key = name if self.volumes else tomogram or name
                if key in known:
                    raise InputError(f"{file}: {feature!r} of tomogram {key!r} is in another file of this folder too.")
                known[key] = picks
        if not out and self.volumes:
            raise InputError(f"{folder}: no table has rows of {', '.join(self.volumes)}.")
        return out

    def _file(self, path: str | Path, required: bool = True) -> Tomograms:
        from volengine.io.picks import read_all
        from volengine.io.picks.of_volumes import read_of

        if not self.volumes:
            tables = read_all(path, voxel_size=self.size)
            self.notes.append(from_first_note(path))
            return tables
        tables, said = read_of(path, self.volumes, required=required)
        self.notes += [said] if tables else []
        self.notes += beside_volumes(tables, self.volumes, str(path), accept=self.asked.any_origin)
        tables, said_of_voxels = on_volumes(path, tables, self.volumes, self.asked, self.radius_nm)
        self.notes += said_of_voxels
        self.notes += [f"{path}: {note}" for note in map(outside_note, tables.values()) if note]
        return tables


def _stated(where: Where, found: Mapping[str, Tomograms]) -> set[str]:
    """The features that the one table of a side states, or its file's name."""
    stated = {picks.feature for tables in found.values() for picks in tables.values()} - {""}
    if not stated and not isinstance(where, Mapping) and not Path(where).is_dir():
        stated = {feature_in(Path(where).stem)} - {""}
    return stated


def _as_stated(found: dict[str, Tomograms], known: Mapping[str, Tomograms]) -> dict[str, Tomograms]:
    """Picks of files that are named by something else, such as the surfaces they lie on, by the feature they state."""
    names = {}
    for feature, tables in found.items():
        stated = {picks.feature for picks in tables.values()} - {""}
        names[feature] = next(iter(stated)) if feature not in known and len(stated) == 1 else feature
    taken = list(names.values())
    good = {old: new for old, new in names.items() if new in known and taken.count(new) == 1}
    return {good.get(feature, feature): tables for feature, tables in found.items()}


def _tomograms(found: Sequence[Tomograms], known: Sequence[Tomograms]) -> tuple[list[tuple[str, str]], str]:
    """Pairs of tomogram names, in the picks and in the truth, and what there is to say about rows that do not count.

    Picks of one tomogram are compared with the rows of this tomogram. For picks of several, all tomograms of the truth
    count, also those in which nothing was found.
    """
    ours, theirs = (list(dict.fromkeys(n for tables in side for n in tables)) for side in (found, known))
    if len(ours) == len(theirs) == 1:
        other = another_of_series(ours[0], theirs[0])
        note = f"The picks are of {ours[0]!r}, the known positions of {theirs[0]!r}: are they of one tomogram?"
        return [(ours[0], theirs[0])], note if other else ""
    pairs: dict[str, str] = {}
    for name in ours:
        fit = same_tomogram(name, theirs)
        if fit is None:
            raise MissingError(
                f"There are no known positions of tomogram {name!r}; there are those of {', '.join(theirs)}. Give "
                "the tomograms that count (--volume), or a table of these alone (volengine picks convert --tomogram)."
            )
        if fit in pairs:
            raise InputError(f"There are picks of {pairs[fit]!r} and of {name!r}, which both mean tomogram {fit!r}.")
        pairs[fit] = name
    if len(ours) == 1:
        (one,) = pairs
        rows, every = (sum(len(t[n]) for t in known for n in names if n in t) for names in ([one], theirs))
        return [(pairs[one], one)], f"Known positions: {rows} of {every} rows, as those of {one!r}."
    return [(pairs.get(name, name), name) for name in theirs], ""


def _places(picks: Picks | None) -> NDArray[np.float64]:
    return np.zeros((0, 3)) if picks is None else picks.place


def _laid(tables: Sequence[tuple[str, Picks]], asked: Asked, radius_nm: float) -> tuple[list[Picks], list[str]]:
    """The tables of one tomogram at their places in the voxels of the first one, and what there is to say of these.

    An origin that only one of two tables states says nothing where their voxels are the same.
    """
    made, notes = list[Picks](), list[str]()
    lattices = [lattice_of(picks, f"{picks.tomogram!r} ({what})") for what, picks in tables]
    for mine, (_, picks) in zip(lattices, tables, strict=True):
        lies = table_on(lattices[0], mine, asked, radius_nm)
        both = any(lattices[0].origin) and any(mine.origin)
        notes += lies.notes if both or not same_voxels(lattices[0], mine) else []
        made.append(moved(picks, lies.grid.offset))
    return made, notes


def _row(feature: str, pairs: Sequence[tuple[Picks | None, Picks | None]], radius_nm: float) -> dict[str, Any]:
    matches: list[Pairing] = []
    sides: list[float] = []
    for picks, truth in pairs:
        matches.append(pair_picks(_places(picks), _places(truth), radius_nm * NM_TO_ANGSTROM))
        sides.append(min(truth.voxel_size) if truth is not None else np.nan)
    whole = pool(matches)
    voxels = np.concatenate([m.distance_vox / side for m, side in zip(matches, sides, strict=True)])
    return {
        "feature": feature,
        "precision": whole.precision,
        "recall": whole.recall,
        "f1": whole.f1,
        "error_nm": whole.localisation_error_vox / NM_TO_ANGSTROM,  # places were angstrom
        "error_vox": float(voxels.mean()) if len(voxels) else float("nan"),
        "found": whole.n_found,
        "truth": whole.n_truth,
        "paired": len(whole.pairs),
    }


def _confusion(found: Sequence[Picks | None], known: Sequence[Picks | None], radius_nm: float) -> NDArray[np.int64]:
    """Pair all picks with all known positions regardless of their feature; row and column 0 count unpaired ones."""
    ours = np.repeat(np.arange(1, len(found) + 1), [len(_places(p)) for p in found])
    theirs = np.repeat(np.arange(1, len(known) + 1), [len(_places(p)) for p in known])
    places, true = (np.concatenate([_places(p) for p in side]) for side in (found, known))
    match = pair_picks(places, true, radius_nm * NM_TO_ANGSTROM)
    predicted = np.concatenate([ours[match.pairs[:, 0]], ours[match.extra], np.zeros(len(match.missed), np.int64)])
    is_of = np.concatenate([theirs[match.pairs[:, 1]], np.zeros(len(match.extra), np.int64), theirs[match.missed]])
    n = len(found) + 1
    return np.bincount(predicted * n + is_of, minlength=n * n).reshape(n, n)
