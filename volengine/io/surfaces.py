"""Sets of surfaces: a folder with one PLY file for each surface, a table, and what they were made of.

``TS_01__membrane.surfaces`` holds ``0001.ply``, ``0002.ply`` ..., ``surfaces.csv`` (a row for each: number, file, area
...) and ``surfaces.json`` (the tomogram's name, voxel size, origin and shape, the history). The files hold positions,
origin included, so that viewers show them where they show the tomogram; in memory a surface has places, counted from
the centre of the first voxel.

>>> import tempfile
>>> from volengine.core.surface import Surface
>>> flat = Surface([[0, 0, 0], [0, 0, 10], [0, 10, 0]], [[0, 1, 2]], number=1)
>>> with tempfile.TemporaryDirectory() as folder:
...     facts = SurfaceFacts(tomogram="TS_01", feature="membrane", voxel_size=(8.0, 8.0, 8.0))
...     write_surfaces(f"{folder}/TS_01.surfaces", [(flat, {"area_nm2": 0.5})], facts)
...     found = open_surfaces(f"{folder}/TS_01.surfaces")
...     len(found), found.read(1).vertices[1].tolist(), found.rows[0]["area_nm2"]
(1, [0.0, 0.0, 10.0], 0.5)
"""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import html
import io
import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.aside import is_private, private_place, sweep
from volengine.core.atomic import write_atomic, write_json
from volengine.core.boxes import Index3
from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.core.markup import facts_html, rows_html
from volengine.core.paths import PathLike, path_text
from volengine.core.surface import Surface
from volengine.core.text import counted
from volengine.core.volume import Vector3, size_text
from volengine.io.membrain_pick import SUFFIXES, MembrainMeshes, read_membrain_pick
from volengine.io.meshes import ENDINGS, read_mesh, write_mesh
from volengine.ops.pictures import dots_png

ENDING = ".surfaces"
FACTS, TABLE = "surfaces.json", "surfaces.csv"
FORMAT = "volengine surfaces 1"
LARGEST_SEEN = 32_000_000
"""Bytes of the files of a set of which a notebook shows a picture."""
NORMALS = ("nz", "ny", "nx")
Row = dict[str, Any]
_OURS = re.compile(r"\d{4,}\.ply")


@dataclass(frozen=True)
class SurfaceFacts:
    """What a set of surfaces is about.

    Parameters
    ----------
    tomogram, feature
        Names.
    voxel_size, origin
        The tomogram's grid, angstrom, z, y, x; ``voxel_size`` is ``None`` if nothing states it (files of meshes).
    shape
        The tomogram's shape, voxels z, y, x; ``None`` if nothing states it.
    history
        Steps that made the set, as those of images.
    """

    tomogram: str = ""
    feature: str = ""
    voxel_size: Vector3 | None = None
    origin: Vector3 = (0.0, 0.0, 0.0)
    shape: Index3 | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class SurfaceSet:
    """Surfaces of one tomogram; each is read when it is asked for.

    Parameters
    ----------
    path
        The folder, or the one mesh file.
    facts
        What they are about.
    rows
        A row for each surface, with ``number`` and ``file``, and whatever was measured.
    """

    path: Path
    facts: SurfaceFacts
    rows: list[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Surface]:
        return (self.read(row["number"]) for row in self.rows)

    def _repr_html_(self) -> str:
        """Show the facts and the first rows, and the surfaces as seen along z if their files are small."""
        facts = self.facts
        grid = " x ".join(map(str, facts.shape or ()))
        size = "" if facts.voxel_size is None else f"{size_text(facts.voxel_size)} angstrom"
        said = {"feature": facts.feature, "tomogram": facts.tomogram, "its shape (z, y, x)": grid, "voxel size": size}
        try:
            picture = self._picture()
        except (VolengineError, OSError, ValueError) as error:
            picture = f"<p>no picture: {html.escape(str(error))}</p>"
        return facts_html(f"{counted(len(self), 'surface')}, {self.path}", said, picture) + rows_html(self.rows)

    def _picture(self) -> str:
        """The vertices of all surfaces as seen along z; nothing if that takes long."""
        files = {self.path if self.path.is_file() else self.path / row["file"] for row in self.rows}
        if not files or sum(file.stat().st_size for file in files) > LARGEST_SEEN:
            return ""
        png = base64.b64encode(dots_png(np.concatenate([one.vertices[:, 1:] for one in self]))).decode()
        return f'<img alt="The surfaces seen along z" src="data:image/png;base64,{png}">'

    def read(self, number: int) -> Surface:
        """Read one surface by its number, as places.

        Raises
        ------
        MissingError, FormatError
            There is no surface of that number, or its file is gone or damaged.
        """
        row = next((row for row in self.rows if row["number"] == number), None)
        if row is None:
            raise MissingError(f"{self.path}: has no surface {number}; it has {len(self)}.")
        file = self.path if self.path.is_file() else self.path / row["file"]
        if file.suffix.lower() in SUFFIXES:
            size = self.facts.voxel_size
            return _container(file, file.stat().st_mtime_ns, size and size[0]).surfaces[number - 1]
        try:
            vertices, faces, columns = read_mesh(file)
        except FormatError as error:
            if self.path.is_file():
                raise
            raise FormatError(f"{error} {_made_again(self.path)}") from error
        normals = None
        if all(name in columns for name in NORMALS):
            normals = np.stack([columns.pop(name) for name in NORMALS], axis=1).astype(np.float64)
        return Surface(vertices - np.asarray(self.facts.origin), faces, normals, columns, number)


