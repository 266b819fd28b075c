"""Procedural stand-ins: particles with the density of protein that need no structure file.

``globule-KDA`` is a compact particle of that mass (kilodalton) with three lobes, ``barrel-KDA`` a hollow cylinder of
two rings of seven balls. They are not real structures; they serve as distractors and for trials.

>>> standin("globule-250").classes
('globule',)
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from volengine.core.specimen import Template

Floats = NDArray[np.float64]
A3_PER_DALTON = 1.21
"""Volume of protein (0.73 cm^3/g: Harpaz, Gerstein & Chothia, Structure 2, 1994, 641)."""
VOLT = 7.8
"""Mean potential of protein of that density: C 4.94 H 7.76 N 1.36 O 1.48 S 0.04 in 135 A^3, by Peng's factors."""
STEP = 4.0
"""Angstrom between the points."""
KINDS = ("globule", "barrel")


def is_standin(name: str) -> bool:
    """Whether a name is the name of a stand-in."""
    return re.fullmatch(rf"({'|'.join(KINDS)})-\d+(\.\d+)?", name) is not None


def standin(name: str) -> Template:
    """The template of a stand-in, ``KIND-KDA``; the same name always gives the same template.

    Its points lie on a grid of 4 angstrom about the centre of mass. Its integrated potential is that of protein of its
    mass.
    """
    kind, _, mass = name.partition("-")
    volume = float(mass) * 1000 * A3_PER_DALTON
    shape = _globule if kind == "globule" else _barrel
    size = (volume * 3 / (4 * math.pi)) ** (1 / 3)
    n = math.ceil(2.2 * size / STEP)
    line = np.arange(-n, n + 1) * STEP
    z, y, x = (a.ravel() for a in np.meshgrid(line, line, line, indexing="ij"))
    level = shape(z / size, y / size, x / size)
    count = max(8, round(volume / STEP**3))
    kept = np.sort(np.argsort(level, kind="stable")[:count])  # the innermost points: the volume is exact
    points = np.stack([z, y, x], axis=1)[kept]
    points -= points.mean(axis=0)
    weight = np.full(count, VOLT * volume / count, np.float32)
    return Template(name, (kind,), points.astype(np.float32), weight, np.zeros(count, np.uint8), 1 / VOLT)


def _globule(z: Floats, y: Floats, x: Floats) -> Floats:
    """Distance to the nearest of three balls of different size that touch: a handed shape."""
    lobes = ((0.0, 0.0, 0.0, 0.82), (0.55, 0.35, 0.1, 0.6), (-0.35, 0.5, 0.45, 0.45))
    found: Floats = np.min([np.sqrt((z - c) ** 2 + (y - b) ** 2 + (x - a) ** 2) - r for c, b, a, r in lobes], axis=0)
    return found


def _barrel(z: Floats, y: Floats, x: Floats) -> Floats:
    """Distance to fourteen balls in two rings."""
    turn = np.arange(7) * (2 * math.pi / 7)
    rings = [(h, math.cos(t) * 0.85, math.sin(t) * 0.85) for h in (-0.42, 0.42) for t in turn]
    found: Floats = np.min([np.sqrt((z - c) ** 2 + (y - b) ** 2 + (x - a) ** 2) for c, b, a in rings], axis=0)
    return found
