"""Errors. One base class; each error is also a builtin, so that callers may catch either.

A message says what was wrong (with the numbers), where, and what to do. The command line prints the message
alone and ends with the class's ``exit_code``.
"""

from __future__ import annotations


class VolengineError(Exception):
    """Base of every error that volengine raises on purpose."""

    exit_code = 1


class InputError(VolengineError, ValueError):
    """A value, option or recipe that cannot be used."""

    exit_code = 2


class IndexRefusedError(InputError, IndexError):
    """An index that selects nothing of a volume, as ``volume[1000]`` of one with fewer slices."""


class FormatError(InputError):
    """A file that is truncated, damaged, or not what its name says."""


class MissingError(InputError, FileNotFoundError):
    """A file, folder or store that is not there."""

    def __str__(self) -> str:  # OSError would print only its errno form
        return str(self.args[0]) if self.args else ""


class PlanError(InputError):
    """A plan that cannot be carried out as asked (block against shard, halo against volume ...)."""


class OldPlanError(PlanError):
    """A plan of another version of volengine: its stages are not those of this one."""


class MemoryRefusedError(PlanError, MemoryError):
    """No block fits into the memory a worker has."""


class DependencyError(VolengineError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""

    exit_code = 2


class RunError(VolengineError, RuntimeError):
    """Units of a run failed; the message lists them."""


class WiderHaloError(VolengineError):
    """Raised by a kernel that needs more context than it was given; the engine reads wider and calls again.

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
    """The error for a missing optional package; raise it from the ``ImportError``."""
    return DependencyError(f"{purpose} needs the package {package}: pip install 'volengine[{extra}]'")
