"""Containers of MemBrain-pick (``.h5``): meshes with the tomogram along their normals, scores and centres.

Datasets, at the root for one mesh or in a group for each of several: ``points`` (n, 3) and ``normals`` (n, 3), x, y, z,
``points`` in voxels of the tomogram, 0-based; ``faces`` (m, 3); ``normal_values`` (n, d), the tomogram at d
distances, which the file does not state (10 steps of 2.5 angstrom to either side by default); ``scores`` (n,), of which
small ones are good (a distance to the nearest particle, in units of 15 angstrom); ``labels`` (n,); ``cluster_centers``
(k, 3) x, y, z, voxels; ``pixel_size`` in angstrom; ``tomo_file``. (Source: ``store_mesh_in_hdf5`` of
CellArchLab/membrain-pick, data_utils.py at 35994aa.)

The file is read in a process of its own, in at most 12 times the bytes of its arrays, and 2 GB of them.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.apart import answer, run_apart, scratch
from volengine.core.aside import private_name
from volengine.core.atomic import need_folder
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.surface import Surface

Floats = NDArray[np.float64]
SUFFIXES = (".h5",)
PROFILE = re.compile(r"profile_(m?[0-9]+(?:p[0-9]+)?)_nm")
"""Columns of profiles (``surfaces profile``): m is minus, p the decimal point."""
SECONDS, MEMORY, MOST_OUTPUT = (5, 60), 6_000_000_000, 2_000_000_000
"""Limits of the process that reads a file: processor time of an empty and of a large file, memory, what it writes."""
MEGABYTES_PER_SECOND = 0.5
"""How fast the time grows with the file, which may be compressed."""
SCORE, LABEL, VALUE = "score", "label", "normal_value_"
"""Columns of what the container calls ``scores``, ``labels`` and ``normal_values``."""


@dataclass(frozen=True)
class MembrainMeshes:
    """What a container holds.

    Parameters
    ----------
    surfaces
        The meshes, numbered from 1, as places. Columns ``score``, ``label``, ``normal_value_00`` ...
    names
        Names of their groups; empty for the only one.
    centres
        For each (k, 3) places of the clusters' centres, z, y, x, angstrom.
    pixel_size
        Voxel size, angstrom.
    tomogram
        Name of the tomogram's file; empty if it is not stated.
    """

    surfaces: list[Surface]
    names: list[str]
    centres: list[Floats]
    pixel_size: float
    tomogram: str = ""


@dataclass(frozen=True)
class _Arrays:
    name: str
    arrays: dict[str, Floats]
    texts: dict[str, str] = field(default_factory=dict)


def read_membrain_pick(path: str | os.PathLike[str], pixel_size: float | None = None) -> MembrainMeshes:
    """Read a container.

    Parameters
    ----------
    path
        The file.
    pixel_size
        Voxel size in angstrom, for a file that does not state it.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged, or holds no meshes.
    InputError
        Nothing states the voxel size, or its meshes state different ones.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"{file}: there is no such file.")
    with file.open("rb") as stream, scratch() as out:
        order = {"seconds": _seconds(file.stat().st_size), "memory": MEMORY, "output": MOST_OUTPUT}
        run_apart(Path(__file__).with_name("membrain_pick_child.py"), order, stream, out, str(file))
        meshes = _parsed(str(file), out)
    if not meshes:
        raise FormatError(f"{file}: holds no meshes of MemBrain-pick (datasets points and faces).")
    sizes = {float(one.arrays["pixel_size"].reshape(-1)[0]) for one in meshes if one.arrays.get("pixel_size", _NO).size}
    sizes = sizes or ({pixel_size} if pixel_size is not None else set())
    if len(sizes) != 1:
        raise InputError(
            f"{file}: states no pixel_size; give the voxel size of its tomogram."
            if not sizes
            else f"{file}: its meshes state different pixel sizes, {sorted(sizes)}; give a file for each tomogram."
        )
    size = sizes.pop()
    if not 0 < size < math.inf:
        raise FormatError(f"{file}: states a pixel size of {size} angstrom; it must be positive.")
    surfaces, centres = [], []
    for number, one in enumerate(meshes, start=1):
        surface, centre = _surface(file, one, number, size)
        surfaces.append(surface)
        centres.append(centre)
    tomogram = next((one.texts["tomo_file"] for one in meshes if one.texts.get("tomo_file")), "")
    return MembrainMeshes(surfaces, [one.name for one in meshes], centres, size, tomogram)


_NO = np.empty(0)


def _seconds(size: int) -> int:
    """Seconds of processor time for a file of so many bytes: on damaged files the HDF5 library can loop for ever.

    >>> _seconds(10_000), _seconds(10_000_000), _seconds(10**10)
    (5, 25, 60)
    """
    least, most = SECONDS
    return min(most, least + int(size / 1e6 / MEGABYTES_PER_SECOND))


