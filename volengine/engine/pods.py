"""Clusters of Dask's operator for Kubernetes: a ``DaskCluster`` of the user's manifest, scaled, and deleted at the end.

Image, volumes, resources and the workers' command are the manifest's, because a pod sees the run folder only through a
volume that a site names. The operator's schedulers have no certificates.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from copy import deepcopy
from typing import Any

from volengine.core.errors import InputError, require
from volengine.core.units import parse_bytes
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.cluster_recipe import ClusterRecipe
from volengine.engine.link import Link
from volengine.engine.scheduler import ANSWER_S

CLUSTER = "dask.org/cluster-name"
"""Label that the operator gives to all pods of a cluster."""

PORTS = ("tcp-comm", "http-dashboard")
"""Names of the service's ports by which the operator and Dask's client find the scheduler."""


def manifest_of(recipe: ClusterRecipe) -> dict[str, Any]:
    """Return the manifest of a cluster, with the recipe's number of workers and a name that no other run has.

    The scheduler's service finds its pod by the cluster's name, so its selector is renamed, too: otherwise it would
    lead to no pod, or to that of another run.

    Raises
    ------
    InputError
        The file is no manifest of a ``DaskCluster``, or one whose scheduler nobody would find.
    """
    path = recipe.manifest or ""
    data = deepcopy(read_yaml(path, "manifest"))
    if data.get("kind") != "DaskCluster":
        raise InputError(f"cluster: manifest {path}: kind is {data.get('kind')!r}; it must be DaskCluster.")
    try:
        containers = data["spec"]["worker"]["spec"]["containers"]
        scheduler = data["spec"]["scheduler"]
        service, _ = scheduler["service"], scheduler["spec"]  # the operator needs both
        name = str(data["metadata"]["name"])
        memory = containers[0]["resources"]["limits"]["memory"]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"cluster: manifest {path}: {error} is missing; metadata.name, spec.scheduler.spec, spec.scheduler.service "
            "and a limit of memory of the first container of spec.worker.spec are needed."
        ) from None
    if not isinstance(memory, str | int):
        raise InputError(f"cluster: manifest {path}: the limit of memory is {memory!r}.")
    if recipe.memory is not None and _bytes(path, memory) < parse_bytes(recipe.memory):
        raise InputError(
            f"cluster: memory is {recipe.memory}, but the pods of the manifest {path} end at {memory}: state their "
            "limit as memory."
        )
    named = data["metadata"]["name"] = f"{name[:40]}-{uuid.uuid4().hex[:6]}"
    data["spec"]["worker"]["replicas"] = recipe.parts()[0].workers
    data["spec"]["scheduler"]["service"] = _renamed(path, service, name, named)
    return data


def _bytes(path: str, quantity: str | int) -> int:
    """A quantity of Kubernetes in bytes: ``8Gi``, ``8000M``, ``8589934592``."""
    text = str(quantity).strip()
    try:
        return parse_bytes(f"{text}B" if text.endswith(tuple("kKMGTPi")) else text)
    except InputError as error:
        raise InputError(f"cluster: manifest {path}: the limit of memory: {error}") from None


def _renamed(path: str, service: Any, name: str, named: str) -> dict[str, Any]:
    """The service of a scheduler, for a cluster that got another name than its manifest has."""
    try:
        selector = dict(service["selector"])
        ports = [port["name"] for port in service["ports"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"cluster: manifest {path}: {error} is missing in spec.scheduler.service; a selector and named ports are "
            f"needed ({', '.join(PORTS)})."
        ) from None
    if absent := [port for port in PORTS if port not in ports]:
        raise InputError(
            f"cluster: manifest {path}: spec.scheduler.service has no port {' and none '.join(absent)}, but "
            f"{', '.join(map(str, ports)) or 'none'}; by these names the scheduler is found."
        )
    if selector.get(CLUSTER) != name:
        raise InputError(
            f"cluster: manifest {path}: the selector of spec.scheduler.service says {CLUSTER}: "
            f"{selector.get(CLUSTER)!r}; it must be metadata.name, {name!r}, so that each run finds its own scheduler."
        )
    return {**service, "selector": {**selector, CLUSTER: named}}


def check_open(insecure: bool) -> None:
    """Refuse pods without certificates, unless the user says that the network may be trusted.

    Raises
    ------
    InputError
        ``--insecure`` is missing.
    """
    if not insecure:
        raise InputError(
            "--cluster kubernetes: the operator's schedulers have no certificates; everybody who reaches the pods may "
            "run code on them. Add --insecure if a NetworkPolicy keeps others away (deploy/kubernetes has them), "
            "or start the manifests of deploy and use --scheduler tls://..."
        )


def start_pods(recipe: ClusterRecipe, insecure: bool) -> Link:
    """Create the cluster and connect to it.

    Raises
    ------
    DependencyError
        ``dask-kubernetes`` is not installed.
    InputError
        The manifest cannot be used, ``--insecure`` is missing, or Kubernetes refuses.
    """
    check_open(insecure)
    manifest = manifest_of(recipe)
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError as error:
        raise require("dask-kubernetes", "kubernetes", "--cluster kubernetes") from error
    from distributed import Client

    try:
        cluster = KubeCluster(
            custom_cluster_spec=manifest, namespace=recipe.namespace, shutdown_on_close=True, quiet=True
        )
    except BaseException as error:  # of Dask, kr8s or the cluster, of many kinds; or Ctrl-C while pods wait for a node
        _delete(manifest, recipe.namespace)
        for left in [one for one in KubeCluster._instances if one.name == manifest["metadata"]["name"]]:
            left.shutdown_on_close = False  # it would try to delete it again at the end, with a traceback
        if isinstance(error, Exception):
            raise InputError(f"--cluster kubernetes: the pods could not be started: {error}") from error
        raise

    def close() -> None:
        with suppress(TimeoutError, OSError):
            cluster.close()

    try:
        if recipe.max_workers is not None:
            cluster.adapt(minimum=max(1, recipe.workers), maximum=recipe.max_workers)
        return Link(Client(cluster, timeout=ANSWER_S, set_as_default=False), close, offers=recipe.offers())
    except BaseException:
        close()
        raise


def _delete(manifest: dict[str, Any], namespace: str) -> None:
    """Delete a cluster that was created and has not started: nobody else would end its pods."""
    from kr8s.objects import new_class

    kind = new_class(manifest["kind"], str(manifest.get("apiVersion", "kubernetes.dask.org/v1")), asyncio=False)
    with suppress(Exception):  # it was never created, or cannot be reached
        kind({"metadata": {"name": manifest["metadata"]["name"]}}, namespace=namespace).delete()
