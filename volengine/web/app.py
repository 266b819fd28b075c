"""The application: routes of pages behind one guard, and errors as answers that say what to do.

A page of volengine is a list of routes. :func:`make_app` puts the files of pages, Neuroglancer, error handling and the
guard around them, so that every page has the same rules: what a route answers is data unless it says otherwise,
addresses are relative, and an error of volengine is JSON with its message.

>>> from starlette.responses import JSONResponse
>>> from starlette.routing import Route
>>> gate = Gate(token="secret")
>>> app = make_app(gate, [Route("/api/hello", lambda request: JSONResponse({"hello": 1}))], page="view.html")
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.core.aside import os_message
from volengine.core.errors import ChangedError, InputError, MissingError, VolengineError
from volengine.web.assets import page_asset, viewer_asset
from volengine.web.guard import Gate, Guard

LARGEST_BODY = 2_000_000
"""Bytes of a request."""

VIEWER = "/viewer/v/volengine"
"""Where Neuroglancer is: its client looks for ``/v/<word>`` in its address."""

log = logging.getLogger(__name__)


_COMMAND = re.compile(r"\b([Rr]un|[Gg]ive) the same command( again)?")


def make_app(gate: Gate, routes: Sequence[BaseRoute], *, page: str) -> Guard:
    """Make the application of a page.

    Parameters
    ----------
    gate
        Who may use it.
    routes
        What the page asks for. Paths are those without the base path.
    page
        Name of the page's file in ``volengine/web/pages``, which is served at ``/``; all files of this folder are there
        by their names.

    Returns
    -------
    Guard
        An ASGI application.
    """

    async def first(request: Request) -> Response:
        return page_asset(page).answer(request)

    every = [
        Route("/", first),
        *routes,
        Route(f"{VIEWER}/", _viewer),
        Route(f"{VIEWER}/{{name}}", _viewer),
        Route("/{name}", _file),
    ]
    handlers: dict[type[Exception] | int, Callable[..., Response]] = {
        HTTPException: _http_error,
        VolengineError: _error,
        OSError: _system_error,
    }
    app = Starlette(routes=every, exception_handlers=handlers, max_body_size=LARGEST_BODY)
    app.router.redirect_slashes = False  # it would lead to absolute addresses
    return Guard(app, gate)


async def _file(request: Request) -> Response:
    return (await run_in_threadpool(page_asset, request.path_params["name"])).answer(request)


async def _viewer(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    return (await run_in_threadpool(viewer_asset, name)).answer(request)


def _http_error(request: Request, error: HTTPException) -> Response:
    texts = {404: "There is no such address.", 405: "This cannot be done here.", 413: "This is too large."}
    return JSONResponse({"error": texts.get(error.status_code, error.detail)}, error.status_code, error.headers)


def _error(request: Request, error: VolengineError) -> Response:
    """An error of volengine: its message; 404 for what is not there, 409 for what has changed, 400 for bad input."""
    kinds = ((MissingError, 404), (ChangedError, 409), (InputError, 400))
    status = next((code for kind, code in kinds if isinstance(error, kind)), 500)
    return JSONResponse({"error": _of_page(str(error))}, status)


def _of_page(message: str) -> str:
    """A message for somebody who has given no command.

    >>> _of_page("a.csv: No space left on device. Free space, and run the same command.")
    'a.csv: No space left on device. Free space, and do it again here.'
    """
    goes_on = "what was finished is kept, and the same command goes on from there"
    message = message.replace(goes_on, "then do it again here; what was kept before is not lost")
    return _COMMAND.sub(
        lambda found: "Do it again here" if found[1] in ("Run", "Give") else "do it again here", message
    )


def _system_error(request: Request, error: OSError) -> Response:
    log.warning("%s: %s", request.url.path, os_message(error))
    return JSONResponse({"error": _of_page(os_message(error))}, 500)
