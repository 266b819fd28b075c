"""What the section Models of the page asks for: the list, cards and pictures; files that come in, and that go out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.web.workbench.bench import BINARY, Bench, object_of
from volengine.web.workbench.models import LARGEST_UPLOAD


def model_routes(bench: Bench) -> list[BaseRoute]:
    """The routes of the section Models.

    Parameters
    ----------
    bench
        What the page works with.
    """
    models = bench.models

    async def worked(request: Request, function: Callable[..., Any], *arguments: Any) -> Any:
        return await bench.working("models", request, function, *arguments)

    async def listed(request: Request) -> Response:
        return JSONResponse(await worked(request, models.listed))

    async def picture(request: Request) -> Response:
        data = await worked(request, models.picture, request.path_params["name"])
        return Response(data, media_type="image/webp")

    async def upload(request: Request) -> Response:
        name = request.query_params.get("name", "")
        await run_in_threadpool(models.check_new, name)
        with models.incoming(name) as file:
            await _received(request, file)
            return JSONResponse(await run_in_threadpool(models.bring_in, file), 201)  # its body has been read

    async def export(request: Request) -> Response:
        form = request.query_params.get("format", "")
        name, data = await worked(request, models.exported, request.path_params["name"], form)
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
        return Response(data, media_type=BINARY, headers=headers)

    async def share(request: Request) -> Response:
        given = await object_of(request)
        return JSONResponse(await worked(request, models.share, request.path_params["name"], given), 201)

    return [
        Route("/api/models", listed),
        Route("/api/models", upload, methods=["POST"], max_body_size=LARGEST_UPLOAD),
        Route("/api/models/{name}/picture", picture),
        Route("/api/models/{name}/export", export),
        Route("/api/models/{name}/share", share, methods=["POST"]),
    ]


async def _received(request: Request, file: Path) -> None:
    """Write the body of a request, piece by piece."""
    with file.open("wb") as out:
        async for piece in request.stream():
            await run_in_threadpool(out.write, piece)
