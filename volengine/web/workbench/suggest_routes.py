"""What "Where next" and "Before and after" of the section Teach ask for."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.core.errors import InputError
from volengine.web.workbench.bench import BINARY, Bench, object_of


def suggest_routes(bench: Bench) -> list[BaseRoute]:
    """The routes of "Where next" and "Before and after".

    Parameters
    ----------
    bench
        What the pages work with.
    """
    suggesting = bench.suggesting

    async def suggested(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(await bench.working("listing", request, suggesting.facts))
        job = await bench.working("teaching", request, suggesting.start, await object_of(request))
        return JSONResponse(job.to_json(), 201)

    async def predict(request: Request) -> Response:
        job = await bench.working("teaching", request, suggesting.predict, await object_of(request))
        return JSONResponse(job.to_json(), 201)

    async def pictures(request: Request) -> Response:
        texts = request.query_params.get("ranks", "").split(",")
        if not all(text.isascii() and text.isdigit() and len(text) < 9 for text in texts):
            raise InputError("ranks are numbers of patches, with commas between them.")
        asked = (request.path_params["job"], [int(text) for text in texts])
        found = await bench.working("reading", request, suggesting.pictures, *asked)
        return Response(found.tobytes(), media_type=BINARY, headers={"x-side": str(found.shape[1])})

    async def scores(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(await bench.working("listing", request, bench.scoring.facts))
        await object_of(request)
        return JSONResponse((await bench.working("teaching", request, bench.scoring.start)).to_json(), 201)

    return [
        Route("/api/scores", scores, methods=["GET", "POST"]),
        Route("/api/suggestions", suggested, methods=["GET", "POST"]),
        Route("/api/suggestions/predict", predict, methods=["POST"]),
        Route("/api/suggestions/{job:int}/pictures", pictures),
    ]
