"""The reader of napari: stores, run folders, MRC files and picks as layers, at their places in angstrom.

napari finds :func:`get_reader` by the manifest ``napari.yaml`` beside this module. Nothing of napari is imported: a
reader gives back plain layer data, (array, arguments of the layer, kind of the layer).

>>> read = get_reader("TS_01.ome.zarr")                                  # doctest: +SKIP
>>> [(arguments["name"], kind) for _, arguments, kind in read("TS_01.ome.zarr")]   # doctest: +SKIP
[('TS_01', 'image'), ('TS_01 labels ribosome', 'labels')]

Volumes are Dask arrays, so only what is on the screen is read, from the resolution level that fits it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import VolengineError
from volengine.core.feature_colours import WHITE, Colour, colour_of_feature, hexadecimal
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.io.names import MRC_SUFFIXES, NODE_FILES, suffix_of
from volengine.io.omezarr.image_levels import ImageLevels
from volengine.io.omezarr.read import list_groups
from volengine.io.open import OpenVolume, open_volume
from volengine.io.picks import read_all
from volengine.tasks.common.layout import feature_named
from volengine.tasks.common.named import feature_in, feature_of, tomogram_in
from volengine.tasks.common.output_folders import FOLDERS, output_folder, sources_of, tomogram_of

Layer = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | list[str]], list[Layer]]

PICKS = (".star", ".tbl", ".tsv", ".csv")
DIAMETER_A = 100.0
"""Of points whose picks do not say their volume."""

log = logging.getLogger(__name__)


def get_reader(path: str | list[str]) -> Reader | None:
    """napari's question whether this can be opened: the reader, or ``None``."""
    paths = [path] if isinstance(path, str) else list(path)
    return read if paths and all(_layers_of(one) is not None for one in paths) else None


def read(path: str | list[str]) -> list[Layer]:
    """The layers of a store, a file, a run folder, or several of them.

    Raises
    ------
    VolengineError
        What cannot be read; napari shows the message.
    """
    layers: list[Layer] = []
    for one in [path] if isinstance(path, str) else path:
        make = _layers_of(one)
        layers += [] if make is None else make(one)
    return layers


def _layers_of(path: str) -> Callable[[str], list[Layer]] | None:
    """The function that makes the layers of a path, by its suffix and by what is in it."""
    place, suffix = Path(path), suffix_of(path)
    if suffix == ".zarr" or any((place / name).exists() for name in NODE_FILES):
        return store_layers
    if suffix in PICKS and not place.is_dir():
        return picks_layers
    if suffix in MRC_SUFFIXES:
        return file_layers
    return folder_layers if place.is_dir() and output_folder(place) is not None else None


# -- volumes -----------------------------------------------------------------------------------------------


def volume_layer(volume: OpenVolume, name: str, *, visible: bool = True) -> Layer:
    """A volume as an image or, if it holds labels, as labels; with all levels, lengths in angstrom."""
    shown = ImageLevels.of(volume) if volume.stored else ImageLevels("", 0, (volume.shape,))
    levels = [volume.at_level(number).to_dask() for number in range(len(shown.shapes))]
    data = levels if len(levels) > 1 else levels[0]
    arguments: dict[str, Any] = {"name": name, "visible": visible, **_grid(volume.voxel_size, volume.origin)}
    arguments["metadata"] = {"where": volume.where, "kind": volume.kind}
    if len(levels) > 1:
        arguments["multiscale"] = True
    if volume.kind == "labels":
        return data, {**arguments, "opacity": 0.5}, "labels"
    if shown.window is not None:
        arguments["contrast_limits"] = shown.window
    colour = _colour(volume, shown)
    if colour == WHITE:
        return data, {**arguments, "colormap": "gray"}, "image"
    return data, {**arguments, "colormap": f"#{hexadecimal(colour)}", "blending": "additive", "opacity": 0.7}, "image"


def _grid(voxel_size: Iterable[float], origin: Iterable[float]) -> dict[str, Any]:
    return {"scale": tuple(voxel_size), "translate": tuple(origin), "units": ("angstrom",) * 3}


def _colour(volume: Volume, shown: ImageLevels) -> Colour:
    """The store's colour; of a prediction whose store says none, that of its feature."""
    if volume.kind != "probability" or shown.colour is not None:
        return shown.colour or WHITE
    return colour_of_feature(_names(volume)[1] or volume.name)


def _names(volume: Volume) -> tuple[str, str]:
    """Tomogram and feature of a volume; no feature: it is a tomogram."""
    feature = feature_of(volume)
    return tomogram_in(volume.name, feature), feature


def file_layers(path: str) -> list[Layer]:
    """The layer of an MRC file."""
    volume = open_volume(path)
    return [volume_layer(volume, volume.name)]


def store_layers(path: str) -> list[Layer]:
    """The layers of a store: its image, then its labels; a layer for each channel."""
    return [layer for volume, name in _images(path) for layer in [volume_layer(volume, name)]]


def _images(path: str) -> list[tuple[OpenVolume, str]]:
    """The finished images of a store, and what their layers are called."""
    found = []
    for info in list_groups(path):
        if not info.complete:
            log.warning("%s %s is not finished, and not shown.", path, info.group)
            continue
        for channel in range(info.channels):
            chosen = channel if info.channels > 1 else None
            volume = open_volume(path, group=info.group, channel=chosen, identity="metadata")
            tomogram, feature = _names(volume)
            group = feature_named(info.group.removeprefix("labels/"))
            words = [tomogram, "labels" * info.group.startswith("labels/"), group or feature]
            words.append(str(channel) * (info.channels > 1))
            found.append((volume, " ".join(word for word in words if word)))
    return found


