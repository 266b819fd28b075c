"""Who may use a server, and what a browser may do with its answers: one guard before every route.

A server on the loopback address can be reached by every program and every user of the machine, and through a browser by
every page that its user visits. So each request passes these checks, in this order:

1. *Host.* The name by which the browser calls the server is one of its own, or a page of elsewhere could give its own
   name the server's address ("DNS rebinding").
2. *Path.* No ``..``, no backslash, no control character; a base path is taken off, whether a proxy has left it or not.
3. *Token.* The first link carries it. It is exchanged for a cookie that scripts cannot read and that no other site's
   request carries, and disappears from the address. Cookies do not know ports, so the name of this one holds a number.
4. *Origin.* What changes something must come from a page of this server, and what is not a page may not be asked for by
   pages of others. The browser says so (``Sec-Fetch-Site``) whatever a proxy does to names; older ones, and all over
   plain HTTP beyond loopback, are judged by ``Origin``.

Answers say what a page may load (CSP: nothing of elsewhere), that types are as stated, and that nothing is kept.

>>> Gate(token="secret", number="1").knows("localhost:8000"), Gate(token="secret", number="1").knows("evil.example")
(True, False)
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from volengine.core.errors import InputError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAFE = ("GET", "HEAD")
"""Methods that change nothing."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content security policy of our pages: files of this server alone, and no text is ever made into code."""

DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""Policy of everything that is no page."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "SAMEORIGIN",
    "cache-control": "no-store",
    "content-security-policy": DATA_POLICY,
}
"""Of each answer, unless its route says otherwise."""

_BASE_PATH = re.compile(r"(/[A-Za-z0-9._~@%+=,:-]+)+")
_UNCLEAN = re.compile(r"[\x00-\x1f\x7f\\]|(^|/)\.\.?(/|$)")


def base_path_of(text: str) -> str:
    """The prefix under which a proxy serves, with a slash before and none behind it; empty for none.

    >>> base_path_of("node/c1/8000/"), base_path_of("/")
    ('/node/c1/8000', '')

    Raises
    ------
    InputError
        It is a whole URL, or holds what no path of a proxy does.
    """
    path = "/" + text.strip("/") if text.strip("/") else ""
    if path and (not _BASE_PATH.fullmatch(path) or _UNCLEAN.search(path)):
        raise InputError(f"base_path is {text!r}; it is the path before the server's own, such as /node/c1/8000.")
    return path


@dataclass(frozen=True)
class Gate:
    """Who may use a server.

    Parameters
    ----------
    token
        The secret of the first link; default: a new one.
    number
        What tells the cookie of this server from those of others on the machine; default: a random one.
    base_path
        As of :func:`base_path_of`.
    hosts
        Names of the server beside those of the loopback address.
    beyond
        Whether it is reached from other machines, so that numeric addresses are its names, too.
    secure
        Whether it speaks TLS.
    """

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    number: str = field(default_factory=lambda: secrets.token_hex(4))
    base_path: str = ""
    hosts: tuple[str, ...] = ()
    beyond: bool = False
    secure: bool = False

    @property
    def cookie_name(self) -> str:
        """Name of the cookie."""
        return f"volengine-{self.number}"

    @property
    def cookie_value(self) -> str:
        """Value of the cookie; the token cannot be found from it."""
        return hashlib.sha256(f"cookie of {self.token}".encode()).hexdigest()

    def cookie(self) -> str:
        """The header that sets the cookie."""
        secure = "; Secure" if self.secure else ""
        path = f"{self.base_path}/"
        return f"{self.cookie_name}={self.cookie_value}; Path={path}; HttpOnly; SameSite=Strict{secure}"

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this server; the port does not matter, as tunnels change it."""
        name = _host_name(host)
        if name in LOOPBACK or name in (one.lower() for one in self.hosts):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.beyond or address.is_loopback  # nobody can give a number another address

    def admits(self, headers: Headers) -> bool:
        """Whether a request carries the cookie, or the token in its ``Authorization`` header."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), self.token):
            return True
        return any(_same(value, self.cookie_value) for value in _cookies(headers, self.cookie_name))


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())


