"""Triangle meshes in files: binary PLY and OBJ.

Arrays hold positions in angstrom, z, y, x; files hold x, y, z, as every viewer expects. Faces go counterclockwise seen
from outside in the right-handed frame x, y, z, in arrays and in files alike.

>>> write_mesh("vesicle.ply", vertices, faces, {"instance": instance})                               # doctest: +SKIP
>>> vertices, faces, columns = read_mesh("vesicle.ply")                                              # doctest: +SKIP
"""

from __future__ import annotations

import os
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

_NAMES = {
    "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint",
    "f4": "float", "f8": "double",
}  # fmt: skip
_SIZED = {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_TYPES = {name: kind for kind, name in _NAMES.items()} | _SIZED | {"float32": "f4", "float64": "f8"}
_LONGEST_HEADER = 65536


def write_mesh(
    path: str | os.PathLike[str], vertices: ArrayLike, faces: ArrayLike, columns: Mapping[str, ArrayLike] | None = None
) -> None:
    """Write a mesh; the file's ending says how: ``.ply`` (binary, little endian) or ``.obj``.

    Parameters
    ----------
    path
        The file; it appears when it is complete.
    vertices
        (n, 3), angstrom, z, y, x; float32 in PLY, three decimals in OBJ.
    faces
        (m, 3), from 0.
    columns
        Further numbers of each vertex, by name, (n,); PLY only. ``nx``, ``ny``, ``nz`` are normals.

    Raises
    ------
    InputError
        Another ending, faces that name vertices that are not there, columns of another length.
    """
    at = np.asarray(vertices, np.float64).reshape(-1, 3)
    corners = np.asarray(faces).reshape(-1, 3)
    more = {name: np.asarray(column) for name, column in (columns or {}).items()}
    if not np.isfinite(at).all():
        raise InputError(f"{path}: a vertex of the mesh is not finite.")
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(at):
        raise InputError(
            f"{path}: the faces name vertices {corners.min()} to {corners.max()}, and there are {len(at)}, from 0."
        )
    for name, column in more.items():
        if column.shape != (len(at),) or not name.isidentifier() or column.dtype.kind not in "iufb":
            raise InputError(f"{path}: column {name!r} needs one number for each of the {len(at)} vertices.")
    ending = Path(path).suffix.lower()
    if ending == ".ply":
        data = _ply(at, corners, more)
    elif ending == ".obj":
        if more:
            raise InputError(f"{path}: OBJ has no columns ({', '.join(more)}); write .ply.")
        data = _obj(at, corners)
    else:
        raise InputError(f"{path}: meshes are written as .ply or .obj, not {ending or 'without an ending'}.")
    with replacing(path) as file:
        file.write(data)


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read a mesh of triangles.

    Returns
    -------
    Vertices (n, 3) float64, angstrom, z, y, x; faces (m, 3) int32; further columns of the vertices (PLY).

    Raises
    ------
    MissingError
        There is no such file.
    FormatError
        Not PLY or OBJ, truncated, faces that are no triangles or name vertices that are not there.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"{file}: there is no such file.")
    data = file.read_bytes()
    mesh = _read_ply(file, data) if data.startswith(b"ply") else _read_obj(file, data)
    vertices, faces, _ = mesh
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise FormatError(f"{file}: is damaged: a face names vertex {faces.max()} and there are {len(vertices)}.")
    return mesh


# -- PLY ---------------------------------------------------------------------------------------------------------------


def _ply(vertices: Floats, faces: NDArray[Any], columns: Mapping[str, NDArray[Any]]) -> bytes:
    kinds = {name: _stored(column) for name, column in columns.items()}
    row = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), *((n, "<" + k) for n, k in kinds.items())])
    table = np.zeros(len(vertices), row)
    for axis, name in enumerate("zyx"):
        table[name] = vertices[:, axis]
    for name, column in columns.items():
        table[name] = column
    lists = np.zeros(len(faces), np.dtype([("count", "u1"), ("corner", "<i4", (3,))]))
    lists["count"], lists["corner"] = 3, faces
    lines = ["ply", "format binary_little_endian 1.0", "comment lengths in angstrom", f"element vertex {len(vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property {_NAMES[kind]} {name}" for name, kind in kinds.items()]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(lines).encode() + table.tobytes() + lists.tobytes()


def _stored(column: NDArray[Any]) -> str:
    """PLY's type for a column: it has no integers of 64 bits."""
    kind = column.dtype.str[1:]
    if kind in _NAMES:
        return kind
    if column.dtype.kind == "b":
        return "u1"
    if column.dtype.kind == "f":
        return "f8" if column.dtype.itemsize > 4 else "f4"
    fits = not len(column) or -(2**31) <= int(column.min()) <= int(column.max()) < 2**31
    return "i4" if fits else "f8"


