"""Tuning on the page: what is asked for a region of a tomogram, and its routes.

A page asks for one answer at a time and forgets those that it no longer wants; one thread computes for all pages. What
was read and computed for the last region is kept (:class:`volengine.tasks.tune.answers.Tuning`).
"""

from __future__ import annotations

import math
import shlex
import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.core.boxes import Box
from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.core.roi import roi_box, roi_text
from volengine.core.units import NM_TO_ANGSTROM
from volengine.io.names import same_tomogram
from volengine.io.open import OpenVolume
from volengine.io.picks import read_all
from volengine.ops.score import pair_picks
from volengine.tasks.common.named import feature_in, of_tomogram
from volengine.tasks.tune.answers import Found, Tuning, radii_nm
from volengine.tasks.tune.recipes import (
    Loaded,
    commands,
    names_in,
    read_recipe,
    run_recipe,
    writable_settings,
    write_recipe,
)
from volengine.tasks.tune.settings import FieldError, Settings, pick_form, rule_form
from volengine.web.workbench.annotating import framed
from volengine.web.workbench.bench import BINARY, Bench, object_of

FIRST_PART = (64, 512, 512)
"""The region that is proposed, in the middle of the tomogram."""

MOST_PICKS = 20_000
"""Picks of a feature that are sent to the page."""

BINS = 32


