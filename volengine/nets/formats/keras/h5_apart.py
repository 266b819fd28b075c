"""Strangers' HDF5 files, opened by a process of their own, so that a damaged one harms nobody.

The HDF5 library trusts its files: a few changed bytes make it loop for ever, take all memory, or crash. A short-lived
process (:mod:`volengine.nets.formats.keras.h5_child`) opens the file within limits of time, memory and output, and
hands plain arrays back through a temporary file. It costs about 0.3 s.

>>> content = read_h5("model.h5")                                                                    # doctest: +SKIP
>>> content.weights["conv2d"][0].values.shape                                                        # doctest: +SKIP
(3, 3, 1, 64)
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import DependencyError, FormatError, MissingError

MAX_WEIGHT = 2**31
"""Bytes of one weight: larger ones are not believed."""

MAX_RATIO = 20
"""Bytes of all weights by the bytes of the file: Keras does not compress, but may keep them in 2 bytes."""

SECONDS = 5
BYTES_PER_SECOND = 50_000_000
MEMORY = 1 << 30
"""Processor time and memory of the process that reads, on top of what the file's size needs."""


class Weight(NamedTuple):
    """A weight: its name or number in its layer, its values as float32, and the layer's name where it is told."""

    key: str
    values: NDArray[np.float32]
    shown: str


@dataclass(frozen=True)
class H5Content:
    """What a Keras file holds.

    Parameters
    ----------
    config
        ``model_config``, JSON; ``None`` where there are weights alone.
    version
        Of Keras; "" where it is not told.
    numbered
        Whether ``weights`` goes by the path of a layer (``layers/conv2d_1``, as in Keras 3's own files), else by the
        name of a layer of the outermost model.
    weights
        In the order of the file, by layer.
    """

    config: str | None
    version: str
    numbered: bool
    weights: dict[str, list[Weight]]


def read_h5(source: str | Path | bytes, where: str = "") -> H5Content:
    """The configuration and the weights of a Keras file.

    Parameters
    ----------
    source
        A path, or the file itself.
    where
        Names it in messages.

    Raises
    ------
    MissingError, FormatError
        No such file; not an HDF5 file, a damaged one, one that takes more time or memory than a good one of its size
        can, or whose weights are links, no numbers, or more than the file can hold.
    """
    where = where or str(source)
    with _opened(source, where) as stream, _scratch() as out:
        size = os.fstat(stream.fileno()).st_size
        order = {
            "path": [path for path in sys.path if path],
            "seconds": SECONDS + size // BYTES_PER_SECOND,
            "memory": MEMORY + 4 * size,
            "output": MAX_RATIO * size + 64_000_000,
            "most": MAX_RATIO * size,
            "most_of_one": MAX_WEIGHT,
        }
        _run(order, stream, out, where)
        return _content(out, where)


def _scratch() -> IO[bytes]:
    """A file without a name: in memory where the system has such, else on disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("volengine"), "w+b")
    return tempfile.TemporaryFile()


@contextmanager
def _opened(source: str | Path | bytes, where: str) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        with _scratch() as stream:
            stream.write(source)
            stream.seek(0)
            yield stream
        return
    if not Path(source).is_file():
        raise MissingError(f"{where}: no such model file.")
    with Path(source).open("rb") as stream:
        yield stream


def _run(order: dict[str, Any], stream: IO[bytes], out: IO[bytes], where: str) -> None:
    """The process that reads; waits for its end, which its limits make sure of."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    program = Path(__file__).with_name("h5_child.py")
    command = [sys.executable, "-I", "-S", "-B", str(program), json.dumps(order)]
    seconds = 60 + 10 * order["seconds"]
    try:
        done = subprocess.run(
            command, stdin=stream, stdout=out, stderr=subprocess.PIPE, env=environment, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FormatError(f"{where}: HDF5 has not read it in {seconds} s; the file is damaged.") from error
    if done.returncode == 0:
        return
    told = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode > 0 and told and told[-1].startswith(("ModuleNotFoundError", "ImportError")):
        raise DependencyError(f"{where} cannot be read: {told[-1]}")
    how = f"was stopped by signal {-done.returncode}" if done.returncode < 0 else "failed: " + "".join(told[-1:])
    raise FormatError(
        f"{where} is no HDF5 file that can be read: it is damaged (the HDF5 library {how}; its limits are "
        f"{order['seconds']} s and {order['memory']} bytes)."
    )


def _content(out: IO[bytes], where: str) -> H5Content:
    """What the process has written; it has read hostile bytes, so nothing is taken for granted."""
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
