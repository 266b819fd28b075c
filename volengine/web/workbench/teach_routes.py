"""What the section Teach asks for."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.web.workbench.bench import BINARY, Bench, object_of, whole


def teach_routes(bench: Bench) -> list[BaseRoute]:
    """The routes of the section Teach.

    Parameters
    ----------
    bench
        What the pages work with.
    """
    teaching = bench.teaching

    def number(request: Request) -> int:
        found: int = request.path_params["number"]
        return found

    async def facts(request: Request) -> Response:
        return JSONResponse(await bench.working("listing", request, teaching.facts))

    async def models(request: Request) -> Response:
        return JSONResponse(await bench.working("drawing", request, teaching.models))

    async def answer(request: Request) -> Response:
        query = request.query_params
        arguments = (number(request), query, query.get("axis", "z"), whole(query, "index"))
        values, command = await bench.working("predicting", request, teaching.answer, *arguments)
        headers = {"x-command": quote(command)}
        return Response(values.astype("<u2").tobytes(), media_type=BINARY, headers=headers)

    async def trainings(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(await bench.working("drawing", request, teaching.trainings))
        job = await bench.working("teaching", request, teaching.start, await object_of(request))
        return JSONResponse(job.to_json(), 201)

    async def picture(request: Request) -> Response:
        data = await bench.working("drawing", request, teaching.picture, number(request))
        return Response(data, media_type="image/png")

    async def again(request: Request) -> Response:
        await object_of(request)
        job = await bench.working("drawing", request, teaching.again, number(request))
        return JSONResponse(job.to_json(), 201)

    async def stop(request: Request) -> Response:
        await object_of(request)
        return JSONResponse((await bench.working("drawing", request, teaching.stop, number(request))).to_json())

    one = "/api/trainings/{number:int}"
    return [
        Route("/api/teach", facts),
        Route("/api/teach/models", models),
        Route("/api/tomograms/{number:int}/answer", answer),
        Route("/api/trainings", trainings, methods=["GET", "POST"]),
        Route(f"{one}/picture", picture),
        Route(f"{one}/stop", stop, methods=["POST"]),
        Route(f"{one}/again", again, methods=["POST"]),
    ]
