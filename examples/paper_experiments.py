"""Re-run the experiments of CryoTomoSim's papers, small, on simulated tomograms whose truth is known.

    python examples/paper_experiments.py OUT [dose] [defocus] [pixel] [crowding] [slices] [wedge]

Networks are trained on some tomograms and tested on others that differ in one thing: dose, defocus, pixel size,
crowding, the number of annotated slices, the direction of filaments. The orderings that the papers report (Purnell et
al., bioRxiv 2023.04.28.538636 and 2025.01.31.635598) are then compared with what comes out; docs/experiments.md is
such a comparison. Without names all of them are done, on one thread in about half an hour.

``OUT/tables.md`` holds the tables, ``OUT/scores.csv`` every single score, ``OUT/results`` one JSON file for each
network and test; ``OUT/NAME.svg`` and ``OUT/NAME.png`` are a figure for each experiment. What is there already is not
done again; ``--table`` does nothing but write tables and figures. ``--size``, ``--steps``, ``--width``, ``--networks``
and ``--device cuda`` make it larger. A specimen follows from the seed alone, so tomograms that differ in dose or
defocus show the same particles.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import numpy as np

from volengine import RunOptions, ScoreRecipe, SegmentRecipe, TrainRecipe, TrainSample, score, segment, simulate, train
from volengine.core.atomic import write_atomic
from volengine.core.colours import colour_of
from volengine.ops.figures import Series, dots, figure_files

Values = dict[str, Any]

TEST = 101
"""Number of the first sample that networks are tested on; those that they are trained on begin at 1."""
EPOCHS = 4
CONTEXT = 5
SCORES = ("dice", "precision", "recall")
FOUR = ("membrane", "microtubule", "actin", "ribosome")
IDS = {**{name: number for number, name in enumerate(FOUR, 1)}, "distract": 0}


@dataclass(frozen=True)
class Scale:
    """How large everything is: side of the tomograms (voxels), steps of 8 patches for a network, its width, how many
    networks are trained for each row, and where."""

    size: int = 192
    steps: int = 120
    width: int = 8
    networks: int = 2
    patch: int = 80
    tilt_step_deg: float = 3.0
    device: str = "cpu"


@dataclass(frozen=True)
class Scene:
    """One simulated tomogram: a recipe and the number of the sample."""

    recipe: Values
    number: int


@dataclass(frozen=True)
class Source:
    """What a network is trained on: a tomogram, the slices of it that are annotated (none: all), and how often it is
    drawn from."""

    scene: Scene
    slices: tuple[int, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class Test:
    """A tomogram to test on; ``match`` of :class:`SegmentRecipe`, or ``any``: whatever its voxel size, as it is.
    ``roi`` leaves out what was annotated in it."""

    scene: Scene
    match: Literal["any", "isotropic"] = "any"
    roi: str = ""


@dataclass(frozen=True)
class Experiment:
    """Networks by name (rows), tests by name (columns), and what is looked for; ``effort`` is a factor on the steps."""

    title: str
    networks: Mapping[str, Sequence[Source]]
    tests: Mapping[str, Test]
    features: tuple[str, ...]
    ids: tuple[int, ...]
    effort: int = 1


# -- what is simulated -------------------------------------------------------------------------------------------------


def imaged(
    specimen: Values, scale: Scale, name: str, *, dose: float = 100, defocus: float = 5, **other: Values
) -> Values:
    """A recipe of :func:`volengine.simulate`; ``other`` is merged into ``exposure`` and ``reconstruct``."""
    optics = {"defocus_um": defocus, **other.pop("optics", {})}
    return {
        "name": name,
        "seed": 20,
        "specimen": specimen,
        "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": scale.tilt_step_deg, "order": "dose-symmetric"},
        "dose": {"total_e_per_a2": dose},
        "exposure": {"optics": optics, **other.pop("exposure", {})},
        "keep": {"tilts": False},
        **other,
    }


def ribosomes(scale: Scale, *, voxel: float = 10, side: float = 1.0, **how: Any) -> Values:
    """Ribosomes in buffer, 400 angstrom thick; ``side`` is a share of the scale's."""
    plane = round(scale.size * side * 10 / voxel)
    species = [{"structure": "ribosome"}]
    layers = [{"species": species, "iterations": round(500 * (scale.size * side / 400) ** 2), "density": 0.15}]
    specimen = {"shape": [round(400 / voxel), plane, plane], "voxel_size": voxel, "layers": layers}
    return imaged({**specimen, "classes": {"ribosome": 1}}, scale, "ribosomes", **how)


