"""Values of a cluster's description that other programs read: time limits of jobs, hosts, options of connections.

A batch system reads a time in its own way, and says nothing if it is not the one that was meant: ``25`` is 25 minutes
for SLURM and LSF, and 25 seconds for PBS and Grid Engine; ``12:00`` is 12 hours for LSF, 12 minutes for the others. So
a time is written in one way here, and given to each in its own.

>>> [walltime_for(kind, "36:00:30") for kind in ("slurm", "pbs", "sge", "lsf")]
['36:00:30', '36:00:30', '36:00:30', '36:01']
>>> walltime_for("slurm", "1-12:00:00"), walltime_for("pbs", "1-12:00:00"), walltime_for("lsf", "8:00")
('1-12:00:00', '36:00:00', '8:00')
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from volengine.core.errors import InputError

_CLOCK = re.compile(r"(?:(?P<days>[0-9]{1,4})-)?(?P<hours>[0-9]{1,5}):(?P<minutes>[0-5][0-9]):(?P<seconds>[0-5][0-9])")

_HOURS_MINUTES = re.compile(r"([0-9]{1,5}):([0-5][0-9])(/\S+)?")
"""What LSF reads: hours, minutes, and a host whose speed counts."""

_UNLIMITED = ("unlimited", "infinite")
"""Words of SLURM for jobs without a time limit."""

_OF_DASK = ("self", "kwargs", "loop", "last_config", "reload", "canonical", "final", "host", "version", "waiter")
"""Arguments of asyncssh's options that are not the user's: the host is one of ``hosts``."""


def walltime_for(kind: str, walltime: str | int) -> str:
    """Return the time limit of a job as its batch system reads it.

    Parameters
    ----------
    kind
        ``slurm``, ``pbs``, ``lsf`` or ``sge``.
    walltime
        ``hours:minutes:seconds``, with ``days-`` before it or not. For LSF also ``hours:minutes``, which it rounds up
        to; for SLURM also ``UNLIMITED``.

    Raises
    ------
    InputError
        It is written otherwise, or is no time at all.

    Notes
    -----
    Sources: ``--time`` of sbatch(1); ``-l walltime`` of qsub(1B) of PBS; ``h_rt`` of qsub(1) of Grid Engine; ``-W`` of
    bsub of LSF. dask-jobqueue writes the text into the job's script as it is given.
    """
    text = str(walltime).strip()
    if kind == "slurm" and text.lower() in _UNLIMITED:
        return text
    if kind == "lsf" and (short := _HOURS_MINUTES.fullmatch(text)) and int(short[1]) + int(short[2]):
        return text
    found = _CLOCK.fullmatch(text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0, 0)
    if not found or not days + hours + minutes + seconds:
        raise InputError(
            f"cluster: walltime is {walltime!r}{_meaning(kind, text)}; write hours:minutes:seconds in quotes, for "
            'example "8:00:00", or "1-12:00:00" for a day and a half.'
        )
    if kind == "lsf":
        total = (days * 24 + hours) * 60 + minutes + (seconds > 0)
        return f"{total // 60}:{total % 60:02d}"
    return text if kind == "slurm" or not days else f"{days * 24 + hours}:{minutes:02d}:{seconds:02d}"


def _meaning(kind: str, text: str) -> str:
    """What a batch system makes of a shorter form, as a part of a message; empty if it refuses it, too."""
    if re.fullmatch(r"0*[1-9][0-9]*", text):
        return f", {int(text)} {'minutes' if kind in ('slurm', 'lsf') else 'seconds'} for {kind}"
    if re.fullmatch(r"[0-9]+:[0-9]{2}", text):
        first, second = text.split(":")
        units = ("hours", "minutes") if kind == "lsf" else ("minutes", "seconds")
        return f", {int(first)} {units[0]} and {int(second)} {units[1]} for {kind}"
    return ""


def check_hosts(hosts: Sequence[str]) -> None:
    """Refuse hosts of ``ssh`` without a name, and one that is named twice: its cores would count twice.

    Raises
    ------
    InputError
        There is such a host.
    """
    seen: dict[str, str] = {}
    for host in hosts:
        if not host or host != host.strip() or re.search(r"\s", host):
            raise InputError(f"cluster: hosts has {host!r}, which is no name of a host.")
        name = host.lower().rstrip(".")  # names of hosts do not know upper and lower case
        if name in seen:
            twice = host if seen[name] == host else f"{seen[name]} and {host}"
            raise InputError(
                f"cluster: hosts names {twice} twice, so that its cores and its memory would be given out twice. Name "
                "each host once; workers: 2 starts two workers on each."
            )
        seen[name] = host


def check_devices(places: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
    """Refuse pools that give one GPU of a host to two workers.

    Parameters
    ----------
    places
        For each pool its hosts and its devices.

    Raises
    ------
    InputError
        There is such a GPU.
    """
    seen: set[tuple[str, str]] = set()
    for hosts, devices in places:
        mine = {(host.lower().rstrip("."), device) for host in hosts for device in devices}
        if both := sorted(mine & seen):
            raise InputError(
                f"cluster: pools give device {both[0][1]} of {both[0][0]} to workers of two pools; each is for one."
            )
        seen |= mine


def check_connect(connect: Mapping[str, Any]) -> None:
    """Refuse options of an ssh connection that ``asyncssh.connect`` does not know or cannot use.

    Dask gives them on as they are, and a wrong one would be noticed on the first host, in the middle of a start. This
    needs asyncssh. It asks asyncssh itself, so that its files (``client_keys``, ``known_hosts``, ``~/.ssh/config``) are
    read, too.

    Raises
    ------
    InputError
        There is such an option.
    """
    import asyncssh

    known = _connect_options(asyncssh)
    for name in connect:
        if name in known:
            continue
        if name == "host":
            raise InputError("cluster: connect has no host; the hosts are a list of their own, hosts.")
        near = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " Usual are username, port, client_keys and known_hosts."
        raise InputError(f"cluster: connect has {name!r}, which asyncssh.connect does not know.{hint}")
    mine = {name: value for name, value in connect.items() if name != "flags"}
    try:
        asyncssh.SSHClientConnectionOptions(**mine)
    except Exception as error:  # wrong values, files that are not there: of many kinds
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cluster: connect ({', '.join(connect)}) cannot be used: {said}") from None
    port = connect.get("port", 22)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 2**16:
        raise InputError(f"cluster: connect.port is {port!r}; it must be a whole number from 1 to 65535.")


def _connect_options(asyncssh: Any) -> set[str]:
    """Names of the options that ``asyncssh.connect`` takes, of this version, and that a file can hold."""
    own = asyncssh.SSHClientConnectionOptions
    found = {"flags"}
    for cls in (own, *own.__mro__):
        if "prepare" in vars(cls):
            found |= set(inspect.signature(cls.prepare).parameters)
    return found - {*_OF_DASK, "protocol_factory"}
