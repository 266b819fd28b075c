"""The truth of the demo's tomogram: labels to train on, and scores of the demo's results.

There are two features. ``shell``: voxels near a lattice position. ``core``: a ball around the centre of each annotated
particle. All other voxels are background, with two exceptions of label 2 (ignore): the rim of a core, and the
surroundings of closed shells that are visible in the tomogram but not annotated (``UNANNOTATED``), so that the training
neither rewards nor penalises a prediction there.

>>> from volengine.io.training.sample import procedural_sample
>>> sample = procedural_sample()
>>> truth = truth_of(sample)
>>> len(truth.centres), len(truth.positions)
(9, 5400)
>>> labels = label_volumes(truth, sample.tomogram.shape)
>>> sorted(labels), labels["core"].dtype
(['core', 'shell'], dtype('uint8'))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from volengine.core.picks import Picks
from volengine.io.training.sample import SampleTomogram
from volengine.ops.score import coverage, dice, pair_picks, share_within

LINK_VOX = 3.5
"""Positions closer than this belong to the same particle."""

DEPTH_VOX = 12.0
"""Distance from a position along the inward normal to the particle's centre."""

SHELL_VOX = 2.0
"""A voxel within this distance of a position is shell."""

CORE_VOX, CORE_RIM_VOX = 6.0, 7.0
"""A voxel within the first distance of a centre is core; between the two distances it is ignored."""

SURROUNDINGS_VOX = 20.0
"""Radius around the centre of an annotated particle in which predictions of shell are scored."""

UNANNOTATED = ((67, 91, 32), (50, 46, -4), (63, 96, -3), (43, 3, 16), (38, 16, 28))
"""Centres, in voxels, of closed shells at x < 62 of the real tomogram that are not annotated, found by eye."""

UNANNOTATED_VOX = 16.0
"""Within this distance of these centres, voxels that are no feature are ignored."""

SPLIT_X = 62
"""The demo's networks are trained on x below this and scored from here on."""


@dataclass(frozen=True)
class Truth:
    """The particles of the sample: the particle of each position, and the particles' centres (voxels, z, y, x)."""

    positions: NDArray[np.float64]
    particle: NDArray[np.int64]
    centres: NDArray[np.float64]


def truth_of(sample: SampleTomogram) -> Truth:
    """Group the positions into particles and find their centres along the normals."""
    tree = KDTree(sample.positions)
    _, particle = connected_components(tree.sparse_distance_matrix(tree, LINK_VOX), directed=False)
    inward = sample.positions - DEPTH_VOX * sample.normals
    centres = np.array([inward[particle == k].mean(axis=0) for k in range(particle.max() + 1)])
    return Truth(sample.positions, particle.astype(np.int64), centres)


def label_volumes(
    truth: Truth, shape: tuple[int, int, int], unannotated: Sequence[Sequence[float]] = ()
) -> dict[str, NDArray[np.uint8]]:
    """Label volumes of ``shell`` and ``core``: 0 background, 1 feature, 2 ignore.

    Parameters
    ----------
    truth
        The particles.
    shape
        Shape of the volumes, voxels z, y, x.
    unannotated
        Centres (z, y, x, voxels) of particles that are not annotated; within ``UNANNOTATED_VOX`` of them all voxels
        that are no feature are ignored.

    Returns
    -------
    dict
        The two volumes, (z, y, x) uint8.
    """
    grid = _voxels(shape)
    to_centre = _distance(grid, truth.centres, CORE_RIM_VOX)
    core = np.zeros(len(grid), np.uint8)
    core[to_centre <= CORE_RIM_VOX] = 2
    shell = np.zeros(len(grid), np.uint8)
    if len(unannotated):
        left_out = _distance(grid, np.asarray(unannotated, float), UNANNOTATED_VOX) <= UNANNOTATED_VOX
        core[left_out] = shell[left_out] = 2
    core[to_centre <= CORE_VOX] = 1
    shell[_distance(grid, truth.positions, SHELL_VOX) <= SHELL_VOX] = 1
    return {"shell": shell.reshape(shape), "core": core.reshape(shape)}


