"""The demo's report: its score, slices of every step, what the run took, and its recipe."""

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
from volengine.tasks.common.html import Report
from volengine.tasks.demo.truth import SPLIT_X, Truth, score_lines
from volengine.tasks.run import RunRecipe

SCALE = 4
SLICES = (("z", 47), ("z", 52), ("z", 57), ("z", 63), ("y", 46), ("y", 70))
MARKED_VOX = 5
"""Picks and centres at most this far from a slice are marked in it."""


@dataclass(frozen=True)
class Findings:
    """What the demo knows and has found.

    ``arrays``: ``tomogram``, ``labels``, and the predictions as the networks gave them (``shell before``, ``core
    before``) and after the rules (``shell``, ``core``), uint8, 255 is 1; all z, y, x.
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
) -> Report:
    """The report.

    Parameters
    ----------
    note
        Says which tomogram it is.
    found
        Of :func:`volengine.tasks.demo.truth.score`, with ``real``: whether the tomogram was measured.
    second
        The report of the demo's second part, seen from this one; empty: there is none.
    """
    kind = "a real tomogram" if found["real"] else "a procedural volume"
    page = Report(f"volengine: {kind}, from MRC to picks", note)
    if second:
        page.link("The second part: a simulated cytoplasm, of which everything is known", second)
    _score(page, found)
    _slices(page, findings)
    page.heading("Run")
    workers = run_report.data["options"]["workers"]
    page.text(f"{run_report.data['wall_seconds']:.1f} s in all, with {workers} workers.")
    stages(page, run_report)
    page.heading("Recipe")
    page.text("With every default; recipe.yaml beside this file is the short form.")
    page.code(json.dumps(recipe.to_json(), indent=1))
    return page


def _score(page: Report, found: dict[str, Any]) -> None:
    rows = score_lines(found)
    page.heading("Score")
    if found["real"]:
        page.text(
            f"The networks were trained on x < {SPLIT_X} only. This is what they find at x >= {SPLIT_X}, measured "
            "against positions that they have not seen."
        )
    else:
        page.text(f"At x >= {SPLIT_X}, as for the real tomogram.")
    page.numbers([(value, name) for name, value in rows[:5]])
    page.table(rows[5:])
    if found["extra_picks"]:
        page.text(
            "Extra picks, heaviest first. Some particles near the rim of the tomogram are not annotated; these picks "
            "may be among them, so look at the slices."
        )
        extra = [
            (*(f"{v:.1f}" for v in e["position_vox"]), f"{e['weight']:.1f}", f"{e['nearest_known_vox']:.1f}")
            for e in found["extra_picks"]
        ]
        page.table(extra, ("z", "y", "x", "weight", "voxels to the nearest known centre"))


def _slices(page: Report, findings: Findings) -> None:
    page.heading("Slices")
    page.key(
        [
            (ORANGE, "shell"),
            (BLUE, "core"),
            (RED, "core that the rules erased; cross: known centre"),
            (GREEN, "pick"),
            (YELLOW, f"x = {SPLIT_X}: trained to the left of it, scored to the right"),
        ]
    )
    before, after = (findings.arrays[key] > 127 for key in ("core before", "core"))
    page.text(
        f"The rules erased {np.count_nonzero(before & ~after):,} of {np.count_nonzero(before):,} core voxels: those "
        "where shell is more probable, and those that have no shell near them."
    )
    for axis, at in SLICES:
        down = "y" if axis == "z" else "z"
        page.gallery(slice_pictures(axis, at, findings), f"{axis} = {at} (x to the right, {down} down)")


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


def stages(page: Report, report: RunReport) -> None:
    """What each stage of a run took, as a table."""
    rows = []
    for plan in report.data["plans"].values():
        for stage in plan["stages"]:
            peak = stage["peak_rss_bytes"]
            rows.append(
                (
                    stage["stage"],
                    stage["units"],
                    stage["run"],
                    f"{stage['seconds']:.2f}",
                    stage["counts"].get("patches", ""),
                    f"{peak / 1e6:.0f}" if peak else "-",
                    f"{stage['planned_peak_bytes'] / 1e6:.0f}",
                )
            )
    page.table(rows, ("stage", "blocks", "run now", "seconds", "patches", "peak memory, MB", "planned, MB"))
