"""Columns of the gallery: what verbs have written of a tomogram into the project's folder; nothing is computed anew.

========================  =====================================================================================
``stats``                 ``FEATURE.objects``, ``.volume_nm3``, ``.share``, ``.per_um3``, ``.nearest_nm``, ``.clusters``
``surface``, ``surfaces`` ``FEATURE.surfaces``, ``.area_nm2``, and what was measured of them, weighted by their areas
``pick``, ``picks``       ``FEATURE.picks``, and the median of each column that ``picks measure`` has added
tilt series               ``tilt.images``, ``.lowest_deg``, ``.highest_deg``, ``.defocus_um``, ``.dose``
manifest                  ``manifest.COLUMN``
========================  =====================================================================================

>>> word("actin bundle"), number_or_text("3.5"), number_or_text("central")
('actin_bundle', 3.5, 'central')
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from volengine.core.errors import VolengineError
from volengine.core.json_text import parse_object
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.io.names import PICKS_SUFFIXES, same_tomogram, split_group, tomogram_key
from volengine.io.picks import read_all
from volengine.io.surfaces import ENDING, FACTS, open_surfaces
from volengine.io.tilts import TiltSeries
from volengine.tasks.collection.manifest import Collection
from volengine.tasks.collection.measured import lists_tomograms
from volengine.tasks.common.named import feature_in
from volengine.tasks.common.output_folders import tomogram_of
from volengine.tasks.common.set_means import measured_of, number_in
from volengine.web.view.find import Role, Thing

MEASURED = "measured"
"""The folder of a project, beside those of a run, in which measured surfaces and picks are looked for."""
STATS = "stats.json"
OWN = ("source", "name")
"""Columns of a manifest that the gallery has anyway."""
MOST_MANIFESTS = 3
NM3_PER_UM3 = 1e9
OF_CLASS = {
    "objects": ("objects", 1.0),
    "volume_nm3": ("volume_um3", NM3_PER_UM3),
    "share": ("volume_share", 1.0),
    "per_um3": ("per_um3", 1.0),
    "nearest_nm": ("nearest_median_nm", 1.0),
    "clusters": ("clusters", 1.0),
}
"""Columns of a class, and what they are called and measured in by ``stats``."""

T = TypeVar("T")
Value = float | str
Counts = dict[str, tuple[str, int, dict[str, float]]]
"""By tomogram: the feature of a table, its number of picks, and the medians of its further columns."""


class Values:
    """The values of one tomogram by the names of columns, and which of them are older than what they are of.

    >>> values = Values()
    >>> values.put("ribosome.picks", 12, "older than picks/TS_01.star")
    >>> values.put("ribosome.share", float("nan"))
    >>> values.values, values.stale
    ({'ribosome.picks': 12.0}, {'ribosome.picks': 'older than picks/TS_01.star'})
    """

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.stale: dict[str, str] = {}

    def put(self, key: str, value: Any, stale: str = "") -> None:
        """Add a value; what is no finite number or text is left out."""
        if isinstance(value, str):
            self.values[key] = value
        elif isinstance(value, int | float | np.number) and math.isfinite(value):
            self.values[key] = float(value)
        else:
            return
        self.stale.pop(key, None)
        if stale:
            self.stale[key] = stale


class Rows(Generic[T]):
    """What a table says of tomograms, found by their names, or by what else these are called.

    >>> rows = Rows({"TS_01_Vol": 3, "TS_02": 4})
    >>> rows.of("TS_01"), rows.of("TS_03")
    (3, None)
    """

    def __init__(self, rows: Mapping[str, T]):
        self.rows = dict(rows)
        self._names: dict[Any, list[str]] = {}
        for name in self.rows:
            self._names.setdefault(tomogram_key(name), []).append(name)

    def of(self, name: str) -> T | None:
        """What is said of a tomogram; ``None`` if nothing is, or it may be one of several."""
        if name in self.rows:
            return self.rows[name]
        fit = self._names.get(tomogram_key(name), [])
        return self.rows[fit[0]] if len(fit) == 1 else None


class Columns:
    """The values of a project's tomograms; what was read of files is kept while they stay as they are.

    Parameters
    ----------
    folder
        Of the project.
    manifest
        Its manifest, if it is that of one.
    links
        Whether links that lead out of the folder are followed.
    """

    def __init__(self, folder: Path, manifest: Path | None = None, *, links: bool = False):
        self.folder, self.manifest, self.links = folder, manifest, links
        self._read: dict[str, tuple[tuple[int, int], Any]] = {}
        self._wrong: dict[str, str] = {}
        self._lock = threading.Lock()

    def of(self, name: str, things: Sequence[Thing], facts: Mapping[str, Any], extra: Extra | None = None) -> Values:
        """The values of a tomogram.

        Parameters
        ----------
        name, things
            Its name, and what there is of it.
        facts
            Of its volume: the tilt series is among them.
        extra
            What :meth:`begin` found; it is looked for now if it is not given.
        """
        found, extra = Values(), extra or self.begin()
        for place in extra.manifests:
            self._of_manifest(place, name, found)
        _of_tilts(facts, found)
        for place in extra.stats:
            self._of_stats(place, name, things, found)
        for thing in (*things, *extra.measured(name)):
            if thing.role == "surfaces" and thing.folder != "truth":
                self._of_surfaces(thing, things, found)
        for feature, tables in self.counted(name, things).items():
            found.put(f"{word(feature)}.picks", tables[0][0])
        for thing in (*things, *extra.measured(name)):
            if thing.role == "picks":
                self._of_picks(thing, name, things, found)
        return found

    def begin(self) -> Extra:
        """Look for tables beside those that the project lists: call it once for many tomograms."""
        stats = [self.folder / STATS, *sorted(self.folder.glob(f"[!.]*/{STATS}"))]
        manifests = (
            [self.manifest]
            if self.manifest is not None
            else [file for file in sorted(self.folder.glob("[!.]*")) if file.is_file() and lists_tomograms(str(file))]
        )
        measured = self._kept(self.folder / MEASURED, self._measured) or []
        newest_last = sorted(filter(self._is_inside, stats), key=_modified)
        return Extra(newest_last, [m for m in manifests if self._is_inside(m)][:MOST_MANIFESTS], measured)

    def _measured(self) -> list[tuple[str, Thing]]:
        """The measured surfaces and picks with their tomograms; kept while the folder has the same entries."""
        found = []
        for file in sorted((self.folder / MEASURED).glob("[!.]*")):
            role: Role = "surfaces" if file.name.endswith(ENDING) else "picks"
            if (role == "surfaces" or file.suffix.lower() in PICKS_SUFFIXES) and self._is_inside(file):
                found.append((tomogram_of(file), Thing(str(file), role, MEASURED)))
        return found

    def _is_inside(self, file: Path) -> bool:
        return file.exists() and (self.links or file.resolve().is_relative_to(self.folder.resolve()))

    def _kept(self, file: Path, read: Callable[[], T]) -> T | None:
        """What a file says, read again when it has changed; ``None`` if it cannot be read."""
        try:
            facts = file.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            with self._lock:
                known = self._read.get(str(file))
            if known is not None and known[0] == stamp:
                before: T | None = known[1]
                return before
            found: T | None = read()
        except (FileNotFoundError, NotADirectoryError):
            with self._lock:
                self._wrong.pop(str(file), None)
            return None
        except OSError as error:
            with self._lock:
                self._wrong[str(file)] = f"{file}: cannot be read ({error.strerror or error})."
            return None
        except (VolengineError, ValueError, TypeError, KeyError, AttributeError) as error:  # as long as it stays
            found, why = None, str(error)
        else:
            why = ""
        with self._lock:
            self._read[str(file)] = stamp, found
            self._wrong.pop(str(file), None)
            if why:
                self._wrong[str(file)] = why if str(file) in why else f"{file}: is no table of its kind ({why})."
        return found

    def unread(self) -> list[str]:
        """Why tables that were looked for could not be read."""
        with self._lock:
            return [self._wrong[file] for file in sorted(self._wrong) if os.path.lexists(file)]

    # -- tables ------------------------------------------------------------------------------------------------

    def _of_stats(self, place: Path, name: str, things: Sequence[Thing], found: Values) -> None:
        def read() -> Rows[list[dict[str, Any]]]:
            rows: dict[str, list[dict[str, Any]]] = {}
            for row in parse_object(place.read_bytes(), str(place)).get("classes", []):
                rows.setdefault(str(row["tomogram"]), []).append(row)
            return Rows(rows)

        rows = self._kept(place, read)
        for row in (rows and rows.of(name)) or []:
            stale = self._older(place, (one for one in things if _is_source(one, str(row.get("source", "")))))
            for key, (column, factor) in OF_CLASS.items():
                value = row.get(column)
                if isinstance(value, int | float):
                    found.put(f"{word(str(row.get('class', '')))}.{key}", value * factor, stale)

    def _of_surfaces(self, thing: Thing, things: Sequence[Thing], found: Values) -> None:
        place = Path(thing.path)
        if not place.is_dir():
            return

        def read() -> tuple[str, dict[str, float]]:
            surfaces = open_surfaces(place)
            return surfaces.facts.feature or feature_in(place.stem), measured_of(surfaces.rows)

        feature, values = self._kept(place / FACTS, read) or ("", {})
        of = [one for one in things if one.role == "volume" and feature_in(_stem(one.path)) == feature]
        stale = self._older(place / FACTS, of) if feature else ""
        for key, value in values.items():
            found.put(f"{word(feature or 'surfaces')}.{key}", value, stale)

    def _of_picks(self, thing: Thing, name: str, things: Sequence[Thing], found: Values) -> None:
        counts = self.picks(thing)
        known = _named(name, counts)
        if known is None:
            return
        feature, _, medians = counts[known]
        stale = ""
        if thing.folder == MEASURED:
            file = Path(thing.path).name
            stale = self._older(Path(thing.path), (o for o in things if o.role == "picks" and _stem(o.path) in file))
        for key, value in medians.items():
            own = key.startswith("lamella.thickness")  # of the slab, whatever was picked in it
            found.put(key if own else f"{word(feature)}.{key}", value, stale)

    def counted(self, name: str, things: Iterable[Thing]) -> dict[str, list[tuple[int, Thing]]]:
        """By feature the tables of picks of a tomogram with their numbers, the one that was written last first."""
        found: dict[str, list[tuple[int, Thing]]] = {}
        for thing in things:
            counts = self.picks(thing) if thing.role == "picks" else {}
            known = _named(name, counts)
            if known is not None:
                feature, number, _ = counts[known]
                found.setdefault(feature, []).append((number, thing))
        for tables in found.values():  # of several; they may be versions of the same picks, so no sum is taken
            if len(tables) > 1:
                tables.sort(key=lambda one: (-_modified(Path(one[1].path)), one[1].path))
        return found

    def picks(self, thing: Thing) -> Counts:
        """The numbers of picks in a table, and the medians of its columns; none if it cannot be read as it is."""
        path = Path(thing.path)

        def read() -> Counts:
            own = feature_in(path.stem) or path.stem
            tables = read_all(thing.path)
            return {name: (picks.feature or own, len(picks), medians_of(picks)) for name, picks in tables.items()}

        return self._kept(path, read) or {}

    def _of_manifest(self, place: Path, name: str, found: Values) -> None:
        def read() -> Rows[dict[str, Any]]:
            collection = Collection.read(place)
            return Rows({entry.name: dict(collection.form.table.rows[entry.row]) for entry in collection.entries})

        rows = self._kept(place, read)
        for column, cell in ((rows and rows.of(name)) or {}).items():
            if column not in OWN and cell not in ("", None):
                value = cell if isinstance(cell, int | float) else number_or_text(str(cell))
                found.put(f"manifest.{word(column)}", value)

    def _older(self, place: Path, things: Iterable[Thing]) -> str:
        """What of a table's sources is newer than itself; empty if nothing is."""
        mine = _modified(place)
        newer = next((one for one in things if "://" not in one.path and _modified(Path(one.path)) > mine), None)
        return "" if newer is None else f"{place.name} is older than {Path(newer.path).name}"


