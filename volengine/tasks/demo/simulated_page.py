"""The report of the demo's second part: its scores, slices beside the truth, what the runs took, and the recipes."""

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
from volengine.tasks.common.html import Report
from volengine.tasks.demo.page import stages
from volengine.tasks.run import RunRecipe
from volengine.tasks.simulate.recipe import SimulateRecipe

SCALE = 2
OVERVIEW_Z = 20
SLICES = (("z", 10), ("z", 15), ("z", OVERVIEW_Z), ("z", 25), ("z", 30), ("y", 128))
MARKED_VOX = 6
"""Picks and true positions at most this far from a slice are marked in it: half a ribosome."""

COLOURS: dict[str, Colour] = {"membrane": YELLOW, "microtubule": BLUE, "actin": ORANGE, "ribosome": GREEN}


@dataclass(frozen=True)
class Simulated:
    """What is known of the sample and was found in it.

    Parameters
    ----------
    found
        The scores, as in ``score.json``.
    features
        Each feature's id in the atlas.
    tomogram, atlas, labels
        z, y, x; ``labels`` numbers the picked regions.
    before, after
        Each feature's prediction without and with the rules, uint8, 255 is 1.
    picks, truth
        Found and true positions.
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

    def erased(self, name: str) -> NDArray[np.bool_]:
        """Voxels of a feature that are no longer above the threshold once the rules have acted."""
        limit = self.found["threshold"] * 255
        erased: NDArray[np.bool_] = (self.before[name] > limit) & (self.after[name] <= limit)
        return erased


def simulated_page(
    findings: Simulated,
    reports: tuple[RunReport, RunReport],
    specimen: SimulateRecipe,
    recipe: RunRecipe,
    first: str = "",
) -> Report:
    """The report.

    Parameters
    ----------
    findings
        What is known and was found.
    reports
        Of the simulation, and of the run.
    specimen, recipe
        What was simulated and done.
    first
        The report of the demo's first part, seen from this one; empty: there is none.
    """
    z, y, x = findings.tomogram.shape
    size = specimen.specimen.voxel_size
    page = Report(
        "volengine: a simulated cytoplasm, from structures to picks",
        f"A tomogram of {z} x {y} x {x} voxels of {size:g} angstrom, simulated from structures with "
        f"{len(specimen.tilts.nominal_deg())} tilts and {specimen.dose.total_e_per_a2:g} electrons per square "
        "angstrom. The network has been trained on other simulated samples and has not seen this one. Everything in "
        "it is known, so everything that is found is scored.",
    )
    if first:
        page.link("The first part: a real tomogram", first)
    _score(page, findings.found)
    _rules(page, findings, recipe)
    _slices(page, findings)
    page.heading("Run")
    for what, report in zip(("The simulation", "Segmentation, interactions, picks"), reports, strict=True):
        page.text(f"{what}: {report.data['wall_seconds']:.1f} s with {report.data['options']['workers']} workers.")
        stages(page, report)
    page.heading("Recipes")
    page.text("With every default; specimen.yaml and recipe.yaml beside this file are the short forms.")
    page.code(json.dumps(specimen.to_json(), indent=1))
    page.code(json.dumps(recipe.to_json(), indent=1))
    return page


def pick_lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The score of the picks as rows of a table."""
    picks, before, name = found["picks"], found["picks_without_rules"], found["picked"]
    error = picks["error_nm"]
    return [
        (f"{name}s found within {found['radius_nm']:g} nm", f"{picks['paired']} of {picks['truth']}"),
        ("picks that are none", str(picks["found"] - picks["paired"])),
        ("mean error of the position", "-" if error is None else f"{error:.1f} nm"),
        ("without the rules: found", f"{before['paired']} of {before['truth']}"),
        ("without the rules: picks that are none", str(before["found"] - before["paired"])),
    ]


CLASS_HEAD = ("voxels", "Dice", "without rules", "precision", "recall", "erased by rules")


def class_lines(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The scores of the classes as rows of a table under ``CLASS_HEAD``."""
    shares = ("dice", "dice_without_rules", "precision", "recall")
    return [
        (name, *("-" if row[key] is None else f"{row[key]:.3f}" for key in shares), f"{row['voxels_erased']:,}")
        for name, row in found["classes"].items()
    ]


def _score(page: Report, found: Mapping[str, Any]) -> None:
    rows = pick_lines(found)
    page.heading("Score")
    page.numbers([(value, name) for name, value in rows[:3]])
    page.table(rows[3:])
    page.table(class_lines(found), CLASS_HEAD)
    page.text(
        f"Dice, precision and recall are of voxels above a probability of {found['threshold']:g}, against the atlas. A "
        "class's border is a matter of taste within a voxel, and thin things are all border."
    )
    if found["extra_picks"]:
        page.text("Picks that are none, heaviest first, and the object whose centre is nearest:")
        extra = [
            (*(f"{v:.1f}" for v in e["position_vox"]), f"{e['weight']:.1f}", e["nearest"], f"{e['nearest_nm']:.1f}")
            for e in found["extra_picks"]
        ]
        page.table(extra, ("z", "y", "x", "weight", "nearest object", "nm"))


def _rules(page: Report, findings: Simulated, recipe: RunRecipe) -> None:
    """What the rules erased, and how much of it was right to erase."""
    page.heading("Rules")
    limit = findings.found["threshold"]
    page.text(f"The recipe's rules, in their order, and what they set to 0 of voxels above a probability of {limit:g}:")
    rules: tuple[Rule, ...] = recipe.interact.rules if recipe.interact else ()
    page.table([(str(number), rule_text(rule)) for number, rule in enumerate(rules, 1)])
    rows = []
    for name, number in findings.features.items():
        erased = findings.erased(name)
        wrong = np.count_nonzero(findings.atlas[erased] == number)
        total = np.count_nonzero(erased)
        rows.append((name, f"{total:,}", f"{total - wrong:,}", f"{wrong:,}"))
    page.table(rows, ("erased voxels", "all", "rightly", "wrongly"))


def rule_text(rule: Rule) -> str:
    """A rule in words."""
    if isinstance(rule, Compete):
        return f"the strongest of {', '.join(rule.emit)} stays; weaker {', '.join(rule.absorb)} go"
    where = "is kept within" if rule.kind == "colocalize" else "is erased within"
    near = f"{rule.radius_nm:g} nm of {rule.parent} above {rule.threshold:g}"
    return f"{rule.child} {where} {near} ({'balls' if rule.shape == '3d' else 'discs'})"


def _slices(page: Report, findings: Simulated) -> None:
    page.heading("Slices")
    names = [(COLOURS[name], name) for name in findings.features]
    page.key([*names, (RED, "erased by the rules; cross: true centre"), (GREEN, "ring: pick")])
    for axis, at in SLICES:
        down = "y" if axis == "z" else "z"
        page.gallery(slice_panels(axis, at, findings), f"{axis} = {at} (x to the right, {down} down)")


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
