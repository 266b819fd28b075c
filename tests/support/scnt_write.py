"""Write Ais's training sets (``.scnt``, as tar; see :mod:`volengine.io.training.scnt`), one box in memory at a time.

>>> write_scnt("ribosome.scnt", samples, pixel_size=10.0)                                    # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import replacing
from volengine.core.errors import InputError
from volengine.io.training.scnt import FORMAT_VERSION


@dataclass(frozen=True)
class ScntSample:
    """One box, to be written.

    Parameters
    ----------
    image
        (depth, height, width).
    labels
        (height, width), of the middle slice, or (depth, height, width): 0, 1, 2.
    tomogram, feature
        Names: which tomogram it is cut from (a path), and what is annotated.
    position
        z, y, x in that tomogram, voxels.
    """

    image: NDArray[Any]
    labels: NDArray[Any]
    tomogram: str
    feature: str
    position: tuple[int, int, int]


def write_scnt(path: str, samples: Iterable[ScntSample], pixel_size: float, *, normalisation: str = "") -> int:
    """Write a training set (tar form), streamed: one box in memory at a time; the sources' table grows with them.

    Parameters
    ----------
    path
        The file; it appears when it is complete.
    samples
        Boxes of one shape. Two at the same place of the same tomogram and feature are refused.
    pixel_size
        Angstrom.
    normalisation
        What was done to the values, in a word.

    Returns
    -------
    int
        How many samples were written.
    """
    sources: dict[str, Any] = {}
    shape: tuple[int, ...] = ()
    with replacing(path) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for sample in samples:
            name = _name_of(sample)
            if name in sources:
                raise InputError(
                    f"{path}: two samples of {sample.feature!r} at {sample.position} of {sample.tomogram}."
                )
            shape = shape or sample.image.shape
            _check_sample(sample, shape, path)
            _add(tar, f"x_main/{name}.mrc", _mrc_bytes(sample.image.astype("<f4"), 2, pixel_size))
            labels = sample.labels if sample.labels.ndim == 3 else sample.labels[None]
            _add(tar, f"y/{name}.mrc", _mrc_bytes(labels.astype("<i1"), 0, pixel_size))
            sources[name] = _source(sample)
        if not sources:
            raise InputError(f"{path}: there are no samples to write.")
        metadata = {
            "format_version": FORMAT_VERSION,
            "apix": pixel_size,
            "box_size": shape[-1],
            "box_depth": shape[0],
            "z_jitter": 0,
            "features": sorted({s["aisFeatureName"] for s in sources.values()}),
            "n_samples": len(sources),
            "input_flavours": ["main"],
            "annotated_flavour": "main",
            "normalization": normalisation,
        }
        _add(tar, "metadata.json", json.dumps(metadata, indent=1).encode())
        _add(tar, "sources.json", json.dumps(sources, indent=1).encode())
    return len(sources)


def _name_of(sample: ScntSample) -> str:
    z, y, x = sample.position
    text = f"{PurePosixPath(sample.tomogram).stem}_{sample.feature}_{z}_{y}_{x}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16]


def _check_sample(sample: ScntSample, shape: tuple[int, ...], path: str) -> None:
    if sample.image.shape != shape or len(shape) != 3:
        raise InputError(f"{path}: boxes of {shape} and {sample.image.shape}; all must have one shape z, y, x.")
    if sample.labels.shape not in (shape, shape[1:]):
        raise InputError(f"{path}: labels of {sample.labels.shape} for a box of {shape}.")
    if not np.isin(sample.labels, (0, 1, 2)).all():
        raise InputError(f"{path}: labels are 0 (background), 1 (feature) and 2 (ignore).")


def _source(sample: ScntSample) -> dict[str, Any]:
    z, y, x = sample.position
    return {
        "aisTomogramName": PurePosixPath(sample.tomogram).stem,
        "aisTomogramPath": sample.tomogram,
        "aisBoxCoordinateZ": z,
        "aisBoxCoordinateY": y,
        "aisBoxCoordinateX": x,
        "aisBoxSizeAnnotate": int(sample.image.shape[-1]),
        "aisBoxSizeExtracted": int(sample.image.shape[-1]),
        "aisFeatureName": sample.feature,
    }


def _mrc_bytes(values: NDArray[Any], mode: int, pixel_size: float) -> bytes:
    from mrcfile.dtypes import HEADER_DTYPE

    head = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    nz, ny, nx = values.shape
    head["nx"], head["ny"], head["nz"], head["mode"] = nx, ny, nz, mode
    head["mx"], head["my"], head["mz"] = nx, ny, nz
    head["cella"] = (nx * pixel_size, ny * pixel_size, nz * pixel_size)
    head["cellb"] = (90, 90, 90)
    head["mapc"], head["mapr"], head["maps"] = 1, 2, 3
    head["dmin"], head["dmax"], head["dmean"] = values.min(), values.max(), values.mean(dtype=np.float64)
    head["rms"] = values.std(dtype=np.float64)
    head["map"], head["machst"] = b"MAP ", [0x44, 0x44, 0, 0]
    head["nversion"] = 20141
    return head.tobytes() + values.tobytes()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
