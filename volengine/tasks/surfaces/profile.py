"""surfaces profile: the tomogram along the normals of surfaces, as columns, and unrolled into pictures.

Column ``profile_m2p5_nm`` of a surface holds for each vertex the value at -2.5 nm, on the inner side of it (names of
columns have no signs and points: m is minus, p the decimal point). A picture is a
*membranogram*: one panel for each distance, as if one walked along the membrane at that height.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.tasks.surfaces.picking_recipes import SurfacesProfileRecipe
from volengine.tasks.surfaces.writing import check_out_set, refuse_source

if TYPE_CHECKING:
    from volengine.tasks.surfaces.sampler import Sampler

Floats = NDArray[np.float64]
NAME = re.compile(r"profile_(m?[0-9]+(?:p[0-9]+)?)_nm")
PIXELS = 1 << 16
PANELS = 5


@dataclass(frozen=True)
class Profiled:
    """What was read along the normals.

    Parameters
    ----------
    out
        The set of surfaces with the profiles.
    outside
        Share of the values that lie outside of the tomogram, which are NaN.
    pictures
        Files of pictures.
    notes
        Sentences for the user.
    """

    out: str
    outside: float
    pictures: tuple[str, ...]
    notes: tuple[str, ...] = ()


def column_name(distance_nm: float) -> str:
    """Name of the column with the values at a distance.

    >>> column_name(-2.5), column_name(0)
    ('profile_m2p5_nm', 'profile_0_nm')
    """
    text = f"{distance_nm:.6f}".rstrip("0").rstrip(".")
    return f"profile_{'0' if text == '-0' else text.replace('-', 'm').replace('.', 'p')}_nm"


def distance_in(name: str) -> float | None:
    """The distance in nm of a column of a profile; ``None`` for other columns.

    >>> distance_in("profile_m2p5_nm"), distance_in("score")
    (-2.5, None)
    """
    found = NAME.fullmatch(name)
    return None if found is None else float(found[1].replace("m", "-").replace("p", "."))


def profiles_of(surface: Surface) -> tuple[Floats, Floats]:
    """The distances in nm, rising, and the values (n, d) of the profiles that a surface has as columns."""
    found = {d: name for name in surface.columns if (d := distance_in(name)) is not None}
    names = [found[distance] for distance in sorted(found)]
    values = [np.asarray(surface.columns[name], np.float64) for name in names]
    return np.array(sorted(found)), np.stack(values, axis=1) if values else np.empty((len(surface.vertices), 0))


def profile_surfaces(
    source: PathLike, out: PathLike, recipe: SurfacesProfileRecipe | Mapping[str, Any] | None = None
) -> Profiled:
    """Read a tomogram along the normals of surfaces.

    Parameters
    ----------
    source
        A set of surfaces, or a file of a mesh. Normals that it does not have are computed from its faces.
    out
        The set that is written: the same surfaces with their profiles.
    recipe
        The tomogram, the distances, the pictures.

    Returns
    -------
    Profiled
        What was written, and how many values lie outside of the tomogram.

    Raises
    ------
    MissingError, FormatError
        Surfaces or tomogram do not exist, or are damaged.
    InputError
        Something exists at ``out``; the tomogram is another one.
    """
    from volengine.io.surfaces import write_surfaces
    from volengine.ops.surfaces.profile_sampling import steps
    from volengine.tasks.surfaces.reading import beside
    from volengine.tasks.surfaces.sampler import Sampler

    recipe = SurfacesProfileRecipe.of(recipe)
    where, place = path_text(source), path_text(out)
    surfaces, volume, notes = beside(where, recipe.tomogram, recipe.any_origin)
    assert volume is not None  # the recipe asks for it
    check_out_set(place, recipe.overwrite, where, recipe.tomogram)
    folder = None if recipe.picture is None else Path(recipe.picture)
    if folder is not None:
        refuse_source(folder, where, recipe.tomogram)
    distance_nm = steps(recipe.from_nm, recipe.to_nm, recipe.step_nm)
    sample, missing = Sampler(volume, recipe.order), [0, 0]
    pictures: list[str] = []

    def made() -> Iterator[tuple[Surface, Mapping[str, Any]]]:
        for row in surfaces.rows:
            done = profiled(surfaces.read(row["number"]), distance_nm, sample)
            values = np.stack([done.columns[column_name(d)] for d in distance_nm], axis=1)
            missing[0] += int(np.isnan(values).sum())
            missing[1] += values.size
            if folder is not None:
                pictures.extend(_pictures(done, distance_nm, sample, folder, recipe, notes))
            yield done, {k: v for k, v in row.items() if k not in ("number", "file")}

    step = {"verb": "surfaces profile", "recipe": recipe.to_json(), "tomogram": volume.where}
    write_surfaces(place, made(), replace(surfaces.facts, history=[*surfaces.facts.history, step]))
    return Profiled(place, missing[0] / max(1, missing[1]), tuple(pictures), tuple(notes))


def profiled(surface: Surface, distance_nm: Floats, sample: Sampler) -> Surface:
    """The surface with its normals, and a float32 column for each distance."""
    from volengine.ops.surfaces.points import normals_of

    normals = normals_of(surface)
    values = sample.along(surface.vertices, normals, distance_nm * NM, np.float32)
    columns = {column_name(d): values[:, k] for k, d in enumerate(distance_nm)}
    return replace(surface, normals=normals, columns={**surface.columns, **columns})


def membranogram(
    surface: Surface, distance_nm: Floats, sample: Sampler, pixel: float, how: Any = "auto"
) -> tuple[NDArray[np.float32], Any, Any]:
    """The tomogram on an unrolled surface.

    Parameters
    ----------
    surface
        A surface with normals.
    distance_nm
        Distances along the normal.
    sample
        Reads the tomogram.
    pixel
        Side of a pixel, angstrom.
    how
        As in :func:`volengine.ops.surfaces.unroll.unroll`.

    Returns
    -------
    (distances, rows, columns) float32, NaN where there is no surface; the unrolled surface; the faces in the pixels.
    """
    from volengine.ops.surfaces.points import normals_of, on_faces
    from volengine.ops.surfaces.profile_sampling import along_normals
    from volengine.ops.surfaces.unroll import rasterised, unroll

    flat = unroll(surface, how)
    raster = rasterised(flat, pixel)
    found = np.full((len(distance_nm), *raster.face.shape), np.nan, np.float32)
    rows, columns = np.nonzero(raster.face >= 0)
    normals = normals_of(surface)
    for first in range(0, len(rows), PIXELS):
        r, c = rows[first : first + PIXELS], columns[first : first + PIXELS]
        at = on_faces(surface, normals, raster.face[r, c], raster.weights[r, c])
        found[:, r, c] = sample(along_normals(at.place, at.normal, distance_nm * NM)).T
    return found, flat, raster


def _pictures(
    surface: Surface,
    distance_nm: Floats,
    sample: Sampler,
    folder: Path,
    recipe: SurfacesProfileRecipe,
    notes: list[str],
) -> list[str]:
    """Write the picture of one surface as PNG and NPY."""
    from volengine.core.atomic import replacing, write_atomic
    from volengine.ops.pictures import png

    values, flat, raster = membranogram(surface, distance_nm, sample, recipe.pixel_nm * NM, recipe.unroll)
    low, mid, high = flat.stretch
    notes.append(
        f"{surface.name}: unrolled as {flat.how}; areas in the picture are {low:.2f} to {high:.2f} of the true ones "
        f"(median {mid:.2f}, 90 % of the area lies between)"
        + (f"; {raster.twice:.1%} of the pixels have two places of the surface." if raster.twice > 0.01 else ".")
    )
    files = [folder / f"{surface.number:04d}.png", folder / f"{surface.number:04d}.npy"]
    for file in files:
        if file.exists() and not recipe.overwrite:
            raise InputError(f"{file} exists; give another folder or --overwrite.")
    write_atomic(files[0], png(_panels(values, distance_nm, recipe.shown_nm)))
    with replacing(files[1], parents=True) as stream:
        np.save(stream, values)
    return [str(file) for file in files]


def _panels(values: NDArray[np.float32], distance_nm: Floats, shown_nm: tuple[float, ...]) -> NDArray[np.uint8]:
    """Grey panels below each other, all with the same window; where there is no surface they are blue."""
    from volengine.ops.pictures import grey

    wanted = np.asarray(shown_nm or np.linspace(distance_nm[0], distance_nm[-1], min(PANELS, len(distance_nm))))
    chosen = [int(np.argmin(np.abs(distance_nm - d))) for d in wanted]
    there = values[np.isfinite(values)]
    window = tuple(np.percentile(there, [0.5, 99.5]).tolist()) if there.size else (0.0, 1.0)
    window = (window[0], window[1] if window[1] > window[0] else window[0] + 1)
    panels = []
    for k in chosen:
        picture = grey(np.nan_to_num(values[k], nan=window[0]), window)
        picture[np.isnan(values[k])] = (30, 40, 70)
        panels += [picture, np.full((3, picture.shape[1], 3), 255, np.uint8)]
    return np.concatenate(panels[:-1])
