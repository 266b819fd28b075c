"""Run a script that reads an untrusted file in a process of its own, which may hang or crash without harm."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from volengine.core.errors import DependencyError, FormatError


def scratch() -> IO[bytes]:
    """Return a file without a name: in memory if the system supports this, else on disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("volengine"), "w+b")
    return tempfile.TemporaryFile()


PROGRAM = Path(__file__).with_name("apart_child.py")


def run_apart(script: Path, order: Mapping[str, Any], stream: IO[bytes], out: IO[bytes], where: str) -> None:
    """Let a script read an HDF5 file in a process of its own, and wait for its end, which its limits guarantee.

    Parameters
    ----------
    script
        The script, which has ``read`` and ``Refused`` (:mod:`volengine.core.apart_child`) and imports nothing of the
        package.
    order
        What it is told, JSON values: ``seconds`` of processor time, ``memory`` and ``output`` in bytes, among others.
    stream, out
        Its standard input and output: open files.
    where
        Name of the file, for messages.

    Raises
    ------
    DependencyError
        A package that it needs is not installed.
    FormatError
        It has crashed, or has reached one of its limits.
    """
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    told_all = {**order, "script": str(script), "path": [path for path in sys.path if path]}
    command = [sys.executable, "-I", "-S", "-B", str(PROGRAM), json.dumps(told_all)]
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


def answer(out: IO[bytes]) -> tuple[bytes, Any]:
    """What a process has written: bytes of arrays, and JSON that says what they are; nothing of it is checked yet.

    The JSON and its length (8 bytes, little-endian) stand at the end.

    Raises
    ------
    struct.error, ValueError
        The bytes are no such answer.
    """
    out.seek(0)
    data = out.read()
    (length,) = struct.unpack("<Q", data[-8:])
    return data[: -8 - length], json.loads(data[-8 - length : -8])
