"""surfaces train: a network that finds particles on surfaces, from tomograms in which they are known.

Points on the surfaces, 1.5 nm apart or so, show the network a patch each; the target is a hill around each known
particle. One surface in five is kept for choosing the threshold: that of the highest F1 of the picks there.

The state of the network after each epoch stands in ``NAME.safetensors.training``, until the model is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.stopping import how_it_goes_on, if_stopped
from volengine.core.surface import Surface
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.io.names import same_tomogram
from volengine.io.open import OpenVolume
from volengine.io.surfaces import SurfaceSet
from volengine.nets.surface_fit import FitState, fit_rings
from volengine.nets.surface_model import SurfaceModelFacts, probabilities, save_surface_model
from volengine.ops.score import pair_picks, pool
from volengine.ops.surfaces.maxima import spaced_maxima
from volengine.ops.surfaces.patches import Cylinder, places_around
from volengine.ops.surfaces.points import normals_of
from volengine.ops.surfaces.sampling import poisson_disc
from volengine.ops.surfaces.subdivision import subdivided
from volengine.tasks.common.in_plane import KNOWN
from volengine.tasks.common.lying import Asked, Grid
from volengine.tasks.common.named import feature_of, stored_name, tomogram_in
from volengine.tasks.common.origins import origins_note
from volengine.tasks.surfaces.averaging import Average, Oriented, class_average, rotations
from volengine.tasks.surfaces.picking_recipes import SurfacesTrainRecipe
from volengine.tasks.surfaces.predict import normalised, statistics
from volengine.tasks.surfaces.reading import beside
from volengine.tasks.surfaces.sampler import Sampler
from volengine.tasks.surfaces.scored import patches
from volengine.tasks.surfaces.writing import refuse_source

Floats = NDArray[np.float64]
ANGLES, WIDTH, DEPTH = 12, 24, 3
KEPT = 5
"""One surface in so many is kept for the threshold."""
POINTS = 0.5
"""Distance of the points that are shown, as a share of ``near_nm``."""
MOST_BYTES = 4_000_000_000
THRESHOLDS = np.round(np.arange(0.1, 0.95, 0.05), 2)
FAR = 0.6
"""The target at the distance ``near_nm``."""


@dataclass(frozen=True)
class Trained:
    """A network that was trained.

    Parameters
    ----------
    file
        The model file.
    facts
        What it sees and finds.
    text
        One line about it.
    notes
        Sentences for the user.
    """

    file: str
    facts: SurfaceModelFacts
    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """A surface with the feet of the particles that are known to be on it, and how its tomogram is read."""

    surface: Surface
    feet: Floats
    heights: Floats
    oriented: Oriented

    @property
    def sample(self) -> Sampler:
        """Reads the tomogram."""
        return self.oriented.sample

    @property
    def mean(self) -> float:
        """Mean of the tomogram around the surfaces."""
        return self.oriented.mean

    @property
    def deviation(self) -> float:
        """Deviation of the tomogram around the surfaces."""
        return self.oriented.deviation


def train_on_surfaces(
    sources: Sequence[PathLike],
    out: PathLike,
    recipe: SurfacesTrainRecipe | Mapping[str, Any] | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train a network that finds particles on surfaces; called again, a training that was stopped goes on.

    Parameters
    ----------
    sources
        Sets of surfaces.
    out
        The model file, ``.safetensors``.
    recipe
        The tomogram and the picks of each set, and the rest.
    say
        Is given a line now and then.

    Returns
    -------
    Trained
        The model file, and what the network sees and finds.

    Raises
    ------
    MissingError, FormatError
        A file does not exist or is damaged.
    InputError
        Numbers of files that do not agree, tomograms in another order than their sets, no known particle near a
        surface, a file exists at ``out``, or beside it stands a training of something else.
    """
    recipe = SurfacesTrainRecipe.of(recipe)
    paths, file = [path_text(one) for one in sources], path_text(out)
    if len(paths) != len(recipe.tomograms):
        raise InputError(
            f"{counted(len(paths), 'set')} of surfaces and {counted(len(recipe.tomograms), 'tomogram')} are given; "
            "each set needs its own."
        )
    if not file.endswith(".safetensors"):
        raise InputError(f"{file}: models are .safetensors files; give such a name.")
    if Path(file).exists() and not recipe.overwrite:
        raise InputError(f"{file} exists; give another name or --overwrite.")
    refuse_source(Path(file), *paths, *recipe.tomograms, *recipe.picks)
    grid = _grid(recipe)
    say = say or (lambda line: None)
    opened, notes = _opened(paths, recipe)
    for note in notes:
        say(note)
    known, feature, more = _known(opened, recipe, grid)
    for note in more:
        say(note)
    notes += more
    kept = [one for k, one in enumerate(known) if k % KEPT == KEPT - 1]
    shown = [one for k, one in enumerate(known) if k % KEPT != KEPT - 1]
    values, targets = _examples(shown, grid, recipe)
    patches_of = f"{counted(len(values), 'patch/patches')} of {counted(len(shown), 'surface')}"
    say(f"{patches_of}; {len(kept)} more for the threshold")
    folder = Path(f"{file}.training")
    of_fit = {"epochs": recipe.epochs, "learning_rate": recipe.learning_rate, "seed": recipe.seed}
    state = FitState(folder / "surfaces.safetensors", {**of_fit, "patches": _digest(values, targets)})
    with if_stopped(lambda: how_it_goes_on(state.file)):
        network = fit_rings(
            values,
            targets,
            epochs=recipe.epochs,
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
            width=WIDTH,
            depth=DEPTH,
            say=say,
            state=state,
        )
    threshold, text = _threshold(network, kept or shown, grid, recipe)
    if not kept:
        notes.append(
            f"{counted(len(known), 'surface', 'is', 'are')} too few to keep one; the threshold is that of the training."
        )
    height = float(np.median(np.concatenate([one.heights for one in known])))
    average = class_average(
        [one.oriented for one in shown], [one.oriented for one in kept], grid, recipe.near_nm * NM / 2
    )
    notes.append(_about(average))
    step = {"verb": "surfaces train", "recipe": recipe.to_json(), "surfaces": len(known), "patches": len(values)}
    facts = SurfaceModelFacts(
        feature,
        grid.heights,
        grid.radii,
        grid.angles,
        WIDTH,
        DEPTH,
        height,
        threshold,
        0 if average is None else average.fold,
        0.0 if average is None else average.error_deg,
        ({**step, "kept": text, "angles": notes[-1]},),
    )
    save_surface_model(file, network, facts, None if average is None else average.values)
    state.file.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):  # nothing of others is in it
        folder.rmdir()
    return Trained(file, facts, f"{feature or 'particles'}, threshold {threshold:g} ({text})", tuple(notes))