def _cookies(headers: Headers, name: str) -> Iterable[str]:
    for line in headers.getlist("cookie"):
        for part in line.split(";"):  # one that cannot be read does not hide the others
            try:
                found = SimpleCookie(part.strip())
            except CookieError:
                continue
            if name in found:
                yield found[name].value


def _host_name(host: str) -> str:
    """The name in a ``Host`` header, without port and brackets; empty if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class Guard:
    """The checks of this module before an application.

    Parameters
    ----------
    app
        What answers requests that pass.
    gate
        Who may use it.
    """

    def __init__(self, app: ASGIApp, gate: Gate):
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        path = scope["path"]
        base = self.gate.base_path
        if base and (path == base or path.startswith(f"{base}/")):
            path = path[len(base) :]
        answer = self._refusal(scope, path)
        if answer is None:
            scope = {**scope, "path": path or "/", "raw_path": quote(path or "/").encode(), "root_path": ""}
        await (answer or self.app)(scope, receive, guarded)

    def _refusal(self, scope: Scope, path: str) -> Response | None:
        """What a request is answered without the application; ``None`` if it passes."""
        headers, gate = Headers(scope=scope), self.gate
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not gate.knows(host):
            name = _host_name(host)[:200]
            return _refused(f"This server is not called {name!r}. If a proxy calls it so: --allow-host {name}", 421)
        if _UNCLEAN.search(path):  # it has been decoded
            return _refused("There is no such address.", 400)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in query if name == "token"]
        if tokens:
            return self._exchanged(scope, path, tokens, [pair for pair in query if pair[0] != "token"])
        if not gate.admits(headers):
            return _stranger(headers, scope["method"])
        if not path:  # relative addresses need the slash; the browser sees the base path as it is
            return Response(status_code=307, headers={"location": f"{gate.base_path.rsplit('/', 1)[-1]}/"})
        if not _own(headers, scope["method"], host):
            return _refused("This is for pages of this server alone.", 403)
        return None

    def _exchanged(self, scope: Scope, path: str, tokens: list[str], rest: list[tuple[str, str]]) -> Response:
        """The token for the cookie, and on to the same address without it."""
        if scope["method"] not in SAFE or not all(_same(token, self.gate.token) for token in tokens):
            return _refused("The token of this link is not that of the server, which has a new one each time.", 403)
        here = path.rsplit("/", 1)[-1] if path else f"{self.gate.base_path.rsplit('/', 1)[-1]}/"
        where = quote(here) or "./"
        query = f"?{urlencode(rest)}" if rest else ""
        return Response(status_code=303, headers={"location": where + query, "set-cookie": self.gate.cookie()})


def _refused(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status)


def _stranger(headers: Headers, method: str) -> Response:
    """The answer to who has no cookie.

    A browser that was led here by a page of elsewhere keeps the cookie back, even behind the redirect of the link; a
    page of ours that loads itself again is given it.
    """
    came = headers.get("sec-fetch-site", ""), headers.get("sec-fetch-mode", "")
    if method in SAFE and came in (("cross-site", "navigate"), ("same-site", "navigate")):
        page = '<!doctype html><meta http-equiv="refresh" content="0"><title>volengine</title>'
        return HTMLResponse(page, 403, {"content-security-policy": PAGE_POLICY})
    return _refused("Open the link that volengine has printed; it holds the token.", 403)


def _own(headers: Headers, method: str, host: str) -> bool:
    """Whether a request comes from a page of this server, or, where it changes nothing, from the address bar."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site == "same-origin":
            return True
        if method not in SAFE:
            return False
        return site == "none" or (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == (
            "navigate",
            "document",
        )
    origin = headers.get("origin")
    if origin is None:  # no browser, or one that says nothing of plain reading
        return method in SAFE or headers.get("authorization") is not None
    return urlsplit(origin).netloc.lower() == host.lower()
