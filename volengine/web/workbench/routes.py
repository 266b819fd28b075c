"""What the page for working on a project asks for.

Written are annotations (operations of the store), tags and notes, lists, recipes, jobs. Each section of the page has
routes of its own; :func:`bench_routes` has them all.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.core.errors import InputError
from volengine.web.workbench.bench import BINARY, Bench, object_of, whole
from volengine.web.workbench.job_routes import job_routes
from volengine.web.workbench.model_routes import model_routes
from volengine.web.workbench.picks_routes import picks_routes
from volengine.web.workbench.suggest_routes import suggest_routes
from volengine.web.workbench.teach_routes import teach_routes
from volengine.web.workbench.tuning import tune_routes


def bench_routes(bench: Bench) -> list[BaseRoute]:
    """The routes of the page for working on a project.

    Parameters
    ----------
    bench
        What it shows and changes.
    """
    annotating = bench.annotating

    def number(request: Request) -> int:
        found: int = request.path_params["number"]
        return found

    async def project(request: Request) -> Response:
        return JSONResponse(await bench.working("listing", request, bench.facts))

    async def facts(request: Request) -> Response:
        start, count = whole(request.query_params, "start"), whole(request.query_params, "count")
        return JSONResponse(await bench.working("listing", request, bench.gallery.facts, start, count))

    async def unread(request: Request) -> Response:
        return JSONResponse(await bench.working("listing", request, bench.unread))

    async def picture(request: Request) -> Response:
        feature = request.query_params.get("feature", "")
        name, data = await bench.working("thumbnails", request, bench.thumbnail, number(request), feature)
        headers = {"etag": f'"{name}"', "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/webp", headers=headers)

    async def note(request: Request) -> Response:
        name, given = bench.project.tomogram(number(request)).name, await object_of(request)
        return JSONResponse(await bench.working("drawing", request, bench.notes.write, name, given))

    async def lists(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(await bench.working("listing", request, bench.listed))
        return JSONResponse(await bench.working("drawing", request, bench.keep_list, await object_of(request)), 201)

    async def tomogram(request: Request) -> Response:
        return JSONResponse(await bench.working("reading", request, bench.tomogram, number(request)))

    async def slice_(request: Request) -> Response:
        return await bench.working("reading", request, bench.slice, number(request), request.query_params)

    async def version(request: Request) -> Response:
        return JSONResponse({"version": await bench.working("drawing", request, annotating.version, number(request))})

    async def state(request: Request) -> Response:
        user = request.query_params.get("user", "")
        return JSONResponse(await bench.working("drawing", request, annotating.state, number(request), user))

    async def labels(request: Request) -> Response:
        query = request.query_params
        arguments = (number(request), query.get("axis", "z"), whole(query, "index"))
        return Response(await bench.working("drawing", request, annotating.labels, *arguments), media_type=BINARY)

    async def between(request: Request) -> Response:
        query = request.query_params
        arguments = (number(request), query.get("feature", ""), query.get("axis", "z"), whole(query, "index"))
        return Response(await bench.working("drawing", request, annotating.between, *arguments), media_type=BINARY)

    async def operation(request: Request) -> Response:
        given = await object_of(request)
        user = given.get("user", "")
        if not isinstance(user, str):
            raise InputError("'user' is a text.")
        done = await bench.working("drawing", request, annotating.do, number(request), given.get("operation"), user)
        return JSONResponse({"version": done.version, "kind": done.kind, "feature": done.feature, "of": done.of}, 201)

    one = "/api/tomograms/{number:int}"
    return [
        Route("/api/project", project),
        Route("/api/facts", facts),
        Route("/api/unread", unread),
        Route("/api/lists", lists, methods=["GET", "POST"]),
        Route(one, tomogram),
        Route(f"{one}/thumbnail", picture),
        Route(f"{one}/note", note, methods=["POST"]),
        Route(f"{one}/slice", slice_),
        Route(f"{one}/version", version),
        Route(f"{one}/annotations", state),
        Route(f"{one}/labels", labels),
        Route(f"{one}/between", between),
        Route(f"{one}/operations", operation, methods=["POST"]),
        *model_routes(bench),
        *tune_routes(bench),
        *picks_routes(bench),
        *job_routes(bench),
        *teach_routes(bench),
        *suggest_routes(bench),
    ]
