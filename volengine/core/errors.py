"""Errors. All derive from one base class, and each also derives from a builtin, so that callers may catch either.

A message states what was wrong (with the numbers), where, and what to do. The command line prints only the message
and exits with the ``exit_code`` of the class.
"""

from __future__ import annotations

import errno


class VolengineError(Exception):
    """Base of every error that volengine raises on purpose."""

    exit_code = 1


class InputError(VolengineError, ValueError):
    """A value, option or recipe cannot be used."""

    exit_code = 2


class IndexRefusedError(InputError, IndexError):
    """An index selects nothing of a volume, for example ``volume[1000]`` of a volume with fewer slices."""


class FormatError(InputError):
    """A file is truncated or damaged, or its contents do not match its name."""


class ChangedError(FormatError):
    """An input was replaced or changed after the plan that reads it was made."""


class DamagedError(FormatError):
    """A stored chunk cannot be decoded, or is not there although its store lists it.

    Parameters
    ----------
    message
        What was found, where, and what to do.
    url, path
        Store, and path of the array in it.
    keys
        Keys of the objects, relative to the array (``"c/0/0/1"``).
    """

    def __init__(self, message: str, url: str = "", path: str = "", keys: tuple[str, ...] = ()):
        super().__init__(message)
        self.url, self.path, self.keys = url, path, keys

    def __reduce__(self) -> tuple[type[DamagedError], tuple[str, str, str, tuple[str, ...]]]:
        return type(self), (str(self), self.url, self.path, self.keys)


class MissingError(InputError, FileNotFoundError):
    """A file, folder or store does not exist."""

    def __str__(self) -> str:  # OSError would print only its errno form
        return str(self.args[0]) if self.args else ""


class UnreachedError(VolengineError, ConnectionError):
    """An object store or a web server does not answer, or not with what it should; later it may."""

    exit_code = 2

    def __str__(self) -> str:  # OSError would print only its errno form
        return str(self.args[0]) if self.args else ""


class PlanError(InputError):
    """A plan cannot be carried out, for example because blocks and shards, or halo and volume, do not fit."""


class OldPlanError(PlanError):
    """A plan was made by another version of volengine, whose stages differ from those of this version."""


class MemoryRefusedError(PlanError, MemoryError):
    """No block fits into the memory of a worker."""


class BusyError(InputError):
    """Another driver works in the run folder."""


class WorkersRefusedError(InputError):
    """Workers of a cluster have other versions than the driver, or do not see its run folder."""


class DependencyError(VolengineError, ImportError):
    """An optional package is missing; the message names the extra that installs it."""

    exit_code = 2


class RunError(VolengineError, RuntimeError):
    """Units of a run failed; the message lists them."""


class TakenOverError(RunError):
    """Another process has taken over the run folder from this one, which was silent for too long."""


class DeadlineError(RunError):
    """A run has stopped before its deadline; what was finished is kept, and the same command goes on.

    Its exit code is EX_TEMPFAIL of sysexits.h, so that a batch script can tell it from a failure.
    """

    exit_code = 75


class WiderHaloError(VolengineError):
    """A kernel needs a wider halo. The engine catches this, reads the block with that halo and calls the kernel again.

    Parameters
    ----------
    halo_vox
        The halo, in voxels per axis (z, y, x), that the kernel asks for.
    """

    def __init__(self, halo_vox: tuple[int, int, int]):
        super().__init__(f"the kernel needs a halo of {halo_vox} voxels")
        self.halo_vox = halo_vox

    def __reduce__(self) -> tuple[type[WiderHaloError], tuple[tuple[int, int, int]]]:
        return type(self), (self.halo_vox,)


def require(package: str, extra: str, purpose: str) -> DependencyError:
    """Make the error for a missing optional package; raise it ``from`` the ``ImportError``.

    Parameters
    ----------
    package
        Name of the package.
    extra
        The extra of volengine that installs it.
    purpose
        What needs it; the subject of the message.
    """
    return DependencyError(f"{purpose} needs the package {package}: pip install 'volengine[{extra}]'")


_ADVICE = {
    errno.EACCES: "Check the permissions.",
    errno.EPERM: "Check the permissions.",
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.ELOOP: "A link leads in circles; remove it.",
    errno.ENOSPC: "Free space; what was finished is kept, and the same command goes on from there.",
    errno.EDQUOT: "Free space; what was finished is kept, and the same command goes on from there.",
    errno.EFBIG: "Files may not become so large here; raise the limit (ulimit -f), or write to another file system.",
    errno.EROFS: "The file system is read-only; give another place.",
}


def os_advice(error: OSError) -> str:
    """What to do about an error of the operating system, as a sentence; empty if nothing is known.

    >>> os_advice(OSError(errno.ENAMETOOLONG, "File name too long"))
    'Give it a shorter name.'
    """
    return _ADVICE.get(error.errno or 0, "")
