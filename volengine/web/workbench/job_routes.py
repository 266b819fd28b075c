"""What the section Run asks for: jobs of the project, and runs of its tomograms."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.web.workbench.bench import Bench, object_of, whole

MOST_JOBS = 200
"""The newest jobs, which are listed."""


def job_routes(bench: Bench) -> list[BaseRoute]:
    """The routes of jobs and runs.

    Parameters
    ----------
    bench
        What the page works with.
    """

    def listed(watched: int) -> dict[str, Any]:
        every = bench.jobs.every()
        found: dict[str, Any] = {"jobs": [_short(job.to_json()) for job in every[:MOST_JOBS]], "count": len(every)}
        if watched:
            job = bench.jobs.job(watched)
            found["watched"] = {**_short(job.to_json()), "log": job.log_tail(), "progress": bench.running.progress(job)}
        return found

    async def jobs(request: Request) -> Response:
        watched = whole(request.query_params, "watched", 0)
        return JSONResponse(await bench.working("jobs", request, listed, watched))

    async def stop(request: Request) -> Response:
        job = await bench.working("jobs", request, bench.jobs.stop, request.path_params["number"])
        return JSONResponse(_short(job.to_json()))

    async def again(request: Request) -> Response:
        job = await bench.working("jobs", request, bench.running.again, request.path_params["number"])
        return JSONResponse(_short(job.to_json()), 201)

    async def runs(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(await bench.working("jobs", request, bench.running.choices))
        job = await bench.working("jobs", request, bench.running.start, await object_of(request))
        return JSONResponse(_short(job.to_json()), 201)

    async def recipes(request: Request) -> Response:
        if request.method == "GET":
            name = request.query_params.get("name", "")
            return JSONResponse({"text": await bench.working("jobs", request, bench.running.recipe_text, name)})
        made = await bench.working("jobs", request, bench.running.keep_recipe, await object_of(request))
        return JSONResponse(made, 201)

    return [
        Route("/api/jobs", jobs),
        Route("/api/jobs/{number:int}/stop", stop, methods=["POST"]),
        Route("/api/jobs/{number:int}/again", again, methods=["POST"]),
        Route("/api/runs", runs, methods=["GET", "POST"]),
        Route("/api/runs/recipes", recipes, methods=["GET", "POST"]),
    ]


def _short(job: dict[str, Any]) -> dict[str, Any]:
    """A job without its facts, which may be the names of a thousand tomograms."""
    return {name: value for name, value in job.items() if name != "facts"}
