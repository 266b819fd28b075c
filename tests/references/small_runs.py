"""A fixed set of small runs of every verb, through the public face of the package alone.

Each case is a function that writes into a folder of its own; what lies there afterwards is what is recorded.

>>> SmallRuns(Path("scratch")).run("convert")                                                        # doctest: +SKIP
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import small_people  # noqa: F401  # its cases
import small_surfaces  # noqa: F401  # its cases
from small_cases import CASES, SmallRuns, case, command
from small_inputs import (
    BLOCK,
    SHAPE,
    ais_group,
    ais_set,
    grey,
    membrain_set,
    moved,
    noise,
    number_table,
    objects,
    probability,
    quiet,
    shell,
    smooth,
    storage,
    train_recipe,
    true_picks,
    two_classes,
    write,
    write_mrc,
)

REFERENCES = Path(__file__).parent
__all__ = ["CASES", "SmallRuns", "command"]


# -- convert, export, info -----------------------------------------------------------------------------------------


@case("convert")
def _convert(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    many = ("--chunk", "8,16,16", "--shard", "32,32,32", "--levels", 2, "--block", "32,64,64", "--no-progress")
    command("convert", runs.tomogram(), "--out", out / "mrc.ome.zarr", *many)
    slanted = runs.file("floats.mrc.gz", lambda p: write_mrc(p, (grey() / 7).astype(np.float32), (12.0, 8.0, 9.5)))
    ve.convert(slanted, str(out / "gz.ome.zarr"), ve.ConvertRecipe(ngff="0.4", chunk=(16, 16, 16), levels=1), quiet())
    half = runs.file("half.mrc.bz2", lambda p: write_mrc(p, (grey() / 8).astype(np.float16), 10.0))
    recipe = ve.ConvertRecipe(
        codec="blosc-zstd5-bitshuffle", chunk=(16, 16, 16), shard=(32, 32, 32), levels=2, name="half"
    )
    ve.convert(half, str(out / "bz2.ome.zarr"), recipe, quiet(block=(32, 32, 32)))
    stack = runs.file("stack.tif", lambda p: write(p, probability(0)))
    recipe = ve.ConvertRecipe(kind="probability", voxel_size=(14.0, 13.0, 13.0), chunk=(32, 32, 32), levels=2)
    ve.convert(stack, str(out / "tiff.ome.zarr"), recipe, quiet(block=None))
    again = ve.ConvertRecipe(chunk=(16, 16, 16), shard=(32, 32, 32), levels=2, codec="zstd-3")
    ve.convert(str(out / "gz.ome.zarr"), str(out / "again.ome.zarr"), again, quiet(block=None))
    labels = runs.file("objects.mrc", lambda p: write(p, objects().astype(np.uint16)))
    for ngff in ("0.4", "0.5"):
        recipe = ve.ConvertRecipe(kind="labels", ngff=ngff, chunk=(32, 32, 32), levels=2)
        ve.convert(labels, str(out / f"labels{ngff[-1]}.ome.zarr"), recipe, quiet(block=(32, 64, 64)))


@case("crop")
def _crop(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    store = runs.file("export.ome.zarr", lambda p: ve.convert(runs.tomogram(), str(p), storage(2), quiet()))
    ve.crop(store, str(out / "part.ome.zarr"), ve.CropRecipe(roi="2:,4:20,:20"), quiet())
    ve.crop(store, str(out / "part.mrc"), ve.CropRecipe(roi="2:,4:20,:20"), quiet())


@case("sweep")
def _sweep(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    steps = {"segment": {"models": ["none"]}, "interact": {"rules": RULES[:1]}, "pick": [{"feature": "ball"}]}
    what = ve.SweepRecipe(vary=("pick.ball.threshold=0.3,0.5", "rules.1=on,off"), pictures=False)
    given = [runs.prediction(name) for name in ("ball", "mark", "film")]
    ve.sweep(given, out / "tried", ve.RunRecipe.from_json(steps), what, quiet(), progress=False)
    for made in ("sweep.png", "sweep.svg", "sweep.json"):
        (out / "tried" / made).unlink()


@case("picture")
def _picture(runs: SmallRuns, out: Path) -> None:
    """Drawings are not compared, but their pixels are, where nothing is drawn but voxels."""
    from PIL import Image

    import volengine as ve

    labels = runs.file("objects.mrc", lambda p: write(p, objects().astype(np.uint16)))
    recipe = ve.PictureRecipe(
        slice=("z=9", "y=middle"), overlay=(labels,), overlay_kind="labels", mean=3, pixels=128, plain=True
    )
    with Image.open(ve.picture(runs.tomogram(), out / "slices.png", recipe)) as drawn:
        np.save(out / "slices.npy", np.asarray(drawn.convert("RGB")))


@case("report")
def _report(runs: SmallRuns, out: Path) -> None:
    """The numbers of the index; pages are drawings, and name versions."""
    import volengine as ve

    given = [runs.tomogram(), runs.prediction("ball")]
    made = ve.report(given, out / "pages", ve.ReportRecipe(slice=("z=9",)), quiet())
    rows = json.loads((made.index.parent / "index.json").read_text())["tomograms"]
    (out / "index.json").write_text(json.dumps(rows))
    for path in sorted((out / "pages").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (out / "pages").rmdir()


@case("movie", tolerance=0.02)
def _movie(runs: SmallRuns, out: Path) -> None:
    from PIL import Image, ImageSequence

    import volengine as ve

    recipe = ve.MovieRecipe(every=8, pixels=96, plain=True)
    with Image.open(ve.movie(runs.tomogram(), out / "slices.webp", recipe, progress=False)) as film:
        np.save(out / "slices.npy", np.stack([np.asarray(one.convert("L")) for one in ImageSequence.Iterator(film)]))
    (out / "slices.webp").unlink()


@case("export")
def _export(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    store = runs.file("export.ome.zarr", lambda p: ve.convert(runs.tomogram(), str(p), storage(2), quiet()))
    command("export", store, out / "image.mrc", "--no-overwrite")
    ve.export(store, str(out / "level.mrc"), ve.ExportRecipe(level=1, mode=2), progress=False)
    ve.export(store, str(out / "size.mrc"), ve.ExportRecipe(voxel_size=(9.0, 8.0, 8.0)), progress=False)
    for dtype in ("uint8", "float32"):
        ve.export(runs.prediction("ball", dtype), str(out / f"{dtype}.mrc"), progress=False)


@case("info")
def _info(runs: SmallRuns, out: Path) -> None:
    """Names and values, and the text that people read."""
    import volengine as ve

    table = runs.file("info.csv", lambda path: ve.write_picks(path, true_picks()))
    for path in (runs.tomogram(), runs.prediction("ball"), runs.model("solid"), table):
        kind = Path(path).suffix[1:]
        (out / f"{kind}.json").write_text(json.dumps(ve.info(path), default=str))
        (out / f"{kind}.txt").write_text(command("info", path))
    (out / "networks.json").write_text(command("models", "--network", "unet", "--network", "unet3d", "--json"))


# -- interact, pick ------------------------------------------------------------------------------------------------

RULES: list[dict[str, Any]] = [
    {"compete": {"emit": ["ball", "mark"], "absorb": ["ball", "mark"]}},
    {"interact": {"child": "ball", "parent": "film", "kind": "colocalize", "radius_nm": 6, "shape": "3d"}},
    {"interact": {"child": "mark", "parent": "ball", "kind": "avoid", "radius_nm": 3.5, "threshold": 0.6}},
    {"compete": {"emit": ["film"], "absorb": ["mark"]}},
]


@case("interact")
def _interact(runs: SmallRuns, out: Path) -> None:
    import yaml

    import volengine as ve

    names = ("ball", "mark", "film")
    rules = runs.inputs / "rules.yaml"
    rules.write_text(yaml.safe_dump({"rules": RULES}))
    sources = [runs.prediction(name) for name in names]
    command("interact", *sources, "--rules", rules, "--out", out / "bytes", "--block", "16,32,32", "--no-progress")
    floats = {name: runs.prediction(name, "float32") for name in names}
    ve.interact(floats, str(out / "floats"), ve.InteractRecipe(rules=RULES, ngff="0.4"), quiet())
    recipe = ve.InteractRecipe(rules=(RULES[0], *flat(RULES[1:3])), compat="ais")
    ve.interact(dict(zip(names, sources, strict=True)), str(out / "ais"), recipe, quiet())


def flat(rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Interactions within slices."""
    return ({"interact": {**rule["interact"], "shape": "2d"}} for rule in rules)


