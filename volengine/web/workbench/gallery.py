"""What the gallery lists of each tomogram: shape, voxel size, picks, annotations, columns of tables."""

from __future__ import annotations

from typing import Any

from volengine.core.errors import VolengineError
from volengine.io.names import same_tomogram
from volengine.web.workbench.annotating import Annotating
from volengine.web.workbench.columns import Columns, Extra
from volengine.web.workbench.project import Project

MOST_AT_ONCE = 100
"""Tomograms of which facts can be asked for together."""


class Gallery:
    """The facts of a project's tomograms; what was read of files is kept while they stay as they are.

    Parameters
    ----------
    project, annotating
        The project, and its annotations.
    """

    def __init__(self, project: Project, annotating: Annotating):
        self.project, self.annotating = project, annotating
        manifest = None if project.path.is_dir() else project.path.absolute()
        self.columns = Columns(project.folder, manifest, links=project.recipe.links)

    def facts(self, start: int, count: int) -> list[dict[str, Any]]:
        """The facts of some tomograms.

        Parameters
        ----------
        start, count
            Number of the first one, and how many; at most 100.

        Returns
        -------
        list
            ``number``, ``shape`` and ``voxel_size`` (z, y, x), ``picks`` and ``annotated`` by feature,
            ``features`` that have a picture, ``values`` by column, and which of them are ``stale`` and why; ``error``
            says why something is not known.
        """
        stop = min(len(self.project), start + min(count, MOST_AT_ONCE))
        extra = self.columns.begin()
        return [self._of(number, extra) for number in range(max(0, start), stop)]

    def _of(self, number: int, extra: Extra) -> dict[str, Any]:
        found: dict[str, Any] = {"number": number, "picks": {}, "annotated": {}}
        known: dict[str, Any] = {}
        try:
            volume = self.project.base(number)
            known = volume.facts
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
                counts = self.columns.picks(thing)
                name = same_tomogram(tomogram.name, counts) or (next(iter(counts)) if len(counts) == 1 else None)
                if name is not None:
                    feature, picks, _ = counts[name]
                    found["picks"][feature] = found["picks"].get(feature, 0) + picks
        values = self.columns.of(tomogram.name, tomogram.things, known, extra)
        features = sorted(self.project.features(number))
        return found | {"features": features, "values": values.values, "stale": values.stale}