def _about(average: Average | None) -> str:
    """What is known of angles about the normal."""
    if average is None:
        return (
            "Picks of this network will have no angle about the normal: the tables of the training say none, or the "
            "average of the particles does not show it."
        )
    whose = "kept" if average.unseen else "the training's own"
    fold = "" if average.fold == 1 else f", modulo {360 / average.fold:g} degrees: the average is symmetric"
    return (
        f"The average of the particles says the angle about the normal with a median error of {average.error_deg:.1f} "
        f"degrees on {average.judged} of {whose} particles{fold}."
    )


def _grid(recipe: SurfacesTrainRecipe) -> Cylinder:
    step = recipe.step_nm * NM
    heights = recipe.from_nm * NM + np.arange(int((recipe.to_nm - recipe.from_nm) * NM / step + 1e-9) + 1) * step
    radii = np.arange(int(recipe.radius_nm * NM / step + 1e-9) + 1) * step
    return Cylinder(tuple(heights.tolist()), tuple(radii.tolist()), ANGLES)


def _digest(*arrays: NDArray[Any]) -> str:
    """What tells arrays from others."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


class _Opened(NamedTuple):
    """A set with its tomogram, how this lies on it, and its table of picks."""

    surfaces: SurfaceSet
    volume: OpenVolume
    grid: Grid | None
    table: str
    picks: Picks


def _opened(paths: list[str], recipe: SurfacesTrainRecipe) -> tuple[list[_Opened], list[str]]:
    """Open all sets, tomograms and tables, so that what is missing or of another tomogram is known at once.

    Raises
    ------
    InputError
        A set was given the tomogram of another one.
    """
    from volengine.io.picks import read_picks

    found: list[_Opened] = []
    notes: list[str] = []
    for path, tomogram, table in zip(paths, recipe.tomograms, recipe.picks, strict=True):
        surfaces, volume, grid, more = beside(path, tomogram, Asked(recipe.mask_grid, recipe.any_origin))
        assert volume is not None
        picks = read_picks(table, voxel_size=volume.voxel_size, shape=volume.shape, volume_origin=volume.origin)
        notes += [*more, *_checked(table, volume, recipe)]
        found.append(_Opened(surfaces, volume, grid, table, picks))
    given = [tomogram_in(one.volume.name, feature_of(one.volume)) for one in found]
    for k, (one, name) in enumerate(zip(found, given, strict=True)):
        whose = one.surfaces.facts.tomogram
        others = [j for j, other in enumerate(given) if j != k and whose and same_tomogram(whose, [other])]
        if others and not same_tomogram(whose, [name]):
            raise InputError(
                f"{paths[k]} are the surfaces of {whose!r}, and number {k + 1} of the tomograms is "
                f"{recipe.tomograms[k]}; {recipe.tomograms[others[0]]} is number {others[0] + 1}. Give tomograms and "
                "picks in the order of the sets."
            )
    return found, notes


def _known(
    opened: Sequence[_Opened], recipe: SurfacesTrainRecipe, grid: Cylinder
) -> tuple[list[Known], str, list[str]]:
    """Every surface with its particles."""
    found: list[Known] = []
    names: list[str] = []
    notes: list[str] = []
    for read, volume, grid_of_volume, table, picks in opened:
        if grid_of_volume is not None and any(grid_of_volume.offset):
            picks = picks.with_(position_vox=(picks.place + np.asarray(grid_of_volume.offset)) / picks.voxel_size)
        names += [picks.feature] * bool(picks.feature)
        surfaces = [replace(one, normals=normals_of(one)) for one in read]
        sample = Sampler(volume, "linear", grid=grid_of_volume)
        mean, deviation = statistics(surfaces, grid, sample)
        feet, heights, mine, far = _feet(surfaces, picks, recipe.reach_nm * NM)
        if far:
            notes.append(
                f"{table}: farther than reach_nm from every surface: {far} of {counted(len(picks), 'particle')}."
            )
        known = picks.extra.get(KNOWN)
        matrix = rotations(picks.euler, None if known is None else known.astype(bool), len(picks))
        for k, (one, rows) in enumerate(zip(surfaces, mine, strict=True)):
            oriented = Oriented(one, picks.place[rows], matrix[rows], sample, mean, deviation)
            found.append(Known(one, feet[k], heights[k], oriented))
    if not sum(len(one.feet) for one in found):
        raise InputError("No known particle lies near a surface; are these the picks of these tomograms?")
    feature = recipe.feature if recipe.feature is not None else names[0] if len(set(names)) == 1 else ""
    return found, feature, notes


def _checked(table: str, volume: Volume, recipe: SurfacesTrainRecipe) -> list[str]:
    """Compare the origin that a table states, which its reading beside a volume overrides, with that of the volume."""
    from volengine.io.picks import read_picks

    try:
        own = read_picks(table)
    except InputError:  # it states no grid
        return []
    mine = (stored_name(volume), volume.origin, volume.voxel_size)
    stated = any(own.origin) and any(volume.origin)
    note = origins_note(mine, (table, own.origin, own.voxel_size), accept=recipe.any_origin) if stated else ""
    return [note] if note else []


def _feet(
    surfaces: Sequence[Surface], picks: Picks, reach: float
) -> tuple[list[Floats], list[Floats], list[NDArray[np.bool_]], int]:
    """For each surface the places nearest to its particles, their heights, which they are; and how many are far."""
    fine = [subdivided(one, 20.0) for one in surfaces]
    near = [KDTree(one.vertices).query(picks.place) for one in fine]
    distance = np.stack([d for d, _ in near]) if near else np.full((1, len(picks)), np.inf)
    best = np.argmin(distance, axis=0)
    there = distance.min(axis=0) <= reach
    feet, heights, rows = [], [], []
    for k, (one, (_, vertex)) in enumerate(zip(fine, near, strict=True)):
        mine = there & (best == k)
        at = one.vertices[vertex[mine]]
        assert one.normals is not None
        feet.append(at)
        rows.append(mine)
        heights.append(np.einsum("ij,ij->i", picks.place[mine] - at, one.normals[vertex[mine]]))
    return feet, heights, rows, int((~there).sum())


def _examples(
    known: Sequence[Known], grid: Cylinder, recipe: SurfacesTrainRecipe
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Patches and targets of points on all surfaces.

    Raises
    ------
    InputError
        They need more than 4 GB.
    """
    values: list[NDArray[np.float32]] = []
    targets: list[NDArray[np.float32]] = []
    wide = recipe.near_nm * NM / np.sqrt(2 * np.log(1 / FAR))
    held = 0
    for k, one in enumerate(known):
        points = poisson_disc(one.surface, recipe.near_nm * NM * POINTS, np.random.default_rng([recipe.seed, k]))
        held += len(points) * int(np.prod(grid.shape)) * 4
        if held > MOST_BYTES:
            raise InputError(
                f"The patches need more than {MOST_BYTES / 1e9:g} GB (at surface {k + 1} of {len(known)}); give fewer "
                "surfaces, a larger near_nm or step_nm, or a smaller radius_nm."
            )
        for first in range(0, len(points), 1024):
            part = points[slice(first, first + 1024)]
            given, seen = normalised(one.sample(places_around(part.place, part.normal, grid)), one.mean, one.deviation)
            distance = KDTree(one.feet).query(part.place)[0] if len(one.feet) else np.full(len(part), np.inf)
            values.append(given[seen])
            targets.append(np.exp(-0.5 * (distance[seen] / wide) ** 2).astype(np.float32))
    if not sum(map(len, values)):
        raise InputError("No point of the surfaces lies in its tomogram.")
    return np.concatenate(values), np.concatenate(targets)


