"""Make the network that comes with volengine: simulate its tomograms, train it, say how good it is.

    python examples/default_model.py OUT                  everything; what is there already is not made again
    python examples/default_model.py OUT --only score     one step: simulate, train, score or show

A 2.5D U-Net tells membranes, microtubules, actin filaments and ribosomes from everything else in tomograms of about 10
to 14 angstrom per voxel. It is trained on tomograms of ``default_model.yaml`` alone (fourteen to train on, two to
choose the best epoch by, two that it never sees), and scored on the last two, on the first sample of the preset
``cytoplasm``, and on real membranes of a mitochondrion (``--labels``), imaged like the others. ``show`` makes pictures
of these and of real tomograms (``--real``). A training on another machine or version gives another network of the same
kind. About an hour and a half on two cores.
"""

from __future__ import annotations

import argparse
import csv
from contextlib import chdir
from pathlib import Path
from typing import Any

from volengine import (
    ConvertRecipe,
    PickRecipe,
    RunOptions,
    ScoreRecipe,
    SegmentRecipe,
    TrainRecipe,
    TrainSample,
    Volume,
    convert,
    open_volume,
    pick,
    score,
    segment,
    simulate,
    train,
)
from volengine.core.boxes import Box
from volengine.core.yaml_recipes import read_yaml
from volengine.io.open import open_source
from volengine.nets.training.augment.recipe import Augmentation, Fourier, Geometry, Greys
from volengine.ops.pictures import BLUE, GREEN, ORANGE, YELLOW, grey, outline, overlay, png, side_by_side, window_of
from volengine.tasks.simulate.presets import preset

HERE = Path(__file__).parent
NAME = "cytoplasm"
FEATURES = ("membrane", "microtubule", "actin", "ribosome")
COLOURS = (YELLOW, BLUE, ORANGE, GREEN)
PICKING = PickRecipe(feature="ribosome", threshold=0.5, spacing_nm=15, min_volume_nm3=1500)
TRAINED, CHOSEN, UNSEEN = 14, 2, 2
"""Samples of the recipe: to train on, to choose the epoch by, never seen."""

REAL_GEOMETRY: dict[str, Any] = {
    "name": "mitochondrion",
    "seed": 5,
    "specimen": {
        "shape": [60, 320, 320],
        "voxel_size": 12.44,
        "labels": {"classes": {1: "membrane", 2: "membrane", 3: "membrane"}},
        "layers": [
            {"species": [{"structure": "ribosome", "count": 30}]},
            {
                "species": [
                    {"structure": name, "name": "distract"} for name in ("ferritin", "globule-300", "globule-90")
                ],
                "iterations": 1500,
                "density": 0.3,
            },
        ],
        "classes": {"membrane": 1, "ribosome": 4, "distract": 0},
    },
    "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 2, "order": "dose-symmetric"},
    "dose": {"total_e_per_a2": 100},
    "exposure": {"optics": {"defocus_um": 4}},
}
"""Membranes as they were drawn in a real tomogram (outer and inner mitochondrial membrane, endoplasmic reticulum)."""

PIECES = {"real membranes": [200, 152, 80], "real membranes, few": [130, 300, 300]}
"""Where pieces of it begin, voxels z, y, x."""