def dose_experiment(scale: Scale) -> Experiment:
    """P25, figure S2: trained at 100 e/A^2, at 1, on both; tested over the whole range."""

    def at(dose: float, number: int) -> Scene:
        return Scene(ribosomes(scale, dose=dose), number)

    networks = {
        "100 e/Å²": [Source(at(100, n)) for n in (1, 2)],
        "1 e/Å²": [Source(at(1, n)) for n in (1, 2)],
        "both": [Source(at(dose, n)) for dose in (100, 1) for n in (1, 2)],
    }
    tests = {str(dose): Test(at(dose, TEST)) for dose in (1, 3, 10, 30, 60, 120)}
    return Experiment("Ribosomes by dose (e/Å²) of the tomogram", networks, tests, ("ribosome",), (1,))


def defocus_experiment(scale: Scale) -> Experiment:
    """P25, figure S3: trained at one defocus, or several; tested at others."""

    def at(defocus: float, number: int) -> Scene:
        return Scene(ribosomes(scale, defocus=defocus), number)

    networks = {
        "1 µm": [Source(at(1, n)) for n in (1, 2)],
        "5 µm": [Source(at(5, n)) for n in (1, 2)],
        "9 µm": [Source(at(9, n)) for n in (1, 2)],
        "1, 5 and 9 µm": [Source(at(defocus, n)) for defocus in (1, 5, 9) for n in (1, 2)],
    }
    tests = {str(defocus): Test(at(defocus, TEST)) for defocus in (1, 3, 5, 7, 9)}
    return Experiment("Ribosomes by defocus (µm) of the tomogram", networks, tests, ("ribosome",), (1,))


def pixel_experiment(scale: Scale) -> Experiment:
    """P25, figure S4: a network of 10 angstrom on other voxels, as they are; and matched to the network's."""

    def at(voxel: float) -> Scene:
        return Scene(ribosomes(scale, voxel=voxel, side=0.75), TEST)

    networks = {"10 Å": [Source(Scene(ribosomes(scale), n)) for n in (1, 2)]}
    sizes = (5, 8, 10, 12.5, 16)
    tests = {f"{voxel:g}": Test(at(voxel)) for voxel in sizes}
    tests |= {f"{voxel:g} matched": Test(at(voxel), "isotropic") for voxel in sizes}
    return Experiment("Ribosomes by voxel size (Å) of the tomogram", networks, tests, ("ribosome",), (1,))


def crowd(*names: str, density: float, iterations: int) -> Values:
    """A layer of distractors."""
    species = [{"structure": name, "name": "distract"} for name in names]
    return {"species": species, "density": density, "iterations": iterations}


LARGE = ("spliceosome", "barrel-900", "globule-1800", "globule-1200", "globule-700", "globule-450", "globule-300")
SMALL = ("globule-30", "globule-50", "globule-70", "globule-90", "globule-110", "globule-130", "globule-150")
STRANGE_LARGE = ("ribosome", "ferritin", "globule-2500", "barrel-500", "globule-900")
STRANGE_SMALL = ("globule-40", "globule-100", "globule-180", "barrel-150")
"""Distractors of the tomograms that networks are tested on; no network has been trained on them."""


def crowding_experiment(scale: Scale) -> Experiment:
    """P25, figure 3: microtubules among nothing, small proteins, large ones, both; tested among others."""
    many = round(1500 * (scale.size / 192) ** 2)
    small = crowd(*SMALL, density=0.3, iterations=many)
    sparse = crowd(*SMALL, density=0.08, iterations=many)
    large = crowd(*LARGE, density=0.25, iterations=many)
    strange = [
        crowd(*STRANGE_LARGE, density=0.15, iterations=many),
        crowd(*STRANGE_SMALL, density=0.3, iterations=many),
    ]

    def scene(layers: list[Values], number: int, **more: Any) -> Scene:
        tubes = {"kind": "microtubule", "count": {"integers": [2, 4]}, "length_nm": [150, 400], "inclination_deg": 8}
        filaments = [tubes, *more.pop("filaments", [])]
        specimen = {"shape": [40, scale.size, scale.size], "voxel_size": 12, "filaments": filaments, "layers": layers}
        there = {"distract": layers, "actin": filaments[1:], "membrane": more.get("vesicles")}
        classes = {"microtubule": 1, **{name: 0 for name, some in there.items() if some}}
        return Scene(imaged({**specimen, **more, "classes": classes}, scale, "tubes"), number)

    networks = {
        "none": [Source(scene([], n)) for n in (1, 2)],
        "small": [Source(scene([sparse], 1)), Source(scene([small], 2))],
        "large": [Source(scene([large], n)) for n in (1, 2)],
        "large, small": [Source(scene([large, small], n)) for n in (1, 2)],
    }
    vesicles = [{"count": 4, "radius_nm": [14, 26], "cut": True}]
    cell = {"filaments": [{"kind": "actin", "count": 6, "length_nm": [80, 300]}], "vesicles": vesicles}
    tests = {"alone": Test(scene([], TEST)), "crowd": Test(scene(strange, TEST))}
    tests["cytoplasm"] = Test(scene(strange, TEST, **cell))
    return Experiment("Microtubules by surroundings", networks, tests, ("microtubule",), (1,))


