"""Clusters that a run starts: processes on this machine, jobs of a batch system, other hosts by ssh, pods.

The engines are Dask's own: ``distributed``, ``dask-jobqueue``, ``dask-kubernetes``, and Dask's workers by ssh. The
scheduler runs in the driver's process, so a cluster ends with its run. Beyond this machine it speaks TLS, with
certificates that are made for the run and lie in its folder, which all workers see anyway. Dashboards listen on this
machine alone.
"""

from __future__ import annotations

import importlib
import os
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError, RunError, require
from volengine.core.units import format_bytes, parse_bytes
from volengine.core.yaml_recipes import yaml_text
from volengine.engine.certificates import PREFIX, Certificates
from volengine.engine.cluster_recipe import BATCH, HERE, OF_JOB, ClusterRecipe
from volengine.engine.cluster_terms import check_connect, walltime_for
from volengine.engine.link import Link
from volengine.engine.pods import manifest_of, start_pods
from volengine.engine.scheduler import ANSWER_S
from volengine.engine.workers import CORES

LOOPBACK = "127.0.0.1"
"""Address at which everything that serves this machine alone listens."""

PAGES = f"{LOOPBACK}:0"
"""Where workers serve their pages, which have no password: to their own machine."""

JOBS = {"slurm": "SLURMJob", "pbs": "PBSJob", "lsf": "LSFJob", "sge": "SGEJob"}
"""Classes of ``dask_jobqueue``, each in the module of the kind's name."""

GPU_DIRECTIVES = {
    "slurm": "--gres=gpu:{}",
    "lsf": '-gpu "num={}"',
    "sge": "-l gpu={}",
}
"""How a job asks for GPUs; PBS asks in its resource specification."""

DEATH_S = 120
"""Seconds after which a worker ends that has no scheduler."""

REFILL_S = 20.0
"""Seconds between two looks for workers that were lost; Dask forgets one after 15 s."""

TARGET = "0.5s"
"""Dask adds workers until the bundles under way would end in this time. These are two for each worker, of 1.5 s."""

LOST_S = "60s"
"""How long a worker of another machine may be silent until its job is given up."""