def training(steps: int, epochs: int) -> TrainRecipe:
    """The recipe of the network; paths are relative to the folder of the simulated tomograms."""
    stores = [f"tomograms/cell_{number:04d}.ome.zarr" for number in range(1, TRAINED + CHOSEN + 1)]
    return TrainRecipe(
        samples=tuple(
            TrainSample(
                volume=store,
                labels=(f"{store}#labels/atlas",),
                ids=(1, 2, 3, 4),
                use="train" if number < TRAINED else "validate",
            )
            for number, store in enumerate(stores)
        ),
        features=FEATURES,
        network="unet2d",
        arguments={"width": 24, "levels": 4},
        any_voxel_size=True,
        context=5,
        patch=(1, 128, 128),
        loss="cross_entropy",
        epochs=epochs,
        steps=steps,
        batch=8,
        learning_rate=2e-3,
        positive_share=0.7,
        validation_share=0.0,
        augmentation=Augmentation(
            noise=0.2,
            contrast=0.15,
            brightness=0.15,
            geometry=Geometry(rotation_probability=0.25, zoom_probability=0.25, zoom=(0.85, 1.2)),
            greys=Greys(blur_probability=0.25, blur_vox=(0.3, 1.2), gradient_probability=0.1, gradient=(0.5, 2.0)),
            fourier=Fourier(amplitude_probability=0.25, amplitude_sigma=0.15),
        ),
        seed=11,
    )


def step_simulate(out: Path, workers: int) -> None:
    """Tomograms of the recipe, and those that the network is scored on besides."""
    options = RunOptions(workers=workers)
    with chdir(HERE):
        values = read_yaml(Path("default_model.yaml"))
    simulate(values, str(out), TRAINED + CHOSEN + UNSEEN, options)
    simulate(preset("cytoplasm"), str(out / "preset"), 1, options)


def step_train(out: Path, steps: int, epochs: int) -> None:
    """The model, ``OUT/cytoplasm.safetensors``; a training that was stopped goes on."""
    with chdir(out):  # the model keeps its recipe, so its paths are relative
        for row in train(training(steps, epochs), f"{NAME}.safetensors"):
            print({key: round(value, 4) for key, value in row.items()}, flush=True)


def cases(out: Path, labels: Path | None, options: RunOptions) -> dict[str, tuple[Path, str, dict[str, int]]]:
    """What is scored: name, folder and name of the sample, its classes."""
    classes = {feature: number for number, feature in enumerate(FEATURES, 1)}
    found = {f"unseen {k + 1}": (out, f"cell_{TRAINED + CHOSEN + k + 1:04d}", classes) for k in range(UNSEEN)}
    found["preset cytoplasm"] = (out / "preset", "cytoplasm_0001", classes)
    for k, (case, start) in enumerate(PIECES.items() if labels is not None else (), 1):
        values = {**REAL_GEOMETRY, "name": f"mitochondrion{k}", "specimen": {**REAL_GEOMETRY["specimen"]}}
        piece = {"path": str(Path(str(labels)).absolute()), "start": start}
        values["specimen"]["labels"] = {**values["specimen"]["labels"], **piece}
        simulate(values, str(out / "real_geometry"), 1, options)
        found[case] = (out / "real_geometry", f"mitochondrion{k}_0001", {"membrane": 1, "ribosome": 4})
    return found


def step_score(out: Path, labels: Path | None, workers: int) -> None:
    """Dice of each class, and ribosomes found, as ``OUT/scores.csv`` and on the screen."""
    options = RunOptions(workers=workers)
    rows = []
    for case, (folder, sample, classes) in cases(out, labels, options).items():
        store = folder / "tomograms" / f"{sample}.ome.zarr"
        answers = out / "predictions"
        segment(str(store), str(answers), SegmentRecipe(models=(str(out / f"{NAME}.safetensors"),)), options)
        row: dict[str, Any] = {"tomogram": case, "voxel size": round(open_volume(str(store)).voxel_size[0], 2)}
        for feature, number in classes.items():
            recipe = ScoreRecipe(features=(feature,), ids=(number,), skeleton="none")
            found = score({feature: str(answers / f"{sample}__{feature}.ome.zarr")}, f"{store}#labels/atlas", recipe)
            row[feature] = round(found[feature]["dice"], 3)
        picks = out / "found" / f"{sample}__ribosome.star"
        picks.parent.mkdir(exist_ok=True)
        pick(str(answers / f"{sample}__ribosome.ome.zarr"), str(picks), PICKING, options)
        truth = folder / "picks" / f"{sample}__ribosome.star"
        counted = score(str(picks), str(truth), ScoreRecipe(features=("ribosome",), radius_nm=10))["ribosome"]
        row |= {"ribosomes found": round(counted["recall"], 3), "right": round(counted["precision"], 3)}
        rows.append(row)
        print(row, flush=True)
    with (out / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="")
        writer.writeheader()
        writer.writerows(rows)


