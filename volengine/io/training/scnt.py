"""Training sets of Ais (``.scnt``): boxes that were cut out of tomograms, each with its annotation.

Two forms are read; they are recognised by their content. The present one is an uncompressed tar with ``metadata.json``,
``sources.json``, ``x_main/<name>.mrc`` (depth, height, width; float32) and ``y/<name>.mrc`` (labels of the middle
slice, or of all). The older one is a TIFF stack (samples, depth + 1, height, width) with the labels last, whose
description states ``apix=<angstrom>``. Labels are 0 background, 1 feature, 2 ignore.

Boxes are read one at a time from their place in the file. Nothing is unpacked, so no name in an archive is ever used as
a path; still, links, devices, and names that lead out of the folder are refused.

>>> training_set = open_scnt("ribosome.scnt")                                               # doctest: +SKIP
>>> image, labels = training_set.read(0)                                                    # doctest: +SKIP
"""

from __future__ import annotations

import io
import logging
import math
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_object, shown
from volengine.io.tiff_chain import check_chain

MAX_JSON_BYTES = 2**28
MAX_BOX_BYTES = 2**28
"""Largest size of a box that is read, bytes; real ones are far smaller."""

MAX_SAMPLES = 2**22
MAX_RATIO = 2000
"""Largest ratio of the bytes of compressed pages to those of their file; deflate reaches about 1000."""

FORMAT_VERSION = 1
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # without one, its lines appear on the terminal
_MEMBER = re.compile(r"(x_\w+|y)/([\w.+-]+)\.mrc")
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}

Place = tuple[int, int]
"""First byte in the file, and number of bytes."""


