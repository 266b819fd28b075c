"""What the page for looking asks for: tomograms, scenes, data, pictures, saved views.

Nothing is served by a path of the file system: tomograms have numbers, layers have keys, and what is behind them was
opened by the readers of their formats. Nothing is written but saved views.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from volengine.core.errors import InputError, MissingError
from volengine.core.slices import Slice
from volengine.core.text import counted
from volengine.core.tiling import AXES
from volengine.io.cached import ChunkCache
from volengine.ops.pictures import png
from volengine.ops.slice_pictures import picture_of
from volengine.tasks.picture.recipe import PictureRecipe
from volengine.tasks.picture.view import View
from volengine.web.readers import Readers
from volengine.web.view.find import Tomogram
from volengine.web.view.marks import Marks, mesh_file
from volengine.web.view.pyramid import Pyramid, answer
from volengine.web.view.recipe import ViewRecipe
from volengine.web.view.saved import SavedViews
from volengine.web.view.scene import Layer, Scene, open_scene
from volengine.web.view.state import described

CACHE_BYTES = 128_000_000
"""Of chunks that are kept."""
SCENES = 6
"""Tomograms that are kept open."""
AT_ONCE = max(2, min(8, os.cpu_count() or 1))
"""Chunks that are read at the same time."""
PIXELS = 800
"""Longest side of a picture."""


class Views:
    """The tomograms of a server, opened when somebody looks at them.

    Parameters
    ----------
    tomograms
        What was found.
    recipe
        How they are shown.
    saved
        Where views are saved.
    """

    def __init__(self, tomograms: Sequence[Tomogram], recipe: ViewRecipe, saved: SavedViews):
        self.tomograms, self.recipe, self.saved = list(tomograms), recipe, saved
        self.cache = ChunkCache(CACHE_BYTES)
        self._scenes: OrderedDict[int, Scene] = OrderedDict()
        self._pictures: OrderedDict[Any, tuple[View, threading.Lock]] = OrderedDict()
        self._numbers: dict[str, int] = {}
        self._opening = threading.RLock()
        self.readers = Readers(AT_ONCE)

    def scene(self, number: int) -> Scene:
        """The scene of a tomogram by its number.

        Raises
        ------
        MissingError
            There is none of this number.
        VolengineError
            Nothing of it can be shown.
        """
        if not 0 <= number < len(self.tomograms):
            raise MissingError(f"Shown are {counted(len(self.tomograms), 'tomogram')}; there is no number {number}.")
        with self._opening:
            if number not in self._scenes:
                scene = open_scene(self.tomograms[number], self.recipe, self.cache)
                self._scenes[number] = scene
                self._numbers |= {layer.key: number for layer in scene.layers}
                while len(self._scenes) > SCENES:
                    self._scenes.popitem(last=False)
            self._scenes.move_to_end(number)
            return self._scenes[number]

    def layer(self, key: str) -> Layer:
        """A layer by its key, of any tomogram that was looked at.

        Raises
        ------
        MissingError
            There is none; the page is from another server, and must be loaded again.
        """
        number = self._numbers.get(key)
        layer = None if number is None else self.scene(number).layer(key)
        if layer is None:
            raise MissingError("There is no such layer; load the page again.")
        return layer

    def data(self, key: str, rest: str) -> tuple[bytes | dict[str, Any], str]:
        """What lies at a path of a layer's data, and its media type; errors as :meth:`layer`, or of the reader."""
        layer = self.layer(key)
        if isinstance(layer.served, Pyramid):
            return answer(layer.served, layer.place, rest)
        if isinstance(layer.served, Marks):
            found = layer.served.file(rest)
        else:
            found = mesh_file(layer.served, layer.place["offset"], layer.place["half"], rest)
        return found, "application/octet-stream" if isinstance(found, bytes) else "application/json"

    def picture(self, number: int, slice_: Slice, keys: Sequence[str], invert: bool) -> bytes:
        """A slice with what lies over it, as PNG.

        Parameters
        ----------
        number
            Of the tomogram.
        slice_
            The slice.
        keys
            Of the layers that are drawn.
        invert
            Whether large values are dark.
        """
        scene = self.scene(number)
        base = next((one for one in scene.layers if one.kind == "intensity"), None)
        if base is None:
            raise InputError(f"{scene.name}: without a tomogram there are no pictures.")
        over = [one for one in scene.layers if one.key in keys and one.overlay is not None]
        view, lock = self._view(base, over, invert)
        with lock:
            return png(picture_of(view.figure(view.frames([slice_]))))

    def _view(self, base: Layer, over: Sequence[Layer], invert: bool) -> tuple[View, threading.Lock]:
        key = (base.key, tuple(one.key for one in over), invert)
        with self._opening:
            if key not in self._pictures:
                recipe = PictureRecipe(
                    radius_nm=self.recipe.radius_nm,
                    invert=invert,
                    contrast=cast(tuple[float, float], tuple(sorted(base.window))),
                    channel=self.recipe.channel,
                    voxel_size=self.recipe.voxel_size,
                    pixels=PIXELS,
                )
                view = View(base.path, recipe, [])
                view.overlays = [one.overlay for one in over if one.overlay is not None]
                self._pictures[key] = view, threading.Lock()
                while len(self._pictures) > SCENES:
                    self._pictures.popitem(last=False)
            return self._pictures[key]


def view_routes(views: Views) -> list[BaseRoute]:
    """The routes of the page for looking.

    Parameters
    ----------
    views
        What it shows.
    """

    async def tomograms(request: Request) -> Response:
        return JSONResponse({"tomograms": [one.name for one in views.tomograms], "invert": views.recipe.invert})

    async def scene(request: Request) -> Response:
        found = await views.readers.read(request, views.scene, request.path_params["number"])
        return JSONResponse(described(found))

    async def data(request: Request) -> Response:
        key, rest = request.path_params["key"], request.path_params["rest"]
        found, media_type = await views.readers.read(request, views.data, key, rest)
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        return Response(body, media_type=media_type)

    async def picture(request: Request) -> Response:
        query = request.query_params
        axis = query.get("axis", "z")
        if axis not in AXES:
            raise InputError(f"axis is {axis[:20]!r}; it is z, y or x.")
        slice_ = Slice.parse(f"{axis}={_whole(query.get('index', ''))}")
        chosen = (request.path_params["number"], slice_, query.getlist("layer"), query.get("invert") == "1")
        return Response(await views.readers.read(request, views.picture, *chosen), media_type="image/png")

    async def listed(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"views": await run_in_threadpool(views.saved.listed)})
        try:
            given = json.loads(await request.body())
            tomogram, title, state = given["tomogram"], given.get("title", ""), given["state"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError("A view to save is JSON with tomogram, title and state.") from None
        name = await run_in_threadpool(views.saved.save, tomogram, title, state)
        return JSONResponse({"name": name}, 201)

    async def saved(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(views.saved.read, request.path_params["name"]))

    return [
        Route("/api/tomograms", tomograms),
        Route("/api/tomograms/{number:int}", scene),
        Route("/api/tomograms/{number:int}/picture", picture),
        Route("/api/views", listed, methods=["GET", "POST"]),
        Route("/api/views/{name}", saved),
        Route("/data/{key}/{rest:path}", data),
    ]


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"index is {text[:20]!r}; it is the number of a slice.")
    return int(text)