@dataclass(frozen=True)
class Worker:
    """One worker to start: its name, Dask's class of it, and the options of the class."""

    name: str
    cls: Any
    options: Mapping[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        return {"cls": self.cls, "options": dict(self.options)}


class Starter:
    """Starts the cluster of a recipe.

    Parameters
    ----------
    recipe
        The cluster.
    folder
        The run folder, for certificates and the outputs of jobs.
    limit
        Memory of a worker, bytes, if the user gave it (``--memory-limit``); it counts for all pools.
    settings
        Dask's settings for units of volengine.
    insecure
        Whether a cluster beyond this machine may do without certificates.
    """

    def __init__(
        self,
        recipe: ClusterRecipe,
        folder: Path,
        limit: int | None,
        settings: Mapping[str, Any],
        insecure: bool = False,
    ):
        self.recipe, self.folder, self.settings, self.insecure = recipe, folder.absolute(), settings, insecure
        self.parts, self.mixed = recipe.parts(), recipe.mixed
        self._beside = recipe.total
        self._limit = limit
        self.certificates: Certificates | None = None

    @property
    def remote(self) -> bool:
        """Whether workers are beyond this machine."""
        return self.recipe.kind not in HERE

    def limit(self, part: ClusterRecipe) -> int:
        """Memory of a worker of one pool, bytes."""
        return self._limit or part.limit_of_worker(self._beside)

    # -- what is started -----------------------------------------------------------------------------------

    def workers(self) -> list[Worker]:
        """The workers, in the order of the pools."""
        found: list[Worker] = []
        for part in self.parts:
            make = {"ssh": self._by_ssh}.get(part.kind, self._job if part.kind in BATCH else self._here)
            for place in part.hosts or ("",):
                for number in range(part.workers):
                    found.append(make(part, f"volengine-{len(found)}", number, place))
        return found

    def _nanny(self, part: ClusterRecipe, number: int) -> dict[str, Any]:
        """Options of Dask's ``Nanny`` for a worker of one unit at a time."""
        environment = {CORES: str(part.cores)}
        if part.devices:
            environment["CUDA_VISIBLE_DEVICES"] = part.devices[number]
        elif self.recipe.kind == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = ""  # a network that runs here must not take a GPU from its worker
        options = {
            "nthreads": 1,
            "memory_limit": self.limit(part),
            "resources": part.offered(self.mixed),
            "env": environment,
            "dashboard_address": PAGES,
        }
        return options | ({"local_directory": part.scratch} if part.scratch else {})

    def _here(self, part: ClusterRecipe, name: str, number: int, place: str) -> Worker:
        from distributed import Nanny

        options = {**self._nanny(part, number), "host": LOOPBACK, "silence_logs": 50}
        return Worker(name, Nanny, options)

    def _by_ssh(self, part: ClusterRecipe, name: str, number: int, place: str) -> Worker:
        from distributed.deploy.ssh import Worker as ByHost

        _needs("asyncssh", "ssh", "--cluster ssh")
        if name == "volengine-0" or (part.connect and number == 0):
            check_connect(part.connect or {})
        nanny = {**self._nanny(part, number), "name": name, "death_timeout": DEATH_S}
        if part.interface:
            nanny["interface"] = part.interface
        options = {
            "address": place,
            "connect_options": dict(part.connect or {}),
            "kwargs": nanny,
            "worker_class": "distributed.Nanny",
            "remote_python": part.python,
        }
        return Worker(name, _failing(ByHost, place), options)

    def _job(self, part: ClusterRecipe, name: str, number: int, place: str) -> Worker:
        _needs("dask_jobqueue", "jobqueue", f"--cluster {part.kind}")
        limit = self.limit(part)
        given = [
            "--nthreads",
            "1",
            "--memory-limit",
            str(limit),
            "--no-dashboard",
            "--dashboard-address",
            PAGES,
        ]  # the last one of each counts
        if offered := part.offered(self.mixed):
            given += ["--resources", shlex.quote(",".join(f"{key}={n:g}" for key, n in offered.items()))]
        options: dict[str, Any] = {
            "cores": part.cores,
            "memory": f"{self._asked(part, limit)}B",
            "processes": 1,
            "death_timeout": DEATH_S,
            "local_directory": part.scratch,
            "worker_extra_args": given,
            "job_extra_directives": self._directives(part),
            "job_script_prologue": [*self._exports(part), *part.prologue],
            "log_directory": str(self.folder / "jobs"),
            "job_name": "volengine",
            "python": part.python,
            "interface": part.interface,
            "queue": part.queue,
            "project" if part.kind in ("lsf", "sge") else "account": part.account,
            "walltime": walltime_for(part.kind, part.walltime),
            "protocol": "tls://" if self.certificates else None,
            "security": self.certificates.security() if self.certificates else None,
        }
        if part.kind == "pbs" and part.gpus:
            asked = -(-self._asked(part, limit) // 2**20)
            options["resource_spec"] = f"select=1:ncpus={part.cores}:mem={asked}MB:ngpus={part.gpus}"
        if part.kind == "slurm":
            options["job_mem"] = f"{-(-self._asked(part, limit) // 2**20)}M"  # Dask's own is in whole gigabytes
        if part.kind == "lsf":
            options["lsf_units"] = "mb"
        module = importlib.import_module(f"dask_jobqueue.{part.kind}")
        return Worker(name, _failing(getattr(module, JOBS[part.kind])), options)

    def _asked(self, part: ClusterRecipe, limit: int) -> int:
        """Memory that a job asks for, bytes: more than its worker may use."""
        if self._limit is None and part.memory is not None:
            return parse_bytes(part.memory)
        return int(-(-limit // OF_JOB))

    def _directives(self, part: ClusterRecipe) -> list[str]:
        gpus = [GPU_DIRECTIVES[part.kind].format(part.gpus)] if part.gpus and part.kind in GPU_DIRECTIVES else []
        return [*gpus, *part.directives]

    def _exports(self, part: ClusterRecipe) -> list[str]:
        """Lines of shell that give a worker Dask's settings, which a job does not inherit."""
        found: dict[str, str] = {}
        for name, value in self.settings.items():
            if isinstance(value, Mapping):  # nanny.pre-spawn-environ: variables of the worker's process
                found |= {str(key): str(n) for key, n in value.items()}
            else:
                found["DASK_" + name.replace(".", "__").replace("-", "_").upper()] = str(value)
        threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", CORES)
        found |= dict.fromkeys(threads, str(part.cores))
        if self.certificates:
            found["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
        found["DASK_LOGGING__DISTRIBUTED"] = "warning"
        return [f"export {name}={shlex.quote(value)}" for name, value in found.items()]

    def scheduler(self) -> dict[str, Any]:
        """Dask's specification of the scheduler, which runs in this process."""
        from distributed import Scheduler

        options: dict[str, Any] = {"port": 0, "dashboard_address": dashboard()}
        if not self.remote:
            options["host"] = LOOPBACK
        elif self.recipe.interface:
            options["interface"] = self.recipe.interface
        if self.certificates:
            options |= {"protocol": "tls://", "security": self.certificates.security()}
        return {"cls": Scheduler, "options": options}

    def said(self) -> str:
        """What would be started, for people; the scripts of jobs as they would be submitted."""
        lines = []
        for part in self.parts:
            where = f" on each of {', '.join(part.hosts)}" if part.hosts else ""
            offers = ", ".join(f"{name}={n:g}" for name, n in part.offered(self.mixed).items())
            most = f" to {part.max_workers}" if part.max_workers else ""
            lines.append(
                f"{part.kind}: {part.workers}{most} workers{where}, each with {part.cores} cores and "
                f"{format_bytes(self.limit(part))}{f', offering {offers}' if offers else ''}"
            )
            if part.devices:
                lines.append(f"  CUDA_VISIBLE_DEVICES: {', '.join(part.devices)}, one for each worker")
        if self.recipe.kind == "kubernetes":
            return "\n".join([*lines, yaml_text(manifest_of(self.recipe))])
        if self.remote:
            what = "none (--insecure)" if self.insecure else f"made for the run, in {self.folder}/{PREFIX}..."
            lines.append(f"certificates: {what}")
        shown = set()
        for worker in self.workers():
            if hasattr(worker.cls, "job_script"):
                scheme = "tcp" if self.insecure else "tls"
                options = {**worker.options, "log_directory": None}
                script = worker.cls(f"{scheme}://SCHEDULER:PORT", name="NAME", **options).job_script()
                if script not in shown:
                    shown.add(script)
                    lines += [f"{worker.cls.submit_command}:", *(f"  {line}" for line in script.splitlines())]
        return "\n".join(lines)

    # -- starting ------------------------------------------------------------------------------------------

    def start(self) -> Link:
        """Start the cluster and connect to it.

        Raises
        ------
        DependencyError
            A package is missing; the message names the extra.
        InputError
            The batch system or a host refuses.
        RunError
            Workers on this machine could not be started.
        """
        if self.recipe.kind == "kubernetes":
            return start_pods(self.recipe, self.insecure)
        import dask
        from distributed import Client
        from distributed.deploy.spec import SpecCluster

        configuration = dict(self.settings)
        if self.remote and not self.insecure:
            self.certificates = Certificates(self.folder)
            configuration |= self.certificates.configuration()
        if self.remote:
            configuration["distributed.deploy.lost-worker-timeout"] = LOST_S
        with ExitStack() as stack:
            stack.callback(self._clean)
            workers = self.workers()
            stack.enter_context(dask.config.set(configuration))  # until the end: workers are also started later
            try:
                cluster = SpecCluster(
                    workers={worker.name: worker.spec for worker in workers},
                    scheduler=self.scheduler(),
                    worker=workers[0].spec,
                    security=self.certificates.security() if self.certificates else None,
                    silence_logs=50,
                    name="volengine",
                )
            except Exception as error:  # of Dask, of ssh, of the batch system's command: of many kinds
                raise self._refused(error) from error
            stack.callback(_close, cluster)
            client = Client(cluster, timeout=ANSWER_S, set_as_default=False)
            if self.recipe.max_workers is not None:
                cluster.adapt(minimum=max(1, len(workers)), maximum=self.recipe.max_workers, target_duration=TARGET)
            return Link(client, stack.pop_all().close, _refill(cluster), self.recipe.offers())

    def _refused(self, error: Exception) -> Exception:
        cause: BaseException = error
        while not isinstance(cause, _HostError) and (deeper := cause.__cause__ or cause.__context__) is not None:
            cause = deeper
        text = " ".join(str(cause).split())[-600:] or type(cause).__name__
        if not self.remote:
            return RunError(
                f"{self._beside} workers could not be started ({text}). Start fewer, or give each more memory: "
                "--workers, --memory-limit."
            )
        return InputError(
            f"--cluster {self.recipe.kind}: workers could not be started: {text}. `volengine cluster show` says what "
            "is asked for."
        )

    def _clean(self) -> None:
        if self.certificates is not None:
            self.certificates.remove()
            self.certificates = None


class _HostError(Exception):
    """No worker could be started on a host; the text begins with its name."""


def _failing(cls: Any, host: str = "") -> Any:
    """A class of Dask's workers that notes when its start has failed; otherwise its cluster cannot be closed.

    ``host``: the name of the host, if the error is to begin with it.
    """
    from distributed.core import Status

    async def start(self: Any) -> None:
        try:
            await cls.start(self)
        except BaseException as error:
            self.status = Status.failed
            if host and isinstance(error, Exception):
                raise _HostError(f"{host}: {error}") from error
            raise

    return type(cls.__name__, (cls,), {"start": start, "__module__": __name__})


def _close(cluster: Any) -> None:
    with suppress(TimeoutError, OSError):
        cluster.close()


def _needs(module: str, extra: str, purpose: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise require(module.replace("_", "-"), extra, purpose) from error


def _refill(cluster: Any) -> Callable[[], None]:
    """A function that starts lost workers anew: jobs whose time has ended, processes that were killed."""
    looked = time.monotonic()

    def refill() -> None:
        nonlocal looked
        if time.monotonic() - looked < REFILL_S or getattr(cluster, "_adaptive", None) is not None:
            return
        looked = time.monotonic()
        cluster.scale(len(cluster.worker_spec))  # starts those of the specification that Dask has given up

    return refill


def dashboard() -> str:
    """Return where the dashboard of local workers listens: a free port of this machine alone.

    ``VOLENGINE_DASHBOARD`` sets another address. It has no password, so ``:8787`` is that port of this machine alone,
    too; only ``0.0.0.0:8787`` opens it to the network.
    """
    told = os.environ.get("VOLENGINE_DASHBOARD", ":0")
    return f"127.0.0.1{told}" if told.startswith(":") else told
