"""Serving an application: its socket, its link, and its end.

The link is printed once the socket listens, so that it works when it is seen. Ctrl-C and SIGTERM end the server within
seconds, whatever streams are open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import stat
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import uvicorn

from volengine.core.errors import InputError
from volengine.core.paths import path_text
from volengine.web.guard import Gate, Guard, base_path_of
from volengine.web.recipe import ServeRecipe

LAST_S = 1
"""Time that open connections have after the signal to end."""
BACKLOG = 128


def gate_of(recipe: ServeRecipe) -> Gate:
    """The gate of a server: a new token, and the names by which it may be called."""
    names = list(recipe.allow_host)
    if recipe.beyond:
        names += [recipe.host, socket.gethostname(), socket.getfqdn()]
    return Gate(
        base_path=base_path_of(recipe.base_path),
        hosts=tuple(dict.fromkeys(names)),
        beyond=recipe.beyond,
        secure=recipe.tls_cert is not None,
    )


def serve(app: Guard, recipe: ServeRecipe, say: Callable[[str], None] = print) -> None:
    """Serve an application until Ctrl-C or SIGTERM.

    Parameters
    ----------
    app
        What :func:`volengine.web.app.make_app` has made.
    recipe
        Where.
    say
        Is given the lines for the user, among them the link.

    Raises
    ------
    InputError
        The address or the port cannot be used, or a file of TLS cannot be read.
    """
    cert, key = (None if file is None else path_text(file) for file in (recipe.tls_cert, recipe.tls_key))
    for file in (cert, key):
        if file is not None and not Path(file).is_file():
            raise InputError(f"{file}: there is no such file, which TLS needs.")
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on what a proxy says
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=LAST_S,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:  # of which SSLError is one
        raise InputError(f"{cert}, {key}: no certificate and key in PEM ({error}).") from error
    server = uvicorn.Server(config)
    with _listening(recipe) as listener, contextlib.ExitStack() as after:
        link = _link(recipe, app.gate, listener)
        if recipe.uds is not None:
            tunnel = f"ssh -N -L 8000:{Path(path_text(recipe.uds)).absolute()} USER@MACHINE"
            say(f"Listening at {recipe.uds}. From your machine: {tunnel}")
        say(f"Open {link}\nCtrl-C ends it.")
        if recipe.browser and recipe.uds is None and has_display():
            after.enter_context(_browser(link))
        after.enter_context(_quiet_end(server))
        with contextlib.suppress(KeyboardInterrupt):  # the signal is raised again after the end
            server.run(sockets=[listener])


@contextmanager
def _quiet_end(server: uvicorn.Server) -> Iterator[None]:
    """Say nothing of requests that the end of the server cuts short: pages always have some open."""

    def going_on(record: logging.LogRecord) -> bool:
        return not server.should_exit

    log = logging.getLogger("uvicorn.error")
    log.addFilter(going_on)
    try:
        yield
    finally:
        log.removeFilter(going_on)


def has_display() -> bool:
    """Whether a browser can open a window here."""
    if sys.platform == "darwin":
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _link(recipe: ServeRecipe, gate: Gate, listener: socket.socket) -> str:
    kind = "https" if gate.secure else "http"
    if recipe.uds is not None:
        host, port = "localhost", 8000  # that of the tunnel
    else:
        host, port = recipe.host, listener.getsockname()[1]
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"{kind}://{shown}:{port}{gate.base_path}/?token={gate.token}"


@contextmanager
def _listening(recipe: ServeRecipe) -> Iterator[socket.socket]:
    """The socket, which listens."""
    if recipe.uds is not None:
        with _unix_socket(Path(path_text(recipe.uds))) as listener:
            yield listener
        return
    try:
        family, kind, number, _, address = socket.getaddrinfo(recipe.host, recipe.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise InputError(f"The host {recipe.host!r} is not known here: {error.strerror or error}.") from error
    with contextlib.closing(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            raise InputError(
                f"{recipe.host}, port {recipe.port}: {error.strerror or error}. Give another port; 0: any that is free."
            ) from error
        yield listener


@contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """A Unix socket that only its owner may use; one that nobody listens at any more is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.closing(listener):
        _remove_dead(path)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise InputError(f"{path}: no socket can be made here: {error.strerror or error}.") from error
        finally:
            os.umask(before)
        try:
            listener.listen(BACKLOG)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _remove_dead(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise InputError(f"{path}: exists, and is no socket; give another path.")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; give another path.") from error
        else:
            raise InputError(f"{path}: another server listens there; give another path.")


@contextmanager
def _browser(link: str) -> Iterator[None]:
    """Open a browser by a file that only the user can read: the command lines of programs are seen by all."""
    folder = Path(tempfile.mkdtemp(prefix="volengine-"))
    try:
        page = folder / "open.html"
        page.touch(0o600)
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(link)}">')
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