def _parsed(path: str, out: IO[bytes]) -> list[_Arrays]:
    """The arrays that the process has written; it may have read hostile bytes, so everything is checked."""
    try:
        data, index = answer(out)
        if "refused" in index:
            raise FormatError(f"{path}: {index['refused']}; it is not read.")
        if "damaged" in index:
            raise FormatError(f"{path}: is no HDF5 file, or it is damaged or cut off ({index['damaged']}).")
        found, at = [], 0
        for mesh in index["meshes"]:
            arrays = {}
            for key, shape in mesh["arrays"].items():
                count = math.prod(shape)
                arrays[str(key)] = np.frombuffer(data, "<f8", count, at).reshape(shape)
                at += 8 * count
            if {"points", "faces"} <= arrays.keys():
                found.append(_Arrays(str(mesh["name"]), arrays, dict(mesh["texts"])))
        return found
    except (struct.error, ValueError, LookupError, TypeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: cannot be read ({error}).") from error


def _surface(file: Path, mesh: _Arrays, number: int, size: float) -> tuple[Surface, Floats]:
    """One mesh as a surface, and the centres on it."""
    where = f"{file}: mesh {mesh.name or number}"
    points, faces = mesh.arrays["points"], mesh.arrays["faces"]
    for key, array, width in (("points", points, 3), ("faces", faces, 3)):
        if array.ndim != 2 or array.shape[1] != width:
            raise FormatError(f"{where}: {key} has the shape {array.shape}, and must be (n, {width}).")
    if not (np.isfinite(faces).all() and (faces == np.rint(faces)).all() and np.abs(faces).max(initial=0) < 2**31):
        raise FormatError(f"{where}: is damaged: faces must be whole numbers.")
    columns: dict[str, Floats] = {}
    for key, name in (("scores", SCORE), ("labels", LABEL)):
        if key in mesh.arrays:
            columns[name] = mesh.arrays[key].reshape(-1)
    values = mesh.arrays.get("normal_values", np.empty((len(points), 0)))
    values = values.reshape(len(points), -1) if len(points) and values.size % len(points) == 0 else values
    if values.ndim == 2:
        columns |= {f"{VALUE}{k:02d}": values[:, k] for k in range(values.shape[1])}
    normals = mesh.arrays.get("normals")
    centres = mesh.arrays.get("cluster_centers", np.empty((0, 3)))
    centres = centres.reshape(-1, 3) if centres.size % 3 == 0 else centres
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            surface = Surface(
                points[:, ::-1] * size,
                faces.astype(np.int32),
                None if normals is None else normals[..., ::-1],
                columns,
                number,
            )
    except InputError as error:
        raise FormatError(f"{where}: is damaged: {error}") from error
    if centres.shape[1:] != (3,):
        raise FormatError(f"{where}: cluster_centers has the shape {centres.shape}, and must be (k, 3).")
    return surface, centres[:, ::-1] * size


def write_membrain_pick(
    path: str | os.PathLike[str],
    surfaces: Sequence[Surface],
    pixel_size: float,
    *,
    tomogram: str = "",
    centres: Sequence[Floats] | None = None,
) -> None:
    """Write a container: one mesh at the root, several in groups ``0001``, ``0002`` ...

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    surfaces
        The meshes. Columns ``score`` and ``label`` become ``scores`` and ``labels``; columns ``normal_value_00`` ...,
        or else those of profiles in the order of their distances, become ``normal_values``.
    pixel_size
        Voxel size, angstrom.
    tomogram
        Name of the tomogram's file.
    centres
        For each surface (k, 3) places of clusters' centres, z, y, x, angstrom.

    Raises
    ------
    InputError
        A pixel size that is not positive, or no surfaces.
    """
    import h5py

    file = Path(path)
    if not 0 < pixel_size < math.inf or not surfaces:
        raise InputError(f"{file}: needs a surface at least, and a positive pixel size, not {pixel_size}.")
    need_folder(file)
    aside = file.with_name(private_name())
    try:
        with h5py.File(aside, "w") as out:
            for k, surface in enumerate(surfaces):
                group = out if len(surfaces) == 1 else out.create_group(f"{surface.number or k + 1:04d}")
                for name, value in _datasets(surface, pixel_size).items():
                    group.create_dataset(name, data=value)
                if centres is not None:
                    group.create_dataset("cluster_centers", data=np.asarray(centres[k])[:, ::-1] / pixel_size)
                if tomogram:
                    group.create_dataset("tomo_file", data=tomogram, dtype=h5py.string_dtype())
                group.create_dataset("pixel_size", data=float(pixel_size))
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def _datasets(surface: Surface, pixel_size: float) -> dict[str, Any]:
    found: dict[str, Any] = {"points": surface.vertices[:, ::-1] / pixel_size, "faces": surface.faces}
    if surface.normals is not None:
        found["normals"] = surface.normals[:, ::-1]
    for name, key in ((SCORE, "scores"), (LABEL, "labels")):
        if name in surface.columns:
            found[key] = np.asarray(surface.columns[name])
    names = sorted(name for name in surface.columns if name.startswith(VALUE))
    if not names:
        at = {m[1].replace("m", "-").replace("p", "."): m[0] for m in map(PROFILE.fullmatch, surface.columns) if m}
        names = [at[text] for text in sorted(at, key=float)]
    if names:
        found["normal_values"] = np.stack([np.asarray(surface.columns[name]) for name in names], axis=1)
    return found
