"""Procedural stand-ins for the units of filaments, for use without structures.

>>> unit_standin("microtubule").classes
('microtubule',)
"""

from __future__ import annotations

import math

import numpy as np

from volengine.core.errors import InputError
from volengine.core.specimen import Template
from volengine.sim.atoms.scattering import PROTEIN_POTENTIAL

_LOBES: dict[str, tuple[tuple[float, float, float, float], ...]] = {  # z, y, x, radius in angstrom, about the pivot
    "actin": ((-6, 0, 8, 18.2), (6, 0, 27, 18.2)),  # 42 kDa: inner and outer domain
    "cofilactin": ((-6, 0, 8, 18.2), (6, 0, 27, 18.2), (-16, 28, 24, 17.7)),  # and 19 kDa of cofilin
    "microtubule": ((-20.3, 0, 0, 24.3), (20.3, 0, 0, 24.3)),  # alpha and beta tubulin, 50 kDa each
}


def unit_standin(kind: str, class_name: str = "", step_a: float = 4.0) -> Template:
    """A procedural stand-in for a filament's unit, of protein's density: lobes where its domains are.

    It is nobody's structure, and named ``KIND-standin``.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    class_name
        Default: the kind.
    step_a
        Between its points, angstrom.

    Raises
    ------
    InputError
        Another kind, or a step of 12 A or more, which lobes do not show.
    """
    if kind not in _LOBES or not 0 < step_a < 12:
        raise InputError(
            f"There are stand-ins for {', '.join(_LOBES)} (points under 12 A apart), not {kind!r}, {step_a}."
        )
    line = np.arange(-80.0, 80.0 + step_a, step_a)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    filled = np.zeros(z.shape, bool)
    volume = 0.0
    for z0, y0, x0, radius in _LOBES[kind]:
        filled |= (z - z0) ** 2 + (y - y0) ** 2 + (x - x0) ** 2 <= radius**2
        volume += 4 / 3 * math.pi * radius**3
    points = np.stack([z[filled], y[filled], x[filled]], axis=1).astype(np.float32)
    count = len(points)
    weight = np.full(count, PROTEIN_POTENTIAL * volume / count, np.float32)
    part = np.zeros(count, np.uint8)
    return Template(f"{kind}-standin", (class_name or kind,), points, weight, part, 1 / PROTEIN_POTENTIAL)
