"""The scene of a tomogram: it, and what was found in it, opened and put in place, as layers.

Layers lie as ``volengine picture`` draws them, by the same rules and with the same refusals. What cannot be shown is
left out, and a note says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError, InputError, VolengineError
from volengine.core.feature_colours import WHITE, Colour, colour_of_feature
from volengine.core.volume import Vector3, Volume
from volengine.io.cached import ChunkCache
from volengine.io.names import suffix_of
from volengine.io.omezarr.image_levels import ImageLevels
from volengine.io.omezarr.read import list_groups
from volengine.io.open import OpenVolume, open_volume
from volengine.io.picks import read_picks
from volengine.io.surfaces import SurfaceSet, open_surfaces
from volengine.tasks.common.lying import Asked, Lattice, lies_on
from volengine.tasks.common.named import feature_of, stored_place
from volengine.tasks.common.output_folders import sources_of
from volengine.tasks.picture.overlays import Overlay, open_overlay
from volengine.tasks.picture.recipe import LookRecipe
from volengine.web.view.find import TRUTH, Thing, Tomogram, identity_for
from volengine.web.view.marks import Marks
from volengine.web.view.pyramid import Pyramid
from volengine.web.view.recipe import ViewRecipe

Kind = Literal["intensity", "probability", "labels", "picks", "axes", "surfaces"]
PERCENTILES = (0.5, 99.5)
"""Of voxels of a tomogram that are black and white, where its store states no display range."""
LOOKED_AT = 1024
"""Side of the part of three slices from which they are found, voxels."""
SCALES = {"u": 255.0, "i": 255.0}
"""Stored value of a probability of 1, by the kind of an integer type."""
FEW = 100
"""Particles whose axes are on at first; those of more hide the rest."""
DEFAULT_VOXEL_A = 10.0
"""Voxel size of a scene of meshes alone, which state none."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Parameters
    ----------
    key
        Its name in addresses: letters and digits, the same wherever the server runs.
    name
        Its name for people.
    kind
        What it is.
    served
        What is sent of it.
    place
        ``offset`` and ``half``: what is added to places, angstrom, z, y, x.
    colour
        Its colour; ``None``: grey, or a colour for each label.
    visible
        Whether it is on at first.
    window
        Values that are black and white, or transparent and in full colour.
    numbers
        Numbers of surfaces; least and largest weight of picks.
    path
        Of a tomogram: what opens it.
    overlay
        Of other layers: what a picture draws.
    """

    key: str
    name: str
    kind: Kind
    served: Pyramid | Marks | SurfaceSet
    place: dict[str, Vector3]
    colour: Colour | None = None
    visible: bool = True
    window: tuple[float, float] = (0.0, 1.0)
    numbers: tuple[float, ...] = ()
    path: str = ""
    overlay: Overlay | None = None


@dataclass(frozen=True)
class Scene:
    """A tomogram and its layers.

    Parameters
    ----------
    name
        Of the tomogram.
    grid
        The voxels that are counted: those of the tomogram, else of what there is.
    layers
        The lowest first.
    notes
        What the user should know: what is not shown and why, what was assumed.
    """

    name: str
    grid: Volume
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]

    def layer(self, key: str) -> Layer | None:
        """The layer of a key."""
        return next((one for one in self.layers if one.key == key), None)


@dataclass
class _Making:
    """A scene that is being put together."""

    tomogram: Tomogram
    recipe: ViewRecipe
    cache: ChunkCache
    layers: list[Layer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, name: str, kind: Kind, served: Pyramid | Marks | SurfaceSet, place: dict[str, Vector3], **more: Any
    ) -> None:
        names = {one.name for one in self.layers}
        unique = next(n for n in (name, *(f"{name} {k}" for k in range(2, len(names) + 3))) if n not in names)
        text = "\0".join([self.tomogram.name, kind, unique])
        key = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.layers.append(Layer(key, unique, kind, served, place, **more))


def open_scene(tomogram: Tomogram, recipe: ViewRecipe, cache: ChunkCache) -> Scene:
    """Open what there is of a tomogram.

    Parameters
    ----------
    tomogram
        What was found.
    recipe
        How it is shown.
    cache
        For chunks of all layers.

    Raises
    ------
    VolengineError
        Nothing of it can be shown; the message says why.
    """
    making = _Making(tomogram, recipe, cache, notes=list(tomogram.notes))
    images = list(_images(making))
    if tomogram.folder is not None and not any(_is_tomogram(v, t) for v, t, _ in images):
        images = [(v, Thing(v.url, "volume"), v.url) for v in sources_of(tomogram.folder, tomogram.name)] + images
    images.sort(key=lambda one: not _is_tomogram(one[0], one[1]))  # the others stay in their order
    others = [thing for thing in tomogram.things if thing.role != "volume"]
    grid: Volume = images[0][0] if images else _grid_of(making, others)
    for volume, thing, path in images:
        _with_notes(making, path, _add_image, grid, volume, thing, path)
    for thing in others:
        _with_notes(making, thing.path, _add_other, grid, thing)
    if not making.layers:
        raise InputError(" ".join(making.notes) or f"{tomogram.name}: there is nothing to show.")
    return Scene(tomogram.name, grid, tuple(_shown(making.layers)), tuple(dict.fromkeys(making.notes)))


def _with_notes(making: _Making, path: str, add: Any, *arguments: Any) -> None:
    """Add a layer; if it cannot be shown, note why."""
    try:
        add(making, *arguments)
    except (VolengineError, OSError) as error:
        making.notes.append(f"Not shown: {error}" if path in str(error) else f"Not shown: {path}: {error}")


# -- volumes -----------------------------------------------------------------------------------------------


def _images(making: _Making) -> Iterator[tuple[OpenVolume, Thing, str]]:
    """The images of all volumes, with what opens them again."""
    for thing in (one for one in making.tomogram.things if one.role == "volume"):
        for path in _groups(making, thing.path):
            try:
                yield _opened(path, making.recipe), thing, path
            except (VolengineError, OSError) as error:
                making.notes.append(f"Not shown: {error}")


def _opened(path: str, recipe: ViewRecipe) -> OpenVolume:
    return open_volume(path, voxel_size=recipe.voxel_size, channel=recipe.channel, identity=identity_for(path))


def _groups(making: _Making, path: str) -> list[str]:
    """The finished images of a store, as paths; a file is one itself."""
    if suffix_of(path) != ".zarr" or "#" in path:
        return [path]
    try:
        found = list_groups(path)
    except (VolengineError, OSError) as error:
        making.notes.append(f"Not shown: {error}")
        return []
    making.notes += [f"{path} {one.group}: is not finished, and not shown." for one in found if not one.complete]
    return [f"{path}#{one.group}" if one.group else path for one in found if one.complete]


def _is_tomogram(volume: OpenVolume, thing: Thing) -> bool:
    return volume.kind == "intensity" and not feature_of(volume) and thing.folder != "overlay"


def _add_image(making: _Making, grid: Volume, volume: OpenVolume, thing: Thing, path: str) -> None:
    if _is_tomogram(volume, thing):
        lies = lies_on(_lattice(grid), _lattice(volume), _asked(making.recipe))
        making.notes += lies.notes
        name = "tomogram" if volume is grid else f"tomogram {Path(volume.url.rstrip('/')).name}"
        window, invert = contrast_of(volume), making.recipe.invert
        place = {"offset": lies.grid.offset, "half": half_of(grid)}
        shown = (window[1], window[0]) if invert else window
        pyramid = Pyramid(volume, making.cache)
        making.add(name, "intensity", pyramid, place, window=shown, visible=volume is grid, path=path)
        return
    found = _overlay(making, path, grid)
    assert found.volume is not None
    kind: Kind = "labels" if found.kind == "labels" else "probability"
    pyramid = Pyramid(found.volume, making.cache, labels=kind == "labels")
    place = {"offset": found.offset, "half": half_of(grid)}
    name = " ".join(word for word in (found.name, *_words(thing, kind, path)) if word)
    if kind == "labels":
        making.add(name, kind, pyramid, place, overlay=found)
        return
    top = SCALES.get(np.dtype(found.volume.dtype).kind, 1.0)
    colour = _stated_colour(found.volume) or found.colour
    shown_so = replace(found, colour=colour)
    making.add(name, kind, pyramid, place, colour=colour, window=(0.0, top), overlay=shown_so)


def _words(thing: Thing, kind: Kind, path: str) -> tuple[str, ...]:
    """What tells layers of one feature apart."""
    if thing.folder in TRUTH or path.rpartition("#labels/")[2] in TRUTH:
        return ("(truth)",)
    return ("gated" if thing.folder == "gated" else "", "labels" if kind == "labels" else "")


def _stated_colour(volume: OpenVolume) -> Colour | None:
    colour = ImageLevels.of(volume).colour if volume.stored else None
    return None if colour == WHITE else colour


def _overlay(making: _Making, path: str, grid: Volume) -> Overlay:
    recipe = making.recipe
    look = LookRecipe(
        overlay=(path,),
        overlay_kind=recipe.overlay_kind,
        mask_grid=recipe.mask_grid,
        any_origin=recipe.any_origin,
        tomogram=making.tomogram.name or None,
    )
    return open_overlay(path, 0, grid, look, making.notes)


def _lattice(volume: Volume) -> Lattice:
    return Lattice(stored_place(volume), volume.origin, volume.voxel_size, volume.shape)


def _asked(recipe: ViewRecipe) -> Asked:
    return Asked(recipe.mask_grid, recipe.any_origin)


def half_of(grid: Volume) -> Vector3:
    """Half a voxel of the scene, angstrom: the viewer's begin at whole numbers, ours have their centres there."""
    z, y, x = (size / 2 for size in grid.voxel_size)
    return z, y, x