def _threshold(network: Any, known: Sequence[Known], grid: Cylinder, recipe: SurfacesTrainRecipe) -> tuple[float, str]:
    """The threshold of the highest F1 of maxima on surfaces (the middle one of equals), and what was found with it."""
    found: list[tuple[Surface, Floats, NDArray[np.int64], Floats]] = []
    for one in known:
        fine = subdivided(one.surface, recipe.near_nm * NM / 2)
        score = np.full(len(fine.vertices), np.nan)
        for part, values in patches(fine, grid, one.sample):
            given, seen = normalised(values, one.mean, one.deviation)
            score[part] = np.where(seen, probabilities(network, given), np.nan)
        found.append((fine, score, spaced_maxima(fine, score, 2 * recipe.near_nm * NM, THRESHOLDS[0]), one.feet))
    best, texts = 0.0, {0.5: "no particle on the surfaces that were kept"}
    for threshold in THRESHOLDS.tolist():
        pairs = pool(
            [
                pair_picks(fine.vertices[top[score[top] >= threshold]], feet, recipe.near_nm * NM)
                for fine, score, top, feet in found
            ]
        )
        f1 = 2 * len(pairs.pairs) / max(1, pairs.n_found + pairs.n_truth)
        text = f"precision {pairs.precision:.2f}, recall {pairs.recall:.2f} of {pairs.n_truth} kept particles"
        if f1 > best:
            best, texts = f1, {threshold: text}
        elif f1 == best > 0:
            texts[threshold] = text
    chosen = list(texts)[len(texts) // 2]
    return chosen, texts[chosen]
