"""What the section for picks asks for."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.core.errors import InputError
from volengine.web.workbench.bench import BINARY, Bench, object_of, whole


def picks_routes(bench: Bench) -> list[BaseRoute]:
    """The routes of the section for picks.

    Parameters
    ----------
    bench
        What it shows and changes.
    """
    curating = bench.curating

    def table(request: Request) -> int:
        found: int = request.path_params["table"]
        return found

    async def tables(request: Request) -> Response:
        return JSONResponse(await bench.working("listing", request, curating.tables))

    async def state(request: Request) -> Response:
        user = request.query_params.get("user", "")
        return JSONResponse(await bench.working("reading", request, curating.state, table(request), user))

    async def grid(request: Request) -> Response:
        query = request.query_params
        asked = (table(request), query, whole(query, "start", 0), whole(query, "count", 60))
        return JSONResponse(await bench.working("reading", request, curating.grid, *asked))

    async def pictures(request: Request) -> Response:
        query = request.query_params
        texts = query.get("ids", "").split(",")
        if not all(text.isascii() and text.isdigit() and len(text) < 16 for text in texts):
            raise InputError("ids are numbers of picks, with commas between them.")
        asked = ([int(text) for text in texts], query.get("axis", "z"), whole(query, "side"), whole(query, "mean", 1))
        found = await bench.working("reading", request, curating.pictures, table(request), *asked)
        return Response(found.tobytes(), media_type=BINARY)

    async def places(request: Request) -> Response:
        number = whole(request.query_params, "tomogram")
        return JSONResponse(await bench.working("reading", request, curating.places, table(request), number))

    async def histogram(request: Request) -> Response:
        asked = (table(request), request.query_params)
        return JSONResponse(await bench.working("reading", request, curating.histogram, *asked))

    async def operation(request: Request) -> Response:
        given = await object_of(request)
        done = await bench.working("drawing", request, curating.do, table(request), given, _user(given))
        return JSONResponse(done, 201)

    async def carry(request: Request) -> Response:
        given = await object_of(request)
        within = given.get("within_nm")
        if isinstance(within, bool) or not isinstance(within, int | float):
            raise InputError("'within_nm' is a number.")
        asked = (table(request), float(within), _user(given))
        return JSONResponse(await bench.working("drawing", request, curating.carry, *asked), 201)

    async def write(request: Request) -> Response:
        given = await object_of(request)
        return JSONResponse(await bench.working("drawing", request, curating.write, table(request), given), 201)

    one = "/api/picks/{table:int}"
    return [
        Route("/api/picks", tables),
        Route(one, state),
        Route(f"{one}/grid", grid),
        Route(f"{one}/pictures", pictures),
        Route(f"{one}/places", places),
        Route(f"{one}/histogram", histogram),
        Route(f"{one}/operations", operation, methods=["POST"]),
        Route(f"{one}/carry", carry, methods=["POST"]),
        Route(f"{one}/write", write, methods=["POST"]),
    ]


def _user(given: dict[str, Any]) -> str:
    user = given.get("user", "")
    if not isinstance(user, str):
        raise InputError("'user' is a text.")
    return user