def slices_experiment(scale: Scale) -> Experiment:
    """P25, figure 5E: few or many synthetic slices, one slice of another domain, both; tested in that domain."""
    plane = scale.size / 192

    def scene(layers: list[Values], number: int, **how: Any) -> Scene:
        specimen = {
            "shape": [50, scale.size, scale.size],
            "voxel_size": 12,
            "vesicles": [{"count": round(4 * plane**2), "radius_nm": [12, 26], "cut": True}],
            "filaments": [
                {"kind": "microtubule", "count": round(3 * plane), "length_nm": [150, 400]},
                {"kind": "actin", "count": round(8 * plane**2), "length_nm": [80, 300]},
            ],
            "layers": [{"species": [{"structure": "ribosome", "count": round(14 * plane**2)}]}, *layers],
            "classes": IDS,
        }
        return Scene(imaged(specimen, scale, "cell", **how), number)

    def counted(number: int) -> int:
        return round(number * plane**2)

    usual = [
        crowd(*LARGE, density=0.2, iterations=counted(300)),
        crowd(*SMALL, density=0.25, iterations=counted(1200)),
    ]
    synthetic = scene(usual, 1)
    strange = [
        crowd(*STRANGE_LARGE[1:], density=0.2, iterations=counted(500)),
        crowd(*STRANGE_SMALL, density=0.3, iterations=counted(2000)),
    ]
    other: dict[str, Values] = {
        "optics": {"envelope": 0.7},
        "exposure": {"order": "counts-first", "damage": {"model": "cts"}},
        "reconstruct": {"method": "sirt"},
    }
    real = scene(strange, TEST, dose=70, defocus=3.5, **other)
    unseen = scene(strange, TEST + 1, dose=70, defocus=3.5, **other)
    slice_1, at_the_face = Source(real, (25,), 1), Source(real, (10,), 1)
    slices_5 = Source(synthetic, (5, 15, 25, 35, 45), 5)
    slices_50 = Source(synthetic, (), 50)
    networks = {
        "5 synthetic": [slices_5],
        "50 synthetic": [slices_50],
        "1 other": [slice_1],
        "5 synthetic + 1 other": [slices_5, slice_1],
        "1 other, near a face": [at_the_face],
        "5 synthetic + 1 near a face": [slices_5, at_the_face],
        "50 synthetic + 1 other": [slices_50, slice_1],
    }
    rest = "31:,:,:"
    tests = {"same tomogram": Test(real, roi=rest), "unseen tomogram": Test(unseen)}
    tests["synthetic"] = Test(scene(usual, TEST))
    return Experiment(
        "Four classes in another domain", networks, tests, FOUR, tuple(IDS[name] for name in FOUR), effort=5
    )


def wedge_experiment(scale: Scale) -> Experiment:
    """P23, figure S11: filaments along the tilt axis, or across it. In a narrow volume long ones have one direction."""
    narrow, long = scale.patch, 2 * scale.size

    def scene(shape: list[int], number: int) -> Scene:
        filaments = [{"kind": "actin", "count": 60, "length_nm": [250, 400], "minimum_units": 80, "inclination_deg": 5}]
        specimen = {"shape": shape, "voxel_size": 10, "filaments": filaments, "classes": {"actin": 1}}
        return Scene(imaged(specimen, scale, "filaments", dose=120), number)

    along, across = [32, long, narrow], [32, narrow, long]
    networks = {
        "along": [Source(scene(along, n)) for n in (1, 2)],
        "across": [Source(scene(across, n)) for n in (1, 2)],
        "both": [Source(scene(along, 1)), Source(scene(across, 2))],
    }
    tests = {"along": Test(scene(along, TEST)), "across": Test(scene(across, TEST))}
    return Experiment("Actin by direction to the tilt axis", networks, tests, ("actin",), (1,))


EXPERIMENTS: dict[str, Callable[[Scale], Experiment]] = {
    "dose": dose_experiment,
    "defocus": defocus_experiment,
    "pixel": pixel_experiment,
    "crowding": crowding_experiment,
    "slices": slices_experiment,
    "wedge": wedge_experiment,
}


