"""The bytes of IMOD's binary models (``.mod``, version 1.2): chunks to objects, contours and meshes, and back.

An own reader, because ``imodmodel`` reads on for ever where a file ends early, and makes as much memory as a damaged
number says. The tests compare both. All numbers are big-endian (IMOD's ``binspec.html``). A point is three float32, so
this reader takes at most some forty times the bytes of the file (a file of empty contours), whatever its numbers say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError
from volengine.core.json_text import shown
from volengine.io.picks import rows as r

MAGIC = b"IMODV1.2"
HEADER = struct.Struct(">128s 3i i I 4i 6f 5i f i i 3f")
OBJECT = struct.Struct(">64s 64s i I 2i 3f i 8B 2i")
CONTOUR = struct.Struct(">i I 2i")
MESH = struct.Struct(">2i I 2h")
MINX = struct.Struct(">18f")

OPEN, SCATTERED = 1 << 3, 1 << 9
"""Flags of an object."""

FROM_CENTRE, HAS_ORIGIN, FLIPPED, ROTATED = 1 << 10, 1 << 14, 1 << 16, 1 << 17
"""Flags of a model: Z begins at -0.5 (3dmod's do so without it, too); MINX has the image's origin; Y and Z are
exchanged; it is turned by 90 degrees about X."""

OWN = b"VOLE"
"""Chunk of volengine's own facts; IMOD skips chunks that it does not know."""

UNITS = {3: 13, 1: 10, -2: 8, -3: 7, -6: 4, -9: 1, -10: 0, -12: -2}
"""Unit of the pixel size: the power of ten of one unit in angstrom; 0 means pixels."""


@dataclass
class Contour:
    """Points (n, 3) x, y, z in IMOD's coordinates, in order, and the flags of the contour."""

    points: NDArray[np.float64]
    flags: int = 0


@dataclass
class Mesh:
    """Vertices and normals by turns (2n, 3), the list of indices and commands, and the flags of a mesh."""

    vertices: NDArray[np.float64]
    commands: NDArray[np.int64]
    flags: int = 0


@dataclass
class Object:
    """An object of a model."""

    name: str
    flags: int
    contours: list[Contour] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)


@dataclass
class Model:
    """What volengine needs of a model.

    Parameters
    ----------
    flags
        Flags of the model.
    pixel_size
        Size of a pixel, angstrom; ``None`` if the model has none or counts in pixels.
    image_scale, image_shift
        Of the image on which it was drawn (MINX): pixel spacing x, y, z; ``None`` if it is not known. And what has to
        be added to x, y, z to count in the whole image, if it was drawn on a part of it.
    own
        The bytes of volengine's own facts.
    """

    flags: int
    pixel_size: float | None
    objects: list[Object] = field(default_factory=list)
    image_scale: tuple[float, ...] | None = None
    image_shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    own: bytes | None = None