def _named(name: str, counts: Counts) -> str | None:
    """The part of a table that is of a tomogram: that of its name, or the only one."""
    return same_tomogram(name, counts) or (next(iter(counts)) if len(counts) == 1 else None)


class Extra:
    """Tables beside those that a project lists: of ``stats``, manifests, and measured surfaces and picks."""

    def __init__(self, stats: Sequence[Path], manifests: Sequence[Path], measured: Sequence[tuple[str, Thing]]):
        self.stats, self.manifests = stats, manifests
        things: dict[str, list[Thing]] = {}
        for name, thing in measured:
            things.setdefault(name, []).append(thing)
        self._measured = Rows(things)

    def measured(self, name: str) -> Iterator[Thing]:
        """The measured surfaces and picks of a tomogram."""
        yield from self._measured.of(name) or []


# -- values ----------------------------------------------------------------------------------------------------


def medians_of(picks: Picks) -> dict[str, float]:
    """The medians of the further columns of picks that hold numbers."""
    found = {}
    for key, column in picks.extra.items():
        if column.dtype.kind in "iuf":
            finite = column[np.isfinite(column)]
            if finite.size:
                found[key] = float(np.median(finite))
    return found


def _of_tilts(facts: Mapping[str, Any], found: Values) -> None:
    given = facts.get("tilt_series")
    if not isinstance(given, Mapping):
        return
    try:
        series = TiltSeries.from_json(given)
    except VolengineError:
        return
    used = series.used or (True,) * len(series.angles)

    def kept(column: Sequence[float] | None) -> list[float]:
        return [] if column is None else [value for value, is_used in zip(column, used, strict=True) if is_used]

    if angles := kept(series.angles):
        found.put("tilt.images", len(angles))
        found.put("tilt.lowest_deg", min(angles))
        found.put("tilt.highest_deg", max(angles))
    for key, column in (("defocus_um", series.defocus), ("nominal_defocus_um", series.nominal_defocus)):
        if values := kept(column):
            found.put(f"tilt.{key}", math.fsum(values) / len(values) / (1000 * NM_TO_ANGSTROM))
    if doses := kept(series.dose):
        found.put("tilt.dose", max(doses))


def word(name: str) -> str:
    """A name without blanks, as the search of the gallery takes it."""
    return re.sub(r"\s+", "_", name)


def number_or_text(cell: str) -> Value:
    """The finite number that a cell holds, else its text."""
    value = number_in(cell)
    return value if math.isfinite(value) else cell


def _stem(path: str) -> str:
    return Path(path).name.removesuffix(".zarr").removesuffix(".ome") if path.endswith(".zarr") else Path(path).stem


def _is_source(thing: Thing, source: str) -> bool:
    return bool(source) and Path(thing.path).name == Path(split_group(source)[0]).name


def _modified(path: Path) -> float:
    """When a file, or the metadata of a store, was written last; 0 if it is not there."""
    inside = [path / name for name in ("zarr.json", ".zattrs", FACTS)] if path.is_dir() else [path]
    return max((file.stat().st_mtime for file in inside if file.is_file()), default=0.0)
