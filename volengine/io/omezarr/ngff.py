"""OME-NGFF metadata: making the attributes that volengine writes, and interpreting those of any program.

The functions work on dictionaries and open no files. Versions 0.4 (attributes of a Zarr v2 group), 0.5 and 0.6 (below
``ome`` in a Zarr v3 group) are written; 0.1 to 0.6 are read.

>>> from volengine.core.image import Level
>>> level = Level("0", (64, 64, 64), (1, 1, 1), (64, 64, 64))
>>> spec = ImageSpec("tomo.zarr", "tomo", "float32", "intensity", (10.0, 10.0, 10.0), (level,))
>>> image = parse_multiscale(image_attributes(spec, token="3f2a"), "tomo.zarr")
>>> image.axes, angstrom_geometry(image, 0, "tomo.zarr")[0]
('zyx', (10.0, 10.0, 10.0))

In NGFF a position is ``scale * index + translation``, where integer indices are voxel centres. The first voxel of a
level that is ``f`` times coarser covers the fine voxels 0 to f - 1. So its centre is ``(f - 1) / 2`` fine voxels behind
the first fine one, and every level has its own translation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import volengine
from volengine.core.errors import FormatError, InputError
from volengine.core.feature_colours import WHITE, colour_of_feature, hexadecimal
from volengine.core.image import ImageSpec, Ngff
from volengine.io.omezarr.systems import Transform, read_systems

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
"""Angstrom per unit of length, for the names of NGFF and common abbreviations."""

SPACE = "zyx"

SYSTEM = "physical"
"""Name of the coordinate system of the images that are written in NGFF 0.6."""

NEWEST = (0, 6)
"""Newest version of NGFF that is read; its drafts (``0.6.dev4``, ``0.6rc0``) are read, too."""

MAX_LEVELS = 64
"""Most levels of an image that is read; each halves at least one axis, so no volume has as many."""


@dataclass(frozen=True)
class Dataset:
    """One level: the path of its array, and ``position = scale * index + translation`` along every axis of the store.

    ``scale`` is ``None`` if the metadata state none.
    """

    path: str
    scale: tuple[float, ...] | None
    translation: tuple[float, ...]


@dataclass(frozen=True)
class Multiscale:
    """The first multiscale image of a group.

    Parameters
    ----------
    version
        Version of NGFF.
    name
        Name of the image, ``""`` if none is given.
    axes
        One letter per axis in the order of the store: ``z``, ``y`` and ``x`` for space, ``c`` and ``t``.
    units
        Unit of each axis, ``""`` if none is given.
    datasets
        The levels, the finest first.
    is_label
        Whether it is a label image.
    channels
        Labels of the channels.
    ours
        The attributes that volengine has written.
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
    """Make the attributes of a new multiscale group, which is marked as not complete."""
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
    """Put NGFF keys where the version has them: at the top (0.4), or below ``ome`` with the version (0.5 and 0.6)."""
    return dict(ome) if spec.ngff == "0.4" else {"ome": {"version": spec.ngff, **ome}}


def ngff_for(zarr_format: int, attributes: Mapping[str, Any]) -> Ngff:
    """Return the version in which images are added to a store, which has one version: that of its root group."""
    if zarr_format == 2:
        return "0.4"
    return "0.6" if str(ome_part(attributes).get("version", "")).startswith("0.6") else "0.5"


