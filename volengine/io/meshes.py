"""Triangle meshes in files: binary PLY, OBJ, binary STL and GLB, read and written by trimesh.

Arrays hold positions in angstrom, z, y, x; files hold x, y, z, as every viewer expects. Faces go counterclockwise seen
from outside in the right-handed frame x, y, z, in arrays and in files alike. No format states a unit of length.

>>> write_mesh("vesicle.ply", vertices, faces, {"instance": instance})                               # doctest: +SKIP
>>> vertices, faces, columns = read_mesh("vesicle.ply")                                              # doctest: +SKIP
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.atomic import replacing
from volengine.core.errors import FormatError, InputError, MissingError

Floats = NDArray[np.float64]
Faces = NDArray[np.int32]
Mesh = tuple[Floats, Faces, dict[str, NDArray[Any]]]

ENDINGS = (".ply", ".obj", ".stl", ".glb")
_PLY_TYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
_COMMENT = "lengths in angstrom"


def write_mesh(
    path: str | os.PathLike[str], vertices: ArrayLike, faces: ArrayLike, columns: Mapping[str, ArrayLike] | None = None
) -> None:
    """Write a mesh in the format that the file's ending names: ``.ply``, ``.obj``, ``.stl`` or ``.glb``.

    Parameters
    ----------
    path
        The file; it appears when it is complete.
    vertices
        (n, 3), angstrom, z, y, x; three decimals in OBJ, float32 in the others.
    faces
        (m, 3) numbers of vertices, from 0; at least one face. STL holds only the vertices that faces use.
    columns
        Further numbers of each vertex, by name, (n,); PLY only. ``nx``, ``ny``, ``nz`` are normals.

    Raises
    ------
    InputError
        Another ending, no faces, faces that name vertices that are not there, columns of another length or called
        ``x``, ``y`` or ``z``.
    """
    at = np.asarray(vertices, np.float64).reshape(-1, 3)
    corners = np.asarray(faces).reshape(-1, 3)
    more = {name: np.asarray(column) for name, column in (columns or {}).items()}
    ending = _ending(path)
    if not np.isfinite(at).all():
        raise InputError(f"{path}: a vertex of the mesh is not finite.")
    if not len(corners):
        raise InputError(f"{path}: the mesh has no faces; a file of a mesh needs at least one.")
    if not 0 <= corners.min() <= corners.max() < len(at):
        raise InputError(
            f"{path}: the faces name vertices {corners.min()} to {corners.max()}, and there are {len(at)}, from 0."
        )
    for name, column in more.items():
        if column.shape != (len(at),) or not name.isidentifier() or column.dtype.kind not in "iufb":
            raise InputError(f"{path}: column {name!r} needs one number for each of the {len(at)} vertices.")
    if taken := sorted({"x", "y", "z"} & more.keys()):
        raise InputError(f"{path}: a column cannot be called {taken[0]!r}, as PLY calls the place of a vertex so.")
    if more and ending != ".ply":
        raise InputError(f"{path}: only PLY holds columns ({', '.join(more)}); write .ply.")
    data = _encoded(ending, at[:, ::-1], corners, {name: _storable(column) for name, column in more.items()})
    with replacing(path) as file:
        file.write(data)


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read a mesh; faces of four corners become two triangles.

    Returns
    -------
    Vertices (n, 3) float64, angstrom, z, y, x; faces (m, 3) int32; further columns of the vertices (PLY), (n,) by name.
    STL holds triangles only: corners at the same place become one vertex.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        Another ending than ``.ply``, ``.obj``, ``.stl``, ``.glb``.
    FormatError
        The file is truncated, or not what its ending says; it holds no faces, or faces that name vertices that are not
        there.
    """
    import trimesh

    file, ending = Path(path), _ending(path)
    if not file.is_file():
        raise MissingError(f"{file}: there is no such file.")
    kind, data = ending[1:], file.read_bytes()
    if not data.strip():
        raise FormatError(f"{file}: is empty; export it again.")
    try:
        # from memory: no texture or material file that the mesh may name is looked for
        mesh = trimesh.load_mesh(
            io.BytesIO(data), file_type=kind, process=False, skip_materials=True, maintain_order=True
        )
        if ending == ".stl":
            mesh.merge_vertices()
        at, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    except Exception as error:  # its parsers raise whatever a broken file makes them run into
        raise FormatError(f"{file}: cannot be read as {kind.upper()} ({error or type(error).__name__}).") from error
    if not len(faces):
        raise FormatError(f"{file}: holds no faces.")
    if at.shape[1:] != (3,) or not np.isfinite(at).all():
        raise FormatError(f"{file}: is damaged: a vertex is not three finite numbers.")
    if not 0 <= faces.min() <= faces.max() < len(at):
        raise FormatError(
            f"{file}: is damaged: faces name vertices {faces.min()} to {faces.max()}, and there are {len(at)}, from 0."
        )
    table = mesh.metadata.get("_ply_raw", {})  # what trimesh keeps of a PLY file
    for name, found in (("vertex", at), ("face", faces)):
        if len(found) < (told := table.get(name, {}).get("length", 0)):
            raise FormatError(f"{file}: is truncated: {name} {len(found)} of {told} is the last one.")
    return np.ascontiguousarray(at[:, ::-1]), faces.astype(np.int32), _columns(table.get("vertex", {}))


def _ending(path: str | os.PathLike[str]) -> str:
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: meshes are {', '.join(ENDINGS)}, not {ending or 'without an ending'}.")
    return ending


def _encoded(ending: str, xyz: Floats, faces: NDArray[Any], columns: Mapping[str, NDArray[Any]]) -> bytes:
    """A file's bytes; vertices x, y, z."""
    import trimesh

    mesh = trimesh.Trimesh(xyz, faces, process=False, vertex_attributes=columns)
    if ending == ".obj":
        text: str = mesh.export(file_type="obj", include_normals=False, header=_COMMENT, digits=3)
        return text.encode()
    if ending == ".ply":
        data: bytes = mesh.export(file_type="ply", vertex_normal=False)
        return re.sub(rb"\ncomment [^\n]*", f"\ncomment {_COMMENT}".encode(), data, count=1)
    other: bytes = mesh.export(file_type=ending[1:])
    return other


def _storable(column: NDArray[Any]) -> NDArray[Any]:
    """A column in a type that PLY has: it has no booleans and no integers of 64 bits."""
    if column.dtype.str[1:] in _PLY_TYPES:
        return column
    if column.dtype.kind == "b":
        return column.astype(np.uint8)
    if column.dtype.kind == "f":
        return column.astype(np.float64 if column.dtype.itemsize > 4 else np.float32)
    fits = not len(column) or -(2**31) <= int(column.min()) <= int(column.max()) < 2**31
    return column.astype(np.int32 if fits else np.float64)


def _columns(vertex: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The columns of a PLY file's vertices but for their place, from the table that trimesh keeps of them."""
    names = [name for name in vertex.get("properties", {}) if name not in ("x", "y", "z")]
    found = {name: np.asarray(vertex["data"][name]).reshape(-1) for name in names}
    return {name: column.astype(column.dtype.newbyteorder("=")) for name, column in found.items()}
