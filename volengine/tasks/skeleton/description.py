"""What kernels and the last calls of ``skeleton`` share."""

from __future__ import annotations

AREA_UNITS = 1e3
"""Areas are added up as whole numbers of thousandths of a square angstrom, so that their order does not matter."""

WALLS = "walls"
"""Column of the number of components that have no lines, because they are closed walls."""
