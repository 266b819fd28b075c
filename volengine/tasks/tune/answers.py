"""What rules and pick steps find in a part of a tomogram, with what does not change kept from answer to answer.

The answer for a part is that of ``volengine run`` with the part as ``roi`` of its pick steps: rules also see what lies
around the part (as far as they reach), and picks do not: what lies outside of it is background. Kept are the voxels
that were read, the predictions that rules have changed, and the basins of a threshold; sizes, spacings and margins are
applied to tables then, in some milliseconds.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, MissingError
from volengine.core.rules import check_features
from volengine.core.units import NM_TO_ANGSTROM, format_bytes
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.io.open import OpenVolume
from volengine.ops.interact import RuleChain
from volengine.ops.part_picks import PartBasins, PartValues, part_picks, part_regions
from volengine.ops.regions import check_size
from volengine.ops.stored import as_prediction, checked_span
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.interact.plan import plan_interact
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.tune.settings import FieldError, Settings

LARGEST_PART = 64 * 512 * 512
"""Voxels of a part."""

MOST_BYTES = 128 * 2**20
"""Memory of the voxels of one answer; one that needs more is refused."""

KEPT_BYTES, KEPT_TABLES_BYTES = 160 * 2**20, 48 * 2**20
"""Memory of voxels and of tables that are kept for the next answers; the oldest go first."""

STEP_VOX = 16
"""Halos are read in these steps."""

THREADS = max(1, min(4, os.cpu_count() or 1))

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What a pick step finds.

    Parameters
    ----------
    feature
        Its name.
    picks
        Columns of :func:`volengine.ops.regions.resolve`.
    regions
        ``voxels`` and ``weight`` of all regions above the threshold, also of those that are no picks.
    values
        The prediction in the part, after the rules.
    before
        The same before the rules, if they change the feature.
    level
        Values above it are foreground.
    """

    feature: str
    picks: Table
    regions: Table
    values: PartValues
    before: Array | None
    level: float

    def plane(self, z: int) -> NDArray[np.uint8]:
        """A slice of the part: 1 above the threshold, 2 where rules have taken that away, 0 elsewhere."""
        at = z - self.values.part.start[0]
        found: NDArray[np.uint8] = (self.values.values[at] > self.level).astype(np.uint8)
        if self.before is not None:
            found[(self.before[at] > self.level) & (found == 0)] = 2
        return found


