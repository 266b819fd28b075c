"""Which workers a unit runs on: the resources that a stage needs, and those that workers offer.

Dask counts resources and knows nothing else of them. A unit whose resources nobody offers would wait for ever, so it is
refused here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from volengine.core.errors import InputError
from volengine.engine.cluster_recipe import CPU, GPU
from volengine.engine.stage import Stage

Offers = Mapping[str, float]
"""The largest amount of each resource that one worker offers, by name."""


def offers_of(workers: Iterable[Mapping[str, Any]], beforehand: Offers | None) -> dict[str, float]:
    """Return what workers offer, and what those will that are known beforehand."""
    found = dict(beforehand or {})
    for worker in workers:
        for name, amount in (worker.get("resources") or {}).items():
            found[name] = max(float(amount), found.get(name, 0.0))
    return found


def check_offered(stage: Stage, offers: Offers) -> None:
    """Refuse a stage that needs what no worker offers.

    Raises
    ------
    InputError
        It would wait for ever.
    """
    short = {name: n for name, n in stage.resources.items() if offers.get(name, 0.0) < n}
    if short:
        raise InputError(
            f"{stage.name} needs workers that offer {said(stage.resources)}, but those of the cluster offer "
            f"{said(offers) or 'no resources'}. Start some with `dask worker --resources {said(short)}`, or give "
            "the cluster a pool of such workers (resources, gpus)."
        )


def wanted_by(stage: Stage, offers: Offers) -> dict[str, float]:
    """Return the resources for a unit: those of its stage; a GPU for networks if workers offer one.

    All else runs on the workers that offer ``CPU``, if some do. Dask cannot prefer some workers to others: it would
    move the units to those with a GPU whenever these have nothing to do.
    """
    wanted = dict(stage.resources)
    if offers.get(GPU, 0.0) >= 1 and uses_device(stage):
        wanted.setdefault(GPU, 1)
    elif offers.get(GPU) and offers.get(CPU, 0.0) >= 1 and not stage.resources:
        wanted = {CPU: 1}
    return wanted


def uses_device(stage: Stage) -> bool:
    """Whether a stage computes on a GPU where there is one: networks, and projections of simulated samples."""
    if "device" in stage.hints:
        return bool(stage.hints["device"] != "cpu")
    if "threads" not in stage.hints:
        return False
    told = [str(net.get("execution", {}).get("device", "auto")) for net in _nets(stage.params)]
    return not told or any(device != "cpu" for device in told)


def backends_of(stage: Stage) -> tuple[str, ...]:
    """Libraries that compute a stage's networks instead of PyTorch, with their versions (``openvino 2026.4.1``)."""
    if "threads" not in stage.hints:
        return ()
    told = {str(net["execution"].get("backend", "")) for net in _nets(stage.params)}
    return tuple(sorted(told - {""}))


def _nets(value: Any) -> Iterator[dict[str, Any]]:
    """The descriptions of networks in a stage's parameters."""
    if isinstance(value, dict):
        if isinstance(value.get("execution"), dict):
            yield value
        for part in value.values():
            yield from _nets(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _nets(part)


def has(worker: Mapping[str, Any], wanted: Offers) -> bool:
    """Whether a worker, as the scheduler knows it, offers enough of each resource."""
    offered = worker.get("resources") or {}
    return all(float(offered.get(name, 0)) >= amount for name, amount in wanted.items())


def said(resources: Offers) -> str:
    """Return resources as Dask's command line takes them: ``CPU=1 GPU=2``."""
    return " ".join(f"{name}={amount:g}" for name, amount in sorted(resources.items()))
