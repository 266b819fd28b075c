"""What a cluster is to be that a run starts by itself: ``--cluster KIND``, or a YAML file with the facts of a site.

>>> recipe = ClusterRecipe(kind="slurm", workers=16, cores=4, memory="16GB", queue="cpu", walltime="8:00:00")
>>> recipe.total, recipe.limit()
(16, 14400000000)
>>> mixed = ClusterRecipe(kind="slurm", memory="16GB", pools=({"workers": 4, "gpus": 1}, {"workers": 32, "cores": 2}))
>>> [(pool.workers, pool.gpus, pool.cores) for pool in mixed.parts()], mixed.offers()
([(4, 1, 1), (32, 0, 2)], {'GPU': 1.0, 'CPU': 1.0})
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Any, Literal, get_args

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.units import parse_bytes
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.cluster_terms import check_devices, check_hosts, walltime_for
from volengine.engine.memory import machine_memory

Kind = Literal["local", "cuda", "slurm", "pbs", "lsf", "sge", "ssh", "kubernetes"]

KINDS: tuple[str, ...] = get_args(Kind)

BATCH = ("slurm", "pbs", "lsf", "sge")
"""Kinds whose workers are jobs of a batch system."""

HERE = ("local", "cuda")
"""Kinds whose workers run on this machine."""

OF_JOB = 0.9
"""Share of a job's memory that its worker may use. A batch system kills a job that exceeds its limit at once, and also
counts the nanny, the page tables and what the allocator keeps."""

OF_MACHINE = 0.8
"""Share of this machine's memory that its workers may use together."""

LEAST_BYTES = 2**20
"""Less memory than this is a number whose unit was forgotten."""

GPU, CPU = "GPU", "CPU"
"""Names of the resources that workers offer: those with a GPU, and those without one beside them; one for each unit
that they run at a time."""