class _Reader:
    """The bytes of a file, from front to back; what is missing is an error that says where."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def take(self, size: int, what: str) -> bytes:
        if size < 0 or size > len(self.data) - self.at:
            raise FormatError(
                f"{self.path} is damaged: {what} at byte {self.at} needs {size} bytes, and {len(self.data) - self.at} "
                "are left."
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, form: struct.Struct, what: str) -> tuple[int | float | bytes, ...]:
        return form.unpack(self.take(form.size, what))

    def points(self, count: int, what: str) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):  # a signalling NaN, which is refused later
            return np.frombuffer(self.take(count * 12, what), ">f4").reshape(-1, 3).astype(float)


def read_model(path: Path) -> Model:
    """Read a model.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no model of IMOD, or is damaged; the message names the byte.
    """
    data = r.read_bytes(path)
    if data[:4] != MAGIC[:4]:
        raise r.foreign(path, "it does not begin with IMOD as IMOD's binary models do")
    if data[:8] != MAGIC:
        raise FormatError(f"{path} is a model of IMOD of version {shown(data[4:8])}; volengine reads V1.2.")
    reader = _Reader(data, path)
    reader.at = len(MAGIC)
    head = reader.unpack(HEADER, "the header")
    flags, pixel, unit = int(head[5]), float(head[21]), int(head[22])
    known = unit in UNITS and np.isfinite(pixel) and 0 < pixel < 1e30
    model = Model(flags, pixel * 10.0 ** UNITS[unit] if known else None)
    while (name := reader.take(4, "the name of a chunk")) != b"IEOF":
        _chunk(reader, name, model)
    return model


def _chunk(reader: _Reader, name: bytes, model: Model) -> None:
    """Read one chunk into the model; chunks that are not needed are skipped."""
    if name == b"OBJT":
        head = reader.unpack(OBJECT, "an object")
        title = bytes(head[0]).split(b"\0")[0]  # type: ignore[arg-type]
        try:
            name_ = title.decode()
        except UnicodeDecodeError:
            name_ = title.decode("latin-1")
        model.objects.append(Object(name_, int(head[3])))
        return
    if name in (b"CONT", b"MESH"):
        if not model.objects:
            raise FormatError(f"{reader.path} is damaged: {name.decode()} at byte {reader.at} is before any object.")
        _part(reader, name, model.objects[-1])
        return
    (size,) = reader.unpack(struct.Struct(">i"), f"the size of the chunk {shown(name)}")
    body = reader.take(int(size), f"the chunk {shown(name)}")
    if name == b"MINX" and len(body) == MINX.size:
        values = MINX.unpack(body)
        origin, scale, shift = values[3:6], values[9:12], values[12:15]
        if np.isfinite(values).all() and min(scale) > 0:
            model.image_scale = scale
            if model.flags & HAS_ORIGIN:
                model.image_shift = tuple((o - c) / s for o, c, s in zip(origin, shift, scale, strict=True))
    elif name == OWN:
        model.own = body


def _part(reader: _Reader, name: bytes, object: Object) -> None:
    """Read a contour or a mesh of an object."""
    if name == b"CONT":
        size, flags, _, _ = map(int, reader.unpack(CONTOUR, "a contour"))
        what = f"a contour of {size} points"
        object.contours.append(Contour(reader.points(size, what), flags))
        return
    vertices, commands, flags, _, _ = map(int, reader.unpack(MESH, "a mesh"))
    corners = reader.points(vertices, f"a mesh of {vertices} vertices")
    list_ = np.frombuffer(reader.take(commands * 4, f"a mesh of {commands} indices"), ">i4")
    object.meshes.append(Mesh(corners, list_.astype(np.int64), flags))


NAME_BYTES = 64
"""Size of the name of an object, with a zero at its end."""


def model_bytes(name: str, size: tuple[int, int, int], pixel_a: float, objects: list[Object], own: bytes) -> bytes:
    """Make the bytes of a model.

    Parameters
    ----------
    name
        Name of the model.
    size
        Size of the image x, y, z; zeros if it is not known.
    pixel_a
        Pixel size, angstrom.
    objects
        The objects; meshes are not written.
    own
        volengine's own facts.
    """
    flags = FROM_CENTRE | 1 << 12 | 1 << 13  # several clip planes, material as bytes: as 3dmod sets, too
    head = HEADER.pack(
        _text(name, 128), *size, len(objects), flags, 1, 1, 0, 255, *(0.0,) * 3, 1.0, 1.0, 1.0, 0, 0, 0, 3, 128,
        pixel_a / 10, -9, 0, *(0.0,) * 3,
    )  # fmt: skip
    parts = [MAGIC, head]
    for number, one in enumerate(objects):
        colour = [(0.0, 1.0, 0.0), (0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)][number % 4]
        settings = (1, 3, 1, 1, 0, 0, 0, 0)  # symbol, its size, widths of lines: as a new object of IMOD has them
        body = OBJECT.pack(
            _text(one.name, NAME_BYTES), bytes(64), len(one.contours), one.flags, 0, 1, *colour, 3, *settings, 0, 0
        )
        parts += [b"OBJT", body]
        for contour in one.contours:
            points = contour.points.astype(">f4")
            parts += [b"CONT", CONTOUR.pack(len(points), contour.flags, 0, 0), points.tobytes()]
    return b"".join([*parts, OWN, struct.pack(">i", len(own)), own, b"IEOF"])


def held_name(name: str) -> str:
    """The name of an object as the format holds it: at most 63 bytes of UTF-8."""
    return _text(name, NAME_BYTES).decode()


def _text(value: str, size: int) -> bytes:
    """Encode a text for a field of a fixed size, with a zero at its end."""
    return value.encode()[: size - 1].decode(errors="ignore").encode()
