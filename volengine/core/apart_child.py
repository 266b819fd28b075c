"""The program in which a script reads an untrusted HDF5 file: a process of its own, which may hang or crash.

Damaged files can make the HDF5 library loop for ever, take all memory, or crash. Therefore
:func:`volengine.core.apart.run_apart` runs this file as a script. It sets limits on its own time, memory and output,
and then runs the function ``read(file, order, out)`` of the script that it is told. Both import only h5py and numpy,
never the package.

Standard input is the file. To standard output, which is another file, ``read`` may write bytes; behind them this
program writes what it has returned, as JSON, and the length of that in 8 bytes. A file that is refused or damaged has
``refused`` or ``damaged`` there, with the reason.
"""

from __future__ import annotations

import json
import os
import runpy
import struct
import sys


def confine(seconds: int, memory: int, output: int) -> None:
    """Set limits on this process, if the system supports them."""
    try:
        import resource
    except ImportError:
        return
    for name, value in {"CPU": seconds, "AS": memory, "FSIZE": output, "CORE": 0}.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):  # macOS has no limit on the address space
            continue


def main() -> int:
    """Read the file from standard input, and write what the script says of it to standard output."""
    order = json.loads(sys.argv[1])
    sys.path += [path for path in order["path"] if path not in sys.path]
    confine(order["seconds"], order["memory"], order["output"])
    script = runpy.run_path(order["script"])
    import h5py

    out = sys.stdout.buffer
    try:
        with h5py.File(sys.stdin.buffer, "r") as file:
            index = script["read"](file, order, out)
    except script["Refused"] as error:
        index = {"refused": str(error)}
    except MemoryError:
        index = {"refused": "asks for more memory than such a file can need"}
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, RecursionError) as error:
        index = {"damaged": str(error)[:500]}
    raw = json.dumps(index).encode()
    out.write(raw + struct.pack("<Q", len(raw)))
    out.flush()
    os._exit(0)  # skip the library's clean-up, which may crash after a damaged file


if __name__ == "__main__":
    sys.exit(main())