@dataclass(frozen=True)
class ClusterRecipe(Recipe):
    """A cluster to start, as the names and values of a YAML file.

    Parameters
    ----------
    kind
        local: processes on this machine; cuda: one process for each of its GPUs; slurm, pbs, lsf, sge: one job for each
        worker; ssh: processes on other hosts; kubernetes: pods of Dask's operator.
    workers
        Number of workers: jobs, processes, pods; with ``ssh`` on each host. 0: as many as there are GPUs (``cuda``),
        cores divided by ``cores`` (``local``), or 1. ``--workers`` replaces it.
    max_workers
        Add workers up to this number while there is work for them, and end those that have none. ``--max-workers``
        replaces it.
    memory
        Memory of each worker's job, process or pod, ``"16GB"``. Of a job or pod the worker itself uses 90 %.
        Default on this machine: an equal share of 80 % of it.
    cores
        Cores of each worker.
    gpus
        GPUs of each worker's job or pod. Such workers offer ``GPU=1``: networks run there, all else on the others.
    devices
        With ``cuda`` and ``ssh``: the GPUs, as ``CUDA_VISIBLE_DEVICES`` names them, one worker for each. Default with
        ``cuda``: those that ``nvidia-smi`` lists.
    cpu_workers
        With ``cuda``: workers without a GPU beside them, for rules and picks.
    resources
        Resources of Dask that each worker offers besides, by name.
    walltime
        Time limit of each job, ``"hours:minutes:seconds"``, also ``"days-hours:minutes:seconds"``; each batch system is
        given it in its own form.
    queue
        Queue or partition of the jobs.
    account
        Account or project that the jobs are charged to.
    directives
        Further lines of the job script's head, without ``#SBATCH`` and the like: ``"--constraint=ib"``.
    prologue
        Lines of shell that a job runs before its worker: ``"module load cuda"``.
    python
        Python of the workers. Default: this one, at the same path.
    interface
        Network by which workers and this process talk: ``"ib0"``. Default: the one of this host's name.
    scratch
        Folder on the workers for Dask's own files. Default: their working folder.
    hosts
        With ``ssh``: the hosts of the workers.
    connect
        With ``ssh``: options of the connections, as ``asyncssh.connect`` takes them (``username``, ``port``,
        ``client_keys``, ``known_hosts``); what it is not told it reads from ``~/.ssh``.
    manifest
        With ``kubernetes``: file with a ``DaskCluster`` of Dask's operator, which says image, volumes and resources of
        the pods. ``memory`` and ``cores`` must be those of its workers.
    namespace
        With ``kubernetes``: the namespace.
    pools
        Several kinds of workers in one cluster: a list of names and values that replace those above.
    """

    kind: Kind
    workers: int = 0
    max_workers: int | None = None
    memory: str | int | None = None
    cores: int = 1
    gpus: int = 0
    devices: tuple[str, ...] = ()
    cpu_workers: int = 0
    resources: dict[str, float] | None = None
    walltime: str | int = "12:00:00"
    queue: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    python: str | None = None
    interface: str | None = None
    scratch: str | None = None
    hosts: tuple[str, ...] = ()
    connect: dict[str, Any] | None = None
    manifest: str | None = None
    namespace: str = "default"
    pools: tuple[dict[str, Any], ...] = ()

    def check(self) -> None:
        for name in ("workers", "gpus", "cpu_workers"):
            if getattr(self, name) < 0:
                raise InputError(f"cluster: {name} must be 0 or more, not {getattr(self, name)}.")
        if self.cores < 1:
            raise InputError(f"cluster: cores must be 1 or more, not {self.cores}.")
        if self.max_workers is not None and self.max_workers < max(1, self.workers):
            raise InputError(
                f"cluster: max_workers is {self.max_workers}, fewer than the {max(1, self.workers)} to begin with."
            )
        if self.memory is not None and parse_bytes(self.memory, "cluster: memory") < LEAST_BYTES:
            raise InputError(
                f"cluster: memory is {self.memory}, of which no worker can live; write its unit, too, for example 16GB."
            )
        if with_mark := next((line for line in self.directives if line.lstrip().startswith("#")), None):
            raise InputError(f"cluster: directives are written without their first word (#SBATCH): {with_mark!r}.")
        self._check_kind()
        self._check_pools()

    def _check_kind(self) -> None:
        """Refuse what the kind does not know, so that nothing which is written has no effect."""
        known = {
            **dict.fromkeys(("walltime", "queue", "account", "directives", "prologue"), BATCH),
            **dict.fromkeys(("hosts", "connect"), ("ssh",)),
            **dict.fromkeys(("manifest", "namespace"), ("kubernetes",)),
            "max_workers": ("local", *BATCH, "kubernetes"),
            "devices": ("cuda", "ssh"),
            "cpu_workers": ("cuda",),
            "gpus": (*BATCH, "kubernetes"),
            "interface": (*BATCH, "ssh"),
            "python": (*BATCH, "ssh"),
            "scratch": (*BATCH, "ssh", *HERE),
        }
        for name, kinds in known.items():
            default = type(self).__dataclass_fields__[name].default
            if self.kind not in kinds and getattr(self, name) != default:
                raise InputError(f"cluster: {name} has no meaning for {self.kind}; it belongs to {', '.join(kinds)}.")
        if self.kind == "ssh" and not self.hosts:
            raise InputError("cluster: ssh needs hosts, a list of names: give a file, --cluster FILE.yaml.")
        if self.kind == "kubernetes" and not self.manifest:
            raise InputError("cluster: kubernetes needs manifest, a file: give a file, --cluster FILE.yaml.")
        if self.kind in BATCH:
            walltime_for(self.kind, self.walltime)
        check_hosts(self.hosts)
        if len(set(self.devices)) < len(self.devices):
            raise InputError(f"cluster: devices {', '.join(self.devices)} name one twice; each is for one worker.")

    def _check_pools(self) -> None:
        if not self.pools:
            return
        if self.kind in ("cuda", "kubernetes"):
            raise InputError(f"cluster: pools have no meaning for {self.kind}.")
        if self.max_workers is not None:
            raise InputError("cluster: max_workers needs workers of one kind, and there are pools.")
        for number, pool in enumerate(self.pools):
            for name in ("kind", "pools", "max_workers"):
                if name in pool:
                    raise InputError(f"cluster: pools[{number}] cannot have its own {name}.")
            try:
                self.from_json({**self._alone(), **pool}, f"cluster: pools[{number}]")
            except InputError as error:
                if str(error).startswith(f"cluster: pools[{number}]"):
                    raise
                raise InputError(str(error).replace("cluster: ", f"cluster: pools[{number}]: ", 1)) from None
        check_devices((part.hosts, part.devices) for part in self.parts())

    def _alone(self) -> dict[str, Any]:
        return {**self.to_json(), "pools": ()}

    def parts(self) -> list[ClusterRecipe]:
        """The pools of equal workers, each as a recipe without pools, with its number of workers."""
        if self.pools:
            return [part for pool in self.pools for part in self.from_json({**self._alone(), **pool}).parts()]
        if self.kind == "cuda":
            gpus = self.devices or devices_here()
            if self.workers and not self.devices:
                gpus = gpus[: self.workers]
            one = self.with_(devices=gpus, workers=len(gpus), cpu_workers=0)
            if not self.cpu_workers:
                return [one]
            return [one, self.with_(kind="local", devices=(), workers=self.cpu_workers, cpu_workers=0)]
        if self.kind == "ssh":
            each = len(self.devices) or max(1, self.workers)
            return [self.with_(workers=each)]
        if self.workers:
            return [self]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return [self.with_(workers=max(1, cores // self.cores) if self.kind == "local" else 1)]

    @property
    def total(self) -> int:
        """Number of workers to begin with."""
        return sum(part.workers * max(1, len(part.hosts)) for part in self.parts())

    def limit(self) -> int:
        """Memory of the smallest worker, bytes.

        Raises
        ------
        InputError
            It is not stated, and not known otherwise.
        """
        return min(part.limit_of_worker(self.total) for part in self.parts())

    def limit_of_worker(self, beside: int) -> int:
        """Memory that a worker of this recipe may use, bytes; on this machine ``beside`` of them share it."""
        if self.memory is not None:
            return int(parse_bytes(self.memory) * (1.0 if self.kind in (*HERE, "ssh") else OF_JOB))
        if self.kind not in HERE:
            raise InputError(
                f"--cluster {self.kind}: how much memory does a worker have? Give --memory-limit, or memory in a file "
                "(--cluster FILE.yaml)."
            )
        return int(machine_memory() * OF_MACHINE / max(beside, self.max_workers or 0))

    @property
    def has_gpu(self) -> bool:
        """Whether these workers offer a GPU."""
        return self.gpus > 0 or bool(self.devices)

    def offered(self, beside_gpus: bool = False) -> dict[str, float]:
        """The resources that each worker of this recipe, which has no pools, offers.

        Beside workers with GPUs those without say so, by ``CPU``: Dask knows no other way to keep work off the former.
        """
        own = {GPU: 1.0} if self.has_gpu else {CPU: 1.0} if beside_gpus else {}
        return {**own, **(self.resources or {})}

    @property
    def mixed(self) -> bool:
        """Whether some workers have GPUs and some have none."""
        return len({part.has_gpu for part in self.parts()}) > 1

    def offers(self) -> dict[str, float]:
        """The resources that workers of the cluster offer, the largest amount of one worker of each."""
        found: dict[str, float] = {}
        for part in self.parts():
            for name, amount in part.offered(self.mixed).items():
                found[name] = max(amount, found.get(name, 0.0))
        return found


def read_cluster(cluster: str) -> ClusterRecipe:
    """Return the recipe of a cluster: that of a kind with its defaults, or what a YAML file says.

    Parameters
    ----------
    cluster
        A kind (``slurm``), or the path of a YAML file whose names and values are those of :class:`ClusterRecipe`.

    Raises
    ------
    InputError
        It is neither, or the file cannot be used.
    """
    if cluster in KINDS:
        return ClusterRecipe(kind=cluster)  # type: ignore[arg-type]
    if not cluster.lower().endswith((".yaml", ".yml")):
        raise InputError(f"--cluster {cluster}: write one of {', '.join(KINDS)}, or the name of a file (.yaml).")
    data = read_yaml(cluster, "cluster")
    try:
        return ClusterRecipe.from_json(data, "cluster")
    except InputError as error:
        raise InputError(f"--cluster {cluster}: {error}") from None


def devices_here() -> tuple[str, ...]:
    """The GPUs of this machine that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Raises
    ------
    InputError
        There is none.
    """
    found = gpus_here()
    if not found:
        raise InputError(
            "--cluster cuda: this machine shows no GPU (nvidia-smi -L, CUDA_VISIBLE_DEVICES). Use --cluster local, or "
            "name them as devices in a file (--cluster FILE.yaml)."
        )
    return found


def gpus_here() -> tuple[str, ...]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` or else ``nvidia-smi`` names them."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return tuple(name.strip() for name in told.split(",") if name.strip() not in ("", "-1"))
    try:
        said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):  # no driver of NVIDIA
        return ()
    return tuple(re.findall(r"^GPU (\d+):", said, re.MULTILINE))