def write_surfaces(path: PathLike, surfaces: Iterable[tuple[Surface, Mapping[str, Any]]], facts: SurfaceFacts) -> None:
    """Write a set of surfaces beside its place, and move it there when it is whole.

    A set that was there before is replaced at the end, and stays if something fails before. What others have put into
    it stays.

    Parameters
    ----------
    path
        The folder; whether one that exists may be replaced is asked before (:func:`may_replace`).
    surfaces
        Each surface with what is known of it (numbers and texts, by name: columns of the table). Surfaces are numbered
        in this order, from 1, unless they have a number.
    facts
        What they are about.
    """
    folder = Path(path_text(path))
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent, below=False)
    with private_place(folder.parent) as place:
        made = place / "made"
        made.mkdir()
        rows: list[Row] = []
        for at, (surface, more) in enumerate(surfaces, start=1):
            number = surface.number or at
            write_surface(made / file_of(number), surface, facts)
            rows.append({"number": number, "file": file_of(number), **more})
        write_list(made, rows, facts)
        if folder.is_dir():
            _keep_strangers(folder, made)
            folder.rename(place / "before")
        made.rename(folder)


def _keep_strangers(folder: Path, made: Path) -> None:
    """Copy what others have put into a set, such as notes, into the one that replaces it."""
    for path in folder.iterdir():
        ours = path.name in (TABLE, FACTS) or _OURS.fullmatch(path.name) or is_private(path.name)
        if ours or (made / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, made / path.name, symlinks=True)
        else:
            shutil.copy2(path, made / path.name, follow_symlinks=False)


def may_replace(folder: Path) -> bool:
    """Whether there is nothing in a place but a set of surfaces, half a set, or an empty folder."""
    if not folder.is_dir():
        return not folder.exists()
    inside = [path.name for path in folder.iterdir()]
    return FACTS in inside or all(name == TABLE or _OURS.fullmatch(name) for name in inside)


def file_of(number: int) -> str:
    """Name of the file of a surface.

    >>> file_of(12)
    '0012.ply'
    """
    return f"{number:04d}.ply"


def write_surface(file: Path, surface: Surface, facts: SurfaceFacts) -> None:
    """Write one surface in the format that the file's ending names; columns and normals only in PLY."""
    columns = dict(surface.columns) if file.suffix.lower() == ".ply" else {}
    if surface.normals is not None and file.suffix.lower() == ".ply":
        columns = {**dict(zip(NORMALS, surface.normals.T.astype(np.float32), strict=True)), **columns}
    write_mesh(file, surface.vertices + np.asarray(facts.origin), surface.faces, columns)


def write_list(folder: Path, rows: list[Row], facts: SurfaceFacts) -> None:
    """Write ``surfaces.csv`` and ``surfaces.json`` of a folder that holds the files already."""
    if len({row["number"] for row in rows}) < len(rows):
        raise InputError(f"{folder}: two surfaces have the same number.")
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["number", "file"]
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomic(folder / TABLE, text.getvalue())
    write_json(folder / FACTS, {"format": FORMAT, **asdict(facts), "surfaces": [_plain(row) for row in rows]})


