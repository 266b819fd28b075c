"""Small runs of the verbs that make surfaces and skeletons, and work on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_cases import SmallRuns, case, command
from small_inputs import objects, quiet, shell, two_classes, write

# -- skeleton, surfaces measure --------------------------------------------------------------------------------------


@case("skeleton", tolerance=1e-3)
def _skeleton(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    film = runs.prediction("film")
    ve.skeleton(film, out / "one.ome.zarr", ve.SkeletonRecipe(), quiet())
    command("skeleton", film, "--layers", "ridge", "--out", out / "ridge.ome.zarr", "--no-progress", "--ngff", "0.4")
    ve.skeleton(film, out / "lines.csv", ve.SkeletonRecipe(lines=True, min_length_nm=2), quiet())


@case("surfaces_measure", tolerance=1e-3)
def _surfaces_measure(runs: SmallRuns, out: Path) -> None:
    import trimesh

    ball = trimesh.creation.icosphere(3, 120.0)
    ball.export(runs.inputs / "ball.ply")
    command(
        "surfaces", "measure", runs.inputs / "ball.ply", "--out", out / "ball.surfaces", "--radius-nm", "5",
        "--measures", "curvature,thickness",
    )  # fmt: skip


# -- surface, surfaces ---------------------------------------------------------------------------------------------


@case("surface", tolerance=1e-3)
def _surface(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    recipe = ve.SurfaceRecipe(min_volume_nm3=20, close_at_faces=True)
    ve.surface(runs.prediction("ball"), out / "ball.surfaces", recipe, quiet())
    classes = runs.file("classes.mrc", lambda path: write(path, two_classes()))
    command("surface", classes, "--ids", 2, "--feature", "two", "--out", out, "--smooth-nm", 0, "--no-progress")
    numbers = runs.file("objects.mrc", lambda path: write(path, objects().astype(np.uint16)))
    ve.surface(numbers, out / "each.surfaces", ve.SurfaceRecipe(instances=True, largest=2), quiet())


@case("surfaces_convert", tolerance=1e-3)
def _surfaces_convert(runs: SmallRuns, out: Path) -> None:
    import volengine as ve

    made = out / "shell.surfaces"
    ve.surface(runs.file("shell.mrc", lambda path: write(path, (shell() == 7).astype(np.int8))), made, None, quiet())
    command("surfaces", "convert", made, "--out", out / "all.ply")
    (out / "info.txt").write_text(command("surfaces", "info", made, "--json").replace(str(out), ""))


def _cup(runs: SmallRuns) -> Path:
    """An open surface: most of a sphere in the tomogram."""
    import trimesh

    def make(path: Path) -> None:
        ball = trimesh.creation.icosphere(3, 100.0)
        kept = ball.vertices[ball.faces].mean(axis=1)[:, 2] < 60.0
        cup = trimesh.Trimesh(ball.vertices + np.array([220.0, 200.0, 110.0]), ball.faces[kept])
        cup.remove_unreferenced_vertices()
        cup.export(path)

    return Path(runs.file("cup.ply", make))


@case("surfaces_sample", 1e-3, ("pygeodesic",))
def _surfaces_sample(runs: SmallRuns, out: Path) -> None:
    cup, on = _cup(runs), ("--tomogram", runs.tomogram(), "--any-origin")
    command("surfaces", "sample", cup, *on, "--out", out / "space.star", "--edge-exclusion-nm", 2)
    apart = ("--distance", "surface", "--spacing-nm", 4, "--offset-nm", -1, "--in-plane", "random", "--seed", 3)
    command("surfaces", "sample", cup, *on, "--out", out / "surface.csv", *apart, "--feature", "seed")


@case("surfaces_profile", 1e-3, ("potpourri3d",))
def _surfaces_profile(runs: SmallRuns, out: Path) -> None:
    cup, on = _cup(runs), ("--tomogram", runs.tomogram(), "--any-origin")
    command("surfaces", "profile", cup, *on, "--out", out / "cubic.surfaces", "--picture", out / "pictures")
    few = ("--from-nm", 0, "--to-nm", 4, "--step-nm", 2, "--order", "linear")
    command("surfaces", "profile", cup, *on, "--out", out / "linear.surfaces", *few)


@case("surfaces_pick", 1e-3, ("pygeodesic",))
def _surfaces_pick(runs: SmallRuns, out: Path) -> None:
    cup, on = _cup(runs), ("--tomogram", runs.tomogram(), "--any-origin")
    scored = ("--scored", out / "scored.surfaces", "--edge-exclusion-nm", 2)
    command(
        "surfaces", "pick", cup, *on, "--out", out / "density.star", "--spacing-nm", 4, "--min-score", -100, *scored
    )
    shifted = ("--method", "mean-shift", "--contrast", "bright", "--feature", "bump")
    command("surfaces", "pick", cup, *on, "--out", out / "shift.csv", "--spacing-nm", 6, *shifted)
    again = ("--column", "score", "--spacing-nm", 4, "--min-score", -1e9)
    command("surfaces", "pick", out / "scored.surfaces", *on, "--out", out / "column.csv", *again)
