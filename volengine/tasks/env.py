"""env: facts about an installation and its machine, for a bug report.

The facts may be published: they contain no user, host or folder names and no environment variables.
"""

from __future__ import annotations

import json
import os
import platform
import re
import warnings
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from volengine import __version__
from volengine.engine.memory import machine_memory

DEVELOPMENT = ("test", "dev")
"""Extras that only developers of volengine need."""

REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^\]]*)\])?")
EXTRA = re.compile(r"""extra\s*==\s*["']([\w.-]+)["']""")


def env() -> dict[str, Any]:
    """Facts about this installation and this machine, for a bug report.

    Returns
    -------
    dict
        JSON values: ``volengine``, ``installed`` (``package``, ``editable`` or ``no``), ``python``, ``system``,
        ``processor`` (model, cores, usable cores), ``memory`` (bytes of the machine; bytes that this process may
        use), ``torch`` (version, threads, CUDA or ROCm, ``error`` if it cannot be imported), ``gpus`` (as torch sees
        them: name, memory, compute capability), ``dependencies`` (name to version), ``extras`` (extra to names to
        versions). A version is ``None`` where a package is missing.

    Examples
    --------
    >>> import volengine
    >>> volengine.env()["volengine"] == volengine.__version__
    True
    """
    needed, extras = requirements(_required())
    torch, gpus = _torch()
    return {
        "volengine": __version__,
        "installed": _installed(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "processor": {"model": _processor(), "cores": os.cpu_count(), "usable_cores": usable_cores()},
        "memory": {
            "machine_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "limit_bytes": machine_memory(),
        },
        "torch": torch,
        "gpus": gpus,
        "dependencies": {name: version(name) for name in needed},
        "extras": {extra: {name: version(name) for name in names} for extra, names in extras.items()},
    }


def requirements(lines: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The packages that an installation needs, and the packages of each extra.

    Parameters
    ----------
    lines
        Requirements as in a wheel's metadata: ``dask>=2026.3``, ``zarrs>=0.2.2; extra == "fast"``. An extra may name
        other extras of volengine (``volengine[onnx]; extra == "bioimage"``); their packages are then added to its own.

    Returns
    -------
    list of str, dict of str to list of str
        Names in the order of the lines. The extras in :data:`DEVELOPMENT` are left out.
    """
    needed: list[str] = []
    named: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for line in lines:
        found, extra = REQUIREMENT.match(line), EXTRA.search(line)
        if found is None:
            continue
        if extra is None:
            needed.append(found["name"])
        elif found["name"] == "volengine":
            others.setdefault(extra[1], []).extend(e.strip() for e in (found["extras"] or "").split(","))
        else:
            named.setdefault(extra[1], []).append(found["name"])

    def packages(extra: str, above: tuple[str, ...] = ()) -> list[str]:
        inner = [n for o in others.get(extra, []) if o not in above for n in packages(o, (*above, extra))]
        return list(dict.fromkeys([*named.get(extra, []), *inner]))

    return needed, {e: packages(e) for e in {**named, **others} if e not in DEVELOPMENT}


def version(package: str) -> str | None:
    """The installed version of a package; ``None`` if it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def usable_cores() -> int:
    """Number of cores that this process may use; in a container or batch job fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def without_folders(text: str) -> str:
    """A message in which every path is reduced to its last part, because folders may contain a user's name."""
    return re.sub(r"(?:~|[A-Za-z]:)?(?:[/\\][^/\\\s:;,'\"()]*)*[/\\](?=[^/\\\s:;,'\"()])", "", text)


def _required() -> list[str]:
    try:
        return metadata.requires("volengine") or []
    except metadata.PackageNotFoundError:
        return []


def _installed() -> str:
    try:
        origin = metadata.distribution("volengine").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return "no"
    editable = origin is not None and json.loads(origin).get("dir_info", {}).get("editable", False)
    return "editable" if editable else "package"


def _processor() -> str:
    """The processor's name as Linux gives it; elsewhere its architecture."""
    try:
        names = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = None
    return names[1].strip() if names else platform.processor() or platform.machine()


def _torch() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts about torch, and the GPUs that it finds. If torch cannot be imported, the error is one of the facts."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            import torch

            facts: dict[str, Any] = {
                "version": torch.__version__,
                "threads": torch.get_num_threads(),
                "cuda": torch.version.cuda,
                "rocm": torch.version.hip,
            }
            gpus = [_gpu(torch.cuda.get_device_properties(n)) for n in range(torch.cuda.device_count())]
            if torch.backends.mps.is_available():
                gpus.append({"name": "Apple GPU (mps)", "memory_bytes": None, "capability": None})
        except Exception as error:  # a broken installation may raise anything
            return {"version": version("torch"), "error": f"{type(error).__name__}: {without_folders(str(error))}"}, []
    notes = list(dict.fromkeys(without_folders(str(w.message)) for w in said if issubclass(w.category, UserWarning)))
    return facts | ({"warnings": notes} if notes else {}), gpus


def _gpu(properties: Any) -> dict[str, Any]:
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
    }