def files_of_set(folder: PathLike, rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The files of a set with these rows (``file``): its facts, its table, its meshes."""
    where = Path(path_text(folder))
    return tuple(str(where / name) for name in (FACTS, TABLE, *(row["file"] for row in rows)))


def open_surfaces(path: PathLike, facts: SurfaceFacts | None = None) -> SurfaceSet:
    """Open a set of surfaces, or a mesh file, or a folder of mesh files, as a set.

    Parameters
    ----------
    path
        A folder that :func:`write_surfaces` made, one file (``.ply``, ``.obj``, ``.stl``, ``.glb``), or a folder of
        such files. Files alone state neither voxel size nor origin. ``.h5``: a container of MemBrain-pick, which states
        its voxel size (:mod:`volengine.io.membrain_pick`).
    facts
        What mesh files are about; a set that states its own facts refuses others.

    Raises
    ------
    MissingError
        There is nothing there.
    FormatError
        The folder holds no mesh files, or its list is damaged or names files that are not there.
    """
    where = Path(path_text(path))
    if not where.exists():
        raise MissingError(f"{where}: there is no such file or folder of surfaces.")
    if where.is_file() and where.suffix.lower() in SUFFIXES:
        return _membrain(where, facts)
    if where.is_file():
        if where.suffix.lower() not in ENDINGS:
            raise FormatError(f"{where}: is no mesh; surfaces are folders *{ENDING}, or {', '.join(ENDINGS)}.")
        return SurfaceSet(where, facts or SurfaceFacts(tomogram=where.stem), [{"number": 1, "file": where.name}])
    if (where / FACTS).is_file():
        if facts is not None:
            raise InputError(f"{where}: states its tomogram, voxel size and origin itself; leave them away.")
        return _listed(where)
    if where.suffix == ENDING:
        raise FormatError(f"{where}: has no {FACTS}: it was not finished. {_made_again(where)}")
    files = sorted(file.name for file in where.iterdir() if file.suffix.lower() in ENDINGS)
    if not files:
        sets = sorted(one.name for one in where.glob(f"*{ENDING}"))
        more = f" It holds {len(sets)} sets; give one of them, for example {where / sets[0]}." if sets else ""
        raise FormatError(f"{where}: holds no surfaces ({', '.join(ENDINGS)}).{more}")
    rows: list[Row] = [{"number": number, "file": name} for number, name in enumerate(files, start=1)]
    return SurfaceSet(where, facts or SurfaceFacts(tomogram=where.name), rows)


@functools.lru_cache(maxsize=1)
def _container(file: Path, changed: int, size: float | None) -> MembrainMeshes:
    """A container of MemBrain-pick, which is read once for all of its meshes."""
    return read_membrain_pick(file, size)


def _membrain(where: Path, facts: SurfaceFacts | None) -> SurfaceSet:
    """The meshes of a container of MemBrain-pick; its points are voxel indices, so they become places."""
    size = None if facts is None or facts.voxel_size is None else facts.voxel_size[0]
    found = _container(where, where.stat().st_mtime_ns, size)
    name = Path(found.tomogram).name.partition(".")[0] or where.stem
    stated = facts or SurfaceFacts(tomogram=name, voxel_size=(found.pixel_size,) * 3)
    rows: list[Row] = [{"number": one.number, "file": where.name} for one in found.surfaces]
    return SurfaceSet(where, stated, rows)


def _listed(where: Path) -> SurfaceSet:
    try:
        told = json.loads((where / FACTS).read_text())
        if told.pop("format") != FORMAT:
            raise ValueError(f"not {FORMAT!r}")
        rows = told.pop("surfaces")
        missing = [row["file"] for row in rows if not (where / _inside(row["file"])).is_file()]
        if any(not isinstance(row["number"], int) for row in rows):
            raise ValueError("a number of a surface is no number")
        facts = SurfaceFacts(**told)
        known = replace(
            facts,
            voxel_size=None if facts.voxel_size is None else _vector(facts.voxel_size),
            origin=_vector(facts.origin),
            shape=None if facts.shape is None else _shape(facts.shape),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{where / FACTS}: is damaged ({error}). {_made_again(where)}") from error
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MissingError(f"{where}: {missing[0]} is missing{more}. {_made_again(where)}")
    return SurfaceSet(where, known, rows)


def _made_again(where: Path) -> str:
    """What to do about a set that is damaged: the steps that made it are in its list, if that can be read."""
    verb = ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        verb = str(json.loads((where / FACTS).read_text())["history"][-1]["verb"])
    if not re.fullmatch(r"[a-z ]{1,40}", verb):
        verb = "surface (of a prediction or labels) or volengine surfaces convert (of mesh files)"
    return f"Remove it, and make it again: volengine {verb} with --out {where}"


def _inside(name: str) -> str:
    """A file's name, which must not lead out of the folder."""
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file in the folder")
    return name


def _vector(values: Any) -> Vector3:
    z, y, x = (float(v) for v in values)
    if not all(map(math.isfinite, (z, y, x))):
        raise ValueError(f"{values} are not three finite numbers")
    return z, y, x


def _shape(values: Any) -> Index3:
    z, y, x = (int(v) for v in values)
    return z, y, x


def _plain(row: Mapping[str, Any]) -> Row:
    """A row in types that JSON has."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