@case("filter", 1e-3)
def _filter(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    source = out / "in.ome.zarr"
    how = ve.ConvertRecipe(chunk=(8, 16, 16), shard=(16, 16, 16), levels=1)
    ve.convert(runs.tomogram(), str(source), how, quiet(block=None))
    told = ("--match-voxel-size", "13", "--deconvolve", "4", "--normalise", "std", "--spectrum", "--no-progress")
    command("filter", source, *told, "--out", out / "many")
    ve.filter(str(source), str(out / "own.tsv"), {"spectrum": True}, quiet(block=None))
    steps: tuple[Any, ...] = (
        {"match_spectrum": {"target": str(out / "own.tsv"), "sectors": 2, "tilts": [-60, 60]}},
        {"missing_wedge": {"tilts": [-60, 60]}},
        {"normalise": "percentile"},
        {"median": 1},
        {"bilateral": 0.2},
        {"nlm": {"strength": 0.2, "search": 1}},
        {"diffusion": {"kappa": 0.1, "iterations": 2}},
        "invert",
    )
    recipe = ve.FilterRecipe(steps=steps, dtype="int8", scale=60)
    ve.filter(str(source), str(out / "local.ome.zarr"), recipe, quiet(block=(16, 32, 32)))
    area = ve.FilterRecipe(steps=({"match_voxel_size": {"to": 15, "method": "area"}},))
    ve.filter(runs.tomogram(), str(out / "area.ome.zarr"), area, quiet(block=None))


@case("pick")
def _pick(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    source = runs.file("smooth.mrc", lambda path: write(path, smooth()))
    stack = runs.file("smooth.tif", lambda path: write(path, smooth()))
    store = str(out / "TS_01.ome.zarr")
    kind = ve.ConvertRecipe(kind="probability", voxel_size=10.0, chunk=(8, 16, 16), shard=BLOCK, name="TS_01")
    ve.convert(stack, store, kind, quiet())
    more = ("--feature", "ball", "--spacing-nm", 6, "--block", "16,32,32", "--no-progress")
    command("pick", store, "--out", out / "picks.star", *more)
    recipes = {
        "flat.csv": {"mode": "2d", "min_volume_nm3": 4},
        "whole.json": {"split": False, "position": "maximum", "connectivity": 6},
        "inner.tbl": {"threshold": 0.6, "margin_vox": (4, 5, 6), "spacing_nm": 3, "labels": False},
        "ais.star": {"seed_distance_nm": 4, "spacing_nm": 0, "format": "ais", "labels": False},
    }
    for name, values in recipes.items():
        recipe = ve.PickRecipe(feature=name.split(".")[0], **values)
        if name == "flat.csv":  # from a plain file: the labels lie beside the table
            ve.pick(source, str(out / name), recipe, quiet(block=None))
        else:
            ve.pick(store, str(out / name), recipe, quiet())


@case("formats")
def _formats(runs: SmallRuns, out: Path) -> None:
    """Tables of picks in every format, written, and read again."""
    import volengine as ve

    turned = true_picks(euler=noise(30, (6, 3), 180).astype(float))
    ending = {"relion": "star", "relion5": "star", "warp": "star", "ais": "star", "csv": "csv", "copick": "json"}
    ending |= {"dynamo": "tbl", "dynamo0": "tbl", "ais-tsv": "tsv"}
    for name, suffix in ending.items():
        path = out / f"{name}.{suffix}"
        ve.write_picks(path, true_picks() if name in ("ais", "ais-tsv") else turned, name)
        back = ve.read_picks(path, name, voxel_size=(10, 10, 10), shape=SHAPE, tomogram=None)
        columns = [back.position_vox, back.weight if back.weight is not None else np.zeros(0), back.euler]
        np.save(out / f"{name}.npy", np.concatenate([np.ravel(c) for c in columns if c is not None]))


# -- segment, run --------------------------------------------------------------------------------------------------


def segment(runs: SmallRuns, out: Path, *models: str, options: Any = None, size: float = 10.0, **values: Any) -> None:
    """Apply networks with fixed weights to the tomogram."""
    import volengine as ve

    source = runs.tomogram(f"TS_{size:g}.mrc", size)
    store = runs.file(f"TS_{size:g}.ome.zarr", lambda path: ve.convert(source, str(path), storage(1), quiet()))
    recipe = ve.SegmentRecipe(models=tuple(map(runs.model, models)), **values)
    ve.segment(store, str(out), recipe, options or quiet())


@case("segment", 2e-4)
def _segment(runs: SmallRuns, out: Path) -> None:
    segment(runs, out / "blended", "solid", "context", "mad")
    segment(runs, out / "classes", "classes", dtype="float32")
    segment(runs, out / "exact", "solid", exact=True, dtype="float32")
    segment(runs, out / "margin", "solid", margin_vox=6, edge="zero", window="hann", invert=True, dtype="float16")
    segment(runs, out / "whole", "solid", "plane", options=quiet(block=None), overlap=0.25, window="constant")
    command(
        "segment", runs.tomogram(), "--model", runs.model("plane"), "--out", out / "command", "--overlap", 0.5,
        "--rounding", "truncate", "--device", "cpu", "--no-progress", "--ngff", "0.4",
    )  # fmt: skip


@case("segment_views", 2e-4)
def _segment_views(runs: SmallRuns, out: Path) -> None:
    segment(runs, out / "turns", "context", tta=8, uncertainty=True)
    segment(runs, out / "flips", "solid", tta="flips", mean_of="logits", answer="logits", dtype="float32")
    segment(runs, out / "volume", "solid", tta="flips4", tta_of="volume", dtype="float32")


@case("denoise", 2e-4)
def _denoise(runs: SmallRuns, out: Path) -> None:
    """Two halves by a network of grey values; a tomogram alone, in the network's units."""
    import volengine as ve

    first = runs.tomogram()
    other = runs.file("TS_01_odd.mrc", lambda path: write(path, grey() + noise(30, top=40).astype(np.float32)))
    recipe = ve.DenoiseRecipe(model=runs.model("grey"), other=other, overlap=0.25)
    ve.denoise(first, out / "halves.ome.zarr", recipe, quiet(block=None))
    command(
        "denoise", first, "--model", runs.model("grey"), "--out", out / "alone", "--units", "model",
        "--dtype", "float16", "--device", "cpu", "--no-progress", "--ngff", "0.4",
    )  # fmt: skip


@case("segment_match", 2e-4)
def _segment_match(runs: SmallRuns, out: Path) -> None:
    segment(runs, out / "isotropic", "solid", size=13.0, match="isotropic", dtype="float32")
    segment(runs, out / "slices", "plane", size=8.0, match="xy")
    segment(runs, out / "ais", "mad", size=8.0, compat="ais")
    segment(runs, out / "any", "solid", size=8.0, any_voxel_size=True)


@case("segment_membrain", 2e-4, ("monai",))
def _segment_membrain(runs: SmallRuns, out: Path) -> None:
    segment(runs, out, "dynunet", compat="membrain", patch=(16, 16, 16), dtype="float32")


@case("run", 5e-2)
def _run(runs: SmallRuns, out: Path) -> None:
    import yaml

    recipe = {
        "convert": {"chunk": [8, 16, 16], "shard": [16, 32, 32]},
        "segment": {"models": [runs.model("solid"), runs.model("plane")]},
        "interact": {
            "rules": [
                {"compete": {"emit": ["solid", "plane"], "absorb": ["solid", "plane"]}},
                {"interact": {"child": "solid", "parent": "plane", "kind": "colocalize", "radius_nm": 2}},
            ]
        },
        "pick": [{"feature": "solid", "spacing_nm": 5, "min_volume_nm3": 3}, {"feature": "plane", "spacing_nm": 6}],
    }
    path = runs.inputs / "run.yaml"
    path.write_text(yaml.safe_dump(recipe))
    runs.tomogram("run_1.mrc")
    runs.file("run_2.mrc", lambda path: write(path, grey()[:, ::-1]))
    command("run", path, runs.inputs / "run_*.mrc", "--out", out, "--device", "cpu", "--no-progress")


# -- train ---------------------------------------------------------------------------------------------------------


def trained(runs: SmallRuns, out: Path, name: str, **values: Any) -> None:
    """Train, and keep the losses too."""
    import volengine as ve

    rows = ve.train(train_recipe(runs, **values), str(out / f"{name}.safetensors"), progress=False)
    (out / f"{name}.json").write_text(json.dumps(rows))


@case("train", 1e-3)
def _train(runs: SmallRuns, out: Path) -> None:
    import yaml

    one = ("ball",)
    trained(runs, out, "solid", features=one, patch=(8, 8, 8))
    trained(runs, out, "membrain", features=("odd", "even"), augment="membrain", loss="focal", optimiser="sgd")
    flat: dict[str, Any] = {"network": "unet2d", "arguments": {"width": 4, "levels": 2}, "patch": (1, 16, 16)}
    known = train_recipe(runs, features=one).samples[0].to_json()
    boxes = {"labels": tuple(known["labels"]), "ids": (1,), "boxes": "auto", "box_vox": 16, "slices": (5, 8, 12)}
    trained(runs, out, "boxes", features=one, sample=boxes, augment="ais", **flat, context=3, normalisation="per_patch")
    trained(runs, out, "classes", features=("odd", "even"), loss="cross_entropy", **flat, schedule="polynomial")
    recipe = train_recipe(runs, features=one, start=str(out / "solid.safetensors"), optimiser="adamw", epochs=1)
    path = runs.inputs / "train.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(recipe.to_json()))))
    command("train", path, "--out", out / "tuned.safetensors", "--loss", "dice")


@case("train_points", 1e-3)
def _train_points(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    points = runs.file("points.csv", lambda path: ve.write_picks(path, true_picks()))
    sample: dict[str, Any] = {"points": (points,), "radius_nm": (5.0,), "beyond_nm": 8.0}
    trained(runs, out, "points", features=("ball",), sample=sample, loss="surface_dice", validation_share=0.0)
    sample = {"targets": (runs.prediction("ball", "float32"),), "region": (0, 0, 0, -1, -1, 40)}
    trained(runs, out, "target", features=("clean",), sample=sample, loss="l2", precision="float32", augment="none")


@case("train_sets", 1e-3, ("nibabel",))
def _train_sets(runs: SmallRuns, out: Path) -> None:
    """The training sets of Ais (the older form) and MemBrain."""
    boxes = runs.file("boxes.scnt", ais_set)
    flat: dict[str, Any] = {"network": "unet2d", "arguments": {"width": 4, "levels": 2}, "patch": (1, 16, 16)}
    trained(runs, out, "ais", features=("ball",), sample={}, volume=boxes, validation_share=0.0, **flat)
    folder = runs.inputs / "membrain"
    membrain_set(folder)
    sample = {"voxel_size": 10.0}
    trained(runs, out, "membrain", features=("ball",), sample=sample, volume=str(folder), loss="dice")


# -- score, stats --------------------------------------------------------------------------------------------------


@case("score")
def _score(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    classes = runs.file("classes.mrc", lambda path: write(path, two_classes()))
    numbers = runs.file("objects.mrc", lambda path: write(path, objects().astype(np.uint16)))
    ve.score(runs.prediction("ball"), numbers, ve.ScoreRecipe(instances=True), quiet(), out=str(out / "ball.csv"))
    names, both = "ball,mark", str(Path(runs.prediction("mark")).parent / "TS_01__[bm]a*.ome.zarr")
    more = ("--skeleton", "2d", "--ignore-id", 3, "--no-progress")
    command("score", both, classes, "--features", names, "--ids", "1,2", "--out", out / "two.csv", *more)
    part = ve.ScoreRecipe(roi=":,:,20:", skeleton="none", threshold=0.3, features=("film",), ids=(1,))
    ve.score({"film": runs.prediction("film", "float32")}, classes, part, quiet(), out=str(out / "part.csv"))
    found = runs.file("found.star", lambda path: ve.write_picks(path, moved(true_picks())))
    truth = runs.file("true.csv", lambda path: ve.write_picks(path, true_picks()))
    ve.score(found, truth, ve.ScoreRecipe(radius_nm=4.0), quiet(), out=str(out / "picks.csv"))


@case("stats")
def _stats(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    atlas = runs.file("atlas_TS_01.mrc", lambda path: write(path, two_classes()))
    other = runs.file("atlas_TS_02.mrc", lambda path: write(path, two_classes()[::-1]))
    numbers = runs.file("objects.mrc", lambda path: write(path, objects().astype(np.uint16)))
    groups = runs.file(
        "groups.csv", lambda path: path.write_text("tomogram,group\natlas_TS_01,core\natlas_TS_02,rim\n")
    )
    known = ve.StatsRecipe(classes=("odd", "even"), ids=(1, 2), split=("odd",), min_points=2, eps_nm=25, plots=False)
    ve.stats([atlas, other], str(out / "atlas"), known.with_(min_voxels=5), quiet(), groups=groups)
    command("stats", numbers, "--kind", "instances", "--out", out / "instances", "--no-plots", "--no-progress")
    folder = runs.inputs / "tables"
    folder.mkdir(exist_ok=True)
    for number in (1, 2):
        runs.file(f"tables/TS_0{number}__ball.csv", lambda path: number_table(path, number))  # noqa: B023
    (runs.inputs / "known").mkdir(exist_ok=True)
    for name in ("TS_01", "TS_02"):
        known_picks = true_picks(tomogram=name)
        runs.file(f"known/{name}__ball.csv", lambda path: ve.write_picks(path, known_picks))  # noqa: B023
    recipe = ve.StatsRecipe(plots=False, radius_nm=4.0, min_points=2)
    ve.stats([str(folder)], str(out / "picks"), recipe, quiet(), truth=[str(runs.inputs / "known")])


# -- simulate ------------------------------------------------------------------------------------------------------

SPECIMEN: dict[str, Any] = {
    "shape": [20, 44, 50],
    "voxel_size": 15.0,
    "vesicles": [{"count": 1, "radius_nm": [8, 9], "bare": 0}],
    "filaments": [{"kind": "actin", "count": 1, "length_nm": [40, 60], "minimum_units": 5}],
    "beads": {"count": 1, "radius_nm": [4, 4]},
    "layers": [
        {"species": [{"structure": "globule-900", "name": "big", "count": {"integers": [2, 4]}}]},
        {"species": [{"structure": "globule-200", "name": "distract"}], "iterations": 30},
    ],
    "classes": {"membrane": 1, "big": 7, "distract": 0},
}
SIMULATION: dict[str, Any] = {
    "name": "s",
    "seed": 5,
    "specimen": SPECIMEN,
    "tilts": {"min_deg": -54, "max_deg": 54, "step_deg": 9, "order": "dose-symmetric", "shift_a": 3.0},
    "dose": {"total_e_per_a2": {"uniform": [90, 130]}},
    "exposure": {"optics": {"defocus_um": 3}},
}


@case("simulate", 2e-2)
def _simulate(runs: SmallRuns, out: Path) -> None:
    import yaml

    import volengine as ve

    everything = {"specimen": True, "halves": "frames", "ideal": True, "noise_free": True, "distance": True}
    path = runs.inputs / "simulate.yaml"
    path.write_text(yaml.safe_dump({**SIMULATION, "keep": everything}))
    command("simulate", path, "--out", out / "wbp", "-n", 2, "--block", "16,32,32", "--no-progress", "--device", "cpu")
    tilts = {"angles_deg": [-40, -20, 0, 20, 40], "angle_error_deg": 0.2}
    fewer = {**SPECIMEN, "film": {"thickness_nm": 6}, "sheets": [{"count": 1}], "vesicles": []}
    fewer["layers"] = [{"species": [{"structure": "ferritin", "count": 2}]}, *SPECIMEN["layers"]]
    del fewer["beads"]
    recipe = {**SIMULATION, "specimen": fewer, "tilts": tilts, "reconstruct": {"method": "sirt", "iterations": 3}}
    ve.simulate({**recipe, "name": "sirt", "keep": {"mrc": True, "halves": "tilts"}}, str(out / "sirt"), 1, quiet())


@case("simulate_labels", 2e-2)
def _simulate_labels(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    drawn = runs.file("drawn.mrc", lambda path: write_mrc(path, shell(), 12.0))
    specimen = {
        "shape": list(SHAPE),
        "voxel_size": 12.0,
        "labels": {"path": drawn, "classes": {7: "shell", 2: "sheet"}},
        "layers": [{"species": [{"structure": "globule-200", "name": "ball"}], "iterations": 40, "density": 1.0}],
    }
    recipe = {**SIMULATION, "name": "drawn", "specimen": specimen, "keep": {"distance": True, "tilts": False}}
    ve.simulate(recipe, str(out), 1, quiet())


# -- models --------------------------------------------------------------------------------------------------------


@case("models")
def _models(runs: SmallRuns, out: Path) -> None:
    """To other programs and back."""
    command("models", "export", runs.model("plane"), out / "plane.scnm")
    command("models", "import", out / "plane.scnm", out / "from_scnm.safetensors")
    facts = ("--voxel-size", 10, "--features", "a")
    with zipfile.ZipFile(REFERENCES / "keras2.zip") as archive:
        keras = runs.file("chain.h5", lambda path: path.write_bytes(archive.read("chain.h5")))
    command("models", "import", keras, out / "from_keras.safetensors", *facts)
    group = runs.file("cell.scnmgroup", lambda path: ais_group(path, out / "plane.scnm"))
    command("models", "import", group, out / "group")


@case("models_onnx", 2e-4, ("onnx", "onnxruntime", "bioimageio.spec"))
def _models_onnx(runs: SmallRuns, out: Path) -> None:
    command("models", "export", runs.model("context"), out / "context.onnx")
    command("models", "export", runs.model("solid"), out / "solid.bioimage.zip", "--authors", "A. Author")
    more = ("--device", "cpu", "--no-progress")
    command("segment", runs.tomogram(), "--model", out / "context.onnx", "--out", out / "predictions", *more)
