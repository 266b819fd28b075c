"""Several hosts on one machine: network namespaces with addresses of their own, on a switch that can unplug them.

>>> with network("driver", "worker") as hosts: ...
...     hosts.start("worker", ["python", "-c", "..."], log=path)
...     hosts.unplug("worker")                          # its packets vanish, without a word to anybody
...     hosts.plug("worker")

The disk is common to all, as on a cluster. It needs root and iproute2; nothing outside of the namespaces is changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path


@cache
def missing() -> str:
    """Why there can be no such hosts here; empty if there can."""
    if os.getuid() != 0:
        return "network namespaces are made as root"
    if shutil.which("ip") is None:
        return "ip: not installed (Debian: iproute2)"
    try:
        with network("a", "b") as hosts:
            reached = hosts.run("a", ["true"]) == 0
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {str(error.stderr).strip()}"
    return "" if reached else "network namespaces are not allowed here"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Hosts:
    """Hosts by name, in the order of their addresses."""

    def __init__(self, prefix: str, names: tuple[str, ...]):
        self.prefix, self.names = prefix, names
        self.processes: list[subprocess.Popen[bytes]] = []

    def space(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def address(self, name: str) -> str:
        """The address of a host."""
        return f"10.213.7.{self.names.index(name) + 1}"

    def unplug(self, name: str) -> None:
        """Take a host's cable out of the switch: its own end does not notice."""
        _ip("-n", self.space("switch"), "link", "set", f"to-{self.names.index(name)}", "nomaster")

    def plug(self, name: str) -> None:
        """Put it in again."""
        _ip("-n", self.space("switch"), "link", "set", f"to-{self.names.index(name)}", "master", "switch")

    def inside(self, name: str) -> list[str]:
        """The words before a command that runs on a host."""
        return ["ip", "netns", "exec", self.space(name)]

    def start(
        self, name: str, command: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program on a host; what it says goes into a file. It is ended with the hosts."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*self.inside(name), *command],
                stdout=file,
                stderr=file,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def run(self, name: str, command: list[str]) -> int:
        """Run a program on a host to its end."""
        return subprocess.run([*self.inside(name), *command], check=False).returncode


@contextmanager
def network(*names: str) -> Iterator[Hosts]:
    """Make hosts of these names and a switch between them; end all that runs on them, and remove them."""
    hosts = Hosts(f"v{uuid.uuid4().hex[:6]}", names)
    with ExitStack() as stack:
        for space in ("switch", *names):
            _ip("netns", "add", hosts.space(space))
            stack.callback(_ip, "netns", "delete", hosts.space(space))
            _ip("-n", hosts.space(space), "link", "set", "lo", "up")
        _ip("-n", hosts.space("switch"), "link", "add", "switch", "type", "bridge")
        _ip("-n", hosts.space("switch"), "link", "set", "switch", "up")
        for number, name in enumerate(names):
            inner = ["-n", hosts.space(name)]
            peer = ["peer", "name", f"to-{number}", "netns", hosts.space("switch")]
            _ip(*inner, "link", "add", "eth0", "type", "veth", *peer)
            _ip(*inner, "address", "add", f"{hosts.address(name)}/24", "dev", "eth0")
            _ip(*inner, "link", "set", "eth0", "up")
            _ip(*inner, "route", "add", "default", "dev", "eth0")  # by which Dask finds out its own address
            _ip("-n", hosts.space("switch"), "link", "set", f"to-{number}", "up")
            hosts.plug(name)
        stack.callback(_end, hosts)
        yield hosts


def _end(hosts: Hosts) -> None:
    for process in hosts.processes:
        if process.poll() is None:
            os.killpg(process.pid, 9)  # the programs that it has started, too
        process.wait()
    time.sleep(0.1)
