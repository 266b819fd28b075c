"""What is drawn over the slices of a picture: predictions, labels, picks, surfaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.feature_colours import colour_of_feature
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3, Volume
from volengine.io.names import name_in_copick, same_tomogram, suffix_of
from volengine.io.open import OpenVolume
from volengine.io.picks import read_picks
from volengine.io.surfaces import SurfaceSet, open_surfaces
from volengine.ops.pictures import Colour, outline, overlay
from volengine.ops.slice_pictures import Lines, Panel, Rings
from volengine.ops.surfaces.section import section
from volengine.tasks.common.kinds import is_picks
from volengine.tasks.common.lying import Asked, Lattice, check_extent, lattice_of, lies_on, unless_said
from volengine.tasks.common.named import feature_of, open_sized, stored_name, tomogram_in
from volengine.tasks.picture.frame import Floats, Frame
from volengine.tasks.picture.reading import raster_of
from volengine.tasks.picture.recipe import LookRecipe, colour_of_label

MESHES = (".surfaces", ".ply", ".obj", ".stl", ".glb")
TINT, LINE = 0.6, 2
"""Opacity of a prediction of 1; width of the outlines of labels, pixels."""
SCALES = {"u": 255.0, "i": 255.0, "b": 1.0}
"""Stored value of a probability of 1, by the kind of an integer type."""


@dataclass(frozen=True)
class Overlay:
    """One overlay, opened.

    Parameters
    ----------
    name
        Its name in the key.
    colour
        Its colour; ``None``: each label has its own.
    kind
        What it is.
    offset
        Place of the centre of its first voxel in the volume below, angstrom, z, y, x.
    volume, picks, surfaces
        The thing itself, by its kind.
    """

    name: str
    colour: Colour | None
    kind: Literal["probability", "labels", "picks", "surfaces"]
    offset: Vector3 = (0.0, 0.0, 0.0)
    volume: OpenVolume | None = None
    picks: Picks | None = None
    surfaces: SurfaceSet | None = None


def open_overlay(path: str, number: int, volume: Volume, recipe: LookRecipe, notes: list[str]) -> Overlay:
    """Open an overlay and find out what it is.

    Parameters
    ----------
    path, number
        The file, and its number among the overlays.
    volume
        The volume below.
    recipe
        What is asked for.
    notes
        Sentences for the user are added.

    Raises
    ------
    InputError
        It has another extent or another origin than the volume, or its kind is not known.
    """
    given = recipe.colour_given(number)
    mine = Lattice(stored_name(volume), volume.origin, volume.voxel_size, volume.shape)
    asked = Asked(recipe.mask_grid, recipe.any_origin)
    if suffix_of(path) in MESHES:
        surfaces = open_surfaces(path)
        facts = surfaces.facts
        name, offset = facts.feature or Path(path).stem, (0.0, 0.0, 0.0)
        if facts.voxel_size is not None:
            other = Lattice(path, facts.origin, facts.voxel_size, facts.shape)
            check_extent(mine, other)
            lies = lies_on(mine, other, asked)
            offset = lies.grid.offset
            notes += lies.notes
            notes += _other_name(path, facts.tomogram, volume)
        return Overlay(name, given or colour_of_feature(name), "surfaces", offset, surfaces=surfaces)
    if is_picks(path):
        picks = _picks(path, volume, recipe)
        table = lattice_of(picks, path)
        check_extent(mine, table)
        lies = lies_on(mine, table, asked, unless_said(mine, table))
        notes += lies.notes
        name = picks.feature or Path(path).name.split(".")[0]
        return Overlay(name, given or colour_of_feature(name), "picks", lies.grid.offset, picks=picks)
    found = open_sized(path, volume.voxel_size)
    other = Lattice(path, found.origin, found.voxel_size, found.shape)
    check_extent(mine, other)
    lies = lies_on(mine, other, asked)
    notes += lies.notes
    feature = feature_of(found)
    notes += _other_name(path, tomogram_in(found.name, feature) if feature else "", volume)
    kind = _kind(found, path, recipe)
    name = feature_of(found) or Path(path.rstrip("/")).name.split(".")[0]
    colour = given or (colour_of_feature(name) if kind == "probability" else None)
    return Overlay(name, colour, kind, lies.grid.offset, volume=found)


def _other_name(path: str, tomogram: str, volume: Volume) -> list[str]:
    """Say it if an overlay is of a tomogram with another name; names alone prove nothing."""
    mine = tomogram_in(volume.name, feature_of(volume))
    if not tomogram or not mine or same_tomogram(mine, [tomogram]) is not None:
        return []
    return [f"{path} is of the tomogram {tomogram!r}, and the volume is {mine!r}."]


def _picks(path: str, volume: Volume, recipe: LookRecipe) -> Picks:
    """The picks of the volume's tomogram; what their table does not state is taken from the volume."""
    name = recipe.tomogram or volume.name or None
    origin = volume.origin if any(volume.origin) else None
    try:
        return read_picks(path, tomogram=name, volume_origin=origin)
    except (FormatError, MissingError):
        raise
    except InputError:
        return read_picks(path, voxel_size=volume.voxel_size, shape=volume.shape, tomogram=name, volume_origin=origin)