def _read_ply(file: Path, data: bytes) -> Mesh:
    """Binary PLY of either byte order, or ASCII."""
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    newline = data.find(b"\n", end)
    if end < 0 or newline < 0:
        raise FormatError(f"{file}: the header of the PLY file has no end; the file is truncated.")
    words = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    form = next((w[1] for w in words if len(w) > 1 and w[0] == "format"), "")
    elements = _elements(file, words)
    if [name for name, _, _ in elements][:2] != ["vertex", "face"]:
        raise FormatError(f"{file}: the PLY file does not hold vertices and then faces.")
    (_, vertex_count, vertex_row), (_, face_count, face_row) = elements[:2]
    if len(face_row) != 1 or face_row[0][1][0] != "list" or any(kind[0] == "list" for _, kind in vertex_row):
        raise FormatError(f"{file}: faces with colours, or vertices with lists, are not read; leave them out.")
    if form == "ascii":
        return _ascii_body(file, data[newline + 1 :], vertex_count, [n for n, _ in vertex_row], face_count)
    if form not in ("binary_little_endian", "binary_big_endian"):
        raise FormatError(f"{file}: the PLY format {form!r} is unknown.")
    order = "<" if form.startswith("binary_little") else ">"
    row = np.dtype([(name, order + kind[0]) for name, kind in vertex_row])
    _, (_, count_kind, corner_kind) = face_row[0]
    face = np.dtype([("count", order + count_kind), ("corner", order + corner_kind, (3,))])
    needed = newline + 1 + vertex_count * row.itemsize + face_count * face.itemsize
    if len(data) < needed:
        raise FormatError(f"{file}: the PLY file has {len(data)} bytes and needs {needed}; it is truncated.")
    table = np.frombuffer(data, row, vertex_count, newline + 1)
    lists = np.frombuffer(data, face, face_count, newline + 1 + vertex_count * row.itemsize)
    if (lists["count"] != 3).any():
        raise FormatError(f"{file}: not all faces are triangles.")
    return _mesh(file, {name: table[name] for name, _ in vertex_row}, lists["corner"])


def _elements(file: Path, words: list[list[str]]) -> list[tuple[str, int, list[tuple[str, tuple[str, ...]]]]]:
    """Name, count and properties of each element; a property is a name and its type, or list, count type, item type."""
    found: list[tuple[str, int, list[tuple[str, tuple[str, ...]]]]] = []
    try:
        for line in words:
            if line[:1] == ["element"]:
                found.append((line[1], int(line[2]), []))
            elif line[:2] == ["property", "list"]:
                found[-1][2].append((line[4], ("list", _TYPES[line[2]], _TYPES[line[3]])))
            elif line[:1] == ["property"]:
                found[-1][2].append((line[2], (_TYPES[line[1]],)))
    except (IndexError, ValueError, KeyError) as error:
        raise FormatError(f"{file}: the header of the PLY file cannot be read ({error}).") from error
    if any(len({name for name, _ in row}) < len(row) for _, _, row in found):
        raise FormatError(f"{file}: the header of the PLY file names a property twice.")
    if any(count < 0 for _, count, _ in found):
        raise FormatError(f"{file}: the header of the PLY file counts less than nothing.")
    return found


def _ascii_body(file: Path, body: bytes, vertex_count: int, names: list[str], face_count: int) -> Mesh:
    lines = [line for line in body.decode("ascii", "replace").splitlines() if line.strip()]
    if len(lines) < vertex_count + face_count:
        raise FormatError(f"{file}: {len(lines)} lines for {vertex_count} vertices and {face_count} faces; truncated.")
    try:
        rows = np.array([line.split() for line in lines[:vertex_count]], float).reshape(vertex_count, len(names))
        faces = np.array([line.split() for line in lines[vertex_count : vertex_count + face_count]], int)
    except ValueError as error:
        raise FormatError(f"{file}: a line of the PLY file is not what its header says ({error}).") from error
    if face_count and (faces.shape[1] != 4 or (faces[:, 0] != 3).any()):
        raise FormatError(f"{file}: not all faces are triangles.")
    return _mesh(file, dict(zip(names, rows.T, strict=True)), faces.reshape(face_count, 4)[:, 1:])


def _mesh(file: Path, columns: dict[str, NDArray[Any]], faces: NDArray[Any]) -> Mesh:
    if not {"x", "y", "z"} <= set(columns):
        raise FormatError(f"{file}: the vertices have no x, y and z, only {', '.join(columns) or 'nothing'}.")
    at = np.stack([columns.pop(axis).astype(np.float64) for axis in "zyx"], axis=1)
    native = {name: column.astype(column.dtype.newbyteorder("=")) for name, column in columns.items()}
    return at, faces.reshape(-1, 3).astype(np.int32), native


# -- OBJ ---------------------------------------------------------------------------------------------------------------


def _obj(vertices: Floats, faces: NDArray[Any]) -> bytes:
    lines = ["# lengths in angstrom"]
    lines += [f"v {x:.3f} {y:.3f} {z:.3f}" for z, y, x in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def _read_obj(file: Path, data: bytes) -> Mesh:
    """Vertices and triangles of an OBJ file; textures, normals and groups are passed over."""
    vertices, faces = [], []
    try:
        for line in data.decode("ascii", "replace").splitlines():
            word, *rest = line.split() or [""]
            if word == "v":
                x, y, z = (float(v) for v in rest[:3])
                vertices.append((z, y, x))
            elif word == "f":
                a, b, c = (int(v.split("/")[0]) for v in rest)
                faces.append([v - 1 if v > 0 else v + len(vertices) for v in (a, b, c)])
    except ValueError as error:
        raise FormatError(f"{file}: a line is not that of an OBJ file of triangles ({line.strip()[:60]!r}).") from error
    if not vertices:
        raise FormatError(f"{file}: is neither a PLY file nor an OBJ file with vertices.")
    return np.array(vertices, np.float64), np.array(faces, np.int32).reshape(-1, 3), {}
