"""Units: byte sizes and lengths.

Lengths are angstrom everywhere; names that end in ``_nm`` or ``_vox`` say otherwise. Byte sizes are plain
integers; people write them as ``"4GB"`` or ``"512 MiB"``.
"""

from __future__ import annotations

import re

from volengine.core.errors import InputError

NM_TO_ANGSTROM = 10.0

WORKER_NUMBER = "VOLENGINE_WORKER_NUMBER"
"""Environment variable of a worker process: its number, from which it takes its GPU where there are several."""

_BYTES = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "kib": 2**10,
    "m": 10**6, "mb": 10**6, "mib": 2**20,
    "g": 10**9, "gb": 10**9, "gib": 2**30,
    "t": 10**12, "tb": 10**12, "tib": 2**40,
}  # fmt: skip


def parse_bytes(text: str | int | float) -> int:
    """Bytes from ``"4GB"``, ``"512 MiB"``, ``1e9`` ... (decimal for kB/MB/GB, binary for KiB/MiB/GiB)."""
    if isinstance(text, (int, float)):
        value, unit = float(text), ""
    else:
        match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", text.lower())
        if match is None or match[2] not in _BYTES:
            raise InputError(f"{text!r} is not a size; write for example 4GB, 512MiB or 2e9")
        try:
            value, unit = float(match[1]), match[2]
        except ValueError:
            raise InputError(f"{text!r} is not a size; write for example 4GB, 512MiB or 2e9") from None
    if value <= 0:
        raise InputError(f"a size must be positive, not {text!r}")
    return int(value * _BYTES[unit])


def format_bytes(n: float) -> str:
    """``1536000000`` -> ``"1.54 GB"`` (decimal units, three digits)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
