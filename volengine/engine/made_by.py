"""What makes results: the command that was called, and the versions of what it uses.

It is kept with every tomogram that is finished, because one run folder may be filled by several commands.
"""

from __future__ import annotations

import platform
import shlex
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "volengine",
    "numpy",
    "scipy",
    "scikit-image",
    "dask",
    "distributed",
    "zarr",
    "torch",
    "openvino",
    "onnxruntime",
    "edt",
    "mrcfile",
)


def made_by() -> dict[str, Any]:
    """Return ``command`` and ``versions`` as JSON values."""
    return {"command": command(), "versions": versions()}


def command() -> str:
    """Return the command line of this process if it is ``volengine``; empty if another program has called us."""
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    ours = program.stem == "volengine" or program.parts[-3:] == ("volengine", "cli", "main.py")
    return shlex.join(["volengine", *sys.argv[1:]]) if ours else ""


@cache
def versions() -> dict[str, str]:
    """Return the installed versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
