"""What is known of the demo's tomogram, as labels to train on and as numbers to score against.

Two features. ``shell``: voxels near a lattice position. ``core``: a ball about the centre of each annotated particle.
A few particles at the rim are not annotated, so only the surroundings of annotated particles, and the empty ice above
and below all particles, count as background; the rest is label 2 (ignore).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from volengine.core.picks import Picks
from volengine.io.sample import Sample
from volengine.ops.score import coverage, match_picks, share_within

LINK_VOX = 3.5
"""Positions closer than this belong to the same particle."""

DEPTH_VOX = 12.0
"""From a position along the inward normal to the particle's centre."""

SHELL_VOX, SHELL_RIM_VOX = 2.0, 3.0
CORE_VOX, CORE_RIM_VOX = 6.0, 7.0
SURROUNDINGS_VOX = 20.0
ICE_VOX = 30.0
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


def label_volumes(truth: Truth, shape: tuple[int, int, int]) -> dict[str, NDArray[np.uint8]]:
    """Label volumes of ``shell`` and ``core``: 0 background, 1 feature, 2 ignore."""
    grid = _voxels(shape)
    far = SURROUNDINGS_VOX
    to_centre, _ = KDTree(truth.centres).query(grid, distance_upper_bound=far)
    to_shell, _ = KDTree(truth.positions).query(grid, distance_upper_bound=SHELL_RIM_VOX)
    layer = truth.positions[:, 0].mean()
    ice = np.abs(grid[:, 0] - layer) > ICE_VOX
    counts = (to_centre <= far) | ice
    found = {}
    for name, distance, inside, rim in (
        ("shell", to_shell, SHELL_VOX, SHELL_RIM_VOX),
        ("core", to_centre, CORE_VOX, CORE_RIM_VOX),
    ):
        labels = np.where(counts, 0, 2).astype(np.uint8)
        labels[distance <= rim] = 2
        labels[distance <= inside] = 1
        found[name] = labels.reshape(shape)
    return found


def _voxels(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Every voxel's place, (n, 3)."""
    return np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1).reshape(-1, 3)


def score(truth: Truth, picks: Picks, shell: NDArray[np.bool_], *, radius_vox: float = 2.0) -> dict[str, Any]:
    """How good the demo's result is where the networks were not trained, x at or above 62.

    Parameters
    ----------
    picks
        Of ``core``.
    shell
        The thresholded prediction of ``shell``, the whole volume.
    radius_vox
        A known centre is found if a pick lies this close.

    Returns
    -------
    dict
        JSON values: known and found centres, errors, extra picks (position, weight, distance to the nearest known
        centre), share of known positions covered, share of shell voxels near a known position.
    """
    known = truth.centres[truth.centres[:, 2] >= SPLIT_X]
    here = picks[picks.position_vox[:, 2] >= SPLIT_X]
    match = match_picks(here.position_vox, known, radius_vox)
    everywhere = match_picks(picks.position_vox, truth.centres, radius_vox)
    held_out = truth.positions[:, 2] >= SPLIT_X
    positions = truth.positions[held_out]
    near = _surroundings(truth, shell.shape)
    near[:, :, :SPLIT_X] = False
    extra = here[match.extra]
    distance = KDTree(truth.centres).query(extra.position_vox)[0] if len(extra) else np.empty(0)
    weights = extra.weight if extra.weight is not None else np.zeros(len(extra))
    return {
        "split_x": SPLIT_X,
        "known_centres": len(known),
        "found_centres": len(match.pairs),
        "localisation_error_vox": round(float(match.localisation_error_vox), 3) if len(match.pairs) else None,
        "known_centres_everywhere": len(truth.centres),
        "found_centres_everywhere": len(everywhere.pairs),
        "picks": len(here),
        "extra_picks": [
            {
                "position_vox": [round(float(v), 2) for v in position],
                "weight": round(float(weight), 2),
                "nearest_known_vox": round(float(d), 1),
            }
            for position, weight, d in zip(extra.position_vox, weights, distance, strict=True)
        ],
        "shell_positions_covered": round(float(coverage(positions, shell)), 4),
        "shell_voxels_within_2": round(float(share_within(shell, truth.positions, 2.0, near)), 4),
    }


def _surroundings(truth: Truth, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    grid = _voxels(shape)
    distance, _ = KDTree(truth.centres).query(grid, distance_upper_bound=SURROUNDINGS_VOX)
    return np.asarray(distance <= SURROUNDINGS_VOX).reshape(shape)


def score_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The score as rows of a table."""
    error = found["localisation_error_vox"]
    return [
        ("known centres found within 2 voxels, held-out part", f"{found['found_centres']} of {found['known_centres']}"),
        ("mean error of these", "-" if error is None else f"{error:.2f} voxels"),
        (
            "known centres found, whole tomogram",
            f"{found['found_centres_everywhere']} of {found['known_centres_everywhere']}",
        ),
        ("extra picks, held-out part", str(len(found["extra_picks"]))),
        ("shell: known positions covered, held-out part", f"{found['shell_positions_covered']:.1%}"),
        ("shell: voxels within 2 of a known position", f"{found['shell_voxels_within_2']:.1%}"),
    ]
