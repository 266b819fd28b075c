"""Volumes and sets that lie beside what is worked on: one that cannot be opened fails its own tomogram alone.

Whose it is, is said by the name of its file, because it says nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from volengine.core.errors import FormatError, VolengineError
from volengine.io.names import name_in_copick, split_group, tomogram_name
from volengine.tasks.common.named import feature_in, tomogram_in

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Unread:
    """What could not be opened.

    Parameters
    ----------
    path
        Where it is.
    error
        Why it could not be opened.
    """

    path: str
    error: VolengineError

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        store = split_group(self.path)[0]
        return name_in_copick(store) or tomogram_name(store.removesuffix(".surfaces"))

    @property
    def feature(self) -> str:
        """The feature in the name, empty if there is none."""
        return feature_in(self.name)

    @property
    def tomogram(self) -> str:
        """The tomogram in the name."""
        return tomogram_in(self.name, self.feature)


def may_be_it(unread: Iterable[Unread]) -> str:
    """The end of a message that something is missing: what could not be opened, and why; empty if there is nothing."""
    lost = list(unread)
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    return f" What could not be opened{more} may be it: {lost[0].error}" if lost else ""


@dataclass(frozen=True)
class Beside(Generic[Thing]):
    """What paths name: the things that could be opened, by path, and the others."""

    opened: dict[str, Thing]
    unread: tuple[Unread, ...]


def opened_beside(paths: Iterable[str], opener: Callable[[str], Thing]) -> Beside[Thing]:
    """Open each of some paths; those that cannot be opened are kept with the reason.

    Parameters
    ----------
    paths
        Files, stores or sets.
    opener
        What opens one; its errors are kept.

    Examples
    --------
    >>> def damaged(path: str) -> None:
    ...     raise FormatError(f"{path}: is damaged.")
    >>> found = opened_beside(["sets/TS_01__er.mrc"], damaged)
    >>> [(one.tomogram, one.feature, str(one.error)) for one in found.unread]
    [('TS_01', 'er', 'sets/TS_01__er.mrc: is damaged.')]
    """
    opened: dict[str, Thing] = {}
    unread: list[Unread] = []
    for path in paths:
        try:
            opened[path] = opener(path)
        except VolengineError as error:
            unread.append(Unread(path, error))
        except OSError as error:
            unread.append(Unread(path, FormatError(f"{path}: cannot be read ({error.strerror or error}).")))
    return Beside(opened, tuple(unread))
