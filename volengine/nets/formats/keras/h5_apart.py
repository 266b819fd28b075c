"""Read untrusted HDF5 files in a separate process, so that a damaged file does no harm.

The HDF5 library trusts its files: a few changed bytes can make it loop for ever, take all memory, or crash. A
short-lived process (:mod:`volengine.nets.formats.keras.h5_child`) opens the file with limits on time, memory and
output, and returns plain arrays through a temporary file. It takes about 0.3 s.

>>> content = read_h5("model.h5")                                                                    # doctest: +SKIP
>>> content.weights["conv2d"][0].values.shape                                                        # doctest: +SKIP
(3, 3, 1, 64)
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.apart import run_apart, scratch
from volengine.core.errors import FormatError, MissingError

MAX_WEIGHT = 2**31
"""Largest size of one weight in bytes; a file that announces a larger one is refused."""

MAX_RATIO = 20
"""Largest ratio of the bytes of all weights to those of the file: Keras may store numbers in 2 bytes."""

SECONDS = 5
BYTES_PER_SECOND = 50_000_000
MEMORY = 1 << 30
"""Processor time (seconds) and memory (bytes) of the reading process, in addition to what the file's size needs."""


class Weight(NamedTuple):
    """A weight: its name or number in its layer, its values as float32, and the layer's name if the file has it."""

    key: str
    values: NDArray[np.float32]
    shown: str


@dataclass(frozen=True)
class H5Content:
    """The content of a Keras file.

    Parameters
    ----------
    config
        ``model_config`` as JSON text; ``None`` if the file has only weights.
    version
        Version of Keras; "" if the file does not state it.
    numbered
        Whether the keys of ``weights`` are paths of layers (``layers/conv2d_1``, as in Keras 3's own files); otherwise
        they are names of layers of the outermost model.
    weights
        The weights of each layer, in the order of the file.
    """

    config: str | None
    version: str
    numbered: bool
    weights: dict[str, list[Weight]]


def read_h5(source: str | Path | bytes, where: str = "") -> H5Content:
    """Read the configuration and the weights of a Keras file.

    Parameters
    ----------
    source
        A path, or the bytes of the file.
    where
        Name of the file in messages, if ``source`` is not a path.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is not HDF5, is damaged, takes more time or memory than a valid file of its size can need, or its
        weights are links, not numbers, or larger than the file can hold.
    """
    where = where or str(source)
    with _opened(source, where) as stream, scratch() as out:
        size = os.fstat(stream.fileno()).st_size
        order = {
            "seconds": SECONDS + size // BYTES_PER_SECOND,
            "memory": MEMORY + 4 * size,
            "output": MAX_RATIO * size + 64_000_000,
            "most": MAX_RATIO * size,
            "most_of_one": MAX_WEIGHT,
        }
        run_apart(Path(__file__).with_name("h5_child.py"), order, stream, out, where)
        return _content(out, where)


@contextmanager
def _opened(source: str | Path | bytes, where: str) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        with scratch() as stream:
            stream.write(source)
            stream.seek(0)
            yield stream
        return
    if not Path(source).is_file():
        raise MissingError(f"{where}: no such model file.")
    with Path(source).open("rb") as stream:
        yield stream


def _content(out: IO[bytes], where: str) -> H5Content:
    """Parse the output of the process; it may have read hostile bytes, so everything is checked."""
    try:
        values = np.frombuffer(mmap.mmap(out.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        (length,) = struct.unpack("<Q", values[-8:].tobytes())
        index = json.loads(values[-8 - length : -8].tobytes())
        if "refused" in index:
            raise FormatError(f"{where} {index['refused']}.")
        if "damaged" in index:
            raise FormatError(f"{where} is no HDF5 file, or it is damaged or cut off ({index['damaged']}).")
        weights: dict[str, list[Weight]] = {}
        for entry in index["weights"]:
            start, shape = int(entry["start"]), [int(n) for n in entry["shape"]]
            piece = values[start : start + 4 * int(np.prod(shape, dtype=np.int64))]
            array = piece.view(np.float32).reshape(shape)
            weights.setdefault(entry["layer"], []).append(Weight(entry["key"], array, entry.get("shown", "")))
        return H5Content(index["config"], index["version"], bool(index["numbered"]), weights)
    except (struct.error, ValueError, LookupError, TypeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{where} is no HDF5 file that can be read: it is damaged ({error}).") from error