@dataclass(frozen=True)
class TrainingSet:
    """Read access to a ``.scnt`` file. It can be pickled and keeps no file open.

    Parameters
    ----------
    path
        The file.
    names
        Names of the samples.
    pixel_size
        Angstrom; ``None`` if the file does not state it.
    shape
        Depth, height and width of the images.
    tomograms, features
        For each sample: the name of its tomogram, and of the annotated feature; ``""`` if the file does not state it.
    places
        For each sample where it was cut out, z, y, x, as the file counts; ``None`` if it does not state it. Empty for
        TIFF files.
    facts
        The contents of ``metadata.json``, or the description of the TIFF file.
    images, labels
        Place of each sample's image and labels in a tar file; empty for TIFF files.
    tiff
        Whether the file is a TIFF stack.
    """

    path: str
    names: tuple[str, ...]
    pixel_size: float | None
    shape: tuple[int, int, int]
    tomograms: tuple[str, ...]
    features: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict, compare=False)
    images: tuple[Place, ...] = ()
    labels: tuple[Place, ...] = ()
    tiff: bool = False
    places: tuple[Index3 | None, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def read(self, number: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Read a sample: its image (depth, height, width), float32, and its labels as :meth:`read_labels` does.

        Raises
        ------
        FormatError
            The sample is damaged, or its shape differs from that of the first one.
        """
        image = self._tiff_pages(number)[:-1] if self.tiff else self._mrc(self.images[number], number)
        if image.shape != self.shape:
            raise FormatError(f"{self.path}: sample {self.names[number]} is {image.shape}, the first one {self.shape}.")
        return np.ascontiguousarray(image, np.float32), self.read_labels(number)

    def read_labels(self, number: int) -> NDArray[Any]:
        """Read the labels of a sample: (1, height, width) for the middle slice, or (depth, height, width)."""
        labels = self._tiff_pages(number)[-1:] if self.tiff else self._mrc(self.labels[number], number)
        if labels.shape[1:] != self.shape[1:] or labels.shape[0] > self.shape[0]:
            raise FormatError(f"{self.path}: labels of {self.names[number]} are {labels.shape}, its box {self.shape}.")
        return labels

    def _mrc(self, place: Place, number: int) -> NDArray[Any]:
        with Path(self.path).open("rb") as file:
            file.seek(place[0])
            raw = file.read(place[1])
        return mrc_array(raw, f"{self.path}: sample {self.names[number]}")

    def _tiff_pages(self, number: int) -> NDArray[Any]:
        try:
            return self._decoded(number, self.shape[0] + 1)
        except FormatError:
            raise
        except Exception as error:  # tifffile raises whatever a damaged file makes it run into
            raise FormatError(f"{self.path}: sample {self.names[number]} is damaged ({error}).") from error

    def _decoded(self, number: int, depth: int) -> NDArray[Any]:
        import tifffile

        with tifffile.TiffFile(self.path) as tif:
            series = tif.series[0]
            if series.dataoffset is not None:
                dtype = np.dtype(tif.byteorder + series.dtype.char)
                count = depth * self.shape[1] * self.shape[2]
                raw = np.fromfile(self.path, dtype, count, offset=series.dataoffset + number * count * dtype.itemsize)
                if raw.size < count:
                    raise FormatError(f"{self.path}: ends within sample {number}; it is cut off.")
                return raw.reshape(depth, *self.shape[1:])
            pages = [series.pages[number * depth + k] for k in range(depth)]
            return np.stack([page.asarray() for page in pages])


def open_scnt(path: str) -> TrainingSet:
    """Open a training set. Only the places of its samples, its facts and its first box are read.

    Raises
    ------
    MissingError
        The file does not exist.
    InputError
        It cannot be read.
    FormatError
        It is no training set, is damaged, or contains links, devices, or names that lead out of the folder.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _open_tiff(path)
    return _open_tar(path)


# -- tar -----------------------------------------------------------------------------------------------------


def _open_tar(path: str) -> TrainingSet:
    members = _members(path)
    with Path(path).open("rb") as file:
        texts = {name: _json(file, path, name, members.pop(name, None)) for name in ("metadata", "sources")}
    facts, sources = texts["metadata"], texts["sources"]
    images = {k.partition("/")[2]: v for k, v in members.items() if k.startswith("x_main/")}
    labels = {k.partition("/")[2]: v for k, v in members.items() if k.startswith("y/")}
    alone = set(images) ^ set(labels)
    if alone:
        raise FormatError(f"{path}: sample {min(alone)} has an image or labels, but not both.")
    if not images:
        raise FormatError(f"{path}: there is no sample in it (x_main/*.mrc and y/*.mrc).")
    version = facts.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise FormatError(f"{path} is of format version {version!r}; version {FORMAT_VERSION} can be read.")
    names = tuple(sorted(images))
    known: list[dict[str, Any]] = [k if isinstance(k := sources.get(name), dict) else {} for name in names]
    stated = facts.get("features")
    single = str(stated[0]) if isinstance(stated, list) and len(stated) == 1 else ""
    first = TrainingSet(path, names[:1], None, (1, 1, 1), ("",), ("",), {}, (images[names[0]],), (labels[names[0]],))
    box = first._mrc(first.images[0], 0).shape
    return TrainingSet(
        path=path,
        names=names,
        pixel_size=_size(facts.get("apix"), path),
        shape=(box[0], box[1], box[2]),
        tomograms=tuple(str(k.get("aisTomogramName") or k.get("aisTomogramPath") or "") for k in known),
        features=tuple(str(k.get("aisFeatureName") or single) for k in known),
        facts=facts,
        images=tuple(images[name] for name in names),
        labels=tuple(labels[name] for name in names),
        places=tuple(_place(k) for k in known),
    )


def _place(said: dict[str, Any]) -> Index3 | None:
    """Where a sample was cut out, if the file states it in whole numbers."""
    values = [said.get(f"aisBoxCoordinate{axis}") for axis in "ZYX"]
    whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**31]
    return index3(whole) if len(whole) == 3 else None


def _members(path: str) -> dict[str, Place]:
    """Return the places of the archive's relevant files, by name without ending."""
    found: dict[str, Place] = {}
    size = Path(path).stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                name = _safe(member, path)
                if name is None:
                    continue
                if name in found:
                    raise FormatError(f"{path}: {member.name!r} is in it twice.")
                if member.offset_data + member.size > size:
                    raise FormatError(f"{path}: ends within {member.name!r}; it is cut off.")
                if len(found) > 4 * MAX_SAMPLES:
                    raise FormatError(f"{path}: holds more than {MAX_SAMPLES} samples.")
                found[name] = (member.offset_data, member.size)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise FormatError(f"{path} is no training set: neither a TIFF nor an uncompressed tar ({error}).") from error
    return found


def _safe(member: tarfile.TarInfo, path: str) -> str | None:
    """Return a member's name without ending, ``None`` if it is not needed; refuse links, devices and unsafe names."""
    name = member.name.removeprefix("./")
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or (parts and ":" in parts[0]):
        raise FormatError(f"{path}: the name {member.name!r} leaves the folder; do not trust this archive.")
    if member.isdir():
        return None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise FormatError(f"{path}: {member.name!r} is a link or a device, not a file; do not trust this archive.")
    if name in ("metadata.json", "sources.json"):
        limit, key = MAX_JSON_BYTES, name.removesuffix(".json")
    elif match := _MEMBER.fullmatch(name):
        limit, key = MAX_BOX_BYTES, f"{match[1]}/{match[2]}"
    else:
        return None
    if member.size > limit:
        raise FormatError(f"{path}: {member.name!r} has {member.size} bytes; at most {limit} are expected.")
    return key


def _json(file: io.BufferedReader, path: str, name: str, place: Place | None) -> dict[str, Any]:
    if place is None:
        if name == "metadata":
            raise FormatError(f"{path}: there is no metadata.json in it; it is no training set of Ais.")
        return {}
    file.seek(place[0])
    return parse_object(file.read(place[1]), f"{path}: {name}.json")


def _size(value: Any, path: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
        raise FormatError(f"{path}: the pixel size (apix) is {shown(value)}; it must be a positive number of angstrom.")
    return float(value)


def mrc_array(raw: bytes, where: str) -> NDArray[Any]:
    """Return the voxels (z, y, x) of an MRC file whose bytes are in memory.

    Raises
    ------
    FormatError
        It is no MRC file of a known mode, or is truncated.
    """
    if len(raw) < 1024:
        raise FormatError(f"{where}: {len(raw)} bytes are no MRC file.")
    order = ">" if raw[212:214] == b"\x11\x11" else "<"
    nx, ny, nz, mode = np.frombuffer(raw, f"{order}i4", 4).tolist()
    extra = int(np.frombuffer(raw, f"{order}i4", 1, 92)[0])
    if mode not in _MODES or min(nx, ny, nz) < 1 or extra < 0:
        raise FormatError(f"{where}: no MRC file of a known mode (mode {mode}, {nz} x {ny} x {nx} voxels).")
    dtype = np.dtype(order + _MODES[mode])
    if len(raw) < 1024 + extra + nx * ny * nz * dtype.itemsize:
        raise FormatError(f"{where}: is cut off: {len(raw)} bytes for {nz} x {ny} x {nx} voxels of {dtype.name}.")
    values = np.frombuffer(raw, dtype, nx * ny * nz, 1024 + extra).reshape(nz, ny, nx)
    return values.astype(dtype.newbyteorder("="))


# -- TIFF ----------------------------------------------------------------------------------------------------


def _open_tiff(path: str) -> TrainingSet:
    import tifffile

    check_chain(path)
    try:
        with tifffile.TiffFile(path) as tif:
            series, text = tif.series[0], str(tif.pages.first.description or "")
            shape, dtype = tuple(int(n) for n in series.shape), np.dtype(series.dtype)
            kind, plain = dtype.kind, series.dataoffset is not None
    except Exception as error:  # tifffile raises whatever a damaged file makes it run into
        raise FormatError(f"{path} is no TIFF that can be read ({error}).") from error
    while len(shape) > 4 and shape[-1] == 1:  # samples per pixel
        shape = shape[:-1]
    if len(shape) != 4 or shape[1] < 2 or kind not in "uif":
        raise FormatError(
            f"{path}: holds {shape}; a training set is (samples, depth + 1, height, width) of numbers, label last."
        )
    size = Path(path).stat().st_size
    if math.prod(shape) * dtype.itemsize > (1 if plain else MAX_RATIO) * size or shape[0] * shape[1] > size:
        raise FormatError(
            f"{path}: announces {shape} values of {dtype} and has {size} bytes; it is cut off or damaged."
        )
    match = re.search(r"apix\s*=\s*([0-9.eE+-]+)", text)
    try:
        pixel = _size(float(match[1]), path) if match else None
    except ValueError:
        raise FormatError(f"{path}: the description says {match[0] if match else ''!r}, which is no number.") from None
    count = shape[0]
    return TrainingSet(
        path=path,
        names=tuple(str(k) for k in range(count)),
        pixel_size=pixel,
        shape=(shape[1] - 1, shape[2], shape[3]),
        tomograms=("",) * count,
        features=("",) * count,
        facts={"description": text},
        tiff=True,
    )