class TuneDesk:
    """Answers for the page's section.

    Parameters
    ----------
    bench
        The project.
    """

    def __init__(self, bench: Bench):
        self.bench = bench
        self.recipes = bench.project.folder / "recipes"
        self._lock = threading.Lock()
        self._tuned: object = None
        self._tuning: Tuning | None = None

    def facts(self, number: int) -> dict[str, Any]:
        """What the section is told of a tomogram: features, forms, a region, tables of positions, recipes."""
        volume, predictions = self.bench.project.opened(number).volume, self._predictions(number)
        start = [max(0, (n - k) // 2) for n, k in zip(volume.shape, FIRST_PART, strict=True)]
        stop = [a + min(n, k) for a, n, k in zip(start, volume.shape, FIRST_PART, strict=True)]
        colours = {one.feature: one.colour for one in self.bench.project.opened(number).predictions}
        return {
            "features": [{"name": name, "colour": colours[name]} for name in predictions],
            "region": [start, stop],
            "pick": pick_form(),
            "rule": rule_form(),
            "truth": [{"key": key, "name": name} for key, (name, _) in self._tables(number).items()],
            "recipes": names_in(self.recipes),
        }

    def answer(self, number: int, given: Mapping[str, Any]) -> bytes:
        """What settings find in a region: a JSON object, and a plane of each feature in a slice, framed."""
        settings, part, roi = self._asked(number, given)
        z = given.get("z")
        with self._lock:
            found = self._tuning_of(number).find(settings, part)
            answers = [self._said(one, number, given) for one in found]
            inside = type(z) is int and part.start[0] <= z < part.stop[0]
            planes = [one.plane(z) for one in found] if inside and isinstance(z, int) else []
        predictions = self._predictions(number)
        written, why = writable_settings(settings, predictions)
        head = {
            "features": answers,
            "region": [list(part.start), list(part.stop)],
            "plane": z if inside else None,
            "shape": list(part.shape[1:]),
            "commands": commands(written, predictions, roi, self.bench.project.folder),
            "why": why,
        }
        return framed(head, planes)

    def count(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """The numbers of picks, and scores, of each feature alone: for curves, and for what there was before rules."""
        settings, part, _ = self._asked(number, given)
        with self._lock:
            found = self._tuning_of(number).find(settings, part)
        return {one.feature: {"picks": len(one.picks["label"]), **self._score(one, number, given)} for one in found}

    def save(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write the settings as a recipe of ``run``."""
        settings, _, roi = self._asked(number, given)
        base = read_recipe(self.recipes, given["base"]) if given.get("base") else None
        predictions = self._predictions(number)
        settings, why = writable_settings(settings, predictions)
        recipe = run_recipe(settings, predictions, base, roi if given.get("part") is True else "")
        file = write_recipe(self.recipes, given.get("name"), recipe, replace=given.get("replace") is True)
        url, asked = self.bench.project.opened(number).volume.url, f"recipes/{file.name}"
        tomogram = url if "://" in url else str(Path(url).absolute())
        vary = f"pick.{settings.pick[0].feature}.threshold=0.3:0.9:0.1"
        return {
            "file": str(file),
            "recipes": names_in(self.recipes),
            "why": why,
            "commands": [
                shlex.join(["cd", str(self.bench.project.folder)]),
                shlex.join(["volengine", "run", asked, tomogram, "--out", "tuned"]),
                shlex.join(["volengine", "sweep", asked, "predictions", "--vary", vary, "--out", "tried"]),
            ],
        }

    def load(self, name: str) -> dict[str, Any]:
        """The rules and pick steps of a recipe."""
        loaded = Loaded.of(read_recipe(self.recipes, name))
        return {"rules": loaded.rules, "pick": loaded.pick, "roi": loaded.roi}

    # -- what is asked for ---------------------------------------------------------------------------------------

    def _asked(self, number: int, given: Mapping[str, Any]) -> tuple[Settings, Box, str]:
        settings, roi = given.get("settings"), given.get("roi")
        if not isinstance(settings, Mapping) or not isinstance(roi, str) or not roi:
            raise InputError("What is tuned has 'settings' and a 'roi'.")
        volume = self.bench.project.opened(number).volume
        part = roi_box(roi, volume.shape, volume.voxel_size, volume.where, "region")
        return Settings.read(settings), part, roi_text(part)

    def _predictions(self, number: int) -> dict[str, OpenVolume]:
        """The predictions of a tomogram by feature, without those that rules have changed."""
        found: dict[str, OpenVolume] = {}
        for one in self.bench.project.opened(number).predictions:
            if "(gated)" not in one.name:
                found.setdefault(one.feature, of_tomogram(one.volume, one.feature))
        return found

    def _tuning_of(self, number: int) -> Tuning:
        predictions = self._predictions(number)
        tuned = number, {name: (volume.where, volume.identity) for name, volume in predictions.items()}
        if self._tuning is None or self._tuned != tuned:  # a run may have written them anew
            self._tuning, self._tuned = Tuning(predictions), tuned
        return self._tuning

    # -- what is said --------------------------------------------------------------------------------------------

    def _said(self, found: Found, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        picks = found.picks
        volume = self._tuning_of(number).grid
        voxel_nm3 = math.prod(v / NM_TO_ANGSTROM for v in volume.voxel_size)
        shown = min(len(picks["label"]), MOST_PICKS)
        return {
            "feature": found.feature,
            "picks": len(picks["label"]),
            "regions": len(found.regions["voxels"]),
            "positions": np.round(picks["position_vox"][:shown], 2).tolist(),
            "radii_vox": np.round(radii_nm(found, volume)[:shown] * NM_TO_ANGSTROM / volume.voxel_size[2], 2).tolist(),
            "sizes": _histogram(found.regions["voxels"] * voxel_nm3, picks["size_vox"] * voxel_nm3),
            **self._score(found, number, given),
        }

    def _score(self, found: Found, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Precision, recall and F1 in the region, if a table of known positions is chosen for the feature."""
        truth = given.get("truth")
        if not isinstance(truth, Mapping) or truth.get("feature") != found.feature or not truth.get("key"):
            return {}
        radius = truth.get("radius_nm")
        if not isinstance(radius, int | float) or not 0 < radius < math.inf:
            raise InputError(f"The largest distance of a pair is {radius!r:.20}; it is a length in nm above 0.")
        known = self._known(number, str(truth["key"]))
        part, size = found.values.part, min(known.voxel_size)
        at = np.rint(known.position_vox)
        inside = ((at >= part.start) & (at < part.stop)).all(axis=1)
        scale = np.array(known.voxel_size) / size
        pairs = pair_picks(
            found.picks["position_vox"] * scale, known.position_vox[inside] * scale, radius * NM_TO_ANGSTROM / size
        )
        numbers = {"precision": pairs.precision, "recall": pairs.recall, "f1": pairs.f1}
        defined = {name: None if math.isnan(value) else value for name, value in numbers.items()}
        return {"score": {**defined, "truth": int(inside.sum()), "paired": len(pairs.pairs)}}

    def _known(self, number: int, key: str) -> Picks:
        volume = self._tuning_of(number).grid
        try:
            _, path = self._tables(number)[key]
        except KeyError:
            raise MissingError("There is no such table of positions; load the page again.") from None
        tables = read_all(path, voxel_size=volume.voxel_size, origin=volume.origin, shape=volume.shape)
        name = same_tomogram(self.bench.project.tomogram(number).name, tables)
        if name is None and len(tables) != 1:
            raise InputError(f"{path} has no positions of this tomogram.")
        known = tables[name] if name is not None else next(iter(tables.values()))
        if not np.allclose(known.voxel_size, volume.voxel_size, rtol=1e-3):
            raise InputError(f"{path} counts voxels of {known.voxel_size} Å; the predictions have {volume.voxel_size}.")
        return known

    def _tables(self, number: int) -> dict[str, tuple[str, str]]:
        """The tables of positions of a tomogram: by key a name, and the path."""
        folder = self.bench.project.folder
        found = {}
        for thing in self.bench.project.tomogram(number).things:
            if thing.role == "picks":
                key = sha256(thing.path.encode("utf-8", "surrogatepass")).hexdigest()[:16]
                name = thing.path.removeprefix(f"{folder}/")
                found[key] = (name if len(name) < 60 else feature_in(name) or name[-60:], thing.path)
        return found


def _histogram(every: Any, kept: Any) -> dict[str, Any]:
    """Volumes (nm³) of all regions and of the picks, in bins of equal width of the logarithm."""
    if not len(every):
        return {"edges": [], "every": [], "kept": []}
    low, high = math.log10(float(every.min())), math.log10(float(every.max()))
    edges = np.logspace(low - 0.02, max(high, low + 0.1) + 0.02, BINS + 1)
    counts = [np.histogram(values, edges)[0].tolist() for values in (every, kept)]
    return {"edges": [float(f"{edge:.4g}") for edge in edges], "every": counts[0], "kept": counts[1]}


def tune_routes(bench: Bench) -> list[BaseRoute]:
    """The routes of the section.

    Parameters
    ----------
    bench
        What it shows.
    """
    desk = TuneDesk(bench)

    async def told(request: Request) -> Response:
        found = await bench.working("tuning", request, desk.facts, request.path_params["number"])
        return JSONResponse(found)

    async def doing(request: Request, what: Any) -> Response:
        """An answer; a refused field is named."""
        try:
            done = await bench.working("tuning", request, what, request.path_params["number"], await object_of(request))
        except FieldError as error:
            refused = {"part": error.part, "number": error.number, "field": error.field}
            return JSONResponse({"error": str(error), "refused": refused}, 400)
        return Response(done, media_type=BINARY) if isinstance(done, bytes) else JSONResponse(done)

    async def answer(request: Request) -> Response:
        return await doing(request, desk.answer)

    async def count(request: Request) -> Response:
        return await doing(request, desk.count)

    async def save(request: Request) -> Response:
        return await doing(request, desk.save)

    async def load(request: Request) -> Response:
        try:
            found = await bench.working("tuning", request, desk.load, request.path_params["name"])
        except FieldError as error:
            raise InputError(str(error)) from None
        return JSONResponse(found)

    one = "/api/tomograms/{number:int}/tune"
    return [
        Route(one, told),
        Route(one, answer, methods=["POST"]),
        Route(f"{one}/count", count, methods=["POST"]),
        Route(f"{one}/recipe", save, methods=["POST"]),
        Route("/api/tune/recipes/{name}", load),
    ]
