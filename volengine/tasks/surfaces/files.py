"""surfaces convert, surfaces info: sets of surfaces in other formats, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import InputError, MissingError
from volengine.core.paths import PathLike, path_text
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM
from volengine.io.meshes import ENDINGS
from volengine.io.surfaces import (
    ENDING,
    SurfaceFacts,
    SurfaceSet,
    file_of,
    open_surfaces,
    write_surface,
    write_surfaces,
)
from volengine.ops.surfaces.topology import shape_of
from volengine.tasks.surfaces.files_recipe import SurfacesConvertRecipe
from volengine.tasks.surfaces.writing import check_out_set


def convert_surfaces(source: PathLike, out: PathLike, recipe: SurfacesConvertRecipe | None = None) -> list[str]:
    """Write surfaces in another format.

    Parameters
    ----------
    source
        A set, a mesh file, or a folder of mesh files.
    out
        A mesh file (``.ply``, ``.obj``, ``.stl``, ``.glb``), which holds all surfaces; a set (``NAME.surfaces``); or a
        folder, for a file of each surface.
    recipe
        Which surfaces, and what mesh files do not say.

    Returns
    -------
    list of str
        The files and folders that were written.

    Raises
    ------
    MissingError
        There is no such source, or no surface of a number.
    InputError
        The set has no surfaces, or ``out`` is the source, or exists.

    Examples
    --------
    >>> convert_surfaces("TS_01.surfaces", "TS_01.glb")                                              # doctest: +SKIP
    ['TS_01.glb']
    """
    recipe = recipe or SurfacesConvertRecipe()
    found = _opened(path_text(source), recipe)
    target = Path(path_text(out))
    if target.resolve() == found.path.resolve():
        raise InputError(f"--out {target} is what is read; give another place.")
    numbers = _numbers(found, recipe)
    ending = target.suffix.lower()
    if ending == ENDING:
        check_out_set(str(target), recipe.overwrite)
        rows = {row["number"]: row for row in found.rows}
        write_surfaces(target, ((found.read(n), _known(rows[n])) for n in numbers), found.facts)
        return [str(target)]
    if ending in ENDINGS:
        _check_new([target], recipe.overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_surface(target, joined([found.read(number) for number in numbers]), found.facts)
        return [str(target)]
    if ending and not target.is_dir():
        raise InputError(
            f"--out {target}: surfaces are written as {', '.join(ENDINGS)} (one file of all), as a set *{ENDING}, or "
            "into a folder, a file of each (--to)."
        )
    files = [target / f"{Path(file_of(number)).stem}.{recipe.to}" for number in numbers]
    _check_new(files, recipe.overwrite)
    target.mkdir(parents=True, exist_ok=True)
    for number, file in zip(numbers, files, strict=True):
        write_surface(file, found.read(number), found.facts)
    return [str(file) for file in files]


def _check_new(files: list[Path], overwrite: bool) -> None:
    if not overwrite and (there := next((file for file in files if file.exists()), None)):
        raise InputError(f"{there} exists; give another name or --overwrite.")


def _opened(source: str, recipe: SurfacesConvertRecipe) -> SurfaceSet:
    if not recipe.states:
        return open_surfaces(source)
    facts = SurfaceFacts(
        tomogram=recipe.tomogram or Path(source).stem,
        feature=recipe.feature,
        voxel_size=None if recipe.voxel_size is None else recipe.sizes,
        origin=recipe.origin or (0.0, 0.0, 0.0),
        shape=recipe.shape,
    )
    return open_surfaces(source, facts)


def _numbers(found: SurfaceSet, recipe: SurfacesConvertRecipe) -> list[int]:
    there = [row["number"] for row in found.rows]
    if missing := sorted(set(recipe.numbers) - set(there)):
        raise MissingError(f"{found.path}: has no surface {missing[0]}; it has {len(there)}: {_few(there)}.")
    if not there:
        raise InputError(f"{found.path}: has no surfaces, so there is nothing to write.")
    return list(recipe.numbers) or there


def _few(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return shown if len(numbers) <= 5 else f"{shown} ... {numbers[-1]}"


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("number", "file")}


def joined(surfaces: list[Surface]) -> Surface:
    """Join surfaces to one, with the number of the surface of each vertex as the column ``surface``.

    Columns and normals that not all of them have are left out.
    """
    begins = np.cumsum([0, *(len(one.vertices) for one in surfaces)])
    names = set.intersection(*(set(one.columns) for one in surfaces)) - {"surface"}
    columns = {name: np.concatenate([one.columns[name] for one in surfaces]) for name in sorted(names)}
    normals = [one.normals for one in surfaces if one.normals is not None]
    return Surface(
        np.concatenate([one.vertices for one in surfaces]),
        np.concatenate([one.faces + a for one, a in zip(surfaces, begins[:-1].tolist(), strict=True)]),
        np.concatenate(normals) if len(normals) == len(surfaces) else None,
        {**columns, "surface": np.repeat([one.number for one in surfaces], np.diff(begins))},
    )


def surfaces_info(source: PathLike) -> dict[str, Any]:
    """Return what a set of surfaces, a mesh file or a folder of them holds.

    Returns
    -------
    dict
        ``path``, the facts of the set, and ``surfaces``: a row for each with what its table says, or else what its mesh
        is: vertices, faces, ``area_nm2``, ``volume_nm3`` (``None`` if it is open), ``closed``, ``islands``,
        ``border_loops``, ``genus``.
    """
    found = open_surfaces(source)
    facts = {name: value for name, value in vars(found.facts).items() if name != "history" and value not in (None, "")}
    return {"path": str(found.path), **facts, "surfaces": list(_rows(found))}


def _rows(found: SurfaceSet) -> Iterator[dict[str, Any]]:
    for row in found.rows:
        if "area_nm2" in row and "genus" in row:
            yield row
            continue
        one = found.read(row["number"])
        shape = shape_of(one.vertices, one.faces)
        area, volume = shape.pop("area"), shape.pop("volume")
        size = {"area_nm2": area / NM_TO_ANGSTROM**2, "volume_nm3": volume / NM_TO_ANGSTROM**3}
        if volume != volume:
            size["volume_nm3"] = None
        measured = {"vertices": len(one.vertices), "faces": len(one.faces), **size, **shape}
        yield {**row, **{name: value for name, value in measured.items() if name not in row}}
