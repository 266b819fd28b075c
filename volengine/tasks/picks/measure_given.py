"""What is around the picks of a file, opened from metadata, and the part of it that belongs to one tomogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.io.names import same_tomogram
from volengine.io.surfaces import SurfaceSet
from volengine.tasks.common.lying import Asked, Grid, Lattice, check_extent, lies_on, unless_said
from volengine.tasks.common.unread import Unread
from volengine.tasks.picks.around import index_in
from volengine.tasks.picks.masks import tomogram_of, volume_on
from volengine.tasks.picks.recipe import PicksMeasureRecipe
from volengine.tasks.picks.surroundings import (
    Around,
    groups_of,
    lamella_around,
    of_another,
    of_tomogram,
    placed,
    surfaces_around,
    volumes_around,
)

SAME_GRID = Grid((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


class Surroundings:
    """All that is around the picks of some tables, opened and sorted by name; only metadata has been read.

    Parameters
    ----------
    tables
        The picks of each tomogram.
    recipe
        What is measured.
    alone
        Whether there are no picks of other tomograms, as far as the tables say.

    Raises
    ------
    MissingError, InputError
        Something does not exist, has no name, or two things have the same.
    VolengineError
        Nothing of what an option names can be opened. One thing of several fails its own tomogram alone.
    """

    def __init__(self, tables: Sequence[Picks], recipe: PicksMeasureRecipe, *, alone: bool = True):
        self.recipe, self.alone = recipe, alone and len({one.tomogram for one in tables}) == 1
        sizes = {one.voxel_size for one in tables}
        size = sizes.pop() if len(sizes) == 1 else None
        around = (
            surfaces_around(recipe.surface, "--surface"),
            volumes_around(recipe.labels, "--labels", size, classes=True, results=recipe.results),
            volumes_around(recipe.probability, "--probability", size, results=recipe.results),
            volumes_around(recipe.value, "--value", size, results=recipe.results),
        )
        self.surfaces, self.labels, self.predictions, self.values = map(groups_of, around)
        self.lamella = lamella_around(recipe.lamella, size)
        self.unnamed = [one for group in around for one in group if not one.name]
        used = [name for group in (self.surfaces, self.labels, self.predictions) for name in group]
        used += [name for name in self.values if name in self.predictions]
        twice = next((name for name in used if used.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"Two things would be {twice!r}, with the same columns; give them two names: NAME=PATH.")


@dataclass(frozen=True)
class Thing:
    """One thing that surrounds the picks of a tomogram.

    Parameters
    ----------
    kind
        ``surfaces``, ``labels``, ``probability``, ``value`` or ``lamella``.
    name
        Before the dot in the names of its columns.
    where
        Where it is, for messages.
    source
        The volume, or the set of surfaces.
    grid
        How it lies on the tomogram.
    labels
        The labels that count.
    """

    kind: str
    name: str
    where: str
    source: Volume | SurfaceSet
    grid: Grid = SAME_GRID
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class TableGiven:
    """The picks of one tomogram and what may be around them.

    Parameters
    ----------
    name
        Name of the plan.
    picks
        The picks.
    around
        What is around the picks of the whole file.
    how
        How inputs are recognised (``quick`` or ``content``).
    """

    name: str
    picks: Picks
    around: Surroundings
    how: str = "quick"

    def things(self) -> tuple[list[Thing], list[str]]:
        """What surrounds the picks, in the order of the columns, and notes for the user.

        Raises
        ------
        InputError
            Something is not of this tomogram, or has another extent or origin.
        """
        notes: list[str] = []
        given = self.around
        for lost in given.unnamed:
            if isinstance(lost.source, Unread) and self._is_mine(lost.tomogram):
                raise lost.source.error
        made = [self._surfaces("surfaces", self._mine(group), notes) for group in given.surfaces.values()]
        for kind, groups in (("labels", given.labels), ("probability", given.predictions), ("value", given.values)):
            made += [self._volume(kind, self._mine(group), notes) for group in groups.values()]
        if given.lamella:
            one = self._mine(given.lamella)
            if isinstance(one.source, SurfaceSet):
                made.append(self._surfaces("lamella", one, notes))
            else:
                assert isinstance(one.source, Volume)
                lies = volume_on(self.picks, one.source, one.path, self._asked)
                notes += filter(None, [lies.way])
                made.append(Thing("lamella", one.name, one.path, one.source, lies.grid))
        return made, notes

    def _is_mine(self, tomogram: str) -> bool:
        mine = self.picks.tomogram
        return same_tomogram(mine, [tomogram]) is not None or (self.around.alone and not of_another(mine, tomogram))

    def _mine(self, group: Sequence[Around]) -> Around:
        recipe = self.around.recipe
        asked = recipe.tomogram is not None or recipe.volume is not None
        return of_tomogram(self.picks, group, alone=self.around.alone, asked=asked)

    @property
    def _asked(self) -> Asked:
        return Asked(self.around.recipe.mask_grid, self.around.recipe.any_origin)

    def _volume(self, kind: str, around: Around, notes: list[str]) -> Thing:
        """How a volume lies on the tomogram of the picks; notes say if this is not known."""
        assert isinstance(around.source, Volume)
        picks = self.picks
        lies = volume_on(picks, around.source, around.path, self._asked)
        grid = lies.grid
        notes += filter(None, [lies.way])
        index = index_in(picks.place, grid)
        beyond = int((~((index >= 0) & (index < around.source.shape)).all(axis=1)).sum())
        if beyond:
            notes.append(
                f"{beyond} of {len(picks)} picks of {picks.tomogram} lie beyond the faces of {around.path}; are its "
                "voxel size and theirs right?"
            )
        return Thing(kind, around.name, around.path, around.source, grid, around.labels)

    def _surfaces(self, kind: str, around: Around, notes: list[str]) -> Thing:
        surfaces, picks, grid = placed(around, self.picks), self.picks, SAME_GRID
        facts = surfaces.facts
        if facts.voxel_size is not None:
            other = Lattice(around.path, facts.origin, facts.voxel_size, facts.shape)
            mine = tomogram_of(picks)
            check_extent(mine, other)
            lies = lies_on(mine, other, self._asked, unless_said(mine, other))
            grid = lies.grid
            notes += lies.notes
        elif any(picks.origin):
            notes.append(
                f"{around.path} states no origin: its vertices were taken for positions in {picks.tomogram}, whose "
                f"origin is {', '.join(f'{v:g}' for v in picks.origin)} angstrom (z, y, x)."
            )
        return Thing(kind, around.name, around.path, surfaces, grid)


def label_of(file: str, picks: Picks) -> str:
    """How messages name the picks of one tomogram of a file."""
    return f"{Path(file).name}, {picks.tomogram or 'tomogram'}"
