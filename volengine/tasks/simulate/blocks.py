"""Kernels of a simulation: the specimen's table, its voxels, its projections, their exposure, the tomogram.

Beside each kernel stands the memory that it needs.

Every one gives the same bytes for any blocks: places are drawn once for the whole specimen, voxels depend on the table
alone, slices across the tilt axis are independent, and each image has a stream of random numbers of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box
from volengine.tasks.common.levels import levels_of
from volengine.tasks.simulate.description import SpecimenFacts
from volengine.tasks.simulate.structures import StructureFile, flags_of, monomers_of, templates_of

if TYPE_CHECKING:
    from volengine.sim.imaging.projector import Projector
    from volengine.sim.scene import Scene


def place_specimen(
    block: Block,
    specimen: dict[str, Any],
    structures: Mapping[str, dict[str, str]],
    classes: dict[str, int],
    seed: int,
    sample: int,
) -> Result:
    """Kernel: read the structures, place everything, and emit the scene as a table.

    Parameters
    ----------
    specimen
        A :class:`~volengine.sim.recipe.specimen.SpecimenRecipe` as JSON.
    structures
        Its structures by what the recipe calls them, each a
        :class:`~volengine.tasks.simulate.structures.StructureFile` as JSON.
    classes
        Ids of all class names.
    seed, sample
        Seed of the recipe and number of the sample: they name the streams of random numbers.

    Returns
    -------
    The table of the scene (:meth:`volengine.sim.scene.Scene.to_table`), with ``report``: what was asked for and what
    found a place, as a JSON text.
    """
    from volengine.sim.build import Particle, build
    from volengine.sim.recipe.specimen import SpecimenRecipe

    recipe = SpecimenRecipe.from_json(specimen)
    files = {key: StructureFile(**value) for key, value in structures.items()}
    particles = [
        [Particle(templates_of(s, files[s.structure], recipe), flags_of(s, files[s.structure])) for s in layer.species]
        for layer in recipe.layers
    ]
    monomers = [monomers_of(f, files, recipe) for f in recipe.filaments]
    drawn = block.tables.get("labels", {})
    scene, report = build(recipe, particles, monomers, classes, seed=seed, sample=sample, walls=_walls(drawn))
    notes = [note for note in report if note["step"] == "labels"]
    for note, *voxels in zip(notes, *(table["voxels"] for table in drawn.values()), strict=True):
        note["placed"] = int(sum(voxels) > 0)
    table = {**scene.to_table(), "report": np.array(json.dumps(report))}
    return Result(table=table, counts={"objects": scene.objects})


def place_specimen_bytes(voxels: int, membranes: bool) -> int:
    """Bytes that :func:`place_specimen` needs for a specimen of so many voxels, with or without drawn membranes."""
    return 420_000_000 + (16 if membranes else 5) * voxels // 4


def _walls(tables: Mapping[int, Table]) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """Which voxels membranes of labels take, block by block."""
    for table in tables.values():
        box = Box.of_shape(table["shape"].tolist()).shift(table["start"].tolist())
        yield box, np.unpackbits(table["taken"], count=box.size).astype(bool).reshape(box.shape)


def label_block(
    block: Block, ridge: dict[str, Any], half_a: Mapping[str, float], corner: Sequence[int], extent: Sequence[int]
) -> Result:
    """Kernel: how far a block's voxels are from the middle of labels, and a table of those that membranes take.

    The table has the block's place, its voxels in bits, and how many of them are each label's.

    Parameters
    ----------
    ridge
        A :class:`~volengine.sim.shapes.label_membranes.LabelRidge` as JSON.
    half_a
        For each label: half its membrane's thickness, heads included, angstrom.
    corner, extent
        The piece of the label volume that fills the specimen, voxels.
    """
    from volengine.sim.shapes.label_membranes import LabelRidge, label_distance

    how, drawn, box = LabelRidge.from_json(ridge), block.arrays["drawn"], block.box
    z, y, x = (
        np.asarray((np.arange(start, stop) + 0.5) * (n / whole) - 0.5 + first, np.float64)
        for start, stop, n, whole, first in zip(box.start, box.stop, extent, block.shape, corner, strict=True)
    )
    arrays: dict[str, NDArray[Any]] = {}
    taken, voxels = np.zeros(box.shape, bool), []
    for label, half in half_a.items():
        distance = label_distance(drawn, int(label), how, block.boxes["drawn"].start, (z, y, x))
        near = distance <= half
        taken |= near
        voxels.append(np.count_nonzero(near))
        arrays[f"distance {label}"] = distance
    place = {"start": np.array(box.start), "shape": np.array(box.shape)}
    table = {**place, "taken": np.packbits(taken), "voxels": np.array(voxels)}
    return Result(arrays, table, {"membrane voxels": int(np.count_nonzero(taken))})


def label_block_bytes(voxels: int, read: int) -> int:
    """Bytes that :func:`label_block` needs for a block of so many voxels, of ``read`` voxels of the label volume.

    The constant is a batch of voxels, whatever the block.
    """
    return 130_000_000 + 48 * read + 12 * voxels


def render_block(block: Block, voxel_size: float, factors: dict[str, Any], potential: str) -> Result:
    """Kernel: potential, classes and instances of a block, the labels on all their levels.

    Parameters
    ----------
    voxel_size
        Angstrom.
    factors
        Of the levels, for ``atlas``, ``instances`` and, if they are kept, ``specimen`` and ``distances``.
    potential
        Name of the output of the potential alone; empty where it is kept with levels.
    """
    from volengine.sim.render import distances, render

    scene = scene_of(block)
    labels = {drawn.label: block.arrays[f"distance {drawn.label}"] for drawn in scene.labels}
    found = render(scene, block.box, voxel_size, labels)
    arrays: dict[str, NDArray[Any]] = {potential: found.potential} if potential else {}
    arrays |= levels_of(found.classes, factors["atlas"], "labels", "atlas")
    arrays |= levels_of(found.instances, factors["instances"], "labels", "instances")
    if "specimen" in factors:
        arrays |= levels_of(found.potential, factors["specimen"], "intensity", "specimen")
    if "distances" in factors:
        far = distances(scene, block.box, voxel_size, labels)
        arrays |= levels_of(far, factors["distances"], "intensity", "distances")
    return Result(arrays, counts={"labelled voxels": int(np.count_nonzero(found.instances))})


def render_block_bytes(voxels: int, distances: bool) -> int:
    """Bytes that :func:`render_block` needs for a block of so many voxels, with or without their distances."""
    return 150_000_000 + (72 if distances else 60) * voxels


def scene_of(block: Block) -> Scene:
    """The specimen, as the stage ``place`` has written it."""
    from volengine.sim.scene import Scene

    return Scene.from_table(next(iter(block.tables["place"].values())))


def project_block(
    block: Block,
    angle_deg: Sequence[float],
    shift_x: Sequence[float],
    voxel_size: float,
    device: str = "cpu",
    cache_bytes: int | None = None,
) -> Result:
    """Kernel: line integrals of the specimen along the beam, of the slices of a block across the tilt axis.

    Parameters
    ----------
    angle_deg, shift_x
        True tilt angle of each image, and how far it is shifted across the tilt axis, angstrom.
    voxel_size
        Angstrom.
    device
        Where they are made: ``cpu``, or a device of PyTorch.
    cache_bytes
        Most bytes of matrices that are held from one block to the next; default: the projector's.

    Returns
    -------
    ``projections`` (tilts, y, x), float32, volt angstrom.
    """
    volume = block.arrays["specimen"]
    projector = geometry(
        (volume.shape[0], volume.shape[2]), tuple(angle_deg), tuple(shift_x), voxel_size, device, cache_bytes
    )
    return Result({"projections": projector.project(volume)})


def project_block_bytes(
    shape: tuple[int, int, int], angle_deg: Sequence[float], voxel_size: float, cache_bytes: int
) -> int:
    """Bytes that :func:`project_block` needs for a block of the specimen of this shape, at so many angles."""
    nz, rows, nx = shape
    making = 216 * nz * nx  # shares and pixels of eight tilts, of which a matrix is made
    arrays = 4 * rows * nx * (nz + 2 * len(angle_deg))
    return _matrix_bytes((nz, nx), angle_deg, voxel_size, cache_bytes) + making + arrays


def expose_tilt(
    block: Block,
    tilts: dict[str, Sequence[float]],
    specimen: dict[str, Any],
    exposure: dict[str, Any],
    phase_flip: bool,
    names: Sequence[str],
) -> Result:
    """Kernel: one image of the tilt series, from its line integrals.

    The image is shifted, exposed (damage, loss in the ice, lens, counted electrons), and given as contrast: counts over
    what ice alone gives, less 1.

    Parameters
    ----------
    tilts
        Columns of the series, one number per image: ``true_deg``, ``nominal_deg``, ``shift_y`` (angstrom), ``dose`` of
        the image and ``before`` it (electrons per square angstrom).
    specimen
        A :class:`~volengine.tasks.simulate.description.SpecimenFacts` as JSON. Its seed and sample, with the image's
        number, name the image's stream of random numbers.
    exposure
        An :class:`~volengine.sim.imaging.optics.Exposure` as JSON.
    phase_flip
        Correct the signs of the CTF in what goes to the reconstruction, which knows the nominal angle alone; ``tilts``
        stays as it is.
    names
        What is made: ``signal``, ``tilts`` (the signal as it was taken), ``even``, ``odd`` (half of the electrons
        each), ``clean`` (before counting).

    Returns
    -------
    Each of ``names`` (1, y, x), float32, without unit.
    """
    from volengine.sim.imaging.ctf import phase_flip as flipped
    from volengine.sim.imaging.exposure import Shot, expose, normalise
    from volengine.sim.imaging.optics import Exposure
    from volengine.sim.imaging.tilts import shift_along_y
    from volengine.sim.seeds import stream

    number, facts = block.box.start[0], SpecimenFacts.from_json(specimen)
    how, size = Exposure.from_json(exposure), facts.voxel_size
    thickness = _thickness(facts, (block.shape[1], block.shape[2]))
    shot = Shot(tilts["true_deg"][number], tilts["dose"][number], tilts["before"][number], thickness)
    projected = shift_along_y(block.core_of("projections"), [tilts["shift_y"][number] / size])[0]
    halves = "even" in names
    seen = expose(projected, size, shot, how, stream(facts.seed, facts.sample, "tilt", number), halves)
    images = {"signal": seen.normalised(), "clean": normalise(seen.expected, seen.flat)}
    if seen.halves is not None:
        images |= {
            name: normalise(half, seen.flat / 2) for name, half in zip(("even", "odd"), seen.halves, strict=True)
        }
    if phase_flip:
        raw, believed = images["signal"], tilts["nominal_deg"][number]
        images = {name: flipped(image, size, how.optics, believed) for name, image in images.items() if name in names}
        images["tilts"] = raw
    return Result({name: images[name][None] for name in names}, counts={"clipped pixels": seen.clipped})


def expose_tilt_bytes(pixels: int) -> int:
    """Bytes that :func:`expose_tilt` needs for an image of so many pixels."""
    return 90_000_000 + 160 * pixels


def reconstruct_block(
    block: Block,
    angle_deg: Sequence[float],
    rows: Sequence[int],
    depth: int,
    voxel_size: float,
    sign: float,
    how: dict[str, Any],
    factors: Sequence[Sequence[int]],
    device: str = "cpu",
    cache_bytes: int | None = None,
    slab: int = 1 << 30,
) -> Result:
    """Kernel: slices of the tomogram across the tilt axis, from the same rows of all images, on all levels.

    Parameters
    ----------
    angle_deg
        Nominal angles of all images.
    rows
        Numbers of the images that are used, from 0 on.
    depth
        Slices of the tomogram along z.
    voxel_size
        Angstrom; the images' pixels are as large.
    sign
        -1 turns a reconstruction of potentials, where molecules are bright, into a tomogram, where they are dark.
    how
        A :class:`~volengine.tasks.simulate.recipe.ReconstructRecipe` as JSON.
    factors
        Of the levels.
    device, cache_bytes
        As in :func:`project_block`.
    slab
        Slices made at a time; each one depends on itself alone.

    Returns
    -------
    ``@0``, ``@1`` ... (z, y, x), float32: the block on each level.
    """
    from volengine.sim.imaging.reconstruct import Filter, sirt, wbp

    images = block.arrays["images"][list(rows)]
    angles = tuple(angle_deg[row] for row in rows)
    projector = geometry((depth, images.shape[2]), angles, (0.0,) * len(angles), voxel_size, device, cache_bytes)
    volume = np.empty((depth, *images.shape[1:]), np.float32)
    for first in range(0, images.shape[1], slab):
        part = images[:, first : first + slab]
        if how["method"] == "sirt":
            found = sirt(part, projector, how["iterations"])
        else:
            found = wbp(part, projector, Filter.from_json(how["filter"]))
        np.multiply(found, np.float32(sign), out=volume[:, first : first + slab])
    return Result(levels_of(volume, factors, "intensity"))


def reconstruct_block_bytes(
    shape: tuple[int, int, int], images: int, angle_deg: Sequence[float], voxel_size: float, cache_bytes: int
) -> int:
    """Bytes that :func:`reconstruct_block` needs.

    Parameters
    ----------
    shape
        Of what is made at a time: the tomogram's depth, ``slab`` slices, the tomogram's width.
    images
        How many images the series has.
    angle_deg
        Of the images that are used.
    """
    nz, slab, nx = shape
    matrices = _matrix_bytes((nz, nx), angle_deg, voxel_size, cache_bytes, geometries=2)
    return 60_000_000 + matrices + 4 * nx * slab * (6 * images + 4 * nz)


@lru_cache(maxsize=4)
def _thickness(specimen: SpecimenFacts, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Map of the ice over the untilted specimen, (y, x), angstrom."""
    from volengine.sim.seeds import stream
    from volengine.sim.shapes.film import ice_surfaces

    surfaces = ice_surfaces(stream(specimen.seed, specimen.sample, "ice"), specimen.size_a, specimen.ice)
    return surfaces.thickness_map(0.0, shape, specimen.voxel_size)


@lru_cache(maxsize=4)
def geometry(
    shape_zx: tuple[int, int],
    angle_deg: tuple[float, ...],
    shift_x: tuple[float, ...],
    voxel_size: float,
    device: str,
    cache_bytes: int | None = None,
) -> Projector:
    """The projector of a process: its matrices are made once."""
    from volengine.sim.imaging.projector import Projector, TorchProjector

    if device == "cpu":
        made = Projector(shape_zx, angle_deg, voxel_size, shift_x=shift_x)
        made.cache_bytes = made.cache_bytes if cache_bytes is None else cache_bytes
        return made
    return TorchProjector(shape_zx, angle_deg, voxel_size, shift_x=shift_x, device=device)


def _matrix_bytes(
    shape_zx: tuple[int, int], angle_deg: Sequence[float], voxel_size: float, cache_bytes: int, geometries: int = 1
) -> int:
    """Bytes of geometries' matrices: those that each of them holds, and the one being made."""
    from volengine.sim.imaging.projector import Projector

    need = Projector(shape_zx, angle_deg, voxel_size).matrix_bytes
    return geometries * min(need, cache_bytes) + need // max(1, len(angle_deg) // 8)
