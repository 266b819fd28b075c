"""Which file holds the other half of a tomogram, by its name, or by that of its folder."""

from __future__ import annotations

from volengine.core.errors import InputError


def check_pair(pair: tuple[str, str]) -> None:
    """Refuse two texts by which names cannot differ."""
    if not all(text.strip() for text in pair) or pair[0] == pair[1]:
        raise InputError(f"--pair needs two different texts, as in even,odd; not {','.join(pair)!r}.")


def other_half(source: str, pair: tuple[str, str]) -> str:
    """The file whose name has the second text of a pair where that of the source has the first.

    If the source's own name does not have it, the name of its folder is looked at.

    Raises
    ------
    InputError
        The first text occurs in neither name, or more than once.

    Examples
    --------
    >>> other_half("TS_01_even.mrc", ("even", "odd")), other_half("sim/even/TS_01.ome.zarr", ("even", "odd"))
    ('TS_01_odd.mrc', 'sim/odd/TS_01.ome.zarr')
    """
    check_pair(pair)
    mine, theirs = pair
    parts = source.rstrip("/").split("/")
    place = next((at for at in (-1, -2)[: len(parts)] if mine in parts[at]), None)
    if place is None or parts[place].count(mine) > 1:
        count = 0 if place is None else parts[place].count(mine)
        raise InputError(
            f"{source}: --pair {mine},{theirs} replaces {mine!r} in the name of a file or of its folder, which must "
            f"hold it once, not {count} times."
        )
    parts[place] = parts[place].replace(mine, theirs)
    return "/".join(parts)
