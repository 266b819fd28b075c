"""The tomogram along the normals of a surface, and unrolled into pictures: what workers compute of one surface.

Column ``profile_m2p5_nm`` of a surface holds for each vertex the value at -2.5 nm, on the inner side of it (names of
columns have no signs and points: m is minus, p the decimal point). A picture is a
*membranogram*: one panel for each distance, as if one walked along the membrane at that height.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.tasks.surfaces.picking_recipes import SurfacesProfileRecipe
from volengine.tasks.surfaces.sampler import Sampler

Floats = NDArray[np.float64]
NAME = re.compile(r"profile_(m?[0-9]+(?:p[0-9]+)?)_nm")
PIXELS = 1 << 16
PANELS = 5
FOLDED = 0.2
"""Share of pixels with two places of a surface from which the picture is of little use."""
LEAST_WIDTH = 480
"""Pixels; narrower pictures are enlarged."""


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


def pictures(
    surface: Surface, distance_nm: Floats, sample: Sampler, folder: Path, recipe: SurfacesProfileRecipe
) -> tuple[list[Path], str]:
    """Write the picture of one surface as PNG and NPY; returns the files and a sentence for the user."""
    from volengine.core.atomic import replacing, write_atomic
    from volengine.ops.pictures import png

    values, flat, raster = membranogram(surface, distance_nm, sample, recipe.pixel_nm * NM, recipe.unroll)
    low, mid, high = flat.stretch
    said = (
        f"{surface.name}: unrolled as {flat.how}; areas in the picture are {low:.2f} to {high:.2f} of the true ones "
        f"(median {mid:.2f}, 90 % of the area lies between)"
        + (f"; {raster.twice:.1%} of the pixels have two places of the surface." if raster.twice > 0.01 else ".")
    )
    if raster.twice > FOLDED:
        said += " If it goes around a membrane, one face of it (surface --side outer or inner) is easier to show."
    files = [folder / f"{surface.number:04d}.png", folder / f"{surface.number:04d}.npy"]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(files[0], png(_panels(values, distance_nm, recipe.shown_nm)))
    with replacing(files[1], parents=True) as stream:
        np.save(stream, values)
    return files, said


def _panels(values: NDArray[np.float32], distance_nm: Floats, shown_nm: tuple[float, ...]) -> NDArray[np.uint8]:
    """Grey panels below each other with their distances, all with one window; where there is no surface, blue.

    Small ones are enlarged to a width of at least 480 pixels.
    """
    from volengine.ops.pictures import captioned, enlarge, grey

    wanted = np.asarray(shown_nm or np.linspace(distance_nm[0], distance_nm[-1], min(PANELS, len(distance_nm))))
    chosen = [int(np.argmin(np.abs(distance_nm - d))) for d in wanted]
    there = values[np.isfinite(values)]
    window = tuple(np.percentile(there, [0.5, 99.5]).tolist()) if there.size else (0.0, 1.0)
    window = (window[0], window[1] if window[1] > window[0] else window[0] + 1)
    scale = max(1, -(-LEAST_WIDTH // values.shape[2]))
    panels = []
    for k in chosen:
        picture = grey(np.nan_to_num(values[k], nan=window[0]), window)
        picture[np.isnan(values[k])] = (30, 40, 70)
        panels.append(captioned(enlarge(picture, scale), f"{distance_nm[k]:+.4g} nm"))
    return np.concatenate(panels)
