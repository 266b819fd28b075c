"""The colours of classes, labels and curves: one palette that readers with colour blindness can tell apart.

The first seven colours are those of Okabe and Ito without black ("Color Universal Design", 2008; also in Wong, Nature
Methods 8:441, 2011), ordered such that neighbours differ in lightness, too; the others are from Paul Tol's muted scheme
("Colour Schemes", SRON/EPS/TN/09-002, 2021).
"""

from __future__ import annotations

PALETTE: tuple[tuple[int, int, int], ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (51, 34, 136),
    (153, 153, 51),
    (136, 34, 85),
    (68, 170, 153),
    (221, 204, 119),
)
"""Red, green and blue of each colour, 0 to 255."""


def colour_of(index: int) -> tuple[int, int, int]:
    """Return the colour with this index (from 0); after the last colour the palette starts again."""
    return PALETTE[index % len(PALETTE)]
