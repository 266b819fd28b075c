"""Folders of NIfTI patches as membrain-seg uses for training: ``imagesTr``, ``labelsTr``, ``imagesVal``, ``labelsVal``.

An image is ``<name>_0000.nii.gz`` (or ``<name>.nii.gz``), its labels are ``<name>.nii.gz``: 0 background, 1 membrane, 2
ignore. NIfTI stores x, y, z; arrays here are z, y, x and not flipped, so voxel (0, 0, 0) is the first one of the file.
The part of the name before the first ``_`` is the data set of the patch (its *token*). The voxel size in these files is
not meaningful and not used. Reading needs nibabel: ``pip install 'volengine[nifti]'``.

>>> pairs = find_pairs("membrain_data")                                                      # doctest: +SKIP
>>> image, labels = read_nifti(pairs[0].image), read_nifti(pairs[0].labels)                  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, MissingError, require

MAX_BYTES = 2**32
"""Largest size of a patch that is read, bytes; a patch with 160 voxels per side has 16 MB."""

MAX_RATIO = 1100
"""Largest ratio of the voxels' bytes to those of a ``.nii.gz`` file: deflate reaches 1032."""

_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class NiftiPair:
    """An image and its labels; ``validation``: whether they are from ``imagesVal`` instead of ``imagesTr``."""

    name: str
    image: str
    labels: str
    validation: bool

    @property
    def token(self) -> str:
        """Name of the data set to which it belongs."""
        return self.name.partition("_")[0]


def find_pairs(folder: str) -> list[NiftiPair]:
    """Find the images and their labels, sorted by name, those for training first.

    Raises
    ------
    MissingError
        The folder does not exist or has no ``imagesTr``, there is no image in it, or an image has no labels.
    """
    root = Path(folder)
    if not (root / "imagesTr").is_dir():
        raise MissingError(f"{folder}: there is no folder imagesTr in it; it holds no NIfTI training data.")
    found = []
    for part, validation in (("Tr", False), ("Val", True)):
        images = root / f"images{part}"
        files = sorted(p for p in images.iterdir() if p.name.endswith(_ENDINGS)) if images.is_dir() else []
        for image in files:
            stem = _stem(image.name)
            name = stem.removesuffix("_0000")
            beside = [root / f"labels{part}" / f"{n}{e}" for n in (name, stem) for e in _ENDINGS]
            labels = next((p for p in beside if p.is_file()), None)
            if labels is None:
                raise MissingError(f"{image}: there are no labels: no {beside[0]}.")
            found.append(NiftiPair(name, str(image), str(labels), validation))
    if not found:
        raise MissingError(f"{folder}: there is no image in imagesTr (*.nii.gz).")
    return found


def _stem(name: str) -> str:
    return next(name[: -len(e)] for e in _ENDINGS if name.endswith(e))


def read_nifti(path: str) -> NDArray[Any]:
    """Read the voxels of a file, z, y, x: unscaled integers in their stored dtype, all others as float32.

    Raises
    ------
    DependencyError
        nibabel is not installed.
    MissingError
        The file does not exist.
    FormatError
        It is damaged, truncated, not three-dimensional, or larger than :data:`MAX_BYTES`.
    """
    image = load_nifti(path)
    _shape(image, path)
    try:
        with _quiet(), np.errstate(all="ignore"):
            values = np.asanyarray(image.dataobj)
        turned = np.ascontiguousarray(values.T.reshape(_shape(image, path)))
    except FormatError:
        raise
    except Exception as error:  # nibabel raises whatever a damaged file makes it run into
        raise FormatError(f"{path} is damaged or cut off ({error}).") from error
    native = turned.astype(turned.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite
        return native if native.dtype.kind in "ui" else native.astype(np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel's lines from the terminal, to which its own handler writes."""
    logger = logging.getLogger("nibabel.global")
    kept, logger.handlers = logger.handlers, [logging.NullHandler()]
    try:
        yield
    finally:
        logger.handlers = kept


def load_nifti(path: str) -> Any:
    """Open a file with nibabel, whose header is read and whose voxels are not; errors as for :func:`read_nifti`."""
    try:
        import nibabel
    except ImportError as error:
        raise require("nibabel", "nifti", "Reading NIfTI") from error
    try:
        with _quiet():
            return nibabel.load(path)
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file.") from None
    except Exception as error:  # nibabel raises whatever a damaged file makes it run into
        raise FormatError(f"{path} is no NIfTI file that can be read ({error}).") from error


def _shape(image: Any, path: str) -> tuple[int, int, int]:
    try:
        shape = [int(n) for n in image.shape]
    except (TypeError, ValueError, OverflowError):
        raise FormatError(f"{path}: its header states no shape.") from None
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 3 or min(shape) < 1 or image.get_data_dtype().kind not in "uif":
        raise FormatError(
            f"{path}: holds {tuple(shape)} of {image.get_data_dtype()}; three axes of numbers are expected."
        )
    promised, size = math.prod(shape) * image.get_data_dtype().itemsize, Path(path).stat().st_size
    if promised > min(MAX_BYTES, size * (MAX_RATIO if path.endswith(".gz") else 1)):
        raise FormatError(
            f"{path}: promises {tuple(shape)} voxels, {promised} bytes, and has {size}; it is cut off, damaged, or "
            f"larger than the {MAX_BYTES} bytes that are read."
        )
    return shape[2], shape[1], shape[0]
