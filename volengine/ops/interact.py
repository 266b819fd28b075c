"""Competition and interactions on arrays, exact and at a cost that hardly knows the radius.

The rules are those of Last et al., eLife 13:RP98552 (2024), "Fine-tuning segmentation results with model
interactions"; what "near" means is in :mod:`volengine.ops.distance`. Predictions are arrays of one dtype: floating
numbers from 0 to 1, or integers of which 255 is 1.0.

A :class:`RuleChain` applies its rules one after the other, to whole arrays (:meth:`RuleChain.apply`) or to a block
(:meth:`RuleChain.gate`). How far around a block it looks is :meth:`RuleChain.halo`: radii add up along the chain, and
of several needs of one feature the largest counts.

>>> import numpy as np
>>> from volengine.core.rules import Compete
>>> two = {"a": np.array([[[9, 5]]], np.uint8), "b": np.array([[[9, 7]]], np.uint8)}
>>> RuleChain((Compete(("a", "b"), ("a", "b")),), (10, 10, 10)).apply(two)["a"].tolist()
[[[9, 0]]]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.rules import Compete, Interact, Rule
from volengine.core.volume import Vector3
from volengine.ops.distance import Reach, near

Compat = Literal["", "ais"]
Mask = NDArray[np.bool_]
ZERO: Index3 = (0, 0, 0)


def above(prediction: Array, threshold: float, compat: Compat = "") -> Mask:
    """Where a prediction exceeds a threshold, strictly.

    Parameters
    ----------
    prediction
        Integers: ``q > threshold * 255``, where a threshold that was written as n / 255 means n in spite of its last
        binary digit. Floating numbers: the threshold is rounded to their type, so that a stored 0.3 is not above 0.3.
    threshold
        0 to below 1.
    compat
        ``ais``: ``threshold * 255`` as it comes out in binary.
    """
    if prediction.dtype.kind == "f":
        exceeds: Mask = prediction > prediction.dtype.type(threshold)
        return exceeds
    level = threshold * 255 if compat == "ais" else round(threshold * 255, 9)
    mask: Mask = prediction > math.floor(level)  # for whole q the same as q > level
    return mask


def strongest(emitting: Sequence[Array]) -> Array:
    """The largest of several predictions at each voxel."""
    largest = emitting[0]
    for other in emitting[1:]:
        largest = np.maximum(largest, other)
    return largest


def compete(prediction: Array, largest: Array) -> Array:
    """A prediction that absorbs: 0 where it is less than the largest of those that emit; equal ones stay."""
    return _drop(prediction, prediction < largest)


def interact(child: Array, close: Mask, kind: Literal["colocalize", "avoid"]) -> Array:
    """The child: 0 where it is not ``close`` to the parent (``avoid``: where it is)."""
    return _drop(child, np.logical_not(close) if kind == "colocalize" else close)


def _drop(prediction: Array, where: Mask) -> Array:
    return np.where(where, prediction.dtype.type(0), prediction)


@dataclass(frozen=True)
class RuleChain:
    """Rules in the order in which they act, on voxels of a known size.

    Parameters
    ----------
    rules
        Each sees what the ones before it left.
    voxel_size
        Angstrom, z, y, x.
    compat
        ``ais``: Ais's numbers bit for bit (integer predictions; discs smaller than their radius; see
        :meth:`volengine.ops.distance.Reach.of_ais`).
    """

    rules: tuple[Rule, ...]
    voxel_size: Vector3
    compat: Compat = ""

    def reach(self, rule: Interact) -> Reach:
        """The disc or ball of an interaction.

        Raises
        ------
        InputError
            With ``compat`` ``ais``: a ball, or a radius below one voxel.
        """
        if self.compat != "ais":
            return Reach.of_radius(rule.radius_nm, self.voxel_size, planar=rule.shape == "2d")
        who = f"interact {rule.child!r} with {rule.parent!r}"
        if rule.shape != "2d":
            raise InputError(f"{who}: compat 'ais' knows discs only: use shape 2d, not {rule.shape}.")
        try:
            return Reach.of_ais(rule.radius_nm, self.voxel_size[2])
        except InputError as error:
            raise InputError(f"{who}: {error}") from None

    def apply(self, predictions: Mapping[str, Array]) -> dict[str, Array]:
        """All predictions after the rules; the given arrays (of one shape and dtype) stay as they are."""
        state = dict(predictions)
        for rule in self.rules:
            if isinstance(rule, Interact):
                mask = above(state[rule.parent], rule.threshold, self.compat)
                state[rule.child] = interact(state[rule.child], near(mask, self.reach(rule)), rule.kind)
            else:
                largest = strongest([state[name] for name in rule.emit])
                state |= {name: compete(state[name], largest) for name in rule.absorb}
        return state

    def halo(self, outputs: Iterable[str]) -> dict[str, Index3]:
        """How far around a block each feature must be known, voxels z, y, x, for exact outputs.

        Features that the outputs do not depend on are left out.
        """
        return self._needs(outputs)[0]

    def _needs(self, outputs: Iterable[str]) -> list[dict[str, Index3]]:
        """The halo each feature must be known with before each rule, and, last, after all of them."""
        needs: list[dict[str, Index3]] = [dict.fromkeys(outputs, ZERO)]
        for rule in reversed(self.rules):
            need = dict(needs[0])
            if isinstance(rule, Interact):
                if rule.child in need:
                    steps = self.reach(rule).halo_vox
                    _widen(need, rule.parent, index3(a + b for a, b in zip(need[rule.child], steps, strict=True)))
            else:
                for halo in [need[name] for name in rule.absorb if name in need]:
                    for name in rule.emit:
                        _widen(need, name, halo)
            needs.insert(0, need)
        return needs

    def gate(
        self, arrays: Mapping[str, Array], boxes: Mapping[str, Box], core: Box, shape: Index3, outputs: Iterable[str]
    ) -> dict[str, Array]:
        """The outputs on a block's core: equal to that part of :meth:`apply` on the whole.

        Parameters
        ----------
        arrays, boxes
            What is known of each feature, and the box that it covers: the core and :meth:`halo` around it as far as
            the volume reaches.
        core, shape
            The block's core, and the shape of the volume.
        outputs
            Features, as for :meth:`halo`.

        Each rule works only where the rest of the chain still looks.
        """
        needs = self._needs(outputs)
        known = {name: Known(arrays[name], boxes[name]) for name in needs[0]}
        for rule, need in zip(self.rules, needs[1:], strict=True):
            wanted = {name: core.grow(need[name]).clip(shape) for name in rule.changes if name in need}
            if not wanted:
                continue
            if isinstance(rule, Interact):
                known[rule.child] = self._interact_in(known, rule, wanted[rule.child], shape)
            else:
                known |= _compete_in(known, rule, wanted)
        return {name: known[name].part(core) for name in needs[-1]}

    def _interact_in(self, known: Mapping[str, Known], rule: Interact, box: Box, shape: Index3) -> Known:
        reach = self.reach(rule)
        around = box.grow(reach.halo_vox).clip(shape)
        close = near(above(known[rule.parent].part(around), rule.threshold, self.compat), reach)
        return Known(interact(known[rule.child].part(box), close[box.slices_in(around)], rule.kind), box)


@dataclass(frozen=True)
class Known:
    """An array and the box it covers."""

    array: Array
    box: Box

    def part(self, box: Box) -> Array:
        part: Array = self.array[box.slices_in(self.box)]
        return part


def _compete_in(known: Mapping[str, Known], rule: Compete, wanted: Mapping[str, Box]) -> dict[str, Known]:
    """The absorbing features, each on the box that is wanted of it."""
    boxes = list(wanted.values())
    start = index3(min(axis) for axis in zip(*(box.start for box in boxes), strict=True))
    stop = index3(max(axis) for axis in zip(*(box.stop for box in boxes), strict=True))
    widest = Box(start, stop)
    largest = Known(strongest([known[name].part(widest) for name in rule.emit]), widest)
    return {name: Known(compete(known[name].part(box), largest.part(box)), box) for name, box in wanted.items()}


def _widen(need: dict[str, Index3], name: str, halo: Index3) -> None:
    need[name] = index3(max(axis) for axis in zip(need.get(name, ZERO), halo, strict=True))
