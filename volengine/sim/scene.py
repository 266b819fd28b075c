"""Scenes: the complete content of a specimen, as one table that every worker can read.

>>> scene = Scene.from_table(scene.to_table())                                                       # doctest: +SKIP
>>> render(scene, box, voxel_size=12.0)                                                              # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.core.specimen import Membrane, Placements, Template
from volengine.sim.recipe.film import FilmRecipe
from volengine.sim.seeds import stream
from volengine.sim.shapes.film import Film, draw_film

LABELLED_SHARE = 0.5
"""A voxel is labelled from this share of the potential of ice on: about a third of it is filled with protein."""


@dataclass(frozen=True)
class FilmDrawn:
    """A carbon film, described by the values from which it is drawn.

    Parameters
    ----------
    instance
        Number of the object in the specimen's instances.
    recipe
        A :class:`~volengine.sim.recipe.film.FilmRecipe` as JSON.
    size_a
        Size of the box, angstrom, z, y, x.
    seed, sample
        Seed and sample of the stream ``film``.
    """

    instance: int
    recipe: dict[str, Any]
    size_a: Sequence[float]
    seed: int
    sample: int

    @property
    def name(self) -> str:
        """Name of its class."""
        return str(self.recipe["name"])

    def draw(self) -> Film:
        """Draw the film; the result is always the same."""
        z, y, x = self.size_a
        return draw_film(stream(self.seed, self.sample, "film"), (z, y, x), FilmRecipe.from_json(self.recipe))


@dataclass(frozen=True)
class LabelBilayer:
    """A membrane that follows a label of a label volume.

    Parameters
    ----------
    label
        Its value there.
    name, instance
        Class name, and the object's number in the specimen's instances.
    thickness
        Angstrom from head group to head group.
    """

    label: int
    name: str
    instance: int
    thickness: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A specimen.

    Parameters
    ----------
    templates, placements
        Templates of rigid particles, and their placements.
    membranes
        Bilayers.
    centrelines
        For each filament, by its number, the points (n, 3) of its centreline, angstrom, z, y, x.
    classes
        Id of every class name in the atlas: 1 to 255, or 0 for what counts as background (distractors).
    ice
        Potential of vitreous ice in the templates' scale, volt.
    film
        The carbon film, or ``None``; it is drawn again whenever it is needed.
    scale
        Scale of the potentials: ``peng`` is physical, ``cts`` is that of CryoTomoSim's first version.
    labels
        Bilayers that follow a label volume; the scene does not contain the distances from them.
    """

    templates: tuple[Template, ...] = ()
    placements: Placements = field(default_factory=Placements.empty)
    membranes: tuple[Membrane, ...] = ()
    centrelines: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    ice: float = 4.5
    scale: Literal["peng", "cts"] = "peng"
    film: FilmDrawn | None = None
    labels: tuple[LabelBilayer, ...] = ()

    @property
    def threshold(self) -> float:
        """Potential of particles from which on a voxel is labelled, volt; solid ones (gold) have their own."""
        return LABELLED_SHARE * self.ice

    @property
    def objects(self) -> int:
        """The largest number of an object; 0 if there is none."""
        found = [m.instance for m in self.membranes] + [b.instance for b in self.labels]
        found += [self.film.instance] if self.film else []
        return max([*found, *self.placements.instance.tolist()], default=0)

    def to_table(self) -> Table:
        """Columns without pickled objects."""
        words = {
            "templates": [
                {"name": t.name, "classes": t.classes, "displaced": t.displaced, "solid": t.solid}
                for t in self.templates
            ],
            "membranes": [
                {
                    "name": m.name,
                    "instance": m.instance,
                    "corner": m.corner,
                    "spacing": m.spacing,
                    "thickness": m.thickness,
                }
                for m in self.membranes
            ],
            "centrelines": list(self.centrelines),
            "classes": self.classes,
            "ice": self.ice,
            "scale": self.scale,
            "film": asdict(self.film) if self.film else None,
            "labels": [asdict(bilayer) for bilayer in self.labels],
        }
        return {
            "words": np.array(json.dumps(words)),
            **self.placements.to_table("placement."),
            **_packed("point", [t.point for t in self.templates]),
            **_packed("weight", [t.weight for t in self.templates]),
            **_packed("part", [t.part for t in self.templates]),
            **_packed("distance", [m.distance for m in self.membranes]),
            **_packed("centreline", list(self.centrelines.values())),
        }

    @classmethod
    def from_table(cls, table: Table) -> Scene:
        """The inverse of :meth:`to_table`."""
        words = json.loads(str(table["words"]))
        cuts = zip(*(_unpacked(name, table) for name in ("point", "weight", "part")), strict=True)
        templates = tuple(
            Template(t["name"], tuple(t["classes"]), point, weight, part, t["displaced"], t["solid"])
            for t, (point, weight, part) in zip(words["templates"], cuts, strict=True)
        )
        membranes = tuple(
            Membrane(m["name"], m["instance"], tuple(m["corner"]), m["spacing"], distance, m["thickness"])
            for m, distance in zip(words["membranes"], _unpacked("distance", table), strict=True)
        )
        lines = dict(zip(words["centrelines"], _unpacked("centreline", table), strict=True))
        placements = Placements.from_table(table, "placement.")
        film = FilmDrawn(**words["film"]) if words["film"] else None
        labels = tuple(LabelBilayer(**found) for found in words["labels"])
        facts = words["classes"], words["ice"], words["scale"]
        return cls(templates, placements, membranes, lines, *facts, film, labels)


def _packed(name: str, arrays: Sequence[NDArray[Any]]) -> Table:
    """Arrays of one dtype, concatenated, and their shapes."""
    flat = [a.ravel() for a in arrays]
    shapes = [list(a.shape) + [1] * (3 - a.ndim) for a in arrays]
    dims = [a.ndim for a in arrays]
    return {
        name: np.concatenate(flat) if flat else np.zeros(0),
        f"{name}.shape": np.array(shapes, np.int64).reshape(-1, 3),
        f"{name}.ndim": np.array(dims, np.int64),
    }


def _unpacked(name: str, table: Table) -> list[NDArray[Any]]:
    shapes = [
        tuple(s[:n]) for s, n in zip(table[f"{name}.shape"].tolist(), table[f"{name}.ndim"].tolist(), strict=True)
    ]
    ends = np.cumsum([int(np.prod(s)) for s in shapes], dtype=int)
    parts = np.split(table[name], ends[:-1]) if shapes else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
