"""An existing Dask scheduler: its address, who may hear and answer, and the connection.

Whoever reaches a Dask scheduler without certificates may send it code, which its workers run. So a ``tcp://`` address
is used only on this machine; another one needs ``tls://`` and certificates, or the word ``--insecure``.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.errors import DeadlineError, InputError, MissingError
from volengine.engine.deadline import Deadline
from volengine.engine.log import remark

if TYPE_CHECKING:
    from volengine.engine.options import RunOptions

ANSWER_S = 20
"""Seconds within which a scheduler must answer."""

POLL_S, AGAIN_S = 0.2, 600.0
"""Seconds between two looks for a scheduler file, and between two lines that say so."""

TORN_S = 3.0
"""Seconds after which a scheduler file that cannot be read is not one that is being written."""

KINDS = ("tls", "tcp", "ws", "wss", "ucx", "inproc")
"""How addresses of schedulers begin."""

HOW_TO_SECURE = "docs/how-to-run.md#a-dask-cluster says how to make certificates"


def address_of(scheduler: str) -> str:
    """Return the address of a scheduler: the text itself, or what its scheduler file says.

    Raises
    ------
    InputError
        The file does not exist, or holds no address.
    """
    if not scheduler.endswith(".json"):
        return scheduler
    path = Path(scheduler)
    if not path.exists():
        raise MissingError(
            f"--scheduler {scheduler}: no such scheduler file. `dask scheduler --scheduler-file` writes it."
        )
    try:
        address = json.loads(path.read_bytes())["address"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"--scheduler {scheduler}: is no scheduler file, which holds the address of a scheduler ({error!r})."
        ) from None
    if not isinstance(address, str):
        raise InputError(f"--scheduler {scheduler}: its address is {address!r}, not a text.")
    return address


def wait_for_file(options: RunOptions, say: Callable[[str], None] = remark) -> None:
    """Wait until the scheduler file of the options is there, as long as they say; tell the user now and then.

    A scheduler that is a job of a queue writes it when it begins. One that is just being written is waited for, too.

    Parameters
    ----------
    options
        Which file, and how long it is waited for. Without a scheduler file nothing is done.
    say
        Function that tells the user what is waited for.

    Raises
    ------
    InputError
        It has not appeared in time, its folder does not exist, or it is no scheduler file.
    DeadlineError
        It has not appeared, and the run must end.
    """
    scheduler = options.scheduler
    if scheduler is None or not scheduler.endswith(".json"):
        return
    patience_s, deadline = options.patience_for_workers_s(), Deadline(options.deadline)
    began = time.monotonic()
    told: float | None = None
    torn: float | None = None
    while True:
        now = time.monotonic()
        try:
            address_of(scheduler)
        except MissingError as error:
            torn = None
            if not Path(scheduler).parent.is_dir():
                raise MissingError(f"{error} There is not even a folder {Path(scheduler).parent}.") from None
            if deadline.left_s <= 0:
                raise DeadlineError(f"Stopped before the deadline ({deadline.said()}): {error}") from None
            if now - began >= patience_s:
                raise MissingError(
                    f"{error} It was waited for {now - began:.0f} s (--wait-for-workers {options.wait_for_workers})."
                ) from None
            if told is None or now - told >= AGAIN_S:
                told = now
                say(
                    f"--scheduler {scheduler}: there is no such file for {now - began:.0f} s; waiting until a "
                    f"scheduler writes it, for --wait-for-workers {options.wait_for_workers} at most. Ctrl-C stops it."
                )
        except InputError:
            torn = now if torn is None else torn
            if now - torn >= TORN_S:
                raise
        else:
            return
        time.sleep(POLL_S)


def is_loopback(address: str) -> bool:
    """Return whether an address is one of this machine alone: 127.0.0.1, ::1, localhost, or inside of this process."""
    kind, rest = _split(address)
    if kind == "inproc":
        return True
    host = re.sub(r":\d+$", "", rest).strip("[]")
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)} if host else set()
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_loopback(text) for text in found)


def _loopback(text: str) -> bool:
    number = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(number, "ipv4_mapped", None)
    return (mapped or number).is_loopback


def _split(address: str) -> tuple[str, str]:
    kind, found, rest = address.partition("://")
    return (kind.lower(), rest) if found else ("tcp", address)


def security_of(options: RunOptions, address: str) -> Any:
    """Return Dask's certificates for an address (``None``: without), or refuse it.

    Parameters
    ----------
    options
        ``insecure`` and ``tls_...`` of these.
    address
        Address of a scheduler.

    Returns
    -------
    distributed.Security or None

    Raises
    ------
    InputError
        The address is beyond this machine and not encrypted; a certificate is missing or unusable.
    """
    named = options.scheduler if options.scheduler == address else f"{options.scheduler} ({address})"
    kind, rest = _split(address)
    if kind not in KINDS or not rest.strip() or not ("://" in address or ":" in address):
        raise InputError(
            f"--scheduler {named or repr(named)} is no address of a Dask scheduler (tls://host:port, or "
            "tcp://127.0.0.1:port), and no scheduler file (.json)."
        )
    if _split(address)[0] != "tls":
        if options.tls_ca:
            raise InputError(f"--scheduler {named}: --tls-... are for a scheduler with certificates (tls://host:port).")
        if not is_loopback(address) and not options.insecure:
            raise InputError(
                f"--scheduler {named} is beyond this machine and not encrypted: everybody who reaches it may run code "
                f"on its workers, and read and change what they send. Use tls:// ({HOW_TO_SECURE}), or add "
                "--insecure if only people you trust reach this network."
            )
        return None
    from distributed import Security

    if options.tls_ca:
        security = Security(
            tls_ca_file=options.tls_ca,
            tls_client_cert=options.tls_cert,
            tls_client_key=options.tls_key,
            require_encryption=True,
        )
        where = "--tls-ca, --tls-cert, --tls-key"
    else:
        security = Security()  # from Dask's configuration
        where = "distributed.comm.tls of Dask's configuration"
    _check_certificates(named, security, where)
    return security


def _check_certificates(named: str | None, security: Any, where: str) -> None:
    """Load the certificates once, because Dask's own errors name neither file nor reason."""
    ca, cert, key = security.tls_ca_file, security.tls_client_cert, security.tls_client_key
    if not ca or not cert:
        raise InputError(
            f"--scheduler {named} needs certificates: give --tls-ca, --tls-cert and --tls-key "
            f"({HOW_TO_SECURE}), or set distributed.comm.tls in Dask's configuration."
        )
    for path in filter(None, (ca, cert, key)):
        if "\n" not in path and not Path(path).is_file():  # Dask also takes the text of a certificate itself
            raise MissingError(f"--scheduler {named}: no such file: {path} ({where}).")
    if any("\n" in path for path in filter(None, (ca, cert, key))):
        return
    try:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (ca, cert, key)))
        raise InputError(
            f"--scheduler {named}: {files} ({where}) are no PEM files of an authority, a certificate and its key "
            f"without a password ({getattr(error, 'reason', None) or error})."
        ) from None


