"""Where a page is served, and to whom."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True)
class ServeRecipe(Recipe):
    """Where a page is served, and to whom.

    Parameters
    ----------
    host
        The address to listen at. Beyond the machine itself (0.0.0.0, a name) only with ``tls_cert`` and ``tls_key``, or
        with ``insecure``.
    port
        The port; 0: one that is free.
    uds
        Listen at a Unix socket at this path instead. Only its owner may use it, whereas a port of a shared machine is
        open to all of its users (who have no token). From elsewhere: ``ssh -L 8000:/path/of/socket machine``.
    base_path
        The path under which a proxy shows the page (Open OnDemand, JupyterHub), which may pass it on or take it
        off.
    allow_host
        Further names by which browsers call the server: that of the proxy, or of the machine.
    tls_cert
        File of a certificate (PEM, with those that vouch for it), to speak TLS.
    tls_key
        File of the certificate's key (PEM).
    insecure
        Listen beyond this machine without TLS: whoever can read the network sees the token and the data.
    browser
        Open a browser, where there is a display.

    Examples
    --------
    >>> ServeRecipe(port=8000, base_path="/node/c1/8000").host
    '127.0.0.1'
    """

    host: str = "127.0.0.1"
    port: int = 0
    uds: str | None = None
    base_path: str = ""
    allow_host: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False
    browser: bool = True

    def check(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"port is {self.port}; ports go to 65535, and 0 is any that is free.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("TLS needs both tls_cert and tls_key.")
        for name in self.allow_host:
            if not _NAME.fullmatch(name):
                raise InputError(f"allow_host is {name!r}; give the name alone, without port or https://.")
        if self.uds is not None and self.beyond:
            raise InputError("uds is a socket of this machine; leave host away.")
        if self.beyond and self.tls_cert is None and not self.insecure:
            raise InputError(
                f"host is {self.host}, which other machines reach: give tls_cert and tls_key, or, if the network is "
                "trusted, insecure. To look from another machine, ssh -L is safer: see docs/how-to-view.md."
            )

    @property
    def beyond(self) -> bool:
        """Whether other machines reach it."""
        if self.host in LOOPBACK_HOSTS:
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True
