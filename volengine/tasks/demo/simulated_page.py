"""The report of the demo's second part: its scores, slices beside the truth, the times of the runs, the recipes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.picks import Picks
from volengine.core.rules import Compete, Rule
from volengine.engine.report import RunReport
from volengine.ops import pictures
from volengine.ops.pictures import BLUE, GREEN, ORANGE, RED, YELLOW, Colour, Picture
from volengine.tasks.common.html import Page
from volengine.tasks.demo.membranes import HEAD as SURFACE_HEAD
from volengine.tasks.demo.membranes import WINDOW_NM, surface_lines, surface_numbers
from volengine.tasks.run import RunRecipe
from volengine.tasks.simulate.recipe import SimulateRecipe

SCALE = 2
OVERVIEW_Z = 20
SLICES = (("z", 10), ("z", 15), ("z", OVERVIEW_Z), ("z", 25), ("z", 30), ("y", 128))
MARKED_VOX = 6
"""A slice shows the picks and true positions that are at most this far from it: half a ribosome."""

COLOURS: dict[str, Colour] = {"membrane": YELLOW, "microtubule": BLUE, "actin": ORANGE, "ribosome": GREEN}


@dataclass(frozen=True)
class Simulated:
    """The truth of the sample, and the results.

    Parameters
    ----------
    found
        The scores, as in ``score.json``.
    features
        The id of each feature in the atlas.
    tomogram, atlas, labels
        Arrays (z, y, x); ``labels`` numbers the picked regions.
    before, after
        The prediction of each feature without and with the rules, uint8 (255 is probability 1).
    picks, truth
        Found and true positions.
    membranes
        The picture of their surfaces; ``None`` if there are none.
    """

    found: Mapping[str, Any]
    features: Mapping[str, int]
    tomogram: NDArray[Any]
    atlas: NDArray[Any]
    before: Mapping[str, NDArray[Any]]
    after: Mapping[str, NDArray[Any]]
    labels: NDArray[Any]
    picks: Picks
    truth: Picks
    membranes: Picture | None = None

    def erased(self, name: str) -> NDArray[np.bool_]:
        """Mask of the voxels of a feature that only the rules have set below the threshold."""
        limit = self.found["threshold"] * 255
        erased: NDArray[np.bool_] = (self.before[name] > limit) & (self.after[name] <= limit)
        return erased


def simulated_page(
    findings: Simulated,
    reports: tuple[RunReport, RunReport],
    specimen: SimulateRecipe,
    recipe: RunRecipe,
    first: str = "",
) -> Page:
    """Make the report of the demo's second part.

    Parameters
    ----------
    findings
        The truth and the results.
    reports
        Reports of the simulation and of the run.
    specimen, recipe
        Recipes of the simulation and of the run.
    first
        Path of the report of the demo's first part, relative to this one; empty if there is none.
    """
    found = findings.found
    extra = [
        (*(f"{v:.1f}" for v in e["position_vox"]), f"{e['weight']:.1f}", e["nearest"], f"{e['nearest_nm']:.1f}")
        for e in found["extra_picks"]
    ]
    rules: tuple[Rule, ...] = recipe.interact.rules if recipe.interact else ()
    key = [(COLOURS[name], name) for name in findings.features]
    values = {
        "shape": findings.tomogram.shape,
        "specimen": specimen,
        "first": first,
        "found": found,
        "picks": pick_lines(found),
        "classes": class_lines(found),
        "class_head": CLASS_HEAD,
        "extra": extra,
        "surface_numbers": surface_numbers(found["surfaces"]),
        "surfaces": surface_lines(found["surfaces"]),
        "surface_head": SURFACE_HEAD,
        "membranes": findings.membranes,
        "thickness_nm": WINDOW_NM,
        "rules": [(number, rule_text(rule)) for number, rule in enumerate(rules, 1)],
        "erased": [_erased_line(findings, name) for name in findings.features],
        "key": [*key, (RED, "erased by the rules; cross: true centre"), (GREEN, "ring: pick")],
        "galleries": [(axis, at, slice_panels(axis, at, findings)) for axis, at in SLICES],
        "reports": [("The simulation", reports[0]), ("Segmentation, interactions, picks", reports[1])],
        "recipes": [json.dumps(one.to_json(), indent=1) for one in (specimen, recipe)],
    }
    return Page("demo_simulated.html", values)


def pick_lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The score of the picks as rows of a table."""
    picks, before, name = found["picks"], found["picks_without_rules"], found["picked"]
    error = picks["error_nm"]
    return [
        (f"{name}s found within {found['radius_nm']:g} nm", f"{picks['paired']} of {picks['truth']}"),
        ("picks that are no ribosomes", str(picks["found"] - picks["paired"])),
        (f"recall: found of the {name}s", _percent(picks["paired"], picks["truth"])),
        (f"precision: {name}s of the picks", _percent(picks["paired"], picks["found"])),
        ("mean error of the position", "-" if error is None else f"{error:.1f} nm"),
        ("without the rules: found", f"{before['paired']} of {before['truth']}"),
        ("without the rules: picks that are no ribosomes", str(before["found"] - before["paired"])),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


CLASS_HEAD = ("voxels", "Dice", "without rules", "precision", "recall", "erased by rules")


def class_lines(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The scores of the classes as rows of a table under ``CLASS_HEAD``."""
    shares = ("dice", "dice_without_rules", "precision", "recall")
    return [
        (name, *("-" if row[key] is None else f"{row[key]:.3f}" for key in shares), f"{row['voxels_erased']:,}")
        for name, row in found["classes"].items()
    ]


def _erased_line(findings: Simulated, name: str) -> tuple[str, ...]:
    """The number of voxels of a feature that the rules erased, and how many of them rightly and wrongly."""
    erased = findings.erased(name)
    total, wrong = np.count_nonzero(erased), np.count_nonzero(findings.atlas[erased] == findings.features[name])
    return (name, f"{total:,}", f"{total - wrong:,}", f"{wrong:,}")


def rule_text(rule: Rule) -> str:
    """A rule in words."""
    if isinstance(rule, Compete):
        return f"the strongest of {', '.join(rule.emit)} stays; weaker {', '.join(rule.absorb)} go"
    where = "is kept within" if rule.kind == "colocalize" else "is erased within"
    near = f"{rule.radius_nm:g} nm of {rule.parent} above {rule.threshold:g}"
    return f"{rule.child} {where} {near} ({'balls' if rule.shape == '3d' else 'discs'})"


def slice_panels(axis: str, at: int, findings: Simulated) -> list[tuple[Picture, str]]:
    """One slice across ``axis`` (z or y): tomogram, atlas, prediction after the rules, picks with true centres."""
    number = "zyx".index(axis)
    other = [k for k in range(3) if k != number]

    def plane(array: NDArray[Any]) -> NDArray[Any]:
        cut: NDArray[Any] = np.take(array, at, axis=number)
        return cut

    base = pictures.grey(plane(findings.tomogram), pictures.window_of(findings.tomogram), SCALE)
    truth = predicted = base
    erased = np.zeros(plane(findings.atlas).shape, bool)
    for name, value in findings.features.items():
        truth = pictures.overlay(truth, plane(findings.atlas) == value, COLOURS[name])
        predicted = pictures.overlay(predicted, plane(findings.after[name]) / 255, COLOURS[name])
        erased |= plane(findings.erased(name))
    marked = pictures.outline(base, plane(findings.labels), width=1, opacity=0.35)
    for picks, colour, radius, cross in ((findings.picks, GREEN, 9, False), (findings.truth, RED, 3, True)):
        places = picks.position_vox
        near = places[np.abs(places[:, number] - at) <= MARKED_VOX][:, other]
        marked = pictures.marks(marked, near.tolist(), colour, scale=SCALE, radius=radius, cross=cross)
    return [
        (base, "tomogram"),
        (truth, "truth"),
        (pictures.overlay(predicted, erased, RED), "predictions after the rules"),
        (marked, "picks and true centres"),
    ]
