"""A real OpenSSH server, on this machine alone or on hosts of a test, in a folder, for clusters of several hosts."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIGURATION = """
Port {port}
ListenAddress {address}
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv {environment}
"""


def missing() -> str:
    """Why no server can be started here; empty if one can."""
    absent = [name for name in ("sshd", "ssh-keygen") if _program(name) is None]
    return f"{', '.join(absent)}: not installed (Debian: openssh-server)" if absent else ""


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def server(
    folder: Path,
    environment: Mapping[str, str],
    around: Sequence[Sequence[str]] = ((),),
    address: str = "127.0.0.1",
    known: str = "127.0.0.1",
) -> Iterator[dict[str, Any]]:
    """Start servers whose sessions have these variables; yields the options of ``asyncssh.connect`` to reach them.

    ``around`` has the words before the command of each server (``ip netns exec NAME``), ``address`` is where each
    listens, ``known`` the pattern of the addresses by which they are known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    variables = " ".join(f'"{name}={value}"' for name, value in environment.items())
    text = CONFIGURATION.format(port=port, folder=folder, environment=variables, address=address)
    (folder / "sshd_config").write_text(text)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, gives up its rights
    sshd = _program("sshd")
    assert sshd is not None
    processes = []
    try:
        for number, words in enumerate(around):
            with (folder / f"log{number}").open("w") as log:
                command = [*words, sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
                processes.append(subprocess.Popen(command, stderr=log))
            _listens(folder / f"log{number}")
        (folder / "known_hosts").write_text(f"[{known}]:{port} {(folder / 'host.pub').read_text()}")
        yield {
            "port": port,
            "username": pwd.getpwuid(os.getuid()).pw_name,
            "client_keys": [str(folder / "user")],
            "known_hosts": str(folder / "known_hosts"),
        }
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def _listens(log: Path) -> None:
    end = time.monotonic() + 20
    while "Server listening" not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
