"""Reading TIFF stacks. The pages are the z slices.

>>> volume = open_tiff("tomo.tif", voxel_size=10.5)                  # doctest: +SKIP
>>> voxels = TiffSource(volume).read(Box((0, 0, 0), (64, 64, 64)))    # doctest: +SKIP

Uncompressed contiguous stacks are read through short-lived memory maps. Others are read page by page, so that at most
one page is in memory besides the box. The voxel size is taken from OME or ImageJ metadata; the resolution tags of plain
TIFF files are ignored, because they usually state a printer's dots per inch. Colour images, images with more than
three axes, and those whose tags say that zero is white or that pages are turned, are refused.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError
from volengine.core.paths import PathLike
from volengine.core.volume import Vector3, Volume
from volengine.io.files import FileSource, chosen_voxel_size, first_bytes
from volengine.io.identity import How, identified
from volengine.io.mrc.rules import VOXEL_RANGE
from volengine.io.rawfile import RawLayout, read_raw
from volengine.io.tiff_chain import check_chain

EXPECTED = "a TIFF stack"
ENDINGS = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
ANGSTROM = {
    "a": 1.0, "å": 1.0, "angstrom": 1.0, "ångström": 1.0, "ångstrom": 1.0, "pm": 0.01, "picometer": 0.01, "nm": 10.0,
    "nanometer": 10.0, "um": 1e4, "µm": 1e4, "μm": 1e4, "micron": 1e4, "micrometer": 1e4, "mm": 1e7, "millimeter": 1e7,
    "cm": 1e8, "centimeter": 1e8, "m": 1e10, "meter": 1e10, "inch": 2.54e8, "in": 2.54e8,
}  # fmt: skip
"""Angstrom per unit of length, as OME and ImageJ write them (both signs for micro); plurals and "metre" as well."""
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # without one, its lines appear on the terminal
ORIENTATION = 274
"""Number of the tag that says where the first row and column of a page are."""

TURNED = {
    2: "first row at the top, first column on the right",
    3: "first row at the bottom, first column on the right",
    4: "first row at the bottom, first column on the left",
    5: "rows and columns exchanged",
    6: "turned by 90 degrees clockwise",
    7: "rows and columns exchanged, and turned by 180 degrees",
    8: "turned by 90 degrees counterclockwise",
}
"""What the values of that tag other than 1 mean (TIFF 6.0, section 8)."""

FAX = (2, 3, 4)
"""Compressions of fax pictures; their decoder prints to the terminal if there is more than one bit per pixel."""

_BROKEN = (
    tifffile.TiffFileError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    OSError,
    RuntimeError,
    struct.error,
    ET.ParseError,
)


@dataclass(frozen=True)
class TiffFacts:
    """Facts of a TIFF stack, from its metadata.

    Parameters
    ----------
    shape, dtype
        Shape z, y, x, and numpy dtype name of the voxels.
    byte_order
        ``"<"`` or ``">"``.
    offset
        First byte of the voxels; ``None`` if pages must be decoded one by one.
    axes
        Axes of the series, as ``tifffile`` names them.
    compression
        Name of the compression.
    voxel_size, voxel_size_rule
        Angstrom, z, y, x, and the metadata that it comes from; ``None`` with the reason.
    """

    shape: Index3
    dtype: str
    byte_order: str
    offset: int | None
    axes: str
    compression: str
    voxel_size: Vector3 | None
    voxel_size_rule: str

    @property
    def layout(self) -> RawLayout | None:
        """Place and type of the voxels, if they are contiguous and uncompressed; else ``None``."""
        if self.offset is None:
            return None
        stored = np.dtype(self.dtype).newbyteorder(">" if self.byte_order == ">" else "<")
        return RawLayout(self.offset, self.shape, stored.str)


def open_tiff(
    path: PathLike,
    voxel_size: float | Sequence[float] | None = None,
    name: str | None = None,
    identity: How = "quick",
) -> Volume:
    """Open a TIFF stack and return its handle. Only metadata and some blocks are read.

    Parameters
    ----------
    path
        A TIFF or BigTIFF file with one two- or three-dimensional series.
    voxel_size
        Angstrom, one number or z, y, x; overrides that of the file.
    name
        Name of the tomogram; default: the name of the file without its ending.
    identity
        How the file is identified (:mod:`volengine.io.identity`).

    Returns
    -------
    Volume
        Its origin is 0; ``chunks`` is one page if pages must be decoded; ``facts["tiff"]`` has the :class:`TiffFacts`.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged, no TIFF file, has colours or more than three axes, holds several stacks, or a part of one whose
        other slices are in other files; or its tags say that zero is white, or that its pages are turned.
    InputError
        It states no voxel size, and none was given.
    """
    file_name = os.fspath(path)
    facts = read_facts(file_name)
    why_not = f"no usable voxel size: {facts.voxel_size_rule}"
    size = chosen_voxel_size(file_name, voxel_size, facts.voxel_size, why_not)
    url = os.path.abspath(file_name)  # noqa: PTH100  (resolve() would follow links to names users do not know)
    stem = Path(file_name).name
    ending = next((e for e in ENDINGS if stem.lower().endswith(e)), "")
    volume = Volume(
        url=url,
        shape=facts.shape,
        dtype=facts.dtype,
        voxel_size=size,
        name=stem[: len(stem) - len(ending)] if name is None else name,
        chunks=None if facts.offset is not None else (1, *facts.shape[1:]),
        facts={"tiff": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(facts).items()}},
    )
    return identified(volume, identity)


class TiffSource(FileSource):
    """Read access to the voxels of a TIFF stack. It can be pickled and keeps no file open.

    Parameters
    ----------
    volume
        A handle of :func:`open_tiff`. The file's metadata are read again and must still fit.

    Raises
    ------
    FormatError
        The file has changed since it was opened.
    """

    def __init__(self, volume: Volume):
        facts = read_facts(volume.url)
        super().__init__(volume)
        self._check_file(facts.shape, facts.dtype)
        self._layout = facts.layout

    def read(self, box: Box) -> NDArray[np.generic]:
        """Read a box: C-contiguous, native byte order, z, y, x.

        Raises
        ------
        InputError
            The box is not inside of the volume.
        FormatError
            A page is damaged, or needs a decompressor that is not installed.
        """
        self._check_box(box)
        if self._layout is not None:
            return read_raw(self.volume.url, self._layout, box)
        out = np.empty(box.shape, self.dtype)
        if box.empty:
            return out
        rows, columns = box.slices[1:]
        with _opened(self.volume.url) as tif:
            pages = tif.series[0].pages
            for i, z in enumerate(range(box.start[0], box.stop[0])):
                out[i] = _decode(self.volume.url, pages, z, self.shape[1:])[rows, columns]
        return out


def read_facts(path: str) -> TiffFacts:
    """Read the facts of a TIFF stack from its metadata; errors as for :func:`open_tiff`."""
    _, file_bytes = first_bytes(path, 1, EXPECTED)
    with _opened(path) as tif:
        try:
            first = tif.series[0]
            page = first.keyframe
            shape = _shape(path, tif, file_bytes)
            _check_meaning(path, first)
            dtype, offset = np.dtype(first.dtype), first.dataoffset
            if offset is not None and not isinstance(offset, int | np.integer):
                raise FormatError(f"{path}: damaged TIFF file: its voxels begin at byte {offset}, no whole number.")
            stored_bytes = page.bitspersample == 8 * dtype.itemsize
            size, rule = _voxel_size(tif)
            compression = tifffile.COMPRESSION(page.compression).name.lower()
        except FormatError:
            raise
        except _BROKEN as error:
            raise FormatError(f"{path}: damaged TIFF file ({file_bytes} bytes): {error}.") from error
    need = 0 if offset is None else offset + int(np.prod(shape)) * dtype.itemsize
    if need > file_bytes:
        raise FormatError(
            f"{path}: truncated: {shape} voxels of {dtype.name} end at byte {need}; the file has {file_bytes}. "
            "Copy or download it again."
        )
    low, high = VOXEL_RANGE
    if size is not None and not all(low <= v <= high for v in size):
        size, rule = None, f"{rule} gives {size} angstrom (believed: {low:g} to {high:g})"
    return TiffFacts(
        shape=shape,
        dtype=dtype.name,
        byte_order=tif.byteorder,
        offset=int(offset) if stored_bytes and offset is not None else None,
        axes=first.axes,
        compression=compression,
        voxel_size=size,
        voxel_size_rule=rule,
    )


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    check_chain(path)
    try:
        tif = tifffile.TiffFile(path)
    except _BROKEN as error:
        size = Path(path).stat().st_size
        raise FormatError(f"{path}: not a TIFF file, or a damaged one ({size} bytes): {error}.") from error
    with tif:
        yield tif


def _shape(path: str, tif: Any, file_bytes: int) -> Index3:
    """Return pages, rows and columns; refuse files that are no single stack of grey pages."""
    first, page = tif.series[0], tif.series[0].keyframe
    if first.is_multifile:  # whose pages would be decoded out of the first file, and whose changes nobody would notice
        names = sorted({page.parent.filehandle.name for page in first.pages if page is not None})
        raise FormatError(
            f"{path}: is one of {len(names)} files that hold one image together ({', '.join(names[:3])}"
            f"{' ...' if len(names) > 3 else ''}); they are not read. Save the image as one file."
        )
    if page.samplesperpixel != 1 or "S" in first.axes:
        raise FormatError(
            f"{path}: holds colours ({page.samplesperpixel} samples per pixel); a stack of grey pages was expected."
        )
    if np.dtype(first.dtype).kind not in "iufb":
        raise FormatError(f"{path}: holds {first.dtype}; integers or real numbers were expected.")
    sizes = [n for n, axis in zip(first.shape, first.axes, strict=True) if axis not in "YX" and n > 1]
    if len(sizes) > 1 or first.axes[-2:] != "YX":
        raise FormatError(
            f"{path}: has axes {first.axes} of sizes {first.shape}; a stack of pages (z, y, x) was expected. "
            "Save one channel and one time point."
        )
    others = {s.shape for s in tif.series[1:] if not getattr(s, "is_pyramidal", False)} - {first.shape}
    if others:
        raise FormatError(
            f"{path}: holds pages of different sizes ({first.shape[-2:]} and {min(others)[-2:]}); "
            "one stack was expected."
        )
    if len(tif.series) > 1:
        raise FormatError(f"{path}: holds {len(tif.series)} images; one stack was expected. Split it.")
    shape = index3([*(sizes or [1]), *first.shape[-2:]])
    if min(shape) < 1:
        raise FormatError(f"{path}: has no voxels: {shape} in {file_bytes} bytes.")
    if first.dataoffset is None and (len(first.pages) != shape[0] or page.shape != shape[1:]):
        raise FormatError(f"{path}: its {len(first.pages)} pages of {page.shape} do not make up {shape}.")
    return shape


def _check_meaning(path: str, series: Any) -> None:
    """Refuse pages whose tags say that stored values, or rows and columns, are not what they seem.

    Programs differ in what they make of both: Pillow inverts bytes whose zero is white and no words of 16 bits, ImageJ
    the other way round, tifffile neither; and few turn pages by their orientation.
    """
    pages = series.pages if series.kind == "generic" else [series.keyframe]  # of a generic one all were read
    for page in pages:
        if not isinstance(page, tifffile.TiffPage):
            continue
        where = path if len(pages) == 1 else f"{path}: page {page.index}"
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            raise FormatError(
                f"{where}: says that zero is white (tag PhotometricInterpretation is 0, MinIsWhite), so its values are "
                "inverted for some programs and not for others. Save it with zero as black, after inverting it if that "
                "is needed."
            )
        tag = page.tags.get(ORIENTATION)
        if tag is not None and tag.value != 1:
            turned = int(tag.value) if isinstance(tag.value, int) else str(tag.value)[:20]
            raise FormatError(
                f"{where}: says that its rows and columns are turned or mirrored (tag Orientation is {turned}, "
                f"{TURNED.get(tag.value, 'which is unknown')}). Save it upright, with the first row at the top and "
                "the first column on the left (1), or without the tag if that is wrong."
            )


def _decode(path: str, pages: Any, z: int, shape: tuple[int, int]) -> NDArray[Any]:
    """Decode one page. Pillow decodes what tifffile cannot decompress by itself (LZW, JPEG ...)."""
    page, where = pages[z], f"{path}: page {z}"
    if page is None:
        raise FormatError(f"{where} is missing from the file.")
    if page.compression in FAX and page.bitspersample != 1:
        raise FormatError(f"{where} is damaged: fax compression holds 1 bit per pixel, not {page.bitspersample}.")
    try:
        values: NDArray[Any] = page.asarray()
    except Exception as error:  # each decoder raises errors of its own
        if "imagecodecs" not in str(error):
            raise FormatError(f"{where} is damaged: {error}.") from error
        values = _decode_with_pillow(path, page.index, where)
        if values.dtype != page.dtype:
            raise FormatError(
                f"{where} is compressed in a way that needs imagecodecs: pip install imagecodecs."
            ) from error
    if values.shape != shape:
        raise FormatError(f"{where} is {values.shape}; the others are {shape}.")
    return values


def _decode_with_pillow(path: str, index: int, where: str) -> NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.seek(index)
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise FormatError(f"{where} is damaged, or its compression is unknown: {error}.") from error


def _voxel_size(tif: Any) -> tuple[Vector3 | None, str]:
    if tif.is_ome:
        return _ome_voxel_size(tif.ome_metadata)
    if tif.is_imagej:
        return _imagej_voxel_size(tif)
    return None, "plain TIFF files state none"


def _ome_voxel_size(xml: str) -> tuple[Vector3 | None, str]:
    """Return ``PhysicalSizeX`` ... of the first ``Pixels`` (OME schema 2016-06; the default unit is µm)."""
    pixels = next((e for e in ET.fromstring(xml).iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return None, "the OME metadata describe no pixels"
    sizes = []
    for axis in "ZYX":
        value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if value is None or _unit(unit) is None:
            return None, f"the OME metadata state no size along {axis.lower()} in a unit of length"
        sizes.append(_neat(float(value) * (_unit(unit) or 1.0)))
    return (sizes[0], sizes[1], sizes[2]), "OME metadata"


def _imagej_voxel_size(tif: Any) -> tuple[Vector3 | None, str]:
    """Return ImageJ's voxel size: ``spacing`` and ``unit`` of the description, pixels per unit of resolution tags."""
    facts, tags = tif.imagej_metadata or {}, tif.pages[0].tags
    unit = _unit(str(facts.get("unit", "")))
    if unit is None:
        return None, f"the ImageJ metadata have the unit {facts.get('unit')!r}, which is no length"
    units = {a: unit if f"{a}unit" not in facts else _unit(str(facts[f"{a}unit"])) for a in "yz"}  # only if they differ
    if None in units.values():
        return None, f"the ImageJ metadata have the units {facts.get('yunit')!r} and {facts.get('zunit')!r} of y and z"
    per_unit = []
    for tag in ("YResolution", "XResolution"):
        if tag not in tags or 0 in tags[tag].value:
            return None, "the ImageJ metadata state no pixel size"
        number, parts = tags[tag].value
        per_unit.append(parts / number)
    if "spacing" not in facts:
        return None, "the ImageJ metadata state no spacing of the pages"
    y, x = (_neat(v * (u or unit)) for v, u in zip(per_unit, (units["y"], unit), strict=True))
    return (_neat(abs(float(facts["spacing"])) * (units["z"] or unit)), y, x), "ImageJ metadata"


def _unit(text: str) -> float | None:
    plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text).strip().strip("\0").lower()
    plain = plain.replace("metre", "meter").replace("Â".lower(), "")  # µ in UTF-8, read as Latin-1
    return ANGSTROM.get(plain, ANGSTROM.get(plain.removesuffix("s")))


def _neat(value: float) -> float:
    """Round to seven digits, the precision of the 32-bit fractions of TIFF resolutions."""
    return float(f"{value:.7g}")
