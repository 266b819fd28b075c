"""The colour of a feature: the same in every run, tomogram and viewer.

>>> colour_of_feature("membrane"), colour_of_feature("Membranes")
((240, 228, 66), (240, 228, 66))
>>> colour_of_feature("ribosome", (1.0, 0.0, 0.5))  # the colour of the model has precedence
(255, 0, 128)

The colours are those of :mod:`volengine.core.colours`, which people with colour blindness can distinguish. Features
that often occur together have fixed colours, which are all different. The colour of any other feature depends on its
name only, so two of these may have the same colour.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from volengine.core.colours import PALETTE, colour_of

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
"""The colour of images that are no feature: tomograms, and the outputs of denoising networks."""

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
"""Index into the palette of features that are often predicted together."""

_UNCERTAINTY = " uncertainty"


def colour_of_feature(name: str, own: Sequence[float] | None = None) -> Colour:
    """Return the colour of a feature: red, green, blue, 0 to 255.

    Parameters
    ----------
    name
        Name of the feature. Upper and lower case, a plural ``s`` and the ending ``uncertainty`` are ignored.
    own
        The colour that the model states: red, green, blue, 0 to 1. It has precedence.
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
    """Format a colour as in OME metadata, for example ``F0E442``."""
    return "".join(f"{part:02X}" for part in colour)
