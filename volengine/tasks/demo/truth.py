"""What is known of the demo's tomogram, as labels to train on and as numbers to score against.

Two features. ``shell``: voxels near a lattice position. ``core``: a ball about the centre of each annotated particle.
Everything else is background, ice and debris too, but for two things that are label 2 (ignore): the rim of a core, and
the surroundings of closed shells that can be seen in the tomogram and are not annotated (``UNANNOTATED``), so that a
network is neither rewarded nor punished for finding them.

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
from volengine.io.training.sample import Sample
from volengine.ops.score import coverage, dice, match_picks, share_within

LINK_VOX = 3.5
"""Positions closer than this belong to the same particle."""

DEPTH_VOX = 12.0
"""From a position along the inward normal to the particle's centre."""

SHELL_VOX = 2.0
"""A voxel this close to a position is shell."""

CORE_VOX, CORE_RIM_VOX = 6.0, 7.0
"""A voxel this close to a centre is core; between the two it does not count."""

SURROUNDINGS_VOX = 20.0
"""Around the centre of an annotated particle: where a prediction of shell can be judged."""

UNANNOTATED = ((67, 91, 32), (50, 46, -4), (63, 96, -3), (43, 3, 16), (38, 16, 28))
"""Closed shells at x < 62 of the real tomogram that its positions leave out, as seen by eye: centres, voxels."""

UNANNOTATED_VOX = 16.0
"""Around these centres nothing counts."""

SPLIT_X = 62
"""The demo's networks are trained on x below this and scored from here on."""


@dataclass(frozen=True)
class Truth:
    """Particles of the sample: for each position its particle, and the particles' centres (voxels, z, y, x)."""

    positions: NDArray[np.float64]
    particle: NDArray[np.int64]
    centres: NDArray[np.float64]


def truth_of(sample: Sample) -> Truth:
    """Group the positions into particles and find their centres along the normals."""
    tree = KDTree(sample.positions)
    _, particle = connected_components(tree.sparse_distance_matrix(tree, LINK_VOX), directed=False)
    inward = sample.positions - DEPTH_VOX * sample.normals
    centres = np.array([inward[particle == k].mean(axis=0) for k in range(particle.max() + 1)])
    return Truth(sample.positions, particle.astype(np.int64), centres)


def label_volumes(
    truth: Truth, shape: tuple[int, int, int], unannotated: Sequence[Sequence[float]] = ()
) -> dict[str, NDArray[np.uint8]]:
    """Label volumes of ``shell`` and ``core``: 0 background, 1 feature, 2 ignore; uint8 of this shape.

    Parameters
    ----------
    unannotated
        Centres (z, y, x, voxels) of particles that the truth leaves out; within ``UNANNOTATED_VOX`` of them all that
        is no feature is ignored.
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
    """From each voxel to the nearest point; infinite beyond ``most``."""
    distance, _ = KDTree(points).query(grid, distance_upper_bound=np.nextafter(most, np.inf))
    return np.asarray(distance)


def _voxels(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Every voxel's place, (n, 3)."""
    return np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1).reshape(-1, 3)


def score(
    truth: Truth,
    picks: Picks,
    shell: NDArray[np.bool_],
    core: NDArray[np.bool_],
    *,
    radius_vox: float = 2.0,
) -> dict[str, Any]:
    """How good the demo's result is where the networks were not trained, x at or above 62.

    Parameters
    ----------
    picks
        Of ``core``.
    shell, core
        The thresholded predictions, the whole volume.
    radius_vox
        A known centre is found if a pick lies this close.

    Returns
    -------
    dict
        JSON values: known and found centres, their error, extra picks (position, weight, distance to the nearest known
        centre), share of known positions covered by shell, share of shell voxels near a known position, and the Dice
        coefficients of both features. The last three are of voxels within 20 voxels of an annotated particle's centre:
        further away there are particles that nobody annotated. What cannot be said (no pick, no shell) is ``None``.

    Notes
    -----
    Picks are paired with the known centres of the whole tomogram, so that a particle on the border x = 62 is neither
    missed nor extra because its pick lies on the other side of it than its centre.
    """
    match = match_picks(picks.position_vox, truth.centres, radius_vox)
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
    """Picks that are no known particle, heaviest first."""
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
    """Rounded; JSON knows no nan."""
    return round(float(value), digits) if np.isfinite(value) else None


def _surroundings(truth: Truth, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    near = _distance(_voxels(shape), truth.centres, SURROUNDINGS_VOX) <= SURROUNDINGS_VOX
    return near.reshape(shape)


def score_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The score as rows of a table."""
    error = found["localisation_error_vox"]
    return [
        ("known centres found within 2 voxels", f"{found['found_centres']} of {found['known_centres']}"),
        ("mean error of these", "-" if error is None else f"{error:.2f} voxels"),
        ("extra picks", str(len(found["extra_picks"]))),
        ("shell: known positions covered", _percent(found["shell_positions_covered"])),
        ("shell: voxels within 2 voxels of a known position", _percent(found["shell_voxels_within_2"])),
        ("shell: Dice coefficient", _percent(found["shell_dice"])),
        ("core: Dice coefficient", _percent(found["core_dice"])),
        (
            "for comparison, known centres found in the whole tomogram",
            f"{found['found_centres_everywhere']} of {found['known_centres_everywhere']}",
        ),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
