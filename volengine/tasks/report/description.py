"""What calls and kernels of ``report`` share: the tomograms of a report, their rows in its index, names of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from volengine import __version__
from volengine.core.digest import digest_of
from volengine.io.surfaces import FACTS
from volengine.tasks.common.layout import file_name

INDEX, ROWS, PAGES, THUMBS = "index.html", "index.json", "pages", "thumbs"
"""The page of all tomograms, the same for programs, and the folders of their pages and of their small pictures."""
LONGEST_NAME = 120
"""Bytes of a name in the names of files; of a longer one its beginning and a digest are taken."""
MARKER = "volengine report"
"""Every file of a report says that it is one."""

State = Literal["done", "failed", "unfinished"]


@dataclass(frozen=True)
class Shown:
    """A tomogram of a report.

    Parameters
    ----------
    name
        Its name.
    plan
        Folder of its plan in a run folder; empty: it is of no run, and the other fields say what there is.
    error
        Why it has failed; empty: it has not.
    tomogram
        The tomogram itself.
    predictions, labels, picks, surfaces
        What was found in it: volumes, ``store#group``, tables, sets of surfaces.
    """

    name: str
    plan: str = ""
    error: str = ""
    tomogram: str = ""
    predictions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    picks: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; those that are empty are left out."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """A tomogram from the values of :meth:`to_json`."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        return cls(**values)


@dataclass(frozen=True)
class Row:
    """What the index says of a tomogram.

    Parameters
    ----------
    name, state, message
        Its name, what became of it, and why.
    problem
        Why its page could not be made, or what of it is missing or damaged; empty: nothing.
    warning
        What is to be looked at although nothing is damaged: a threshold that nothing exceeds.
    page, thumb
        Whether there are a page and a small picture.
    picks
        Number of picks by feature.
    largest
        Largest probability by feature.
    shape, voxel_size
        Voxels, angstrom; empty if they are not known.
    seconds, peak_bytes
        Seconds of all units, and the largest memory of a process; 0 if they are not known.
    finished
        When it was finished, seconds since 1970; 0 if it is not known.
    notes
        How many warnings its page has.
    """

    name: str
    state: State = "done"
    message: str = ""
    problem: str = ""
    warning: str = ""
    page: bool = False
    thumb: bool = False
    picks: Mapping[str, int] = field(default_factory=dict)
    largest: Mapping[str, float] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    voxel_size: tuple[float, ...] = ()
    seconds: float = 0.0
    peak_bytes: int = 0
    finished: float = 0.0
    notes: int = 0

    def to_text(self) -> str:
        """The fields as JSON text; :meth:`from_text` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """A row from the text of :meth:`to_text`; ``None`` if it is none."""
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or set(data) != {f.name for f in fields(cls)}:
                return None
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
            row = cls(**values)
            numbers = [*row.picks.values(), *row.largest.values(), row.seconds, row.peak_bytes, row.finished]
            whole = all(isinstance(n, int | float) for n in [*numbers, *row.shape, *row.voxel_size])
            return row if whole and isinstance(row.name, str) else None
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None


def page_name(name: str) -> str:
    """Name of the files of a tomogram, without ending: of other names there are others.

    >>> page_name("TS_01"), page_name("<b>"), len(page_name("x" * 300))
    ('TS_01', '~3Cb~3E', 121)
    """
    made = file_name(name)
    if len(made.encode()) <= LONGEST_NAME:
        return made
    digest = hashlib.sha256(name.encode()).hexdigest()[:20]
    return f"{made.encode()[: LONGEST_NAME - 20].decode(errors='ignore')}~{digest}"


def there(shown: Sequence[Shown], recipe: Mapping[str, Any], of: str, out: Path) -> str:
    """Digest of what is there: if a run ends with the same one as before, its pages are as they should be.

    Pages are known by their sizes, and what a run has made by the records of its plans, which it has just compared with
    the products themselves; sets of surfaces by their lists. It does not depend on where the folders are.

    Parameters
    ----------
    shown, recipe, of
        The tomograms, the recipe, what the report is of.
    out
        Folder of the report.
    """
    found: list[Any] = [_size(out / INDEX)]
    for one in shown:
        name = page_name(one.name)
        record = Path(one.plan) / "finished.json" if one.plan else Path()
        found += [_size(out / PAGES / f"{name}.html"), _size(out / THUMBS / f"{name}.webp"), _bytes(record)]
        found += [[Path(place).name, _bytes(Path(place) / FACTS)] for place in one.surfaces]
    return digest_of([__version__, of, dict(recipe), [[one.name, one.error] for one in shown], found])


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
