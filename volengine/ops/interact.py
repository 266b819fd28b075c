"""Competition and interactions on arrays, exact and at a cost that does not grow with the radius.

A dilation by a disc or a ball of radius R is the set of voxels whose distance to the mask is at most R; the exact
Euclidean distance transform gives it in time that does not depend on R, where a footprint costs R² or R³. Rules are
those of Last et al., eLife 13:RP98552 (2024), "Fine-tuning segmentation results with model interactions".

Predictions are arrays of one dtype: uint8 (255 is 1.0), float16 or float32 (0 to 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import edt
import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.rules import Compete, Interact, Rule
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3

Compat = Literal["", "ais"]
Mask = NDArray[np.bool_]

SLACK = 1e-6
"""Relative: distances are compared in float32 where voxels are not cubes; a voxel centre this close counts as at R."""


def above(prediction: NDArray[Any], threshold: float) -> Mask:
    """Where a prediction exceeds a threshold (0 to 1); for uint8 in exact arithmetic: ``q > threshold * 255``."""
    if prediction.dtype.kind == "u":
        level = threshold * np.iinfo(prediction.dtype).max
        mask: Mask = prediction > math.floor(level)  # for integers q > x is the same as q > floor(x)
        return mask
    exceeds: Mask = prediction > prediction.dtype.type(threshold)
    return exceeds


def near(mask: Mask, radius: float, spacing: Vector3, shape: Literal["2d", "3d"], *, strict: bool = False) -> Mask:
    """Voxels whose distance to the mask is at most ``radius`` (``strict``: less than).

    Parameters
    ----------
    mask
        z, y, x; nothing is set outside of it.
    radius
        In the unit of ``spacing``.
    spacing
        Distance of neighbouring voxels along z, y, x.
    shape
        ``2d``: distances within each z slice; ``3d``: in space.
    """
    if shape == "2d":
        out = np.zeros(mask.shape, np.bool_)
        for target, plane in zip(out, mask, strict=True):
            if plane.any():
                target[:] = _near(plane, radius, spacing[1:], strict)
        return out
    return _near(mask, radius, spacing, strict) if mask.any() else np.zeros(mask.shape, np.bool_)


def _near(mask: Mask, radius: float, spacing: tuple[float, ...], strict: bool) -> Mask:
    cubic = max(spacing) <= min(spacing) * (1 + SLACK)
    unit = spacing[0]
    anisotropy = (1.0,) * mask.ndim if cubic else tuple(s / unit for s in spacing)
    squared: NDArray[np.float32] = edt.edtsq(~mask, anisotropy=anisotropy, black_border=False, parallel=1)
    limit = (radius / unit) ** 2
    if strict:
        return squared < (round(limit) if cubic else limit * (1 - SLACK))
    # squared distances of cubes are whole numbers: compare with the next one below, whatever the rounding of R²
    return squared <= (math.floor(limit * (1 + SLACK)) if cubic else limit * (1 + SLACK))


def compete(predictions: Mapping[str, NDArray[Any]], rule: Compete) -> dict[str, NDArray[Any]]:
    """The absorbing features, zero where any emitting one is larger (ties survive)."""
    strongest = predictions[rule.emit[0]]
    for name in rule.emit[1:]:
        strongest = np.maximum(strongest, predictions[name])
    return {name: np.where(predictions[name] < strongest, 0, predictions[name]).astype(predictions[name].dtype)
            for name in rule.absorb}  # fmt: skip


def interact(
    child: NDArray[Any], parent: NDArray[Any], rule: Interact, voxel_size: Vector3, compat: Compat = ""
) -> NDArray[Any]:
    """The child, zero outside of (``avoid``: inside of) the dilated mask of the parent."""
    mask = above(parent, rule.threshold)
    if compat == "ais":
        reach = near(mask, float(ais_radius(rule, voxel_size)), (1.0, 1.0, 1.0), "2d", strict=True)
    else:
        reach = near(mask, rule.radius_nm * NM_TO_ANGSTROM, voxel_size, rule.shape)
    keep = reach if rule.kind == "colocalize" else ~reach
    out: NDArray[Any] = child * keep
    return out


def ais_radius(rule: Interact, voxel_size: Vector3) -> int:
    """Ais's radius in voxels: the floating-point floor division of nm by nm along x.

    Raises
    ------
    InputError
        The radius is below one voxel: Ais would erase the whole feature (colocalize) or do nothing (avoid). Or the
        rule is not one that Ais knows.
    """
    if rule.shape != "2d":
        raise InputError(f"compat 'ais' knows discs only: interact {rule.child!r} needs shape 2d, not {rule.shape}.")
    pixel_nm = voxel_size[2] / NM_TO_ANGSTROM
    radius = int(rule.radius_nm // pixel_nm)
    if radius < 1:
        effect = "erase all of" if rule.kind == "colocalize" else "change nothing in"
        raise InputError(
            f"interact {rule.child!r}: radius_nm {rule.radius_nm:g} is less than one voxel ({pixel_nm:g} nm); as in "
            f"Ais this would {effect} it. The smallest usable radius is {pixel_nm:g} nm."
        )
    return radius


def apply_rules(
    predictions: Mapping[str, NDArray[Any]], rules: Iterable[Rule], voxel_size: Vector3, compat: Compat = ""
) -> dict[str, NDArray[Any]]:
    """All predictions after the rules, each rule on what the ones before it left. Inputs are not changed."""
    state = dict(predictions)
    for rule in rules:
        if isinstance(rule, Compete):
            state |= compete(state, rule)
        else:
            state[rule.child] = interact(state[rule.child], state[rule.parent], rule, voxel_size, compat)
    return state


def rules_halo(
    rules: Iterable[Rule], outputs: Iterable[str], voxel_size: Vector3, compat: Compat = ""
) -> dict[str, Index3]:
    """How far around a block each feature must be known, voxels z, y, x, for exact ``outputs``.

    The chain is walked from its end: an interaction adds its radius to what its child needs and hands it to the
    parent (radii add in sequence); several needs of one feature take the maximum.
    """
    need: dict[str, Index3] = dict.fromkeys(outputs, (0, 0, 0))
    for rule in reversed(list(rules)):
        if isinstance(rule, Compete):
            wanted = [need[name] for name in rule.absorb if name in need]
            _raise(need, rule.features if wanted else (), wanted)
        elif rule.child in need:
            reach = _reach(rule, voxel_size, compat)
            wide = index3(a + b for a, b in zip(need[rule.child], reach, strict=True))
            _raise(need, (rule.parent,), [wide])
    return need


def _raise(need: dict[str, Index3], names: Iterable[str], halos: list[Index3]) -> None:
    for name in names:
        known = [need[name]] if name in need else []
        need[name] = index3(max(axis) for axis in zip(*known, *halos, strict=True))


def _reach(rule: Interact, voxel_size: Vector3, compat: Compat) -> Index3:
    if compat == "ais":
        reach = ais_radius(rule, voxel_size) - 1
        return (0, reach, reach)
    radius = rule.radius_nm * NM_TO_ANGSTROM
    z, y, x = (math.floor(radius / v * (1 + SLACK)) for v in voxel_size)
    return (0, y, x) if rule.shape == "2d" else (z, y, x)
