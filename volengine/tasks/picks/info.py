"""What a file of picks holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import EXTRA, Picks
from volengine.tasks.common.origins import outside
from volengine.tasks.picks.recipe import PicksRecipe
from volengine.tasks.picks.tables import read_tables


def picks_info(source: PathLike, recipe: PicksRecipe | Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a file of picks.

    Parameters
    ----------
    source
        The file.
    recipe
        What the file does not state; without it, facts that are missing are ``None``.

    Returns
    -------
    dict
        JSON values: ``file``, ``format``, ``about``, ``picks`` (number), and ``tomograms``, a list of ``name``,
        ``picks``, ``feature``, ``voxel_size`` (angstrom, z, y, x) and ``shape`` (voxels), ``columns``, ``lowest`` and
        ``highest`` position (voxels, if these are known), ``weight`` (lowest, highest) and the number of picks
        ``outside`` of the shape.

    Raises
    ------
    MissingError, FormatError
        The file does not exist, is damaged, or is no file of picks.
    """
    from volengine.io.picks import registry
    from volengine.io.picks.formats import FORMATS
    from volengine.io.stores import local_copy

    path, recipe = path_text(source), PicksRecipe.of(recipe)
    with local_copy(path) as file:
        format = registry.to_read(file, recipe.read_as)
    sized = shaped = placed = True
    for _ in range(4):  # the table may lack facts of the tomogram; the number of picks does not depend on them
        try:
            tables, _ = read_tables(path, recipe)
            break
        except (FormatError, MissingError):
            raise
        except InputError as error:
            if sized and "set voxel_size" in str(error):
                sized, recipe = False, recipe.with_(voxel_size=1.0)
            elif shaped and "set shape" in str(error):
                shaped, recipe = False, recipe.with_(shape=(1, 1, 1))
            elif placed and "set origin" in str(error):
                placed, recipe = False, recipe.with_(origin=(0.0, 0.0, 0.0))
            else:
                raise
    return {
        "file": path,
        "format": format,
        "about": FORMATS[format].about,
        "picks": sum(map(len, tables)),
        "tomograms": [_described(one, sized, shaped, placed) for one in tables],
    }


def _described(picks: Picks, sized: bool, shaped: bool, placed: bool) -> dict[str, Any]:
    position = picks.position_vox
    facts: dict[str, Any] = {
        "name": picks.tomogram,
        "picks": len(picks),
        "feature": picks.feature,
        "voxel_size": list(picks.voxel_size) if sized else None,
        "shape": list(picks.shape) if shaped and picks.shape else None,
        "columns": [name.removeprefix(EXTRA) for name in picks.columns if name != "position_vox"],
    }
    if len(picks) and sized and shaped and placed:
        facts |= {"lowest": position.min(axis=0).tolist(), "highest": position.max(axis=0).tolist()}
    if picks.weight is not None and not np.isnan(picks.weight).all():
        facts["weight"] = [float(np.nanmin(picks.weight)), float(np.nanmax(picks.weight))]
    if facts["shape"] is not None and placed:
        facts["outside"] = int(outside(picks).sum())
    return facts
