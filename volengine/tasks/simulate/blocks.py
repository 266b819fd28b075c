"""Kernels of ``simulate``, and the memory that they need.

They place the specimen, render its voxels, project them, expose the images, and reconstruct the tomogram. Every kernel
gives the same bytes for all choices of blocks: placements are drawn once for the whole specimen, a voxel depends only
on the table of placements, slices across the tilt axis are independent, and each image has its own stream of random
numbers.
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
from volengine.tasks.simulate.placed import refuse_unlabelled, refuse_unplaced
from volengine.tasks.simulate.structures import StructureFile, axis_gap_a, flags_of, monomers_of, templates_of

if TYPE_CHECKING:
    from volengine.sim.imaging.projector import Projector
    from volengine.sim.scene import Scene
    from volengine.sim.shapes.film import IceSurfaces
    from volengine.sim.shapes.interface import Interface


def place_specimen(
    block: Block,
    specimen: dict[str, Any],
    structures: Mapping[str, dict[str, str]],
    classes: dict[str, int],
    seed: int,
    sample: int,
    strict: bool = False,
) -> Result:
    """Kernel: read the structures, place all particles, membranes and filaments, and return the scene as a table.

    Parameters
    ----------
    specimen
        A :class:`~volengine.sim.recipe.specimen.SpecimenRecipe` as JSON.
    structures
        For each structure, by its name in the recipe, a
        :class:`~volengine.tasks.simulate.structures.StructureFile` as JSON.
    classes
        The id of each class name.
    seed, sample
        Seed of the recipe and number of the sample; together they choose the streams of random numbers.
    strict
        Whether it is an error that fewer objects were placed than requested.

    Returns
    -------
    Result
        The table of the scene (:meth:`volengine.sim.scene.Scene.to_table`), with ``report``: the numbers that were
        requested and placed, as JSON text.

    Raises
    ------
    InputError
        Nothing found a place, or with ``strict`` not everything; or particles of a class have no voxel in the atlas.
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
    grown = [note for note in report if note["step"] == "filaments"]
    for note, filaments in zip(grown, recipe.filaments, strict=True):
        if gap := axis_gap_a(filaments, files):
            note |= {"structure": filaments.structure, "axis_gap_a": gap}
    refuse_unplaced(report, scene, recipe, strict)
    refuse_unlabelled(scene, recipe)
    table = {**scene.to_table(), "report": np.array(json.dumps(report))}
    return Result(table=table, counts={"objects": scene.objects})


def place_specimen_bytes(voxels: int, membranes: bool) -> int:
    """Bytes that :func:`place_specimen` needs for a specimen of ``voxels`` voxels, with or without drawn membranes."""
    return 420_000_000 + (16 if membranes else 5) * voxels // 4


def _walls(tables: Mapping[int, Table]) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """For each block its box and the mask of voxels that membranes of the label volume occupy."""
    for table in tables.values():
        box = Box.of_shape(table["shape"].tolist()).shift(table["start"].tolist())
        yield box, np.unpackbits(table["taken"], count=box.size).astype(bool).reshape(box.shape)


def label_block(
    block: Block, ridge: dict[str, Any], half_a: Mapping[str, float], corner: Sequence[int], extent: Sequence[int]
) -> Result:
    """Kernel: measure the distance of each voxel to the mid-surface of each label.

    Parameters
    ----------
    ridge
        A :class:`~volengine.sim.shapes.label_membranes.LabelRidge` as JSON.
    half_a
        For each label half the thickness of its membrane in angstrom, heads included.
    corner, extent
        First voxel and shape of the piece of the label volume that fills the specimen, voxels z, y, x.

    Returns
    -------
    Result
        One array of distances per label, angstrom; and a table with the block's place, the mask of voxels that
        membranes occupy (packed bits), and their number per label.
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
    """Bytes that :func:`label_block` needs for a block of ``voxels`` voxels, and ``read`` voxels of the label volume.

    The constant is the memory of one batch of voxels, which does not depend on the block.
    """
    return 130_000_000 + 48 * read + 12 * voxels


def render_block(block: Block, voxel_size: float, factors: dict[str, Any], potential: str) -> Result:
    """Kernel: render the potential, the class ids and the instance numbers of a block.

    Parameters
    ----------
    voxel_size
        Voxel size in angstrom.
    factors
        Factors of the levels of ``atlas``, ``instances`` and, if they are kept, ``specimen`` and ``distances``.
    potential
        Name of the output array of the potential if it has no levels; empty if it is kept with levels.

    Returns
    -------
    Result
        Arrays (z, y, x): the potential in volt in excess of ice, float32; ids and instances as integers, on all levels.
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
    """Bytes that :func:`render_block` needs for a block of ``voxels`` voxels, with or without distances."""
    return 150_000_000 + (72 if distances else 60) * voxels


