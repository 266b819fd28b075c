"""Units: byte sizes and lengths.

Lengths are in angstrom, unless a name ends in ``_nm`` or ``_vox``. Byte sizes are integers; users write them as
``"4GB"`` or ``"512 MiB"``.

>>> parse_bytes("512 MiB"), format_bytes(1536000000)
(536870912, '1.54 GB')
"""

from __future__ import annotations

import re

from volengine.core.errors import InputError

NM_TO_ANGSTROM = 10.0

WORKER_NUMBER = "VOLENGINE_WORKER_NUMBER"
"""Environment variable with the number of a worker process; on a machine with several GPUs it selects the GPU."""

_BYTES = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "kib": 2**10,
    "m": 10**6, "mb": 10**6, "mib": 2**20,
    "g": 10**9, "gb": 10**9, "gib": 2**30,
    "t": 10**12, "tb": 10**12, "tib": 2**40,
}  # fmt: skip


def parse_bytes(text: str | int | float, of: str = "") -> int:
    """Convert a size such as ``"4GB"``, ``"512 MiB"`` or ``1e9`` to bytes.

    Parameters
    ----------
    text
        A number of bytes, or a number with a unit, in upper or lower case: k, kB, M, MB ... are powers of 1000; KiB,
        MiB ... are powers of 1024.
    of
        How messages name the option or value that holds the size.

    Raises
    ------
    InputError
        The text is no size, or the size is not positive.
    """
    where = f"{of}: " if of else ""
    if isinstance(text, (int, float)):
        value, unit = float(text) if abs(text) < 1e300 else float("inf"), ""
    else:
        match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", text.lower())
        if match is None or match[2] not in _BYTES:
            raise InputError(f"{where}{text!r} is not a size; write for example 4GB, 512MiB or 2e9.")
        try:
            value, unit = float(match[1]), match[2]
        except ValueError:
            raise InputError(f"{where}{text!r} is not a size; write for example 4GB, 512MiB or 2e9.") from None
    if not 0 < value * _BYTES[unit] < float("inf"):
        raise InputError(f"{where}a size must be positive and finite, not {text!r}.")
    return int(value * _BYTES[unit])


def format_bytes(n: float) -> str:
    """Format a number of bytes with three digits and a decimal unit (B, kB, MB, GB, TB)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