def check_scheduler(options: RunOptions) -> None:
    """Refuse a scheduler that must not be used, before anything is written and without connecting to it.

    A scheduler file that is not there yet is waited for.

    Raises
    ------
    InputError
        As those of :func:`wait_for_file` and :func:`security_of`, and of the description of a cluster to start.
    """
    if options.cluster is not None:
        options.cluster_recipe().parts()
    if options.scheduler is not None:
        wait_for_file(options)
        security_of(options, address_of(options.scheduler))


def connect(options: RunOptions) -> Any:
    """Connect to the existing scheduler of the options.

    Returns
    -------
    distributed.Client

    Raises
    ------
    InputError
        The scheduler file does not exist, the address is refused (:func:`security_of`), or no scheduler answers there
        within 20 s.
    """
    scheduler = options.scheduler
    assert scheduler is not None
    address = address_of(scheduler)
    security = security_of(options, address)
    from distributed import Client

    try:
        return Client(address, timeout=ANSWER_S, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        text = str(cause) or str(error) or type(cause).__name__
        if security is not None:
            raise InputError(
                f"--scheduler {scheduler}: no Dask scheduler answers at {address} with these certificates ({text}). "
                "Scheduler, workers and driver need certificates of the same authority."
            ) from error
        raise InputError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({text}). "
            "Start one with `dask scheduler` and workers with `dask worker`; with certificates its address is tls://..."
        ) from error
