"""Tomograms with predictions before and after rules, their picks, and a run folder that has made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from threshold_net import save_threshold_model

from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.tasks.run import RunRecipe, run

SHAPE = (24, 48, 64)
QUIET = RunOptions(progress=False)
BALLS = (((8, 12, 12), 1.0), ((12, 34, 14), 0.62), ((9, 12, 48), 0.56), ((14, 34, 46), 0.45))
"""Centres of the balls, and how bright they are: the network finds the brighter ones, more or less surely."""


def tomogram(path: Path, seed: int = 0, bright: float = 1.0) -> Path:
    """Balls of radius 5 voxels in noise; ``bright`` multiplies how bright they are."""
    array = np.random.default_rng(seed).normal(0, 0.03, SHAPE).astype(np.float32)
    grid = np.indices(SHAPE)
    for centre, own in BALLS:
        array[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 25] += own * bright
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mrc(path, [array], SHAPE, "float32", (10.0, 10.0, 10.0))
    return path


@dataclass(frozen=True)
class Ran:
    """A run: its results, the file of its recipe, its tomograms."""

    out: Path
    recipe: Path
    sources: tuple[str, ...]

    @property
    def pages(self) -> Path:
        """The folder of its pages."""
        return self.out / "run" / "report"


def recipe_of(folder: Path, **pick: object) -> dict:
    """The recipe with two networks, rules and one step that picks."""
    models = [
        str(save_threshold_model(folder / f"{name}.safetensors", name, patch=(24, 48, 64))) for name in ("ball", "mark")
    ]
    rules = [{"interact": {"child": "ball", "parent": "mark", "kind": "colocalize", "radius_nm": 2, "shape": "3d"}}]
    step = {"feature": "ball", "spacing_nm": 8, "min_volume_nm3": 20, **pick}
    return {"segment": {"models": models, "batch": 1}, "interact": {"rules": rules}, "pick": [step]}


def make_run(
    folder: Path, *names: str, report: bool = True, check: bool = True, bright: float = 1.0, **pick: object
) -> Ran:
    """Run the recipe on tomograms of these names."""
    recipe = recipe_of(folder, **pick)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    sources = tuple(str(tomogram(folder / "raw" / f"{name}.mrc", n, bright)) for n, name in enumerate(names))
    run(sources, str(folder / "out"), RunRecipe.from_json(recipe), QUIET, report=report, check=check)
    return Ran(folder / "out", folder / "recipe.yaml", sources)
