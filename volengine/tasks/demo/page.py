"""The demo's report: its score, slices of every step, the run's times, and its recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.picks import Picks
from volengine.engine.report import RunReport
from volengine.ops import pictures
from volengine.ops.pictures import BLUE, GREEN, ORANGE, RED, YELLOW, Picture
from volengine.tasks.common.html import Page
from volengine.tasks.demo.truth import SPLIT_X, Truth, score_lines
from volengine.tasks.run import RunRecipe

SCALE = 4
SLICES = (("z", 47), ("z", 52), ("z", 57), ("z", 63), ("y", 46), ("y", 70))
MARKED_VOX = 5
"""A slice shows the picks and centres that are at most this far from it."""
KEY = (
    (ORANGE, "shell"),
    (BLUE, "core"),
    (RED, "core that the rules erased; cross: known centre"),
    (GREEN, "pick"),
    (YELLOW, f"x = {SPLIT_X}: trained to the left of it, scored to the right"),
)


@dataclass(frozen=True)
class Findings:
    """The truth and the results of the demo.

    ``arrays`` holds ``tomogram``, ``labels``, and the predictions before the rules (``shell before``, ``core before``)
    and after them (``shell``, ``core``), uint8 with 255 for probability 1; all (z, y, x).
    """

    truth: Truth
    picks: Picks
    arrays: dict[str, NDArray[Any]]


def demo_page(
    note: str,
    findings: Findings,
    found: dict[str, Any],
    run_report: RunReport,
    recipe: RunRecipe,
    second: str = "",
) -> Page:
    """Make the report of the demo's first part.

    Parameters
    ----------
    note
        A sentence that describes the tomogram.
    findings
        The truth and the results.
    found
        The scores of :func:`volengine.tasks.demo.truth.score`, and ``real``: whether the tomogram is a real one.
    run_report, recipe
        The report and the recipe of the run.
    second
        Path of the report of the demo's second part, relative to this one; empty if there is none.
    """
    before, after = (findings.arrays[key] > 127 for key in ("core before", "core"))
    extra = [
        (*(f"{v:.1f}" for v in e["position_vox"]), f"{e['weight']:.1f}", f"{e['nearest_known_vox']:.1f}")
        for e in found["extra_picks"]
    ]
    values = {
        "note": note,
        "second": second,
        "split_x": SPLIT_X,
        "found": found,
        "score": score_lines(found),
        "extra": extra,
        "key": KEY,
        "erased": np.count_nonzero(before & ~after),
        "core": np.count_nonzero(before),
        "galleries": [(axis, at, slice_pictures(axis, at, findings)) for axis, at in SLICES],
        "report": run_report,
        "recipe": json.dumps(recipe.to_json(), indent=1),
    }
    return Page("demo.html", values)


def slice_pictures(axis: str, at: int, findings: Findings) -> list[tuple[Picture, str]]:
    """One slice across ``axis`` (z or y): tomogram, predictions before and after the rules, labels with picks."""
    arrays = findings.arrays
    window = pictures.window_of(arrays["tomogram"])
    number = "zyx".index(axis)
    other = [k for k in range(3) if k != number]
    plane = {key: np.take(array, at, axis=number) for key, array in arrays.items()}
    base = pictures.grey(plane["tomogram"], window, SCALE)
    base[:, SPLIT_X * SCALE] = YELLOW

    def tinted(suffix: str) -> Picture:
        with_shell = pictures.overlay(base, plane[f"shell{suffix}"] / 255, ORANGE)
        return pictures.overlay(with_shell, plane[f"core{suffix}"] / 255, BLUE)

    erased = (plane["core before"] > 127) & (plane["core"] <= 127)
    last = pictures.outline(base, plane["labels"], width=2, opacity=0.35)
    for places, colour, cross in ((findings.picks.position_vox, GREEN, False), (findings.truth.centres, RED, True)):
        near = places[np.abs(places[:, number] - at) <= MARKED_VOX][:, other]
        last = pictures.marks(last, near.tolist(), colour, scale=SCALE, radius=2.5, cross=cross)
    return [
        (base, "tomogram"),
        (tinted(" before"), "predictions"),
        (pictures.overlay(tinted(""), erased, RED), "after the rules"),
        (last, "label volume, picks and known centres"),
    ]
