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

OUTWARD_A = 5.0
"""How far outside of its pivot the mass of a tubulin dimer lies: the wall of a real microtubule of 13 protofilaments is
densest at 106 A from the axis, and protofilaments touch at 101 A."""

_LOBES: dict[str, tuple[tuple[float, ...], ...]] = {  # z, y, x about the pivot, and semi-axes z, y, x, angstrom
    "actin": ((-6, 0, 8, *[18.2] * 3), (6, 0, 27, *[18.2] * 3)),  # 42 kDa: inner and outer domain
    # and 19 kDa of cofilin
    "cofilactin": ((-6, 0, 8, *[18.2] * 3), (6, 0, 27, *[18.2] * 3), (-16, 28, 24, *[17.7] * 3)),
    # alpha and beta tubulin, 50 kDa each: 41 A along the protofilament, 65 A through the wall (Nogales et al., Nature
    # 391:199, 1998), and as wide as the mass then leaves
    "microtubule": ((-20.45, 0, OUTWARD_A, 20.5, 21.7, 32.5), (20.45, 0, OUTWARD_A, 20.5, 21.7, 32.5)),
}

STEP = 4.0  # angstrom between the points of a stand-in; lobes of 12 A or less would not show


def unit_standin(kind: str, class_name: str = "") -> Template:
    """A procedural stand-in for the unit of a filament: lobes of protein density in place of its domains.

    It is not a real structure; its name is ``KIND-standin``.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    class_name
        Name of its class; default: the kind.

    Raises
    ------
    InputError
        There is no stand-in of this kind.
    """
    if kind not in _LOBES:
        raise InputError(f"There are stand-ins for {', '.join(_LOBES)}, not {kind!r}.")
    line = np.arange(-80.0, 80.0 + STEP, STEP)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    filled = np.zeros(z.shape, bool)
    volume = 0.0
    for z0, y0, x0, a, b, c in _LOBES[kind]:
        filled |= ((z - z0) / a) ** 2 + ((y - y0) / b) ** 2 + ((x - x0) / c) ** 2 <= 1
        volume += 4 / 3 * math.pi * a * b * c
    points = np.stack([z[filled], y[filled], x[filled]], axis=1).astype(np.float32)
    count = len(points)
    weight = np.full(count, PROTEIN_POTENTIAL * volume / count, np.float32)
    part = np.zeros(count, np.uint8)
    return Template(f"{kind}-standin", (class_name or kind,), points, weight, part, 1 / PROTEIN_POTENTIAL)
