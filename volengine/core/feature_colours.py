"""The colour of a feature: the same in every run, tomogram and viewer.

>>> colour_of_feature("membrane"), colour_of_feature("Membranes")
((240, 228, 66), (240, 228, 66))
>>> colour_of_feature("ribosome", (1.0, 0.0, 0.5))  # what a model says of itself goes first
(255, 0, 128)

Colours are those of :mod:`volengine.core.colours`, which people with colour blindness can tell apart. Features that
many tomograms have together have fixed ones, all different; another feature's follows from its name alone, so two of
them may have the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from volengine.core.colours import PALETTE, colour_of

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
"""What is no feature: tomograms, and the answers of networks that remove noise."""

KNOWN = {
    "microtubule": 0,
    "actin": 1,
    "ribosome": 2,
    "core": 3,
    "shell": 4,
    "vesicle": 5,
    "membrane": 6,
    "carbon": 7,
    "ferritin": 8,
    "proteasome": 9,
    "spliceosome": 10,
    "gold": 11,
}
"""Place in the palette of features that are often predicted together."""

_UNCERTAINTY = " uncertainty"


def colour_of_feature(name: str, own: Sequence[float] | None = None) -> Colour:
    """Red, green, blue, 0 to 255.

    Parameters
    ----------
    name
        Of the feature. Upper and lower case, a plural ``s`` and the ending ``uncertainty`` make no difference.
    own
        Red, green, blue, 0 to 1, of a model that says in which colour its feature is shown.
    """
    if own is not None:
        red, green, blue = (round(255 * part) for part in own)
        return red, green, blue
    word = name.casefold().removesuffix(_UNCERTAINTY).strip()
    for known in (word, word.removesuffix("s")):
        if known in KNOWN:
            return colour_of(KNOWN[known])
    digest = hashlib.sha256(word.removesuffix("s").encode()).digest()
    return colour_of(int.from_bytes(digest[:4]) % len(PALETTE))


def hexadecimal(colour: Colour) -> str:
    """``"F0E442"``, as OME metadata have it."""
    return "".join(f"{part:02X}" for part in colour)