def scene_of(block: Block) -> Scene:
    """The scene that the stage ``place`` has written."""
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
    """Kernel: project the specimen along the beam, for the slices of a block across the tilt axis.

    Parameters
    ----------
    angle_deg, shift_x
        True tilt angle of each image in degrees, and its shift across the tilt axis in angstrom.
    voxel_size
        Voxel size in angstrom.
    device
        ``cpu``, or a device of PyTorch.
    cache_bytes
        Largest size of the matrices that are kept from one block to the next; default: the projector's.

    Returns
    -------
    Result
        ``projections`` (tilts, y, x), float32: line integrals of the potential, volt angstrom.
    """
    volume = block.arrays["specimen"]
    projector = geometry(
        (volume.shape[0], volume.shape[2]), tuple(angle_deg), tuple(shift_x), voxel_size, device, cache_bytes
    )
    return Result({"projections": projector.project(volume)})


def project_block_bytes(
    shape: tuple[int, int, int], angle_deg: Sequence[float], voxel_size: float, cache_bytes: int
) -> int:
    """Bytes that :func:`project_block` needs for a block of the specimen of this shape (z, y, x), at these angles."""
    nz, rows, nx = shape
    making = 216 * nz * nx  # weights and pixel numbers of eight tilts, from which the matrix is assembled
    arrays = 4 * rows * nx * (nz + 2 * len(angle_deg))
    return _matrix_bytes((nz, nx), angle_deg, voxel_size, cache_bytes) + making + arrays


def expose_tilt(
    block: Block,
    tilts: dict[str, Sequence[float]],
    specimen: dict[str, Any],
    exposure: dict[str, Any],
    phase_flip: bool,
    dose_weight: bool,
    names: Sequence[str],
) -> Result:
    """Kernel: simulate one image of the tilt series from its projection.

    Protein at the surfaces of the ice is added to the projection. It is shifted along the tilt axis and exposed:
    radiation damage, inelastic loss in the ice, the lens (CTF), and counted electrons
    (:func:`volengine.sim.imaging.exposure.expose`). The result is the contrast: counts divided by the expected counts
    of ice alone, minus 1.

    Parameters
    ----------
    tilts
        Columns of the tilt series, one number per image: ``true_deg`` and ``nominal_deg`` (degrees), ``shift_x`` and
        ``shift_y`` (angstrom), ``dose`` (of the image) and ``before`` (accumulated before it), both in electrons per
        square angstrom.
    specimen
        A :class:`~volengine.tasks.simulate.description.SpecimenFacts` as JSON. Its seed and sample and the number of
        the image choose the image's stream of random numbers.
    exposure
        An :class:`~volengine.sim.imaging.optics.Exposure` as JSON.
    phase_flip
        Correct the phases of the CTF in all images except ``tilts``, with the defocus of the nominal angle, which is
        the only one that a reconstruction knows.
    dose_weight
        Weight all images except ``tilts`` by :func:`volengine.sim.imaging.damage.dose_weighted`.
    names
        Images to return: ``signal`` (with noise), ``tilts`` (the same without phase correction and weights), ``even``
        and ``odd`` (half of the electrons each), ``clean`` (before counting).

    Returns
    -------
    Result
        One array (1, y, x) float32 per name, dimensionless; the count of ``clipped pixels``.
    """
    from volengine.sim.imaging.ctf import phase_flip as flipped
    from volengine.sim.imaging.damage import dose_weighted
    from volengine.sim.imaging.exposure import Shot, expose, normalise
    from volengine.sim.imaging.optics import Exposure
    from volengine.sim.imaging.tilts import shift_along_y
    from volengine.sim.seeds import stream

    number, facts = block.box.start[0], SpecimenFacts.from_json(specimen)
    how, size = Exposure.from_json(exposure), facts.voxel_size
    thickness = _thickness(facts, (block.shape[1], block.shape[2]))
    shot = Shot(tilts["true_deg"][number], tilts["dose"][number], tilts["before"][number], thickness)
    projections = block.core_of("projections")
    if facts.ice.interface_per_nm2:
        chains = _interface(facts, max(map(abs, tilts["true_deg"])))
        projections = projections + chains.projected(
            shot.tilt_deg, projections.shape[1:], size, tilts["shift_x"][number]
        )
    projected = shift_along_y(projections, [tilts["shift_y"][number] / size])[0]
    halves = "even" in names
    seen = expose(projected, size, shot, how, stream(facts.seed, facts.sample, "tilt", number), halves)
    images = {"signal": seen.normalised(), "clean": normalise(seen.expected, seen.flat)}
    if seen.halves is not None:
        images |= {
            name: normalise(half, seen.flat / 2) for name, half in zip(("even", "odd"), seen.halves, strict=True)
        }
    raw, images = images["signal"], {name: image for name, image in images.items() if name in names}
    if phase_flip:
        believed = tilts["nominal_deg"][number]
        images = {name: flipped(image, size, how.optics, believed) for name, image in images.items()}
    if dose_weight:
        doses, voltage = (shot.before_e_per_a2, shot.dose_e_per_a2), how.optics.voltage_kv
        images = {name: dose_weighted(image, size, doses, voltage) for name, image in images.items()}
    if phase_flip or dose_weight:
        images["tilts"] = raw
    return Result({name: images[name][None] for name in names}, counts={"clipped pixels": seen.clipped})


