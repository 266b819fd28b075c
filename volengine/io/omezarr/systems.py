"""Coordinate systems and transformations of NGFF 0.6 (RFC-5), as far as they place an image of voxels.

>>> systems = [{"name": "physical", "axes": [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]}]
>>> scale = {"type": "scale", "scale": [2.0, 1.0, 1.0], "input": {"path": "0"}, "output": {"name": "physical"}}
>>> entry = {"coordinateSystems": systems, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
>>> axes, transforms = read_systems(entry, "tomo.zarr")
>>> [axis["name"] for axis in axes], transforms
(['z', 'y', 'x'], [((2.0, 1.0, 1.0), (0.0, 0.0, 0.0))])

Each level has one transformation, from the indices of its array (input, the path of the array) into a coordinate system
(output, its name). The system into which all levels lead is the *intrinsic* one: the image in its physical space. Other
systems, and the transformations that lead on to them, say how images lie to each other; they are not needed here. The
source is https://ngff.openmicroscopy.org, version 0.6, sections ``coordinateSystems`` and ``multiscales``.

In its early drafts (0.6.dev1 to dev3) input and output are texts; these are read, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from volengine.core.errors import FormatError

Transform = tuple[tuple[float, ...] | None, tuple[float, ...]]
"""A scale (``None``: none is given) and a translation along each axis: ``position = scale * index + translation``."""

DEEPEST = 8
"""Deepest nesting of sequences that is read; the standard knows one."""


def read_systems(entry: Mapping[str, Any], where: str) -> tuple[list[Any], list[Transform]]:
    """Read coordinate systems and transformations of a multiscale image.

    Parameters
    ----------
    entry
        The image: its ``coordinateSystems`` and ``datasets``.
    where
        The group, for messages.

    Returns
    -------
    The axes of the intrinsic system, and the transformation of each level into it.

    Raises
    ------
    FormatError
        The levels do not lead into one system, or by a transformation that no image of parallel voxels has.
    """
    systems = _systems(entry.get("coordinateSystems"), where)
    datasets = list(entry.get("datasets") or ())
    paths = [str(item.get("path", "")) for item in datasets]
    steps = [_only_step(item, path, where) for item, path in zip(datasets, paths, strict=True)]
    names = {_output(step, systems, f"{where}, level {path!r}") for step, path in zip(steps, paths, strict=True)}
    if len(names) > 1:
        raise FormatError(
            f"{where}: the levels lead into different coordinate systems ({', '.join(sorted(map(repr, names)))}), but "
            "they belong to one image. Correct its metadata."
        )
    axes = systems[names.pop()] if names else []
    found = []
    for step, path in zip(steps, paths, strict=True):
        _check_input(step, path, paths, where)
        found.append(_transform(step, len(axes), f"{where}, level {path!r}", 0))
    return axes, found


def _systems(entries: Any, where: str) -> dict[str, list[Any]]:
    """Return the axes of each coordinate system by its name."""
    found: dict[str, list[Any]] = {}
    for item in entries if isinstance(entries, list) else ():
        name, axes = item.get("name"), item.get("axes")
        if not isinstance(name, str) or not name or not isinstance(axes, list) or not axes:
            raise FormatError(f"{where}: a coordinate system has no name or no axes. Correct its metadata.")
        if name in found:
            raise FormatError(f"{where}: two coordinate systems have the name {name!r}. Correct its metadata.")
        found[name] = axes
    if not found:
        raise FormatError(f"{where}: NGFF 0.6 metadata without coordinateSystems. Correct its metadata.")
    return found


def _only_step(item: Mapping[str, Any], path: str, where: str) -> Mapping[str, Any]:
    steps = item.get("coordinateTransformations")
    if not isinstance(steps, list) or len(steps) != 1 or not isinstance(steps[0], Mapping):
        count = len(steps) if isinstance(steps, list) else 0
        raise FormatError(
            f"{where}, level {path!r}: it has {count} coordinate transformations, but a level of NGFF 0.6 has exactly "
            "one. Correct its metadata."
        )
    return steps[0]


def _named(value: Any, key: str) -> str | None:
    """Return what an input or output says under ``key``; in early drafts it is the text itself."""
    found = value.get(key) if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else None


def _output(step: Mapping[str, Any], systems: Mapping[str, Any], where: str) -> str:
    name = _named(step.get("output"), "name")
    if name is None and len(systems) == 1:
        return next(iter(systems))
    if name not in systems:
        raise FormatError(
            f"{where}: its transformation leads into the coordinate system {name!r}, but there are "
            f"{', '.join(map(repr, systems))}. Correct its metadata."
        )
    return str(name)


def _check_input(step: Mapping[str, Any], path: str, paths: Sequence[str], where: str) -> None:
    """Refuse a transformation of another level; other inputs count as the level's own, as the standard says."""
    told = _named(step.get("input"), "path")
    if told is not None and told.strip("/") != path.strip("/") and told.strip("/") in {p.strip("/") for p in paths}:
        raise FormatError(
            f"{where}, level {path!r}: its transformation is that of level {told!r} (its input). Correct its metadata."
        )


