"""Reading NIfTI volumes (``.nii``, ``.nii.gz``), with nibabel for the header: ``pip install 'volengine[nifti]'``.

>>> volume = open_nifti("TS_01.nii", voxel_size=10.5)                     # doctest: +SKIP
>>> voxels = NiftiSource(volume).read(Box((0, 0, 0), (64, 64, 64)))    # doctest: +SKIP

NIfTI stores x fastest, so the voxels are z, y, x here and not flipped: voxel (0, 0, 0) is the first one of the file.
The voxel size is taken from the header if it states a unit of length (mm, µm, m) and the size is plausible for cryo-ET.
The affine may be a scaling and a shift: with all signs positive (nibabel's own), or with x and y negative (ITK's, whose
x and y axes point the other way, so nothing is turned). Any other affine turns or mirrors the voxels and is refused:
turning a volume back is a decision for its owner.

A ``.nii.gz`` can be opened, but must be unpacked by :func:`decompress_nifti` before boxes of it are read.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.core.boxes import Index3
from volengine.core.errors import FormatError, InputError
from volengine.core.paths import PathLike
from volengine.core.volume import Vector3, Volume
from volengine.io.files import chosen_voxel_size, first_bytes
from volengine.io.identity import How
from volengine.io.names import is_packed
from volengine.io.plain import PlainSource, check_shape, check_size, file_volume, plausible
from volengine.io.rawfile import RawLayout
from volengine.io.training.nifti import load_nifti

ENDINGS = (".nii.gz", ".nii")
UNITS = {"mm": 1e7, "micron": 1e4, "meter": 1e10}
"""Angstrom per unit of length of the header."""
_STRAIGHT = 1e-5
"""Largest share of a voxel by which an axis may lean."""
MAX_AFFINE = 1e30
"""Largest number of an affine that is believed."""
COPY_BYTES = 4 * 2**20


@dataclass(frozen=True)
class NiftiHeader:
    """The interpreted header of a NIfTI file; triples are z, y, x.

    Parameters
    ----------
    shape, dtype
        Shape, and numpy dtype name of the voxels as they are read: ``float32`` if they are scaled.
    layout
        Place and type of the voxels in the (uncompressed) file.
    scale
        Slope and intercept of the stored values, or ``None``.
    unit
        ``mm``, ``micron``, ``meter`` or ``unknown``.
    spacing, shift
        Voxel size and position of the first voxel, in that unit.
    description
        The header's text.
    """

    shape: Index3
    dtype: str
    layout: RawLayout
    scale: tuple[float, float] | None
    unit: str
    spacing: Vector3
    shift: Vector3
    description: str

    @property
    def voxel_size(self) -> Vector3 | None:
        """Angstrom; ``None`` if the file has no unit of length, or an implausible size."""
        factor = UNITS.get(self.unit)
        return None if factor is None else plausible([float(f"{v * factor:.7g}") for v in self.spacing])

    def origin_for(self, voxel_size: Vector3) -> Vector3:
        """Position of the first voxel's centre, angstrom, for a voxel size that may not be the file's."""
        # twelve digits: those of numbers in binary, which a division leaves behind them, are none of the file's
        z, y, x = (float(f"{s / p * v:.12g}") for s, p, v in zip(self.shift, self.spacing, voxel_size, strict=True))
        return z, y, x


def open_nifti(
    path: PathLike,
    voxel_size: float | Sequence[float] | None = None,
    name: str | None = None,
    identity: How = "quick",
) -> Volume:
    """Open a NIfTI file and return its handle. Only the header and some blocks are read.

    Parameters
    ----------
    path
        A NIfTI-1 or NIfTI-2 file of one three-dimensional volume; it may be compressed with gzip.
    voxel_size
        Angstrom, one number or z, y, x; overrides the header's.
    name
        Name of the tomogram; default: the name of the file without its ending.
    identity
        How the file is identified (:mod:`volengine.io.identity`).

    Returns
    -------
    Volume
        Its origin is the affine's shift; ``facts["nifti"]`` has what the header says.

    Raises
    ------
    DependencyError
        nibabel is not installed.
    MissingError
        The file does not exist.
    FormatError
        It is damaged, cut off, or no three-dimensional volume of real numbers.
    InputError
        Its affine turns, mirrors or shears; or the header states no usable voxel size, and none was given.
    """
    text = os.fspath(path)
    header = read_nifti_header(text)
    stated = f"{', '.join(f'{v:g}' for v in header.spacing)} (z, y, x) in the unit {header.unit!r}"
    size = chosen_voxel_size(text, voxel_size, header.voxel_size, f"the header has no usable voxel size, but {stated}")
    facts = {
        "unit": header.unit, "spacing": list(header.spacing), "shift": list(header.shift),
        "scale": None if header.scale is None else list(header.scale), "description": header.description,
    }  # fmt: skip
    return file_volume(
        text, header.shape, header.dtype, size, identity, origin=header.origin_for(size), name=name, endings=ENDINGS,
        facts={"nifti": facts},
    )  # fmt: skip


class NiftiSource(PlainSource):
    """Read access to the voxels of a NIfTI file that is not compressed; the header is read again and must still fit.

    Parameters
    ----------
    volume
        A handle of :func:`open_nifti`.

    Raises
    ------
    InputError
        The file is compressed.
    """

    def __init__(self, volume: Volume):
        if is_packed(volume.url):
            raise InputError(
                f"{volume.url}: is compressed as a whole; boxes cannot be read out of it. Convert it first."
            )
        header = read_nifti_header(volume.url)
        super().__init__(volume, header.layout, header.dtype, header.scale)


def read_nifti_header(path: str) -> NiftiHeader:
    """Read and check the header of a NIfTI file; errors as for :func:`open_nifti`."""
    _, size = first_bytes(path, 1, "a NIfTI file")
    image = load_nifti(path)
    try:
        header, data = image.header, image.dataobj
        kind = np.dtype(header.get_data_dtype())
        shape = [int(n) for n in image.shape]
        offset, slope, intercept = int(data.offset), float(data.slope), float(data.inter)
        affine = np.array(image.affine, np.float64)
        spacing = np.array(header.get_zooms()[:3], np.float64)
        oriented = bool(int(header["sform_code"]) or int(header["qform_code"]))
        unit = str(header.get_xyzt_units()[0])
        description = bytes(header["descrip"].item()).split(b"\0")[0].decode("latin-1").strip()
    except Exception as error:  # nibabel raises whatever a damaged header makes it run into
        raise FormatError(f"{path}: is no NIfTI volume that can be read ({error}).") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if kind.kind not in "uif" or kind.itemsize > 8:
        raise FormatError(f"{path}: holds {kind}; integers or real numbers of up to 8 bytes were expected.")
    zyx = check_shape(path, shape[::-1])
    layout = RawLayout(offset, zyx, kind.str)
    if not is_packed(path):
        check_size(path, offset + layout.nbytes, size, f"{zyx} voxels of {kind.name}")
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        slope, intercept = 1.0, 0.0  # as the standard says
    scale = None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)
    shift = (0.0, 0.0, 0.0)
    if oriented:
        spacing, shift = _straight(path, affine)
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        raise FormatError(f"{path}: its header states voxels of {tuple(spacing)}; positive lengths were expected.")
    z, y, x = (_written(v) for v in spacing[::-1])
    dtype = "float32" if scale else kind.newbyteorder("=").name
    return NiftiHeader(zyx, dtype, layout, scale, unit, (z, y, x), shift, description)


def _written(value: float) -> float:
    """The shortest decimal number that is this one in the 32 bits in which NIfTI-1 keeps it.

    >>> _written(-0.30000001192092896), _written(-0.3), _written(0.1234567890123)   # the others are of NIfTI-2
    (-0.3, -0.3, 0.1234567890123)
    """
    single = np.float32(value)
    return float(str(single)) if float(single) == float(value) else float(value)


def _straight(path: str, affine: Any) -> tuple[Any, Vector3]:
    """Voxel size (x, y, z) and shift (z, y, x) of an affine that neither turns nor mirrors."""
    part, shift = affine[:3, :3], affine[:3, 3]
    if not (np.abs(affine) < MAX_AFFINE).all():
        raise FormatError(f"{path}: its affine {affine.tolist()} is not finite, or huge; it is damaged.")
    lengths = np.sqrt((part**2).sum(axis=0))
    off = part - np.diag(np.diag(part))
    if not min(lengths) > 1 / MAX_AFFINE:
        raise FormatError(f"{path}: its affine {part.tolist()} has no size; it is damaged.")
    signs = tuple(int(v) for v in np.sign(np.diag(part)))
    if np.abs(off / lengths).max() > _STRAIGHT or signs not in ((1, 1, 1), (-1, -1, 1)):
        raise InputError(
            f"{path}: its affine turns, mirrors or shears the voxels ({part.tolist()}). volengine does not turn "
            "volumes: resave it with the affine of a scaling, after turning the voxels if they are to be turned."
        )
    x, y, z = (_written(v) for v in shift * signs)  # in ITK's frame x and y point the other way, and so does the shift
    return lengths, (z, y, x)


def decompress_nifti(path: PathLike, target: PathLike) -> Path:
    """Unpack a ``.nii.gz`` as a stream. The target appears only when it is complete.

    Raises
    ------
    FormatError
        The stream is damaged or cut off, or unpacks to more than its header announces.
    """
    name, final = os.fspath(path), Path(target)
    layout = read_nifti_header(name).layout
    most = 2 * (layout.offset + layout.nbytes) + 2**20
    with replacing(final) as out, Path(name).open("rb") as packed:
        try:
            with gzip.open(packed, "rb") as stream:
                while chunk := stream.read(COPY_BYTES):
                    if out.tell() > most:
                        raise FormatError(f"{name}: unpacks to more than {most} bytes, far more than it announces.")
                    out.write(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FormatError(f"{name}: the gzip stream is damaged or ends too early ({error}).") from error
    try:
        read_nifti_header(os.fspath(final))
    except FormatError as error:
        final.unlink()
        raise FormatError(str(error).replace(str(final), f"{name} (unpacked)")) from error
    return final
