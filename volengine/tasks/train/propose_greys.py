"""Propose how the grey values of a training are normalised."""

from __future__ import annotations

from collections.abc import Sequence

from volengine.tasks.train.propose_facts import GreyFacts, SampleFacts

DRIFT, SPREAD = 0.3, 1.5
"""Slices differ if their means scatter by this share of the standard deviation, or their deviations by this ratio."""
OFFSET, GAIN = 0.3, 1.3
"""A region is not typical of its volume if mean or deviation are this far apart."""
TAILS = 2.0
"""A few extreme voxels (gold beads) rule the standard deviation if it is this many times that of most voxels."""


def normalisation(samples: Sequence[SampleFacts], volumetric: bool) -> tuple[str, str, str]:
    """The field, its value, and the reason.

    For boxes of sets and regions that are not typical of their volume the statistics of the volume are those of other
    voxels than the network sees when it is applied; then each patch is normalised by itself.
    """
    field = "normalisation"
    greys = [s.greys for s in samples if s.greys is not None]
    if len(greys) < len(samples):
        return field, "per_patch", "the tomograms of a training set, and so their statistics, are not known"
    odd = next((g for g in greys if abs(g.offset) > OFFSET or not 1 / GAIN < g.gain < GAIN), None)
    if odd is not None:
        return (
            *(field, "per_patch"),
            f"a region is not typical of its volume (mean {odd.offset:+.2f} standard deviations, {odd.gain:.2f} times "
            "the contrast)",
        )
    drift, spread = max(g.drift for g in greys), max(g.spread for g in greys)
    if not volumetric and (drift > DRIFT or spread > SPREAD):
        return field, "per_slice", _slices(drift, spread)
    tails = max(g.tails for g in greys)
    if tails > TAILS:
        return (
            *(field, "global_mad"),
            f"a few extreme voxels make the standard deviation {tails:.2g} times that of the others",
        )
    return field, "volume", f"regions are typical of their volumes, and slices are alike{_alike(greys)}"


def _slices(drift: float, spread: float) -> str:
    return f"slices differ (means by {drift:.2f} standard deviations, contrast up to {spread:.2g} times)"


def _alike(greys: Sequence[GreyFacts]) -> str:
    return f" (means to {max(g.drift for g in greys):.2f} standard deviations)"
