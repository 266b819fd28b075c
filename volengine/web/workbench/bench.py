"""What the pages of a project work with, and how their requests are read.

Tomograms have numbers and predictions have keys; no path of a request leads into the file system. Names are checked.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from volengine.core.errors import InputError
from volengine.core.feature_colours import colour_of_feature
from volengine.core.json_text import parse_object
from volengine.web.readers import Readers
from volengine.web.workbench.annotating import Annotating
from volengine.web.workbench.curating import Curating
from volengine.web.workbench.gallery import Gallery
from volengine.web.workbench.jobs import Jobs
from volengine.web.workbench.models import Models
from volengine.web.workbench.notes import Notes, read_lists, write_list
from volengine.web.workbench.project import GATED, Project
from volengine.web.workbench.running import Running
from volengine.web.workbench.scoring import Scoring
from volengine.web.workbench.slices import Slices
from volengine.web.workbench.suggesting import Suggesting
from volengine.web.workbench.teaching import Teaching
from volengine.web.workbench.thumbnails import thumbnail, thumbnail_name

AT_ONCE = {
    "reading": max(2, min(8, os.cpu_count() or 1)),
    "listing": 1,
    "thumbnails": 2,
    "drawing": 8,
    "tuning": 1,
    "models": 1,
    "jobs": 2,
    "predicting": 1,
    "teaching": 1,
}
"""Calls of a kind that run at the same time: neither thumbnails nor facts of a thousand tomograms hold up slices."""
BINARY = "application/octet-stream"

T = TypeVar("T")


class Bench:
    """A project behind a page.

    Parameters
    ----------
    project
        The project.
    """

    def __init__(self, project: Project):
        self.project = project
        self.annotating = Annotating(project)
        self.gallery = Gallery(project, self.annotating)
        self.slices = Slices()
        self.curating = Curating(project, self.slices)
        self.notes = Notes(project.folder / "annotations" / "notes.json")
        self.lists = project.folder / "lists"
        self.models = Models(project.folder, writable=project.writable, links=project.recipe.links)
        self.jobs = Jobs(project.folder / "jobs")
        self.running = Running(project, self.jobs)
        self.teaching = Teaching(project, self.annotating, self.jobs)
        self.suggesting = Suggesting(project, self.annotating, self.jobs, self.teaching, self.slices)
        self.scoring = Scoring(project, self.jobs, self.teaching)
        self._readers: dict[str, Readers] = {}

    async def working(self, kind: str, request: Request, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread; only so many of a kind at a time, for the server's memory.

        Raises
        ------
        InputError
            A folder that the page writes into leads out of the project by now.
        """
        if kind not in self._readers:
            self._readers[kind] = Readers(AT_ONCE[kind])

        def within() -> T:
            self.project.check_links()
            return function(*arguments)

        return await self._readers[kind].read(request, within)

    # -- gallery -----------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What the page is told first, and whenever the gallery is opened."""
        self.project.refresh()
        return {
            "name": self.project.name,
            "user": self.annotating.user,
            "writable": self.project.writable,
            "tomograms": [one.name for one in self.project.tomograms],
            "notes": self.notes.read(),
        }

    def thumbnail(self, number: int, feature: str = "") -> tuple[str, bytes]:
        """The thumbnail of a tomogram, with a feature over it if one is named, and a name that changes with it."""
        volume = self.project.base(number)
        folder = self.project.folder / ".workbench" / "thumbnails" if self.project.writable else None
        over = self.project.feature(number, feature) if feature else None
        colour = colour_of_feature(feature.removesuffix(GATED))
        return thumbnail_name(volume, over, colour), thumbnail(volume, folder, over, colour)

    def unread(self) -> list[str]:
        """Which lists and tables of the project cannot be read, and why; of tables what was asked for before."""
        wrong: list[str] = []
        read_lists(self.lists, wrong)
        return wrong + self.gallery.columns.unread()

    def listed(self) -> dict[str, Any]:
        """The lists of the project: by name the numbers of the tomograms in them."""
        numbers = {self._path(number): number for number in range(len(self.project))}
        found = {}
        for name, lines in read_lists(self.lists).items():
            found[name] = sorted({numbers[line] for line in lines if line in numbers})
        return found

    def keep_list(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write a selection as a list."""
        numbers = given.get("tomograms")
        if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
            raise InputError("A list has a name and the numbers of its tomograms.")
        paths = [self._path(number) for number in sorted(set(numbers))]
        file = write_list(self.lists, given.get("name"), paths, replace=given.get("replace") is True)
        return {"file": str(file), "tomograms": len(paths), "command": f"volengine segment {shlex.quote(str(file))} …"}

    def _path(self, number: int) -> str:
        """What a verb takes as this tomogram, without opening it."""
        likely = [one for one in self.project.tomogram(number).things if one.role == "volume"]
        plain = next((one for one in likely if one.folder not in ("predictions", "gated")), likely[0])
        return plain.path if "://" in plain.path else os.path.abspath(plain.path)  # noqa: PTH100  # links stay

    # -- one tomogram ------------------------------------------------------------------------------------------

    def tomogram(self, number: int) -> dict[str, Any]:
        """What the page is told of a tomogram that it shows."""
        self.project.refresh()
        opened = self.project.opened(number)
        volume = opened.volume
        predictions = [{"key": p.key, "name": p.name, "colour": p.colour} for p in opened.predictions]
        return {
            "number": number,
            "name": self.project.tomogram(number).name,
            "shape": list(volume.shape),
            "voxel_size": [float(v) for v in volume.voxel_size],
            "contrast": list(self.slices.contrast(volume)),
            "predictions": predictions,
            "notes": list(opened.notes),
            "folder": str(self.project.annotations(number)),
        }

    def slice(self, number: int, query: Mapping[str, str]) -> Response:
        """A slice of a tomogram, or of a prediction."""
        axis, index = query.get("axis", "z"), whole(query, "index")
        if "prediction" in query:
            volume = self.project.prediction(number, query["prediction"]).volume
            values, span = self.slices.probability(volume, axis, index), (0.0, 1.0)
        else:
            values, span = self.slices.grey(
                self.project.opened(number).volume,
                axis,
                index,
                mean=whole(query, "mean", 1),
                name=query.get("filter", "none"),
                sigma=real(query, "sigma", 1.0),
            )
        headers = {
            "x-low": repr(span[0]),
            "x-high": repr(span[1]),
            "x-rows": str(values.shape[0]),
            "x-columns": str(values.shape[1]),
        }
        return Response(values.astype("<u2").tobytes(), media_type=BINARY, headers=headers)


async def object_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises
    ------
    InputError
        It carries none.
    """
    return parse_object(await request.body(), "the request")


def whole(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A whole number from 0 in a query.

    Raises
    ------
    InputError
        It is missing, or no such number.
    """
    text = query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"{name} is {text!r:.20}; it is a whole number from 0.")
    return int(text)


def real(query: Mapping[str, str], name: str, default: float) -> float:
    """A number in a query; errors as of :func:`whole`."""
    text = query.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name} is {text!r:.20}; it is a number.") from None
