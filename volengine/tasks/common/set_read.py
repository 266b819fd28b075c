"""Sets of surfaces as parameters of stages: described for plans, opened by workers, recognised when they change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volengine.core.digest import digest_of
from volengine.core.errors import ChangedError, InputError, MissingError
from volengine.core.surface import Surface
from volengine.io.hashing import content_of_file, sample_of_file
from volengine.io.identity import AGAIN
from volengine.io.membrain_pick import SUFFIXES
from volengine.io.stores import located
from volengine.io.surfaces import FACTS, SurfaceFacts, SurfaceSet, open_surfaces

VERTEX_BYTES = 38
"""Least bytes of a PLY file for each vertex with two faces, for sets that do not say how many vertices there are."""

READ_BYTES = 600
"""Memory for each vertex of a surface that is read and measured in parts, with its two faces."""


@dataclass(frozen=True)
class SetRead:
    """A set of surfaces as parameters of a stage, with what proves that it has not changed.

    Parameters
    ----------
    path
        Where it is.
    facts
        What it is about, if the set does not say it itself (files of meshes); else ``None``.
    counts
        Number and vertices of each surface; the latter may be estimates.
    identity
        Digest of its files.
    """

    path: str
    facts: Mapping[str, Any] | None
    counts: Sequence[tuple[int, int]]
    identity: str

    @classmethod
    def of(cls, surfaces: SurfaceSet, how: str) -> SetRead:
        """Describe an open set; only the beginnings of its files are read, or with ``how`` content all of them."""
        folder = surfaces.path if surfaces.path.is_dir() else surfaces.path.parent
        counts = [(int(row["number"]), _vertices(row, folder)) for row in surfaces.rows]
        states = (surfaces.path / FACTS).is_file() or surfaces.path.suffix.lower() in SUFFIXES
        facts = None if states else asdict(surfaces.facts)
        return cls(located(str(surfaces.path)), facts, counts, _identity(surfaces, how))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SetRead:
        """Make one from JSON values."""
        counts = [(int(n), int(v)) for n, v in data["counts"]]
        return cls(data["path"], data["facts"], counts, data["identity"])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"path": self.path, "facts": self.facts, "counts": [list(c) for c in self.counts]} | {
            "identity": self.identity
        }

    def open(self) -> SurfaceSet:
        """Open the set."""
        if self.facts is None:
            return open_surfaces(self.path)
        return open_surfaces(self.path, facts_of(self.facts))

    def check(self, how: str) -> None:
        """Refuse a set whose files are not those that were planned.

        Raises
        ------
        ChangedError
            They have changed, or are gone.
        """
        try:
            now = _identity(self.open(), how)
        except (MissingError, InputError) as error:
            raise ChangedError(f"{self.path} has changed since this run was planned ({error}) {AGAIN}") from error
        if now != self.identity:
            raise ChangedError(f"{self.path} has changed since this run was planned. {AGAIN}")

    @property
    def most(self) -> int:
        """Vertices of its largest surface."""
        return max((vertices for _, vertices in self.counts), default=0)


@contextmanager
def errors_name(given: Mapping[str, Any]) -> Iterator[None]:
    """Within it, errors about a surface, which know its number, also say of which set it is.

    Parameters
    ----------
    given
        Parameters of a kernel, with a :class:`SetRead` as ``set``.
    """
    try:
        yield
    except InputError as error:
        path = str(given["set"]["path"])
        if type(error) is not InputError or path in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


GEODESIC_BYTES = 8000
"""Memory for each vertex of a surface with a border while distances from it are computed; measured 5500 and more."""


def most_open(surfaces: SurfaceSet, counts: Sequence[tuple[int, int]]) -> int:
    """Vertices of the largest surface that does not say that it is closed; those that do have no border."""
    rows = zip(surfaces.rows, counts, strict=True)
    return max((vertices for row, (_, vertices) in rows if row.get("closed") is not True), default=0)


def facts_of(values: Mapping[str, Any]) -> SurfaceFacts:
    """The facts of a set from JSON values."""
    found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) and k != "history" else v for k, v in values.items()}
    return SurfaceFacts(**found)


def check_files(identities: Mapping[str, str], how: str) -> None:
    """Refuse files that are not those that were planned; identities are by their paths.

    Raises
    ------
    ChangedError
        One has changed, or is gone.
    """
    for path, identity in identities.items():
        try:
            same = file_identity(path, how) == identity
        except MissingError:
            same = False
        if not same:
            raise ChangedError(f"{path} has changed since this run was planned. {AGAIN}")


def file_identity(path: str | Path, how: str) -> str:
    """Digest by which a file is recognised (:mod:`volengine.io.identity`); of a folder, that of its files.

    Raises
    ------
    MissingError
        There is none.
    """
    place = Path(path)
    if place.is_dir():
        return digest_of([[one.name, file_identity(one, how)] for one in sorted(place.iterdir()) if one.is_file()])
    if how == "content":
        return content_of_file(str(place))
    state, sample = sample_of_file(str(place))
    return digest_of([state.to_json(), sample])


def _identity(surfaces: SurfaceSet, how: str) -> str:
    if surfaces.path.is_file():
        return file_identity(surfaces.path, how)
    files = [row["file"] for row in surfaces.rows]
    files += [FACTS] if (surfaces.path / FACTS).is_file() else []
    return digest_of([[name, file_identity(surfaces.path / name, how)] for name in files])


def _vertices(row: Mapping[str, Any], folder: Path) -> int:
    told = row.get("vertices")
    if isinstance(told, int) and 0 < told < 2**40:
        return told
    size: int = (folder / str(row["file"])).stat().st_size
    return max(1, size // VERTEX_BYTES)


def drawn(surfaces: SurfaceSet) -> Callable[[int], Surface]:
    """A function that reads surfaces of a set and keeps the last one, of which units read part after part."""
    kept: dict[int, Surface] = {}

    def read(number: int) -> Surface:
        if number not in kept:
            kept.clear()
            kept[number] = surfaces.read(number)
        return kept[number]

    return read


def grid_of_picks(facts: SurfaceFacts) -> dict[str, Any]:
    """What is known of the tomogram of a set, as readers of picks take it."""
    if facts.voxel_size is None:
        return {}
    return {"voxel_size": facts.voxel_size, "origin": facts.origin, "shape": facts.shape}


def identifier(name: str) -> str:
    """A name as PLY and other programs can have it."""
    made = re.sub(r"\W", "_", name, flags=re.ASCII)
    return made if made[:1].isalpha() else f"_{made}"
