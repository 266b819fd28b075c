"""A real SLURM cluster of one node in a folder: Debian's munged, slurmctld and slurmd, started and ended by tests."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
DONE = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE"})

CONFIGURATION = """
ClusterName=volengine
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=5
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""

GPUS = 2
"""GPUs that the node says it has: SLURM counts them and gives out their numbers; nothing can be computed there."""


def missing() -> str:
    """Why no cluster can be started here; empty if one can."""
    if os.getuid() != 0:
        return "a SLURM cluster is started as root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)}: not installed (Debian: slurmctld slurmd slurm-client munge)" if absent else ""


class Slurm:
    """The commands of a running cluster."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def __call__(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Run a command of SLURM and return what it prints."""
        done = subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, *words: str | Path, cwd: Path, **variables: str) -> str:
        """Submit a batch script with its options and arguments; return the number of the job."""
        export = ",".join(["ALL", *(f"{name}={value}" for name, value in variables.items())])
        return self("sbatch", "--parsable", f"--export={export}", *words, cwd=cwd).split(";")[0]

    def states(self, job: str) -> dict[str, str]:
        """The state of a job by its number, or of each task of an array by ``JOB_TASK``."""
        found = {}
        for line in self("scontrol", "--oneliner", "show", "job", job).splitlines():
            facts = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
            found[f"{job}_{facts['ArrayTaskId']}" if "ArrayTaskId" in facts else job] = facts["JobState"]
        return found

    def wait(self, job: str, seconds: float = 240) -> dict[str, str]:
        """Wait until a job has ended; return its states."""
        end = time.monotonic() + seconds
        while not set((states := self.states(job)).values()) <= DONE:
            assert time.monotonic() < end, f"{states}: {self('squeue')}"
            time.sleep(0.5)
        return states


@contextmanager
def cluster(folder: Path, cpus: int = 2) -> Iterator[Slurm]:
    """Start a cluster of one node with so many CPUs, and end it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    folder.chmod(0o755)  # munge refuses a socket in a folder that others cannot search
    controller, node = free_ports(2)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, controller=controller, node=node, folder=folder, cpus=cpus, gpus=GPUS)
    )
    for number in range(GPUS):  # a file for each, whose number SLURM reads from its name
        os.mknod(folder / f"gpu{number}", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    slurm = Slurm(folder)
    munge = [f"--{name}={folder}/munge.{ending}" for name, ending in MUNGE.items()]
    with ExitStack() as stack:
        for words in (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_daemon(words, folder / f"{words[0]}.out", slurm.environment))
            _until(folder / "munge.socket")
        _ready(slurm, host)
        yield slurm


MUNGE = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


@contextmanager
def _daemon(words: list[str], out: Path, environment: dict[str, str]) -> Iterator[None]:
    with out.open("w") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.1)


def _ready(slurm: Slurm, host: str) -> None:
    """Wait until the node is idle."""
    end = time.monotonic() + 60
    while True:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format", "%T"],
            env=slurm.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout.strip() == "idle":
            return
        logs = "".join((slurm.folder / f"{name}.out").read_text()[-2000:] for name in ("munged", "slurmctld", "slurmd"))
        assert time.monotonic() < end, f"{host} is {done.stdout}{done.stderr}: {logs}"
        time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    """Free ports."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
