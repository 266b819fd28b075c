"""Small files of the formats of volumes, put together byte by byte, for readers to be held against."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

EM_TYPES = {"int8": 1, "int16": 2, "int32": 4, "float32": 5, "float64": 9}


def ramp(shape: tuple[int, int, int] = (3, 4, 5), dtype: str = "float32") -> np.ndarray:
    """Values that name their voxel: 100 z + 10 y + x, minus 50 for signed numbers."""
    z, y, x = np.indices(shape)
    low = 0 if np.dtype(dtype).kind == "u" else -50
    return (20 * z + 5 * y + x + low).astype(dtype)


def em_bytes(values: np.ndarray, order: str = "<", machine: int | None = None) -> bytes:
    """An EM file: byte 0 is the machine, byte 3 the type, then nx, ny, nz."""
    head = bytearray(512)
    head[0] = (6 if order == "<" else 5) if machine is None else machine
    head[3] = EM_TYPES[values.dtype.name]
    head[4:16] = struct.pack(f"{order}3i", *values.shape[::-1])
    head[16:21] = b"hello"
    head[96:100] = struct.pack(f"{order}i", 300)
    return bytes(head) + values.astype(values.dtype.newbyteorder(order)).tobytes()


def amira_bytes(
    values: np.ndarray, kind: str, form: str = "BINARY-LITTLE-ENDIAN 2.1", *,
    bounds: str = "0 40 100 130 -20 20", unit: str = "nm", name: str = "Data", rle: bool = False,
    zipped: bool = False, more: str = "",
) -> bytes:  # fmt: skip
    """An Amira lattice; the default box of a 3 x 4 x 5 volume has voxels of 20, 10, 10 units, z, y, x."""
    nz, ny, nx = values.shape
    order = "<" if "LITTLE" in form else ">"
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    if "ASCII" in form:
        data = " \n".join(map(str, values.ravel().tolist())).encode()
    if rle:
        data = run_lengths(values.astype("u1").tobytes())
    if zipped:
        data = zlib.compress(data)
    coding = f"(HxByteRLE,{len(data)})" if rle else f"(HxZip,{len(data)})" if zipped else ""
    units = f'    Units {{\n        Coordinates "{unit}"\n    }}\n' if unit else ""
    head = (
        f"# AmiraMesh {form}\n\n\ndefine Lattice {nx} {ny} {nz}\n\nParameters {{\n{units}{more}"
        f'    Content "{nx}x{ny}x{nz} {kind}, uniform coordinates",\n    BoundingBox {bounds},\n'
        f'    CoordType "uniform"\n}}\n\nLattice {{ {kind} {name} }} @1{coding}\n\n# Data section follows\n@1\n'
    )
    return head.encode("latin-1") + data + b"\n"


def run_lengths(data: bytes) -> bytes:
    """HxByteRLE: n < 128 and a value that is repeated n times, or 128 + n and n values."""
    out, at = bytearray(), 0
    while at < len(data):
        same = 1
        while at + same < len(data) and data[at + same] == data[at] and same < 127:
            same += 1
        if same > 1:
            out += bytes([same, data[at]])
            at += same
            continue
        end = at + 1
        while end < len(data) and end - at < 127 and not (end + 1 < len(data) and data[end] == data[end + 1]):
            end += 1
        out += bytes([128 + end - at]) + data[at:end]
        at = end
    return bytes(out)


def graph_bytes(form: str = "BINARY-LITTLE-ENDIAN 2.1", unit: str = "nm", zipped: bool = False) -> bytes:
    """A spatial graph of two edges with 3 and 2 points, and a number for each edge and each point."""
    blocks: list[tuple[str, Any]] = [
        ("VERTEX { float[3] VertexCoordinates } @1", np.array([[1, 2, 3], [7, 2, 3], [1, 8, 9]], "f4")),
        ("EDGE { int[2] EdgeConnectivity } @2", np.array([[0, 1], [0, 2]], "i4")),
        ("EDGE { int NumEdgePoints } @3", np.array([3, 2], "i4")),
        (
            "POINT { float[3] EdgePointCoordinates } @4",
            np.array([[1, 2, 3], [4, 2.5, 3], [7, 2, 3], [1, 2, 3], [1, 8, 9]], "f4"),
        ),
        ("POINT { float thickness } @5", np.array([1, 2, 3, 4, 5], "f4")),
        ("EDGE { int Filament } @6", np.array([11, 12], "i4")),
    ]
    order = "<" if "LITTLE" in form else ">"
    coded = [zlib.compress(v.astype(v.dtype.newbyteorder(order)).tobytes()) for _, v in blocks]
    if zipped:
        blocks = [(f"{what}(HxZip,{len(c)})", v) for (what, v), c in zip(blocks, coded, strict=True)]
    text = f"# AmiraMesh {form}\n\ndefine VERTEX 3\ndefine EDGE 2\ndefine POINT 5\n\nParameters {{\n"
    text += f'    SpatialGraphUnitsVertex {{\n    }}\n    Units {{ Coordinates "{unit}" }}\n' if unit else ""
    text += '    ContentType "HxSpatialGraph"\n}\n\n' + "\n".join(b[0] for b in blocks) + "\n\n# Data section follows\n"
    out = text.encode()
    for number, (_, values) in enumerate(blocks, 1):
        data = coded[number - 1] if zipped else values.astype(values.dtype.newbyteorder(order)).tobytes()
        if "ASCII" in form:
            data = "\n".join(" ".join(map(str, np.atleast_1d(row).tolist())) for row in values).encode()
        out += f"@{number}\n".encode() + data + b"\n\n"
    return out


def eman2_file(
    path: Path, values: np.ndarray, apix: float = 13.0, bits: int = 0, limits: tuple[float, float] = (0, 0)
) -> None:
    """An EMAN2 file of one volume: ``/MDF/images/0/image`` with its attributes on the group, ``bits`` > 0: reduced."""
    import h5py

    with h5py.File(path, "w") as file:
        images = file.create_group("MDF/images")
        images.attrs["imageid_max"] = np.int32(0)
        group = images.create_group("0")
        for axis in "xyz":
            group.attrs[f"EMAN.apix_{axis}"] = np.float32(apix)
        stored = values
        if bits:
            low, high = limits
            top = 2**bits - 1
            stored = np.round((values - low) / (high - low) * top).astype("u1" if bits <= 8 else "u2")
            group.attrs["EMAN.stored_renderbits"] = np.int32(bits)
            group.attrs["EMAN.stored_rendermin"] = np.float32(low)
            group.attrs["EMAN.stored_rendermax"] = np.float32(high)
        group.create_dataset(
            "image", data=stored, chunks=(1, *values.shape[1:]), compression="gzip", compression_opts=1, shuffle=True
        )
