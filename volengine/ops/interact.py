"""Competition and interactions on arrays, exact, at a cost that depends little on the radius.

The rules are those of Last et al., eLife 13:RP98552 (2024), "Fine-tuning segmentation results with model
interactions"; :mod:`volengine.ops.distance` defines "near". Predictions are arrays of one dtype: floating point from 0
to 1, or integers of which 255 is 1.0.

A :class:`RuleChain` applies its rules one after the other, to whole arrays (:meth:`RuleChain.apply`) or to a block
(:meth:`RuleChain.gate`). :meth:`RuleChain.halo` is the halo that a block needs: radii add up along the chain, and if
several rules need a feature, the largest halo counts.

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

from volengine.core.block import Array, bits_of, is_blank
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.rules import Compete, Interact, Rule
from volengine.core.volume import Vector3
from volengine.ops.distance import Reach, near
from volengine.ops.heights import bounding_box

Compat = Literal["", "ais"]
Mask = NDArray[np.bool_]
ZERO: Index3 = (0, 0, 0)


def above(prediction: Array, threshold: float, compat: Compat = "") -> Mask:
    """Return the voxels where a prediction is strictly greater than a threshold.

    Parameters
    ----------
    prediction
        Integers q: the result is ``q > threshold * 255``; a threshold that was written as n / 255 means n, whatever its
        last binary digit is. Floating point: the threshold is rounded to the same dtype, so that a stored 0.3 is not
        above 0.3.
    threshold
        A probability, 0 to below 1.
    compat
        ``ais``: do not round ``threshold * 255``.
    """
    if prediction.dtype.kind == "f":
        exceeds: Mask = prediction > prediction.dtype.type(threshold)
        return exceeds
    level = threshold * 255 if compat == "ais" else round(threshold * 255, 9)
    mask: Mask = prediction > math.floor(level)  # for whole q the same as q > level
    return mask


def strongest(emitting: Sequence[Array]) -> Array:
    """Return the largest of several predictions at each voxel."""
    largest = emitting[0]
    for other in emitting[1:]:
        largest = np.maximum(largest, other)
    return largest


def compete(prediction: Array, largest: Array) -> Array:
    """Set an absorbing prediction to 0 where it is less than ``largest``, the largest of the emitting predictions."""
    return _drop(prediction, prediction < largest)


def interact(child: Array, close: Mask, kind: Literal["colocalize", "avoid"]) -> Array:
    """Set the child to 0 where it is not ``close`` to the parent (``avoid``: where it is)."""
    return _drop(child, np.logical_not(close) if kind == "colocalize" else close)


def _drop(prediction: Array, where: Mask) -> Array:
    return np.where(where, prediction.dtype.type(0), prediction)


@dataclass(frozen=True)
class RuleChain:
    """Rules in the order in which they are applied, for a voxel size.

    Parameters
    ----------
    rules
        Each rule works on the result of the rules before it.
    voxel_size
        Voxel size, angstrom, z, y, x.
    compat
        ``ais``: reproduce the results of Ais bit by bit, for integer predictions. Its discs are smaller than their
        radius, see :meth:`volengine.ops.distance.Reach.of_ais`.
    """

    rules: tuple[Rule, ...]
    voxel_size: Vector3
    compat: Compat = ""

    def reach(self, rule: Interact) -> Reach:
        """Return the disc or ball of an interaction.

        Raises
        ------
        InputError
            With ``compat`` ``ais``: the rule has a ball, or a radius below one voxel.
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
        """Apply the rules to whole arrays.

        Parameters
        ----------
        predictions
            Arrays of one shape and dtype, by feature; they are not changed.

        Returns
        -------
        All predictions after the rules, by feature.
        """
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
        """Return the halo (voxels z, y, x) with which each feature must be read for exact outputs.

        Features on which the outputs do not depend are left out.
        """
        return self._needs(outputs)[0]

    def _needs(self, outputs: Iterable[str]) -> list[dict[str, Index3]]:
        """Return the halo with which each feature must be known before each rule, and, as the last item, after all."""
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
        """Compute the outputs on a block's core; they equal that part of the result of :meth:`apply`.

        Each rule is computed only where the later rules or the outputs need its result.

        Parameters
        ----------
        arrays, boxes
            Array of each feature, and the box that it covers. It must contain the core and the feature's :meth:`halo`
            around it, as far as the volume reaches.
        core, shape
            The block's core, and the shape of the volume.
        outputs
            Features to return.
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
        child = known[rule.child].part(box)
        if is_blank(child):  # and so it stays, whatever the parent is
            return Known(child, box)
        reach = self.reach(rule)
        found = bounding_box(bits_of(child) != 0)  # outside of it there is nothing to drop
        part = found.shift(box.start)
        around = part.grow(reach.halo_vox).clip(shape)
        close = near(above(known[rule.parent].part(around), rule.threshold, self.compat), reach)
        gated = child.copy()
        gated[found.slices] = interact(child[found.slices], close[part.slices_in(around)], rule.kind)
        return Known(gated, box)


@dataclass(frozen=True)
class Known:
    """An array and the box that it covers."""

    array: Array
    box: Box

    def part(self, box: Box) -> Array:
        """Return the view of the array that covers ``box``."""
        part: Array = self.array[box.slices_in(self.box)]
        return part


def _compete_in(known: Mapping[str, Known], rule: Compete, wanted: Mapping[str, Box]) -> dict[str, Known]:
    """Return the absorbing features after a competition, each on its wanted box."""
    boxes = list(wanted.values())
    start = index3(min(axis) for axis in zip(*(box.start for box in boxes), strict=True))
    stop = index3(max(axis) for axis in zip(*(box.stop for box in boxes), strict=True))
    widest = Box(start, stop)
    largest = Known(strongest([known[name].part(widest) for name in rule.emit]), widest)
    return {name: Known(compete(known[name].part(box), largest.part(box)), box) for name, box in wanted.items()}


def _widen(need: dict[str, Index3], name: str, halo: Index3) -> None:
    need[name] = index3(max(axis) for axis in zip(need.get(name, ZERO), halo, strict=True))