def _distance(grid: NDArray[np.float64], points: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """Distance from each voxel to the nearest point; infinity if it exceeds ``most``."""
    distance, _ = KDTree(points).query(grid, distance_upper_bound=np.nextafter(most, np.inf))
    return np.asarray(distance)


def _voxels(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Indices of all voxels, (n, 3)."""
    return np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1).reshape(-1, 3)


def score(
    truth: Truth,
    picks: Picks,
    shell: NDArray[np.bool_],
    core: NDArray[np.bool_],
    *,
    radius_vox: float = 2.0,
) -> dict[str, Any]:
    """Score the demo's result at x >= 62, where the networks were not trained.

    Parameters
    ----------
    truth
        The annotated particles.
    picks
        Picks of ``core``.
    shell, core
        Thresholded predictions of the whole volume, (z, y, x).
    radius_vox
        A known centre is found if a pick lies within this distance.

    Returns
    -------
    dict
        JSON values: known and found centres, their error, extra picks (position, weight, distance to the nearest known
        centre), share of known positions covered by shell, share of shell voxels near a known position, and the Dice
        coefficients of both features. The last three are computed within 20 voxels of an annotated particle's centre,
        because not all particles further away are annotated. A value that is not defined (no pick, no shell) is
        ``None``.

    Notes
    -----
    Picks are paired with the known centres of the whole tomogram. Otherwise a particle at the border x = 62 would count
    as missed or extra if its pick and its centre lie on different sides.
    """
    match = pair_picks(picks.position_vox, truth.centres, radius_vox)
    held_out = truth.centres[:, 2] >= SPLIT_X
    found = held_out[match.pairs[:, 1]]
    extra = picks[match.extra[picks.position_vox[match.extra, 2] >= SPLIT_X]]
    near = _surroundings(truth, shell.shape)
    near[:, :, :SPLIT_X] = False
    labels = label_volumes(truth, near.shape)
    return {
        "split_x": SPLIT_X,
        "known_centres": int(held_out.sum()),
        "found_centres": int(found.sum()),
        "localisation_error_vox": _number(match.distance_vox[found].mean() if found.any() else np.nan, 3),
        "known_centres_everywhere": len(truth.centres),
        "found_centres_everywhere": len(match.pairs),
        "picks": int((picks.position_vox[:, 2] >= SPLIT_X).sum()),
        "extra_picks": _extra(extra, truth),
        "shell_positions_covered": _number(coverage(truth.positions[truth.positions[:, 2] >= SPLIT_X], shell), 4),
        "shell_voxels_within_2": _number(share_within(shell, truth.positions, 2.0, near), 4),
        "shell_dice": _number(dice(shell, labels["shell"] == 1, ~near), 4),
        "core_dice": _number(dice(core, labels["core"] == 1, ~near | (labels["core"] == 2)), 4),
    }


def _extra(picks: Picks, truth: Truth) -> list[dict[str, Any]]:
    """The picks that are not known particles, by falling weight."""
    if not len(picks):
        return []
    distance, _ = KDTree(truth.centres).query(picks.position_vox)
    weight = np.zeros(len(picks)) if picks.weight is None else picks.weight
    return [
        {
            "position_vox": [round(float(v), 2) for v in picks.position_vox[k]],
            "weight": round(float(weight[k]), 2),
            "nearest_known_vox": round(float(distance[k]), 1),
        }
        for k in np.argsort(-weight, kind="stable")
    ]


def _number(value: float, digits: int) -> float | None:
    """A rounded number; ``None`` for NaN, which JSON does not have."""
    return round(float(value), digits) if np.isfinite(value) else None


def _surroundings(truth: Truth, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    near = _distance(_voxels(shape), truth.centres, SURROUNDINGS_VOX) <= SURROUNDINGS_VOX
    return near.reshape(shape)


def score_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The score as rows of a table."""
    error = found["localisation_error_vox"]
    right = found["picks"] - len(found["extra_picks"])
    return [
        ("known centres found within 2 voxels", f"{found['found_centres']} of {found['known_centres']}"),
        ("extra picks", str(len(found["extra_picks"]))),
        ("recall: found of the known", _percent(_share(found["found_centres"], found["known_centres"]))),
        ("precision: known of the picks", _percent(_share(right, found["picks"]))),
        ("mean error of the centres found", "-" if error is None else f"{error:.2f} voxels"),
        ("shell: known positions covered", _percent(found["shell_positions_covered"])),
        ("shell: voxels within 2 voxels of a known position", _percent(found["shell_voxels_within_2"])),
        ("shell: Dice coefficient", _percent(found["shell_dice"])),
        ("core: Dice coefficient", _percent(found["core_dice"])),
        (
            "for comparison, known centres found in the whole tomogram",
            f"{found['found_centres_everywhere']} of {found['known_centres_everywhere']}",
        ),
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