# -- what is done ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """A folder in which tomograms, networks and results are made once, and found again."""

    out: Path
    scale: Scale

    def tomogram(self, scene: Scene) -> str:
        """The store of a simulated tomogram."""
        name = scene.recipe["name"]
        folder = self.out / "data" / f"{name}-{digest(scene.recipe)}"
        store = folder / "tomograms" / f"{name}_{scene.number:04d}.ome.zarr"
        done = folder / f"{scene.number}.done"
        if not done.exists():
            simulate(scene.recipe, str(folder), 1, self._run(), first=scene.number)
            done.touch()
        return str(store)

    def network(self, experiment: Experiment, sources: Sequence[Source], seed: int) -> tuple[str, float]:
        """The model file of a network, and the seconds that its training took."""
        scale = self.scale
        samples = tuple(
            TrainSample(
                volume=store,
                labels=(f"{store}#labels/atlas",),
                ids=experiment.ids,
                slices=source.slices,
                weight=source.weight,
            )
            for source in sources
            for store in (self.tomogram(source.scene),)
        )
        recipe = TrainRecipe(
            samples=samples,
            features=experiment.features,
            network="unet2d",
            arguments={"width": scale.width, "levels": 4},
            patch=(1, scale.patch, scale.patch),
            context=CONTEXT,
            loss="cross_entropy",
            epochs=EPOCHS,
            steps=max(1, scale.steps * experiment.effort // EPOCHS),
            batch=8,
            learning_rate=3e-3,
            validation_share=0.0,
            seed=seed,
            device=scale.device,
        )
        model = self.out / "networks" / f"{digest(recipe.to_json())}.safetensors"
        done = model.with_suffix(".seconds")
        if not done.exists():
            model.parent.mkdir(parents=True, exist_ok=True)
            begun = time.process_time()
            train(recipe, str(model), progress=False)
            done.write_text(f"{time.process_time() - begun:.1f}")
        return str(model), float(done.read_text())

    def result(self, name: str, experiment: Experiment, network: str, seed: int, test: str) -> Path:
        """Where a result lies; another recipe has another one."""
        made_of = [
            [[s.scene.recipe, s.scene.number, s.slices, s.weight] for s in experiment.networks[network]],
            [experiment.tests[test].scene.recipe, experiment.tests[test].match, experiment.tests[test].roi],
            [self.scale.steps * experiment.effort, self.scale.width, self.scale.patch],
        ]
        return self.out / "results" / name / f"{plain(network)}__{plain(test)}__{seed}-{digest(made_of)}.json"

    def measure(self, name: str, experiment: Experiment, network: str, seed: int, test: str) -> None:
        """Train, segment and score, as far as that has not been done."""
        path = self.result(name, experiment, network, seed, test)
        if path.exists():
            return
        model, seconds = self.network(experiment, experiment.networks[network], seed)
        how = experiment.tests[test]
        store = self.tomogram(how.scene)
        folder = self.out / "scratch" / path.stem
        matched = how.match == "isotropic"
        recipe = SegmentRecipe(
            models=(model,), patch="slice", match="isotropic" if matched else None, any_voxel_size=not matched, levels=1
        )
        predictions = str(folder / "predictions")
        segment(store, predictions, recipe, self._run())
        compared = ScoreRecipe(features=experiment.features, ids=experiment.ids, skeleton="none", roi=how.roi)
        scores = score(predictions, f"{store}#labels/atlas", compared, self._run())
        shutil.rmtree(folder)
        row: Values = {"experiment": name, "network": network, "seed": seed, "test": test, "training_s": seconds}
        row["scores"] = {feature: {key: scores[feature][key] for key in SCORES} for feature in experiment.features}
        write_atomic(path, json.dumps(row, indent=1).encode())
        print(name, network, seed, test, {f: round(s["dice"], 3) for f, s in row["scores"].items()}, flush=True)

    def _run(self) -> RunOptions:
        return RunOptions(progress=False, overwrite=True, device=self.scale.device)


def digest(values: Any) -> str:
    """A short name of values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def plain(name: str) -> str:
    """A name as part of a file's."""
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in name)


# -- what comes out ----------------------------------------------------------------------------------------------------


def results(bench: Bench, name: str, experiment: Experiment) -> Iterator[Values]:
    """What has been measured, in the order of rows and columns."""
    for network in experiment.networks:
        for test in experiment.tests:
            for seed in range(bench.scale.networks):
                path = bench.result(name, experiment, network, seed, test)
                if path.exists():
                    yield json.loads(path.read_text())


