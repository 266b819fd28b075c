"""picks measure: what surrounds each pick, as columns of the table.

Everything is computed tomogram by tomogram: surfaces are read one by one, volumes in blocks around the picks. Results
do not depend on the blocks, because distances are exact and of equally near things that of the lowest number counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.conditions import JOIN
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.io.surfaces import SurfaceSet
from volengine.ops.near_voxels import NearestVoxels
from volengine.tasks.common.origins import origins_note
from volengine.tasks.picks.convert import spaced
from volengine.tasks.picks.masks import Asked, Grid, grid_on
from volengine.tasks.picks.recipe import PicksMeasureRecipe
from volengine.tasks.picks.surroundings import (
    Around,
    groups_of,
    of_tomogram,
    placed,
    surfaces_around,
    volumes_around,
)
from volengine.tasks.picks.tables import Written, read_tables, write_tables
from volengine.tasks.picks.voxels import Voxels, values_at

Columns = dict[str, NDArray[Any]]

NOWHERE = "none"
"""What the column ``inside`` says of picks that no compartment holds."""

SURFACES_KEPT = 4
"""Surfaces that are kept in memory."""


def measure_picks(
    source: PathLike, out: PathLike, recipe: PicksMeasureRecipe | Mapping[str, Any] | None = None
) -> Written:
    """Write the picks of a file with columns that say what surrounds them. Order and other columns are kept.

    Parameters
    ----------
    source
        A file of picks of any format, of one or many tomograms.
    out
        The file to write, or a folder. Formats that hold no further columns say so; STAR and CSV hold them.
    recipe
        What is measured.

    Returns
    -------
    Written
        As of ``convert_picks``. The columns, with the name of what was measured before the dot:

        - of surfaces ``distance_nm`` from the nearest point of a triangle (inf if there are none), ``side`` (1 outside
          of a closed one and on the side of the normals of an open one, -1 on the other, 0 on it), ``surface`` (its
          number), ``inside`` (of any closed one);
        - of labels and predictions ``distance_nm`` from the centre of the nearest voxel (0 inside, inf beyond the
          reach), ``depth_nm`` inside from the nearest voxel that is not of it (0 outside, inf beyond the reach),
          ``side``, ``inside``; of labels ``label``, the one inside or the nearest (0 beyond the reach); of predictions
          and other volumes ``value`` at the nearest voxel (NaN beyond the faces of the volume);
        - ``inside``: the names of all that the pick is inside of, joined by ``+``, or ``none``;
        - ``lamella.depth_nm`` from the nearest face of the slab (negative outside), ``lamella.low_nm`` and
          ``lamella.high_nm`` from the faces of low and high z, ``lamella.thickness_nm`` there;
        - ``neighbours.number`` of other picks within the radius, ``neighbours.distance_nm`` of the asked one.

    Raises
    ------
    MissingError, FormatError
        A file does not exist, is damaged, or is not what it is given for.
    InputError
        Something is not of a tomogram of the picks, has another extent or origin, or has no name; a surface has no
        sides; a lamella has no faces that can be found; or what ``convert_picks`` refuses.
    """
    recipe = PicksMeasureRecipe.of(recipe)
    tables, notes = read_tables(path_text(source), recipe)
    tables, more = spaced(tables, recipe.spacing_nm)
    given = _Given(tables, recipe)
    made = [given.measured(picks) for picks in tables]
    return write_tables(path_text(out), made, recipe, [*notes, *more, *given.notes])


class _Given:
    """What is around the picks, opened and sorted; only metadata has been read."""

    def __init__(self, tables: Sequence[Picks], recipe: PicksMeasureRecipe):
        from volengine.tasks.picks.lamella import lamella_around

        self.recipe, self.alone, self.notes = recipe, len(tables) == 1, list[str]()
        size = tables[0].voxel_size if tables else (1.0, 1.0, 1.0)
        self.surfaces = groups_of(surfaces_around(recipe.surface, "--surface"))
        self.labels = groups_of(volumes_around(recipe.labels, "--labels", size, classes=True))
        self.predictions = groups_of(volumes_around(recipe.probability, "--probability", size))
        self.values = groups_of(volumes_around(recipe.value, "--value", size))
        self.lamella = lamella_around(recipe.lamella, size)
        used = [name for group in (self.surfaces, self.labels, self.predictions) for name in group]
        used += [name for name in self.values if name in self.predictions]
        twice = next((name for name in used if used.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"Two things would be {twice!r}, with the same columns; give them two names: NAME=PATH.")

    def measured(self, picks: Picks) -> Picks:
        """The picks of one tomogram with the columns."""
        columns: Columns = {}
        for group in self.surfaces.values():
            columns |= self.from_surfaces(picks, self.mine(picks, group))
        for groups, threshold in ((self.labels, None), (self.predictions, self.recipe.threshold)):
            for group in groups.values():
                columns |= self.from_volume(picks, self.mine(picks, group), threshold)
        if columns:
            columns["inside"] = _compartments(columns, len(picks))
        for name, group in self.values.items():
            columns[f"{name}.value"] = self.value(picks, self.mine(picks, group))
        if self.lamella:
            from volengine.tasks.picks.lamella import lamella_columns

            around = self.mine(picks, self.lamella)
            columns |= lamella_columns(picks, around, self.recipe, self.notes)
        if self.recipe.neighbours_nm is not None:
            columns |= neighbours(picks, self.recipe.neighbours_nm, self.recipe.neighbour)
        replaced = [name for name in columns if name in picks.extra]
        if replaced:
            self.notes.append(f"{picks.tomogram}: measured anew: {', '.join(replaced)}.")
        return picks.with_(extra={**picks.extra, **columns})

    def mine(self, picks: Picks, group: Sequence[Around]) -> Around:
        asked = self.recipe.tomogram is not None or self.recipe.volume is not None
        return of_tomogram(picks, group, alone=self.alone, asked=asked)

    def grid(self, picks: Picks, around: Around) -> Grid:
        """How a volume lies on the tomogram of the picks; notes say if this is not known."""
        assert isinstance(around.source, Volume)
        asked = Asked(around.path, self.recipe.mask_grid, self.recipe.any_origin)
        grid = grid_on(picks, around.source, asked)
        if not grid.sure:
            self.notes.append(
                f"{around.path} has voxels of {max(grid.voxel_size):g} A, the tomogram of {max(picks.voxel_size):g} A: "
                "both were taken to begin at the same face, as after binning by averaging; after Fourier cropping give "
                "--mask-grid centres."
            )
        index = _index(picks, grid)
        beyond = int((~((index >= 0) & (index < around.source.shape)).all(axis=1)).sum())
        if beyond:
            self.notes.append(
                f"{beyond} of {len(picks)} picks of {picks.tomogram} lie beyond the faces of {around.path}; are its "
                "voxel size and theirs right?"
            )
        return grid

    def value(self, picks: Picks, around: Around) -> NDArray[np.float64]:
        """Values of a volume at the voxels that are the nearest to picks."""
        assert isinstance(around.source, Volume)
        return values_at(around.source, _index(picks, self.grid(picks, around)))[0]

    def from_volume(self, picks: Picks, around: Around, threshold: float | None) -> Columns:
        """The columns of labels or of a prediction."""
        assert isinstance(around.source, Volume)
        grid, voxels = self.grid(picks, around), Voxels(around.source, around.path, threshold, around.labels)

        def search(rows: NDArray[np.bool_], *, inverse: bool = False) -> NearestVoxels:
            reach, places = self.recipe.reach_nm * NM, picks.place[rows]
            found = NearestVoxels(places, grid.voxel_size, voxels.volume.shape, reach=reach, offset=grid.offset)
            voxels.search(found, inverse=inverse)
            return found

        near = search(np.ones(len(picks), bool))
        inside = near.distance == 0
        depth = np.zeros(len(picks))
        depth[inside] = search(inside, inverse=True).distance / NM
        made: Columns = {
            "distance_nm": near.distance / NM,
            "depth_nm": depth,
            "side": np.where(inside, -1, 1),
            "inside": inside,
        }
        if threshold is None:
            index = np.full((len(picks), 3), -1.0)
            hit = near.voxel >= 0
            index[hit] = np.stack(np.unravel_index(near.voxel[hit], around.source.shape), axis=1)
            made["label"] = voxels.at(index)
        else:
            made["value"] = voxels.at(_index(picks, grid))
        return {f"{around.name}.{key}": column for key, column in made.items()}

    def from_surfaces(self, picks: Picks, around: Around) -> Columns:
        """The columns of a set of surfaces."""
        surfaces = placed(around, picks)
        if surfaces.facts.voxel_size is not None:
            mine = (f"The tomogram of the picks ({picks.tomogram})", picks.origin, picks.voxel_size)
            theirs = (around.path, surfaces.facts.origin, surfaces.facts.voxel_size)
            said = origins_note(mine, theirs, accept=self.recipe.any_origin)
            self.notes += [said] * bool(said)
        elif any(picks.origin):
            self.notes.append(
                f"{around.path} states no origin: its vertices were taken for positions in {picks.tomogram}, whose "
                f"origin is {', '.join(f'{v:g}' for v in picks.origin)} angstrom (z, y, x)."
            )
        made = beside_surfaces(picks.place, surfaces)
        return {f"{around.name}.{key}": column for key, column in made.items()}


def beside_surfaces(places: NDArray[np.float64], surfaces: SurfaceSet) -> Columns:
    """Distance and side of places to the nearest surface of a set, its number, and whether a closed one holds them.

    Parameters
    ----------
    places
        (n, 3) z, y, x, angstrom.
    surfaces
        The set; a few of its surfaces are in memory at a time.

    Returns
    -------
    ``distance_nm``, ``side``, ``surface`` and ``inside``, (n,) each; see :func:`measure_picks`.
    """
    from volengine.ops.surfaces.proximity import box_around, nearest_surface
    from volengine.ops.surfaces.signs import inside_closed, side_of, welded

    @lru_cache(maxsize=SURFACES_KEPT)
    def read(number: int) -> Surface:
        return welded(surfaces.read(number))

    boxes, closed = {}, set()
    for row in surfaces.rows:
        surface = read(row["number"])
        if len(surface.faces):
            boxes[surface.number] = box_around(surface)
            closed |= {surface.number} if surface.closed else set()
    near = nearest_surface(places, boxes, read)
    side = np.zeros(len(places), np.int64)
    inside = np.zeros(len(places), bool)
    for number, (low, high) in sorted(boxes.items()):
        rows = np.flatnonzero(near.number == number)
        within = ((places >= low) & (places <= high)).all(axis=1) if number in closed else np.zeros(len(places), bool)
        if not len(rows) and not within.any():
            continue
        surface = read(number)
        side[rows] = side_of(places[rows], surface, near.face[rows])
        if number in closed:
            inside[rows] |= side[rows] < 0
            others = np.flatnonzero(within & (near.number != number) & ~inside)
            inside[others] = inside_closed(places[others], surface)
    distance = np.where(near.number > 0, near.distance, np.inf) / NM
    return {"distance_nm": distance, "side": side, "surface": near.number, "inside": inside}


def neighbours(picks: Picks, radius_nm: float, rank: int) -> Columns:
    """Number of other picks within a radius, and distance of the neighbour of a rank, inf if there are fewer.

    >>> picks = Picks([[0, 0, 0], [0, 0, 2], [0, 0, 7]], (10, 10, 10))
    >>> {name: column.tolist() for name, column in neighbours(picks, 5.0, 1).items()}
    {'neighbours.number': [1, 2, 1], 'neighbours.distance_nm': [2.0, 2.0, 5.0]}
    """
    from scipy.spatial import cKDTree

    number, distance = np.zeros(len(picks), np.int64), np.full(len(picks), np.inf)
    if len(picks):
        tree = cKDTree(picks.place)
        within = radius_nm * NM * (1 + 1e-9)  # places are sums and products of decimal numbers
        number = np.asarray(tree.query_ball_point(picks.place, within, return_length=True), np.int64) - 1
        distance = tree.query(picks.place, [rank + 1])[0][:, 0] / NM
    return {"neighbours.number": number, "neighbours.distance_nm": distance}


def _index(picks: Picks, grid: Grid) -> NDArray[np.float64]:
    """The nearest voxel of each pick."""
    found: NDArray[np.float64] = np.rint((picks.place - np.asarray(grid.offset)) / np.asarray(grid.voxel_size))
    return found


def _compartments(columns: Columns, count: int) -> NDArray[Any]:
    """The names of what each pick is inside of, joined."""
    names = [name.removesuffix(".inside") for name in columns if name.endswith(".inside")]
    found = [JOIN.join(name for name in names if columns[f"{name}.inside"][row]) for row in range(count)]
    return np.array([text or NOWHERE for text in found], str)