# -- picks -------------------------------------------------------------------------------------------------


def picks_layers(path: str) -> list[Layer]:
    """The layers of a table of picks: one for each tomogram."""
    feature = feature_in(Path(path).stem)
    return [points_layer(picks, feature) for picks in read_all(path).values()]


def points_layer(picks: Picks, feature: str = "", colour: Colour | None = None) -> Layer:
    """Picks as rings with the size of the particles where it is known, in their feature's colour.

    What else the table knows is in the layer's ``features``.
    """
    feature = picks.feature or feature
    frame = picks.to_pandas()
    kept = [name for name in frame.columns if name not in ("tomogram", "z_vox", "y_vox", "x_vox", "z_a", "y_a", "x_a")]
    volumes = picks.volume_a3 if picks.volume_a3 is not None else np.zeros(0)
    diameter = 2 * (3 * float(np.median(volumes)) / (4 * np.pi)) ** (1 / 3) if len(volumes) else DIAMETER_A
    arguments = {
        "name": " ".join(word for word in (picks.tomogram, "picks", feature) if word),
        "features": {name: frame[name].to_numpy() for name in kept},
        "size": max(3.0, diameter / float(np.mean(picks.voxel_size))),
        "face_color": "transparent",
        "border_color": f"#{hexadecimal(colour or colour_of_feature(feature or 'particle'))}",
        "projection_mode": "rescale_spherical",  # rings through the depth of the particle
        **_grid(picks.voxel_size, picks.origin),
    }
    return np.array(picks.position_vox), arguments, "points"


# -- run folders -------------------------------------------------------------------------------------------


@dataclass
class Found:
    """What an output folder has of one tomogram; predictions by feature, the gated ones beside those before."""

    tomograms: list[OpenVolume] = field(default_factory=list)
    labels: list[tuple[OpenVolume, str]] = field(default_factory=list)
    predictions: dict[str, OpenVolume] = field(default_factory=dict)
    gated: dict[str, OpenVolume] = field(default_factory=dict)
    tables: dict[str, Path] = field(default_factory=dict)


def folder_layers(path: str) -> list[Layer]:
    """The layers of the first tomogram of an output folder (or of the run folder in it): it, what was predicted, labels
    and picks. Of several tomograms the names of the others are logged."""
    folder = output_folder(Path(path))
    if folder is None:
        return []
    if suffix_of(str(folder)) == ".zarr":
        return store_layers(str(folder))
    stores = {where: sorted((folder / where).glob("*.zarr")) for where in FOLDERS}
    tables = [file for file in sorted((folder / "picks").glob("*")) if file.suffix in PICKS]
    tables += sorted(folder.glob("*.star"))
    names = sorted({tomogram_of(file) for files in (*stores.values(), tables) for file in files})
    if not names:
        return []
    if len(names) > 1:
        log.warning(
            "%s has %d tomograms; %s is shown. The others: %s.", folder, len(names), names[0], ", ".join(names[1:])
        )
    found = Found(tables={feature_in(f.stem): f for f in tables if tomogram_of(f) == names[0]})
    for where, files in stores.items():
        for file in (f for f in files if tomogram_of(f) == names[0]):
            _sort_in(found, where, str(file))
    if not found.tomograms:
        found.tomograms = sources_of(folder, names[0])
    return _layers(found, names[0])


def _sort_in(found: Found, where: str, store: str) -> None:
    for volume, name in _images(store):
        if volume.kind == "labels":
            found.labels.append((volume, name))
        elif volume.kind == "probability":
            (found.gated if where == "gated" else found.predictions)[_names(volume)[1] or volume.name] = volume
        else:
            found.tomograms.append(volume)


def _layers(found: Found, tomogram: str) -> list[Layer]:
    layers = [volume_layer(volume, volume.name) for volume in found.tomograms]
    for feature, volume in found.predictions.items():
        layers.append(volume_layer(volume, f"{tomogram} {feature}", visible=feature not in found.gated))
    for feature, volume in found.gated.items():
        layers.append(volume_layer(volume, f"{tomogram} {feature} gated"))
    layers += [volume_layer(volume, name) for volume, name in found.labels]
    grids = [*found.tomograms, *found.predictions.values(), *found.gated.values()]
    for feature, file in found.tables.items():
        known = found.gated.get(feature) or found.predictions.get(feature)
        colour = None if known is None else _colour(known, ImageLevels.of(known))
        layers += [points_layer(picks, feature, colour) for picks in _read_picks(file, grids)]
    return layers


def _read_picks(file: Path, grids: list[OpenVolume]) -> Iterable[Picks]:
    """The picks of a table on the grid of the tomogram that they are of; a table that cannot be read is left out."""
    known: dict[str, Any] = {}
    if grids:
        known = {"voxel_size": grids[0].voxel_size, "origin": grids[0].origin, "shape": grids[0].shape}
    try:
        return read_all(file, **known).values()
    except VolengineError as error:
        log.warning("Not shown: %s", error)
        return ()
