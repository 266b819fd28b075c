"""What the gallery lists of each tomogram: shape, voxel size, picks, annotations, columns of tables."""

from __future__ import annotations

from typing import Any

from volengine.core.errors import VolengineError
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
            ``tables`` says of which table the picks are, where a feature has several,
            ``features`` that have a picture, ``values`` by column, and which of them are ``stale`` and why; ``error``
            says why something is not known.
        """
        stop = min(len(self.project), start + min(count, MOST_AT_ONCE))
        extra = self.columns.begin()
        return [self._of(number, extra) for number in range(max(0, start), stop)]

    def _of(self, number: int, extra: Extra) -> dict[str, Any]:
        found: dict[str, Any] = {"number": number, "picks": {}, "tables": {}, "annotated": {}}
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
        for feature, tables in self.columns.counted(tomogram.name, tomogram.things).items():
            found["picks"][feature] = tables[0][0]
            if len(tables) > 1:
                told = (f"{count} in {self._short(thing.path)}" for count, thing in tables)
                found["tables"][feature] = f"Counted is the table that was written last: {', '.join(told)}"
        values = self.columns.of(tomogram.name, tomogram.things, known, extra)
        features = sorted(self.project.features(number))
        return found | {"features": features, "values": values.values, "stale": values.stale}

    def _short(self, path: str) -> str:
        return path.removeprefix(f"{self.project.folder}/")
