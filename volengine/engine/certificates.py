"""Certificates for one run: made when its cluster starts, seen by whoever may read the run folder, gone at its end.

Scheduler, workers and driver share one certificate, which is its own authority. So whoever has the key may send code
to the workers; the files are for their owner alone.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError, require

PREFIX = ".certificates-"
"""How the folder of certificates in a run folder begins."""


class Certificates:
    """Certificates as files, which workers on other machines read from the shared run folder.

    Parameters
    ----------
    folder
        The run folder. What an earlier driver has left there, because it was killed, is removed.

    Raises
    ------
    DependencyError
        ``cryptography`` is not installed.
    InputError
        They cannot be written.
    """

    def __init__(self, folder: Path):
        from distributed import Security

        try:
            made = Security.temporary()
        except ImportError as error:
            raise require("cryptography", "jobqueue", "A cluster beyond this machine") from error
        self.folder = folder / f"{PREFIX}{uuid.uuid4().hex}"
        try:
            for old in folder.glob(f"{PREFIX}*"):
                shutil.rmtree(old, ignore_errors=True)
            self.folder.mkdir(mode=0o700)
            self.cert = self._write("cert.pem", made.tls_client_cert)
            self.key = self._write("key.pem", made.tls_client_key)
        except OSError as error:
            raise InputError(f"{self.folder}: certificates cannot be written there ({error.strerror}).") from error

    def _write(self, name: str, text: str) -> str:
        path = self.folder / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # hosts that share a disk see what has left this one
        return str(path)

    def security(self) -> Any:
        """Return Dask's settings of these certificates, for all roles."""
        from distributed import Security

        return Security(**self._named("tls_{}_{}"), tls_ca_file=self.cert, require_encryption=True)

    def _named(self, pattern: str) -> dict[str, str]:
        files = {"cert": self.cert, "key": self.key}
        roles = ("client", "scheduler", "worker")
        return {pattern.format(role, what): path for role in roles for what, path in files.items()}

    def configuration(self) -> dict[str, Any]:
        """Return the same for Dask's configuration, which processes on other hosts are given."""
        return {
            "distributed.comm.require-encryption": True,
            "distributed.comm.tls.ca-file": self.cert,
            **self._named("distributed.comm.tls.{}.{}"),
        }

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)
