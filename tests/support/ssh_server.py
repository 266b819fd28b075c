"""A real OpenSSH server on this machine alone, in a folder, for tests of clusters of several hosts."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
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
def server(folder: Path, environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Start a server whose sessions have these variables; yields the options of ``asyncssh.connect`` to reach it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    variables = " ".join(f'"{name}={value}"' for name, value in environment.items())
    text = CONFIGURATION.format(port=port, folder=folder, environment=variables)
    (folder / "sshd_config").write_text(text)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, gives up its rights
    sshd = _program("sshd")
    assert sshd is not None
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        _listens(port, folder / "log")
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
        yield {
            "port": port,
            "username": pwd.getpwuid(os.getuid()).pw_name,
            "client_keys": [str(folder / "user")],
            "known_hosts": str(folder / "known_hosts"),
        }
    finally:
        process.terminate()
        process.wait()


def _listens(port: int, log: Path) -> None:
    end = time.monotonic() + 20
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