def contrast_of(volume: OpenVolume) -> tuple[float, float]:
    """The values that are black and white: the display range of the store, else percentiles of three slices."""
    if volume.kind == "labels":
        return 0.0, 1.0
    if (stated := volume.display_range) is not None:
        return stated
    small = volume.at_level(len(volume.levels) - 1)
    nz, ny, nx = small.shape
    (y, h), (x, w) = ((max(0, (n - LOOKED_AT) // 2), min(n, LOOKED_AT)) for n in (ny, nx))
    slices = sorted({nz // 4, nz // 2, (3 * nz) // 4})
    values = np.concatenate([small.read(Box((z, y, x), (z + 1, y + h, x + w))).ravel() for z in slices]).astype(
        np.float64
    )
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, PERCENTILES))
    return (low, high) if high > low else (low, low + 1.0)


# -- picks and surfaces ------------------------------------------------------------------------------------


def _grid_of(making: _Making, things: Sequence[Thing]) -> Volume:
    """Voxels for a scene without a volume: those of the first table or set that states them."""
    for thing in things:
        try:
            if thing.role == "picks":
                name = making.tomogram.name or None
                picks = read_picks(thing.path, voxel_size=_size(making.recipe), tomogram=name)
                ends = np.ceil(picks.position_vox.max(axis=0)) + 1 if len(picks) else np.ones(3)
                return _stub(
                    thing.path, picks.voxel_size, picks.origin, picks.shape or index3(np.maximum(ends, 1).astype(int))
                )
            facts = open_surfaces(thing.path).facts
            size = facts.voxel_size or (DEFAULT_VOXEL_A,) * 3
            ends = np.max([one.vertices.max(axis=0) for one in open_surfaces(thing.path)], axis=0)
            reach = np.maximum(np.ceil(ends / np.asarray(size)) + 1, 1).astype(int)
            return _stub(thing.path, size, facts.origin, facts.shape or index3(reach.tolist()))
        except (VolengineError, OSError) as error:
            making.notes.append(f"Not shown: {error}")
    raise InputError(" ".join(making.notes) or f"{making.tomogram.name}: there is nothing to show.")


def _stub(path: str, size: Vector3, origin: Vector3, shape: Index3) -> Volume:
    return Volume(path, shape, "uint8", size, origin=origin)


def _size(recipe: ViewRecipe) -> Vector3 | None:
    size = recipe.voxel_size
    return (size, size, size) if isinstance(size, float) else size


def _add_other(making: _Making, grid: Volume, thing: Thing) -> None:
    if thing.role == "surfaces" and Path(thing.path).is_dir() and thing.folder == "truth":
        surfaces = open_surfaces(thing.path)  # files in the places of the sample; they state no voxel size
        truth = Overlay("membrane", colour_of_feature("membrane"), "surfaces", surfaces=surfaces)
        _add_surfaces(making, grid, surfaces, "truth membrane", truth)
        return
    found = _overlay(making, thing.path, grid)
    if found.picks is not None:
        _add_picks(making, grid, found)
    elif found.surfaces is not None:
        _add_surfaces(making, grid, found.surfaces, f"{found.name} surface", found)
    else:
        raise FormatError(f"{thing.path}: holds neither picks nor surfaces.")


def _add_picks(making: _Making, grid: Volume, found: Overlay) -> None:
    assert found.picks is not None
    picks, half, radius = found.picks, half_of(grid), making.recipe.radius_nm
    of_feature = next(
        (one.colour for one in making.layers if one.kind == "probability" and one.name == found.name), None
    )
    weights = picks.weight if picks.weight is not None else np.zeros(0)
    weights = weights[np.isfinite(weights)]
    numbers = (float(weights.min()), float(weights.max())) if len(weights) else ()
    place = {"offset": found.offset, "half": half}
    name = f"{found.name} picks"
    balls = Marks.balls(picks, found.offset, half, radius)
    colour = of_feature or found.colour
    shown_so = replace(found, colour=colour)
    making.add(name, "picks", balls, place, colour=colour, numbers=numbers, overlay=shown_so)
    axes = Marks.axes(picks, found.offset, half, radius)
    if axes is not None and len(axes):
        making.add(f"{name} axes", "axes", axes, place, visible=len(picks) <= FEW)


def _add_surfaces(making: _Making, grid: Volume, surfaces: SurfaceSet, name: str, found: Overlay) -> None:
    numbers = tuple(row["number"] for row in surfaces.rows)
    place = {"offset": found.offset, "half": half_of(grid)}
    making.add(name, "surfaces", surfaces, place, colour=found.colour, numbers=numbers, overlay=found)


def _shown(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Which layers are on at first: not what hides others (predictions before the rules, labels of picks)."""
    gated = {
        one.name.removesuffix(" gated") for one in layers if one.kind == "probability" and one.name.endswith(" gated")
    }
    found = any(one.kind in ("probability", "picks", "surfaces") for one in layers)
    for one in layers:
        hidden = (one.kind == "probability" and one.name in gated) or (one.kind == "labels" and found)
        yield replace(one, visible=one.visible and not hidden)