class Tuning:
    """Answers for one tomogram; who has several threads asks for one at a time.

    Parameters
    ----------
    predictions
        The predictions, by feature, on one grid.
    """

    def __init__(self, predictions: Mapping[str, OpenVolume]):
        self.predictions = dict(predictions)
        self._part: Box | None = None
        self._planned: InteractRecipe | None = None
        self._readings: dict[str, Reading] = {}
        self._voxels, self._tables = Kept(KEPT_BYTES), Kept(KEPT_TABLES_BYTES)

    @cached_property
    def grid(self) -> Volume:
        """The volume that states the grid."""
        if not self.predictions:
            raise MissingError("There is no prediction of this tomogram; volengine segment makes one.")
        return next(iter(self.predictions.values()))

    def find(self, settings: Settings, part: Box) -> list[Found]:
        """Pick a part.

        Parameters
        ----------
        settings
            Rules and pick steps.
        part
            The part.

        Returns
        -------
        list of Found
            One for each pick step.

        Raises
        ------
        FieldError, InputError
            There is no such prediction, a recipe is refused for it, a value is no probability, or the part is too
            large.
        """
        self._check(settings, part)
        if part != self._part:
            self._voxels.clear()
            self._tables.clear()
            self._part = part
        return [self._found(one, settings, part) for one in settings.pick]

    def _check(self, settings: Settings, part: Box) -> None:
        if part.size > LARGEST_PART:
            raise InputError(
                f"The region has {part.size:,} voxels; up to {LARGEST_PART:,} (64 x 512 x 512) are answered at once. "
                "Choose a smaller one, or tune with volengine sweep, which has no limit."
            )
        for number, one in enumerate(settings.pick):
            if one.feature not in self.predictions:
                raise FieldError(f"There is no prediction of {one.feature!r}.", "pick", number, "feature")
        if settings.rules is not None:
            try:
                check_features(settings.rules.rules, sorted(self.predictions))
                self._plan(settings.rules)
            except FieldError:
                raise
            except InputError as error:
                raise FieldError(str(error), "rules", _number_in(str(error))) from None
        needed = self._bytes(settings, part)
        if needed > MOST_BYTES:
            raise InputError(
                f"The region needs {format_bytes(needed)} with these features and rules; there are "
                f"{format_bytes(MOST_BYTES)} for it. Choose a smaller one, smaller radii, or volengine sweep."
            )

    def _plan(self, rules: InteractRecipe) -> None:
        """Refuse what the plan of these rules refuses: other grids, types, radii."""
        if rules != self._planned:
            plan_interact(self.predictions, rules, f"{os.devnull}/gated", PlanFolder(Path()), RunOptions())
            self._planned = rules

    def _bytes(self, settings: Settings, part: Box) -> int:
        boxes = [(name, part) for name in {*settings.changed, *(one.feature for one in settings.pick)}]
        if settings.rules is not None:
            boxes += [(name, self._around(part, halo)) for name, halo in self._halos(settings.rules).items()]
        return sum(box.size * self._itemsize(name) for name, box in boxes)

    def _around(self, part: Box, halo: Index3) -> Box:
        """The part with a halo: somewhat wider, so that not every radius reads anew."""
        wide = index3(STEP_VOX * math.ceil(h / STEP_VOX) for h in halo)
        return part.grow(wide).clip(self.grid.shape)

    def _itemsize(self, feature: str) -> int:
        return np.dtype(self._reading(feature).dtype).itemsize

    def _halos(self, rules: InteractRecipe) -> dict[str, Index3]:
        chain = RuleChain(rules.rules, self.grid.voxel_size, rules.compat)
        return chain.halo(list(dict.fromkeys(name for rule in rules.rules for name in rule.changes)))

    def _found(self, recipe: PickRecipe, settings: Settings, part: Box) -> Found:
        recipe, feature = recipe.resolved(), recipe.feature
        rules = settings.rules if feature in settings.changed else None
        values, before = self._values(feature, rules, part)
        seen = self.predictions[feature].with_(dtype=str(values.framed.dtype))
        check_size(seen.shape)
        wanted, keep = recipe.basin_rules(seen), recipe.position == "maximum"
        key = (feature, _rules_key(rules), wanted)

        def made() -> PartBasins:
            return values.basins(wanted, threads=THREADS, keep=keep)

        basins = made() if keep else self._tables.get(key, made)  # local regions are too large to be kept
        regions = recipe.region_rules(seen)
        return Found(feature, part_picks(basins, regions), part_regions(basins, regions), values, before, wanted.level)

    def _values(self, feature: str, rules: InteractRecipe | None, part: Box) -> tuple[PartValues, Array | None]:
        """The prediction of a feature in the part; and, if rules change it, what it was before."""
        shape = self.grid.shape
        if rules is None:
            values = self._voxels.get(("part", feature), lambda: PartValues(self._read(feature, part), part, shape))
            return values, None
        gated = self._voxels.get(("gated", _rules_key(rules)), lambda: self._gated(rules, part))
        box, array = self._raw(feature, self._halos(rules)[feature], part)
        return gated[feature], array[part.slices_in(box)]

    def _gated(self, rules: InteractRecipe, part: Box) -> dict[str, PartValues]:
        chain, shape = RuleChain(rules.rules, self.grid.voxel_size, rules.compat), self.grid.shape
        halos = self._halos(rules)
        raw = {name: self._raw(name, halo, part) for name, halo in halos.items()}
        boxes, arrays = {n: box for n, (box, _) in raw.items()}, {n: array for n, (_, array) in raw.items()}
        changed = list(dict.fromkeys(name for rule in rules.rules for name in rule.changes))
        found = chain.gate(arrays, boxes, part, shape, changed)
        return {name: PartValues(array, part, shape) for name, array in found.items()}

    def _raw(self, feature: str, halo: Index3, part: Box) -> tuple[Box, Array]:
        """The prediction in the part and a halo around it."""
        box = self._around(part, halo)
        return self._voxels.get(("read", feature, box), lambda: (box, self._read(feature, box)))

    def _read(self, feature: str, box: Box) -> Array:
        volume, reading = self.predictions[feature], self._reading(feature)
        values = as_prediction(volume.read(box), scale=reading.scale)
        checked_span(values, box, stored_name(volume), reading.scale)
        return values

    def _reading(self, feature: str) -> Reading:
        """How the voxels of a feature are read; what only the whole volume tells is refused."""
        if feature not in self._readings:
            volume = self.predictions[feature]
            if volume.shape != self.grid.shape or volume.voxel_size != self.grid.voxel_size:
                raise InputError(f"{volume.url} and {self.grid.url} are not on one grid.")
            reading = reading_of(volume, None, "tune", RunOptions(), what="tune")
            if reading.stages:
                raise InputError(
                    f"{stored_name(volume)} holds integers that volengine segment has not written: whether they are a "
                    "mask or probabilities shows only the whole volume, which is not read here. Use volengine sweep or "
                    "volengine pick, or store floating numbers from 0 to 1."
                )
            self._readings[feature] = reading
        return self._readings[feature]


class Kept:
    """What was made last, up to some memory.

    >>> kept = Kept(16)
    >>> [int(kept.get(n, lambda n=n: np.full(1, n))[0]) for n in (1, 2, 3, 1)], len(kept.values)
    ([1, 2, 3, 1], 2)
    """

    def __init__(self, most_bytes: int):
        self.most_bytes = most_bytes
        self.values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key; made if it is not there. The last one is kept, however large."""
        if key not in self.values:
            made = make()
            self.values[key] = made, _bytes_of(made)
        self.values.move_to_end(key)
        while len(self.values) > 1 and sum(size for _, size in self.values.values()) > self.most_bytes:
            self.values.popitem(last=False)
        found: T = self.values[key][0]
        return found

    def clear(self) -> None:
        """Forget all."""
        self.values.clear()


def _bytes_of(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes_of, value.values()))
    if isinstance(value, PartBasins):
        return _bytes_of(value.tables)
    if isinstance(value, PartValues):
        return value.framed.nbytes
    if isinstance(value, tuple):
        return sum(map(_bytes_of, value))
    return value.nbytes if isinstance(value, np.ndarray) else 0


def _rules_key(rules: InteractRecipe | None) -> str | None:
    return None if rules is None else str(rules.to_json())


def _number_in(message: str) -> int:
    """The rule that a message is about: ``rules[2] is ...``."""
    digits = message.partition("rules[")[2].partition("]")[0]
    return int(digits) if digits.isdigit() else 0


def radii_nm(found: Found, volume: Volume) -> NDArray[np.float64]:
    """The radius (nm) of a ball of each pick's volume."""
    voxel = float(np.prod([v / NM_TO_ANGSTROM for v in volume.voxel_size]))
    radii: NDArray[np.float64] = np.cbrt(found.picks["size_vox"] * voxel * 3 / (4 * np.pi))
    return radii