def expose_tilt_bytes(pixels: int, chains: int = 0) -> int:
    """Bytes that :func:`expose_tilt` needs for an image of ``pixels`` pixels, and this many chains at the surfaces."""
    return 90_000_000 + 160 * pixels + (100 * chains + 40_000_000 if chains else 0)


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
    """Kernel: reconstruct the slices of a block across the tilt axis from the same rows of the images.

    The array ``images`` (tilts, y, x) float32 holds the rows of all images. A slice across the tilt axis is a separate
    2D problem, solved by weighted back-projection or SIRT (:mod:`volengine.sim.imaging.reconstruct`).

    Parameters
    ----------
    angle_deg
        Nominal tilt angles of all images, degrees.
    rows
        Indices of the images that are used.
    depth
        Number of voxels of the tomogram along z.
    voxel_size
        Voxel size of the tomogram and pixel size of the images, angstrom.
    sign
        The reconstruction is multiplied by this. -1 turns a reconstruction of potentials, in which molecules are
        bright, into a tomogram, in which they are dark.
    how
        A :class:`~volengine.tasks.simulate.recipe.ReconstructRecipe` as JSON.
    factors
        Factors of the levels.
    device, cache_bytes
        As in :func:`project_block`.
    slab
        Number of slices that are reconstructed at a time; the result does not depend on it.

    Returns
    -------
    Result
        ``@0``, ``@1`` ... (z, y, x) float32: the block on each level.
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
        Shape (z, y, x) of the slices that are reconstructed at a time: depth, ``slab`` slices, width.
    images
        Number of images in the series.
    angle_deg
        Angles of the images that are used, degrees.
    voxel_size, cache_bytes
        As in :func:`reconstruct_block`.
    """
    nz, slab, nx = shape
    matrices = _matrix_bytes((nz, nx), angle_deg, voxel_size, cache_bytes, geometries=2)
    return 60_000_000 + matrices + 4 * nx * slab * (6 * images + 4 * nz)


@lru_cache(maxsize=4)
def _thickness(specimen: SpecimenFacts, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Thickness of the ice of the untilted specimen, (y, x) float64, angstrom."""
    return _surfaces(specimen).thickness_map(0.0, shape, specimen.voxel_size)


def _surfaces(specimen: SpecimenFacts) -> IceSurfaces:
    from volengine.sim.seeds import stream
    from volengine.sim.shapes.film import ice_surfaces

    return ice_surfaces(stream(specimen.seed, specimen.sample, "ice"), specimen.size_a, specimen.ice)


@lru_cache(maxsize=2)
def _interface(specimen: SpecimenFacts, tilt_deg: float) -> Interface:
    """The protein at the surfaces of the ice that images up to this tilt see."""
    from volengine.sim.seeds import stream
    from volengine.sim.shapes.interface import draw_interface

    rng = stream(specimen.seed, specimen.sample, "interface")
    return draw_interface(rng, specimen.size_a, specimen.ice, tilt_deg, _surfaces(specimen))


@lru_cache(maxsize=4)
def geometry(
    shape_zx: tuple[int, int],
    angle_deg: tuple[float, ...],
    shift_x: tuple[float, ...],
    voxel_size: float,
    device: str,
    cache_bytes: int | None = None,
) -> Projector:
    """The projector of this process; it is cached, so that its matrices are computed once."""
    from volengine.sim.imaging.projector import Projector, TorchProjector

    if device == "cpu":
        made = Projector(shape_zx, angle_deg, voxel_size, shift_x=shift_x)
        made.cache_bytes = made.cache_bytes if cache_bytes is None else cache_bytes
        return made
    from volengine.nets.predictor import resolve_device

    where = str(resolve_device(device))  # "cuda": the GPU of this worker
    return TorchProjector(shape_zx, angle_deg, voxel_size, shift_x=shift_x, device=where)


def _matrix_bytes(
    shape_zx: tuple[int, int], angle_deg: Sequence[float], voxel_size: float, cache_bytes: int, geometries: int = 1
) -> int:
    """Bytes of the matrices of ``geometries`` projectors: those that are kept, and the one that is being computed."""
    from volengine.sim.imaging.projector import Projector

    need = Projector(shape_zx, angle_deg, voxel_size).matrix_bytes
    return geometries * min(need, cache_bytes) + need // max(1, len(angle_deg) // 8)
