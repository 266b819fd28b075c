"""Kernel of ``report``, and the memory that it needs: one unit makes the page of one tomogram.

Unlike other kernels it opens files itself: a page shows a few slices of many volumes, the picks in tables, and what the
folder of a plan says. What it gives back is one row of the index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from volengine import __version__
from volengine.core.atomic import replacing
from volengine.core.block import Block, Result
from volengine.core.digest import digest_of
from volengine.core.errors import InputError, VolengineError
from volengine.io.open import OpenVolume
from volengine.tasks.common.named import feature_of, open_sized
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.report import counted as counting
from volengine.tasks.report.description import MARKER, PAGES, THUMBS, Row, Shown, page_name
from volengine.tasks.report.meshes import LARGEST_MESH, LARGEST_SET, MESH_MEMORY, Told, looked_at, state_of
from volengine.tasks.report.page import Feature, Looked, facts_of, page_text, row_of, write_page
from volengine.tasks.report.past import Past, Prediction, Table, past_of
from volengine.tasks.report.recipe import ReportRecipe
from volengine.tasks.report.slices import Found, Slices, thumbnail

FORM = 2
"""Raised when pages show other things, or show them otherwise, so that they are made again."""
RADIUS_NM = 10.0
"""Radius of the rings of picks whose recipe states no spacing."""
REFUSED = (VolengineError, OSError, ValueError, KeyError)
"""What damaged files make of their readers; whatever it is, the other tomograms get their pages."""


def make_page(
    block: Block, shown: list[dict[str, Any]], out: str, recipe: dict[str, Any], of: str, asked: int = 0
) -> Result:
    """Kernel: make the page and the small picture of one tomogram, unless they are there and show the same.

    Parameters
    ----------
    shown
        The tomograms, of which the unit takes the one with its number.
    out
        Folder of the report.
    recipe
        The recipe.
    of
        What the report is of.
    asked
        Tells one call of the verb from another, so that its units are run again and look at what there is.

    Returns
    -------
    Result
        The table has the row of the index as JSON text in ``row`` (uint8).
    """
    mine = Shown.from_json(shown[block.number])
    row, new = _made(mine, Path(out), ReportRecipe.from_json(recipe), of)
    text = np.frombuffer(row.to_text().encode(), np.uint8)
    return Result(table={"row": text}, counts={"pages written": int(new), "pages unchanged": int(row.page and not new)})


def make_page_bytes() -> int:
    """Bytes that :func:`make_page` needs: for a prediction that is picked with other thresholds, and for slices.

    Meshes are read before and after it.
    """
    values = 40 * counting.MOST_PICKED + 16 * counting.BLOCK_VOXELS + 8 * counting.LARGEST_TABLE
    meshes = MESH_MEMORY * LARGEST_MESH + LARGEST_SET // 2  # a vertex has 16 bytes of values, of at least 40 of a file
    return max(values, meshes) + 2**27


def _made(mine: Shown, out: Path, recipe: ReportRecipe, of: str) -> tuple[Row, bool]:
    """The row of a tomogram, and whether its page was written."""
    name = page_name(mine.name)
    page, thumb = out / PAGES / f"{name}.html", out / THUMBS / f"{name}.webp"
    try:
        known = facts_of(page)
        if known and known.get("volengine-of") not in (None, of):
            raise InputError(f"{page}: belongs to another report ({known['volengine-of']}); give another --out.")
        _check_ours(thumb)
        looked = Looked(mine.name, mine.error)
        if mine.plan:
            try:
                looked.past = past_of(mine.plan)
            except REFUSED as error:
                if not mine.error:
                    raise
                looked.notes.append(str(error))
        past = looked.past or _stated(mine)
        past = replace(past, surfaces=tuple(dict.fromkeys((*past.surfaces, *mine.surfaces))))
        shows = digest_of([FORM, __version__, mine.to_json(), recipe.to_json(), past, _identities(past)])
        if known and known.get("volengine-shows") == shows:
            row = Row.from_text(known.get("volengine-row", ""))
            if row is not None and row.thumb == thumb.exists():
                return row, False
        _look(looked, past, recipe)
        row = row_of(looked)
        if looked.drawn:
            data = thumbnail(looked.drawn[0])
            with replacing(thumb, parents=True, durable=False) as file:
                file.write(data)
        else:
            thumb.unlink(missing_ok=True)
        write_page(page, page_text(looked, row, shows, of))
    except REFUSED as error:
        said = str(error) or repr(error)
        return Row(mine.name, "failed" if mine.error else "done", mine.error, problem=said), False
    return row, True


def _check_ours(thumb: Path) -> None:
    try:
        data = thumb.read_bytes()
    except FileNotFoundError:
        return
    if data and MARKER.encode() not in data:  # an empty file is what a crash has left
        raise InputError(f"{thumb}: was not written by volengine report, and is not replaced. Rename it.")


def _stated(mine: Shown) -> Past:
    """What a tomogram of no run has, in the form of what a plan says."""
    predictions, tables = [], []
    for path in mine.predictions:
        try:
            feature = feature_of(open_sized(path)) or Path(path).stem
        except REFUSED:
            feature = Path(path).stem
        predictions.append(Prediction(feature, path))
    for path in mine.picks:
        feature = Path(path).name.rpartition("__")[2].split(".")[0]
        of = next((p for p in predictions if p.feature == feature), None)
        recipe = PickRecipe(feature=feature).to_json()
        tables.append(Table(feature, path, of.path if of else "", recipe, PickRecipe().level))
    return Past(mine.tomogram, tuple(predictions), mine.labels, tuple(tables), {}, (), (), (), 0.0)


def _identities(past: Past) -> dict[str, str]:
    """Digests of what a page reads."""
    volumes = [past.tomogram, *(path for p in past.predictions for path in (p.path, p.gated)), *past.labels]
    found = {}
    for path in filter(None, volumes):
        try:
            found[path] = open_sized(path).identity
        except REFUSED as error:
            found[path] = str(error)
    for table in past.tables:
        try:
            found[table.path] = hashlib.sha256(Path(table.path).read_bytes()).hexdigest()
        except OSError as error:
            found[table.path] = str(error)
    for place in past.surfaces:
        try:
            found[place] = digest_of(state_of(place))
        except OSError as error:
            found[place] = str(error)
    return found


def _look(looked: Looked, past: Past, recipe: ReportRecipe) -> None:
    """Look at a tomogram and what was found in it; what is missing or damaged is named among the problems."""
    steps = {table.feature: table for table in past.tables}
    radii = {name: _radius(step.recipe) for name, step in steps.items()}
    shown = [Found(p.last, "predictions") for p in past.predictions if not p.feature.endswith(" uncertainty")]
    shown += [Found(path, "labels") for path in past.labels]
    shown += [Found(path, "surfaces") for path in past.surfaces]
    shown += [Found(step.path, "picks", radii[name]) for name, step in steps.items()]
    name = next((step.tomogram for step in past.tables if step.tomogram), looked.name)
    volume: OpenVolume | None = None
    if past.tomogram:
        try:
            looked.slices = Slices(
                past.tomogram, shown, recipe.slice, mean=recipe.mean, pixels=recipe.pixels, tomogram=name
            )
            looked.drawn = looked.slices.draw()
            looked.greys = counting.greys(looked.slices.volume)
            volume = looked.slices.volume
            looked.problems += looked.slices.missing
            looked.notes += looked.slices.notes
            if left := sum(one.left for one in looked.drawn):
                looked.notes.append(
                    f"{left} picks, the lightest ones, are not drawn in the slices: there are too many."
                )
        except REFUSED as error:
            looked.slices, looked.drawn = None, []
            looked.problems.append(f"{past.tomogram}: {error}")
    else:
        looked.notes.append("There is no tomogram to show.")
    for prediction in past.predictions:
        step = steps.pop(prediction.feature, None)
        _look_at(looked, prediction, step, volume, recipe)
    for step in steps.values():  # picks of a prediction that is not known
        _look_at(looked, Prediction(step.feature, step.prediction), step, volume, recipe)
    for path in past.surfaces:
        try:
            looked.surfaces.append(looked_at(path, Told(looked.problems, looked.notes)))
        except REFUSED as error:
            Told(looked.problems, looked.notes).problem(f"{path}: {error}")


def _look_at(
    looked: Looked, prediction: Prediction, step: Table | None, volume: OpenVolume | None, recipe: ReportRecipe
) -> None:
    """Look at one feature."""
    feature = Feature(prediction.feature, step.threshold if step else 0.5)
    looked.features.append(feature)
    rules = PickRecipe.from_json(dict(step.recipe)) if step is not None else None
    scale = rules.scale if rules is not None else None
    thresholds = tuple(sorted({*counting.THRESHOLDS, feature.threshold}))
    opened: OpenVolume | None = None
    try:
        if prediction.path:
            first = opened = open_sized(prediction.path)
            feature.before = counting.probabilities(first, thresholds, scale)
            if prediction.gated:
                opened = open_sized(prediction.gated)
                feature.after = counting.probabilities(opened, thresholds, scale)
            if rules is not None and recipe.counts:
                rules = rules.with_(feature=prediction.feature, threshold=feature.threshold)
                feature.unit = "regions" if rules.filament or rules.compat else "picks"
                feature.curve = counting.picks_at(opened, rules)
                if prediction.gated:
                    feature.curve_before = counting.picks_at(first, rules)
                if feature.curve is None:
                    looked.notes.append(
                        f"{feature.name}: how many picks other thresholds give is not counted: only a part was "
                        "picked, or no level of the pyramid is small enough."
                    )
    except REFUSED as error:
        _problem(looked, f"{feature.name}: {error}")
    if step is not None:
        try:
            of = opened or volume
            if of is None:
                raise InputError(f"{step.path}: neither the prediction nor the tomogram can be read.")
            feature.picks = counting.read_table(step.path, of, step.tomogram or looked.name)
        except REFUSED as error:
            _problem(looked, f"{feature.name}: {error}")
    last = feature.last
    if step is not None and last is not None and last.level == 0 and last.counts.largest <= feature.threshold:
        looked.warnings.append(
            f"No voxel of {feature.name} is above the threshold of {feature.threshold:g}: the largest probability is "
            f"{last.counts.largest:.3g}."
        )


def _problem(looked: Looked, text: str) -> None:
    """Note a problem, unless it was noted for the slices."""
    if not any(text.partition(": ")[2] in known for known in looked.problems):
        looked.problems.append(text)


def _radius(recipe: Mapping[str, Any]) -> float:
    spacing = recipe.get("spacing_nm")
    return float(spacing) / 2 if isinstance(spacing, int | float) and spacing > 0 else RADIUS_NM