def step_show(out: Path, labels: Path | None, real: list[str], workers: int) -> None:
    """Pictures: a slice of each tomogram, its truth where it is known, and the answer; ``OUT/*.png``."""
    options = RunOptions(workers=workers)
    answers = out / "predictions"
    for case, (folder, sample, _) in cases(out, labels, options).items():
        store = folder / "tomograms" / f"{sample}.ome.zarr"
        write_picture(
            out / f"{case.replace(' ', '_').replace(',', '')}.png",
            str(store),
            answers,
            sample,
            truth=f"{store}#labels/atlas",
        )
    for text in real:
        path, size, inverted = (*text.split(":"), "", "")[:3]
        store = out / "real" / f"{Path(path).name.split('.')[0]}.ome.zarr"
        if not store.exists():
            convert(path, str(store), ConvertRecipe(voxel_size=float(size) if size else None), options)
        match: Any = None if 10 <= open_volume(str(store)).voxel_size[0] <= 14 else "isotropic"
        recipe = SegmentRecipe(models=(str(out / f"{NAME}.safetensors"),), match=match, invert=bool(inverted))
        segment(str(store), str(answers), recipe, options)
        name = open_volume(str(store)).name
        write_picture(out / f"{name}.png", str(store), answers, name)


def write_picture(path: Path, store: str, answers: Path, name: str, truth: str | None = None) -> None:
    """The middle slice: tomogram, truth if known, answer; each class in its colour."""
    tomogram = open_volume(store)
    middle = tomogram.shape[0] // 2
    image = plane(tomogram, middle, thick=3)
    base = grey(image, window_of(image, 0.5, 99.5), 2 if max(image.shape) < 300 else 1)
    shown = [base]
    if truth is not None:
        url, _, group = truth.partition("#")
        atlas = plane(open_volume(url, group=group), middle)
        known = base
        for number, colour in enumerate(COLOURS, 1):
            known = outline(known, atlas == number, colour, width=0, opacity=0.75)
        shown.append(known)
    tinted = base
    for feature, colour in zip(FEATURES, COLOURS, strict=True):
        answer = plane(open_volume(str(answers / f"{name}__{feature}.ome.zarr")), middle) / 255
        tinted = overlay(tinted, answer, colour, 0.75)
    path.write_bytes(png(side_by_side([*shown, tinted])))


def plane(volume: Volume, middle: int, thick: int = 1) -> Any:
    """The mean of some slices, float32; of one the slice."""
    low = max(middle - thick // 2, 0)
    box = Box((low, 0, 0), (min(low + thick, volume.shape[0]), *volume.shape[1:]))
    return open_source(volume).read(box).astype("float32").mean(axis=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the network that comes with volengine.")
    parser.add_argument("out", type=Path, help="folder for everything")
    parser.add_argument("--only", choices=("simulate", "train", "score", "show"))
    parser.add_argument("--steps", type=int, default=150, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--labels", type=Path, help="label volume of real membranes: 1, 2 and 3")
    parser.add_argument("--real", nargs="*", default=[], help="real tomograms to look at: FILE[:ANGSTROM[:invert]]")
    given = parser.parse_args()
    folder = given.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if given.only in (None, "simulate"):
        step_simulate(folder, given.workers)
    if given.only in (None, "train"):
        step_train(folder, given.steps, given.epochs)
    if given.only in (None, "score"):
        step_score(folder, given.labels, given.workers)
    if given.only in (None, "show"):
        step_show(folder, given.labels, given.real, given.workers)
