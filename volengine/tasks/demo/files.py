"""Files that both parts of the demo use: the recipes and models of the package, and volumes that are read whole."""

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
from volengine.io.open import open_source
from volengine.tasks.common.yaml_recipes import read_yaml
from volengine.tasks.run import RunRecipe


def shipped_recipe(folder: Path, file: str, model: str | None = None) -> RunRecipe:
    """A recipe of the package, with its models copied beside the results so that it can be run again and changed.

    Parameters
    ----------
    folder
        Gets ``recipe.yaml`` and ``models``.
    file
        The recipe's name in ``volengine/data``.
    model
        Path of the model that takes the place of the recipe's only one.

    Raises
    ------
    MissingError
        There is no such model.
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
    """What :func:`volengine.io.picks.read_picks` wants to know of the volume."""
    return {"voxel_size": volume.voxel_size, "origin": volume.origin, "shape": volume.shape}


def whole(volume: Volume) -> NDArray[Any]:
    """All voxels."""
    return open_source(volume).read(Box.of_shape(volume.shape))