def table(experiment: Experiment, rows: Sequence[Values], key: str = "dice") -> str:
    """A score in Markdown: networks down, tests (or, of several features, tests and features) across.

    Mean ± half of the range over networks that differ in their seed alone.
    """
    several = len(experiment.features) > 1
    columns = [(test, feature) for test in experiment.tests for feature in experiment.features]
    heads = [f"{test}: {feature}" if several else test for test, feature in columns]
    lines = ["| trained on | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for network in experiment.networks:
        cells = [
            shown([r["scores"][feature][key] for r in rows if r["network"] == network and r["test"] == test])
            for test, feature in columns
        ]
        lines.append(f"| {network} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(values: Sequence[float]) -> str:
    """Mean ± half of the range; a dash where a score cannot be said: the precision where a network found nothing."""
    if not values:
        return ""
    if any(math.isnan(value) for value in values):
        return "-"
    spread = (max(values) - min(values)) / 2
    return f"{mean(values):.2f}" + (f" ± {spread:.2f}" if len(values) > 1 else "")


def plot(experiment: Experiment, rows: Sequence[Values]) -> dict[str, bytes]:
    """The files of a figure: a dot for each network, a line for their mean: columns as in the table."""
    several = len(experiment.features) > 1
    columns = [(test, feature) for test in experiment.tests for feature in experiment.features]
    series = []
    for test, feature in columns:
        for number, network in enumerate(experiment.networks):
            found = [r["scores"][feature]["dice"] for r in rows if r["network"] == network and r["test"] == test]
            place = f"{test}: {feature}" if several else test
            series.append(Series(network, place, np.array(found, float), colour_of(number)))
    return figure_files(dots(series, "Dice coefficient", top=1))


def write_tables(bench: Bench, names: Sequence[str]) -> str:
    """Write tables, plots and a CSV of everything measured; returns the tables."""
    parts, every = [], []
    for name in names:
        experiment = EXPERIMENTS[name](bench.scale)
        rows = list(results(bench, name, experiment))
        if not rows:
            continue
        parts.append(f"## {experiment.title}")
        parts += [f"{key.capitalize()}:\n\n{table(experiment, rows, key)}" for key in SCORES]
        for kind, content in plot(experiment, rows).items():
            write_atomic(bench.out / f"{name}.{kind}", content)
        every += [
            [r["experiment"], r["network"], r["seed"], r["test"], feature, *scores.values()]
            for r in rows
            for feature, scores in r["scores"].items()
        ]
    text = "\n\n".join(parts) + "\n"
    lines = io.StringIO()
    head = ["experiment", "trained_on", "seed", "test", "feature", *SCORES]
    csv.writer(lines, lineterminator="\n").writerows([head, *every])
    write_atomic(bench.out / "scores.csv", lines.getvalue().encode())
    write_atomic(bench.out / "tables.md", text.encode())
    return text


def run(bench: Bench, names: Sequence[str]) -> str:
    """Do the experiments, and return their tables; the first network of every row comes first."""
    for seed in range(bench.scale.networks):
        for name in names:
            experiment = EXPERIMENTS[name](bench.scale)
            for network in experiment.networks:
                for test in experiment.tests:
                    bench.measure(name, experiment, network, seed, test)
    return write_tables(bench, names)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Re-run the experiments of CryoTomoSim's papers.")
    parser.add_argument("out", type=Path, help="folder for everything")
    parser.add_argument("experiments", nargs="*", help=f"{' '.join(EXPERIMENTS)}; default: all")
    parser.add_argument("--size", type=int, default=Scale.size, help="side of the tomograms, voxels")
    parser.add_argument("--steps", type=int, default=Scale.steps, help="steps of a training")
    parser.add_argument("--width", type=int, default=Scale.width, help="of the network")
    parser.add_argument("--networks", type=int, default=Scale.networks, help="networks for each row")
    parser.add_argument("--device", default=Scale.device, help="cpu, cuda")
    parser.add_argument("--table", action="store_true", help="only write tables of what is there")
    given = parser.parse_args()
    if unknown := set(given.experiments) - set(EXPERIMENTS):
        parser.error(f"there is no experiment {', '.join(sorted(unknown))}; there are {', '.join(EXPERIMENTS)}")
    scale = Scale(given.size, given.steps, given.width, given.networks, device=given.device)
    bench, names = Bench(given.out, scale), given.experiments or list(EXPERIMENTS)
    print(write_tables(bench, names) if given.table else run(bench, names))


if __name__ == "__main__":
    main()
