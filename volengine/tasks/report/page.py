"""The page of one tomogram: its values, and the file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.core.units import format_bytes
from volengine.core.volume import size_text
from volengine.core.yaml_recipes import yaml_text
from volengine.ops.charts import Axes, Curve, Mark, curves, histogram
from volengine.ops.value_counts import EDGES, number_counts
from volengine.tasks.common.html import Page
from volengine.tasks.report import counted as counting
from volengine.tasks.report.description import MARKER, Row
from volengine.tasks.report.meshes import THICKNESS, Meshes
from volengine.tasks.report.past import Past
from volengine.tasks.report.slices import LAYERS, Drawn, Slices, encoded, svg

MOST_BYTES = 300_000
"""Largest size of a page."""
LEAST_PICTURES = 40_000
"""Bytes of its pictures that are always granted."""
MOST_CHARTS = 8
"""Features whose histograms are drawn; of others there are numbers."""
BASE64 = 4 / 3
STAGES_HEAD = ("stage", "units", "run", "seconds", "peak memory", "planned")
RULES_HEAD = ("feature", "above", "voxels before", "voxels after", "erased", "largest before", "largest after")
SURFACES_HEAD = ("feature", "set", "surfaces", "area, nm²", "mean thickness, nm")
_META = re.compile(r'<meta name="(generator|volengine-[a-z]+)" content="([^"]*)">')
_SUM = "@sum@"


@dataclass
class Feature:
    """What is known of a feature.

    Parameters
    ----------
    name, threshold
        Its name; the threshold of its picks, or 0.5.
    before, after
        The values of its prediction before and after the rules; only ``before`` if no rule changes it.
    curve, curve_before
        Numbers of picks against the threshold, after and before the rules.
    picks
        Its picks; ``None``: it was not picked.
    unit
        What the curves count.
    """

    name: str
    threshold: float = 0.5
    before: counting.Probabilities | None = None
    after: counting.Probabilities | None = None
    curve: counting.Curve | None = None
    curve_before: counting.Curve | None = None
    picks: Picks | None = None
    unit: str = "picks"

    @property
    def last(self) -> counting.Probabilities | None:
        """The values that were picked."""
        return self.after or self.before


@dataclass
class Looked:
    """What is known of a tomogram.

    Parameters
    ----------
    name, error
        Its name; why it has failed, or nothing.
    past
        What its plan says; ``None``: it is of no run.
    slices, drawn
        The tomogram with what was found in it; ``None``: there is none.
    greys
        Edges and counts of its grey values, and the level that was read.
    features, surfaces
        What was found.
    problems, warnings, notes
        What is missing or damaged, what is to be looked at, and what else there is to say.
    """

    name: str
    error: str = ""
    past: Past | None = None
    slices: Slices | None = None
    drawn: list[Drawn] = field(default_factory=list)
    greys: tuple[Any, Any, int] | None = None
    features: list[Feature] = field(default_factory=list)
    surfaces: list[Meshes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def page_text(looked: Looked, row: Row, shows: str, of: str) -> str:
    """The page as HTML text, with pictures so large that it has at most 300 kB.

    Parameters
    ----------
    looked
        What it shows.
    row
        What the index says of it, which the page keeps.
    shows
        Digest of what it shows.
    of
        What the report is of.
    """
    values = _values(looked) | {"marker": MARKER, "row": row.to_text(), "shows": shows, "of": of, "slices": []}
    drawings: list[tuple[str, str]] = []
    if looked.drawn:
        pictures = [picture for one in looked.drawn for picture in (one.grey, *one.layers.values())]
        bare = [(one.caption, svg(one, [b""] * (1 + len(one.layers)), _alt(looked, one))) for one in looked.drawn]
        text = Page("report_tomogram.html", values | {"slices": bare}).render()
        room = int((MOST_BYTES - 2000 - len(text.encode())) / BASE64)
        files = iter(encoded(pictures, max(LEAST_PICTURES, room)))
        for one in looked.drawn:
            mine = [next(files) for _ in range(1 + len(one.layers))]
            drawings.append((one.caption, svg(one, mine, _alt(looked, one))))
    return with_sum(Page("report_tomogram.html", values | {"slices": drawings}).render())


def with_sum(page: str) -> str:
    """Put the checksum of a page into it."""
    return page.replace(_SUM, hashlib.sha256(page.encode()).hexdigest()[:32], 1)


def facts_of(path: Path) -> dict[str, str] | None:
    """What a page says of itself by name; empty if it is damaged or has no bytes, ``None`` if there is no file.

    Raises
    ------
    InputError
        The file was not written by ``volengine report``.
    """
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    found = {name: unescape(content) for name, content in _META.findall(text[:20_000])}
    if text and found.get("generator") != MARKER:
        raise InputError(
            f"{path}: was not written by volengine report, and is not replaced. Rename it, or give another --out."
        )
    summed = found.get("volengine-sum", "")
    whole = bool(summed) and with_sum(text.replace(summed, _SUM, 1)) == text
    return found if whole else {}


def write_page(path: Path, text: str) -> None:
    """Write a page; it appears when it is complete. It is not flushed: whatever a crash leaves of it is made again."""
    write_atomic(path, text)


def _alt(looked: Looked, drawn: Drawn) -> str:
    assert looked.slices is not None
    layers = [name for name in LAYERS if any(layer == name for _, _, layer in looked.slices.key())]
    over = f" with {' and '.join(layers)} over it" if layers else ""
    return f"Slice {drawn.caption} of {looked.name}{over}; {counted(len(drawn.rings), 'pick')} near it"


def _values(looked: Looked) -> dict[str, Any]:
    past, slices = looked.past, looked.slices
    key = slices.key() if slices else []
    features = sorted(looked.features, key=lambda one: one.picks is None)  # what was picked comes first
    return {
        "name": looked.name,
        "error": looked.error,
        "problems": [*looked.problems, *looked.warnings],
        "lead": _lead(looked),
        "numbers": _numbers(looked),
        "key": key,
        "layers": [name for name in LAYERS if any(layer == name for _, _, layer in key)],
        "small": bool(looked.drawn) and max(looked.drawn[0].grey.shape) < 300,
        "features": [_feature(one, n < MOST_CHARTS) for n, one in enumerate(features)],
        "rules": [row for one in looked.features if (row := _rules(one))],
        "rules_head": RULES_HEAD,
        "surfaces": [_surfaces_row(one) for one in looked.surfaces],
        "surfaces_head": SURFACES_HEAD,
        "thickness": [_thickness_chart(one) for one in looked.surfaces if one.counts is not None][:MOST_CHARTS],
        "grey": _grey(looked),
        "notes": [*looked.notes, *(past.said if past else ()), *(past.notes if past else ())],
        "stages": _stages(past),
        "stages_head": STAGES_HEAD,
        "command": past.command if past else "",
        "versions": ", ".join(f"{name} {version}" for name, version in past.versions.items()) if past else "",
        "recipe": yaml_text(_set_values(past.recipe)) if past else "",
    }


def _lead(looked: Looked) -> str:
    found = [f"{counted(len(f.picks), 'pick')} of {f.name}" for f in looked.features if f.picks is not None]
    found += [f"{counted(int(one.measured['surfaces']), 'surface')} of {one.name}" for one in looked.surfaces]
    return f"{', '.join(found)}." if found else ""


def _numbers(looked: Looked) -> list[tuple[str, str]]:
    numbers = [(f"picks of {f.name}", f"{len(f.picks):,}") for f in looked.features if f.picks is not None]
    if looked.slices is not None:
        volume = looked.slices.volume
        numbers.append(("voxels z, y, x", " x ".join(map(str, volume.shape))))
        numbers.append(("voxel size", f"{size_text(volume.voxel_size)} Å"))
    if looked.past is not None:
        seconds = sum(row[3] for row in looked.past.stages)
        numbers.append(("of computing", f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"))
    return numbers


def _feature(feature: Feature, drawn: bool) -> dict[str, Any]:
    last = feature.last
    lead = []
    if last is not None:
        limit = f"the threshold is {feature.threshold:g}" if feature.picks is not None else "it is not picked"
        lead.append(f"The largest probability is {last.counts.largest:.3g}; {limit}.")
    charts: list[tuple[str, str, str]] = []
    if last is not None and drawn:
        charts.append(_values_chart(feature, last))
    if feature.curve is not None:
        charts.append(_curve_chart(feature, feature.curve))
    if feature.picks is not None and drawn:
        charts += _picks_charts(feature.name, feature.picks)
    head, table = _table(feature)
    return {"name": feature.name, "lead": " ".join(lead), "charts": charts, "head": head, "table": table}


def _values_chart(feature: Feature, last: counting.Probabilities) -> tuple[str, str, str]:
    marks = [Mark(feature.threshold, f"{feature.threshold:g}")]
    bins = last.counts.bins
    before = feature.before.counts.bins if feature.after is not None and feature.before is not None else None
    alt = f"Histogram of the probabilities of {feature.name}; the largest is {last.counts.largest:.3g}"
    chart = histogram(EDGES, bins, Axes("probability", "voxels", log=True, alt=alt), marks, before)
    caption = f"{last.counts.voxels:,} voxels{_of_level(last.level)}; logarithmic; dashed: the threshold"
    caption += "; the other line is before the rules." if before is not None else "."
    return "Probabilities", chart, caption


def _curve_chart(feature: Feature, curve: counting.Curve) -> tuple[str, str, str]:
    lines = [Curve("after", np.array(curve.thresholds), np.array(curve.picks))]
    earlier = feature.curve_before
    if earlier is not None:
        lines.append(Curve("before", np.array(earlier.thresholds), np.array(earlier.picks)))
    alt = f"Number of {feature.unit} of {feature.name} against the threshold: " + ", ".join(
        f"{n} at {t:g}" for t, n in zip(curve.thresholds, curve.picks, strict=True)
    )
    marks = [Mark(feature.threshold, f"{feature.threshold:g}")]
    chart = curves(lines, Axes("threshold", feature.unit, alt=alt), marks, (0.0, 1.0))
    what = "by the same rules"
    if curve.level:
        what += f"{_of_level(curve.level)}, voxels of {size_text(curve.voxel_size)} Å, so small objects may differ"
    caption = f"How many {feature.unit} other thresholds give, {what}; dashed: the threshold"
    return (
        f"{feature.unit.capitalize()} against threshold",
        chart,
        caption + ("; the other line is before the rules." if earlier else "."),
    )


def _of_level(level: int) -> str:
    return f" of level {level} of the pyramid (means of voxels)" if level else ""


def _picks_charts(name: str, picks: Picks) -> list[tuple[str, str, str]]:
    found = [
        ("Sizes", "volume, nm³", counting.sizes_nm3(picks)),
        ("Weights", "weight", np.zeros(0) if picks.weight is None else picks.weight),
        ("Nearest neighbours", "distance, nm", counting.nearest_nm(picks)),
    ]
    charts = []
    for title, axis, values in found:
        if values.size:
            edges, counts = number_counts(values)
            low, middle, high = (
                np.percentile(values[np.isfinite(values)], [5, 50, 95]) if np.isfinite(values).any() else [0] * 3
            )
            caption = f"Median {middle:.4g}; 5 to 95 %: {low:.4g} to {high:.4g}."
            alt = f"Histogram of {title.lower()} of {len(values)} picks of {name}. {caption}"
            charts.append((title, histogram(edges, counts, Axes(axis, "picks", alt=alt)), caption))
    return charts


def _table(feature: Feature) -> tuple[list[str], list[list[str]]]:
    """Voxels and picks at each threshold."""
    last = feature.last
    if last is None:
        return [], []
    head, columns = ["threshold", "voxels above"], [dict(zip(last.counts.thresholds, last.counts.above, strict=True))]
    for curve, title in ((feature.curve, feature.unit), (feature.curve_before, f"{feature.unit} before the rules")):
        if curve is not None:
            head.append(title)
            columns.append(dict(zip(curve.thresholds, curve.picks, strict=True)))
    rows = [
        [f"{t:g}", *(f"{column[t]:,}" if t in column else "" for column in columns)] for t in last.counts.thresholds
    ]
    return head, rows


def _rules(feature: Feature) -> tuple[str, ...]:
    if feature.before is None or feature.after is None:
        return ()
    at = feature.after.counts.thresholds.index(feature.threshold)
    before, after = (one.counts.above[at] for one in (feature.before, feature.after))
    share = f"{100 * (before - after) / before:.1f} %" if before else "-"
    largest = (f"{one.counts.largest:.3g}" for one in (feature.before, feature.after))
    return feature.name, f"{feature.threshold:g}", f"{before:,}", f"{after:,}", share, *largest


def _surfaces_row(one: Meshes) -> tuple[str, ...]:
    area, thickness = one.measured.get("area_nm2"), one.measured.get(THICKNESS)
    return (
        one.name,
        Path(one.path).name,
        f"{one.measured['surfaces']:,.0f}",
        "-" if area is None else f"{area:,.0f}",
        "-" if thickness is None else f"{thickness:.2f}",
    )


def _thickness_chart(one: Meshes) -> tuple[str, str, str]:
    assert one.edges is not None
    assert one.counts is not None
    low, middle, high = one.span
    caption = f"By area. Median {middle:.4g}; 5 to 95 %: {low:.4g} to {high:.4g}."
    alt = f"Histogram of the thickness of {one.name}. {caption}"
    chart = histogram(one.edges, one.counts, Axes("thickness, nm", "area, nm²", alt=alt))
    return f"Thickness of {one.name}", chart, caption


def _grey(looked: Looked) -> tuple[str, str] | None:
    if looked.greys is None:
        return None
    edges, counts, level = looked.greys
    alt = f"Histogram of the grey values of {looked.name}, from {edges[0]:.4g} to {edges[-1]:.4g}"
    caption = (
        f"The tomogram{_of_level(level)}: from the 0.1 to the 99.9 percentile; what lies beyond is in the outer bins."
    )
    return histogram(edges, counts, Axes("value", "voxels", alt=alt)), caption


def _stages(past: Past | None) -> list[tuple[str, ...]]:
    if past is None:
        return []
    return [
        (name, str(units), str(run), f"{seconds:.2f}", format_bytes(peak) if peak else "-", format_bytes(planned))
        for name, units, run, seconds, peak, planned in past.stages
    ]


def _set_values(recipe: Mapping[str, Any] | Sequence[Any] | Any) -> Any:
    """A recipe without the values that are not set."""
    if isinstance(recipe, Mapping):
        return {k: _set_values(v) for k, v in recipe.items() if v is not None and v not in ("", [], {})}
    return [_set_values(v) for v in recipe] if isinstance(recipe, list | tuple) else recipe


def row_of(looked: Looked) -> Row:
    """What the index says of a tomogram."""
    past, volume = looked.past, looked.slices.volume if looked.slices else None
    finished = past.finished if past is not None else 0.0
    row = Row(
        looked.name,
        "failed" if looked.error else "unfinished" if finished is None else "done",
        looked.error,
        " ".join(looked.problems),
        " ".join(looked.warnings),
        page=True,
        thumb=bool(looked.drawn),
        picks={f.name: len(f.picks) for f in looked.features if f.picks is not None},
        largest={f.name: round(f.last.counts.largest, 4) for f in looked.features if f.last is not None},
        finished=finished or 0.0,
        notes=len(looked.notes),
    )
    if volume is not None:
        row = replace(row, shape=tuple(volume.shape), voxel_size=tuple(volume.voxel_size))
    if past is not None:
        seconds, peak = sum(r[3] for r in past.stages), max((r[4] for r in past.stages), default=0)
        row = replace(row, seconds=round(seconds, 2), peak_bytes=peak)
    return row
