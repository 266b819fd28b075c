"""demo, second part: a simulated cytoplasm, and the results of the shipped network on it.

The demo simulates a sample that the network was not trained on. The network predicts membranes, microtubules, actin and
ribosomes; rules act between them; ribosomes are picked, and the membranes become surfaces. All results are scored
against the truth, with and without the rules: voxels against the atlas, picks against the positions at which the
ribosomes were placed.

Outputs, in the folder ``simulated`` of the demo's folder::

    specimen.yaml, recipe.yaml            the recipes, for volengine simulate and volengine run
    sample/                               the tomogram and its truth, as volengine simulate writes them
    predictions/, gated/, picks/, run/    the results, as volengine run writes them
    without_rules/                        picks from the predictions before the rules
    surfaces/                             the membranes as triangle meshes (PLY), with their thickness
    scores/                               tables of the scores
    score.json, report.html, overview.png
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text, path_text_or_none
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.io.open import open_volume
from volengine.io.picks import read_picks
from volengine.ops.pictures import png, side_by_side
from volengine.ops.score import pair_picks
from volengine.tasks.common.layout import feature_store
from volengine.tasks.demo.files import grid_of, shipped_recipe, whole
from volengine.tasks.demo.membranes import membranes
from volengine.tasks.demo.simulated_page import OVERVIEW_Z, Simulated, simulated_page, slice_panels
from volengine.tasks.pick.verb import pick
from volengine.tasks.run import RunRecipe, run
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.verb import score
from volengine.tasks.simulate.draw import sample_recipe
from volengine.tasks.simulate.recipe import SimulateRecipe
from volengine.tasks.simulate.verb import simulate

FOLDER = "simulated"
"""Name of this part's folder in the demo's folder."""

SPECIMEN, RECIPE = "demo_specimen.yaml", "demo_simulated.yaml"

RADIUS_NM = 10.0
"""A pick within this distance of a placed ribosome has found it; a ribosome's radius is 12 nm."""

Row = dict[str, Any]


@dataclass(frozen=True)
class SimulatedDemo:
    """The results of the second part.

    ``score`` is the content of ``score.json``; ``runs`` are the reports of the simulation and of the recipe's run.
    """

    score: dict[str, Any]
    report: Path
    runs: tuple[RunReport, RunReport]

    @property
    def seconds(self) -> float:
        """Seconds that the simulation and the run took."""
        return sum(float(r.data["wall_seconds"]) for r in self.runs)


def demo_simulated(out: PathLike, options: RunOptions | None = None, model: PathLike | None = None) -> SimulatedDemo:
    """Run the second part of the demo into the folder ``simulated`` of ``out``.

    Parameters
    ----------
    out
        The demo's folder; unchanged results of an earlier demo are used again.
    options
        How to run; default: two local workers.
    model
        Path of a model to use instead of the shipped one; it must predict the same features.

    Raises
    ------
    MissingError
        The model does not exist.
    InputError
        The model lacks one of the features that are scored, or has another voxel size.
    """
    options = options or RunOptions(workers=2)
    folder = Path(path_text(out)).absolute() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    values, specimen = _specimen(folder)
    recipe = shipped_recipe(folder, RECIPE, path_text_or_none(model))
    features = _features(specimen, recipe)
    made = simulate(values, str(folder / "sample"), options=options)
    name = f"{specimen.name}_0001"
    store = str(folder / "sample" / "tomograms" / f"{name}.ome.zarr")
    report = run([store], str(folder), recipe, options)
    files = Files(folder, name, store, recipe.pick[0].feature)
    alone = recipe.pick[0].with_(labels=False)  # the label volume shows the picks after the rules
    here = options.with_(workers=0)  # to start workers would take longer than the rest of the work
    pick(files.predictions(features)[files.picked], str(files.picks("before")), alone, here)
    truth = folder / "sample" / "truth" / name
    surfaces, picture = membranes(folder / "surfaces", files.predictions(features, "after")["membrane"], truth, here)
    found = {**_score(files, features, recipe.pick[0].level, here), "surfaces": surfaces}
    (folder / "score.json").write_text(json.dumps(found, indent=1))
    findings = replace(_findings(files, features, found), membranes=picture)
    first = "../report.html" if (folder.parent / "report.html").exists() else ""
    simulated_page(findings, (made, report), specimen, recipe, first).write(folder / "report.html")
    overview = side_by_side([panel for panel, _ in slice_panels("z", OVERVIEW_Z, findings)])
    (folder / "overview.png").write_bytes(png(overview))
    return SimulatedDemo(found, folder / "report.html", (made, report))


@dataclass(frozen=True)
class Files:
    """Places of files: the part's ``folder``, the sample's ``name`` and ``store``, the ``picked`` feature."""

    folder: Path
    name: str
    store: str
    picked: str

    def predictions(self, features: Mapping[str, int], when: str = "before") -> dict[str, str]:
        """The store of each feature's prediction ``before`` or ``after`` the rules, which may be the same."""
        found = {f: feature_store(str(self.folder / "predictions"), self.name, f) for f in features}
        gated = {f: feature_store(str(self.folder / "gated"), self.name, f) for f in features}
        return found | {f: url for f, url in gated.items() if when == "after" and Path(url).exists()}

    def picks(self, when: str) -> Path:
        """The table of picks: ``before`` the rules, ``after`` them, or the ``truth``."""
        folder = {"before": "without_rules", "after": "picks", "truth": "sample/picks"}[when]
        return self.folder / folder / f"{self.name}__{self.picked}.star"


