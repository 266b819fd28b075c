"""What the gallery lists of each tomogram: shape, voxel size, picks, annotations."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from volengine.core.errors import VolengineError
from volengine.io.names import same_tomogram
from volengine.io.picks import read_all
from volengine.tasks.common.named import feature_in
from volengine.web.view.find import Thing
from volengine.web.workbench.annotating import Annotating
from volengine.web.workbench.project import Project

MOST_AT_ONCE = 100
"""Tomograms of which facts can be asked for together."""

Counts = dict[str, tuple[str, int]]
"""By tomogram: the feature of a table and its number of picks."""


class Gallery:
    """The facts of a project's tomograms; what was read of files is kept while they stay as they are.

    Parameters
    ----------
    project, annotating
        The project, and its annotations.
    """

    def __init__(self, project: Project, annotating: Annotating):
        self.project, self.annotating = project, annotating
        self._tables: dict[str, tuple[tuple[int, int], Counts]] = {}
        self._lock = threading.Lock()

    def facts(self, start: int, count: int) -> list[dict[str, Any]]:
        """The facts of some tomograms.

        Parameters
        ----------
        start, count
            Number of the first one, and how many; at most 100.

        Returns
        -------
        list
            ``number``, ``shape`` and ``voxel_size`` (z, y, x), ``picks`` and ``annotated`` by feature; ``error`` says
            why something is not known.
        """
        stop = min(len(self.project), start + min(count, MOST_AT_ONCE))
        return [self._of(number) for number in range(max(0, start), stop)]

    def _of(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = {"number": number, "picks": {}, "annotated": {}}
        try:
            volume = self.project.base(number)
            found |= {"shape": list(volume.shape), "voxel_size": [float(v) for v in volume.voxel_size]}
        except (VolengineError, OSError) as error:
            found["error"] = str(error)
        try:
            found["annotated"] = self.annotating.counts(number)
        except (VolengineError, OSError) as error:
            found.setdefault("error", str(error))
        tomogram = self.project.tomogram(number)
        for thing in tomogram.things:
            if thing.role == "picks":
                counts = self._picks(thing)
                name = same_tomogram(tomogram.name, counts) or (next(iter(counts)) if len(counts) == 1 else None)
                if name is not None:
                    feature, picks = counts[name]
                    found["picks"][feature] = found["picks"].get(feature, 0) + picks
        return found

    def _picks(self, thing: Thing) -> Counts:
        """The numbers of picks in a table; none if it cannot be read without more knowledge."""
        path = Path(thing.path)
        try:
            facts = path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            with self._lock:
                known = self._tables.get(thing.path)
            if known is not None and known[0] == stamp:
                return known[1]
            tables = read_all(thing.path)
        except (VolengineError, OSError):
            return {}
        own = feature_in(path.stem) or path.stem
        counts = {name: (picks.feature or own, len(picks)) for name, picks in tables.items()}
        with self._lock:
            self._tables[thing.path] = stamp, counts
        return counts
