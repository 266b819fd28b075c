"""OME-NGFF metadata: what volengine writes, and what it understands of other people's.

Pure dictionaries, no files. Versions 0.4 (attributes of a Zarr v2 group) and 0.5 (below ``ome`` in a Zarr v3
group) are written; 0.1 to 0.5 are read.

>>> attributes = image_attributes(spec, token="3f2a")      # for create_image
>>> multiscale = parse_multiscale(attributes, "tomo.zarr")
>>> multiscale.axes, multiscale.unit_scale(0)              # "zyx", angstrom per voxel

In NGFF a position is ``scale * index + translation`` with the index of a voxel's centre. The first voxel of a
level that is ``f`` times coarser covers the fine voxels 0 to f - 1, so its centre lies ``(f - 1) / 2`` fine voxels
behind the first one: every level has its own translation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import volengine
from volengine.core.errors import FormatError, InputError
from volengine.core.feature_colours import WHITE, colour_of_feature, hexadecimal
from volengine.core.image import ImageSpec

Attributes = dict[str, Any]

ANGSTROM: dict[str, float] = {
    "angstrom": 1.0, "ångström": 1.0, "ångstrom": 1.0, "å": 1.0, "a": 1.0,
    "picometer": 1e-2, "picometre": 1e-2, "pm": 1e-2,
    "nanometer": 10.0, "nanometre": 10.0, "nm": 10.0,
    "micrometer": 1e4, "micrometre": 1e4, "micron": 1e4, "um": 1e4, "µm": 1e4, "μm": 1e4,
    "millimeter": 1e7, "millimetre": 1e7, "mm": 1e7,
    "centimeter": 1e8, "centimetre": 1e8, "cm": 1e8,
    "meter": 1e10, "metre": 1e10, "m": 1e10,
    "inch": 2.54e8, "foot": 3.048e9, "yard": 9.144e9,
}  # fmt: skip
"""Angstrom per unit of length, for the names that NGFF lists and the abbreviations that stores use."""

SPACE = "zyx"


@dataclass(frozen=True)
class Dataset:
    """One level: where its array is, and ``position = scale * index + translation`` along every axis."""

    path: str
    scale: tuple[float, ...] | None
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """The first multiscale image of a group.

    Parameters
    ----------
    axes
        One letter per axis in the order of the store, ``z y x`` for space, ``c`` and ``t``.
    units
        The unit of each axis, ``""`` where none is given.
    """

    version: str
    name: str
    axes: str
    units: tuple[str, ...]
    datasets: tuple[Dataset, ...]
    is_label: bool = False
    channels: tuple[str, ...] = ()
    ours: Attributes = field(default_factory=dict)


def image_attributes(spec: ImageSpec, token: str) -> Attributes:
    """The attributes of a new multiscale group, not complete yet."""
    ome: Attributes = {"multiscales": [_multiscale(spec)]}
    if spec.kind == "labels":
        ome["image-label"] = {"version": "0.4"} if spec.ngff == "0.4" else {}
        if spec.group.startswith("labels/"):
            ome["image-label"]["source"] = {"image": "../../"}
    if (window := default_window(spec)) is not None:
        ome["omero"] = omero(spec, *window, *window)
    ours: Attributes = {
        "version": volengine.__version__,
        "complete": False,
        "token": token,
        "kind": spec.kind,
        "name": spec.name,
        "facts": dict(spec.facts),
    }
    if spec.kind == "probability":
        ours["one"] = 255 if spec.dtype == "uint8" else 1
    return {**wrap_ome(spec, ome), "volengine": ours}


def wrap_ome(spec: ImageSpec, ome: Attributes) -> Attributes:
    """NGFF keys where the version wants them: at the top (0.4), or below ``ome`` with the version (0.5)."""
    return {"ome": {"version": "0.5", **ome}} if spec.ngff == "0.5" else dict(ome)


def ome_part(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The NGFF keys of a group, wherever its version keeps them."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def _multiscale(spec: ImageSpec) -> Attributes:
    datasets = []
    for number, level in enumerate(spec.levels):
        volume = spec.volume(number)
        datasets.append(
            {
                "path": level.path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(volume.voxel_size)},
                    {"type": "translation", "translation": list(volume.origin)},
                ],
            }
        )
    method = "mode" if spec.kind == "labels" else "mean"
    entry: Attributes = {
        "name": spec.name or "image",
        "axes": [{"name": axis, "type": "space", "unit": "angstrom"} for axis in SPACE],
        "datasets": datasets,
        "type": method,
        "metadata": {
            "method": "volengine.ops.pyramid.pyramid",
            "version": volengine.__version__,
            "description": f"{method} of the next finer level, rounded half to even; last voxel repeated at the end",
            "factors": [list(level.factor) for level in spec.levels],
        },
    }
    if spec.ngff == "0.4":
        entry["version"] = "0.4"
    return entry


def default_window(spec: ImageSpec) -> tuple[float, float] | None:
    """The display range that is known without looking: 0 to 1 of a prediction. Labels need none."""
    if spec.kind == "probability":
        return (0.0, 255.0) if spec.dtype == "uint8" else (0.0, 1.0)
    return None


def omero(spec: ImageSpec, low: float, high: float, least: float, largest: float) -> Attributes:
    """The display block that napari, Neuroglancer and OMERO read: one channel shown from ``low`` to ``high``.

    ``least`` and ``largest`` are the ends of the slider. The channel has the feature's name, or the tomogram's. A
    prediction has its feature's colour: ``colour`` of the facts (red, green, blue, 0 to 1), else
    :func:`~volengine.core.feature_colours.colour_of_feature`; everything else is grey.
    """
    window = {"min": least, "max": largest, "start": low, "end": high}
    label = str(spec.facts.get("feature") or spec.name or "image")
    colour = WHITE
    if spec.kind == "probability":
        feature = str(spec.facts.get("feature") or spec.name.rpartition("__")[2])
        colour = colour_of_feature(feature, spec.facts.get("colour"))
    channel = {"label": label, "color": hexadecimal(colour), "active": True, "window": window}
    return {"channels": [channel], "rdefs": {"model": "greyscale" if colour == WHITE else "color"}}


def display_of(
    attributes: Mapping[str, Any], channel: int = 0
) -> tuple[tuple[int, int, int] | None, tuple[float, float] | None]:
    """Colour (red, green, blue, 0 to 255) and range of values in which viewers show a channel; ``None``: not said."""
    channels = (ome_part(attributes).get("omero") or {}).get("channels") or ()
    entry = channels[channel] if channel < len(channels) and isinstance(channels[channel], Mapping) else {}
    colour, window = str(entry.get("color") or ""), entry.get("window") or {}
    try:
        low, high = float(window["start"]), float(window["end"])
        shown = (low, high) if low < high else None
    except (KeyError, TypeError, ValueError):
        shown = None
    if not re.fullmatch(r"[0-9A-Fa-f]{6}", colour):
        return None, shown
    return (int(colour[:2], 16), int(colour[2:4], 16), int(colour[4:], 16)), shown


def parse_multiscale(attributes: Mapping[str, Any], where: str) -> Multiscale | None:
    """The first multiscale image that a group's attributes describe; ``None`` if there is none.

    Raises
    ------
    FormatError
        If the metadata contradict themselves or are of a version that is not known.
    """
    ome = ome_part(attributes)
    entries = ome.get("multiscales")
    if not entries:
        return None
    if not isinstance(entries, Sequence) or not isinstance(entries[0], Mapping):
        raise FormatError(f"{where}: the metadata 'multiscales' is no list of images.")
    entry = entries[0]
    version = str(ome.get("version") or entry.get("version") or ("0.4" if "ome" not in attributes else "0.5"))
    if "coordinateSystems" in entry or ("axes" not in entry and version not in ("0.1", "0.2", "0.3")):
        raise FormatError(
            f"{where}: NGFF {version} metadata without axes; versions 0.1 to 0.5 can be read. Convert it to 0.5."
        )
    axes, units = _axes(entry.get("axes"), where)
    outer = _transform(entry.get("coordinateTransformations"), len(axes), where)
    datasets = tuple(_dataset(item, outer, len(axes), where) for item in entry.get("datasets", ()))
    if not datasets:
        raise FormatError(f"{where}: the multiscale image has no datasets.")
    labels = [str(c.get("label", "")) for c in (ome.get("omero") or {}).get("channels") or () if isinstance(c, Mapping)]
    return Multiscale(
        version=version,
        name=str(entry.get("name") or ""),
        axes=axes,
        units=units,
        datasets=datasets,
        is_label="image-label" in ome,
        channels=tuple(labels),
        ours=dict(attributes.get("volengine") or {}),
    )


def _axes(entries: Any, where: str) -> tuple[str, tuple[str, ...]]:
    """Axis letters and units; 0.1 and 0.2 have no axes and are always t, c, z, y, x, 0.3 has bare names."""
    names, units = [], []
    for entry in entries or "tczyx":
        item = {"name": entry} if isinstance(entry, str) else dict(entry)
        name, role = str(item.get("name", "")).lower(), item.get("type")
        letter = {"channel": "c", "time": "t"}.get(str(role), name[:1])
        names.append(letter if role in ("channel", "time") else name)
        units.append(str(item.get("unit") or ""))
    axes = "".join(names)
    if any(len(n) != 1 or n not in "tczyx" for n in names) or len(set(axes)) < len(axes):
        raise FormatError(f"{where}: axes {names} cannot be read; known are t, c, z, y, x, each once.")
    if "y" not in axes or "x" not in axes:
        raise FormatError(f"{where}: axes {names} have no y and x.")
    return axes, tuple(units)


Transform = tuple[tuple[float, ...] | None, tuple[float, ...]]


def _transform(entries: Any, ndim: int, where: str) -> Transform:
    """Scale (``None``: not given) and translation of a list of coordinate transformations, applied in order."""
    scale: tuple[float, ...] | None = None
    translation = (0.0,) * ndim
    for entry in entries or ():
        kind = entry.get("type")
        if kind == "identity":
            continue
        values = entry.get(kind) if kind in ("scale", "translation") else None
        if values is None:
            raise FormatError(f"{where}: a coordinate transformation of type {kind!r} cannot be read.")
        if len(values) != ndim:
            raise FormatError(f"{where}: a {kind} of {len(values)} numbers for {ndim} axes: {values}.")
        numbers = tuple(float(v) for v in values)
        if kind == "scale":
            scale = numbers if scale is None else tuple(a * b for a, b in zip(scale, numbers, strict=True))
            translation = tuple(a * b for a, b in zip(translation, numbers, strict=True))
        else:
            translation = tuple(a + b for a, b in zip(translation, numbers, strict=True))
    return scale, translation


def _dataset(item: Mapping[str, Any], outer: Transform, ndim: int, where: str) -> Dataset:
    """A level with the image's own transformation applied after the level's."""
    path = str(item.get("path", ""))
    scale, translation = _transform(item.get("coordinateTransformations"), ndim, f"{where}, level {path!r}")
    if outer[0] is not None:
        translation = tuple(a * b for a, b in zip(translation, outer[0], strict=True))
        scale = outer[0] if scale is None else tuple(a * b for a, b in zip(scale, outer[0], strict=True))
    translation = tuple(a + b for a, b in zip(translation, outer[1], strict=True))
    return Dataset(path, scale, translation)


def angstrom_geometry(
    image: Multiscale, number: int, where: str
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Voxel size and origin (centre of the first voxel) of a level in angstrom, z, y, x.

    An image without z gets the voxel size of x there.

    Raises
    ------
    InputError
        If scale or unit are missing or make no sense; asks for ``--voxel-size``.
    """
    dataset = image.datasets[number]
    ask = "Give the voxel size in angstrom with --voxel-size."
    if dataset.scale is None:
        raise InputError(f"{where}: the metadata (NGFF {image.version}) give no scale. {ask}")
    sizes, origins = {}, {}
    for axis in SPACE:
        if axis not in image.axes:
            continue
        at = image.axes.index(axis)
        unit, scale = image.units[at], dataset.scale[at]
        factor = ANGSTROM.get(unit.strip().lower())
        if factor is None:
            what = f"the unit {unit!r}" if unit else "no unit"
            raise InputError(f"{where}: axis {axis} has a scale of {scale:g} and {what}. {ask}")
        if not 0 < scale < float("inf"):
            raise InputError(f"{where}: axis {axis} has a scale of {scale:g} {unit}. {ask}")
        sizes[axis], origins[axis] = _tidy(scale * factor), _tidy(dataset.translation[at] * factor)
    z = sizes.get("z", sizes["x"])
    return (z, sizes["y"], sizes["x"]), (origins.get("z", 0.0), origins["y"], origins["x"])


def _tidy(value: float) -> float:
    """Without the last digits that a change of unit leaves behind (1.34 nm is 13.4, not 13.400000000000002)."""
    return float(f"{value:.14g}")