def _kind(volume: OpenVolume, path: str, recipe: LookRecipe) -> Literal["probability", "labels"]:
    if recipe.overlay_kind != "auto":
        return recipe.overlay_kind
    if volume.kind == "labels" or (volume.kind == "probability" and volume.stored):
        return volume.kind
    if volume.kind == "probability" or np.dtype(volume.dtype).kind == "f":
        return "probability"
    if "__" in name_in_copick(path):  # a segmentation of copick is one by its place
        return "labels"
    if volume.kind == "intensity" and volume.facts.get("history"):
        raise InputError(f"{path} is a tomogram by its own words (kind intensity), and no prediction or labels.")
    raise InputError(f"{path} holds {volume.dtype}: labels, or a prediction of 0 to 255? Say it: --overlay-kind.")


def draw(panel: Panel, overlays: list[Overlay], frame: Frame, recipe: LookRecipe) -> Panel:
    """Draw the overlays of one slice."""
    for one in overlays:
        if one.kind == "probability":
            panel = _draw_prediction(panel, one, frame, recipe)
        elif one.kind == "labels":
            panel = _draw_labels(panel, one, frame)
        elif one.picks is not None and one.colour is not None:
            places = np.asarray(one.picks.place) + one.offset
            rings = rings_of(places, frame, recipe.radius_nm, one.colour)
            panel = replace(panel, rings=(*panel.rings, rings))
        elif one.surfaces is not None and one.colour is not None:
            place = frame.place - one.offset[frame.axis]
            pieces = [section(surface, frame.axis, place) for surface in one.surfaces]
            ends = frame.to_pixels(np.concatenate([np.zeros((0, 2, 3)), *pieces]) + one.offset)
            panel = replace(panel, lines=(*panel.lines, Lines(ends, one.colour)))
    return panel


def _draw_prediction(panel: Panel, one: Overlay, frame: Frame, recipe: LookRecipe) -> Panel:
    assert one.volume is not None
    assert one.colour is not None
    scale = SCALES.get(np.dtype(one.volume.dtype).kind, 1.0)
    values = raster_of(one.volume, frame, one.offset) / scale
    least, largest = float(values.min()), float(values.max())
    if not (least >= -1e-3 and largest <= 1 + 1e-3):  # NaN, too
        raise InputError(
            f"{stored_name(one.volume)} holds values from {least:.4g} to {largest:.4g} in the slice, and is no "
            "prediction (0 to 1, integers to 255). Draw a tomogram alone, or labels with --overlay-kind labels."
        )
    if recipe.threshold is not None:
        mask = (values >= recipe.threshold).astype(np.int32)
        return replace(panel, raster=outline(panel.raster, mask, one.colour, width=LINE))
    return replace(panel, raster=overlay(panel.raster, values, one.colour, TINT))


def _draw_labels(panel: Panel, one: Overlay, frame: Frame) -> Panel:
    assert one.volume is not None
    labels = raster_of(one.volume, frame, one.offset, nearest=True)
    if labels.dtype.kind == "f" and not (labels == np.rint(labels)).all():
        raise InputError(f"{stored_name(one.volume)} holds fractions, and is no volume of labels.")
    labels = labels.astype(np.int64)
    raster = panel.raster
    if one.colour is not None:
        return replace(panel, raster=outline(raster, labels, one.colour, width=LINE))
    by_colour: dict[Colour, list[int]] = {}
    for label in np.unique(labels[labels != 0]).tolist():
        by_colour.setdefault(colour_of_label(label), []).append(label)
    for colour, some in by_colour.items():
        raster = outline(raster, np.where(np.isin(labels, some), labels, 0), colour, width=LINE)
    return replace(panel, raster=raster)


def rings_of(places: Floats, frame: Frame, radius_nm: float, colour: Colour) -> Rings:
    """The circles in which a slice cuts the balls around places (n, 3), angstrom; balls beside it have none."""
    radius = radius_nm * NM_TO_ANGSTROM
    away = np.abs(places[:, frame.axis] - frame.place)
    near = away < radius
    radii = np.sqrt(radius**2 - away[near] ** 2) / frame.angstrom_per_pixel
    return Rings(frame.to_pixels(places[near]).reshape(-1, 2), radii, colour)