def _transform(step: Any, ndim: int, where: str, depth: int) -> Transform:
    """Return a transformation as a scale and a translation."""
    kind = step.get("type") if isinstance(step, Mapping) else None
    ones, zeros = (1.0,) * ndim, (0.0,) * ndim
    if kind == "identity":
        return ones, zeros
    if kind == "scale":
        return _numbers(step, "scale", ndim, where), zeros
    if kind == "translation":
        return ones, _numbers(step, "translation", ndim, where)
    if kind == "affine":
        return _affine(step, ndim, where)
    if kind == "sequence" and depth < DEEPEST:
        scale, translation = ones, zeros
        inner_steps = step.get("transformations")
        if not isinstance(inner_steps, list) or not inner_steps:
            raise FormatError(f"{where}: a sequence of no transformations. Correct its metadata.")
        for inner in inner_steps:
            factors, shift = _transform(inner, ndim, where, depth + 1)
            assert factors is not None
            scale = tuple(a * b for a, b in zip(scale, factors, strict=True))
            translation = tuple(a * b + c for a, b, c in zip(translation, factors, shift, strict=True))
        return scale, translation
    raise FormatError(
        f"{where}: a coordinate transformation of type {kind!r} is not read; read are identity, scale, translation, "
        "sequences of these, and an affine without rotation. Resample the image to parallel axes, or store it with one "
        "of these."
    )


def _numbers(step: Mapping[str, Any], key: str, ndim: int, where: str) -> tuple[float, ...]:
    values = step.get(key)
    if values is None and "path" in step:
        raise FormatError(f"{where}: the {key} is stored in an array ({step['path']!r}); write it into the metadata.")
    if not isinstance(values, list) or len(values) != ndim:
        count = len(values) if isinstance(values, list) else "no"
        raise FormatError(f"{where}: a {key} of {count} numbers for {ndim} axes: {str(values)[:200]}.")
    return tuple(_number(value, key, where) for value in values)


def _number(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise FormatError(f"{where}: the {key} holds {str(value)[:200]!r}, which is no number.")
    return float(value)


def _affine(step: Mapping[str, Any], ndim: int, where: str) -> Transform:
    """Return an affine that neither turns nor shears: a matrix of ``ndim`` rows; its last column is the translation."""
    rows = step.get("affine")
    if not isinstance(rows, list) or len(rows) != ndim or any(not isinstance(r, list) for r in rows):
        stored = f" (it is stored in an array, {step['path']!r})" if "path" in step else ""
        raise FormatError(f"{where}: an affine transformation that is no matrix of {ndim} rows cannot be read{stored}.")
    if any(len(row) != ndim + 1 for row in rows):
        raise FormatError(f"{where}: an affine transformation of {ndim} axes has rows of {ndim + 1} numbers.")
    matrix = [[_number(value, "affine", where) for value in row] for row in rows]
    if any(matrix[i][j] != 0 for i in range(ndim) for j in range(ndim) if i != j):
        raise FormatError(
            f"{where}: an affine transformation that turns, shears or exchanges axes is not read: {str(rows)[:200]}. "
            "Resample the image to parallel axes."
        )
    return tuple(matrix[i][i] for i in range(ndim)), tuple(row[ndim] for row in matrix)