def _specimen(folder: Path) -> tuple[dict[str, Any], SimulateRecipe]:
    """The recipe of the simulation, which is also copied to the results, so that users can change it."""
    with resources.as_file(resources.files("volengine.data") / SPECIMEN) as path:
        values = read_yaml(path)
        if not (folder / "specimen.yaml").exists():
            (folder / "specimen.yaml").write_text(path.read_text())
    return values, sample_recipe(values, 1)


def _features(specimen: SimulateRecipe, recipe: RunRecipe) -> dict[str, int]:
    """Ids of the classes that are scored, by name.

    Raises
    ------
    InputError
        The model does not predict one of them.
    """
    from volengine.nets.checkpoint import load_facts

    features = {name: number for name, number in (specimen.specimen.classes or {}).items() if number}
    assert recipe.segment is not None  # it is the demo's own
    path = recipe.segment.models[0]
    known = load_facts(path).features
    missing = [name for name in features if name not in known]
    if missing:
        raise InputError(
            f"{path} predicts {', '.join(known)}; the demo needs {', '.join(features)}, so it lacks "
            f"{', '.join(missing)}."
        )
    return features


def _score(files: Files, features: dict[str, int], threshold: float, options: RunOptions) -> dict[str, Any]:
    """All scores as JSON values; a score that is not defined is ``None``."""
    volumes, picks = {}, {}
    of_ids = ScoreRecipe(features=tuple(features), ids=tuple(features.values()), threshold=threshold, skeleton="none")
    for when in ("before", "after"):
        out = str(files.folder / "scores" / f"{when}.csv")
        (files.folder / "scores").mkdir(exist_ok=True)
        volumes[when] = score(
            files.predictions(features, when), f"{files.store}#labels/atlas", of_ids, options, out=out
        )
        of_picks = ScoreRecipe(features=(files.picked,), radius_nm=RADIUS_NM)
        picks[when] = score(str(files.picks(when)), str(files.picks("truth")), of_picks)[files.picked]
    classes = {}
    for name in features:
        before, after = (volumes[when][name] for when in ("before", "after"))
        classes[name] = {
            "dice": _plain(after["dice"]),
            "dice_without_rules": _plain(before["dice"]),
            "precision": _plain(after["precision"]),
            "recall": _plain(after["recall"]),
            "voxels_erased": before["found"] - after["found"],
            "voxels_found": after["found"],
            "voxels_true": after["truth"],
        }
    return {
        "name": files.name,
        "threshold": threshold,
        "radius_nm": RADIUS_NM,
        "picked": files.picked,
        "picks": {key: _plain(value) for key, value in picks["after"].items() if key != "feature"},
        "picks_without_rules": {key: _plain(value) for key, value in picks["before"].items() if key != "feature"},
        "extra_picks": extra_picks(_picks(files, "after"), _picks(files, "truth"), _objects(files)),
        "classes": classes,
    }


def _plain(value: Any) -> Any:
    """A rounded number; ``None`` for NaN, which JSON does not have."""
    if not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None


def extra_picks(found: Picks, truth: Picks, objects: Sequence[tuple[str, Sequence[float]]]) -> list[Row]:
    """The picks that are not true particles, by falling weight, with the placed object that is nearest to each.

    Parameters
    ----------
    found, truth
        Picks and true particles.
    objects
        All placed objects: structure, and centre in angstrom, z, y, x.
    """
    match = pair_picks(found.position, truth.position, RADIUS_NM * NM_TO_ANGSTROM)
    weight = np.zeros(len(found)) if found.weight is None else found.weight
    places = np.array([place for _, place in objects])
    extra = []
    for k in sorted(match.extra, key=lambda k: -weight[k]):
        apart = np.linalg.norm(places - found.position[k], axis=1)
        nearest = int(apart.argmin())
        extra.append(
            {
                "position_vox": [round(float(v), 1) for v in found.position_vox[k]],
                "weight": round(float(weight[k]), 1),
                "nearest": objects[nearest][0],
                "nearest_nm": round(float(apart[nearest]) / NM_TO_ANGSTROM, 1),
            }
        )
    return extra


def _objects(files: Files) -> list[tuple[str, list[float]]]:
    """Structure and centre of all placed objects, except membranes, which have no centre."""
    with (files.folder / "sample" / "truth" / files.name / "specimen.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["z_a"]]
    return [(row["structure"], [float(row[key]) for key in ("z_a", "y_a", "x_a")]) for row in rows]


def _picks(files: Files, when: str) -> Picks:
    return read_picks(str(files.picks(when)), **grid_of(open_volume(files.store)))


def _findings(files: Files, features: dict[str, int], found: dict[str, Any]) -> Simulated:
    def voxels(url: str, group: str = "") -> NDArray[Any]:
        return whole(open_volume(url, group=group))

    after = files.predictions(features, "after")
    return Simulated(
        found,
        features,
        tomogram=voxels(files.store),
        atlas=voxels(files.store, "labels/atlas"),
        before={name: voxels(url) for name, url in files.predictions(features).items()},
        after={name: voxels(url) for name, url in after.items()},
        labels=voxels(after[files.picked], f"labels/{files.picked}"),
        picks=_picks(files, "after"),
        truth=_picks(files, "truth"),
    )
