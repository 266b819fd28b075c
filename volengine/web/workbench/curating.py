"""The tables of picks of a project, what people say of their picks, and where these lie in the tomograms.

Nothing is made before somebody says something. Tables are never changed; curations are ``curated/TABLE.curation``.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import ChangedError, InputError, MissingError, VolengineError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.core.volume import Vector3
from volengine.io.annotations.folder import check_name
from volengine.io.names import PICKS_SUFFIXES, same_tomogram
from volengine.io.open import OpenVolume
from volengine.tasks.annotate.store import own_name
from volengine.tasks.common.kinds import is_picks
from volengine.tasks.common.lying import Asked, Lattice, lattice_of, table_on
from volengine.tasks.common.named import stored_place
from volengine.tasks.curate.recipe import CurateRecipe
from volengine.tasks.curate.rows import Rows
from volengine.tasks.curate.state import ACCEPTED, REJECTED, UNDECIDED, State
from volengine.tasks.curate.store import ENDING, Curation, counts_of, new_curation
from volengine.tasks.curate.table import Base, read_base
from volengine.tasks.curate.verb import write_curated
from volengine.tasks.picks.recipe import PicksRecipe
from volengine.web.workbench.pick_pictures import PickPictures
from volengine.web.workbench.project import Project
from volengine.web.workbench.slices import Slices

OPEN = 8
"""Tables that are kept open."""
MOST_PICTURES = 120
BINS = 60
PAGE = 200
SHOWN = {"accepted": ACCEPTED, "rejected": REJECTED, "undecided": UNDECIDED}
_FILE = re.compile(r"\w[\w .+@-]{0,120}")


@dataclass(frozen=True)
class Look:
    """A table with what was said of its picks: numbers, columns, and the version of its curation."""

    base: Base
    rows: Rows
    counts: dict[str, int]
    tags: dict[str, int]
    version: int


class Curating:
    """The tables of picks of a project.

    Parameters
    ----------
    project, slices
        The project, and the reader of its slices, which knows contrasts.
    """

    def __init__(self, project: Project, slices: Slices):
        self.project, self.slices = project, slices
        self.user = project.recipe.user or own_name()
        self.folder = project.folder / "curated"
        self._paths: list[str] = []
        self._open: OrderedDict[int, Curation] = OrderedDict()
        self._looks: dict[int, tuple[tuple[int, int], Look]] = {}
        self._pictures = PickPictures()
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close all curations."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    # -- tables ------------------------------------------------------------------------------------------------

    def tables(self) -> list[dict[str, Any]]:
        """The tables: number, name, path in the project, whether anything was said of their picks."""
        with self._lock:
            for path in self._found():
                if path not in self._paths:
                    self._paths.append(path)
            there = [(n, p) for n, p in enumerate(self._paths) if Path(p).exists()]
        return [{"number": n, "name": self._name(p), "begun": self._file(n).is_file()} for n, p in there]

    def _found(self) -> list[str]:
        found = [one.path for tomogram in self.project.tomograms for one in tomogram.things if one.role == "picks"]
        inside = self.project.folder.resolve()
        for file in sorted((self.project.folder / "picks").glob("[!.]*")):
            near = self.project.recipe.links or file.resolve().is_relative_to(inside)
            if near and file.is_file() and file.suffix.lower() in PICKS_SUFFIXES and is_picks(str(file)):
                found.append(str(file))
        local = {os.path.abspath(path) for path in found if "://" not in path}  # noqa: PTH100  # links stay
        return sorted(path for path in local if not re.search(r"[\ud800-\udfff]", path))  # else no text in UTF-8

    def _name(self, path: str) -> str:
        """A table's path in the project."""
        place = Path(path)
        return str(place.relative_to(self.project.folder)) if place.is_relative_to(self.project.folder) else place.name

    def _path(self, number: int) -> str:
        with self._lock:
            if not self._paths:
                self.tables()
            if not 0 <= number < len(self._paths):
                raise MissingError(f"There is no table of picks number {number}; load the page again.")
            return self._paths[number]

    def _file(self, number: int) -> Path:
        name = self._name(self._paths[number]).removeprefix("picks/").replace("/", "+")
        return self.folder / f"{name}{ENDING}"

    def _reading(self, path: str) -> PicksRecipe:
        """How a table is read: as it says, or else with the voxels of its tomogram."""
        try:
            read_base(path, PicksRecipe())
        except (MissingError, ChangedError):
            raise
        except InputError:
            number = self._holding(path)
            if number is None:
                raise
            volume = self.project.base(number)
            return PicksRecipe(voxel_size=volume.voxel_size, shape=volume.shape)
        return PicksRecipe()

    @contextlib.contextmanager
    def _using(self, number: int, *, make: bool = False) -> Iterator[Curation | None]:
        """Yield the curation of a table, or ``None`` if nothing was said."""
        path = self._path(number)
        with self._lock:
            file = self._file(number)
            if number not in self._open:
                if not file.is_file():
                    if not make:
                        yield None
                        return
                    self._check_folder()
                    new_curation(path, file, self._reading(path), user=self.user).close()
                made = Curation(file)
                if Path(made.table).absolute() != Path(path):
                    made.close()
                    raise InputError(
                        f"{file}: is the curation of {made.table}, not of {path}; rename one of the tables."
                    )
                self._open[number] = made
            self._open.move_to_end(number)
            while len(self._open) > OPEN:
                self._open.popitem(last=False)[1].close()
            yield self._open[number]

    def _check_folder(self) -> None:
        if not self.project.writable:
            raise InputError(f"{self.project.folder} cannot be written to; nothing can be said of its picks.")
        if not self.folder.resolve().is_relative_to(self.project.folder.resolve()):
            raise InputError(f"{self.folder} leads out of the project; nothing is written there.")

    def look(self, number: int) -> Look:
        """A table as it is now.

        Raises
        ------
        ChangedError
            It was written anew, with other picks than those of which something was said.
        VolengineError
            It cannot be read.
        """
        with self._lock, self._using(number) as curation:
            if curation is not None:
                rows = curation.rows()
                return Look(curation.base, rows, curation.counts(), curation.tags(), curation.version)
            path = self._path(number)
            facts = Path(path).stat()
            stamp = facts.st_mtime_ns, facts.st_size
            if number not in self._looks or self._looks[number][0] != stamp:
                base, tables, _ = read_base(path, self._reading(path))
                state: State = base.state()
                self._looks[number] = stamp, Look(base, Rows(tables, state), counts_of(state), {}, 0)
            return self._looks[number][1]

    # -- where picks lie ---------------------------------------------------------------------------------------

    def number_of(self, path: str, name: str) -> int | None:
        """The number of the project's tomogram that a table's tomogram is."""
        names = [one.name for one in self.project.tomograms]
        known = same_tomogram(name, names)
        return names.index(known) if known is not None else None if name else self._holding(path)

    def _holding(self, path: str) -> int | None:
        """The one tomogram of the project that a table was found for."""
        every = enumerate(self.project.tomograms)
        found = [n for n, one in every if any(Path(t.path).absolute() == Path(path) for t in one.things)]
        return found[0] if len(found) == 1 else None

    def placing(self, picks: Picks, volume: OpenVolume, table: str) -> tuple[NDArray[np.float64], Vector3, list[str]]:
        """How voxels of a table lie on those of a tomogram: factor, offset (angstrom), and what there is to say.

        Raises
        ------
        InputError
            They are of other tomograms, or state origins that do not fit.
        """
        mine = Lattice(stored_place(volume), volume.origin, volume.voxel_size, volume.shape)
        lies = table_on(mine, lattice_of(picks, table), Asked())
        return np.asarray(picks.voxel_size), lies.grid.offset, lies.notes

    def _in_tomogram(self, look: Look, at: int, positions: NDArray[np.float64], volume: OpenVolume) -> Any:
        size, offset, _ = self.placing(look.rows.tables[at], volume, look.base.table)
        return (positions * size + np.asarray(offset)) / np.asarray(volume.voxel_size)

    def _from_tomogram(self, look: Look, at: int, position: Any, volume: OpenVolume) -> list[float]:
        size, offset, _ = self.placing(look.rows.tables[at], volume, look.base.table)
        if not isinstance(position, list) or len(position) != 3 or not all(type(v) in (int, float) for v in position):
            raise InputError("'position' is three numbers: z, y, x in voxels of the tomogram.")
        found = (np.asarray(position, float) * np.asarray(volume.voxel_size) - np.asarray(offset)) / size
        return [round(float(v), 4) for v in found]

    # -- reading -----------------------------------------------------------------------------------------------

    def state(self, number: int, user: str) -> dict[str, Any]:
        """What the page is told of a table: tomograms, columns, counts, tags; or why it cannot be worked on."""
        who, path = check_name(user or self.user, "user"), self._path(number)
        file = self._file(number)
        found: dict[str, Any] = {"number": number, "name": self._name(path), "changed": "", "file": str(file)}
        try:
            look = self.look(number)
        except ChangedError as error:
            return {**found, "changed": str(error)}
        tomograms, columns = [], look.rows.columns()
        for at, facts in enumerate(look.base.facts):
            project, notes = self.number_of(path, str(facts["tomogram"])), []
            if project is not None:
                try:
                    notes = self.placing(look.rows.tables[at], self.project.base(project), path)[2]
                except (VolengineError, OSError) as error:
                    project, notes = None, [str(error)]
            else:
                notes = [f"{facts['tomogram']}: the project has no tomogram of this name; its picks have no pictures."]
            count = int((look.rows.tomogram == at).sum())
            tomograms.append({"name": str(facts["tomogram"]), "number": project, "count": count, "notes": notes})
        undo, redo = False, False
        with self._using(number) as curation:
            if curation is not None:
                undo, redo = curation.may(who)
        numeric = [name for name, values in columns.items() if values.dtype.kind in "if" and name != "accepted"]
        oriented = any(one.orientation is not None for one in look.rows.tables)
        more = {"version": look.version, "digest": look.base.digest, "counts": look.counts, "tags": look.tags}
        more |= {"tomograms": tomograms, "columns": numeric, "oriented": oriented, "undo": undo, "redo": redo}
        return {**found, **more, "feature": next((str(one["feature"]) for one in look.base.facts), "")}

    def _chosen(self, look: Look, query: Mapping[str, str]) -> NDArray[np.int64]:
        """Rows that are shown, in their order."""
        rows = look.rows
        chosen = np.ones(len(rows), bool)
        show = query.get("show", "all")
        if show.startswith("tag:"):
            chosen &= rows.tags.get(show[4:], np.zeros(len(rows), bool))
        elif show in SHOWN:
            chosen &= rows.decision == SHOWN[show]
        elif show != "all":
            raise InputError(f"show is {show[:40]!r}; it is all, accepted, rejected, undecided or tag:NAME.")
        if query.get("tomogram"):
            names = [str(one["tomogram"]) for one in look.base.facts]
            if query["tomogram"] not in names:
                raise InputError(f"{query['tomogram'][:80]!r} is none of the table's tomograms.")
            chosen &= rows.tomogram == names.index(query["tomogram"])
        found = np.flatnonzero(chosen)
        if query.get("sort"):
            values = self._numbers(look, query["sort"])[found]
            values = -values if query.get("order") == "down" else values  # NaN stays last
            found = found[np.argsort(values, kind="stable")]
        return found

    def _numbers(self, look: Look, name: str) -> NDArray[np.float64]:
        values = look.rows.columns().get(name)
        if values is None or values.dtype.kind not in "bif":
            raise InputError(f"{name[:80]!r} is no column of numbers of this table.")
        return values.astype(np.float64)

    def grid(self, number: int, query: Mapping[str, str], start: int, count: int) -> dict[str, Any]:
        """A page of picks, in their order: number, tomogram, place in it, decision, tags, the value sorted by."""
        look, path = self.look(number), self._path(number)
        order = self._chosen(look, query)
        page = order[start : start + min(count, PAGE)]
        values = self._numbers(look, query["sort"]) if query.get("sort") else None
        tags = look.rows.own()["tags"]
        facts = [(str(one["tomogram"]), self.number_of(path, str(one["tomogram"]))) for one in look.base.facts]
        picks = []
        for row in page.tolist():
            at = int(look.rows.tomogram[row])
            value = None if values is None or not np.isfinite(values[row]) else float(values[row])
            picks.append(
                {
                    "id": int(look.rows.ids[row]),
                    "tomogram": facts[at][0],
                    "number": facts[at][1],
                    "value": value,
                    "accepted": int(look.rows.decision[row]),
                    "tags": [tag for tag in str(tags[row]).split("+") if tag],
                    "added": bool(look.rows.added[row]),
                    "moved": bool(look.rows.moved[row]),
                }
            )
        return {
            "version": look.version,
            "digest": look.base.digest,
            "total": len(order),
            "start": start,
            "picks": picks,
        }

    def pictures(self, number: int, ids: list[int], axis: str, side: int, mean: int) -> NDArray[np.uint8]:
        """The pictures of some picks, (n, side, side); black for those that are not in a tomogram of the project."""
        if len(ids) > MOST_PICTURES:
            raise InputError(f"There are {len(ids)} picks; at most {MOST_PICTURES} pictures are made at once.")
        look, path = self.look(number), self._path(number)
        rows = {int(n): row for row, n in enumerate(look.rows.ids.tolist())} if ids else {}
        where = np.array([rows.get(one, -1) for one in ids], np.int64)
        out = np.zeros((len(ids), side, side), np.uint8)
        tables = look.rows.picks() if axis == "own" else look.rows.tables
        first = np.cumsum([0, *((look.rows.tomogram == n).sum() for n in range(len(tables)))])
        for at in sorted({int(look.rows.tomogram[row]) for row in where if row >= 0}):
            project = self.number_of(path, str(look.base.facts[at]["tomogram"]))
            mine = np.flatnonzero([row >= 0 and look.rows.tomogram[row] == at for row in where])
            if project is None:
                continue
            volume = self.project.base(project)
            try:
                positions = self._in_tomogram(look, at, look.rows.position_vox[where[mine]], volume)
            except InputError:  # the state of the table says why it lies on no tomogram
                continue
            turned = _turned(tables[at], where[mine] - first[at]) if axis == "own" else None
            span = self.slices.contrast(volume)
            out[mine] = self._pictures.read(volume, positions, span, axis=axis, side=side, mean=mean, turned=turned)
        return out

    def places(self, number: int, tomogram: int) -> dict[str, Any]:
        """The picks of one tomogram of the project, in its voxels."""
        look, path = self.look(number), self._path(number)
        at = self._at(look, path, tomogram)
        if at is None:
            return {"version": look.version, "digest": look.base.digest, "ids": [], "places": [], "accepted": []}
        mine = np.flatnonzero(look.rows.tomogram == at)
        volume = self.project.base(tomogram)
        places = self._in_tomogram(look, at, look.rows.position_vox[mine], volume)
        return {
            "version": look.version,
            "digest": look.base.digest,
            "ids": look.rows.ids[mine].tolist(),
            "places": np.round(places, 3).tolist(),
            "accepted": look.rows.decision[mine].tolist(),
        }

    def _at(self, look: Look, path: str, tomogram: int) -> int | None:
        names = [str(one["tomogram"]) for one in look.base.facts]
        return next((at for at, name in enumerate(names) if self.number_of(path, name) == tomogram), None)

    def histogram(self, number: int, query: Mapping[str, str]) -> dict[str, Any]:
        """How many picks have which value of a column, by decision."""
        look = self.look(number)
        values = self._numbers(look, query.get("column", ""))
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
        counted = {name: np.histogram(values[look.rows.decision == v], edges)[0].tolist() for name, v in SHOWN.items()}
        return {"low": low, "high": float(edges[-1]), "counts": counted, "unknown": len(values) - len(finite)}

    # -- changing ----------------------------------------------------------------------------------------------

    def do(self, number: int, given: Mapping[str, Any], user: str) -> dict[str, Any]:
        """Carry out an operation; positions of the page are voxels of the tomogram (``number``).

        Raises
        ------
        ChangedError
            The page shows other picks than the table has.
        """
        asked, digest = given.get("operation"), given.get("digest")
        if not isinstance(asked, dict) or not isinstance(digest, str) or not digest:
            raise InputError("A request has an 'operation' and the 'digest' of the picks that are shown.")
        operation = dict(asked)
        with self._lock:
            if operation.get("op") in ("add", "move"):
                self._laid(number, operation)
            self._check_folder()
            if self.look(number).base.digest != digest:
                raise ChangedError("The table has other picks than the page shows; nothing was done. Load it again.")
            with self._using(number, make=True) as curation:
                assert curation is not None
                done = curation.do(operation, user or self.user, digest=digest)
        return {"version": done.version, "operation": operation, "ids": list(done.facts.get("ids", ()))[:PAGE]}

    def _laid(self, number: int, operation: dict[str, Any]) -> None:
        """Put a position of a tomogram's voxels into those of the table."""
        look, path, tomogram = self.look(number), self._path(number), operation.pop("number", None)
        at = self._at(look, path, tomogram) if type(tomogram) is int else None
        if at is None:
            raise InputError("The table has no picks of this tomogram; picks can be added to tomograms that it has.")
        volume = self.project.base(tomogram)
        operation["position"] = self._from_tomogram(look, at, operation.get("position"), volume)
        if operation["op"] == "add":
            operation["tomogram"] = str(look.base.facts[at]["tomogram"])

    def carry(self, number: int, within_nm: float, user: str) -> dict[str, Any]:
        """Carry over what was said to the table as it is now."""
        with self._lock, self._using(number) as curation:
            if curation is None:
                raise InputError("Nothing was said of this table's picks; there is nothing to carry over.")
            made = curation.carry(within_nm, user or self.user)
        return {"found": made.found, "lost": made.lost, "notes": list(made.notes)}

    def write(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write the picks that are left into the project's folder ``curated``.

        Raises
        ------
        InputError
            The name is none of a file, it is there already, or the format cannot hold the picks.
        """
        name = given.get("name")
        if not isinstance(name, str) or not _FILE.fullmatch(name) or ENDING in name or ".." in name:
            raise InputError(
                "Give a name with the ending of a format, as accepted.star: letters, digits, . - _ and blanks."
            )
        recipe = CurateRecipe.from_json({key: value for key, value in given.items() if key != "name"})
        with self._lock:
            self._check_folder()
            with self._using(number, make=True) as curation:
                assert curation is not None
                made = write_curated(curation.path, self.folder / name, recipe)
        return {"files": [self._name(one) for one in made.files], "counts": made.counts, "notes": list(made.notes)}


def _turned(picks: Picks, rows: NDArray[np.int64]) -> list[NDArray[np.float64] | None]:
    """Of each pick its axes x, y, z as columns, z, y, x."""
    euler = picks.orientation
    if euler is None:
        return [None] * len(rows)
    axes = euler_to_matrix(np.nan_to_num(euler[rows]))[:, ::-1, :]
    known: list[bool] = np.all(np.isfinite(euler[rows]), axis=1).tolist()
    return [one if fine else None for one, fine in zip(axes, known, strict=True)]
