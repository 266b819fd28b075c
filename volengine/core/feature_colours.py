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
from collections.abc import Mapping, Sequence

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


def colours_apart(stated: Mapping[str, str | None]) -> dict[str, str]:
    """Return colours of features that lie together, which differ while the palette has enough.

    Parameters
    ----------
    stated
        By feature the colour that somebody has chosen, ``#F0E442``, or ``None``; in the order in which they came.

    Returns
    -------
    dict
        By feature the colour that was chosen, else that of :func:`colour_of_feature`, else, where another feature has
        that, the next one of the palette that is free. A feature that comes later changes no colour before it, unless
        somebody chooses one.

    Examples
    --------
    >>> colours_apart({"membrane": None, "membranes": None, "ribosome": "#F0E442"})
    {'membrane': '#332288', 'membranes': '#999933', 'ribosome': '#F0E442'}
    """
    taken = {colour.upper() for colour in stated.values() if colour}
    found = {}
    for name, colour in stated.items():
        if not colour:
            own = colour_of_feature(name)
            at = PALETTE.index(own) if own in PALETTE else 0
            order = [f"#{hexadecimal(colour_of((at + step) % len(PALETTE)))}" for step in range(len(PALETTE))]
            colour = next((one for one in order if one not in taken), order[0])
            taken.add(colour)
        found[name] = colour
    return found


def hexadecimal(colour: Colour) -> str:
    """Format a colour as in OME metadata, for example ``F0E442``."""
    return "".join(f"{part:02X}" for part in colour)
