"""Picks: the positions of the particles of one feature in one tomogram.

>>> from volengine.core.picks import Picks
>>> picks = Picks([[10, 20, 30], [11.5, 21, 31]], voxel_size=(10, 10, 10), tomogram="TS_01", weight=[3.0, 5.0])
>>> len(picks)
2
>>> picks.position[0]  # angstrom: origin + index * voxel size
array([100., 200., 300.])
>>> len(picks[picks.weight > 4])
1

A :class:`Picks` holds numpy columns, all of the same length, and the facts that are needed to interpret them: the voxel
grid of the tomogram, its name, and the feature's name. Positions are in voxels, z, y, x, 0-based, with voxel centres at
integers. :meth:`Picks.to_pandas` and :meth:`Picks.from_pandas` convert to and from a pandas table.
``volengine.io.picks`` reads and writes the formats of the field, and converts axis order, first index and unit.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.block import Table
from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.flat import ANGSTROM, Columns, check_angstrom, flat_columns, gathered, stacked, whole
from volengine.core.orientation import normal_to_euler
from volengine.core.volume import Vector3, Volume, size_text

Column = NDArray[Any]

COLUMNS: dict[str, tuple[str, int]] = {
    "weight": ("f8", 1),
    "label": ("i8", 1),
    "volume_a3": ("f8", 1),
    "size_vox": ("i8", 1),
    "euler": ("f8", 3),
    "normal": ("f8", 3),
}
"""The optional columns: dtype and number of values per pick."""

FACTS = ("voxel_size", "origin", "shape", "tomogram", "feature")
"""What picks know besides their columns."""

SHOWN = 10
"""Picks that a notebook shows."""

EXTRA = "extra."
"""Prefix of an extra column in a table."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\"]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True, eq=False)
class Picks:
    """Particles of one feature in one tomogram.

    Parameters
    ----------
    position_vox
        (n, 3) float64, z, y, x, in voxels: 0-based, voxel centres at integers.
    voxel_size, origin
        The tomogram's grid, angstrom, z, y, x; ``origin`` is the position of the centre of voxel (0, 0, 0).
    shape
        The tomogram's shape z, y, x; ``None`` if it is not known.
    tomogram, feature
        Names.
    weight
        (n,) float64: sum of the predictions in the particle, or any score; the higher the better.
    label
        (n,) int64: id of the particle in the label volume.
    volume_a3, size_vox
        (n,) float64 and int64: volume in cubic angstrom and in voxels.
    euler
        (n, 3) float64: RELION's rot, tilt, psi in degrees (see ``volengine.core.orientation``).
    normal
        (n, 3) float64: unit vectors z, y, x.
    extra
        Further columns of shape (n,): floats, integers, booleans or text, by name.

    Raises
    ------
    InputError
        For columns of another length or shape, values that are no numbers, integers that int64 does not hold, positions
        that are not finite, a voxel size that is not positive.

    Notes
    -----
    The arrays are copied and read-only. Two ``Picks`` are equal if everything is equal, bit for bit (NaN equals NaN).
    """

    position_vox: NDArray[np.float64]
    voxel_size: Vector3
    origin: Vector3 = (0.0, 0.0, 0.0)
    shape: Index3 | None = None
    tomogram: str = ""
    feature: str = ""
    weight: NDArray[np.float64] | None = None
    label: NDArray[np.int64] | None = None
    volume_a3: NDArray[np.float64] | None = None
    size_vox: NDArray[np.int64] | None = None
    euler: NDArray[np.float64] | None = None
    normal: NDArray[np.float64] | None = None
    extra: dict[str, Column] = field(default_factory=dict)

    __hash__ = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._set("position_vox", self._rows("position_vox", self.position_vox, "f8", 3, None))
        n = len(self.position_vox)
        if not np.isfinite(self.position_vox).all():
            row = int(np.flatnonzero(~np.isfinite(self.position_vox).all(axis=1))[0])
            raise InputError(f"Pick {row} of {n} has the position {self.position_vox[row]} (z, y, x).")
        for key, (dtype, width) in COLUMNS.items():
            value = getattr(self, key)
            self._set(key, None if value is None else self._rows(key, value, dtype, width, n))
        self._set("extra", {k: self._extra(k, v, n) for k, v in sorted(self.extra.items())})
        self._set("voxel_size", _vector("voxel_size", self.voxel_size))
        self._set("origin", _vector("origin", self.origin))
        if any(v <= 0 for v in self.voxel_size):
            raise InputError(f"The voxel size of picks must be positive, not {self.voxel_size} angstrom.")
        if self.shape is not None:
            self._set("shape", index3(self.shape))
        for key in ("tomogram", "feature"):
            value = str(getattr(self, key))
            if _CONTROL.search(value) or value != value.strip():
                raise InputError(
                    f"The {key}'s name {value!r} has a quote, a control character or outer blanks; rename it."
                )
            self._set(key, value)

    def _set(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)

    @staticmethod
    def _rows(key: str, value: ArrayLike, dtype: str, width: int, n: int | None) -> Column:
        try:
            array = whole(key, value) if dtype == "i8" else np.array(value, dtype=dtype)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"Picks need numbers in {key}: {error}.") from None
        if array.size == 0 and width > 1:
            array = array.reshape(0, width)
        n = len(array) if n is None and array.ndim else n
        want = (n,) if width == 1 else (n, width)
        if array.shape != want:
            raise InputError(f"Picks need {key} of shape {want}, got {array.shape}.")
        array.flags.writeable = False
        return array

    @staticmethod
    def _extra(key: str, value: ArrayLike, n: int) -> Column:
        if not _NAME.fullmatch(key) or key in {"position_vox", *COLUMNS}:
            raise InputError(f"{key!r} cannot be the name of an extra column; use letters, digits, '_' and '.'.")
        array = np.array(value)
        if array.size == 0:
            array = array.reshape(0)
        kinds = {"b": "bool", "i": "i8", "u": "i8", "f": "f8", "U": array.dtype.str}
        if array.dtype.kind not in kinds or array.shape != (n,):
            raise InputError(
                f"The extra column {key!r} must hold {n} numbers, truth values or texts, "
                f"not {array.dtype} of shape {array.shape}."
            )
        if array.dtype.kind == "U" and any(_CONTROL.search(text) for text in array.tolist()):
            raise InputError(f"The extra column {key!r} has text with a quote or a control character.")
        array = whole(key, array) if array.dtype.kind == "u" else array.astype(kinds[array.dtype.kind])
        array.flags.writeable = False
        return array

    @classmethod
    def of_volume(cls, volume: Volume, position_vox: ArrayLike, **columns: Any) -> Self:
        """Picks on the grid of a volume, with its name (and the feature it is a prediction of, if any)."""
        facts = {
            "voxel_size": volume.voxel_size,
            "origin": volume.origin,
            "shape": volume.shape,
            "tomogram": volume.name,
            "feature": str(volume.facts.get("feature", "")),
        }
        return cls(np.asarray(position_vox, float), **{**facts, **columns})

    def __len__(self) -> int:
        return len(self.position_vox)

    @property
    def position(self) -> NDArray[np.float64]:
        """(n, 3) positions in angstrom, z, y, x: origin + index * voxel size."""
        position: NDArray[np.float64] = np.asarray(self.origin) + self.position_vox * np.asarray(self.voxel_size)
        return position

    @property
    def place(self) -> NDArray[np.float64]:
        """(n, 3) places in angstrom, z, y, x: index * voxel size, from the centre of the tomogram's first voxel.

        All verbs compare places, not positions, because most formats of picks do not hold the origin.
        """
        place: NDArray[np.float64] = self.position_vox * np.asarray(self.voxel_size)
        return place

    @property
    def orientation(self) -> NDArray[np.float64] | None:
        """(n, 3) Euler angles: ``euler``, or else what the ``normal`` says (rot = 0), or else ``None``."""
        if self.euler is not None or self.normal is None:
            return self.euler
        return normal_to_euler(self.normal)

    @property
    def columns(self) -> dict[str, Column]:
        """Every column that is there, the extra ones too, with the names they have in a table."""
        named = {k: getattr(self, k) for k in ("position_vox", *COLUMNS)}
        there = {k: v for k, v in named.items() if v is not None}
        return there | {EXTRA + k: v for k, v in self.extra.items()}

    def __repr__(self) -> str:
        """One line: how many, of what, where, and with which columns."""
        columns = ", ".join(name.removeprefix(EXTRA) for name in self.columns if name != "position_vox") or "positions"
        of, where = self.feature or "particles", self.tomogram or "a tomogram"
        size = size_text(self.voxel_size)
        return f"<Picks: {len(self)} of {of!r} in {where!r}, voxels of {size} angstrom; {columns}>"

    def _repr_html_(self) -> str:
        """The line above, and the first picks as a table."""
        title = f"<p>{html.escape(repr(self)[1:-1])}</p>"
        try:
            table: str = self[:SHOWN].to_pandas().to_html()
        except InputError:  # an extra column has a name that tables keep for others
            return title
        more = f"<p>... and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return title + table + more

    def __getitem__(self, rows: slice | ArrayLike) -> Self:
        """Some of the picks: a slice, a mask (n,) of truth values, or indices."""
        select = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(select, slice):
            if select.ndim != 1:
                raise InputError("Select picks with a slice, a mask or a list of indices: picks[3:4], not picks[3].")
            if select.size == 0 and select.dtype != bool:
                select = select.astype(int)
        return self.from_table({k: v[select] for k, v in self.columns.items()}, self.facts())

    def with_(self, **changes: Any) -> Self:
        """A copy with some columns or facts changed."""
        return replace(self, **changes)

    def on_grid(self, voxel_size: Vector3, origin: Vector3 = (0, 0, 0), shape: Index3 | None = None) -> Self:
        """The same places (in angstrom) counted in the voxels of another grid, for example another level."""
        position_vox = (self.position - np.asarray(origin, float)) / np.asarray(voxel_size, float)
        return replace(self, position_vox=position_vox, voxel_size=voxel_size, origin=origin, shape=shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Picks):
            return NotImplemented
        mine, theirs = self.columns, other.columns
        return (
            self.facts() == other.facts()
            and mine.keys() == theirs.keys()
            and all(np.array_equal(mine[k], theirs[k], equal_nan=mine[k].dtype.kind == "f") for k in mine)
        )

    def facts(self) -> dict[str, Any]:
        """Everything that is not a column, as JSON values."""
        return {
            "voxel_size": list(self.voxel_size),
            "origin": list(self.origin),
            "shape": None if self.shape is None else list(self.shape),
            "tomogram": self.tomogram,
            "feature": self.feature,
        }

    def flat(self) -> Columns:
        """The columns with one value per cell, named as in :mod:`volengine.core.flat`."""
        return flat_columns({**self.columns}, self.position, self.extra)

    def to_pandas(self) -> Any:
        """The picks as a ``pandas.DataFrame``, one row per pick, with the columns of :mod:`volengine.core.flat`.

        Positions are there in voxels and in angstrom. Voxel size, origin, shape and names are in ``frame.attrs``, which
        pandas keeps when rows are selected or columns are added.

        >>> frame = Picks([[10, 20, 30]], voxel_size=(10, 10, 10), tomogram="TS_01", weight=[3.0]).to_pandas()
        >>> list(frame.columns)
        ['tomogram', 'z_vox', 'y_vox', 'x_vox', 'z_a', 'y_a', 'x_a', 'weight']
        >>> Picks.from_pandas(frame[frame.weight > 2]).position_vox
        array([[10., 20., 30.]])
        """
        import pandas

        values: dict[str, Any] = {"tomogram": np.full(len(self), self.tomogram, dtype=object), **self.flat()}
        frame = pandas.DataFrame(values)
        frame.attrs.update(self.facts())
        return frame

    @classmethod
    def from_pandas(cls, frame: Any, **facts: Any) -> Self:
        """Picks from a table of pandas: the way back from :meth:`to_pandas`.

        Parameters
        ----------
        frame
            ``pandas.DataFrame`` with ``z_vox, y_vox, x_vox`` (or ``z_a, y_a, x_a``, which are turned into voxels); the
            other columns of :mod:`volengine.core.flat` where they are there, and any more as extra columns. Columns
            ``tomogram`` and ``feature`` have one name in all rows, which becomes that of the picks; columns of nothing
            but NaN are ignored.
        facts
            ``voxel_size``, ``origin``, ``shape``, ``tomogram``, ``feature``: instead of what ``frame.attrs`` says.

        Raises
        ------
        InputError
            No position or no voxel size; rows of several tomograms or features; a column that is there twice; positions
            in voxels and in angstrom that differ, or in angstrom along some axes alone.
        """
        labels = [str(name) for name in frame.columns]
        twice = next((name for i, name in enumerate(labels) if name in labels[:i]), None)
        if twice is not None:
            raise InputError(f"The table has two columns {twice!r}; drop or rename one.")
        known = {key: value for key, value in frame.attrs.items() if key in FACTS}
        for key in {"tomogram", "feature"} & set(labels):
            if not frame[key].isna().all():
                known[key] = _only(key, frame[key])
        known |= facts
        flat = {str(n): frame[n].to_numpy() for n in frame.columns if n not in ("tomogram", "feature")}
        if "voxel_size" not in known:
            raise InputError("The table does not say the voxel size; give voxel_size=(z, y, x) in angstrom.")
        angstrom = stacked(flat, ANGSTROM)
        columns, extra = gathered(flat)
        if "position_vox" not in columns:
            if angstrom is None:
                raise InputError(f"The table has no columns z_vox, y_vox, x_vox; there are {', '.join(flat)}.")
            origin = np.asarray(known.get("origin", (0, 0, 0)), float)
            columns["position_vox"] = (angstrom - origin) / np.asarray(known["voxel_size"], float)
        picks = cls(**columns, **known, extra=extra)
        if angstrom is not None:
            check_angstrom(angstrom, picks.position)
        return picks

    def to_table(self) -> Table:
        """The columns for the engine; extra columns are named ``extra.<name>``. Keep :meth:`facts` beside it."""
        return dict(self.columns)

    @classmethod
    def from_table(cls, table: Mapping[str, ArrayLike], facts: Mapping[str, Any]) -> Self:
        """Picks from what :meth:`to_table` and :meth:`facts` gave."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {"extra": {}}
        for key, value in table.items():
            if key.startswith(EXTRA):
                values["extra"][key.removeprefix(EXTRA)] = value
            elif key in known:
                values[key] = value
            else:
                raise InputError(f"A table of picks has no column {key!r}; name it {EXTRA + key!r}.")
        return cls(**{**facts, **values})


def concatenate(picks: Sequence[Picks]) -> Picks:
    """The picks of several tables with the same facts and the same columns, one below the other.

    Raises
    ------
    InputError
        If there are none, or if they differ in grid, tomogram, feature or columns.
    """
    if not picks:
        raise InputError("There are no picks to concatenate.")
    first = picks[0]
    for number, other in enumerate(picks[1:], 1):
        for key, value in other.facts().items():
            if value != first.facts()[key]:
                raise InputError(
                    f"Picks 0 and {number} differ in {key}: {first.facts()[key]} and {value}; "
                    "bring them together with with_() or on_grid() first."
                )
        if other.columns.keys() != first.columns.keys():
            differ = ", ".join(sorted(other.columns.keys() ^ first.columns.keys()))
            raise InputError(f"Picks 0 and {number} do not have the same columns: {differ}.")
    table = {k: np.concatenate([p.columns[k] for p in picks]) for k in first.columns}
    return Picks.from_table(table, first.facts())


def _only(key: str, values: Iterable[Any]) -> str:
    """Return the name that all rows of a column have."""
    names = list(dict.fromkeys(map(str, values)))
    if len(names) > 1:
        raise InputError(f"The table has picks of {len(names)} {key}s ({', '.join(names)}); select one.")
    return names[0]


def _vector(key: str, value: Sequence[float]) -> Vector3:
    try:
        z, y, x = (float(v) for v in value)
    except (TypeError, ValueError):
        raise InputError(f"{key} must be three numbers z, y, x in angstrom, not {value!r}.") from None
    if not np.isfinite([z, y, x]).all():
        raise InputError(f"{key} must be three numbers z, y, x in angstrom, not {value!r}.")
    return z, y, x
