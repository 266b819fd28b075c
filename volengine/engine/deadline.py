"""The time at which a run must have ended, because its batch job ends: units that cannot end in time are not begun.

A job that is killed at its time limit loses what its units have computed, and Dask's ``--lifetime`` gives a unit that
runs to another worker, so that it runs twice. A driver that knows its deadline gives out no unit that would be cut off,
and stops when nothing is left to give out; the same command goes on in the next job.

>>> end_of("90min", now=0.0), end_of("1-12:00:00", now=0.0), end_of("none", now=0.0)
(5400.0, 129600.0, None)
>>> end_of("auto", now=0.0, environ={"SLURM_JOB_END_TIME": "7200"})
7200.0
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime

from volengine.core.errors import InputError

SLURM = "SLURM_JOB_END_TIME"
"""Environment variable in which SLURM tells a job when it ends: seconds since 1970 (sbatch's manual)."""

ANSWER_S = 20.0
"""Seconds within which SLURM must answer, whose older versions do not set the variable."""

MARGIN_S = 30.0
"""Seconds before the end that are kept for the end of workers; of a short job a twentieth."""

SLOWER = 1.25
"""A unit counts as so much longer than the longest one of its stage that has been measured."""

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)\s*([a-z]+)", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d{2})(?::(\d{2}))?")


def end_of(text: str, now: float, environ: Mapping[str, str] = os.environ) -> float | None:
    """When a run must have ended, seconds since 1970.

    Parameters
    ----------
    text
        ``auto``: the end of the SLURM job in which this process runs, if there is one. ``none``: never. A time from now
        (``90min``, ``2h``; ``4:00:00`` or ``1-12:00:00`` as for sbatch: days-hours:minutes:seconds, ``4:30`` is hours
        and minutes), or a date with a time (``2027-03-01T08:00``).
    now
        Seconds since 1970.
    environ
        Where SLURM's variable is looked up.

    Returns
    -------
    float or None
        ``None``: there is no end.

    Raises
    ------
    InputError
        The text is no time, or the time is over.
    """
    asked = text.strip()
    if asked.lower() == "none":
        return None
    if asked.lower() == "auto":
        told = environ.get(SLURM, "")
        of_job = float(told) if re.fullmatch(r"\d{1,15}", told) else _asked(environ.get("SLURM_JOB_ID", ""))
        return of_job if of_job > now else None  # a shell may have kept the variables of a job that is over
    end = _read(asked, now)
    if end is None:
        raise InputError(
            f"--deadline is {text!r}; write auto, none, a time from now (90min, or 4:00:00, hours:minutes:seconds), or "
            "a date with a time (2027-03-01T08:00)."
        )
    if end <= now:
        raise InputError(f"--deadline {text}: that time is over.")
    return end


def seconds_of(text: str, option: str) -> float:
    """Return the length of a time (``90min``, ``24h``, ``4:00:00``, ``0s``), seconds.

    Parameters
    ----------
    text
        The time.
    option
        How a message names the option.

    Raises
    ------
    InputError
        The text is no such time.

    >>> seconds_of("24h", "--wait"), seconds_of("1-12:00:00", "--wait"), seconds_of("0s", "--wait")
    (86400.0, 129600.0, 0.0)
    """
    asked = text.strip()
    if ((found := _DURATION.fullmatch(asked)) and found[2].lower() in _UNITS) or _CLOCK.fullmatch(asked):
        return float(_read(asked, 0.0) or 0.0)
    raise InputError(f"{option} is {text!r}; write a time, for example 90s, 30min, 24h, or 4:00:00 (hours first).")


def _read(text: str, now: float) -> float | None:
    if (found := _DURATION.fullmatch(text)) and found[2].lower() in _UNITS:
        return now + float(found[1]) * _UNITS[found[2].lower()]
    if found := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return now + ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    try:
        return datetime.fromisoformat(text).timestamp() if re.search(r"\d[T ]\d", text) else None
    except (ValueError, OverflowError, OSError):
        return None


def _asked(job: str) -> float:
    """When a SLURM job ends, seconds since 1970; 0 if there is none or SLURM does not say."""
    if not job.isdigit():
        return 0.0
    try:
        command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_S).stdout
        return datetime.fromisoformat(told.strip()).timestamp()
    except (OSError, subprocess.SubprocessError, ValueError, OverflowError):  # also "N/A": a job without a limit
        return 0.0


class Deadline:
    """When a driver stops giving out units.

    Parameters
    ----------
    text
        As for :func:`end_of`.

    Raises
    ------
    InputError
        As those of :func:`end_of`.
    """

    def __init__(self, text: str):
        now = time.time()
        self.end = end_of(text, now)
        self._margin = 0.0 if self.end is None else min(MARGIN_S, (self.end - now) / 20)

    @property
    def left_s(self) -> float:
        """Seconds in which units must have ended; infinite without a deadline."""
        return math.inf if self.end is None else self.end - self._margin - time.time()

    def fitting(self, longest_s: float, before: int) -> int | None:
        """How many units, one after the other, can end in time.

        Parameters
        ----------
        longest_s
            Seconds of the longest unit of the stage that has been measured; 0: none has. Then a single one is begun.
        before
            Number of such units that run first.

        Returns
        -------
        int or None
            ``None``: any number.
        """
        if self.end is None:
            return None
        left = self.left_s
        if left <= 0 or not longest_s:
            return int(left > 0 and not before)
        return max(0, int(left / (SLOWER * longest_s)) - before)

    def said(self) -> str:
        """The deadline in words."""
        return "" if self.end is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.end))
