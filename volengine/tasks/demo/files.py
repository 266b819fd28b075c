"""Functions for both parts of the demo: copy recipes and models of the package, read whole volumes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import MissingError
from volengine.core.volume import Volume
from volengine.core.yaml_recipes import read_yaml
from volengine.io.open import open_source
from volengine.tasks.run import RunRecipe


def shipped_recipe(folder: Path, file: str, model: str | None = None) -> RunRecipe:
    """Copy a recipe of the package and its models to the results, so that users can change it and run it again.

    Parameters
    ----------
    folder
        Folder for ``recipe.yaml`` and ``models``.
    file
        The recipe's file name in ``volengine/data``.
    model
        Path of a model that replaces the recipe's only one.

    Returns
    -------
    RunRecipe
        The recipe, with the paths of the copied models.

    Raises
    ------
    MissingError
        The model does not exist.
    """
    data = resources.files("volengine.data")
    target = folder / "models"
    target.mkdir(exist_ok=True)
    with resources.as_file(data / file) as path:
        recipe = RunRecipe.from_json(read_yaml(path), where=file)
        text = path.read_text()
    assert recipe.segment is not None  # it is the demo's own
    models = []
    for name in recipe.segment.models:
        copy = target / name
        with resources.as_file(data / name) as path:
            source = path if model is None else Path(model)
            if not source.is_file():
                raise MissingError(f"{source}: there is no such model.")
            shutil.copyfile(source, copy)
        text = text.replace(name, str(copy))
        models.append(str(copy))
    if not (folder / "recipe.yaml").exists():
        (folder / "recipe.yaml").write_text(text)
    return replace(recipe, segment=replace(recipe.segment, models=tuple(models)))


def grid_of(volume: Volume) -> dict[str, Any]:
    """The arguments of :func:`volengine.io.picks.read_picks` that describe the volume's grid."""
    return {"voxel_size": volume.voxel_size, "origin": volume.origin, "shape": volume.shape}


def whole(volume: Volume) -> NDArray[Any]:
    """Read all voxels, (z, y, x)."""
    return open_source(volume).read(Box.of_shape(volume.shape))