def ome_part(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the NGFF keys of a group: those below ``ome``, or else all attributes."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def _multiscale(spec: ImageSpec) -> Attributes:
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in SPACE]
    datasets = [
        {"path": level.path, "coordinateTransformations": _steps(spec, number)}
        for number, level in enumerate(spec.levels)
    ]
    method = "mode" if spec.kind == "labels" else "mean"
    entry: Attributes = {
        "name": spec.name or "image",
        **({"coordinateSystems": [{"name": SYSTEM, "axes": axes}]} if spec.ngff == "0.6" else {"axes": axes}),
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


def _steps(spec: ImageSpec, number: int) -> list[Attributes]:
    """Return the transformations of a level: a scale, then a translation; in NGFF 0.6 both in one sequence."""
    volume = spec.volume(number)
    steps: list[Attributes] = [
        {"type": "scale", "scale": list(volume.voxel_size)},
        {"type": "translation", "translation": list(volume.origin)},
    ]
    if spec.ngff != "0.6":
        return steps
    ends = {"input": {"path": spec.levels[number].path}, "output": {"name": SYSTEM}}
    return [{"type": "sequence", **ends, "transformations": steps}]


def default_window(spec: ImageSpec) -> tuple[float, float] | None:
    """Return the display range that is known without reading voxels: 0 to 1 for a prediction; ``None`` for others."""
    if spec.kind == "probability":
        return (0.0, 255.0) if spec.dtype == "uint8" else (0.0, 1.0)
    return None


def omero(spec: ImageSpec, low: float, high: float, least: float, largest: float) -> Attributes:
    """Make the display block that napari, Neuroglancer and OMERO read, for one channel.

    Parameters
    ----------
    spec
        The image. The channel has the name of its feature, or of its tomogram. A prediction has the colour of its
        feature: ``colour`` of the facts (red, green, blue, 0 to 1), or else
        :func:`~volengine.core.feature_colours.colour_of_feature`. All other images are grey.
    low, high
        Values that are shown as black and white.
    least, largest
        Ends of the slider.
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
    """Return colour (red, green, blue, 0 to 255) and display range of a channel; ``None`` if they are not stated."""
    block = ome_part(attributes).get("omero")
    channels = block.get("channels") if isinstance(block, Mapping) else None
    known = isinstance(channels, list) and channel < len(channels) and isinstance(channels[channel], Mapping)
    entry: Mapping[str, Any] = channels[channel] if isinstance(channels, list) and known else {}
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
    """Interpret the first multiscale image that a group's attributes describe; ``None`` if there is none.

    Parameters
    ----------
    attributes
        Attributes of the group.
    where
        The group, for messages.

    Raises
    ------
    FormatError
        The metadata contradict each other, or their version is unknown.
    """
    try:
        return _parsed(attributes, where)
    except FormatError:
        raise
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise FormatError(f"{where}: the metadata 'multiscales' cannot be understood ({text}).") from error


def _parsed(attributes: Mapping[str, Any], where: str) -> Multiscale | None:
    ome = ome_part(attributes)
    entries = ome.get("multiscales")
    if not entries:
        return None
    if not isinstance(entries, Sequence) or not isinstance(entries[0], Mapping):
        raise FormatError(f"{where}: the metadata 'multiscales' is no list of images.")
    entry = entries[0]
    version = str(ome.get("version") or entry.get("version") or ("0.4" if "ome" not in attributes else "0.5"))
    _check_version(version, entry, where)
    if len(entry.get("datasets", ())) > MAX_LEVELS:
        raise FormatError(
            f"{where}: the image has {len(entry['datasets'])} levels; more than {MAX_LEVELS} are not read."
        )
    if "coordinateSystems" in entry:
        named, transforms = read_systems(entry, where)
        axes, units = _axes(named, where)
        datasets = tuple(
            Dataset(_path(item, where), *found) for item, found in zip(entry["datasets"], transforms, strict=True)
        )
    else:
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
        ours=_ours(attributes),
    )


def _check_version(version: str, entry: Mapping[str, Any], where: str) -> None:
    """Refuse a version that is not read, and metadata that are not those of their version."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) > NEWEST:
        raise FormatError(f"{where}: NGFF {version} is not read; versions 0.1 to 0.6 are. Convert it to 0.5.")
    new, systems = version.startswith("0.6"), "coordinateSystems" in entry
    if new and not systems:
        raise FormatError(f"{where}: NGFF {version} metadata without coordinateSystems. Correct its metadata.")
    if systems and not new:
        raise FormatError(
            f"{where}: it has coordinateSystems, which are those of NGFF 0.6, but states version {version}. Correct "
            "its metadata: 'version' below 'ome'."
        )
    if not systems and "axes" not in entry and version not in ("0.1", "0.2", "0.3"):
        raise FormatError(
            f"{where}: NGFF {version} metadata without axes; versions 0.1 to 0.6 can be read. Convert it to 0.5."
        )


def _ours(attributes: Mapping[str, Any]) -> Attributes:
    ours = attributes.get("volengine")
    if not isinstance(ours, Mapping):
        return {}
    parts = (ours.get("facts"), ours.get("found"))  # those of its creation, and what was found while it was made
    return {**ours, "facts": {name: fact for part in parts if isinstance(part, Mapping) for name, fact in part.items()}}


def _axes(entries: Any, where: str) -> tuple[str, tuple[str, ...]]:
    """Return axis letters and units. NGFF 0.1 and 0.2 have no axes (always t, c, z, y, x); 0.3 has names only."""
    names, units = [], []
    for entry in entries or "tczyx":
        item = {"name": entry} if isinstance(entry, str) else dict(entry)
        name, role = str(item.get("name", "")).lower(), item.get("type")
        if role == "space" and name in ("t", "c"):
            raise FormatError(f"{where}: the axis {name!r} is one of space; axes of space are z, y and x.")
        letter = {"channel": "c", "time": "t"}.get(str(role), name[:1])
        names.append(letter if role in ("channel", "time") else name)
        units.append(str(item.get("unit") or ""))
    axes = "".join(names)
    if any(len(n) != 1 or n not in "tczyx" for n in names) or len(set(axes)) < len(axes):
        raise FormatError(f"{where}: axes {names} cannot be read; known are t, c, z, y, x, each once.")
    if "y" not in axes or "x" not in axes:
        raise FormatError(f"{where}: axes {names} have no y and x.")
    return axes, tuple(units)


def _transform(entries: Any, ndim: int, where: str) -> Transform:
    """Combine a list of coordinate transformations, in order, to a scale (``None``: none given) and a translation."""
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
    """Interpret a level; the image's own transformation is applied after that of the level."""
    path = _path(item, where)
    scale, translation = _transform(item.get("coordinateTransformations"), ndim, f"{where}, level {path!r}")
    if outer[0] is not None:
        translation = tuple(a * b for a, b in zip(translation, outer[0], strict=True))
        scale = outer[0] if scale is None else tuple(a * b for a, b in zip(scale, outer[0], strict=True))
    translation = tuple(a + b for a, b in zip(translation, outer[1], strict=True))
    return Dataset(path, scale, translation)


def _path(item: Mapping[str, Any], where: str) -> str:
    path = str(item.get("path", ""))
    if ".." in path.split("/"):
        raise FormatError(f"{where}: the path {path!r} of a level leaves the store.")
    return path


def angstrom_geometry(
    image: Multiscale, number: int, where: str
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return voxel size and origin (centre of the first voxel) of a level, angstrom, z, y, x.

    For an image without z axis, the voxel size along z is that along x.

    Raises
    ------
    InputError
        Scale or unit are missing or not plausible; the message asks for ``--voxel-size``. Or the image is mirrored.
    """
    dataset = image.datasets[number]
    check_direction(image, number, where)
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
        if not abs(dataset.translation[at]) < float("inf"):
            raise InputError(f"{where}: axis {axis} has a translation of {dataset.translation[at]:g} {unit}. {ask}")
        sizes[axis], origins[axis] = _tidy(scale * factor), _tidy(dataset.translation[at] * factor)
    z = sizes.get("z", sizes["x"])
    return (z, sizes["y"], sizes["x"]), (origins.get("z", 0.0), origins["y"], origins["x"])


def check_direction(image: Multiscale, number: int, where: str) -> None:
    """Refuse a level of which an axis of space runs backwards: its voxels are those of a mirrored or turned specimen.

    Raises
    ------
    InputError
        A scale is negative.
    """
    for axis, scale in zip(image.axes, image.datasets[number].scale or (), strict=False):
        if axis in SPACE and scale < 0:
            raise InputError(
                f"{where}: axis {axis} has a scale of {scale:g}: it runs backwards. volengine does not turn volumes: "
                f"reverse the array along {axis}, and write it with a positive scale."
            )


def _tidy(value: float) -> float:
    """Round to 14 digits, so that 1.34 nm are 13.4 angstrom and not 13.400000000000002."""
    return float(f"{value:.14g}")
